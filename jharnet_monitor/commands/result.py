"""How the terminal shows one measurement: in the units that people use, its cause in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jharnet_monitor.i18n.formats import value as written
from jharnet_monitor.i18n.words import words
from jharnet_monitor.model import QUANTITIES

_UNITS = {entry.unit for entry in QUANTITIES}


def view(result: Mapping[str, Any]) -> RenderableType:
    """A measurement as the API answers it: its figures, or in words why there are none."""
    said, name = words("en"), f"{result['probe']} of {result['office']}"
    rows = list(_rows(result))
    if result["outcome"] == "ok":
        return _table(name, rows, result["conditions"])
    cause = said.get(f"cause.{result['cause']}", str(result["cause"]))
    outcome = said(f"outcome.{result['outcome']}")
    lines: list[RenderableType] = [Text(f"{name}: {outcome}: {cause}")]
    if detail := result["conditions"].get("detail"):
        lines.append(Text(str(detail), style="dim"))
    if rows:
        lines.append(_table("so far", rows, {}))
    return Group(*lines)


def _rows(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for entry in QUANTITIES:
        if entry.probe == result["probe"] and entry.name in result["values"]:
            yield entry.label.en, written(result["values"][entry.name], entry.unit, words("en"))


def _table(title: str, rows: list[tuple[str, str]], conditions: Mapping[str, Any]) -> Table:
    table = Table(title=title)
    table.add_column("quantity")
    table.add_column("value", justify="right")
    for row in rows:
        table.add_row(*row)
    for key, value in conditions.items():
        table.add_row(Text(key, style="dim"), Text(_condition(key, value), style="dim"))
    return table


def _condition(key: str, value: Any) -> str:
    """A condition, whose name ends with its unit where it has one."""
    unit = next((unit for unit in _UNITS if key.endswith(f"_{unit}")), None)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return written(value, unit, words("en")) if number and unit else str(value)

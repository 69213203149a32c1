"""How the terminal shows one measurement: in the units that people use, its cause in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jharnet_monitor.i18n import format as texts
from jharnet_monitor.i18n.words import words
from jharnet_monitor.model import QUANTITIES

_MINUTE = 60.0
_SIZES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def figure(value: float, unit: str) -> str:
    """A value with a unit of the table of quantities, as a person reads it.

    >>> figure(6.12555e-05, "seconds"), figure(0.0, "ratio"), figure(3.921e6, "bits_per_second")
    ('0.0613 ms', '0 %', '3.92 Mbit/s')
    >>> figure(12_345_678, "bytes"), figure(4, "grade"), figure(720, "pixels")
    ('12.3 MB', '4, HD video (720p)', '720 lines')
    """
    return _SHOWN[unit](value) if unit in _SHOWN else f"{value:,.6g} {unit}"


def _time(seconds: float) -> str:
    small = seconds < _MINUTE
    return texts.milliseconds(seconds) if small else texts.length(seconds, words("en"))


def _bytes(count: float) -> str:
    for size, unit in _SIZES:
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} bytes"


def _grade(grade: float) -> str:
    return f"{grade:.0f}, {words('en')(f'grade.{grade:.0f}')}"


_SHOWN: Mapping[str, Callable[[float], str]] = {
    "seconds": _time,
    "ratio": texts.loss,
    "bits_per_second": texts.rate,
    "bytes": _bytes,
    "grade": _grade,
    "packets": lambda count: f"{count:,.0f}",
    "frames_per_second": lambda rate: f"{rate:.3g} a second",
    "mos": lambda mos: f"{mos:.2f}",
    "pixels": lambda height: f"{height:.0f} lines",
}


def view(result: Mapping[str, Any]) -> RenderableType:
    """A measurement as the API answers it: its figures, or in words why there are none."""
    said, name = words("en"), f"{result['probe']} of {result['office']}"
    rows = list(_rows(result))
    if result["outcome"] == "ok":
        return _table(name, rows, result["conditions"])
    cause = said.either(f"cause.{result['cause']}", str(result["cause"]))
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
            yield entry.label.en, figure(result["values"][entry.name], entry.unit)


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
    unit = next((unit for unit in _SHOWN if key.endswith(f"_{unit}")), None)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return figure(value, unit) if number and unit else str(value)

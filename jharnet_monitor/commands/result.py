"""Shows a measurement on the terminal: values in readable units, the cause in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jharnet_monitor.i18n.formats import rate, share, with_borderline
from jharnet_monitor.i18n.formats import value as format_value
from jharnet_monitor.i18n.words import words
from jharnet_monitor.judge.twin.borderline import borderline_grade
from jharnet_monitor.judge.twin.stored_whatif import stored_answers
from jharnet_monitor.model import AT_LEAST, QUANTITIES

_NOT_SHOWN = ("line", "line_evidence", "whatif")
"""Conditions for programs."""
_UNITS = {entry.unit for entry in QUANTITIES}


def render(result: Mapping[str, Any]) -> RenderableType:
    """Render a measurement of the API: its values, or the reason why there are none."""
    text, name = words("en"), f"{result['probe']} of {result['office']}"
    rows = list(_rows(result))
    if result["outcome"] == "ok":
        table = _table(name, rows, result["conditions"])
        verdict, whatif = _verdict(result), "\n".join(_whatif(result["conditions"]))
        heads = [Text(verdict, style="bold")] if verdict else []
        heads += [Text(whatif)] if whatif else []
        return Group(*heads, table) if heads else table
    cause = text.get(f"cause.{result['cause']}", str(result["cause"]))
    outcome = text(f"outcome.{result['outcome']}")
    lines: list[RenderableType] = [Text(f"{name}: {outcome}: {cause}")]
    if detail := result["conditions"].get("detail"):
        lines.append(Text(str(detail), style="dim"))
    if rows:
        lines.append(_table("measured before that", rows, {}))
    return Group(*lines)


def _verdict(result: Mapping[str, Any]) -> str:
    """What a conference test says of the line, in a sentence; empty for other probes."""
    text, conditions = words("en"), result["conditions"]
    if "grade" not in result["values"]:
        return ""
    values = result["values"]
    if conditions.get(AT_LEAST):
        return text("call.at_least", grade=text(f"grade.{int(values['grade'])}"))
    sentences = [text(f"call.grade.{int(values['grade'])}")]
    if (other := borderline_grade(values)) is not None:
        grade = text(f"grade.{int(values['grade'])}")
        sentences = [f"{with_borderline(grade, other, text)}.", *sentences]
    limit, way = conditions.get("limited_by"), conditions.get("worse_way")
    if f"call.limit.{limit}" in text and f"way.{way}" in text:
        sentences.append(text(f"call.limit.{limit}", way=text(f"way.{way}")))
    return " ".join(filter(None, sentences))


def _whatif(conditions: Mapping[str, Any]) -> Iterator[str]:
    """What simulated calls say of changes of the line, a line each."""
    text = words("en")
    for number, answer in enumerate(stored_answers(conditions)):
        if not number:
            yield "An estimate, by simulated calls over the measured line:"
        change, found = answer.change, answer.prediction
        kind = "both" if change.rate and change.loss is not None else "rate"
        kind = "loss" if change.rate is None else kind
        named = text(f"capacity.estimate.{kind}", rate=rate(change.rate))
        share_ = share(found.probabilities[found.grade])
        yield f"  {named}: {text(f'grade.{found.grade}')}, {share_}"


def _rows(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for entry in QUANTITIES:
        if entry.probe == result["probe"] and entry.name in result["values"]:
            yield (
                entry.label.en,
                format_value(result["values"][entry.name], entry.unit, words("en")),
            )


def _table(title: str, rows: list[tuple[str, str]], conditions: Mapping[str, Any]) -> Table:
    table = Table(title=title)
    table.add_column("quantity")
    table.add_column("value", justify="right")
    for row in rows:
        table.add_row(*row)
    for key, value in conditions.items():
        if key in _NOT_SHOWN:
            continue
        table.add_row(Text(key, style="dim"), Text(_condition(key, value), style="dim"))
    return table


def _condition(key: str, value: Any) -> str:
    """A condition's value; the unit is the end of its name, if it has one."""
    unit = next((unit for unit in _UNITS if key.endswith(f"_{unit}")), None)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return format_value(value, unit, words("en")) if number and unit else str(value)

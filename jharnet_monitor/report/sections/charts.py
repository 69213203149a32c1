"""Data of the charts: positions as shares of the width, without any wording.

The templates only draw them. The size of a chart's data is limited, whatever the period.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, time
from typing import Any

from jharnet_monitor.judge.calendar.period import Period
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import Direction, OfficeState
from jharnet_monitor.report.data.summary import Conference, OfficeSummary, Speed

BINS = 672
"""Resolution of a timeline: a quarter of an hour in a week."""
TICKS = 16
"""Most days labelled under a chart."""
MARK = {
    OfficeState.UP: "up",
    OfficeState.AGENT_OFF: "up",
    OfficeState.LAN_DOWN: "lan",
    OfficeState.LINK_DOWN: "line",
    OfficeState.POWER_DOWN: "power",
    OfficeState.UNREACHABLE: "out",
    OfficeState.PLANNED: "planned",
    OfficeState.UPLINK_DOWN: "shared",
}
"""How a state is drawn; other states are blank."""
_WORST = ("line", "power", "out", "lan", "planned", "shared", "none", "up")
FULL_SPEED = 1.2
"""Share of the contract at the right edge of the speed chart; faster bars end there."""


def timeline(spans: Sequence[Span], period: Period) -> list[dict[str, Any]]:
    """The states over the period as pieces from `x` to `end` (0 to 1), each with its mark.

    Each bin shows the worst state in it, so that no outage is too short to be seen.
    """
    total = period.seconds
    marks = ["none"] * BINS
    known = [False] * BINS
    for span in spans:
        first = (span.start - period.start).total_seconds() / total * BINS
        last = (span.end - period.start).total_seconds() / total * BINS
        mark = MARK.get(span.state, "none")
        for number in range(max(int(first), 0), min(_ceil(last), BINS)):
            if not known[number] or _WORST.index(mark) < _WORST.index(marks[number]):
                marks[number] = mark
            known[number] = True
    return _runs(marks)


def _ceil(value: float) -> int:
    return int(value) + (value > int(value))


def _runs(marks: Sequence[str]) -> list[dict[str, Any]]:
    pieces: list[dict[str, Any]] = []
    for number, mark in enumerate(marks):
        if pieces and pieces[-1]["mark"] == mark:
            pieces[-1]["end"] = round((number + 1) / BINS, 5)
        else:
            start, end = round(number / BINS, 5), round((number + 1) / BINS, 5)
            pieces.append({"x": start, "end": end, "mark": mark})
    return [piece for piece in pieces if piece["mark"] != "none"]


def place(moment: datetime, period: Period) -> float:
    """The position of a moment in the period, 0 to 1."""
    return round((moment - period.start).total_seconds() / period.seconds, 5)


def day_ticks(period: Period) -> list[dict[str, Any]]:
    """The position at which each day begins, and the day; in long periods not every day."""
    zone = period.start.tzinfo
    step = -(-len(period.days) // TICKS)
    return [
        {"x": max(place(datetime.combine(day, time(), zone), period), 0.0), "day": day}
        for day in period.days[::step]
    ]


def speed_bar(speed: Speed) -> dict[str, Any] | None:
    """The bar of the speed as a share of the contract, marked where the speed is what the office's
    use left; None if either is unknown.
    """
    if speed.ratio is None or not speed.contracted or speed.low is None or speed.high is None:
        return None
    return {
        "length": _on_scale(speed.ratio),
        "low": _on_scale(speed.low / speed.contracted),
        "high": _on_scale(speed.high / speed.contracted),
        "left": not speed.quiet,
    }


def _on_scale(ratio: float) -> float:
    return round(min(ratio / FULL_SPEED, 1.0), 5)


def speed_dots(office: OfficeSummary, period: Period) -> dict[str, Any] | None:
    """The speed tests of an office over the period, and its contract; None without tests."""
    tops = [rate for test in office.speed_tests for rate in (test.down, test.up) if rate]
    if not tops:
        return None
    contracted = office.down.contracted
    top = max([*tops, contracted or 0.0]) * 1.08
    return {
        **{
            direction: _dots(
                ((test.at, test.rate(direction)) for test in office.speed_tests), period, top
            )
            for direction in Direction
        },
        "contract": None if contracted is None else round(contracted / top, 5),
        "top": top,
    }


def _dots(
    tests: Iterable[tuple[datetime, float | None]], period: Period, top: float
) -> list[list[float]]:
    known = [(at, rate) for at, rate in tests if rate is not None]
    step = -(-len(known) // BINS) or 1  # a quarter has thousands of tests: every n-th is drawn
    return [[place(at, period), round(rate / top, 5)] for at, rate in known[::step]]


def grade_dots(conference: Conference, period: Period) -> list[list[float]]:
    """The conference tests of an office: position and grade."""
    step = -(-len(conference.grades) // BINS) or 1
    return [[place(at, period), grade] for at, grade in conference.grades[::step]]

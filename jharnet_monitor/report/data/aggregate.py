"""The rules by which many measurements become one figure of the report. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime, tzinfo
from statistics import median, median_low

from jharnet_monitor.config import Config, Office
from jharnet_monitor.config.district import District
from jharnet_monitor.judge.calendar.hours import in_office_hours
from jharnet_monitor.judge.conference.grade import grade_of
from jharnet_monitor.judge.line.by_time_of_day import RateTest, SlotRates, TimeSlot, by_slot
from jharnet_monitor.judge.line.contract import contracted_rates
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.judge.twin.borderline import borderline_grade, borderline_median
from jharnet_monitor.model import Direction, Measurement, OfficeState, Outcome
from jharnet_monitor.report.data.summary import Conference, Outage, Speed, SpeedTest

OUT = (
    OfficeState.LINK_DOWN, OfficeState.POWER_DOWN, OfficeState.UNREACHABLE, OfficeState.LAN_DOWN,
)  # fmt: skip
"""The states that are listed as outages."""


def by_time_of_day(
    tests: Sequence[SpeedTest], config: Config, office: Office
) -> dict[Direction, dict[TimeSlot, SlotRates]]:
    """The rates of an office's tests by direction and time slot."""
    return {
        direction: by_slot(
            [
                RateTest(test.at, rate)
                for test in tests
                if (rate := test.rate(direction)) is not None
            ],
            config.district,
            contracted,
            config.thresholds.delivered,
        )
        for direction, contracted in zip(Direction, contracted_rates(office), strict=True)
    }


def conference(calls: Iterable[Measurement], district: District) -> Conference:
    """The conference quality of an office, by the rule stated at `Conference`."""
    every = sorted(calls, key=lambda call: call.started_at)
    inside = [call for call in every if in_office_hours(district, call.started_at)]
    outside = not any(grade_of(call) is not None for call in inside)
    counted = every if outside else inside
    graded = [(call, grade) for call in counted if (grade := grade_of(call)) is not None]
    missed = [call for call in counted if call.outcome is Outcome.NO_DATA]
    if not graded:
        return Conference(missed=len(missed), cause=_most(call.cause for call in missed))
    grade = median_low(grade for _, grade in graded)
    limits = (call.conditions.get("limited_by") for call, reached in graded if reached <= grade)
    failed = [call.cause for call, _ in graded if call.outcome is Outcome.FAILED]
    return Conference(
        grade=grade,
        tests=len(graded),
        missed=len(missed),
        outside_hours=outside,
        limited_by=_most(limits),
        cause=_most(failed) if grade == 0 and 2 * len(failed) >= len(graded) else None,
        grades=tuple((call.started_at, reached) for call, reached in graded),
        borderline=borderline_median(
            [(reached, borderline_grade(call.values)) for call, reached in graded]
        ),
    )


def _most(names: Iterable[str | None]) -> str | None:
    """The most frequent name; None if there is none."""
    found = Counter(name for name in names if name and name != "none")
    return found.most_common(1)[0][0] if found else None


def speed(
    days: Iterable[Sequence[float]],
    contracted: float | None,
    share: float,
    *,
    quiet: bool = False,
) -> Speed:
    """Median rate of all tests, and the number of tests below `share` of the contracted rate.

    `days` holds the rates in bit/s of each day; `quiet` means that all tests were made outside
    office hours.

    >>> found = speed([[2e6], [4e6, 3e6]], 4e6, 0.8)
    >>> found.median, found.tests, found.below, found.low, found.high
    (3000000.0, 3, 2, 2000000.0, 4000000.0)
    """
    daily = tuple(tuple(day) for day in days if day)
    rates = [rate for day in daily for rate in day]
    if not rates:
        return Speed(contracted=contracted)
    below = 0 if contracted is None else sum(rate < share * contracted for rate in rates)
    return Speed(median(rates), len(rates), contracted, below, min(rates), max(rates), daily, quiet)


def of_the_line(tests: Sequence[SpeedTest], district: District) -> tuple[Sequence[SpeedTest], bool]:
    """The tests outside office hours and True; all tests and False if there are none."""
    quiet = [test for test in tests if not in_office_hours(district, test.at)]
    return (quiet, True) if quiet else (tests, False)


def by_day(tests: Iterable[tuple[datetime, float | None]], zone: tzinfo) -> list[list[float]]:
    """The figures grouped by day in a time zone, without empty days."""
    days: dict[date, list[float]] = {}
    for at, figure in tests:
        if figure is not None:
            days.setdefault(at.astimezone(zone).date(), []).append(figure)
    return list(days.values())


def outages(office: str, spans: Sequence[Span], until: datetime) -> Iterable[Outage]:
    """The outages of an office; one that lasts until `until` is `open`."""
    for span in spans:
        if span.state in OUT:
            yield Outage(office, span.state, span.start, span.end, open=span.end >= until)

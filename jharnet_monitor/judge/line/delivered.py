"""What a line delivers, from speed tests, packet trains and the router's counters. Pure.

A test in office hours measures what the office's own traffic leaves. The line itself is measured
outside them, by packet trains, or by adding what the router counted beside the test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from math import inf
from zoneinfo import ZoneInfo

import numpy as np

from jharnet_monitor.config.district import District
from jharnet_monitor.config.schema import Config
from jharnet_monitor.judge.calendar.hours import in_office_hours
from jharnet_monitor.judge.line.traffic import MAX_READING_SECONDS, TrafficReadings
from jharnet_monitor.judge.statistics import intervals
from jharnet_monitor.judge.statistics.intervals import DailySamples, Interval
from jharnet_monitor.model import Direction, Measurement, Outcome


class Basis(StrEnum):
    """Which tests give the rate of the line itself.

    A test beside the office's own traffic measures only what that leaves.
    """

    OFF_HOURS = "off_hours"
    """Speed tests outside office hours, when the office has no traffic of its own."""
    TRAINS = "trains"
    """Packet trains, if there are too few such tests."""


@dataclass(frozen=True, slots=True)
class DeliveredRate:
    """The rate of the line itself in one direction, in bit/s; None without tests."""

    median: Interval | None = None
    p5: Interval | None = None
    """The rate that 19 of 20 tests reached."""
    basis: Basis | None = None


def delivered_rate(
    config: Config, tests: Sequence[Measurement], direction: Direction
) -> DeliveredRate:
    """The rate of the line itself, by tests outside office hours or else by packet trains."""
    district = config.district
    quiet = [test for test in tests if not in_office_hours(district, test.started_at)]
    found = {
        Basis.OFF_HOURS: RateBounds.of_tests(quiet, direction, district),
        Basis.TRAINS: RateBounds.of_trains(tests, direction, district),
    }
    required = config.capacity.days
    basis = max(
        found, key=lambda b: (min(len(found[b].lower.by_day), required), b is Basis.OFF_HOURS)
    )
    if not found[basis].lower.n:
        return DeliveredRate()
    rates = found[basis]
    return DeliveredRate(
        rates.bounded(intervals.median), rates.bounded(intervals.fifth_percentile), basis
    )


def capacity_by_trains(
    config: Config, tests: Sequence[Measurement], direction: Direction
) -> Interval | None:
    """The median capacity that packet trains show; None without any."""
    return RateBounds.of_trains(tests, direction, config.district).bounded(intervals.median)


def left_by_day(
    config: Config, tests: Sequence[Measurement], direction: Direction
) -> Interval | None:
    """The median rate that speed tests got in office hours; None without any."""
    inside = _inside(config, tests)
    return RateBounds.of_tests(inside, direction, config.district).bounded(intervals.median)


def carried_by_day(
    config: Config, tests: Sequence[Measurement], direction: Direction, traffic: TrafficReadings
) -> Interval | None:
    """The median rate that the line carried in office hours: what a test got, and what the router
    counted beside it in the readings before and after; None without both.
    """
    inside = _inside(config, tests)
    if not traffic.at or not inside:
        return None
    end = np.concatenate(traffic.at)
    rate = np.concatenate(traffic.down if direction is Direction.DOWN else traffic.up)
    seconds = np.concatenate(traffic.seconds)
    kept = seconds <= MAX_READING_SECONDS
    order = np.argsort(end[kept], kind="stable")
    end, rate = end[kept][order], rate[kept][order]
    beside: dict[str, float] = {}
    for test in inside:
        at = round(test.started_at.timestamp() * 1000)
        place = int(np.searchsorted(end, at))
        near = [n for n in (place - 1, place, place + 1) if 0 <= n < len(end)]
        near = [n for n in near if abs(int(end[n]) - at) <= 2 * MAX_READING_SECONDS * 1000]
        if near:
            beside[test.id] = float(np.mean(rate[near]))
    known = [test for test in inside if test.id in beside]
    return RateBounds.of_tests(known, direction, config.district, beside).bounded(intervals.median)


def enough_by_tests(config: Config, tests: Sequence[Measurement], marks: Sequence[float]) -> bool:
    """Whether the tests outside office hours suffice, so that packet trains are not needed.

    Each direction must have them on as many days as a verdict requires, with a median of at least
    its mark in bit/s: where less arrives, trains tell whether the line or its loss is the reason.
    """
    district = config.district
    good = [test for test in tests if test.outcome is Outcome.OK and test.is_conclusive]
    quiet = [test for test in good if not in_office_hours(district, test.started_at)]
    for direction, mark in zip(Direction, marks, strict=True):
        rates = RateBounds.of_tests(quiet, direction, district).lower
        if len(rates.by_day) < config.capacity.days:
            return False
        if float(np.median(rates.sorted_values)) <= mark:
            return False
    return True


@dataclass(frozen=True, slots=True)
class RateBounds:
    """Rates by day: as measured (`lower`), and as large as they may be in truth (`upper`).

    A test that was limited by its own pace gives only a lower bound; its upper bound is infinite.
    """

    lower: DailySamples
    upper: DailySamples

    @classmethod
    def of_tests(
        cls,
        tests: Sequence[Measurement],
        direction: Direction,
        district: District,
        beside: dict[str, float] | None = None,
    ) -> RateBounds:
        """The rates of speed tests; `beside` is added to each by its id."""
        name = direction.transfer
        return cls._of(tests, f"{name}_bits_per_second", f"{name}_at_least", district, beside)

    @classmethod
    def of_trains(
        cls, tests: Sequence[Measurement], direction: Direction, district: District
    ) -> RateBounds:
        """The capacities by packet trains."""
        name = f"{direction.transfer}_capacity"
        return cls._of(tests, f"{name}_bits_per_second", f"{name}_at_least", district)

    @classmethod
    def _of(
        cls,
        tests: Sequence[Measurement],
        quantity: str,
        at_least: str,
        district: District,
        beside: dict[str, float] | None = None,
    ) -> RateBounds:
        """The rates of the tests that have `quantity`; `at_least` is the condition that marks a
        lower bound.
        """
        more = beside or {}
        with_rate = [test for test in tests if quantity in test.values]
        days = [day_of(test.started_at, district) for test in with_rate]
        rates = [test.values[quantity] + more.get(test.id, 0.0) for test in with_rate]
        unbounded = [bool(test.conditions.get(at_least)) for test in with_rate]
        lower = intervals.group_by_day(days, rates)
        if not any(unbounded):
            return cls(lower, lower)
        upper = [inf if open_ else rate for rate, open_ in zip(rates, unbounded, strict=True)]
        return cls(lower, intervals.group_by_day(days, upper))

    def bounded(self, figure: Callable[[DailySamples], Interval | None]) -> Interval | None:
        """A figure of the lower rates, with the upper end of its interval from the upper rates."""
        found = figure(self.lower)
        if self.upper is self.lower or found is None or found.low is None:
            return found
        of_upper = figure(self.upper)
        high = None if of_upper is None else of_upper.high
        return Interval(found.value, found.low, high, found.n, found.days)


def day_of(moment: datetime, district: District) -> date:
    """The day of a moment in the district's time zone."""
    return moment.astimezone(ZoneInfo(district.timezone)).date()


def _inside(config: Config, tests: Sequence[Measurement]) -> list[Measurement]:
    return [test for test in tests if in_office_hours(config.district, test.started_at)]

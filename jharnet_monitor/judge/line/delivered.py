"""What a line delivers, from speed tests, packet trains and the router's counters. Pure.

A test in office hours measures what the office's own traffic leaves. The line itself is measured
outside office hours, by packet trains, or by adding the traffic that the router counted meanwhile.
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
from jharnet_monitor.judge.line.contract import (
    is_policed,
    lasting_rate,
    lasting_tests,
    limit_of,
    rate_is_open,
)
from jharnet_monitor.judge.line.traffic import MAX_READING_SECONDS, TrafficReadings
from jharnet_monitor.judge.statistics import intervals
from jharnet_monitor.judge.statistics.intervals import DailySamples, Interval
from jharnet_monitor.model import Direction, Measurement, Outcome

CHANGE = 0.1
"""Part of the contracted rate by which all days before a change differ from all days after it."""
EXCEPT = (0.1, 0.9)
CHANGE_DAYS = 3
"""Days needed on either side to tell a change from a disturbance."""


class Basis(StrEnum):
    """Which tests give the rate of the line itself.

    A test during the office's own traffic measures only what that leaves.
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
    since: date | None = None
    """The day of a lasting change of the line, or of a change of its contract; the figures are
    those from then on."""
    short: Interval | None = None
    """Share of the speed tests that fell below the contract's mark."""
    policed: bool = False
    """Short tests met a policer; the rate is the sustained one, after its bucket is spent."""
    by_loss: bool = False
    """Most tests were held back by lost packets, not by the line's rate."""


def delivered_rate(
    config: Config,
    tests: Sequence[Measurement],
    direction: Direction,
    contracted: float | None,
    mark: float = 0.0,
) -> DeliveredRate:
    """The rate of the line itself, by tests outside office hours or else by packet trains.

    If the line changed within the period by a relevant part of what is `contracted`, only the tests
    after that count. `mark` is the rate below which the contract is not kept.
    """
    district = config.district
    policed = is_policed(tests, direction)  # at any hour: by night, too, short tests see its bucket
    lasting = [
        test
        for test in lasting_tests(tests, direction)
        if not in_office_hours(district, test.started_at)
    ]
    found = {
        Basis.OFF_HOURS: RateBounds.of_tests(lasting, direction, district),
        Basis.TRAINS: RateBounds.of_trains(tests, direction, district),
    }
    required = config.capacity.days
    basis = max(
        found, key=lambda b: (min(len(found[b].lower.by_day), required), b is Basis.OFF_HOURS)
    )
    if policed:
        basis = Basis.OFF_HOURS  # packet trains do not see a policer
    if not found[basis].lower.n:
        return DeliveredRate()
    rates, since = _since_change(found[basis], CHANGE * (contracted or inf))
    limits = [limit_of(one, direction) for one in lasting]
    return DeliveredRate(
        median=rates.bounded(intervals.median),
        p5=rates.bounded(intervals.fifth_percentile),
        basis=basis,
        since=since,
        policed=policed,
        short=rates.share_below(mark) if basis is Basis.OFF_HOURS else None,
        by_loss=basis is Basis.OFF_HOURS and 2 * limits.count("loss") > len(limits),
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
    """The median rate that the line carried in office hours: the rate of a test plus the traffic
    that the router counted around it; None without both.
    """
    inside = _inside(config, tests)
    if not traffic.at or not inside:
        return None
    end = np.concatenate(traffic.at)
    rate = np.concatenate(traffic.down if direction is Direction.DOWN else traffic.up)
    seconds = np.concatenate(traffic.seconds)
    usable = seconds <= MAX_READING_SECONDS
    order = np.argsort(end[usable], kind="stable")
    end, rate = end[usable][order], rate[usable][order]
    counted_traffic: dict[str, float] = {}
    for test in inside:
        at = round(test.started_at.timestamp() * 1000)
        place = int(np.searchsorted(end, at))
        near = [n for n in (place - 1, place, place + 1) if 0 <= n < len(end)]
        near = [n for n in near if abs(int(end[n]) - at) <= 2 * MAX_READING_SECONDS * 1000]
        if near:
            counted_traffic[test.id] = float(np.mean(rate[near]))
    known = [test for test in inside if test.id in counted_traffic]
    return RateBounds.of_tests(known, direction, config.district, counted_traffic).bounded(
        intervals.median
    )


def has_enough_tests(config: Config, tests: Sequence[Measurement], marks: Sequence[float]) -> bool:
    """Whether the tests outside office hours suffice, so that packet trains are not needed.

    Each direction must have them on as many days as a verdict requires, with a median of at least
    its mark in bit/s. If less arrives, trains show whether the line's rate or its loss is the
    reason.
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
    """Rates by day: as measured (`lower`), and the largest possible (`upper`).

    A test that was limited by its own pace or by a computer gives only a lower bound; its upper
    bound is infinite.
    """

    lower: DailySamples
    upper: DailySamples
    dates: tuple[date, ...]
    """The day of each group."""

    @classmethod
    def of_tests(
        cls,
        tests: Sequence[Measurement],
        direction: Direction,
        district: District,
        counted_traffic: dict[str, float] | None = None,
    ) -> RateBounds:
        """The rates of speed tests; `counted_traffic` is added to each by its id."""
        more = counted_traffic or {}
        rates = []
        for test in lasting_tests(tests, direction):
            rate = lasting_rate(test, direction)
            if rate is not None:
                open_ = rate_is_open(test, direction)
                rates.append((test, rate + more.get(test.id, 0.0), open_))
        return cls._of(rates, district)

    @classmethod
    def of_trains(
        cls, tests: Sequence[Measurement], direction: Direction, district: District
    ) -> RateBounds:
        """The capacities by packet trains."""
        name = f"{direction.transfer}_capacity"
        rates = [
            (
                test,
                test.values[f"{name}_bits_per_second"],
                bool(test.conditions.get(f"{name}_at_least")),
            )
            for test in tests
            if f"{name}_bits_per_second" in test.values
        ]
        return cls._of(rates, district)

    @classmethod
    def _of(
        cls, tests: Sequence[tuple[Measurement, float, bool]], district: District
    ) -> RateBounds:
        """Tests with their rates, and whether that is only a lower bound."""
        days = [day_of(test.started_at, district) for test, _, _ in tests]
        lower = intervals.group_by_day(days, [rate for _, rate, _ in tests])
        dates = tuple(sorted(set(days)))
        if not any(open_ for _, _, open_ in tests):
            return cls(lower, lower, dates)
        upper = [inf if open_ else rate for _, rate, open_ in tests]
        return cls(lower, intervals.group_by_day(days, upper), dates)

    def since(self, place: int) -> RateBounds:
        """The rates from the day at `place` on."""
        lower = DailySamples(self.lower.by_day[place:])
        same = self.upper is self.lower
        upper = lower if same else DailySamples(self.upper.by_day[place:])
        return RateBounds(lower, upper, self.dates[place:])

    def share_below(self, mark: float) -> Interval | None:
        """The share of the tests that were certainly below a mark."""
        days = [number for number, day in enumerate(self.upper.by_day) for _ in day]
        below = [rate < mark for day in self.upper.by_day for rate in day.tolist()]
        return intervals.share(days, below)

    def bounded(self, figure: Callable[[DailySamples], Interval | None]) -> Interval | None:
        """A figure of the lower rates, with the upper end of its interval from the upper rates."""
        found = figure(self.lower)
        if self.upper is self.lower or found is None or found.low is None:
            return found
        of_upper = figure(self.upper)
        high = None if of_upper is None else of_upper.high
        return Interval(found.value, found.low, high, found.n, found.days)


def _since_change(rates: RateBounds, least: float) -> tuple[RateBounds, date | None]:
    """The rates after the last change of the line, and its day; all of them and None without one.

    The line changed if the medians of the days before it lie on one side of those of the days after
    it, at least `least` bit/s apart; one day in ten may be an exception. Days that only scatter are
    not ordered like that.
    """
    daily = np.array([float(np.median(day)) for day in rates.lower.by_day])
    for place in range(len(daily) - CHANGE_DAYS, CHANGE_DAYS - 1, -1):
        sides = (daily[:place], daily[place:])
        (low, high), (lower, higher) = (np.quantile(side, EXCEPT, method="nearest").tolist()
                                        for side in sides)  # fmt: skip
        if max(lower - high, low - higher) >= least:
            return rates.since(place), rates.dates[place]
    return rates, None


def day_of(moment: datetime, district: District) -> date:
    """The day of a moment in the district's time zone."""
    return moment.astimezone(ZoneInfo(district.timezone)).date()


def _inside(config: Config, tests: Sequence[Measurement]) -> list[Measurement]:
    return [test for test in tests if in_office_hours(config.district, test.started_at)]

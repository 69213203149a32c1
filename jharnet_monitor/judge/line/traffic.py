"""The traffic of a line other than conferences, from its router's interface counters. Pure.

The need of a line is planned from the 95th percentile of this traffic in office hours. If no router
is read, the configured assumption takes its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from jharnet_monitor.config.district import District
from jharnet_monitor.judge.calendar.hours import office_windows
from jharnet_monitor.judge.calendar.windows import conference_windows, window_indices
from jharnet_monitor.judge.statistics import intervals
from jharnet_monitor.judge.statistics.intervals import DailySamples, Interval

FloatArray = NDArray[np.float64]
QUANTILE = 0.95
FULL = 0.95
"""A reading of at least this share of what the line delivers was limited by the line."""
MAX_READING_SECONDS = 600.0
"""Readings over a longer time are left out: their mean hides the peaks."""
MIN_WORKING_DAYS = 10
"""Working days that are needed to represent an office's week."""


@dataclass(slots=True)
class TrafficReadings:
    """Readings of an interface, without those during our own tests.

    Arrays of equal length: the end of each reading (milliseconds since 1970), its length in
    seconds, and the mean IP rates over it in bit/s, towards the office (`down`) and from it (`up`).
    """

    at: list[NDArray[np.int64]] = field(default_factory=list)
    seconds: list[FloatArray] = field(default_factory=list)
    down: list[FloatArray] = field(default_factory=list)
    up: list[FloatArray] = field(default_factory=list)

    def add(
        self,
        at: Sequence[int] | NDArray[np.int64],
        seconds: Sequence[float] | FloatArray,
        down: Sequence[float] | FloatArray,
        up: Sequence[float] | FloatArray,
    ) -> None:
        """Add readings, in any order."""
        self.at.append(np.asarray(at, dtype=np.int64))
        for column, new in ((self.seconds, seconds), (self.down, down), (self.up, up)):
            column.append(np.asarray(new, dtype=np.float64))

    def since(self, moment: datetime | None) -> TrafficReadings:
        """The readings that began at a moment or later; all of them if it is None."""
        if moment is None:
            return self
        found, first = TrafficReadings(), moment.timestamp() * 1000
        for at, *columns in zip(self.at, self.seconds, self.down, self.up, strict=True):
            later = at - columns[0] * 1000 >= first
            if later.any():
                found.add(at[later], *(column[later] for column in columns))
        return found


IntervalPair = tuple[Interval | None, Interval | None]
"""Towards the office and from it; None if nothing was measured."""


@dataclass(frozen=True, slots=True)
class OtherTraffic:
    """Traffic in office hours other than the district's planned conferences, towards the office and
    from it.
    """

    p95: IntervalPair = (None, None)
    """95th percentile in bit/s of the readings with room left on the line."""
    full: IntervalPair = (None, None)
    """Share of the readings in which the line was full."""


def other_traffic(
    traffic: TrafficReadings,
    district: District,
    days: Iterable[date],
    rates: tuple[float | None, float | None] = (None, None),
) -> OtherTraffic:
    """The other traffic of an office on these days; `rates` are what the line delivers.

    Readings during the district's planned conferences are left out, since conferences are counted
    separately.
    """
    if not traffic.at:
        return OtherTraffic()
    end = np.concatenate(traffic.at)
    seconds, down, up = (
        np.concatenate(column) for column in (traffic.seconds, traffic.down, traffic.up)
    )
    begin = end - (seconds * 1000).astype(np.int64)
    all_days, zone = list(days), ZoneInfo(district.timezone)
    windows = office_windows(district, all_days)
    day = window_indices(end, windows)
    usable = (day >= 0) & (window_indices(begin, windows) >= 0) & (seconds <= MAX_READING_SECONDS)
    for planned in district.conferences:
        times = conference_windows(planned, district.office_hours, zone, all_days)
        usable &= (window_indices(end, times) < 0) & (window_indices(begin, times) < 0)
    ways = [
        _one_way(day[usable], way[usable], rate)
        for way, rate in zip((down, up), rates, strict=True)
    ]
    return OtherTraffic((ways[0][0], ways[1][0]), (ways[0][1], ways[1][1]))


def _one_way(
    day: NDArray[np.int64], way: FloatArray, rate: float | None
) -> tuple[Interval | None, Interval | None]:
    """The 95th percentile of the readings with room left, and the share of the full ones."""
    full = np.zeros(len(way), dtype=bool) if not rate else way >= FULL * rate
    free = intervals.quantile(_by_day(day[~full], way[~full]), QUANTILE)
    share = intervals.mean(_by_day(day, full.astype(np.float64)), limits=(0.0, 1.0))
    return free, None if not rate else share


def is_sufficient(found: Interval | None) -> bool:
    """Whether the figure has an interval and enough days to be used for planning."""
    if found is None or found.low is None or found.high is None:
        return False
    return found.days >= MIN_WORKING_DAYS and bool(np.isfinite(found.high))


def _by_day(day: NDArray[np.int64], values: FloatArray) -> DailySamples:
    """Group values by the index of their day."""
    order = np.argsort(day, kind="stable")
    ends = np.flatnonzero(np.diff(day[order])) + 1
    return DailySamples(tuple(np.split(values[order], ends))) if len(day) else DailySamples(())

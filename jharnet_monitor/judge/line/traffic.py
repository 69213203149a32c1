"""What a line carries beside conferences, from what its router's interface counted. Pure.

A need that is planned from the 95th percentile in office hours asks for this figure first; where
no router is asked, a stated assumption stands in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from jharnet_monitor.config.district import District
from jharnet_monitor.judge.calendar.windows import (
    conference_windows,
    office_windows,
    window_indices,
)
from jharnet_monitor.judge.statistics import intervals
from jharnet_monitor.judge.statistics.intervals import DailySamples, Interval

Numbers = NDArray[np.float64]
SHARE = 0.95
LONGEST_SECONDS = 600.0
"""A mean over more than this hides the peaks of which the percentile is to tell."""
FEWEST_DAYS = 10
"""Working days without which the percentile speaks of no office's week."""


@dataclass(slots=True)
class Traffic:
    """Readings of an interface: the end of each stretch (milliseconds since 1970), its seconds, and
    the mean IP rates over it in bit/s. Stretches with a test of our own are not among them.
    """

    at: list[NDArray[np.int64]] = field(default_factory=list)
    seconds: list[Numbers] = field(default_factory=list)
    down: list[Numbers] = field(default_factory=list)
    up: list[Numbers] = field(default_factory=list)

    def add(
        self,
        at: Sequence[int] | NDArray[np.int64],
        seconds: Sequence[float] | Numbers,
        down: Sequence[float] | Numbers,
        up: Sequence[float] | Numbers,
    ) -> None:
        """Take more readings, in any order."""
        self.at.append(np.asarray(at, dtype=np.int64))
        for held, new in ((self.seconds, seconds), (self.down, down), (self.up, up)):
            held.append(np.asarray(new, dtype=np.float64))


Ways = tuple[Interval | None, Interval | None]
"""Towards the office and from it; None where nothing was measured."""


def other(traffic: Traffic, district: District, days: Iterable[date]) -> Ways:
    """The 95th percentile of all other traffic in office hours, each way.

    Stretches in which one of the district's own conferences was planned are left out: conferences
    are counted by themselves.
    """
    if not traffic.at:
        return None, None
    end = np.concatenate(traffic.at)
    seconds, down, up = (
        np.concatenate(held) for held in (traffic.seconds, traffic.down, traffic.up)
    )
    begin = end - (seconds * 1000).astype(np.int64)
    every, zone = list(days), ZoneInfo(district.timezone)
    windows = office_windows(district, every)
    day = window_indices(end, windows)
    kept = (day >= 0) & (window_indices(begin, windows) >= 0) & (seconds <= LONGEST_SECONDS)
    for planned in district.conferences:
        held = conference_windows(planned, district.office_hours, zone, every)
        kept &= (window_indices(end, held) < 0) & (window_indices(begin, held) < 0)
    first, second = (intervals.quantile(_days(day[kept], way[kept]), SHARE) for way in (down, up))
    return first, second


def proven(found: Interval | None) -> bool:
    """Whether the figure is bounded and rests on days enough to plan by."""
    if found is None or found.low is None or found.high is None:
        return False
    return found.days >= FEWEST_DAYS and bool(np.isfinite(found.high))


def _days(day: NDArray[np.int64], values: Numbers) -> DailySamples:
    """Samples by the number of their day."""
    order = np.argsort(day, kind="stable")
    ends = np.flatnonzero(np.diff(day[order])) + 1
    return DailySamples(tuple(np.split(values[order], ends))) if len(day) else DailySamples(())

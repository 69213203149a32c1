"""How much of a line its office uses: lowest, mean, highest, 95th percentile, busiest hour. Pure.

Only readings of office hours count, as the state's assessment of e-Office asks (NIC-EOF-AF-6.0),
and only those over at most ten minutes: the mean of a longer one hides its peaks.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import fmean
from typing import NamedTuple
from zoneinfo import ZoneInfo

from jharnet_monitor.config.district import District
from jharnet_monitor.judge.calendar.hours import in_office_hours
from jharnet_monitor.model import Direction

LONGEST_READING = 600.0
QUANTILE = 0.95
FEWEST_IN_HOUR = 3
"""An hour of the day with fewer readings cannot be the busiest."""


class TrafficReading(NamedTuple):
    """Mean IP rates in bit/s over the `seconds` that ended at `end`."""

    end: datetime
    seconds: float
    down: float
    up: float


@dataclass(frozen=True, slots=True)
class LineUse:
    """The use of one direction in office hours, in bit/s."""

    readings: int
    lowest: float
    mean: float
    highest: float
    p95: float
    busy_hour: int | None
    """The hour of the day, in the district's time, with the highest mean."""
    busy_mean: float | None


def line_use(readings: Iterable[TrafficReading], district: District) -> tuple[LineUse | None, ...]:
    """The use towards the office and from it; None without a reading in office hours.

    >>> noon = datetime(2026, 11, 25, 6, 40, tzinfo=ZoneInfo("UTC"))  # 12:10 in India
    >>> some = [TrafficReading(noon, 300.0, rate, 0.0) for rate in (1e6, 2e6, 3e6)]
    >>> down, _ = line_use(some, District(id="d", name="D", name_hi="द"))
    >>> down.lowest, down.mean, down.p95, down.busy_hour
    (1000000.0, 2000000.0, 3000000.0, 12)
    """
    zone = ZoneInfo(district.timezone)
    usable = []
    for one in readings:
        begin = one.end - timedelta(seconds=one.seconds)
        inside = in_office_hours(district, begin) and in_office_hours(district, one.end)
        if one.seconds <= LONGEST_READING and inside:
            middle = begin + timedelta(seconds=one.seconds / 2)
            usable.append((middle.astimezone(zone).hour, one))
    if not usable:
        return (None, None)
    return tuple(_use([(hour, getattr(one, way)) for hour, one in usable]) for way in Direction)


def _use(rates: Sequence[tuple[int, float]]) -> LineUse:
    ordered = sorted(rate for _, rate in rates)
    by_hour: dict[int, list[float]] = defaultdict(list)
    for hour, rate in rates:
        by_hour[hour].append(rate)
    means = {h: fmean(some) for h, some in by_hour.items() if len(some) >= FEWEST_IN_HOUR}
    busiest = max(means, key=lambda hour: means[hour]) if means else None
    return LineUse(
        readings=len(ordered),
        lowest=ordered[0],
        mean=fmean(ordered),
        highest=ordered[-1],
        p95=ordered[math.ceil(QUANTILE * len(ordered)) - 1],
        busy_hour=busiest,
        busy_mean=None if busiest is None else means[busiest],
    )

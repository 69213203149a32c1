"""Small charts of the last 24 hours: computes the coordinates of the SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from zoneinfo import ZoneInfo

from jharnet_monitor.model import Measurement

BUCKET_MINUTES = 10
HOURS = 24
WIDTH, HEIGHT = 720.0, 120.0
"""The drawing area, in units of the view box."""

LOSS_LIMITS = 10
"""A loss chart ends at this many times the threshold; higher columns are clipped."""

_BUCKETS = HOURS * 60 // BUCKET_MINUTES


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on the time axis."""

    x: float
    label: str

    @property
    def percent(self) -> float:
        """Position in per cent of the width."""
        return round(100 * self.x / WIDTH, 2)


@dataclass(frozen=True, slots=True)
class Chart:
    """A line with gaps, or columns. `top` is the value at the upper edge; `clipped` if some values
    exceed it."""

    top: float
    lines: tuple[str, ...]
    """Points of polylines; a gap in the data begins a new one."""
    columns: tuple[tuple[float, float], ...]
    """x and height of the columns."""
    limit: float | None
    """y of the threshold's line; None if it is above the chart."""
    hours: tuple[Tick, ...]
    clipped: bool = False


@dataclass(frozen=True, slots=True)
class LatencyDay:
    """Latency and loss of 24 hours in buckets; None where nothing was measured."""

    begin: datetime
    latency: tuple[float | None, ...]
    """Median of the measurements' medians, in seconds."""
    loss: tuple[float | None, ...]
    sent: int
    received: int

    @property
    def latencies(self) -> list[float]:
        """The latencies of the buckets with at least one reply."""
        return [value for value in self.latency if value is not None]


def day(measurements: Iterable[Measurement], now: datetime) -> LatencyDay:
    """Sort latency measurements into buckets of `BUCKET_MINUTES` up to now."""
    width = timedelta(minutes=BUCKET_MINUTES)
    begin = now - _BUCKETS * width
    medians: list[list[float]] = [[] for _ in range(_BUCKETS)]
    sent, received = [0] * _BUCKETS, [0] * _BUCKETS
    for measurement in measurements:
        bucket = (measurement.started_at - begin) // width
        if not 0 <= bucket < _BUCKETS:
            continue
        values = measurement.values
        if "rtt_p50_seconds" in values:
            medians[bucket].append(values["rtt_p50_seconds"])
        sent[bucket] += int(values.get("sent", 0))
        received[bucket] += int(values.get("received", 0))
    return LatencyDay(
        begin,
        tuple(median(values) if values else None for values in medians),
        tuple(1 - r / s if s else None for s, r in zip(sent, received, strict=True)),
        sum(sent),
        sum(received),
    )


def line_chart(day_: LatencyDay, limit: float, zone: ZoneInfo) -> Chart:
    """Latency as a line, with gaps where there was no reply."""
    top = nice_top(max(day_.latencies, default=0.0))
    lines, points = [], []
    for n, value in enumerate((*day_.latency, None)):
        if value is not None:
            points.append(f"{_x(n + 0.5):.1f},{HEIGHT * (1 - value / top):.1f}")
        elif points:
            # A line of one point would be invisible: double it, so it is drawn as a dash.
            lines.append(" ".join(points if len(points) > 1 else points * 2))
            points = []
    return Chart(top, tuple(lines), (), _limit(limit, top), _hours(day_.begin, zone))


def column_chart(day_: LatencyDay, limit: float, zone: ZoneInfo) -> Chart:
    """Loss as columns; a bucket without loss or without packets has none.

    The chart ends at the highest column, but at most at `LOSS_LIMITS` times the threshold: the
    total loss of an outage would make all other loss too small to see.
    """
    highest = max((v for v in day_.loss if v), default=0.0)
    top = min(max(nice_top(highest), 2 * limit), max(LOSS_LIMITS * limit, 0.01))
    columns = tuple(
        (_x(n), max(1.5, HEIGHT * min(1.0, value / top)))
        for n, value in enumerate(day_.loss)
        if value
    )
    return Chart(
        top, (), columns, _limit(limit, top), _hours(day_.begin, zone), clipped=highest > top
    )


def nice_top(value: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below a value.

    >>> nice_top(0.041), nice_top(0.12), nice_top(1.0), nice_top(0)
    (0.05, 0.2, 1.0, 0.01)
    """
    if value <= 0.01:
        return 0.01
    power = 10.0 ** math.floor(math.log10(value))
    steps: Sequence[float] = (1, 2, 5, 10)
    return next(round(s * power, 9) for s in steps if s * power >= value * (1 - 1e-9))


def _x(bucket: float) -> float:
    return WIDTH * bucket / _BUCKETS


def _limit(limit: float, top: float) -> float | None:
    return HEIGHT * (1 - limit / top) if limit <= top else None


def _hours(begin: datetime, zone: ZoneInfo) -> tuple[Tick, ...]:
    """A mark at every sixth hour of local time."""
    local = begin.astimezone(zone)
    hour = local.replace(minute=0, second=0, microsecond=0)
    ticks = []
    for _ in range(HOURS + 1):
        x = WIDTH * ((hour - local) / timedelta(hours=HOURS))
        if 0 <= x <= WIDTH and hour.hour % 6 == 0:
            ticks.append(Tick(round(x, 1), f"{hour:%H:%M}"))
        hour += timedelta(hours=1)
    return tuple(ticks)

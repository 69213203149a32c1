"""Charts of an office's past, from a day to a year: computes the coordinates of the SVG. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from types import MappingProxyType
from zoneinfo import ZoneInfo

from jharnet_monitor.model import Measurement

WIDTH, HEIGHT = 720.0, 120.0
"""The drawing area, in units of the view box."""

LOSS_LIMITS = 10
"""A loss chart ends at this many times the threshold; higher columns are clipped."""


@dataclass(frozen=True, slots=True)
class PlotSpan:
    """A length of time that is plotted: its buckets, and the marks of its axis."""

    name: str
    buckets: int
    width: timedelta
    mark_hours: int = 0
    """The hours between two marks; 0 places them at midnights."""
    mark_days: int = 1
    """The days between two marks at midnights."""

    @property
    def length(self) -> timedelta:
        """From the first bucket to the end of the last."""
        return self.buckets * self.width


DAY = PlotSpan("day", 144, timedelta(minutes=10), mark_hours=6)
SPANS = MappingProxyType({
    one.name: one
    for one in (
        DAY,
        PlotSpan("week", 168, timedelta(hours=1)),
        PlotSpan("month", 120, timedelta(hours=6), mark_days=5),
        PlotSpan("year", 365, timedelta(days=1), mark_days=61),
    )
})  # fmt: skip
"""What can be plotted, by name."""


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
    """Lines with gaps, or columns. `top` is the value at the upper edge; `clipped` if some values
    exceed it."""

    top: float
    lines: tuple[str, ...]
    """Points of polylines; a gap in the data begins a new one."""
    columns: tuple[tuple[float, float], ...]
    """x and height of the columns."""
    limit: float | None
    """y of the threshold's line; None if it is above the chart."""
    ticks: tuple[Tick, ...]
    clipped: bool = False
    others: tuple[str, ...] = ()
    """Lines of a second series."""
    other_limit: float | None = None
    """y of the second series' threshold, where it differs from `limit`."""
    column_width: float = 4.0
    good_from: float | None = None
    """Columns of this height or more are good; None where all are bad."""


@dataclass(frozen=True, slots=True)
class LatencyPast:
    """Latency and loss in buckets; None where nothing was measured."""

    begin: datetime
    span: PlotSpan
    latency: tuple[float | None, ...]
    """Median of the measurements' medians, in seconds."""
    loss: tuple[float | None, ...]
    sent: int
    received: int

    @property
    def latencies(self) -> list[float]:
        """The latencies of the buckets with at least one reply."""
        return [value for value in self.latency if value is not None]


@dataclass(frozen=True, slots=True)
class EchoSummary:
    """What one latency measurement adds to a bucket."""

    at: datetime
    median: float | None
    sent: int
    received: int


def day(measurements: Iterable[Measurement], now: datetime) -> LatencyPast:
    """Sort latency measurements into the buckets of a day up to now."""
    return in_buckets(
        (
            EchoSummary(
                one.started_at, one.values.get("rtt_p50_seconds"),
                int(one.values.get("sent", 0)), int(one.values.get("received", 0)),
            )
            for one in measurements
        ),
        now, DAY,
    )  # fmt: skip


def in_buckets(echoes: Iterable[EchoSummary], now: datetime, span: PlotSpan) -> LatencyPast:
    """Sort what was measured into the buckets of a span up to now."""
    begin, count = now - span.length, span.buckets
    medians: list[list[float]] = [[] for _ in range(count)]
    sent, received = [0] * count, [0] * count
    for echo in echoes:
        bucket = (echo.at - begin) // span.width
        if not 0 <= bucket < count:
            continue
        if echo.median is not None:
            medians[bucket].append(echo.median)
        sent[bucket] += echo.sent
        received[bucket] += echo.received
    return LatencyPast(
        begin,
        span,
        tuple(median(values) if values else None for values in medians),
        tuple(1 - r / s if s else None for s, r in zip(sent, received, strict=True)),
        sum(sent),
        sum(received),
    )


def line_chart(past: LatencyPast, limit: float, zone: ZoneInfo) -> Chart:
    """Latency as a line, with gaps where there was no reply."""
    top = nice_top(max(past.latencies, default=0.0))
    step = WIDTH / past.span.buckets
    values = [((n + 0.5) * step, value) for n, value in enumerate(past.latency)]
    return Chart(
        top, tuple(_polylines(values, top)), (), _limit(limit, top),
        ticks(past.begin, past.span, zone),
    )  # fmt: skip


def column_chart(past: LatencyPast, limit: float, zone: ZoneInfo) -> Chart:
    """Loss as columns; a bucket without loss or without packets has none.

    The chart ends at the highest column, but at most at `LOSS_LIMITS` times the threshold: the
    total loss of an outage would make all other loss too small to see.
    """
    highest = max((v for v in past.loss if v), default=0.0)
    top = min(max(nice_top(highest), 2 * limit), max(LOSS_LIMITS * limit, 0.01))
    step = WIDTH / past.span.buckets
    columns = tuple(
        (n * step, max(1.5, HEIGHT * min(1.0, value / top)))
        for n, value in enumerate(past.loss)
        if value
    )
    return Chart(
        top, (), columns, _limit(limit, top), ticks(past.begin, past.span, zone),
        clipped=highest > top, column_width=round(max(1.5, 0.8 * step), 1),
    )  # fmt: skip


def speed_chart(
    tests: Sequence[tuple[datetime, float | None, float | None]],
    contracted: tuple[float, float] | None,
    delivered: float,
    begin: datetime,
    span: PlotSpan,
    zone: ZoneInfo,
) -> Chart:
    """Speed tests as two lines, towards the office and from it, in bit/s; the limit of each is the
    `delivered` share of what is contracted for its direction.
    """
    known = [rate for _, down, up in tests for rate in (down, up) if rate is not None]
    top = nice_top(max([*known, *(contracted or ())], default=1.0))
    at = [WIDTH * ((moment - begin) / span.length) for moment, _, _ in tests]
    towards = [(x, down) for x, (_, down, _) in zip(at, tests, strict=True)]
    back = [(x, up) for x, (_, _, up) in zip(at, tests, strict=True)]
    down, up = (tuple(_polylines(values, top)) for values in (towards, back))
    limits = [_limit(delivered * one, top) for one in contracted or ()] or [None, None]
    return Chart(
        top, down, (), limits[0], ticks(begin, span, zone), others=up,
        other_limit=limits[1] if limits[1] != limits[0] else None,
    )  # fmt: skip


def grade_chart(
    tests: Sequence[tuple[datetime, int]],
    wanted: int,
    begin: datetime,
    span: PlotSpan,
    zone: ZoneInfo,
) -> Chart:
    """Conference grades as columns from 0 to 4; the limit is the standard."""
    columns = tuple(
        (round(WIDTH * ((at - begin) / span.length), 1), max(1.5, HEIGHT * grade / 4))
        for at, grade in tests
    )
    width = {"day": 8.0, "week": 8.0, "month": 4.0}.get(span.name, 1.5)
    return Chart(
        4.0,
        (),
        columns,
        _limit(wanted, 4.0),
        ticks(begin, span, zone),
        column_width=width,
        good_from=HEIGHT * wanted / 4,
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


def _polylines(values: Iterable[tuple[float, float | None]], top: float) -> Iterator[str]:
    """Lines through the values at their x, from 0 to `top`; a gap begins a new one."""
    points: list[str] = []
    for x, value in (*values, (0.0, None)):
        if value is not None:
            points.append(f"{x:.1f},{HEIGHT * (1 - value / top):.1f}")
        elif points:
            # A line of one point would be invisible: double it, so it is drawn as a dash.
            yield " ".join(points if len(points) > 1 else points * 2)
            points = []


def _limit(limit: float, top: float) -> float | None:
    return HEIGHT * (1 - limit / top) if limit <= top else None


def ticks(begin: datetime, span: PlotSpan, zone: ZoneInfo) -> tuple[Tick, ...]:
    """Marks at hours of local time on a day, else at midnights."""
    local, end = begin.astimezone(zone), (begin + span.length).astimezone(zone)
    found, number = [], 0
    moment = local.replace(minute=0, second=0, microsecond=0)
    step = timedelta(hours=1)
    if not span.mark_hours:
        moment, step = moment.replace(hour=0), timedelta(days=1)
    while moment <= end:
        x = WIDTH * ((moment - local) / span.length)
        if x >= 0 and span.mark_hours and moment.hour % span.mark_hours == 0:
            found.append(Tick(round(x, 1), f"{moment:%H:%M}"))
        elif x >= 0 and not span.mark_hours:
            if number % span.mark_days == 0:
                found.append(Tick(round(x, 1), f"{moment:%d.%m.}"))
            number += 1
        moment += step
    return tuple(found)

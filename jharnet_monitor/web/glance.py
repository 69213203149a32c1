"""An office's last 24 hours and 7 days at a glance: strips of states, a line of latency, grades.

Pure. Time in which headquarters' own line was down or maintenance was planned counts neither as
down nor as loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from jharnet_monitor.i18n.formats import Formats, milliseconds, share, share_floor
from jharnet_monitor.judge.outages.availability import (
    DOWN,
    StateTimes,
    known_well_enough,
    state_times,
)
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import OfficeState
from jharnet_monitor.web.past import BUCKET, DAY, WEEK, HalfHour, OfficePast

STRIP = 240
"""The width of a strip, in units of its view box."""
SPARK_HEIGHT = 24
MOST_GRADES = 14
EXCUSED = frozenset({OfficeState.UPLINK_DOWN, OfficeState.PLANNED})
"""States in which silence says nothing about an office."""
_MOST_STATES = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a strip in one state, in its units."""

    x: int
    width: int
    state: OfficeState


@dataclass(frozen=True, slots=True)
class Glance:
    """What a row shows of the past; its texts say the same in words, for screen readers."""

    day: tuple[Piece, ...]
    week: tuple[Piece, ...]
    day_text: str
    week_text: str
    available: str
    """Availability in the week, and how many grades reached the standard."""
    spark: tuple[str, ...]
    """Points of the latency's lines; a gap begins a new one."""
    lost: tuple[tuple[int, int], ...]
    """x and height of columns, where packets were lost beyond the standard."""
    spark_text: str
    grades: tuple[int, ...]
    """The grades of the newest tests, oldest first."""
    grades_text: str


def glance(past: OfficePast, loss_limit: float, formats: Formats) -> Glance:
    """A week of one office up to now."""
    now, t = formats.now, formats.words
    week = state_times(past.spans, now - WEEK, now)
    available = known_well_enough(week.availability, week.coverage)
    grades = tuple(grade for _, grade in past.grades[-MOST_GRADES:])
    day = _day(past, now)
    latency = [bucket.latency for bucket in day]
    known = [value for value in latency if value is not None]
    sent, received = (sum(getattr(one, name) for one in day) for name in ("sent", "received"))
    return Glance(
        day=tuple(pieces(past.spans, now - DAY, now)),
        week=tuple(pieces(past.spans, now - WEEK, now)),
        day_text=times_text(state_times(past.spans, now - DAY, now), formats, t("web.glance.day")),
        week_text=times_text(week, formats, t("web.glance.week")),
        available=""
        if available is None
        else t("web.glance.available", share=share_floor(available)),
        spark=tuple(_lines(latency, max(known, default=0.0))),
        lost=tuple(_columns([bucket.loss for bucket in day], loss_limit)),
        spark_text=t(
            "web.glance.latency",
            median=milliseconds(sorted(known)[len(known) // 2]),
            highest=milliseconds(max(known)),
            loss=share(1 - received / sent),
        )
        if known
        else "",
        grades=grades,
        grades_text=t("web.glance.grades", grades=", ".join(map(str, grades))) if grades else "",
    )


def pieces(spans: Sequence[Span], begin: datetime, end: datetime) -> Iterator[Piece]:
    """The parts of a strip over [begin, end); an outage is at least one unit wide.

    >>> from datetime import UTC
    >>> def at(hour: int) -> datetime: return datetime(2026, 11, 23, hour, tzinfo=UTC)
    >>> cut = Span(OfficeState.LINK_DOWN, at(6), at(12))
    >>> [(one.x, one.width) for one in pieces([cut], at(0), at(12))]
    [(120, 120)]
    """
    whole = (end - begin) / timedelta(seconds=1)
    for span in spans:
        first, last = max(span.start, begin), min(span.end, end)
        if first >= last or span.state is OfficeState.UNKNOWN:
            continue
        x = round(STRIP * ((first - begin).total_seconds() / whole))
        right = round(STRIP * ((last - begin).total_seconds() / whole))
        if right > x or span.state in DOWN:
            x = min(x, STRIP - 1)
            yield Piece(x, max(1, right - x), span.state)


def is_excused(spans: Sequence[Span], at: datetime) -> bool:
    """Whether silence at a moment says nothing about the office."""
    return any(span.state in EXCUSED and span.start <= at < span.end for span in spans)


def times_text(times: StateTimes, formats: Formats, what: str) -> str:
    """The longest states of a period in words."""
    longest = sorted(times.times.items(), key=lambda one: -one[1])[:_MOST_STATES]
    parts = [
        f"{formats.words(f'state.{state}')} {formats.duration(length.total_seconds())}"
        for state, length in longest
        if length
    ]
    return f"{what}: {'; '.join(parts)}"


def _day(past: OfficePast, now: datetime) -> list[HalfHour]:
    """The buckets of the last 24 hours in order; empty where nothing was measured, or where the
    state excuses the office.
    """
    begin = now - DAY
    first = begin - timedelta(seconds=begin.timestamp() % BUCKET.total_seconds()) + BUCKET
    moments = [first.replace(microsecond=0) + n * BUCKET for n in range(DAY // BUCKET)]
    return [
        HalfHour() if is_excused(past.spans, at + BUCKET / 2) else past.buckets.get(at, HalfHour())
        for at in moments
    ]


def _lines(latency: Sequence[float | None], top: float) -> Iterator[str]:
    """Lines from 0 to the highest latency, over the strip's width."""
    step = STRIP / max(len(latency), 1)
    points: list[str] = []
    for number, value in enumerate((*latency, None)):
        if value is not None:
            y = round((SPARK_HEIGHT - 2) * (1 - value / top)) + 1
            points.append(f"{round((number + 0.5) * step)},{y}")
        elif points:
            yield " ".join(points if len(points) > 1 else points * 2)
            points = []


def _columns(loss: Sequence[float | None], limit: float) -> Iterator[tuple[int, int]]:
    """Columns where more packets were lost than the standard allows: half the height at the
    standard, the full height from five times the standard.
    """
    step = STRIP / max(len(loss), 1)
    for number, value in enumerate(loss):
        if value is not None and value > limit:
            height = min(1.0, 0.5 + value / (10 * limit)) if limit else 1.0
            yield round(number * step), round(SPARK_HEIGHT * height)

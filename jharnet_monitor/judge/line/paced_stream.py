"""What a paced stream of datagrams shows of a line. Pure.

A stream has two parts. The *light* part is slower than the line: its loss is the line's own, and
its delays are those of an empty queue. The *full* part is faster than the line and keeps it busy
whatever its loss, round trip and jitter: the rate at which datagrams arrive is what the line
carries (RFC 9097 measures a capacity in the same way). A token bucket shows as a bend: until it is
spent, datagrams arrive at the rate at which they are sent, afterwards at the rate of the bucket.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, sqrt
from statistics import fmean, median, pstdev

from jharnet_monitor.judge.line.throughput import Sample, fit

MIN_ROWS = 4
"""Fewest points of a part that are evaluated."""
FULL_SHARE = 0.8
"""Without a queue, only a stream of which less than this arrives (besides the line's own loss) has
filled the line: a policer drops the rest."""
GROWTH_SECONDS, GROWTH_PACKETS, GROWTH_JITTER = 0.006, 2.0, 2.2
"""A queue stands if the delay grew by this time, by that many packets' time on the line, and by
that many standard deviations of the delay: packets that keep their order wait for late ones, and
the closer they follow each other, the longer."""
RULE_OF_THREE = 3.0
"""No loss among n packets: with 95 % confidence the loss is below 3/n."""
TAIL_SHARE = 0.3
"""The end of a long stream, in which the bucket must be spent."""
BEND = 1.06
"""Before the bend datagrams arrive faster than after it by at least this factor."""
LOSSY, LOSSY_BEND = 0.005, 1.25
"""On a line that loses packets anyway the bend must be larger: losses come in bursts."""
DROPPED = 0.5
"""A policer drops at least this part of what is missing after the bend."""
TAIL_PARTS = 8
SETTLED = 0.03
"""Both halves of the end agree within this share, or the bucket was not spent before it."""
OVERFLOW = 0.05
"""A full queue drops at least this share, besides the line's own loss."""
PAUSE_SECONDS = 0.02
"""A sender that paused for longer may have let the queue of the line run empty."""
SHAPED_SECONDS = 0.015
"""A bucket after which packets wait for longer than this shapes; otherwise it polices."""


@dataclass(frozen=True, slots=True)
class StreamRow:
    """State of the receiver at a datagram that arrived at `seconds` and was sent at `sent`.

    Both are seconds of their own clocks. `received` datagrams have arrived until then, and
    `highest` is the largest number, from 0, among them.
    """

    seconds: float
    received: int
    highest: int
    sent: float

    @property
    def delay(self) -> float:
        """One-way delay in seconds, plus an unknown constant."""
        return self.seconds - self.sent


@dataclass(frozen=True, slots=True)
class PacedRate:
    """What a stream shows; rates in bit/s, `error` (95 %) and `loss` are shares.

    `filled` says whether the stream was faster than the line; if not, `rate` is a lower bound.
    `loss_high` is the upper end of the loss of the line itself, `swing` how far the share that was
    lost while the line was full may be from the mean.
    """

    rate: float
    error: float
    loss: float
    loss_high: float
    filled: bool
    queue_seconds: float
    jitter: float
    swing: float = 0.0


@dataclass(frozen=True, slots=True)
class SpentBucket:
    """A token bucket: its rate in bit/s with its error (95 %, a share), its size in bytes.

    `shaped` is True where packets without tokens wait instead of being dropped.
    """

    rate: float
    error: float
    size: float
    shaped: bool


def paced_rate(
    rows: Sequence[StreamRow],
    ip_bytes: int,
    light_seconds: float,
    most_loss: float | None = None,
) -> PacedRate | None:
    """The rate that a stream shows whose light part took the first `light_seconds` of sending.

    `most_loss` is the largest possible loss of the line as a share, if known. None if too little of
    the stream arrived.
    """
    light = [row for row in rows if row.sent < light_seconds]
    full = [row for row in rows if row.sent >= light_seconds]
    if len(full) < MIN_ROWS or full[-1].seconds <= full[0].seconds:
        return None
    slope, error = _rate_without_pauses(full, ip_bytes)
    if slope <= 0:
        return None
    loss, loss_high = _loss(light)
    swing = (loss_high - loss) / (1 if loss else 2)
    if most_loss is not None:
        loss_high = max(loss, min(loss_high, most_loss))
        swing = swing if loss else min(swing, most_loss)
    calm = median(row.delay for row in light) if light else min(row.delay for row in full)
    late = median(row.delay for row in full[len(full) // 2 :])
    jitter = pstdev([row.delay for row in light]) if len(light) >= MIN_ROWS else 0.0
    growth = late - calm
    packets = GROWTH_PACKETS * 8 * ip_bytes / slope
    stands = growth > max(GROWTH_SECONDS, packets, GROWTH_JITTER * jitter)
    arriving = 1 - loss_high - swing
    filled = stands or slope < FULL_SHARE * _sent_rate(full, ip_bytes) * arriving
    return PacedRate(
        slope, error, loss, loss_high, filled, growth if stands else 0.0, jitter, swing
    )


def bucket(rows: Sequence[StreamRow], ip_bytes: int, light_seconds: float) -> SpentBucket | None:
    """The token bucket that a long stream has spent; None without a bend, or if it has not ended.
    The size follows from the rate after the bend, extended back to the start of the full part.
    """
    full = [row for row in rows if row.sent >= light_seconds]
    if len(full) < 4 * MIN_ROWS:
        return None
    begin, end = full[0], full[-1]
    tail = [row for row in full if row.seconds >= end.seconds - TAIL_SHARE * _span(full)]
    rate, error = tail_rate(rows, ip_bytes, light_seconds)
    if rate <= 0 or not tail_is_settled(full, ip_bytes):
        return None
    middle = tail[len(tail) // 2]
    back = middle.received - (middle.seconds - begin.seconds) * rate / 8 / ip_bytes
    size = (back - begin.received) * ip_bytes
    head_seconds = 8 * size / max(1.0, _sent_rate(full, ip_bytes) - rate)
    head = [row for row in full if row.seconds <= begin.seconds + 0.8 * head_seconds]
    first, _ = _rate(head, ip_bytes)
    bend = BEND if _lost(rows, begin) < LOSSY else LOSSY_BEND
    if len(head) < MIN_ROWS or first < bend * rate:
        return None
    calm = median(row.delay for row in rows if row.sent <= begin.sent + 0.5 * head_seconds)
    waits = median(row.delay for row in tail) - calm
    dropped = 1 - (tail[-1].received - tail[0].received) / (tail[-1].highest - tail[0].highest)
    if waits <= SHAPED_SECONDS and dropped < DROPPED * (1 - rate / first):
        return None  # the sender was slower, not the line
    return SpentBucket(rate, error, size, waits > SHAPED_SECONDS)


def full_queue(rows: Sequence[StreamRow], light_seconds: float) -> float | None:
    """Seconds that packets wait at the end of a long stream that overflows the line's queue, which
    is its depth; None if none were dropped there, or if no queue stands."""
    light = [row for row in rows if row.sent < light_seconds]
    full = [row for row in rows if row.sent >= light_seconds]
    if len(light) < MIN_ROWS or len(full) < MIN_ROWS:
        return None
    tail = [row for row in full if row.seconds >= full[-1].seconds - TAIL_SHARE * _span(full)]
    sent = tail[-1].highest - tail[0].highest
    if sent <= 0:
        return None
    dropped = 1 - (tail[-1].received - tail[0].received) / sent
    waits = median(row.delay for row in tail) - median(row.delay for row in light)
    jitter = pstdev([row.delay for row in light])
    stands = waits > max(SHAPED_SECONDS, GROWTH_JITTER * jitter)
    return waits if stands and dropped >= _loss(light)[0] + OVERFLOW else None


def tail_is_settled(full: Sequence[StreamRow], ip_bytes: int) -> bool:
    """Whether both halves of the end of a stream have the same rate."""
    end, length = full[-1].seconds, TAIL_SHARE * _span(full)
    early = [row for row in full if end - length <= row.seconds <= end - length / 2]
    late = [row for row in full if row.seconds >= end - length / 2]
    first, first_error = _rate(early, ip_bytes)
    second, second_error = _rate(late, ip_bytes)
    allowed = max(SETTLED, first_error + second_error)
    return min(first, second) > 0 and abs(first - second) <= allowed * max(first, second)


def tail_rate(
    rows: Sequence[StreamRow], ip_bytes: int, light_seconds: float
) -> tuple[float, float]:
    """Rate in bit/s at the end of a long stream, and its error (95 %, a share)."""
    full = [row for row in rows if row.sent >= light_seconds]
    if len(full) < MIN_ROWS:
        return 0.0, inf
    begin = full[-1].seconds - TAIL_SHARE * _span(full)
    tail = [row for row in full if row.seconds >= begin]
    rate, error = _rate(tail, ip_bytes)
    size = len(tail) // TAIL_PARTS
    if size < MIN_ROWS:
        return rate, error
    parts = [_rate(tail[n * size : (n + 1) * size + 1], ip_bytes)[0] for n in range(TAIL_PARTS)]
    middle = median(parts)  # a sender that stalled lowers few of them
    return middle, max(error, abs(middle - rate) / middle if middle else inf)


def _lost(rows: Sequence[StreamRow], begin: StreamRow) -> float:
    """The share that was lost before the full part began."""
    return 1 - begin.received / (begin.highest + 1)


def _span(rows: Sequence[StreamRow]) -> float:
    return rows[-1].seconds - rows[0].seconds


def _rate(rows: Sequence[StreamRow], ip_bytes: int) -> tuple[float, float]:
    if len(rows) < MIN_ROWS:
        return 0.0, inf
    return fit([Sample(row.seconds, float(row.received * ip_bytes)) for row in rows])


def _rate_without_pauses(rows: Sequence[StreamRow], ip_bytes: int) -> tuple[float, float]:
    """Rate and error as `_rate`, in which a pause of the sender is not taken for the line's.

    The rows before and after each pause are fitted with one slope, but each with its own start.
    Behind a token bucket, which fills up in a pause, that may be no better: what is surer counts.
    """
    as_one = _rate(rows, ip_bytes)
    runs = _between_pauses(rows)
    if len(runs) == 1:
        return as_one
    centred = [sample for run in runs for sample in _centred(run, ip_bytes)]
    return min(as_one, fit(centred), key=lambda found: found[1])


def _between_pauses(rows: Sequence[StreamRow]) -> list[list[StreamRow]]:
    """The rows, divided where the sender paused by its own clock."""
    spacings = [
        (after.sent - before.sent) / (after.highest - before.highest)
        for before, after in pairwise(rows)
        if after.highest > before.highest
    ]
    spacing = median(spacings) if spacings else 0.0
    runs, newest = [[rows[0]]], rows[0]
    for row in rows[1:]:
        pause = row.sent - newest.sent - (row.highest - newest.highest) * spacing
        if pause > PAUSE_SECONDS:
            runs.append([])
        runs[-1].append(row)
        if row.sent > newest.sent:  # not a packet that another has overtaken
            newest = row
    return runs


def _centred(rows: Sequence[StreamRow], ip_bytes: int) -> list[Sample]:
    """The rows as differences from their mean, in seconds and bytes."""
    seconds = fmean(row.seconds for row in rows)
    received = fmean(row.received for row in rows)
    return [Sample(row.seconds - seconds, (row.received - received) * ip_bytes) for row in rows]


def _sent_rate(rows: Sequence[StreamRow], ip_bytes: int) -> float:
    """bit/s at which these rows were sent."""
    first, last = rows[0], rows[-1]
    seconds = last.sent - first.sent
    return 8 * ip_bytes * (last.highest - first.highest) / seconds if seconds > 0 else inf


def _loss(light: Sequence[StreamRow]) -> tuple[float, float]:
    """The share of the light part that was lost, and its upper end (95 %)."""
    if not light:
        return 0.0, 0.5
    sent = light[-1].highest + 1
    lost = max(0, sent - light[-1].received)
    if not lost:
        return 0.0, min(0.5, RULE_OF_THREE / sent)
    share = lost / sent
    runs = max(1, _loss_runs(light))
    together = max(1.0, 2 * lost / runs - 1)  # variance of losses that come in bursts
    return share, min(0.9, share + 1.96 * sqrt(share * (1 - share) * together / sent))


def _loss_runs(light: Sequence[StreamRow]) -> int:
    """In how many places packets are missing, as far as the rows show."""
    missing = [row.highest + 1 - row.received for row in light]
    return sum(after > before for before, after in pairwise([0, *missing]))

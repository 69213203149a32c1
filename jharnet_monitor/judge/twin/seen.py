"""The line as one end saw it: rate, queue, loss, jitter and gaps from a call's arrivals. Pure.

A call that fills the line shows its rate by what comes through while a queue stands; one that does
not shows it by how far apart the packets of a frame arrive (packet pairs; Dovrolis et al., 2001).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]

_BIN = 0.1
"""Seconds over which the shortest transit tells the standing queue."""
_STANDING = 0.015
"""Seconds of standing queue from which the line counts as full."""
_LEAST_BUSY = 0.4
"""Seconds of a full line that tell its rate."""
_GAP = 0.25
"""Seconds without any packet from which the line counts as interrupted."""
_LEAST_PAIRS = 40
_SETTLE = 0.5
"""Seconds at the start in which the other end's first packets may be refused."""
_QUIET_SPREAD = 0.9
"""Share of a uniform distribution between its 5th and 95th percentile."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream, in sending order; a lost packet's arrival is not a number.

    `sent` and `at` are seconds of two clocks, `size` is in bytes on the line; `frame` numbers the
    picture (or the packet of sound).
    """

    sent: Column
    at: Column
    size: Column
    frame: Column


@dataclass(frozen=True, slots=True)
class Seen:
    """What the arrivals tell of one direction; None is what they do not tell. SI units."""

    rate: float | None
    """The bottleneck's rate; None if none was met."""
    at_least: float
    """What the line carries at least."""
    available: float | None
    """What came through while a queue stood; less than `rate` if others send as well."""
    queue: float | None
    """The longest queue before packets were dropped; None if none was dropped for that."""
    longest_queue: float
    policed: bool
    """Packets were dropped for their rate although none waited."""
    bucket: float | None
    """Seconds of the rate that the policer let through at once."""
    jitter: float
    """Half the width of the distribution of the delay in quiet times."""
    loss: float
    """Of packets that no queue explains."""
    burst: float
    lost: int
    """Packets that `loss` counts: its own uncertainty."""
    packets: int
    gone: float
    """Mean seconds of an interruption; 0 without one."""
    every: float
    """Seconds from one to the next; of a single one, the length of the call."""


class _Trace:
    """Both streams together, by the time of sending."""

    def __init__(self, audio: Stream, video: Stream) -> None:
        # Each stream's clock starts where it likes; the fastest packet of either saw no queue.
        offsets = [_fastest(audio), _fastest(video)]
        sent = np.concatenate([audio.sent + offsets[0], video.sent + offsets[1]])
        order = np.argsort(sent, kind="stable")
        self.sent = sent[order]
        self.at = np.concatenate([audio.at, video.at])[order]
        self.size = np.concatenate([audio.size, video.size])[order]
        late = self.sent >= self.sent[0] + _SETTLE
        self.sent, self.at, self.size = self.sent[late], self.at[late], self.size[late]
        self.lost = np.isnan(self.at)
        transit = self.at - self.sent
        self.base = float(np.nanmin(transit))
        self.queue = transit - self.base
        self.start, self.seconds = float(self.sent[0]), float(self.sent[-1] - self.sent[0])
        bins = ((self.sent - self.start) / _BIN).astype(int)
        self.bin = bins
        count = int(bins[-1]) + 1
        standing = np.full(count, np.inf)
        np.fmin.at(standing, bins[~self.lost], self.queue[~self.lost])
        self.standing = np.where(np.isinf(standing), np.nan, standing)
        self.sent_in = np.bincount(bins, minlength=count)
        self.lost_in = np.bincount(bins, weights=self.lost, minlength=count)


def _fastest(stream: Stream) -> float:
    """The shortest transit, in seconds between the two clocks."""
    transit = stream.at - stream.sent
    return float(np.nanmin(transit)) if np.isfinite(transit).any() else 0.0


def see(audio: Stream, video: Stream) -> Seen | None:
    """Read the line from both streams; None if too little arrived."""
    if np.isfinite(audio.at).sum() < 100:
        return None
    trace = _Trace(audio, video)
    jitter = _jitter(trace, audio, video)
    floor = _STANDING + jitter
    busy = np.nan_to_num(trace.standing, nan=0.0) > floor
    gone, every, interrupted = _interruptions(trace, audio, video)
    busy &= ~interrupted
    available = _delivered(trace, busy)
    pairs = _pair_rate(video, trace, busy)
    near_busy = _near(busy)
    overflow = near_busy & (trace.lost_in > 0)
    quiet = ~near_busy & ~interrupted
    lost, packets = float(trace.lost_in[quiet].sum()), float(trace.sent_in[quiet].sum())
    policer = _policer(trace, quiet) if available is None else None
    if policer is not None:
        rate, bucket, lost, packets = policer
    elif available is not None:
        raw = pairs if pairs is not None and pairs > 1.12 * available else available
        rate, bucket = max(raw, available), None
    else:
        rate, bucket = pairs, None
    if packets < 200:
        # The line was full all the time: what was lost in excess of the fullest queue is not known.
        lost, packets = _loss_beside_queue(trace, busy)
    depth = _depth(trace, overflow)
    arrived = np.isfinite(trace.at)
    at_least = float(trace.size[arrived].sum() * 8 / max(1.0, trace.seconds))
    top = _busiest(trace)
    return Seen(
        rate=rate, at_least=max(at_least, top), available=available, queue=depth,
        longest_queue=float(np.nanpercentile(trace.queue, 99)), policed=policer is not None,
        bucket=bucket, jitter=jitter, loss=lost / packets if packets else 0.0,
        burst=_burst(trace, quiet), lost=int(lost), packets=int(packets), gone=gone, every=every,
    )  # fmt: skip


def _near(busy: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Bins that are busy or next to one that is."""
    near = busy.copy()
    near[1:] |= busy[:-1]
    near[:-1] |= busy[1:]
    return near


def _jitter(trace: _Trace, audio: Stream, video: Stream) -> float:
    """Half the width of the delay of the first packets of frames, and of sound, in quiet times."""
    widths = []
    for stream in (audio, video):
        if not np.isfinite(stream.at).any():
            continue
        sent = stream.sent + _fastest(stream)
        first = np.ones(len(stream.at), bool)
        first[1:] = np.diff(stream.frame) != 0
        keep = first & np.isfinite(stream.at) & (sent >= trace.start)
        if keep.sum() < 60:
            continue
        transit = stream.at[keep] - sent[keep]
        # Within a second, the queue of the line itself moves little.
        bins = (sent[keep] - trace.start).astype(int)
        spreads = [
            np.percentile(transit[bins == number], 95) - np.percentile(transit[bins == number], 5)
            for number in np.unique(bins)
            if (bins == number).sum() >= 15
        ]
        if spreads:
            widths.append(float(np.percentile(spreads, 25)))
    return min(widths) / _QUIET_SPREAD / 2 if widths else 0.0


def _delivered(trace: _Trace, busy: NDArray[np.bool_]) -> float | None:
    """bit/s that arrived while the line was full; None if it was not for long enough."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], busy.astype(int), [0]])))
    bits = seconds = 0.0
    for begin, end in edges.reshape(-1, 2):
        if end - begin < 2:
            continue
        inside = (trace.bin >= begin) & (trace.bin < end) & ~trace.lost
        at = trace.at[inside]
        if len(at) < 3:
            continue
        span = float(at.max() - at.min())
        bits += float(trace.size[inside].sum() - trace.size[inside][at.argmin()]) * 8
        seconds += span
    return bits / seconds if seconds >= _LEAST_BUSY else None


def _pair_rate(video: Stream, trace: _Trace, busy: NDArray[np.bool_]) -> float | None:
    """The bottleneck's rate by how far apart packets of a frame arrive; None if it shows none."""
    if len(video.at) < _LEAST_PAIRS:
        return None
    same = (np.diff(video.frame) == 0) & np.isfinite(video.at[1:]) & np.isfinite(video.at[:-1])
    gaps = np.diff(video.at)[same]
    size = video.size[1:][same] * 8
    use = gaps > 2e-4
    if use.sum() < _LEAST_PAIRS:
        return None
    return float(np.median(size[use] / gaps[use]))


def _interruptions(
    trace: _Trace, audio: Stream, video: Stream
) -> tuple[float, float, NDArray[np.bool_]]:
    """Mean length, spacing, and the bins that they fill."""
    dead = (trace.lost_in == trace.sent_in) & (trace.sent_in > 0)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], dead.astype(int), [0]])))
    lengths, found = [], np.zeros(len(dead), bool)
    for begin, end in edges.reshape(-1, 2):
        inside = (trace.bin >= begin) & (trace.bin < end)
        if (end - begin) * _BIN >= _GAP and inside.sum() >= 8:
            lengths.append((end - begin) * _BIN + _BIN / 2)
            found[max(0, begin - 1) : end + 5] = True
    if not lengths:
        return 0.0, 0.0, found
    return float(np.mean(lengths)), trace.seconds / len(lengths), found


def _policer(
    trace: _Trace, quiet: NDArray[np.bool_]
) -> tuple[float, float, float, float] | None:
    """Rate, bucket in seconds, and the loss at low rates; None if loss does not follow the rate."""
    second = trace.bin // 10
    count = int(second[-1]) + 1
    sent = np.bincount(second, weights=trace.size * 8, minlength=count)
    got = np.bincount(second, weights=trace.size * 8 * ~trace.lost, minlength=count)
    number = np.bincount(second, minlength=count)
    lost = np.bincount(second, weights=trace.lost, minlength=count) / np.maximum(number, 1)
    if count < 6:
        return None
    heavy = lost > 0.08
    if heavy.sum() < 2:
        return None
    rate = float(np.median(got[heavy]))
    light = sent < 0.85 * rate
    light_loss = float((lost * number)[light].sum() / max(1, number[light].sum()))
    # A policer passes what is below its rate and no more than its rate above.
    if light.sum() < 3 or light_loss > 0.35 * float(lost[heavy].mean()):
        return None
    before = np.flatnonzero(heavy)[0]
    extra = float(np.maximum(0.0, got[:before] - rate).sum())
    bucket = float(np.clip(extra / rate, 0.05, 2.0))
    return rate, bucket, float((lost * number)[light].sum()), float(number[light].sum())


def _loss_beside_queue(trace: _Trace, busy: NDArray[np.bool_]) -> tuple[float, float]:
    """Packets lost and sent while the queue was well below its deepest."""
    deepest = float(np.nanpercentile(trace.queue, 99))
    low = np.nan_to_num(trace.standing, nan=np.inf) < 0.5 * deepest
    return float(trace.lost_in[low].sum()), float(trace.sent_in[low].sum())


def _depth(trace: _Trace, overflow: NDArray[np.bool_]) -> float | None:
    """The queue's length when packets were dropped although the line was full."""
    if trace.lost_in[overflow].sum() < 3:
        return None
    inside = overflow[trace.bin] & ~trace.lost
    return float(np.percentile(trace.queue[inside], 95)) if inside.sum() >= 5 else None


def _burst(trace: _Trace, quiet: NDArray[np.bool_]) -> float:
    """Mean number of packets lost in a row, where no queue explains it."""
    lost = trace.lost & quiet[trace.bin]
    starts = int((lost[1:] & ~lost[:-1]).sum()) + int(lost[0]) if len(lost) else 0
    return float(lost.sum() / starts) if starts else 1.0


def _busiest(trace: _Trace) -> float:
    """bit/s that arrived in the busiest second."""
    arrived = ~trace.lost
    at = trace.at[arrived]
    second = (at - at.min()).astype(int)
    bits = np.bincount(second, weights=trace.size[arrived] * 8)
    return float(np.percentile(bits, 90))

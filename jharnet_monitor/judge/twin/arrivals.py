"""Observes the line from one end: rate, queue, loss, jitter and gaps from a call's arrivals. Pure.
A call that fills the line shows its rate by what arrives while there is a queue. Any other call
shows it by the spacing of the packets of a frame (packet pairs; Dovrolis et al., 2001).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jharnet_monitor.judge.twin.delay_variation import half_width, line_jitter
from jharnet_monitor.judge.twin.observed_line import ObservedLine
from jharnet_monitor.judge.twin.others import shared_line

Column = NDArray[np.float64]

_BIN = 0.1
"""Seconds over which the shortest transit shows the standing queue."""
_STANDING = 0.015
"""Seconds of standing queue from which the line counts as full."""
_LEAST_BUSY = 0.4
"""Seconds of a full line needed to measure its rate."""
_SHORT_BUSY, _SHORT_SPREAD, _DROPS = 0.2, 0.1, 3
"""The same where packets were dropped and there are none so long, with the uncertainty of it, and
the packets that count as a full queue."""
_GAP = 0.25
"""Seconds without any packet from which the line counts as interrupted."""
_LEAST_PACKETS = 100
_LEAST_PAIRS = 40
_ALIKE, _SHARE_ALIKE = 1.05, 0.35
"""Pairs whose rate is the same up to this factor, and the share of them that shows a bottleneck."""
_POLICED_BINS, _POLICED_LOSS = 3, 0.2
"""Bins over which a policer's loss is sought, and a loss that no line has without one."""
_LEAST_BUCKET = 0.15
"""Seconds: a smaller bucket is spent before the first packets are counted."""
_OURS = 0.85
"""Below this share of what the line carries, other traffic fills it, not this call."""
_CONTRADICTED = 0.85
"""A lower share of the rate of a good second is no full line, unless packets were dropped."""
_SETTLE = 0.5
"""Seconds at the start in which the other end's first packets may be refused."""
_LATE = 1.8
"""Jitter by which the 90th percentile of the delay is above the fastest packet's (uniform ± 1)."""
_STILL = 0.002
"""Seconds of jitter that hosts cause themselves, at least."""


@dataclass(frozen=True, slots=True)
class PacketColumns:
    """One stream, in sending order; a lost packet's arrival is not a number.

    `sent` and `at` are seconds of two clocks, `size` is in bytes on the line; `frame` numbers the
    picture (or the packet of sound).
    """

    sent: Column
    at: Column
    size: Column
    frame: Column
    repeated_at: Column
    """Arrivals of retransmissions, which count for the rate but not for the loss; and their
    bytes."""
    repeated_size: Column


class _Trace:
    """Both streams together, by the time of sending."""

    def __init__(self, audio: PacketColumns, video: PacketColumns) -> None:
        # The streams' clocks have different zeros; the fastest packet of each met no queue.
        offsets = [_fastest(audio), _fastest(video)]
        sent = np.concatenate([audio.sent + offsets[0], video.sent + offsets[1]])
        order = np.argsort(sent, kind="stable")
        self.sent = sent[order]
        self.at = np.concatenate([audio.at, video.at])[order]
        self.size = np.concatenate([audio.size, video.size])[order]
        first = np.concatenate([_firsts(audio), _firsts(video)])[order]
        late = self.sent >= self.sent[0] + _SETTLE
        self.sent, self.at, self.size = self.sent[late], self.at[late], self.size[late]
        self.first = first[late]
        """Packets that leave at their time stamp; the others of a frame are paced."""
        self.lost = np.isnan(self.at)
        at = np.concatenate([self.at[~self.lost], audio.repeated_at, video.repeated_at])
        size = np.concatenate([self.size[~self.lost], audio.repeated_size, video.repeated_size])
        order = np.argsort(at)
        self._all_at, self._total = at[order], np.concatenate([[0.0], np.cumsum(size[order])])
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

    def arrived_rate(self, begin: float, end: float) -> float:
        """bit/s that arrived in a time of the receiver's clock, retransmissions included."""
        first, last = np.searchsorted(self._all_at, [begin, end])
        last = min(int(last), len(self._all_at) - 1)
        return float(self._total[last + 1] - self._total[first + 1]) * 8 / max(end - begin, 1e-3)


def _firsts(stream: PacketColumns) -> NDArray[np.bool_]:
    """The first packet of each frame."""
    first = np.ones(len(stream.frame), bool)
    first[1:] = np.diff(stream.frame) != 0
    return first


def _fastest(stream: PacketColumns) -> float:
    """The shortest transit, in seconds between the two clocks."""
    transit = stream.at - stream.sent
    return float(np.nanmin(transit)) if np.isfinite(transit).any() else 0.0


def observe(audio: PacketColumns, video: PacketColumns) -> ObservedLine | None:
    """Observe the line from both streams; None if too little arrived."""
    if np.isfinite(audio.at).sum() < _LEAST_PACKETS:
        return None
    trace = _Trace(audio, video)
    width, firsts = _jitter(trace, audio, video)
    floor = _STANDING + width
    busy = np.nan_to_num(trace.standing, nan=0.0) > floor
    gone, every, interrupted = _interruptions(trace, audio, video)
    busy &= ~interrupted
    got, sent = _full_times(trace, busy, _LEAST_BUSY)
    least_spread = 0.0
    if not len(got) and trace.lost_in[_near(busy)].sum() >= _DROPS:
        # The sender slowed down as soon as the queue was full.
        got, sent = _full_times(trace, busy, _SHORT_BUSY)
        least_spread = _SHORT_SPREAD
    available = float(np.median(got)) if len(got) else None
    spread = max(least_spread, float(np.std(np.log(got)))) if len(got) else 0.0
    top = _busiest(trace)
    if (
        available is not None
        and available < _CONTRADICTED * top
        and not trace.lost_in[_near(busy)].any()
    ):
        available = None  # other seconds carried more, so there was no queue
    pairs = _pair_rate(video, trace, busy)
    near_busy = _near(busy)
    overflow = near_busy & (trace.lost_in > 0)
    quiet = ~near_busy & ~interrupted
    lost, packets = float(trace.lost_in[quiet].sum()), float(trace.sent_in[quiet].sum())
    policer = _policer(trace, quiet) if available is None else None
    shared = None if available is None else shared_line(sent, got, pairs)
    rate: float | None
    bucket: float | None = None
    if policer is not None:
        rate, bucket, lost, packets = policer
    elif shared is not None:
        rate, spread = shared.rate, shared.spread
    elif available is not None:
        raw = pairs if pairs is not None and pairs > 1.12 * available else available
        rate = max(raw, available)
    else:
        rate = pairs
    if packets < 200:
        # The line was always full: loss other than that of a full queue is unknown.
        lost, packets = _loss_without_full_queue(trace)
    depth = _depth(trace, overflow, width)
    arrived = np.isfinite(trace.at)
    at_least = float(trace.size[arrived].sum() * 8 / max(1.0, trace.seconds))
    on, off = (0.0, 0.0) if shared is not None else _transfers(trace, busy, available)
    return ObservedLine(
        transfer_on=on, transfer_off=off, rate=rate, at_least=max(at_least, top),
        available=available, spread=spread, queue=depth,
        longest_queue=float(np.nanpercentile(trace.queue[trace.first], 99)),
        usual_queue=float(np.nanmedian(trace.queue[trace.first])),
        policed=policer is not None,
        bucket=bucket, jitter=line_jitter(trace.sent, firsts, width, _STILL),
        loss=lost / packets if packets else 0.0,
        burst=_burst(trace, quiet), lost=int(lost), packets=int(packets), gone=gone, every=every,
        others=0.0 if shared is None else shared.others,
    )  # fmt: skip


def _near(busy: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Bins that are busy or next to one that is."""
    near = busy.copy()
    near[1:] |= busy[:-1]
    near[:-1] |= busy[1:]
    return near


def _jitter(trace: _Trace, audio: PacketColumns, video: PacketColumns) -> tuple[float, Column]:
    """Half the width of the delay in quiet times, and when the packets were sent that show it.

    These are the first packets of frames, or those of sound, whichever shows less.
    """
    found: list[tuple[float, Column]] = []
    for stream in (audio, video):
        if not np.isfinite(stream.at).any():
            continue
        sent = stream.sent + _fastest(stream)
        keep = _firsts(stream) & np.isfinite(stream.at) & (sent >= trace.start)
        width = half_width(stream.at[keep] - sent[keep], (sent[keep] - trace.start).astype(int))
        if width is not None:
            found.append((width, sent[keep]))
    return min(found, key=lambda each: each[0], default=(0.0, np.zeros(0)))


def _full_times(trace: _Trace, busy: NDArray[np.bool_], least: float) -> tuple[Column, Column]:
    """bit/s that arrived and that were sent in each `least` seconds of a full line.

    Both include retransmissions, which get the same share of the line as the other packets.
    """
    steps = round(least / _BIN)
    found = []
    for begin in range(0, len(busy) - steps + 1, steps // 2):
        if not busy[begin : begin + steps].all():
            continue
        inside = (trace.bin >= begin) & (trace.bin < begin + steps)
        arrived = inside & ~trace.lost
        at = trace.at[arrived]
        if len(at) < 4:
            continue
        seconds = max(float(at.max() - at.min()), 1e-3)
        got = trace.arrived_rate(float(at.min()), float(at.max()))
        own = float(trace.size[arrived].sum() - trace.size[arrived][at.argmin()]) * 8 / seconds
        sent = float(trace.size[inside].sum()) * 8 / least
        found.append((got, sent * got / own))
    return np.array([got for got, _ in found]), np.array([sent for _, sent in found])


def _pair_rate(video: PacketColumns, trace: _Trace, busy: NDArray[np.bool_]) -> float | None:
    """The bottleneck's rate by the spacing of the packets of a frame; None if there is none. A
    bottleneck spaces all packets equally; a pacer or jitter does not.
    """
    if len(video.at) < _LEAST_PAIRS:
        return None
    same = (np.diff(video.frame) == 0) & np.isfinite(video.at[1:]) & np.isfinite(video.at[:-1])
    gaps = np.diff(video.at)[same]
    size = video.size[1:][same] * 8
    use = (gaps > 2e-4) & (size > 0.8 * size.max(initial=0.0))
    if use.sum() < _LEAST_PAIRS:
        return None
    rates = np.sort(size[use] / gaps[use])
    alike = [
        np.searchsorted(rates, rate * _ALIKE) - np.searchsorted(rates, rate / _ALIKE)
        for rate in rates
    ]
    best = int(np.argmax(alike))
    return float(rates[best]) if alike[best] >= _SHARE_ALIKE * len(rates) else None


def _interruptions(
    trace: _Trace, audio: PacketColumns, video: PacketColumns
) -> tuple[float, float, NDArray[np.bool_]]:
    """Mean length and spacing of interruptions, and the bins that they cover."""
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


def _policer(trace: _Trace, quiet: NDArray[np.bool_]) -> tuple[float, float, float, float] | None:
    """Rate, bucket in seconds, and the loss at low rates; None if loss does not follow the rate."""
    step = trace.bin // _POLICED_BINS
    count = int(step[-1]) + 1
    seconds = _POLICED_BINS * _BIN
    sent = np.bincount(step, weights=trace.size * 8, minlength=count) / seconds
    got = np.bincount(step, weights=trace.size * 8 * ~trace.lost, minlength=count) / seconds
    number = np.maximum(np.bincount(step, minlength=count), 1)
    lost = np.bincount(step, weights=trace.lost, minlength=count) / number
    calm = np.bincount(step, weights=quiet[trace.bin], minlength=count) > 0.5 * number
    heavy = calm & (lost > _POLICED_LOSS)
    if heavy.sum() < 2:
        return None
    inside = heavy[step] & ~trace.lost
    spans = []
    # What is left of the bucket passes at the beginning of the first.
    for at in np.flatnonzero(heavy)[1:]:
        times = trace.at[(step == at) & inside]
        if len(times) > 3:
            spans.append(trace.arrived_rate(float(times.min()), float(times.max())))
    if not spans:
        return None
    rate = float(np.median(spans))
    light = calm & ~heavy & (sent < 1.1 * rate)
    packets = float(number[light].sum())
    light_lost = float((lost * number)[light].sum())
    # A policer passes traffic below its rate, and little more than its rate of faster traffic.
    if packets < 100 or light_lost / packets > 0.5 * float(lost[heavy].mean()):
        return None
    if float(np.median(sent[heavy])) < 1.25 * float(np.median(sent[light])):
        return None
    before = int(np.flatnonzero(heavy)[0]) + 1
    extra = float(np.maximum(0.0, got[:before] - rate).sum()) * seconds
    return rate, float(np.clip(extra / rate, _LEAST_BUCKET, 2.0)), light_lost, packets


def _transfers(
    trace: _Trace, busy: NDArray[np.bool_], available: float | None
) -> tuple[float, float]:
    """How long other traffic fills the line, and pauses; 0, 0 if none was observed."""
    if available is None:
        return 0.0, 0.0
    sent = np.bincount(trace.bin, weights=trace.size * 8, minlength=len(busy)) / _BIN
    ours = np.convolve(sent, np.ones(10) / 10, "same")
    full = np.flatnonzero(ours > _OURS * available)
    begin = int(full[-1]) + 15 if len(full) else 15
    rest = busy[begin:]
    if len(rest) < 50:
        return 0.0, 0.0
    edges = np.flatnonzero(np.diff(np.concatenate([[0], rest.astype(int), [0]]))).reshape(-1, 2)
    if len(edges) and edges[0][0] == 0 and _drains(trace.standing[begin : begin + edges[0][1]]):
        edges = edges[1:]
    runs = [(end - start) * _BIN for start, end in edges if (end - start) * _BIN >= 1.0]
    if not runs:
        return 0.0, 0.0
    on = float(np.mean(runs))
    return on, max(0.5, len(rest) * _BIN / len(runs) - on)


def _drains(standing: Column) -> bool:
    """Whether a queue becomes shorter, and hardly longer at any time."""
    known = standing[np.isfinite(standing)]
    fall = float(known[0] - known.min()) if len(known) else 0.0
    rise = float((known - np.minimum.accumulate(known)).max(initial=0.0))
    return fall > _STANDING and rise < 0.5 * fall


def _loss_without_full_queue(trace: _Trace) -> tuple[float, float]:
    """Packets lost and sent while the queue was well below its maximum just before and after."""
    deepest = float(np.nanpercentile(trace.queue, 99))
    arrived = np.flatnonzero(~trace.lost)
    after = np.searchsorted(arrived, np.arange(len(trace.queue)))
    before = np.maximum(after - 1, 0)
    around = [trace.queue[arrived[np.minimum(each, len(arrived) - 1)]] for each in (before, after)]
    low = np.maximum(*around) < 0.5 * deepest
    lost, sent = float((trace.lost & low).sum()), float(low.sum())
    return (lost, sent) if sent >= _LEAST_PACKETS else (0.0, 0.0)


def _depth(trace: _Trace, overflow: NDArray[np.bool_], jitter: float) -> float | None:
    """The queue's length in seconds when it dropped packets; None if too few were dropped."""
    if trace.lost_in[overflow].sum() < _DROPS:
        return None
    inside = overflow[trace.bin] & ~trace.lost & trace.first
    if inside.sum() < 5:
        return None
    # The fastest packet, from which the queue counts, was early by the jitter.
    return max(0.0, float(np.percentile(trace.queue[inside], 90)) - _LATE * jitter)


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

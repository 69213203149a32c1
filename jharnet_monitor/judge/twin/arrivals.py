"""Observes the line from one end: rate, queue, loss, jitter and gaps from a call's arrivals. Pure.

A call that fills the line shows its rate by what arrives while there is a queue. Any other call
shows it by the spacing of the packets of a frame (`packet_pairs`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jharnet_monitor.judge.twin.delay_variation import half_width, line_jitter
from jharnet_monitor.judge.twin.observed_line import ObservedLine
from jharnet_monitor.judge.twin.observed_transfers import (
    Flags,
    ObservedTransfers,
    transfers_by_loss,
    transfers_by_queue,
)
from jharnet_monitor.judge.twin.others import SharedLine, shared_line
from jharnet_monitor.judge.twin.packet_pairs import pair_rate
from jharnet_monitor.judge.twin.policer import Policer, fitted_policer
from jharnet_monitor.judge.twin.trace import (
    BIN,
    NO_REPORTS,
    Column,
    PacketColumns,
    Trace,
    fastest,
    first_packets,
)

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
_POLICED_BINS, _POLICED_LOSS = 3, 0.2
"""Bins over which a policer's loss is sought, and a loss that no line has without one."""
_USUAL_BUCKET = 0.15
"""Seconds of a bucket that others keep empty. Chosen."""
_LEAST_OF_TOP = 0.75
"""Share of the busiest second's rate below which a policer's rate is that of others' leftovers."""
_FASTER = 1.12
"""Factor by which packet pairs must be faster than what arrived to show that others took part."""
_ALIKE_OTHERS = 0.25
"""Share by which steady others may seem to differ from one time to another."""
_LEAST_QUIET = 200
"""Packets without a queue from which their loss counts."""
_OVERLOAD = 1.3
"""The rate sent over the one that arrived, from which the call itself fills the line."""
_CONTRADICTED = 0.85
"""A lower share of the rate of a good second is no full line, unless packets were dropped."""
_LATE = 1.8
"""Jitter by which the 90th percentile of the delay is above the fastest packet's (uniform ± 1)."""
_STILL = 0.002
"""Seconds of jitter that hosts cause themselves, at least."""


def observe(
    audio: PacketColumns, video: PacketColumns, reports: tuple[Column, Column] = NO_REPORTS
) -> ObservedLine | None:
    """Observe the line from both streams and the sender's reports; None if too little arrived."""
    if np.isfinite(audio.at).sum() < _LEAST_PACKETS:
        return None
    trace = Trace(audio, video, reports)
    width, firsts = _jitter(trace, audio, video)
    gone, every, interrupted = _interruptions(trace, audio, video)
    jitter = line_jitter(trace.sent, firsts, width, _STILL)
    standing = np.nan_to_num(trace.standing, nan=0.0)
    busy = (standing > _STANDING + width) & ~interrupted
    full = busy & (standing > _STANDING + jitter)
    seen = _bottleneck(trace, pair_rate(video), busy, full, interrupted)
    quiet = ~_near(busy) & ~interrupted
    lost, packets = float(trace.lost_in[quiet].sum()), float(trace.sent_in[quiet].sum())
    if seen.policer is not None:
        lost, packets = seen.policer.lost, seen.policer.packets
    if packets < _LEAST_QUIET:
        # The line was always full: loss other than that of a full queue is unknown.
        lost, packets = _loss_without_full_queue(trace)
    waits = trace.waits(seen.rate if seen.policer is None else None)
    arrived = np.isfinite(trace.at)
    at_least = float(trace.size[arrived].sum() * 8 / max(1.0, trace.seconds))
    return ObservedLine(
        rate=seen.rate, at_least=max(at_least, _busiest(trace)), available=seen.available,
        spread=seen.spread, queue=_depth(trace, waits, _near(busy) & (trace.lost_in > 0), width),
        longest_queue=float(np.nanpercentile(waits[trace.first], 99)),
        usual_queue=float(np.nanmedian(waits[trace.first])),
        policed=seen.policer is not None,
        bucket=None if seen.policer is None else seen.policer.bucket,
        jitter=jitter,
        loss=lost / packets if packets else 0.0,
        burst=_burst(trace, quiet), lost=int(lost), packets=int(packets), gone=gone, every=every,
        transfer_on=0.0 if seen.transfers is None else seen.transfers.on,
        transfer_off=0.0 if seen.transfers is None else seen.transfers.off,
        others=seen.others,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Bottleneck:
    """The slowest part of the line and who fills it, as far as it was met."""

    rate: float | None
    available: float | None
    spread: float
    policer: Policer | None = None
    others: float = 0.0
    transfers: ObservedTransfers | None = None


def _bottleneck(
    trace: Trace, pairs: float | None, busy: Flags, full: Flags, interrupted: Flags
) -> _Bottleneck:
    """The bottleneck of a direction; `pairs` is its rate by packet pairs, `busy` are the bins with
    a queue, `full` those with one that jitter cannot be."""
    top = _busiest(trace)
    if pairs is not None and pairs < _CONTRADICTED * top:
        pairs = None
    transfers = _transfers_by_queue(trace, pairs, full, interrupted)
    ours = busy if transfers is None else busy & ~transfers.during
    got, sent, least_spread = _got_while_full(trace, ours)
    available = None
    if len(got):
        # Others' transfers may have begun while the call still filled the line itself.
        available = float(np.percentile(got, 50 if transfers is None else 90))
        if available < _CONTRADICTED * top and not trace.lost_in[_near(ours)].any():
            available = None  # other seconds carried more, so there was no queue
    if available is None:
        policed = _policed(trace, ~_near(busy) & ~interrupted, interrupted, top)
        return policed or _Bottleneck(pairs, None, 0.0, transfers=transfers)
    spread = max(least_spread, float(np.std(np.log(got))))
    if transfers is None:
        shared = _shared(sent, got, pairs)
        if shared is not None:
            return _Bottleneck(shared.rate, available, shared.spread, others=shared.others)
    if pairs is not None and pairs > _FASTER * available:
        return _Bottleneck(pairs, available, 0.0, transfers=transfers)
    return _Bottleneck(available, available, spread, transfers=transfers)


def _transfers_by_queue(
    trace: Trace, pairs: float | None, busy: Flags, interrupted: Flags
) -> ObservedTransfers | None:
    """Transfers of others, unless the same steady traffic explains all times of a full line."""
    got, sent = _full_times(trace, busy, _LEAST_BUSY)
    heavy = sent > _OVERLOAD * got
    known = pairs or (float(np.percentile(got[heavy], 90)) if heavy.any() else None)
    found = transfers_by_queue(trace, busy, interrupted, known)
    steady = _shared(sent[heavy], got[heavy], pairs)
    if found is None or steady is None:
        return found
    during, sent_during = _full_times(trace, busy & found.during, _LEAST_BUSY)
    if not len(during):
        return found
    others = float(np.median(sent_during / during * steady.rate - sent_during))
    return None if abs(others - steady.others) < _ALIKE_OTHERS * steady.others else found


def _shared(sent: Column, got: Column, pairs: float | None) -> SharedLine | None:
    """The line that the call shares with steady others, by packet pairs or without them: much
    traffic of others keeps all pairs apart, so that they show too low a rate."""
    alone = shared_line(sent, got, None)
    if pairs is None or (alone is not None and alone.rate > _FASTER * pairs):
        return alone
    return shared_line(sent, got, pairs)


def _got_while_full(trace: Trace, full: Flags) -> tuple[Column, Column, float]:
    """bit/s that arrived and were sent at times of a full line, and how uncertain that makes it."""
    got, sent = _full_times(trace, full, _LEAST_BUSY)
    if not len(got) and trace.lost_in[_near(full)].sum() >= _DROPS:
        # The sender slowed down as soon as the queue was full.
        got, sent = _full_times(trace, full, _SHORT_BUSY)
        return got, sent, _SHORT_SPREAD
    return got, sent, 0.0


def _policed(trace: Trace, quiet: Flags, interrupted: Flags, top: float) -> _Bottleneck | None:
    """The policer of a direction without a queue, whose busiest second got `top` bit/s."""
    transfers = transfers_by_loss(trace, interrupted)
    if transfers is None and not _loss_follows_rate(trace, quiet):
        return None
    found = fitted_policer(trace)
    if found is None or found.rate < _LEAST_OF_TOP * top:
        if transfers is None:
            return None
        # Others emptied the bucket: what the call got is less than the rate.
        found = Policer(top, _USUAL_BUCKET, 0.0, 1.0)
    return _Bottleneck(found.rate, None, 0.0, found, transfers=transfers)


def _near(busy: Flags) -> Flags:
    """Bins that are busy or next to one that is."""
    near = busy.copy()
    near[1:] |= busy[:-1]
    near[:-1] |= busy[1:]
    return near


def _jitter(trace: Trace, audio: PacketColumns, video: PacketColumns) -> tuple[float, Column]:
    """Half the width of the delay in quiet times, and when the packets were sent that show it.

    These are the first packets of frames, or those of sound, whichever shows less.
    """
    found: list[tuple[float, Column]] = []
    for stream in (audio, video):
        if not np.isfinite(stream.at).any():
            continue
        sent = stream.sent + fastest(stream)
        keep = first_packets(stream) & np.isfinite(stream.at) & (sent >= trace.start)
        width = half_width(stream.at[keep] - sent[keep], (sent[keep] - trace.start).astype(int))
        if width is not None:
            found.append((width, sent[keep]))
    return min(found, key=lambda each: each[0], default=(0.0, np.zeros(0)))


def _full_times(trace: Trace, busy: Flags, least: float) -> tuple[Column, Column]:
    """bit/s that arrived and that were sent in each `least` seconds of a full line.

    Both include retransmissions, which get the same share of the line as the other packets.
    """
    steps = round(least / BIN)
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


def _interruptions(
    trace: Trace, audio: PacketColumns, video: PacketColumns
) -> tuple[float, float, Flags]:
    """Mean length and spacing of interruptions, and the bins that they cover."""
    dead = (trace.lost_in == trace.sent_in) & (trace.sent_in > 0)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], dead.astype(int), [0]])))
    lengths, found = [], np.zeros(len(dead), bool)
    for begin, end in edges.reshape(-1, 2):
        inside = (trace.bin >= begin) & (trace.bin < end)
        if (end - begin) * BIN >= _GAP and inside.sum() >= 8:
            lengths.append((end - begin) * BIN + BIN / 2)
            found[max(0, begin - 1) : end + 5] = True
    if not lengths:
        return 0.0, 0.0, found
    return float(np.mean(lengths)), trace.seconds / len(lengths), found


def _loss_follows_rate(trace: Trace, quiet: Flags) -> bool:
    """Whether packets are lost because there are too many, as by a policer."""
    step = trace.bin // _POLICED_BINS
    count = int(step[-1]) + 1
    seconds = _POLICED_BINS * BIN
    sent = np.bincount(step, weights=trace.size * 8, minlength=count) / seconds
    number = np.maximum(np.bincount(step, minlength=count), 1)
    lost = np.bincount(step, weights=trace.lost, minlength=count) / number
    calm = np.bincount(step, weights=quiet[trace.bin], minlength=count) > 0.5 * number
    heavy = calm & (lost > _POLICED_LOSS)
    if heavy.sum() < 2:
        return False
    got = np.bincount(step, weights=trace.size * 8 * ~trace.lost, minlength=count) / seconds
    light = calm & ~heavy & (sent < 1.1 * float(np.median(got[heavy])))
    packets = float(number[light].sum())
    # A policer passes traffic below its rate, and little more than its rate of faster traffic.
    if packets < _LEAST_PACKETS:
        return False
    if float((lost * number)[light].sum()) / packets > 0.5 * float(lost[heavy].mean()):
        return False
    return float(np.median(sent[heavy])) >= 1.25 * float(np.median(sent[light]))


def _loss_without_full_queue(trace: Trace) -> tuple[float, float]:
    """Packets lost and sent while the queue was well below its maximum just before and after."""
    deepest = float(np.nanpercentile(trace.queue, 99))
    arrived = np.flatnonzero(~trace.lost)
    after = np.searchsorted(arrived, np.arange(len(trace.queue)))
    before = np.maximum(after - 1, 0)
    around = [trace.queue[arrived[np.minimum(each, len(arrived) - 1)]] for each in (before, after)]
    low = np.maximum(*around) < 0.5 * deepest
    lost, sent = float((trace.lost & low).sum()), float(low.sum())
    return (lost, sent) if sent >= _LEAST_PACKETS else (0.0, 0.0)


def _depth(trace: Trace, waits: Column, overflow: Flags, jitter: float) -> float | None:
    """The queue's length in seconds when it dropped packets; None if too few were dropped."""
    if trace.lost_in[overflow].sum() < _DROPS:
        return None
    inside = overflow[trace.bin] & ~trace.lost & trace.first
    if inside.sum() < 5:
        return None
    # The fastest packet, from which the queue counts, was early by the jitter.
    return max(0.0, float(np.percentile(waits[inside], 90)) - _LATE * jitter)


def _burst(trace: Trace, quiet: Flags) -> float:
    """Mean number of packets lost in a row, where no queue explains it."""
    lost = trace.lost & quiet[trace.bin]
    starts = int((lost[1:] & ~lost[:-1]).sum()) + int(lost[0]) if len(lost) else 0
    return float(lost.sum() / starts) if starts else 1.0


def _busiest(trace: Trace) -> float:
    """bit/s that arrived in the busiest second."""
    arrived = ~trace.lost
    at = trace.at[arrived]
    second = (at - at.min()).astype(int)
    bits = np.bincount(second, weights=trace.size[arrived] * 8)
    return float(np.percentile(bits, 90))

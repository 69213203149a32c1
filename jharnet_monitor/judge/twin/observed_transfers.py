"""When transfers of others fill the line, by the queue that a call meets. Pure.

A transfer keeps the queue of a bottleneck filled for as long as it runs, whatever the call sends.
The line counts as filled by others at times when there is a queue although the call sends no more
than it sent at other times without any queue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jharnet_monitor.judge.twin.trace import BIN, Trace

Flags = NDArray[np.bool_]

_SHORT_GAP, _SHORT_RUN, _LEAST_RUN = 8, 10, 28
"""Bins: shorter times without a queue are part of a transfer, which now and then lets the queue
drain; shorter queues are ignored; the longest must last that long."""
_SPREAD, _MANY = 5, 8
"""Bins over which a policer's losses extend, and their number, when a transfer empties it."""
_DROPS, _LOSSY, _LOSSIER = 3, 0.04, 3.0
"""Packets, and their share, lost within the time over which rates count, from which a policer drops
them; the share on top of a multiple of the usual one."""
_RATE_BINS = 10
"""Bins over which the rate of the call counts."""
_LEAST_EMPTY = 30
"""Bins without a queue that are needed."""
_NEAR = 5
"""Bins next to a queue that do not count as without one."""
_MORE = 1.25
"""The call's rate over its largest without a queue, from which it may cause the queue itself."""
_SEVERAL, _SHORTER = 2, 0.85
"""Transfers that may be a little shorter than a single one, and their share of its length."""
_GROWN = 0.2
"""Share of such a queue by which it must grow again to be that of others."""
_OURS = 0.85
"""A larger share of the line's rate is no sign of others."""
_AT_ONCE, _EARLY = 20, 0.7
"""Bins in which a transfer's queue grows to that share of its later length."""
_LONGER = 1.5
"""The length of a time of which no end was seen, over what was seen of it. Chosen."""


@dataclass(frozen=True, slots=True)
class ObservedTransfers:
    """Others' transfers: mean lengths in seconds, and the bins in which they fill the line."""

    on: float
    off: float
    during: Flags


def transfers_by_queue(
    trace: Trace, busy: Flags, interrupted: Flags, rate: float | None
) -> ObservedTransfers | None:
    """The transfers of others; None if there are none.

    `busy` are the bins with a queue, `rate` is the line's as far as it is known, in bit/s.
    """
    full = _without_short_runs(_continued(trace, busy & ~interrupted))
    return _transfers(
        trace, full, interrupted, _LEAST_RUN, 1, lambda begin, end: _fills(trace, begin, end, rate)
    )


def _fills(trace: Trace, begin: int, end: int, rate: float | None) -> bool:
    """Whether others fill the line in these bins: the call gets only a part of it, and the queue
    grows at once, as it does not if steady traffic just reaches the line's rate."""
    queue = trace.standing[begin:end]
    early = np.nanmax(queue[:_AT_ONCE], initial=0.0)
    # Where nothing arrives at all, the queue is full.
    if np.isfinite(queue).any() and early < _EARLY * np.nanpercentile(queue, 90):
        return False
    if rate is None:
        return True
    first, last = (trace.start + trace.base + at * BIN for at in (begin, end))
    return trace.arrived_rate(first, last) < _OURS * rate


def transfers_by_loss(trace: Trace, interrupted: Flags) -> ObservedTransfers | None:
    """The transfers of others through a policer, which delays nothing; None if there are none.

    A transfer empties the bucket when it begins, and later once in a while.
    """
    window = np.ones(_RATE_BINS)
    lost_in = trace.lost_in * ~interrupted
    lost = np.convolve(lost_in, window, "same")
    share = lost / np.maximum(np.convolve(trace.sent_in, window, "same"), 1.0)
    usual = float(np.median(share))
    lossy = (lost >= _DROPS) & (share > _LOSSY + _LOSSIER * usual)
    full = np.zeros(len(lossy), bool)
    for begin, end in _edges(lossy):
        at = begin + np.flatnonzero(lost_in[begin:end])
        # The losses of a burst follow upon each other.
        if len(at) and at[-1] - at[0] >= _SPREAD and lost_in[at].sum() >= _MANY:
            full[at[0] : at[-1] + 1] = True
    return _transfers(trace, full, interrupted, _SPREAD, 2, lambda begin, end: True)


def _transfers(
    trace: Trace,
    full: Flags,
    interrupted: Flags,
    least: float,
    number: int,
    fills: Callable[[int, int], bool],
) -> ObservedTransfers | None:
    """The transfers behind the bins in which the line is full and `fills` says that others fill it:
    `number` at least, the longest of which has `least` bins."""
    empty = ~_widened(full, _NEAR) & ~interrupted
    if empty.sum() < _LEAST_EMPTY or not full.any():
        return None
    sent = np.bincount(trace.bin, weights=trace.size * 8, minlength=len(full)) / BIN
    ours = np.convolve(sent, np.ones(_RATE_BINS) / _RATE_BINS)[: len(sent)]
    heavy = ours > _MORE * np.percentile(ours[empty], 95)
    own = _own(trace, full, heavy | interrupted)
    known = ~own & ~interrupted
    during = full & known
    for begin, end in _edges(during):
        if not fills(begin, end):
            during[begin:end] = False
    ons, offs = _runs(during, known), _runs(~during, known)
    longest = max((length for length, _ in ons), default=0)
    if len(ons) >= _SEVERAL:
        least = _SHORTER * least
    if not offs or len(ons) < number or longest < least:
        return None
    return ObservedTransfers(_mean(ons), _mean(offs), during)


def _continued(trace: Trace, busy: Flags) -> Flags:
    """The bins with a queue; one in which nothing arrived is like the one before it."""
    found = busy.copy()
    for at in np.flatnonzero(np.isnan(trace.standing)):
        found[at] = at > 0 and found[at - 1]
    return found


def _without_short_runs(full: Flags) -> Flags:
    found = full.copy()
    for value, least in ((False, _SHORT_GAP), (True, _SHORT_RUN)):
        for begin, end in _edges(found == value):
            inside = begin > 0 and end < len(found)
            if end - begin < least and (inside or value):
                found[begin:end] = not value
    return found


def _edges(flags: Flags) -> NDArray[np.int64]:
    """Begin and end of each run of set bins."""
    padded = np.concatenate([[0], flags.astype(int), [0]])
    return np.flatnonzero(np.diff(padded)).reshape(-1, 2)


def _widened(flags: Flags, bins: int) -> Flags:
    return np.convolve(flags, np.ones(2 * bins + 1), "same") > 0


def _own(trace: Trace, full: Flags, heavy: Flags) -> Flags:
    """The bins whose queue the call itself may have caused: while it sent more, and until that
    queue has drained or, without more from the call, grown again."""
    found = heavy.copy()
    standing = np.nan_to_num(trace.standing, nan=0.0)
    for _, end in _edges(heavy):
        least = float(standing[max(0, end - _RATE_BINS) : end + 1].max(initial=0.0))
        grown = _GROWN * least
        for at in range(end, len(full)):
            if not full[at] or standing[at] > least + grown:
                break
            least = min(least, standing[at])
            found[at] = True
    return found


def _runs(flags: Flags, known: Flags) -> list[tuple[int, bool]]:
    """Length of each run in bins, and whether both of its ends were seen."""
    return [
        (int(end - begin), bool(begin > 0 and end < len(flags) and known[begin - 1] and known[end]))
        for begin, end in _edges(flags & known)
    ]


def _mean(runs: list[tuple[int, bool]]) -> float:
    """The mean length in seconds; what was not seen to end counts, too, if it is longer."""
    whole = [length for length, complete in runs if complete]
    open_ = [length for length, complete in runs if not complete]
    longest = max(open_, default=0)
    if not whole:
        return _LONGER * longest * BIN
    mean = sum(whole) / len(whole)
    return max(mean, sum([*whole, longest]) / len(whole) if longest > mean else 0.0) * BIN

"""A policer's rate and bucket, by the packets that it dropped. Pure.

A policer lets packets pass as long as its bucket holds tokens for them, and delays none. Every
candidate is applied to the packets of the call as they were sent; the one counts whose drops are
most like those of the line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jharnet_monitor.judge.twin.trace import Column, Trace

_DENSE_SECONDS, _DENSE_DROPS, _DENSE_LEAST = 1.0, 10, 0.5
"""Seconds in which most packets were dropped, how many at least, and over how long."""
_RATES, _RATE_STEPS = (0.95, 1.05), 5
"""Candidates, as multiples of what arrived in that time."""
_BUCKETS, _BUCKET_STEPS = (0.03, 2.5), 24
"""Candidates in seconds of the rate."""
_BIN = 0.2
"""Seconds over which drops are compared."""
_EXPLAINED = 0.6
"""Share of the variance of drops that the best candidate must explain."""


@dataclass(frozen=True, slots=True)
class Policer:
    """A policer, and what the line loses besides."""

    rate: float
    """bit/s."""
    bucket: float
    """Seconds of the rate."""
    lost: float
    """Packets lost while the policer dropped none."""
    packets: float
    """Packets sent then."""


def fitted_policer(trace: Trace) -> Policer | None:
    """The policer of a direction; None if none explains what was lost."""
    at, bits, lost = _events(trace)
    rough = _dense_rate(at, bits, lost)
    if rough is None:
        return None
    rates, buckets = (
        grid.ravel()
        for grid in np.meshgrid(
            rough * np.geomspace(*_RATES, _RATE_STEPS), np.geomspace(*_BUCKETS, _BUCKET_STEPS)
        )
    )
    place = ((at - at[0]) / _BIN).astype(int)
    count = int(place[-1]) + 1
    dropped = np.zeros((count, len(rates)))
    depth = rates * buckets
    tokens, last = depth.copy(), at[0]
    for now, size, where, counts in zip(at, bits, place, ~np.isnan(lost), strict=True):
        tokens += rates * (now - last)
        np.minimum(tokens, depth, out=tokens)
        last = now
        if counts:
            passes = tokens >= size
            tokens -= passes * size
            dropped[where] += ~passes
        else:
            tokens -= size  # it did pass, whatever this candidate says
    known = ~np.isnan(lost)
    sent = np.bincount(place[known], minlength=count).astype(float)
    gone = np.bincount(place[known], weights=lost[known], minlength=count)
    passed = sent[:, None] - dropped
    besides = np.maximum(0.0, gone[:, None] - dropped)
    loss = np.median(besides / np.maximum(passed, 1.0), axis=0)
    misses = ((gone[:, None] - dropped - loss * passed) ** 2).sum(axis=0)
    best = int(misses.argmin())
    total = float(((gone - gone.sum() / sent.sum() * sent) ** 2).sum())
    if 1 - float(misses[best]) / max(total, 1e-9) < _EXPLAINED:
        return None
    calm = dropped[:, best] < 0.5
    return Policer(
        float(rates[best]), float(buckets[best]),
        float(gone[calm].sum()), float(sent[calm].sum()),
    )  # fmt: skip


def _dense_rate(at: Column, bits: Column, lost: Column) -> float | None:
    """bit/s that arrived between drops while most packets were dropped: the policer had no tokens
    left then; None if there were too few."""
    drops = np.flatnonzero(lost == 1)
    if len(drops) <= _DENSE_DROPS:
        return None
    last = np.searchsorted(at[drops], at[drops] + _DENSE_SECONDS, side="right") - 1
    begin = int(np.argmax(last - np.arange(len(drops))))
    first, end = drops[begin], drops[last[begin]]
    seconds = float(at[end] - at[first])
    if last[begin] - begin < _DENSE_DROPS or seconds < _DENSE_LEAST:
        return None
    passed = np.where(lost[first + 1 : end] == 1, 0.0, bits[first + 1 : end])
    return float(passed.sum()) / seconds


def _events(trace: Trace) -> tuple[Column, Column, Column]:
    """All packets in the order in which they met the policer: time, bits, and whether each was
    lost; not a number for those that are no first transmissions of media."""
    at = np.where(trace.lost, np.nan, trace.at)
    number = np.arange(len(at))
    at = np.interp(number, number[~trace.lost], at[~trace.lost])
    others = np.full(len(trace.early_at) + len(trace.besides_at), np.nan)
    times = np.concatenate([at, trace.early_at, trace.besides_at])
    size = np.concatenate([trace.size, trace.early_size, trace.besides_size]) * 8
    lost = np.concatenate([trace.lost.astype(float), others])
    order = np.argsort(times, kind="stable")
    return times[order], size[order], lost[order]

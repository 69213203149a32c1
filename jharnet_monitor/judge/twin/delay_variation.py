"""The jitter of a line that keeps the order of packets, by the delays that arrive. Pure.

Each packet's own delay is drawn from ± the jitter, but none overtakes the one before it. Packets
that are closer together than the jitter therefore arrive with the largest of several draws, whose
distribution is narrower. The jitter is the one with which the same packets show the same width.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]

_LEAST, _LEAST_IN_SECOND = 60, 15
"""Packets of a stream, and in a second, from which their delays count."""
_QUIET_SPREAD = 0.9
"""Share of a uniform distribution between its 5th and 95th percentile."""
_ROUNDS = 6
"""Of the search; each brings the width closer in proportion."""
_MOST_GROWTH = 4.0
"""A line's jitter over the width that its packets show, at most."""
_SEED = 5


def half_width(transit: Column, second: NDArray[np.int64]) -> float | None:
    """Half the width of the delays within a quiet second, in seconds; None if there are too few.

    Within a second, the queue of the line itself moves little; the quiet seconds are the quarter
    with the least width.
    """
    if len(transit) < _LEAST:
        return None
    spreads = []
    for number in np.unique(second):
        inside = transit[second == number]
        if len(inside) >= _LEAST_IN_SECOND:
            low, high = np.percentile(inside, (5, 95))
            spreads.append(high - low)
    return float(np.percentile(spreads, 25)) / _QUIET_SPREAD / 2 if spreads else None


def line_jitter(sent: Column, firsts: Column, width: float, least: float) -> float:
    """The jitter in seconds with which the packets sent at `firsts` show the half width `width`.

    `sent` are the times of all packets of the call in order; a width below `least` is taken as it
    is.
    """
    if width <= least:
        return width
    draws = np.random.default_rng(_SEED).uniform(-1, 1, len(sent))
    place, second = np.searchsorted(sent, firsts), (firsts - firsts[0]).astype(int)
    jitter = width
    for _ in range(_ROUNDS):
        transit = np.maximum.accumulate(sent + jitter * draws) - sent
        shown = half_width(transit[place], second)
        if not shown:
            return width
        jitter = min(jitter * width / shown, _MOST_GROWTH * width)
    return float(jitter)

"""Steady other traffic on a full line, by the share of the line that a call gets. Pure.

A queue serves packets in turn. A call that sends `s` beside others' `o` therefore gets the share
`s / (s + o)` of the line's rate `C`, so that sent / arrived = (s + o) / C: a straight line in `s`,
whose slope is 1 / C and whose intercept is o / C.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEAST_TIMES = 4
"""Times at which the line was full that are needed."""
_RANGE = 1.5
"""The largest rate sent over the smallest one, from which the slope is known."""
_DIFFERENCE = 0.1
"""Share of the largest rate sent by which two times must differ for a slope."""
_LEAST_SHARE, _LEAST_OTHERS = 0.12, 15e3
"""Share of the line's rate, and bit/s, below which other traffic is not distinguished from none."""
_STEADY = 0.2
"""Largest spread of the logarithm of the share with which the others count as steady."""
_NORMAL = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""


@dataclass(frozen=True, slots=True)
class SharedLine:
    """A full line's rate and the steady traffic of others on it, in bit/s."""

    rate: float
    others: float
    spread: float
    """Standard deviation of the logarithm of what the call got, relative to this model."""


def shared_line(
    sent: NDArray[np.float64], arrived: NDArray[np.float64], rate: float | None
) -> SharedLine | None:
    """The line's rate and others' traffic, from the bit/s that a call sent and got while the line
    was full; None if there are no steady others, or the times do not show it.

    `rate` is the line's rate if it is known otherwise, in bit/s.

    >>> import numpy as np
    >>> sent = np.array([1.5e6, 1.0e6, 0.5e6, 0.2e6])
    >>> found = shared_line(sent, 1e6 * sent / (sent + 0.4e6), None)
    >>> round(found.rate), round(found.others)
    (1000000, 400000)
    """
    if len(sent) < _LEAST_TIMES:
        return None
    stretch = sent / arrived
    if rate is None:
        rate = _rate(sent, stretch)
    if rate is None:
        return None
    others = float(np.median(stretch * rate - sent))
    if others < max(_LEAST_OTHERS, _LEAST_SHARE * rate) or others >= rate:
        return None
    misses = np.log(stretch * rate / (sent + others))
    spread = _NORMAL * float(np.median(np.abs(misses - np.median(misses))))
    return SharedLine(rate, others, spread) if spread <= _STEADY else None


def _rate(sent: NDArray[np.float64], stretch: NDArray[np.float64]) -> float | None:
    """The line's rate by the median slope between all pairs of times (Theil 1950, Sen 1968)."""
    if sent.max() < _RANGE * sent.min():
        return None
    one, other = np.triu_indices(len(sent), 1)
    difference = sent[other] - sent[one]
    use = np.abs(difference) > _DIFFERENCE * sent.max()
    if not use.any():
        return None
    slope = float(np.median((stretch[other] - stretch[one])[use] / difference[use]))
    return 1 / slope if slope > 0 else None

"""When a bulk transfer has told its rate, what the rate is, and how sure that is.

A transfer is a series of `Sample`s: cumulative IP bytes that arrived at the receiver against a
monotonic clock. Slow start comes first and says nothing of the line. The transfer may stop as
soon as two neighbouring windows agree; their common slope is the estimate.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from statistics import fmean, stdev

WINDOW_SECONDS = 0.5
AGREEMENT = 0.03
"""Two windows agree when their rates differ by no more than this share of the larger one."""
PARTS = 20
"""The estimate's spread is judged over this many equal parts of its window."""
T95 = 2.26
"""Student's t, two-sided 95 %, for the 9 degrees of freedom of the fewest parts kept."""

MSS, MTU = 1448, 1500
"""TCP payload of a full packet with timestamps, and that packet as IP counts it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """`ip_bytes` had arrived at `seconds` on the receiver's monotonic clock."""

    seconds: float
    ip_bytes: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """IP rate in bit/s over `start`..`end` seconds; `uncertainty` is a share of the rate.

    The true mean rate of that window lies within `rate · (1 ± uncertainty)` at 95 %. `stable` is
    False where the windows never agreed: the rate is then that of the last second.
    """

    rate: float
    uncertainty: float
    stable: bool
    start: float
    end: float


def ip_rate(goodput: float) -> float:
    """The rate that a contract speaks of, from TCP goodput, in the same unit.

    >>> round(ip_rate(1.9307e6) / 1e6, 2)
    2.0
    """
    return goodput * MTU / MSS


def slope(samples: Sequence[Sample]) -> float:
    """Bit/s by least squares, which a burst at either end of the window moves little.

    Fewer than three samples, or none apart in time, give 0.
    """
    if len(samples) < 3:
        return 0.0
    mean_t = fmean(s.seconds for s in samples)
    mean_b = fmean(s.ip_bytes for s in samples)
    spread = sum((s.seconds - mean_t) ** 2 for s in samples)
    if spread <= 0:
        return 0.0
    common = sum((s.seconds - mean_t) * (s.ip_bytes - mean_b) for s in samples)
    return 8 * common / spread


def between(samples: Sequence[Sample], start: float, end: float) -> list[Sample]:
    """The samples of `start`..`end`, both included."""
    return [s for s in samples if start <= s.seconds <= end]


def agree(samples: Sequence[Sample], end: float) -> bool:
    """Whether the two windows before `end` carry the same rate, and that not nothing."""
    middle, start = end - WINDOW_SECONDS, end - 2 * WINDOW_SECONDS
    if not samples or samples[0].seconds > start:
        return False
    early = slope(between(samples, start, middle))
    late = slope(between(samples, middle, end))
    return min(early, late) > 0 and abs(early - late) <= AGREEMENT * max(early, late)


def stable(samples: Sequence[Sample]) -> bool:
    """Whether a running transfer may stop at its newest sample."""
    return bool(samples) and agree(samples, samples[-1].seconds)


def estimate(samples: Sequence[Sample]) -> Estimate | None:
    """The rate of the first pair of windows that agree, or of the last second; None if nothing.

    What is left of slow start at its beginning is cut off. A transfer of less than one window is
    too short to say anything.
    """
    if not samples or samples[-1].seconds - samples[0].seconds < WINDOW_SECONDS:
        return None
    end = next((s.seconds for s in samples if agree(samples, s.seconds)), None)
    settled = end is not None
    end = samples[-1].seconds if end is None else end
    start = max(samples[0].seconds, end - 2 * WINDOW_SECONDS)
    parts = _rates(between(samples, start, end))
    first = _warm_up(parts)
    start += first * (end - start) / PARTS
    rate = slope(between(samples, start, end))
    if rate <= 0:
        return None
    spread = _standard_error(parts[first:])
    return Estimate(rate, T95 * spread / rate, settled, start, end)


def _rates(samples: Sequence[Sample]) -> list[float]:
    """Bit/s in each of `PARTS` equal parts of the time that the samples span."""
    start, end = samples[0].seconds, samples[-1].seconds
    step = (end - start) / PARTS
    times = [s.seconds for s in samples]
    edges = [_at(samples, times, start + i * step) for i in range(PARTS + 1)]
    return [8 * (b - a) / step for a, b in pairwise(edges)]


def _warm_up(parts: Sequence[float]) -> int:
    """How many parts at the beginning to leave out, at most half of them.

    The marginal standard error rule (White 1997): as many as make the mean of the rest surest.
    """
    return min(range(len(parts) // 2 + 1), key=lambda first: _standard_error(parts[first:]))


def _standard_error(parts: Sequence[float]) -> float:
    return stdev(parts) / sqrt(len(parts))


def _at(samples: Sequence[Sample], times: Sequence[float], seconds: float) -> float:
    """IP bytes at a moment, linear between the samples on either side."""
    after = min(bisect_left(times, seconds), len(samples) - 1)
    here = samples[after]
    before = samples[max(0, after - 1)]
    span = here.seconds - before.seconds
    share = 1.0 if span <= 0 else (seconds - before.seconds) / span
    return before.ip_bytes + min(1.0, share) * (here.ip_bytes - before.ip_bytes)

"""How sure a figure is: intervals for samples that come in days. Pure, and the same everywhere.

Tests of one day share that day's weather, load and faults, so twelve of them are not twelve
independent ones. Means and shares therefore resample whole days (day-block bootstrap,
bias-corrected and accelerated: Efron 1987; plain percentile intervals covered too little). A
quantile is bounded by order statistics whose ranks come from the binomial distribution, with the
number of samples cut down to what they are worth (Kish's design effect; Korn and Graubard 1998).
Wilson's interval holds only within one drill, where every office is tested once.

All draws come from a generator whose stream never changes, so whoever derives a figure again, on
another machine and years later, gets the same digits.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from jharnet_monitor.judge.statistics import order_statistics
from jharnet_monitor.judge.statistics.bootstrap import LEVEL, bca, weights

SEED = 20240701
FEWEST_DAYS = 5
"""With fewer days than this there is no interval for anything that is clustered by day."""
P5_SAMPLES, P5_DAYS = 72, 20
"""The 5 % quantile has a lower bound at 95 % from 72 samples on, and speaks of days from 20 on."""

Vector = NDArray[np.float64]
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its 95 % interval over `n` samples of `days` days.

    `low` and `high` are None where the samples are too few to bound it: then it is a description
    of what was seen and supports no claim.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    days: int

    def above(self, mark: float) -> bool:
        """Whether the whole interval lies over the mark."""
        return self.low is not None and self.low > mark

    def below(self, mark: float) -> bool:
        """Whether the whole interval lies under the mark."""
        return self.high is not None and self.high < mark


@dataclass(frozen=True, slots=True)
class Days:
    """Samples by day: one array a day, only days that have any."""

    by_day: tuple[Vector, ...]

    @property
    def every(self) -> Vector:
        """All samples, ascending."""
        joined = np.concatenate(self.by_day) if self.by_day else np.empty(0)
        return np.sort(joined)

    @property
    def n(self) -> int:
        """How many samples."""
        return sum(len(day) for day in self.by_day)


def grouped(days: Sequence[Hashable], values: Sequence[float]) -> Days:
    """Samples with the day of each.

    >>> [day.tolist() for day in grouped(["mon", "tue", "mon"], [1.0, 2.0, 3.0]).by_day]
    [[1.0, 3.0], [2.0]]
    """
    found: dict[Hashable, list[float]] = {}
    for day, value in zip(days, values, strict=True):
        found.setdefault(day, []).append(value)
    return Days(tuple(np.asarray(held, dtype=np.float64) for held in found.values()))


def mean(samples: Days) -> Interval | None:
    """The mean over all samples, by a day-block bootstrap; None without any sample.

    >>> mean(Days(())) is None
    True
    >>> found = mean(grouped([n // 2 for n in range(40)], [float(n % 4) for n in range(40)]))
    >>> found.value, found.low < 1.5 < found.high
    (1.5, True)
    """
    totals = np.array([day.sum() for day in samples.by_day])
    counts = np.array([float(len(day)) for day in samples.by_day])
    return ratio(totals, counts, n=samples.n)


def share(days: Sequence[Hashable], hits: Sequence[bool]) -> Interval | None:
    """The share of samples that are hits, by a day-block bootstrap, kept within 0 and 1.

    Where every sample is alike, resampling shows no spread: then the bound on the other side is
    that of as many independent days (Clopper and Pearson 1934).

    >>> share(["mon"] * 3, [True, True, False]).low is None
    True
    >>> found = share(range(30), [True] * 30)
    >>> found.value, round(found.low, 2), found.high
    (1.0, 0.88, 1.0)
    """
    samples = grouped(days, [float(hit) for hit in hits])
    found = mean(samples)
    if found is None or found.low is None or found.high is None:
        return found
    if found.value in (0.0, 1.0):
        edge = 1 - ((1 - LEVEL) / 2) ** (1 / found.days)
        low, high = (0.0, edge) if found.value == 0.0 else (1 - edge, 1.0)
        return Interval(found.value, low, high, found.n, found.days)
    return Interval(found.value, max(0.0, found.low), min(1.0, found.high), found.n, found.days)


def ratio(
    parts: Sequence[float] | Vector, wholes: Sequence[float] | Vector, n: int
) -> Interval | None:
    """Sum of parts by sum of wholes, each by day (lost by sent), by a day-block bootstrap."""
    part, whole = (np.asarray(side, dtype=np.float64) for side in (parts, wholes))
    if whole.sum() <= 0:
        return None
    days = len(whole)
    value = float(part.sum() / whole.sum())
    if days < FEWEST_DAYS:
        return Interval(value, None, None, n, days)
    times = weights(days, SEED)
    drawn = (times @ part) / np.maximum(times @ whole, np.finfo(float).tiny)
    left_out = (part.sum() - part) / np.maximum(whole.sum() - whole, np.finfo(float).tiny)
    low, high = bca(drawn, value, (left_out,))
    return Interval(value, low, high, n, days)


def proportion(
    parts: Sequence[float] | Vector, wholes: Sequence[float] | Vector, n: int
) -> Interval | None:
    """As `ratio`, of parts that are some of the wholes: packets lost of packets sent.

    Where no part was seen on any day, resampling shows no spread: then the upper bound is that of
    as many independent wholes (Clopper and Pearson 1934).

    >>> found = proportion([0.0] * 30, [1000.0] * 30, n=30)
    >>> found.value, found.low, round(found.high, 6)
    (0.0, 0.0, 0.000123)
    """
    found = ratio(parts, wholes, n)
    if found is None or found.low is None or found.value > 0:
        return found
    edge = 1 - ((1 - LEVEL) / 2) ** (1 / float(np.sum(np.asarray(wholes))))
    return Interval(0.0, 0.0, edge, found.n, found.days)


def change(before: Days, after: Days) -> Interval | None:
    """Mean after less mean before, both resampled by day; None where either has no sample.

    The change is significant where its interval does not hold 0 (`above(0)`, `below(0)`).
    """
    then, now = mean(before), mean(after)
    if then is None or now is None:
        return None
    value, n, days = now.value - then.value, then.n + now.n, then.days + now.days
    if then.low is None or now.low is None:
        return Interval(value, None, None, n, days)
    drawn_then, without_then = _resampled(before, SEED)
    drawn_now, without_now = _resampled(after, SEED + 1)
    low, high = bca(
        drawn_now - drawn_then, value, (now.value - without_then, without_now - then.value)
    )
    return Interval(value, low, high, n, days)


def quantile(samples: Days, q: float) -> Interval | None:
    """The `q` quantile with its interval between two order statistics; None without a sample.

    The value is the order statistic of rank ceil(q·n). The bounds are those order statistics
    between which the quantile lies by the binomial distribution of the effective number of
    samples; one that the samples cannot give is None, and with it the other.

    >>> found = quantile(grouped(range(99), [float(n) for n in range(99)]), 0.5)
    >>> found.value, round(found.low, 1), round(found.high, 1)
    (49.0, 39.1, 58.9)
    >>> quantile(grouped([0, 0, 1], [1.0, 2.0, 3.0]), 0.5).low is None
    True
    """
    ordered = samples.every
    n, days = len(ordered), len(samples.by_day)
    if n == 0:
        return None
    value = float(ordered[max(0, math.ceil(q * n) - 1)])
    if days < FEWEST_DAYS:
        return Interval(value, None, None, n, days)
    low, high = order_statistics.bounds(ordered, samples.by_day, q, value)
    if low is None or high is None:
        return Interval(value, None, None, n, days)
    return Interval(value, low, high, n, days)


def median(samples: Days) -> Interval | None:
    """The median with its interval; None without a sample."""
    return quantile(samples, 0.5)


def fifth_percentile(samples: Days) -> Interval | None:
    """The rate that 95 % of the tests reached; None where there are too few tests to say so.

    From fewer than 72 tests, or fewer than 20 days, the median is quoted instead.
    """
    if samples.n < P5_SAMPLES or len(samples.by_day) < P5_DAYS:
        return None
    return quantile(samples, 0.05)


def wilson(hits: int, n: int) -> Interval | None:
    """A share within one drill (Wilson 1927); None where nobody took part.

    >>> found = wilson(9, 11)
    >>> round(found.low, 3), round(found.high, 3)
    (0.523, 0.949)
    """
    if n == 0:
        return None
    z = _NORMAL.inv_cdf((1 + LEVEL) / 2)
    p = hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Interval(p, max(0.0, middle - half), min(1.0, middle + half), n, 1)


def _resampled(samples: Days, seed: int) -> tuple[Vector, Vector]:
    """Means of resampled days, and means with one day left out."""
    totals = np.array([day.sum() for day in samples.by_day])
    counts = np.array([float(len(day)) for day in samples.by_day])
    times = weights(len(counts), seed)
    drawn: Vector = (times @ totals) / (times @ counts)
    without: Vector = (totals.sum() - totals) / (counts.sum() - counts)
    return drawn, without

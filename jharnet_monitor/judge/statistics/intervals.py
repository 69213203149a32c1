"""95 % confidence intervals for samples that are clustered by day. Pure and reproducible.

Tests of one day share that day's weather, load and faults, so twelve of them are not twelve
independent samples. Neighbouring days and whole weeks are correlated as well (`dependence`).
Intervals of means resample whole days (bootstrap, bias-corrected and accelerated: Efron 1987) and
are widened by the length of the blocks of correlated days. Shares are bounded by the
beta distribution (Clopper and Pearson 1934) and quantiles by order statistics, whose ranks follow
from the binomial distribution; in both the number of samples is reduced to the effective one
(Kish's design effect; Korn and Graubard 1998), again with those blocks. Wilson's interval is used
only within one drill, where every office is tested once.

The random numbers come from a generator whose stream never changes, so that a figure derived again
on another machine, years later, has the same digits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from jharnet_monitor.judge.statistics import order_statistics
from jharnet_monitor.judge.statistics.bootstrap import bca_interval, resample_weights
from jharnet_monitor.judge.statistics.dependence import CONFIDENCE, dependence
from jharnet_monitor.judge.statistics.incomplete_beta import beta_quantile

SEED = 20240701
MIN_DAYS = 5
"""With fewer days than this there is no interval."""
MIN_P5_SAMPLES, MIN_P5_DAYS = 72, 20
"""The 5 % quantile has a lower bound at 95 % confidence from 72 samples on; 20 days are required so
that it does not describe a few days only."""

_COUNT, _MEAN = 1.0, 0.5
Vector = NDArray[np.float64]
Day = date | int | str
"""A day, as long as all of one call are of the same kind."""
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its 95 % confidence interval, from `n` samples of `days` days.

    `low` and `high` are None if there are too few samples for an interval: the figure then
    describes the samples and supports no claim.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    days: int

    def above(self, threshold: float) -> bool:
        """Whether the whole interval is above the threshold."""
        return self.low is not None and self.low > threshold

    def below(self, threshold: float) -> bool:
        """Whether the whole interval is below the threshold."""
        return self.high is not None and self.high < threshold


@dataclass(frozen=True, slots=True)
class DailySamples:
    """Samples grouped by day: one array per day that has any."""

    by_day: tuple[Vector, ...]

    @property
    def sorted_values(self) -> Vector:
        """All samples, ascending."""
        joined = np.concatenate(self.by_day) if self.by_day else np.empty(0)
        return np.sort(joined)

    @property
    def n(self) -> int:
        """Number of samples."""
        return sum(len(day) for day in self.by_day)


def group_by_day(days: Sequence[Day], values: Sequence[float]) -> DailySamples:
    """Group samples by day, in the order of the days; `days` holds the day of each value.

    >>> [day.tolist() for day in group_by_day(["mon", "tue", "mon"], [1.0, 2.0, 3.0]).by_day]
    [[1.0, 3.0], [2.0]]
    """
    found: dict[Day, list[float]] = {}
    for day, value in zip(days, values, strict=True):
        found.setdefault(day, []).append(value)
    return DailySamples(
        tuple(np.asarray(samples, dtype=np.float64) for _, samples in sorted(found.items()))
    )


def mean(samples: DailySamples, limits: tuple[float, float] | None = None) -> Interval | None:
    """The mean of all samples with its interval; None without samples.

    `limits` are the smallest and largest value that a sample can have, as of a grade. The interval
    is then that of a share, which has a width even if nearly all samples are equal.

    >>> mean(DailySamples(())) is None
    True
    >>> found = mean(group_by_day([n // 2 for n in range(40)], [float(n % 4) for n in range(40)]))
    >>> found.value, found.low < 1.5 < found.high
    (1.5, True)
    >>> found = mean(group_by_day(range(30), [4.0] * 30), limits=(0.0, 4.0))
    >>> found.value, round(found.low, 2), found.high
    (4.0, 3.28, 4.0)
    """
    totals = np.array([day.sum() for day in samples.by_day])
    counts = np.array([float(len(day)) for day in samples.by_day])
    if limits is None:
        return ratio(totals, counts, n=samples.n)
    base, reach = limits[0], limits[1] - limits[0]
    sample_variance = float(samples.sorted_values.var()) / reach**2 if samples.n else 0.0
    found = _beta((totals - base * counts) / reach, counts, samples.n, _MEAN, sample_variance)
    if found is None:
        return None
    low, high = (None if end is None else base + reach * end for end in (found.low, found.high))
    return Interval(base + reach * found.value, low, high, found.n, found.days)


def share(days: Sequence[Day], hits: Sequence[bool]) -> Interval | None:
    """The share of samples that are hits, 0 to 1, with its interval.

    If all samples are equal, the bound away from the value is that of half as many independent
    days.

    >>> share(["mon"] * 3, [True, True, False]).low is None
    True
    >>> found = share(range(30), [True] * 30)
    >>> found.value, round(found.low, 2), found.high
    (1.0, 0.82, 1.0)
    """
    samples = group_by_day(days, [float(hit) for hit in hits])
    counts = np.array([float(len(day)) for day in samples.by_day])
    return _beta(np.array([day.sum() for day in samples.by_day]), counts, samples.n, _COUNT)


def ratio(
    parts: Sequence[float] | Vector, wholes: Sequence[float] | Vector, n: int
) -> Interval | None:
    """Sum of `parts` over sum of `wholes`, both by day, with a bootstrap interval over days.

    None if the wholes sum to 0.
    """
    part, whole = (np.asarray(side, dtype=np.float64) for side in (parts, wholes))
    if whole.sum() <= 0:
        return None
    days = len(whole)
    value = float(part.sum() / whole.sum())
    if days < MIN_DAYS:
        return Interval(value, None, None, n, days)
    times = resample_weights(days, SEED)
    drawn = (times @ part) / np.maximum(times @ whole, np.finfo(float).tiny)
    left_out = (part.sum() - part) / np.maximum(whole.sum() - whole, np.finfo(float).tiny)
    clustering = dependence(part - value * whole)
    low, high = bca_interval(drawn, value, (left_out,), math.sqrt(clustering.inflation))
    wider = clustering.widening
    return Interval(value, value - (value - low) * wider, value + (high - value) * wider, n, days)


def proportion(
    parts: Sequence[float] | Vector, wholes: Sequence[float] | Vector, n: int
) -> Interval | None:
    """Sum of `parts` over sum of `wholes` by day, if the parts are counts out of the wholes.

    An example is packets lost of packets sent. If the parts sum to 0, the upper bound is that of as
    many independent trials. None if the wholes sum to 0.

    >>> found = proportion([0.0] * 30, [1000.0] * 30, n=30)
    >>> found.value, found.low, round(found.high, 6)
    (0.0, 0.0, 0.000123)
    """
    part, whole = (np.asarray(side, dtype=np.float64) for side in (parts, wholes))
    found = _beta(part, whole, n, _COUNT)
    if found is None or found.low is None or found.value > 0:
        return found
    edge = 1 - ((1 - CONFIDENCE) / 2) ** (1 / float(whole.sum()))
    return Interval(0.0, 0.0, edge, found.n, found.days)


def _beta(
    part: Vector, whole: Vector, n: int, step: float, sample_variance: float | None = None
) -> Interval | None:
    """Sum of `part` over sum of `whole`, between 0 and 1, with an interval by the beta
    distribution over the effective number of samples.

    `step` is the correction of the bounds: 1 for counts (Clopper and Pearson), 0.5 for means
    (Jeffreys). `sample_variance` is the variance of a single sample, by default p (1 - p) as for
    hits: the figure varies at least as much as if all samples were independent.
    """
    days, total = len(whole), float(whole.sum())
    if total <= 0:
        return None
    value = min(max(float(part.sum()) / total, 0.0), 1.0)
    if days < MIN_DAYS:
        return Interval(value, None, None, n, days)
    residuals = part - value * whole
    variance = days / (days - 1) * float((residuals**2).sum()) / total**2
    alpha, clustering = (1 - CONFIDENCE) / 2, dependence(residuals)
    if not 0 < value < 1:
        edge = _edge(days)
        low, high = max(0.0, value - edge), min(1.0, value + edge)
        return Interval(value, low, high, n, days)
    spread = value * (1 - value)
    independent = (spread if sample_variance is None else sample_variance) / total
    effective = spread / max(variance * clustering.inflation, independent)
    effective *= (_NORMAL.inv_cdf(1 - alpha) / clustering.t) ** 2
    hits, misses = effective * value, effective * (1 - value)

    low = beta_quantile(hits + 1 - step, misses + step, alpha)
    high = beta_quantile(hits + step, misses + 1 - step, 1 - alpha)
    return Interval(value, low, high, n, days)


def _edge(days: int) -> float:
    """The share that this number of days without a hit excludes (95 %, one-sided), if pairs of days
    are correlated; equal days do not show their correlation.
    """
    return float(1 - (1 - CONFIDENCE) ** (2 / days))


def quantile(samples: DailySamples, q: float) -> Interval | None:
    """The `q` quantile with an interval between two order statistics; None without samples.

    The value is the order statistic of rank ceil(q·n). The bounds are the order statistics whose
    ranks follow from the binomial distribution with the effective number of samples. If either
    bound does not exist, both are None.

    >>> found = quantile(group_by_day(range(99), [float(n * 28 % 99) for n in range(99)]), 0.5)
    >>> found.value, round(found.low, 1), round(found.high, 1)
    (49.0, 39.1, 58.9)
    >>> quantile(group_by_day([0, 0, 1], [1.0, 2.0, 3.0]), 0.5).low is None
    True
    """
    ordered = samples.sorted_values
    n, days = len(ordered), len(samples.by_day)
    if n == 0:
        return None
    value = float(ordered[max(0, math.ceil(q * n) - 1)])
    if days < MIN_DAYS:
        return Interval(value, None, None, n, days)
    low, high = order_statistics.quantile_bounds(ordered, samples.by_day, q, value)
    if low is None or high is None:
        return Interval(value, None, None, n, days)
    return Interval(value, low, high, n, days)


def median(samples: DailySamples) -> Interval | None:
    """The median with its interval; None without samples."""
    return quantile(samples, 0.5)


def fifth_percentile(samples: DailySamples) -> Interval | None:
    """The 5 % quantile, which 95 % of the samples reached; None with too few samples or days.

    `MIN_P5_SAMPLES` samples on `MIN_P5_DAYS` days are required.
    """
    if samples.n < MIN_P5_SAMPLES or len(samples.by_day) < MIN_P5_DAYS:
        return None
    return quantile(samples, 0.05)


def wilson_interval(hits: int, n: int) -> Interval | None:
    """The share of hits among `n` independent trials (Wilson 1927); None if `n` is 0.

    >>> found = wilson_interval(9, 11)
    >>> round(found.low, 3), round(found.high, 3)
    (0.523, 0.949)
    """
    if n == 0:
        return None
    z = _NORMAL.inv_cdf((1 + CONFIDENCE) / 2)
    p = hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Interval(p, max(0.0, middle - half), min(1.0, middle + half), n, 1)

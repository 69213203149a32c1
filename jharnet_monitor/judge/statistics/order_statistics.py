"""Intervals of quantiles by order statistics, for samples clustered by day. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from jharnet_monitor.judge.statistics.dependence import CONFIDENCE, Dependence, dependence, ranks
from jharnet_monitor.judge.statistics.incomplete_beta import betainc

Vector = NDArray[np.float64]
_NORMAL = NormalDist()
MEDIAN = 0.5
_EXACT, _TINY = 1e-10, 1e-12


def quantile_bounds(
    ordered: Vector, by_day: Sequence[Vector], q: float, value: float
) -> tuple[float | None, float | None]:
    """The order statistics that bound the `q` quantile; (None, None) with too few samples.

    A quantile above the median may have a lower bound only; its upper one is then infinite.

    `ordered` holds the samples of all days, ascending, `value` is the estimate of the quantile.
    """
    n = len(ordered)
    alpha = (1 - CONFIDENCE) / 2
    effect, clustering = _design_effect(by_day, value, by_ranks=q == MEDIAN)
    effective = n / effect
    if effect > 1:  # the design effect is itself an estimate from few days (Korn and Graubard)
        effective *= (_NORMAL.inv_cdf(1 - alpha) / clustering.t) ** 2
    low = _rank(effective, q, alpha)
    high = _rank(effective, 1 - q, alpha)
    if q == MEDIAN and (low is None or high is None):
        return _by_slope(ordered, effect, clustering)
    if low is None or (high is None and q < MEDIAN):
        return None, None
    places = np.arange(n, dtype=np.float64)
    scale = n / effective
    # Interpolation next to an infinite sample gives NaN.
    if high is None:  # too few samples beyond a high quantile: there is a lower bound only
        return float(np.interp(low * scale, places, ordered)), math.inf
    first, last = np.interp([low * scale, n - 1 - high * scale], places, ordered)
    return float(first), math.inf if np.isnan(last) else float(last)


def _by_slope(
    ordered: Vector, effect: float, clustering: Dependence
) -> tuple[float | None, float | None]:
    """Bounds of the median where too few independent days are left for ranks.

    The standard error of the share below the median (which no more than half is away from all),
    times the slope of the quantiles from 10 % to the median, or from there to 90 %; no bound is
    closer than the outermost sample.
    """
    with np.errstate(invalid="ignore"):  # interpolation between two infinite samples
        low, middle, high = np.quantile(ordered, (0.1, MEDIAN, 0.9)).tolist()
    if not math.isfinite(high):
        return None, None
    reach = min(clustering.t * math.sqrt(effect / len(ordered)) / 2, MEDIAN) / (MEDIAN - 0.1)
    first, last = float(ordered[0]), float(ordered[-1])
    return min(first, middle - reach * (middle - low)), max(last, middle + reach * (high - middle))


def _design_effect(
    by_day: Sequence[Vector], at: float, *, by_ranks: bool
) -> tuple[float, Dependence]:
    """By how much days increase the variance of the share of samples up to `at`, at least 1.

    Kish's design effect for clustering within days, times the dependence between days: for the
    median from the days' mean ranks, for other quantiles from the share itself, since extreme
    values are less correlated. Samples equal to `at` count half: many may lie at the line's rate,
    which nothing exceeds.
    """
    every = np.concatenate(by_day)
    counts = np.array([float(len(day)) for day in by_day])
    n, days = len(every), len(counts)
    begins = np.concatenate(([0], np.cumsum(counts)[:-1])).astype(np.int64)
    below = ((every < at).astype(np.float64) + (every <= at)) / 2
    residuals = np.add.reduceat(below, begins) - below.mean() * counts
    order = ranks(every)
    sums = np.add.reduceat(order, begins) - order.mean() * counts
    clustering = dependence(sums if by_ranks else residuals)
    sample_variance = float(below.var())
    if days < 2 or sample_variance <= 0:
        return 1.0, clustering
    by_days = days / (days - 1) * float((residuals**2).sum()) / n**2
    return max(1.0, float(by_days / (sample_variance / n)) * clustering.inflation), clustering


@lru_cache(maxsize=256)  # many offices have the same number of tests
def _rank(n: float, q: float, alpha: float) -> float | None:
    """The k with P(Binomial(n, q) <= k) = alpha, for real n and k; None if k would be negative.

    The incomplete beta function extends the binomial distribution to real numbers; between ranks,
    order statistics are interpolated (Hettmansperger and Sheather 1986).
    """
    if n < 1 or (1 - q) ** n > alpha:
        return None
    wanted = _NORMAL.inv_cdf(alpha)
    low, high = 0.0, n
    place = n * q + wanted * math.sqrt(n * q * (1 - q))  # start: normal approximation
    while high - low > n * _EXACT:
        if not low < place < high:
            place = (low + high) / 2
        share = betainc(n - place, place + 1, 1 - q)
        low, high = (place, high) if share <= alpha else (low, place)
        if not _TINY < share < 1 - _TINY:
            place = (low + high) / 2
            continue
        # Newton's method on the normal score of the share, which is nearly linear in the rank
        slope = 1 / math.sqrt(n * q * (1 - q))
        step = (wanted - _NORMAL.inv_cdf(share)) / slope
        if abs(step) < n * _EXACT:
            break
        place += step
    return place

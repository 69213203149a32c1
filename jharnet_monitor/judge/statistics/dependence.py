"""How far days depend on each other, and their effective number. Pure.

Neighbouring days share weather, load and faults, and a whole week may be good or bad. The variance
of a mean over days is then that of independent days times the length of the blocks in which days
are correlated. That length is estimated from the data, in two ways, each from the values and from
their ranks (a few large values hide a correlation), of which the largest counts:

- from the correlations r1, r2, r3 of days that are 1, 2, 3 days apart, as of an autoregressive
  series beside noise of each day's own: 1 + 2 r1 / (1 - f), where f is how correlations fall from
  day to day, and r is corrected for its bias (Marriott and Pope 1954);
- from the means of weeks (batch means): their variance times 7, over that of the days.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from jharnet_monitor.judge.statistics.incomplete_beta import student_t_quantile

Vector = NDArray[np.float64]
CONFIDENCE = 0.95
"""Confidence level of all intervals."""
WEEK = 7
FEWEST_DAYS = 14
"""Fewer days do not show how far they depend on each other; `ASSUMED` is then taken at least."""
ASSUMED = 0.3
"""Correlation of neighbouring days."""
FEWEST_OTHER, FEW = 8, 3.0
"""If nearly all days are alike and fewer than the first number differ, their correlation cannot be
estimated; blocks of at least the second number of days are then assumed."""
FEWEST_WEEKS = 4
_LARGEST = 0.9
_NOISE = 0.5
"""Correlations below this multiple of their standard error count as none."""
_SLOW = 0.65
_TINY = 0.05
_NOTABLE = 1.5
"""If weeks vary more than the days explain by this factor, weeks are counted instead of days."""


@dataclass(frozen=True, slots=True)
class Dependence:
    """How a figure from `days` days varies, compared with one from independent days.

    `block` is the length in days of the blocks of correlated days, `freedom` the degrees of freedom
    of Student's t, `inflation` the factor on the variance of the figure.
    """

    days: int
    block: float
    freedom: float
    inflation: float

    @property
    def t(self) -> float:
        """Student's t for the two-sided interval."""
        return student_t_quantile(self.freedom, (1 + CONFIDENCE) / 2)

    @property
    def widening(self) -> float:
        """The factor on the width of an interval computed for independent days."""
        independent = student_t_quantile(self.days - 1, (1 + CONFIDENCE) / 2)
        return self.t * sqrt(self.inflation) / independent


def dependence(residuals: Vector) -> Dependence:
    """The dependence of the days whose deviations from the figure are `residuals`, in order.

    >>> dependence(np.array([1.0, -1.0] * 10)).block
    1.0
    >>> dependence(np.repeat([1.0, -1.0, 1.0, -1.0], 7)).block > 5
    True
    """
    days = len(residuals)
    independent = Dependence(days, 1.0, max(days - 1.0, 1.0), 1.0)
    if days < 3:
        return independent
    spread = float(np.sum((residuals - residuals.mean()) ** 2))
    scale = float(np.max(np.abs(residuals), initial=0.0))
    if spread <= (1e-9 * scale) ** 2 * days:
        return independent
    seen = (residuals, ranks(residuals))
    lagged, weekly = (max(length(one) for one in seen) for length in (_neighbours, _weeks))
    if days - int(np.unique(residuals, return_counts=True)[1].max()) < FEWEST_OTHER:
        lagged = max(lagged, FEW)
    block = min(max(lagged, weekly, 1.0), days / 3)
    freedom = max(days / block - 1, 2.0)
    if weekly > lagged and weekly > _NOTABLE:
        freedom = min(freedom, float(days // _week(days) - 1))
    # The variance of correlated days about their own mean is too small by (block - 1) / days.
    return Dependence(days, block, freedom, block / max(1 - (block - 1) / days, 0.3))


def ranks(values: Vector) -> Vector:
    """The ranks of values; equal values share a rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[place.ravel()], dtype=np.float64)


def _neighbours(residuals: Vector) -> float:
    days = len(residuals)
    about = residuals - residuals.mean()
    spread = float(np.sum(about**2))
    if days < FEWEST_DAYS:
        found = max(float(np.sum(about[1:] * about[:-1])) / spread, ASSUMED)
        return (1 + min(found, _LARGEST)) / (1 - min(found, _LARGEST))
    first, second, third = (
        (float(np.sum(about[lag:] * about[:-lag])) / spread * days + 1) / (days - 4)
        for lag in (1, 2, 3)
    )
    first = min(max(first, 0.0), _LARGEST)
    if first < _NOISE / sqrt(days):
        return (1 + first) / (1 - first)
    # A few days do not show how correlations fall; a slow fall is the safe assumption.
    falls = (second + third) / max(first + second, _TINY)
    return 1 + 2 * first / (1 - min(max(falls, first, _slow(days)), _LARGEST))


def _weeks(residuals: Vector) -> float:
    days = len(residuals)
    if days < FEWEST_DAYS:
        return 1.0
    size = _week(days)
    weeks = days // size
    means = residuals[: weeks * size].reshape(weeks, size).mean(axis=1)
    return size * float(means.var(ddof=1) / residuals.var(ddof=1))


def _week(days: int) -> int:
    """Days of a week: fewer where only working days are measured, so that there are four weeks."""
    return min(WEEK, days // FEWEST_WEEKS)


def _slow(days: int) -> float:
    """The slowest assumed fall of correlations from day to day; larger for fewer days."""
    return min(max(0.88 - days / 365, _SLOW), 0.8)

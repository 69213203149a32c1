"""Day-block bootstrap for intervals of means and shares: resampling and BCa intervals. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from jharnet_monitor.judge.statistics.dependence import CONFIDENCE
from jharnet_monitor.judge.statistics.incomplete_beta import student_t_quantile

RESAMPLES = 2000
_LEAST = 0.25
"""Lower limit of the acceleration's denominator, which few days with a long tail may bring near
0."""

Vector = NDArray[np.float64]
_NORMAL = NormalDist()


@lru_cache(maxsize=64)
def resample_weights(days: int, seed: int) -> Vector:
    """How often each day is drawn in each resample; shape `RESAMPLES` × `days`."""
    # PCG64's raw output is the same in every version of NumPy, unlike that of its distributions.
    raw = np.random.PCG64(seed).random_raw(RESAMPLES * days) >> np.uint64(11)
    chosen = (raw % np.uint64(days)).astype(np.int64).reshape(RESAMPLES, days)
    flat = chosen + days * np.arange(RESAMPLES)[:, None]
    return (
        np.bincount(flat.ravel(), minlength=RESAMPLES * days)
        .reshape(RESAMPLES, days)
        .astype(np.float64)
    )


def bca_interval(
    drawn: Vector, value: float, left_out: Sequence[Vector], stretch: float = 1.0
) -> tuple[float, float]:
    """The bias-corrected and accelerated interval (Efron 1987), for one or more strata.

    `drawn` are the values of the resamples, `value` that of the samples, and `left_out` the
    jackknife values of each stratum. Resampled days vary less than the days themselves; the
    interval is widened accordingly by Student's t (Hesterberg 2015, "expanded percentile").
    `stretch` is the square root of the factor by which dependent days vary more: bias and
    acceleration fall with the root of the number of independent days, which is smaller by that.
    """
    ordered = np.sort(drawn)
    if ordered[0] == ordered[-1]:
        return float(ordered[0]), float(ordered[0])
    below = float(np.sum(drawn < value) + np.sum(drawn == value) / 2) / len(drawn)
    bias = stretch * _NORMAL.inv_cdf(min(max(below, 1 / len(drawn)), 1 - 1 / len(drawn)))
    cubes = squares = 0.0
    for without in left_out:
        size = len(without)
        pull = (without.mean() - without) * (size - 1)
        cubes += float((pull**3).sum()) / size**3
        squares += float((pull**2).sum()) / size**2
    acceleration = stretch * cubes / (6 * squares**1.5) if squares > 0 else 0.0
    fewest = min(len(without) for without in left_out)
    edge_z = math.sqrt(fewest / (fewest - 1)) * student_t_quantile(fewest - 1, (1 + CONFIDENCE) / 2)

    def bound(edge: float) -> float:
        moved = bias + (bias + edge) / max(1 - acceleration * (bias + edge), _LEAST)
        return float(np.quantile(ordered, _NORMAL.cdf(moved)))

    return bound(-edge_z), bound(edge_z)

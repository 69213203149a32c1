"""The bootstrap behind intervals of means and shares: days drawn again, and BCa edges. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from jharnet_monitor.judge.statistics.incomplete_beta import student_t

LEVEL = 0.95
DRAWS = 2000

Vector = NDArray[np.float64]
_NORMAL = NormalDist()


@lru_cache(maxsize=64)
def weights(days: int, seed: int) -> Vector:
    """How often each day is drawn in each resample, `DRAWS` × `days`."""
    # Raw output of PCG64 is the same in every version of NumPy; its distributions need not be.
    raw = np.random.PCG64(seed).random_raw(DRAWS * days) >> np.uint64(11)
    chosen = (raw % np.uint64(days)).astype(np.int64).reshape(DRAWS, days)
    flat = chosen + days * np.arange(DRAWS)[:, None]
    return np.bincount(flat.ravel(), minlength=DRAWS * days).reshape(DRAWS, days).astype(np.float64)


def bca(drawn: Vector, value: float, left_out: Sequence[Vector]) -> tuple[float, float]:
    """The bias-corrected and accelerated interval (Efron 1987), over one or more strata.

    Resampled days spread less than days do; the edges are moved out for that, as Student's t moves
    them for the mean of a few normal values (Hesterberg 2015, "expanded percentile").
    """
    ordered = np.sort(drawn)
    if ordered[0] == ordered[-1]:
        return float(ordered[0]), float(ordered[0])
    below = float(np.sum(drawn < value) + np.sum(drawn == value) / 2) / len(drawn)
    bias = _NORMAL.inv_cdf(min(max(below, 1 / len(drawn)), 1 - 1 / len(drawn)))
    cubes = squares = 0.0
    for without in left_out:
        size = len(without)
        pull = (without.mean() - without) * (size - 1)
        cubes += float((pull**3).sum()) / size**3
        squares += float((pull**2).sum()) / size**2
    acceleration = cubes / (6 * squares**1.5) if squares > 0 else 0.0
    fewest = min(len(without) for without in left_out)
    edge_z = math.sqrt(fewest / (fewest - 1)) * student_t(fewest - 1, (1 + LEVEL) / 2)

    def bound(edge: float) -> float:
        moved = bias + (bias + edge) / (1 - acceleration * (bias + edge))
        return float(np.quantile(ordered, _NORMAL.cdf(moved)))

    return bound(-edge_z), bound(edge_z)

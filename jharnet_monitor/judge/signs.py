"""What the days of one period support, told without NumPy, so that a weekly report stays small.

Tests of one day share that day's load and weather, so days are counted, not tests. `judge.stats`
gives the intervals for the dossier; here is only yes, no, or not certain, at 95 %. Pure.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import combinations
from math import comb
from statistics import fmean, median

LEVEL = 0.05
EXACT = 2000
"""Up to so many ways of sharing out the days all of them are counted, else as many are drawn."""
SEED = 20240701


def median_reaches(days: Sequence[Sequence[float]], mark: float) -> bool | None:
    """Whether the median of a day reaches a mark; None where the days do not suffice to say.

    By the order statistics of the daily medians (ranks from Binomial(n, 1/2)): from 6 days on.

    >>> median_reaches([[3.9]] * 7, 3.2), median_reaches([[1.0]] * 7, 3.2)
    (True, False)
    >>> median_reaches([[3.9]] * 5, 3.2) is None, median_reaches([[1], [4]] * 4, 3.2) is None
    (True, True)
    """
    ordered = sorted(median(day) for day in days if day)
    outside = _rank(len(ordered))
    if outside is None:
        return None
    low, high = ordered[outside], ordered[-1 - outside]
    if low >= mark:
        return True
    return False if high < mark else None


def _rank(n: int) -> int | None:
    """How many values lie beyond each bound of the median's interval; None for too few values."""
    tail, rank = 0.0, None
    for k in range(n // 2 + 1):
        tail += comb(n, k) / 2**n
        if 2 * tail > LEVEL:
            break
        rank = k
    return rank


def changed(before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]) -> bool:
    """Whether the mean of a day is another one than before, beyond what chance would do.

    A permutation test over whole days (Fisher 1935): in how many ways of sharing them out between
    the two periods do their means differ as much as they did? Fewer than four days each side
    can never tell.

    >>> changed([[4, 4]] * 6, [[1, 1]] * 6), changed([[4, 1]] * 6, [[1, 4]] * 6)
    (True, False)
    >>> changed([[4]] * 3, [[0]] * 3)
    False
    """
    then, now = ([fmean(day) for day in side if day] for side in (before, after))
    if not then or not now:
        return False
    days = then + now
    total, size = sum(days), len(now)

    def apart(chosen: float) -> float:
        return abs(chosen / size - (total - chosen) / (len(days) - size))

    seen = apart(sum(now)) - 1e-9
    if comb(len(days), size) <= EXACT:
        drawn = [sum(chosen) for chosen in combinations(days, size)]
        hits = sum(apart(chosen) >= seen for chosen in drawn)
        return hits / len(drawn) <= LEVEL
    dice = random.Random(SEED)
    hits = sum(apart(sum(dice.sample(days, size))) >= seen for _ in range(EXACT))
    return (hits + 1) / (EXACT + 1) <= LEVEL

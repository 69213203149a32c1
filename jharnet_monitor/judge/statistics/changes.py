"""Whether a figure changed since the period before, among many figures of one report. Pure.

Days of one week are more alike than those of different weeks, so tests within two weeks cannot show
how far weeks differ by chance. Weeks are therefore compared as wholes: a change counts if it is
large compared with the differences of earlier periods (Student's t), and large enough to matter.
Over all comparisons of a report the chance of a single false claim is kept at `ALPHA` (Holm 1979).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from math import sqrt

from jharnet_monitor.judge.statistics.incomplete_beta import two_sided_p

ALPHA = 0.05
FEWEST_PERIODS = 5
"""Earlier periods needed; a change is compared with their differences."""
_OVERLAP = 2 / 3
"""Neighbouring differences share a period, which leaves this share of their degrees of freedom."""
_FLOOR = 1 / 4
"""Lower limit of the usual difference, as a share of the smallest relevant change: a few equal
periods do not show how far periods may differ."""


class Course(StrEnum):
    """How a figure changed."""

    BETTER = "better"
    WORSE = "worse"
    NONE = "none"
    """No change that is both certain and relevant."""
    FEW = "few"
    """Too few earlier periods."""
    NEW = "new"
    """Nothing to compare with."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The mean of a figure in earlier periods, the oldest first, and now; None if not measured.

    `smallest` is the smallest change that matters.
    """

    earlier: Sequence[float | None]
    now: float | None
    smallest: float

    @property
    def change(self) -> float | None:
        """Now minus the period before."""
        before = self.earlier[-1] if self.earlier else None
        return None if self.now is None or before is None else self.now - before

    @property
    def p(self) -> float | None:
        """The probability of a change this large between periods like the earlier ones; None if
        there are too few.
        """
        change = self.change
        known = [one for one in self.earlier if one is not None]
        if change is None or len(known) < FEWEST_PERIODS:
            return None
        differences = [after - before for before, after in pairwise(known)]
        usual = sqrt(sum(one**2 for one in differences) / len(differences))
        return two_sided_p(
            change / max(usual, _FLOOR * self.smallest), max(1.0, _OVERLAP * len(differences))
        )


def courses(comparisons: Sequence[Comparison]) -> list[Course]:
    """How each figure of one report changed.

    >>> steady = Comparison([4.0, 4.1, 3.9, 4.0, 4.1, 4.0], 2.0, 0.2)
    >>> [course.value for course in courses([steady, Comparison([4.0], 2.0, 0.2)])]
    ['worse', 'few']
    """
    ranked = [(one.p, number) for number, one in enumerate(comparisons)]
    known = sorted((p, number) for p, number in ranked if p is not None)
    found: list[Course] = []
    for one in comparisons:
        change = one.change
        few = Course.NEW if change is None else Course.FEW
        found.append(few if one.p is None else Course.NONE)
    for rank, (p, number) in enumerate(known):
        if p > ALPHA / (len(known) - rank):
            break
        change = comparisons[number].change or 0.0
        if abs(change) >= comparisons[number].smallest:
            found[number] = Course.BETTER if change > 0 else Course.WORSE
    return found

"""What simulated calls say would cure the calls of a period: an estimate. Pure.

Every call below HD stores how probable each grade is after some changes of its line
(`judge.twin.stored_whatif`). The simulation is no evidence, so it never asks for anything. It can
only keep an upgrade from being asked for: where the calls of the period do not show that the speed
to be ordered would cure them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jharnet_monitor.judge.statistics.rounding import to_digits
from jharnet_monitor.judge.twin.prediction import GRADES, GradePrediction
from jharnet_monitor.judge.twin.stored_whatif import LineChange, stored_answers
from jharnet_monitor.model import Measurement

FEWEST = 5
"""Calls with an answer that an estimate needs; they must be half of all calls, too."""
REPAIRED = LineChange(loss=0.0)


@dataclass(frozen=True, slots=True)
class Cure:
    """What one change does to the calls with an answer on it."""

    change: LineChange
    calls: int
    grade: int
    """The best grade that at least half of them reach."""
    share: float
    """The share of them that reaches it; of grade 0 the share that has it."""


@dataclass(frozen=True, slots=True)
class Cures:
    """The answers of all calls of a period that had a result."""

    calls: int = 0
    """Calls with a result, HD among them."""
    answers: tuple[Cure, ...] = ()
    """For each change, in the order of rates; those with few calls are left out."""

    required: int = 0
    """The district's grade."""

    def cured_by(self, change: LineChange) -> bool | None:
        """Whether at least half of the calls reach the required grade after a change; None if too
        few have an answer."""
        for one in self.answers:
            if one.change == change:
                return one.grade >= self.required
        return None


def cures_of(calls: Sequence[Measurement], required: int) -> Cures:
    """The answers stored with the calls; `required` is the district's grade. Empty if too few calls
    have one."""
    graded = [call for call in calls if "grade" in call.values and call.is_conclusive]
    found: dict[LineChange, list[GradePrediction]] = {}
    for call in graded:
        for one in stored_answers(call.conditions):
            found.setdefault(one.change, []).append(one.prediction)
    kept = sorted(
        (change for change, each in found.items() if len(each) >= max(FEWEST, len(graded) / 2)),
        key=lambda change: (change.rate or 0.0, change.loss is not None),
    )
    answers = tuple(_cure(one, found[one]) for one in kept)
    return Cures(len(graded), answers, required) if answers else Cures()


def _cure(change: LineChange, answers: Sequence[GradePrediction]) -> Cure:
    n = len(answers)
    reached = [sum(one.at_least(grade) for one in answers) / n for grade in range(GRADES)]
    grade = max(grade for grade in range(GRADES) if reached[grade] >= 0.5)
    share = reached[grade] if grade else 1 - reached[1]
    return Cure(change, n, grade, to_digits(share))

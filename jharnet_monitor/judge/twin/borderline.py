"""Which grade is as likely as the one that is shown, by the twin's probabilities. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median_low

from jharnet_monitor.judge.twin.prediction import CERTAIN, GRADES, GradePrediction

PROBABILITIES = tuple(f"grade_{grade}_probability" for grade in range(GRADES))
"""The quantities of a call that hold its probabilities."""


def prediction_in(values: Mapping[str, float]) -> GradePrediction | None:
    """The probabilities in the values of a call; None if the twin gave no answer."""
    if not all(name in values for name in PROBABILITIES):
        return None
    return GradePrediction(tuple(values[name] for name in PROBABILITIES))


def borderline_grade(values: Mapping[str, float]) -> int | None:
    """The other grade that a call may have; None if its own is certain or the twin gave no answer.

    It is the most probable grade, or the second if the most probable one is shown.

    >>> shares = dict(zip(PROBABILITIES, (0.0, 0.0, 0.1, 0.5, 0.4)))
    >>> borderline_grade(shares | {"grade": 3.0}), borderline_grade(shares | {"grade": 4.0})
    (4, 3)
    >>> borderline_grade({"grade": 3.0}) is None
    True
    """
    found = prediction_in(values)
    if found is None or "grade" not in values:
        return None
    shown = int(values["grade"])
    if found.probabilities[shown] >= CERTAIN:
        return None
    return found.second if found.grade == shown else found.grade


def borderline_median(calls: Sequence[tuple[int, int | None]]) -> int | None:
    """The other grade that the low median of several calls may have; None if there is none.

    `calls` are the grade of each and its `borderline_grade`. The median may be another one if it
    changes when every borderline call that could raise it has its other grade, or every one that
    could lower it. If both hold, the grade is given to which more calls lean.

    >>> borderline_median([(3, None), (3, 4), (3, 4)]), borderline_median([(3, None), (3, 4)])
    (4, None)
    """
    if not calls:
        return None
    shown = median_low(grade for grade, _ in calls)
    pairs = [(grade, grade if other is None else other) for grade, other in calls]
    upper, lower = (median_low(pick(pair) for pair in pairs) for pick in (max, min))
    leaning = {other: sum(each[1] == other for each in calls) for other in (lower, upper)}
    others = [other for other in (lower, upper) if other != shown]
    return max(others, key=lambda other: leaning[other], default=None)

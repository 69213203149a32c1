"""The marks of the twin on links with several troubles, and a rule of thumb to compare it with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median_low
from typing import Protocol

from jharnet_monitor.judge.twin.prediction import CERTAIN, GRADES
from tests.bench.chromium_conditions import Condition
from tests.bench.marks import Row, at_most, note

THUMB_RATES = (0.107, 0.2, 0.95)
"""Mbit/s below which it says grade 0, 2 and 3."""
THUMB_LOSS = 9.5
"""Per cent from which it says grade 0."""
THUMB_LOSSY = ((2.5, 150.0), (0.5, 350.0))
"""Loss in per cent and round trip in ms from which, together, it says grade 1."""


class Judged(Protocol):
    """The grades that are compared on one link (`chromium.Compared`)."""

    @property
    def truth(self) -> tuple[int, ...]:
        """Grades that are right."""

    @property
    def grade(self) -> int | None:
        """The product's."""

    @property
    def grades(self) -> tuple[int, ...]:
        """Of Chromium's runs."""

    @property
    def probabilities(self) -> tuple[float, ...]:
        """The twin's."""

    @property
    def ladder(self) -> int | None:
        """The grade of the rung that was held."""

    @property
    def thumb(self) -> int:
        """The rule of thumb's."""

    @property
    def near(self) -> bool:
        """Off by one at most."""

    @property
    def false_ready(self) -> bool:
        """Ready, though Chromium froze."""


def rule_of_thumb(condition: Condition) -> int:
    """A grade by eight numbers; it knows the link's settings, which a product must measure.

    >>> from tests.bench.chromium_conditions import way
    >>> rule_of_thumb(Condition("", way(0.5, 40)))
    3
    """
    ways = (condition.down, condition.upwards)
    rate = min(float(str(way["rate"]).split()[0]) for way in ways) - condition.cross
    loss = max(_loss(way["loss"]) for way in ways)
    trip = sum(float(str(way["delay"]).removesuffix("ms")) for way in ways)
    if rate < THUMB_RATES[0] or loss > THUMB_LOSS:
        return 0
    if condition.blackout or any(loss >= p and trip >= t for p, t in THUMB_LOSSY):
        return 1
    return 2 if rate < THUMB_RATES[1] else 3 if rate < THUMB_RATES[2] else 4


def _loss(value: object) -> float:
    mean = value["mean"] if isinstance(value, dict) else value
    return float(str(mean).removesuffix("%"))


def hard_rows(found: Sequence[Judged], which: str) -> Iterator[Row]:
    """The marks of issue 16 that these links can show."""
    graded = [each for each in found if each.grade is not None]
    count = len(graded)
    if not count:
        return
    right = sum(each.grade in each.truth for each in graded)
    yield Row(f"{which}: grade is Chromium's", 100 * right / count, ">= 90", "%",
              right >= 0.9 * count, f"{right} of {count}")  # fmt: skip
    strict = sum(each.grade == median_low(each.grades) for each in graded)
    yield note(f"{which}: grade is the median of its calls", 100 * strict / count, "%",
               f"{strict} of {count}")  # fmt: skip
    off = sum(not each.near for each in graded)
    yield at_most(f"{which}: off by more than one", 100 * off / count, 2, "%")
    yield at_most(f"{which}: ready, but frozen", sum(e.false_ready for e in graded), 0, "links")
    for name, says in (("twin alone", _twin), ("ladder alone", _ladder), ("rule of thumb", _thumb)):
        decided = [each for each in graded if says(each) is not None]
        agree = sum(says(each) in each.truth for each in decided)
        if decided:
            yield note(
                f"{which}: {name}", 100 * agree / len(decided), "%", f"{agree} of {len(decided)}"
            )
    decided = [each for each in graded if each.probabilities]
    if decided:
        yield from _certain_rows(decided, which)


def _certain_rows(decided: Sequence[Judged], which: str) -> Iterator[Row]:
    """Of the answers called certain, and the Brier score."""
    sure = [each for each in decided if max(each.probabilities) >= CERTAIN]
    right = sum(_twin(each) in each.truth for each in sure)
    if sure:
        yield Row(f"{which}: certain and right", 100 * right / len(sure), ">= 97", "%",
                  right >= 0.97 * len(sure), f"{right} of {len(sure)}")  # fmt: skip
    yield Row(f"{which}: certain", 100 * len(sure) / len(decided), ">= 60", "%",
              len(sure) >= 0.6 * len(decided))  # fmt: skip
    counts = Counter(grade for each in decided for grade in each.grades)
    base = [counts[grade] / counts.total() for grade in range(GRADES)]
    score = sum(_brier(each.probabilities, each.grades) for each in decided) / len(decided)
    alone = sum(_brier(base, each.grades) for each in decided) / len(decided)
    yield at_most(f"{which}: Brier score", score, alone / 2, "",
                  f"frequencies alone {alone:.2f}")  # fmt: skip


def _brier(probabilities: Sequence[float], grades: Sequence[int]) -> float:
    """The mean squared error of a forecast over the runs, summed over the grades."""
    return sum(
        (probabilities[grade] - (grade == seen)) ** 2 for seen in grades for grade in range(GRADES)
    ) / len(grades)


def _twin(each: Judged) -> int | None:
    found = each.probabilities
    return max(range(GRADES), key=lambda grade: (found[grade], -grade)) if found else None


def _ladder(each: Judged) -> int | None:
    return each.ladder


def _thumb(each: Judged) -> int | None:
    return each.thumb

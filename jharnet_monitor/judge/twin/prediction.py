"""The twin's prediction: how probable each grade is on a line. Pure."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from enum import StrEnum

from jharnet_monitor.judge.twin.line import LineModel

GRADES = 5
CERTAIN = 0.9
"""Probability from which the most probable grade is called certain."""


class Certainty(StrEnum):
    """How certain a grade is; for people, `borderline` names the other grade (`borderline.py`)."""

    CERTAIN = "certain"
    BORDERLINE = "borderline"


@dataclass(frozen=True, slots=True)
class GradePrediction:
    """Probabilities of the grades 0 to 4."""

    probabilities: tuple[float, ...]

    @property
    def grade(self) -> int:
        """The most probable grade; of equally probable ones the lower.

        >>> GradePrediction((0.0, 0.1, 0.0, 0.6, 0.3)).grade
        3
        """
        return max(range(GRADES), key=lambda grade: (self.probabilities[grade], -grade))

    @property
    def second(self) -> int:
        """The second most probable grade."""
        others = [grade for grade in range(GRADES) if grade != self.grade]
        return max(others, key=lambda grade: (self.probabilities[grade], -grade))

    @property
    def certainty(self) -> Certainty:
        """Whether another grade is improbable."""
        sure = self.probabilities[self.grade] >= CERTAIN
        return Certainty.CERTAIN if sure else Certainty.BORDERLINE

    def at_least(self, grade: int) -> float:
        """How probable it is that a call reaches the grade.

        >>> GradePrediction((0.0, 0.1, 0.0, 0.6, 0.3)).at_least(3)
        0.9
        """
        return round(sum(self.probabilities[grade:]), 6)


def seed_of(line: LineModel) -> int:
    """The seed for a line, so that the same line always gives the same prediction."""
    return zlib.crc32(json.dumps(line.to_json(), sort_keys=True).encode())

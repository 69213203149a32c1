"""The twin's answer: how probable each grade is on a line, and how sure that is. Pure and seeded."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from jharnet_monitor.judge.conference.grade import Criteria
from jharnet_monitor.judge.twin.call import RUNS, Run, Shown, simulate
from jharnet_monitor.judge.twin.client import REFERENCE, Client
from jharnet_monitor.judge.twin.line import Line
from jharnet_monitor.profiles import HD_HEIGHT, LOW_HEIGHT, SD_HEIGHT

GRADES = 5
CERTAIN = 0.8
"""Probability from which the most probable grade is called certain."""


class Certainty(StrEnum):
    """How sure a grade is. The texts for people are `call.certainty.CERTAINTY`."""

    CERTAIN = "certain"
    BORDERLINE = "borderline"


@dataclass(frozen=True, slots=True)
class Answer:
    """Probabilities of the grades 0 to 4."""

    probabilities: tuple[float, ...]

    @property
    def grade(self) -> int:
        """The most probable grade; of equals the lower one.

        >>> Answer((0.0, 0.1, 0.0, 0.6, 0.3)).grade
        3
        """
        return max(range(GRADES), key=lambda grade: (self.probabilities[grade], -grade))

    @property
    def second(self) -> int:
        """The next probable grade."""
        others = [grade for grade in range(GRADES) if grade != self.grade]
        return max(others, key=lambda grade: (self.probabilities[grade], -grade))

    @property
    def certainty(self) -> Certainty:
        """Whether another grade is improbable."""
        sure = self.probabilities[self.grade] >= CERTAIN
        return Certainty.CERTAIN if sure else Certainty.BORDERLINE

    def at_least(self, grade: int) -> float:
        """How probable it is that a call reaches the grade.

        >>> Answer((0.0, 0.1, 0.0, 0.6, 0.3)).at_least(3)
        0.9
        """
        return round(sum(self.probabilities[grade:]), 6)


def seed_of(line: Line) -> int:
    """The seed that belongs to a line: whoever has the line gets the same answer."""
    return zlib.crc32(json.dumps(line.to_json(), sort_keys=True).encode())


def ask(
    line: Line,
    client: Client = REFERENCE,
    criteria: Criteria | None = None,
    runs: int = RUNS,
    seed: int | None = None,
) -> Answer:
    """Simulate calls over the line and count their grades; the seed is that of the line."""
    line = Line.from_json(line.to_json())  # as it is stored, so that it can be repeated
    found = simulate(line, seed_of(line) if seed is None else seed, client, runs)
    return count(found, client, criteria or Criteria())


def count(runs: Sequence[Run], client: Client, criteria: Criteria) -> Answer:
    """How often each grade comes up."""
    grades = [grade_of(run, client, criteria) for run in runs]
    return Answer(tuple(grades.count(grade) / len(grades) for grade in range(GRADES)))


def grade_of(run: Run, client: Client, criteria: Criteria) -> int:
    """The grade of one run: that of the worse direction, by the criteria of a real call."""
    return min(_grade(shown, client, criteria) for shown in (run.down, run.up))


def _grade(shown: Shown, client: Client, criteria: Criteria) -> int:
    if shown.concealed > criteria.concealed:
        return 0
    if not client.max_height:
        return 1
    frozen = shown.frozen > criteria.frozen or shown.frames < criteria.frames
    if frozen or shown.height < LOW_HEIGHT:
        return 1
    sharp = shown.height >= HD_HEIGHT and shown.rate >= criteria.hd_rate
    if sharp and shown.frames >= criteria.hd_frames:
        return 4
    return 3 if shown.height >= SD_HEIGHT and shown.frames >= criteria.sd_frames else 2

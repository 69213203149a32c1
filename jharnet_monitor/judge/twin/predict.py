"""Predicts grades: simulates calls over a line and counts their grades. Pure and seeded."""

from __future__ import annotations

from collections.abc import Sequence

from jharnet_monitor.judge.conference.grade import Criteria
from jharnet_monitor.judge.twin.call import RUNS, ReceivedQuality, Run, simulate
from jharnet_monitor.judge.twin.clients import REFERENCE, Client
from jharnet_monitor.judge.twin.line import LineModel
from jharnet_monitor.judge.twin.prediction import GRADES, GradePrediction, seed_of
from jharnet_monitor.profiles import HD_HEIGHT, LOW_HEIGHT, SD_HEIGHT


def predict(
    line: LineModel,
    client: Client = REFERENCE,
    criteria: Criteria | None = None,
    runs: int = RUNS,
    seed: int | None = None,
) -> GradePrediction:
    """Simulate calls over the line and count their grades; the seed is that of the line."""
    line = LineModel.from_json(line.to_json())  # as it is stored, so that it can be repeated
    found = simulate(line, seed_of(line) if seed is None else seed, client, runs)
    return count(found, client, criteria or Criteria())


def count(runs: Sequence[Run], client: Client, criteria: Criteria) -> GradePrediction:
    """How often each grade occurs."""
    grades = [grade_of(run, client, criteria) for run in runs]
    return GradePrediction(tuple(grades.count(grade) / len(grades) for grade in range(GRADES)))


def grade_of(run: Run, client: Client, criteria: Criteria) -> int:
    """The grade of one run: that of the worse direction, by the criteria of a real call."""
    return min(_grade(shown, client, criteria) for shown in (run.down, run.up))


def _grade(shown: ReceivedQuality, client: Client, criteria: Criteria) -> int:
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

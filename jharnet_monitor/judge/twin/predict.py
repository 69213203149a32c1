"""Predicts grades: simulates calls over a line and counts their grades. Pure and seeded."""

from __future__ import annotations

from collections.abc import Sequence

from jharnet_monitor.judge.conference.grade import Criteria
from jharnet_monitor.judge.twin.call import RUNS, Run, simulate
from jharnet_monitor.judge.twin.clients import REFERENCE, Client
from jharnet_monitor.judge.twin.line import LineModel
from jharnet_monitor.judge.twin.model_error import grades
from jharnet_monitor.judge.twin.prediction import GradePrediction, seed_of


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
    return count(found, client, criteria or Criteria(), line.has_transfers)


def count(
    runs: Sequence[Run], client: Client, criteria: Criteria, transfers: bool = False
) -> GradePrediction:
    """How often each grade occurs, with the model's own error."""
    found = grades(runs, client, criteria, transfers=transfers)
    return GradePrediction(tuple(float(share) for share in found))

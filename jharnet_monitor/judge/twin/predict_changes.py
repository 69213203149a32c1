"""Predicts grades on several changes of one line, whose calls are simulated together. Pure, seeded.

A simulation of seven lines at once takes twice the time of one.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence

from jharnet_monitor.judge.conference.grade import Criteria
from jharnet_monitor.judge.twin.call import RUNS, WINDOW, simulate_each, warm_up
from jharnet_monitor.judge.twin.clients import REFERENCE, Client
from jharnet_monitor.judge.twin.line import LineModel
from jharnet_monitor.judge.twin.predict import count
from jharnet_monitor.judge.twin.stored_whatif import ChangeAnswer, LineChange

_EACH_MORE = 0.17
"""CPU of each further line in a simulation, by that of the first."""


def groups_of(line: LineModel, changes: Sequence[LineChange]) -> list[tuple[LineChange, ...]]:
    """The changes whose lines have an equally long warm-up, in the order of the first of each.

    Each group's answers depend on its own changes only, in their order.
    """
    found: dict[float, list[LineChange]] = {}
    for change in changes:
        found.setdefault(warm_up(_changed(line, change)), []).append(change)
    return [tuple(group) for group in found.values()]


def relative_cost(line: LineModel, changes: Sequence[LineChange]) -> float:
    """What answers on the changes cost, by what that on the line itself costs."""
    own = warm_up(line) + WINDOW
    return sum(
        (warm_up(_changed(line, group[0])) + WINDOW) / own * (1 + _EACH_MORE * (len(group) - 1))
        for group in groups_of(line, changes)
    )


def predict_group(
    line: LineModel,
    changes: Sequence[LineChange],
    client: Client = REFERENCE,
    criteria: Criteria | None = None,
    runs: int = RUNS,
) -> list[ChangeAnswer]:
    """The answers on the changes of one group; the seed is that of their lines."""
    lines = [_changed(line, change) for change in changes]
    seed = zlib.crc32(json.dumps([one.to_json() for one in lines], sort_keys=True).encode())
    simulated = simulate_each(lines, warm_up(lines[0]), seed, client, runs)
    return [
        ChangeAnswer(change, count(each, client, criteria or Criteria(), one.has_transfers))
        for change, each, one in zip(changes, simulated, lines, strict=True)
    ]


def _changed(line: LineModel, change: LineChange) -> LineModel:
    """The line after the change, as it would be stored."""
    return LineModel.from_json(change.applied(LineModel.from_json(line.to_json())).to_json())

"""The grade of a call by its twin: the line that the call met, and how probable each grade is.

The simulation takes seconds of CPU, so it runs in a process of its own at low priority.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from jharnet_monitor.judge.conference.grade import Criteria
from jharnet_monitor.judge.twin.answer import CERTAIN, GRADES, Certainty, GradeAnswer, seed_of
from jharnet_monitor.judge.twin.clients import REFERENCE, Client
from jharnet_monitor.judge.twin.estimate import line_of, seen_by_counts
from jharnet_monitor.judge.twin.line import LineModel
from jharnet_monitor.probes.base import Reading
from jharnet_monitor.rtc.stats.call_stats import ReceiveStats, SendStats
from jharnet_monitor.worker_process import ask_process

TIME_LIMIT = 120.0
"""Seconds of real time; on an idle computer it takes three."""
_NICE = 10
TWIN_DECIDES = False
"""Whether the grade is the twin's most probable one; else it is that of the rung that was held."""


def met_line(
    ours: SendStats, theirs: SendStats, down: ReceiveStats, up: ReceiveStats
) -> LineModel | None:
    """The line of a call by what both ends report; None if they saw too little."""
    trip = ours.round_trip_p50 or theirs.round_trip_p50
    if trip is None or not (down.audio_sent and up.audio_sent):
        return None
    return line_of(_seen(ours, down), _seen(theirs, up), trip)


def _seen(sent: SendStats, received: ReceiveStats) -> Any:
    if received.line is not None and not sent.adapts:
        return received.line
    return seen_by_counts(
        capacity=sent.capacity,
        arrived=received.bits_per_second,
        adapts=sent.adapts,
        lost=received.video_lost + received.audio_lost,
        packets=received.video_sent + received.audio_sent,
        burst=received.audio_burst_ratio or 1.0,
        jitter=received.jitter_seconds or 0.0,
        line=received.line,
    )


async def answer(
    line: LineModel, criteria: Criteria, client: Client = REFERENCE
) -> GradeAnswer | None:
    """Ask the twin in another process; None if it did not answer in time."""
    question = {"line": line.to_json(), "criteria": asdict(criteria), "client": asdict(client)}
    try:
        found = await ask_process(__name__, question, TIME_LIMIT)
    except (TimeoutError, ValueError):
        return None
    return GradeAnswer(tuple(found["probabilities"]))


def put(reading: Reading, line: LineModel, found: GradeAnswer) -> Reading:
    """The reading with the twin's probabilities beside its grade, and how sure the grade is."""
    values, conditions = dict(reading.values), dict(reading.conditions)
    conditions["ladder_grade"] = values["grade"]
    if TWIN_DECIDES:
        values["grade"] = float(found.grade)
    sure = found.probabilities[int(values["grade"])] >= CERTAIN
    for grade in range(GRADES):
        values[f"grade_{grade}_probability"] = round(found.probabilities[grade], 4)
    conditions |= {
        "certainty": (Certainty.CERTAIN if sure else Certainty.BORDERLINE).value,
        "line": line.to_json(),
        "line_seed": seed_of(line),
        "twin_grade": found.grade,
    }
    return Reading(values, conditions)


def main() -> None:
    """Answer one question, from standard input to standard output."""
    from jharnet_monitor.judge.twin.ask import ask  # noqa: PLC0415 - numpy is for this process only

    os.nice(_NICE)
    question: Mapping[str, Any] = json.load(sys.stdin)
    found = ask(
        LineModel.from_json(question["line"]),
        Client(**question["client"]),
        Criteria(**question["criteria"]),
    )
    json.dump({"probabilities": found.probabilities}, sys.stdout)


if __name__ == "__main__":
    main()

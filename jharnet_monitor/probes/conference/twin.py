"""The grade of a call by its twin: a model of the line, and how probable each grade is on it.

The simulation takes seconds of CPU, so it runs in a process of its own at low priority.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from jharnet_monitor.judge.conference.grade import Criteria, GradeLimit
from jharnet_monitor.judge.twin.borderline import PROBABILITIES, borderline_grade
from jharnet_monitor.judge.twin.clients import REFERENCE, Client
from jharnet_monitor.judge.twin.decision import Held, decided
from jharnet_monitor.judge.twin.estimate import line_of, observed_by_counts
from jharnet_monitor.judge.twin.line import LineModel
from jharnet_monitor.judge.twin.observed_line import ObservedLine
from jharnet_monitor.judge.twin.office_line import CallLine, OfficeLine
from jharnet_monitor.judge.twin.prediction import (
    GRADES,
    Certainty,
    GradePrediction,
    seed_of,
)
from jharnet_monitor.judge.twin.stored_whatif import DECIMALS, ChangeAnswer, LineChange
from jharnet_monitor.model import Direction
from jharnet_monitor.probes.base import Reading
from jharnet_monitor.probes.conference import twin_process
from jharnet_monitor.probes.conference.plan import TWIN_SECONDS
from jharnet_monitor.rtc.stats.call_stats import ReceiveStats, SendStats
from jharnet_monitor.worker_process import ask_process

log = logging.getLogger(__name__)

BEST = GRADES - 1
"""The best grade, which nothing needs to cure."""


def line_of_call(
    hub_sent: SendStats, office_sent: SendStats, down: ReceiveStats, up: ReceiveStats
) -> CallLine | None:
    """The line of a call by the reports of both ends; None if they have too little evidence, or if
    an end was so late that the delay is not the line's."""
    trip = hub_sent.round_trip_p50 or office_sent.round_trip_p50
    late = hub_sent.is_late or office_sent.is_late
    if trip is None or late or not (down.audio_sent and up.audio_sent):
        return None
    ways = {
        Direction.DOWN: _observed(hub_sent, down),
        Direction.UP: _observed(office_sent, up),
    }
    line = line_of(ways[Direction.DOWN], ways[Direction.UP], trip)
    met = {
        way
        for way, one, sent in zip(ways, ways.values(), (hub_sent, office_sent), strict=True)
        if one.policed or (one.available is not None and not _is_guessed(sent, one))
    }
    return CallLine(line, frozenset(met), {way: one.at_least for way, one in ways.items()})


def _is_guessed(sent: SendStats, observed: ObservedLine) -> bool:
    """Whether the rate is only what an adapting sender, which saw no limit, used of the line."""
    return sent.adapts and sent.capacity is None and observed.queue is None


def _observed(sent: SendStats, received: ReceiveStats) -> ObservedLine:
    if received.line is not None and not sent.adapts:
        return received.line
    return observed_by_counts(
        capacity=sent.capacity,
        arrived=received.bits_per_second,
        adapts=sent.adapts,
        lost=received.video_lost + received.audio_lost,
        packets=received.video_sent + received.audio_sent,
        burst=received.audio_burst_ratio or 1.0,
        jitter=received.jitter_seconds or 0.0,
        line=received.line,
    )


@dataclass(frozen=True, slots=True)
class TwinAnswer:
    """What the twin said of a line and of changes of it; `version` is what else that depends on."""

    prediction: GradePrediction
    whatif: tuple[ChangeAnswer, ...]
    version: str


async def ask(
    line: LineModel,
    criteria: Criteria,
    client: Client = REFERENCE,
    changes: Sequence[LineChange] = (),
) -> TwinAnswer | None:
    """Ask the twin in another process; None if it did not answer in time.

    It answers as many of the changes, in their order, as its limits of CPU and time allow.
    """
    question = {
        "line": line.to_json(), "criteria": asdict(criteria), "client": asdict(client),
        "changes": [change.to_json() for change in changes],
    }  # fmt: skip
    try:
        found = await ask_process(twin_process.__name__, question, TWIN_SECONDS)
    except (TimeoutError, ValueError) as error:
        why = str(error) or f"none within {TWIN_SECONDS:.0f} s"
        log.warning("the twin gave no answer: %s", why)
        return None
    return TwinAnswer(
        GradePrediction(tuple(found["probabilities"])),
        tuple(ChangeAnswer.from_json(one) for one in found["whatif"]),
        found["version"],
    )


class CallQuestions:
    """The questions to the twin about calls. The changes of a line are asked of one call at a time:
    while the twin is busy with them, other calls do without."""

    def __init__(self) -> None:
        self._busy = False

    async def judged(
        self, reading: Reading, line: OfficeLine, criteria: Criteria, changes: Sequence[LineChange]
    ) -> Reading:
        """The reading with the twin's answer; with those on the changes if its grade is not HD."""
        held_less = reading.values["grade"] < BEST
        found = await self._answer(line.line, criteria, changes if held_less else ())
        if found is None:
            return reading
        judged = put(reading, line, found)
        if held_less or self._busy or judged.values["grade"] == BEST:
            return judged
        # The call held HD, and only the twin says that the line does not.
        again = await self._answer(line.line, criteria, changes)
        return judged if again is None else put(reading, line, again)

    async def _answer(
        self, line: LineModel, criteria: Criteria, changes: Sequence[LineChange]
    ) -> TwinAnswer | None:
        """Ask about the line, and about its changes unless those of another call are asked."""
        requested = () if self._busy else changes
        self._busy = self._busy or bool(requested)
        try:
            return await ask(line, criteria, changes=requested)
        finally:
            if requested:
                self._busy = False


QUESTIONS = CallQuestions()


def put(reading: Reading, line: OfficeLine, answer: TwinAnswer) -> Reading:
    """The reading with the grade that call and twin decide, its probabilities and certainty."""
    found = answer.prediction
    values, conditions = dict(reading.values), dict(reading.conditions)
    limit, worse = GradeLimit(conditions["limited_by"]), Direction(conditions["worse_way"])
    held = Held(int(values["grade"]), limit, worse)
    decision = decided(held, line.line, found)
    values["grade"] = float(decision.grade)
    for grade in range(GRADES):
        values[PROBABILITIES[grade]] = round(found.probabilities[grade], DECIMALS)
    other = borderline_grade(values)
    curable = bool(answer.whatif) and decision.grade < BEST
    conditions |= {
        "ladder_grade": held.grade,
        "graded_by": decision.by.value,
        "limited_by": decision.limited_by.value,
        "worse_way": decision.worse.value,
        "certainty": (Certainty.CERTAIN if other is None else Certainty.BORDERLINE).value,
        "line": line.line.to_json(),
        "line_seed": seed_of(line.line),
        **({"line_evidence": line.to_json()} if line.is_completed else {}),
        "twin_grade": found.grade,
        "twin_version": answer.version,
        **({"whatif": [one.to_json() for one in answer.whatif]} if curable else {}),
        **({} if other is None else {"borderline_grade": other}),
    }
    return Reading(values, conditions)

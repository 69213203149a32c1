"""The grade of a call, from what it held and from what the twin says of its line. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from jharnet_monitor.judge.conference.grade import LIMITING_LOSS, LIMITING_RTT, GradeLimit
from jharnet_monitor.judge.twin.clients import REFERENCE
from jharnet_monitor.judge.twin.line import DirectionModel, LineModel
from jharnet_monitor.judge.twin.prediction import CERTAIN, GRADES, GradePrediction
from jharnet_monitor.model import Direction

READY, AUDIO_ONLY = 3, 1
"""The grades from which an office can take part with a picture, and with its voice."""
_PACED = 1.1
"""The reference client's largest rate times this fills a line: what sound and headers add."""


class GradedBy(StrEnum):
    """What the grade rests on. The text for people is `call.graded.twin`."""

    CALL = "call"
    TWIN = "twin"


@dataclass(frozen=True, slots=True)
class Decision:
    """The grade, what it rests on, what kept it from a better one, and in which direction."""

    grade: int
    by: GradedBy
    limited_by: GradeLimit
    worse: Direction


@dataclass(frozen=True, slots=True)
class Held:
    """What the test call itself held: the verdict on its last rung."""

    grade: int
    limited_by: GradeLimit
    worse: Direction


def decided(held: Held, line: LineModel, found: GradePrediction) -> Decision:
    """The grade of a call.

    It is the twin's most probable one: a test call of fixed rates cannot show what a client does
    that adapts. But an office is called ready only if the call itself held that, too, or held a
    small picture while the twin is certain; and no conference only if the call held no picture
    either: otherwise the line that the twin was given did not explain the call. Of a call that held
    a picture, it is then the most probable grade that the twin leaves it.

    >>> found = GradePrediction((0.0, 0.0, 0.0, 0.95, 0.05))
    >>> for grade in (4, 3, 2, 1):
    ...     decided(Held(grade, GradeLimit.LOSS, Direction.UP), LineModel(), found).grade
    3
    3
    3
    1
    """
    grade = found.grade
    if grade == 0 and held.grade > AUDIO_ONLY:
        grade = max(range(held.grade, 0, -1), key=lambda one: found.probabilities[one])
    ready = sum(found.probabilities[READY:])
    not_held = held.grade < READY and not (held.grade == READY - 1 and ready >= CERTAIN)
    if grade == held.grade or (grade >= READY and not_held):
        return Decision(held.grade, GradedBy.CALL, held.limited_by, held.worse)
    limit, worse = _limit(held, line, grade)
    return Decision(grade, GradedBy.TWIN, limit, worse)


def _limit(held: Held, line: LineModel, grade: int) -> tuple[GradeLimit, Direction]:
    """What kept the twin's grade from a better one, and where; the call's own limit if it met
    one."""
    ways = {Direction.DOWN: line.down, Direction.UP: line.up}
    late = line.down.delay + line.up.delay > LIMITING_RTT
    if grade == GRADES - 1:
        return GradeLimit.DELAY if late else GradeLimit.NONE, held.worse
    if held.limited_by not in (GradeLimit.NONE, GradeLimit.UNKNOWN):
        return held.limited_by, held.worse
    narrow = min(ways, key=lambda way: _left(ways[way]))
    if _left(ways[narrow]) < _PACED * REFERENCE.max_video:
        return GradeLimit.RATE, narrow
    lossy = max(ways, key=lambda way: ways[way].loss)
    if line.gone or ways[lossy].loss >= LIMITING_LOSS:
        return GradeLimit.LOSS, lossy
    return GradeLimit.DELAY if late else GradeLimit.UNKNOWN, held.worse


def _left(way: DirectionModel) -> float:
    """bit/s that steady others leave of a direction."""
    return way.rate - way.others

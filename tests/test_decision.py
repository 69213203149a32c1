"""The grade of a call from what it held and what the twin says, and what limits it then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jharnet_monitor.judge.conference.grade import GradeLimit
from jharnet_monitor.judge.twin.decision import GradedBy, Held, decided
from jharnet_monitor.judge.twin.line import DirectionModel, LineModel
from jharnet_monitor.judge.twin.office_line import CallLine, office_line
from jharnet_monitor.judge.twin.prediction import GRADES, GradePrediction
from jharnet_monitor.model import Direction
from jharnet_monitor.probes.base import Reading
from jharnet_monitor.probes.conference.twin import TwinAnswer, put
from tests import made_up
from tests.made_up_week import WEEK

CLEAR = LineModel()
NARROW = LineModel(DirectionModel(rate=9e6), DirectionModel(rate=1e6))
SHARED = LineModel(DirectionModel(rate=3e6, others=1.8e6), DirectionModel(rate=9e6))
LOSSY = LineModel(DirectionModel(loss=0.01), DirectionModel(loss=0.04))
GONE = replace(CLEAR, gone=1.0, every=10.0)
FAR = LineModel(DirectionModel(delay=0.3), DirectionModel(delay=0.3))


def says(grade: int, share: float = 0.95) -> GradePrediction:
    """The twin's answer whose most probable grade is this one."""
    others = (1 - share) / (GRADES - 1)
    return GradePrediction(tuple(share if n == grade else others for n in range(GRADES)))


def held(grade: int, limit: GradeLimit = GradeLimit.NONE) -> Held:
    """What a call held, the way down being the worse."""
    return Held(grade, limit, Direction.DOWN)


@pytest.mark.parametrize("share", [0.4, 0.95])
@pytest.mark.parametrize("twin", range(GRADES))
@pytest.mark.parametrize("call", range(GRADES))
def test_the_twin_decides_but_for_two_claims_that_it_makes_alone(
    call: int, twin: int, share: float
) -> None:
    """Ready needs a call that was, or a small picture and certainty; no conference needs a call
    without a picture.

    Here the twin's other grades are equally probable, so that the call's own is taken then.
    """
    unsure = call in (0, 1) or (call == 2 and share < 0.9)
    alone = (twin in (3, 4) and unsure) or (twin == 0 and call in (2, 3, 4))
    found = decided(held(call), CLEAR, says(twin, share))
    assert found.grade == (call if alone else twin)
    assert (found.by is GradedBy.TWIN) == (found.grade != call)


def test_a_picture_that_the_twin_does_not_expect_is_graded_by_what_it_leaves() -> None:
    """No conference in 53 % of the runs, a picture of 180 lines in 44 %: the call held 360."""
    found = decided(held(3), CLEAR, GradePrediction((0.53, 0.01, 0.44, 0.02, 0.0)))
    assert (found.grade, found.by) == (2, GradedBy.TWIN)
    kept = decided(held(2), CLEAR, GradePrediction((0.6, 0.05, 0.1, 0.25, 0.0)))
    assert (kept.grade, kept.by) == (2, GradedBy.CALL)


@pytest.mark.parametrize(
    ("line", "twin", "limit", "worse"),
    [
        (NARROW, 1, GradeLimit.RATE, Direction.UP),
        (SHARED, 3, GradeLimit.RATE, Direction.DOWN),
        (LOSSY, 1, GradeLimit.LOSS, Direction.UP),
        (GONE, 1, GradeLimit.LOSS, Direction.DOWN),
        (FAR, 1, GradeLimit.DELAY, Direction.DOWN),
        (CLEAR, 1, GradeLimit.UNKNOWN, Direction.DOWN),
    ],
)
def test_the_line_says_what_limits_a_grade_that_the_call_does_not_explain(
    line: LineModel, twin: int, limit: GradeLimit, worse: Direction
) -> None:
    """The call held HD and met no limit, the twin says less."""
    found = decided(held(4), line, says(twin))
    assert (found.limited_by, found.worse) == (limit, worse)


def test_the_calls_own_limit_stays_where_it_met_one() -> None:
    """Whatever the line; and the best grade has none but the delay."""
    found = decided(held(3, GradeLimit.RATE), LOSSY, says(2))
    assert (found.grade, found.limited_by) == (2, GradeLimit.RATE)
    for line, limit in ((NARROW, GradeLimit.NONE), (FAR, GradeLimit.DELAY)):
        assert decided(held(3, GradeLimit.RATE), line, says(4)).limited_by is limit


def test_a_reading_names_what_the_call_held_and_what_graded_it() -> None:
    """Grade, limit and way are those decided; the call's own grade stays beside them."""
    call = made_up.conference("potka", WEEK.start, 4)
    own = {**call.conditions, "limited_by": "none", "worse_way": "down"}
    found = put(
        Reading(call.values, own),
        office_line(CallLine(NARROW), {}, WEEK.start),
        TwinAnswer(says(2), (), "v"),
    )
    assert found.values["grade"] == 2
    assert found.conditions["ladder_grade"] == 4
    assert found.conditions["graded_by"] == "twin"
    assert (found.conditions["limited_by"], found.conditions["worse_way"]) == ("rate", "up")
    assert found.conditions["certainty"] == "certain"

"""The grade of a run by its limits, and the twin's own error around it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jharnet_monitor.judge.conference.grade import Criteria
from jharnet_monitor.judge.twin.call import ReceivedQuality, Run
from jharnet_monitor.judge.twin.clients import BUILT_IN, REFERENCE
from jharnet_monitor.judge.twin.model_error import NO_ERROR, ModelError, grades

CRITERIA = Criteria(
    concealed=0.07, frozen=0.05, frames=8.0, sd_frames=12.0, hd_frames=20.0, hd_rate=650e3
)
BEST = ReceivedQuality(concealed=0.0, frozen=0.0, frames=30.0, height=720.0, rate=1.5e6)


@pytest.mark.parametrize(
    ("changes", "grade"),
    [
        ({}, 4), ({"rate": 650e3}, 4), ({"rate": 649e3}, 3), ({"frames": 20.0}, 4),
        ({"frames": 19.9}, 3), ({"frames": 12.0}, 3), ({"frames": 11.9}, 2), ({"frames": 8.0}, 2),
        ({"frames": 7.9}, 1), ({"height": 540.0}, 3), ({"height": 360.0}, 3),
        ({"height": 270.0}, 2), ({"height": 180.0}, 2), ({"height": 0.0}, 1),
        ({"frozen": 0.05}, 4), ({"frozen": 0.051}, 1),
        ({"concealed": 0.07}, 4), ({"concealed": 0.071}, 0), ({"concealed": 0.071, "frozen": 1}, 0),
    ],
)  # fmt: skip
def test_without_error_a_run_has_the_grade_of_its_worse_direction(
    changes: dict[str, float], grade: int
) -> None:
    """A limit itself is still met."""
    worse = replace(BEST, **changes)
    for run in (Run(worse, BEST), Run(BEST, worse), Run(worse, worse)):
        found = grades([run], REFERENCE, CRITERIA, NO_ERROR)
        assert found.tolist() == [float(number == grade) for number in range(5)]


def test_grades_are_shares_of_the_runs() -> None:
    """Three of HD and one without a conference."""
    bad = replace(BEST, concealed=0.5)
    runs = [Run(BEST, BEST)] * 3 + [Run(BEST, bad)]
    assert grades(runs, REFERENCE, CRITERIA, NO_ERROR).tolist() == [0.25, 0, 0, 0, 0.75]
    audio = next(client for client in BUILT_IN if client.name == "audio")
    assert grades(runs, audio, CRITERIA, NO_ERROR).tolist() == [0.25, 0.75, 0, 0, 0]


def test_transfers_leave_a_tenth_of_the_answer_open() -> None:
    """They are given to all five grades alike: 0.02 each."""
    found = grades([Run(BEST, BEST)], REFERENCE, CRITERIA, NO_ERROR, transfers=True)
    assert found.tolist() == pytest.approx([0.02, 0.02, 0.02, 0.02, 0.92])


def _beyond(limit: float) -> float:
    """P(T > limit) for Student's t with 3 degrees of freedom, from its distribution function."""
    x = limit / 3**0.5
    return 0.5 - (float(np.arctan(x)) + x / (1 + x * x)) / np.pi


@pytest.mark.parametrize(
    ("name", "value", "least", "limit", "grade"),
    [
        ("frozen", 0.03, 0.01, 0.05, 1), ("concealed", 0.03, 0.005, 0.07, 0),
        ("rate", 900e3, 0.0, 650e3, 3),
    ],
)  # fmt: skip
def test_noise_is_students_on_the_logarithm(
    name: str, value: float, least: float, limit: float, grade: int
) -> None:
    """The chance to cross a limit follows from Student's distribution; shares below 1 % (frozen)
    and 0.5 % (concealed) err by amounts, not by factors."""
    scale = 0.3
    error = replace(NO_ERROR, **{name: scale})
    far = replace(BEST, rate=1e12)
    run = Run(replace(far, **{name: value}), far)
    found = grades([run] * 400, REFERENCE, CRITERIA, error)
    distance = abs(np.log((limit + least) / (value + least))) / scale
    assert found[grade] == pytest.approx(_beyond(float(distance)), abs=0.008)
    assert found[4] == pytest.approx(1 - found[grade])


def test_the_height_errs_by_steps_of_the_ladder() -> None:
    """From 540 lines half a step up is HD, unless the other way, in 720, errs downwards."""
    error = ModelError(0.0, 0.0, 0.0, height=0.3)
    run = Run(replace(BEST, height=540.0), BEST)
    found = grades([run] * 400, REFERENCE, CRITERIA, error)
    half = _beyond(0.5 / 0.3)
    assert found[4] == pytest.approx(half * (1 - half), abs=0.005)
    # Below 360 lines are two steps down from 540, three from 720.
    low = 1 - (1 - _beyond(1.5 / 0.3)) * (1 - _beyond(2.5 / 0.3))
    assert found[2] == pytest.approx(low, abs=0.003)
    nothing = grades([Run(replace(BEST, height=0.0), BEST)] * 9, REFERENCE, CRITERIA, error)
    assert nothing.tolist() == [0, 1, 0, 0, 0]

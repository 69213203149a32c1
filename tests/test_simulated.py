"""`dossier verify` simulates calls again: their probabilities follow from their line and seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jharnet_monitor.dossier import simulated
from jharnet_monitor.dossier.simulated import SAMPLE, SimulatedCalls, differences
from jharnet_monitor.dossier.verify import verify
from jharnet_monitor.judge.conference.grade import Criteria
from jharnet_monitor.judge.twin.borderline import PROBABILITIES
from jharnet_monitor.judge.twin.line import DirectionModel, LineModel
from jharnet_monitor.judge.twin.office_line import CallLine, OfficeLine, office_line
from jharnet_monitor.judge.twin.prediction import GradePrediction
from jharnet_monitor.judge.twin.stored_whatif import ChangeAnswer, LineChange
from jharnet_monitor.model import Measurement
from jharnet_monitor.probes.base import Reading
from jharnet_monitor.probes.conference import twin_process
from jharnet_monitor.probes.conference.twin import TwinAnswer, put
from tests.dossier_support import filed
from tests.made_up import conference
from tests.made_up_week import WEEK

Forge = Callable[[Measurement], Measurement]
CHANGES = (LineChange(rate=4e6), LineChange(loss=0.0), LineChange(rate=4e6, loss=0.0))


@pytest.fixture(autouse=True)
def short_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin itself, in this process, with calls of four seconds."""
    for name, seconds in (("WINDOW", 3.0), ("WARM_UP", 1.0), ("LONG_WARM_UP", 1.0)):
        monkeypatch.setattr(f"jharnet_monitor.judge.twin.call.{name}", seconds)
    monkeypatch.setattr(simulated, "derived_in_process", twin_process.answered)


def _alone(line: LineModel) -> OfficeLine:
    return office_line(CallLine(line), {}, WEEK.start)


def call(number: int, changes: tuple[LineChange, ...] = ()) -> Measurement:
    """A call with the twin's answer on a line of its own."""
    way = DirectionModel(rate=0.25e6 + 0.02e6 * number, loss=0.02)
    line = LineModel(way, way)
    held = conference("potka", WEEK.start + timedelta(hours=9, minutes=number), 3)
    held = replace(held, conditions={**held.conditions, "worse_way": "down"})
    question = simulated._question(replace(held, conditions={"line": line.to_json()}), Criteria())
    question["changes"] = [change.to_json() for change in changes]
    found = twin_process.answered(question)
    answer = TwinAnswer(
        GradePrediction(tuple(found["probabilities"])),
        tuple(ChangeAnswer.from_json(one) for one in found["whatif"]),
        found["version"],
    )
    reading = put(Reading(held.values, held.conditions), _alone(line), answer)
    return replace(held, values=reading.values, conditions=reading.conditions, id=f"c{number}")


def found(
    calls: list[Measurement], *, every: bool = True, root: str = "r"
) -> tuple[list[str], SimulatedCalls]:
    """The differences of these calls, and what was derived."""
    counted = SimulatedCalls()
    problems = differences(calls, Criteria(), root, lambda _: None, counted, every=every)
    return list(problems), counted


@pytest.fixture
def honest() -> Measurement:
    """A call whose probabilities are the twin's, with three answers on changes."""
    return call(0, CHANGES)


def _with(**changes: Any) -> Forge:
    return lambda one: replace(one, conditions={**one.conditions, **changes})


def _swapped(one: Measurement) -> Measurement:
    """The probabilities of two grades exchanged, and all that follows from them adapted."""
    shares = [one.values[name] for name in PROBABILITIES]
    most = shares.index(max(shares))
    shares[most], shares[most - 1] = shares[most - 1], shares[most]
    line = LineModel.from_json(one.conditions["line"])
    answer = TwinAnswer(GradePrediction(tuple(shares)), (), one.conditions["twin_version"])
    held = {k: v for k, v in one.conditions.items() if k != "borderline_grade"}
    reading = put(Reading(one.values, held), _alone(line), answer)
    return replace(one, values=reading.values, conditions=reading.conditions)


def _forged_whatif(one: Measurement) -> Measurement:
    stored = [dict(each) for each in one.conditions["whatif"]]
    stored[0]["probabilities"] = [0.0, 0.0, 0.0, 0.0, 1.0]
    stored[1]["probabilities"] = [0.0, 0.0, 0.0, 1.0, 0.0]
    return _with(whatif=stored)(one)


def _last_digit(one: Measurement) -> Measurement:
    name = PROBABILITIES[3]
    return replace(one, values={**one.values, name: one.values[name] + 0.0001})


def _better(one: Measurement) -> Measurement:
    return replace(one, values={**one.values, "grade": one.values["grade"] + 1})


FORGERIES: Mapping[str, tuple[Forge, str]] = {
    "probabilities": (_swapped, "but its line gives"),
    "last digit": (_last_digit, "but its line gives"),
    "what if": (_forged_whatif, "`whatif` with rate"),
    "line": (_with(line={"down": {"rate": 9e6}, "up": {"rate": 9e6}}), "line_seed is"),
    "seed": (_with(line_seed=1), "line_seed is 1"),
    "certainty": (_with(certainty="sure"), "certainty is 'sure'"),
    "grade": (_with(twin_grade=5), "twin_grade is 5"),
    "grade held": (_with(ladder_grade=7), "ladder_grade is 7, which is no grade"),
    "decision left out": (_with(graded_by=None), "graded_by is None"),
    "decision": (_with(graded_by="both"), "graded_by is 'both'"),
    "grade decided": (_better, "follows"),
    "other grade": (_with(borderline_grade=0), "borderline_grade is 0"),
    "no line": (_with(line={"down": 3}), "its `line` is none"),
    "bad whatif": (_with(whatif=[{"rate": "much"}]), "cannot be derived"),
}


def test_an_honest_call_is_derived_to_the_last_digit(honest: Measurement) -> None:
    """Its probabilities, and those of all its changes."""
    problems, counted = found([honest])
    assert problems == []
    assert (counted.calls, counted.derived, counted.other_arithmetic) == (1, 1, 0)
    assert len(honest.conditions["whatif"]) == len(CHANGES)
    assert "1 of 1 simulated calls derived again; 1 of them equal" in counted.note()


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_forged_call_is_named(honest: Measurement, kind: str) -> None:
    """Each forgery is said of its call, with what follows instead."""
    forge, says = FORGERIES[kind]
    problems, _ = found([forge(honest)])
    assert problems and all(one.startswith("data: the call c0 of potka: ") for one in problems)
    assert any(says in one for one in problems)


def test_calls_of_another_model_are_counted_and_not_accused(honest: Measurement) -> None:
    """The model's version decides; on another processor or numpy it is compared roughly."""
    model, _, arithmetic = honest.conditions["twin_version"].partition("-")
    problems, counted = found([_with(twin_version=f"00000000-{arithmetic}")(honest)])
    assert (problems, counted.other_model, counted.derived) == ([], 1, 0)
    assert "1 cannot be derived here" in counted.note()
    elsewhere = _with(twin_version=f"{model}-00000000")
    problems, counted = found([elsewhere(_last_digit(honest))])
    assert (problems, counted.other_arithmetic) == ([], 1)
    assert found([elsewhere(_swapped(honest))])[0]
    assert found([conference("potka", WEEK.start, 3)])[1].note() == ""


def test_a_sample_is_drawn_by_the_root_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same root gives the same sample; it ends when its CPU is spent; all are asked for."""
    first = call(0)
    calls = [replace(first, id=f"c{number:02}") for number in range(SAMPLE + 4)]
    reported: list[str] = []
    answer = twin_process.answered(simulated._question(first, Criteria()))

    def sampled(root: str, *, every: bool = False, cpu: float = 1.0) -> int:
        monkeypatch.setattr(
            simulated, "derived_in_process", lambda _: {**answer, "cpu_seconds": cpu}
        )
        counted = SimulatedCalls()
        reported.clear()
        assert not list(differences(calls, Criteria(), root, reported.append, counted, every=every))
        return counted.derived

    assert sampled("a") == SAMPLE and reported[-1] == f"simulated call {SAMPLE} of {SAMPLE} …"
    assert sampled("a", every=True) == len(calls)
    assert sampled("a", cpu=50.0) == 2
    assert sampled("a", cpu=50.0, every=True) == len(calls)


def test_a_dossier_with_a_forged_call_is_found(tmp_path: Path, honest: Measurement) -> None:
    """Rebuilt as a whole from a forged call, it still contradicts itself."""
    for name, one, problems in (("honest", honest, 0), ("forged", _swapped(honest), 1)):
        directory = tmp_path / name
        directory.mkdir()
        made = filed(directory, 1, 7, more=[one])
        made.build(directory / "d.zip")
        seen: list[str] = []
        checked = verify(directory / "d.zip", None, seen.append)
        assert len(checked.problems) == problems, checked.problems
        assert checked.simulated.calls == 1 and "simulated call 1 of 1 …" in seen
    assert "data: the call c0 of potka" in checked.problems[0]

"""The what-if that is stored with a call: which changes are asked, their form, and their limits."""

from __future__ import annotations

import ast
import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import jharnet_monitor
from jharnet_monitor.judge.conference.grade import Criteria
from jharnet_monitor.judge.twin.clients import REFERENCE
from jharnet_monitor.judge.twin.line import DirectionModel, LineModel
from jharnet_monitor.judge.twin.office_line import CallLine, office_line
from jharnet_monitor.judge.twin.predict_changes import groups_of, predict_group
from jharnet_monitor.judge.twin.prediction import GradePrediction
from jharnet_monitor.judge.twin.stored_whatif import (
    MOST_CHANGES,
    ChangeAnswer,
    LineChange,
    changes_to_ask,
    stored_answers,
)
from jharnet_monitor.probes.base import Reading
from jharnet_monitor.probes.conference import twin, twin_process
from jharnet_monitor.probes.conference.twin import CallQuestions, TwinAnswer
from tests.made_up_week import WEEK

LOSSY = LineModel(DirectionModel(rate=2e6, loss=0.03), DirectionModel(rate=2e6))
CLEAN = LineModel(DirectionModel(rate=0.3e6), DirectionModel(rate=0.3e6))
TARIFF = (2e6, 4e6, 8e6, 10e6, 16e6)
SHARES = (0.0, 0.0, 0.1, 0.2, 0.7)
SD = (0.0, 0.0, 0.1, 0.8, 0.1)


def test_the_next_three_slabs_come_with_and_without_the_loss() -> None:
    """The next slab, the repair, and both come first; without loss there is nothing to repair."""
    pairs = [(one.rate, one.loss) for one in changes_to_ask(LOSSY, 2e6, TARIFF)]
    assert pairs == [
        (4e6, None), (None, 0.0), (4e6, 0.0), (8e6, None), (8e6, 0.0), (10e6, None), (10e6, 0.0),
    ]  # fmt: skip
    assert len(pairs) == MOST_CHANGES
    clean = [(one.rate, one.loss) for one in changes_to_ask(CLEAN, 8e6, TARIFF)]
    assert clean == [(10e6, None), (16e6, None)]


def test_without_a_larger_slab_or_a_contract_only_the_repair_is_left() -> None:
    """The largest slab has none above it; a contract that is not known has none either."""
    for contracted in (16e6, None):
        assert changes_to_ask(LOSSY, contracted, TARIFF) == (LineChange(loss=0.0),)
        assert changes_to_ask(CLEAN, contracted, TARIFF) == ()


def test_the_stored_form_can_be_read_back() -> None:
    """The change and its probabilities, to four decimals."""
    answer = ChangeAnswer(LineChange(rate=4e6), GradePrediction(SHARES))
    stored = json.loads(json.dumps(answer.to_json()))
    assert list(stored_answers({"whatif": [stored]})) == [answer]


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": "4M"}, {"loss": -1}, {"rate": True}, {"probabilities": [1]},
        {"probabilities": [0, 0, 0, 0, 2]}, {"probabilities": [0, 0, 0, 0, 0.5]},
        {"probabilities": "01234"}, {"probabilities": None},
    ],
)  # fmt: skip
def test_what_is_malformed_is_left_out(wrong: Mapping[str, Any]) -> None:
    """A stored answer that cannot be one counts as none, and so does what is no list."""
    good = ChangeAnswer(LineChange(loss=0.0), GradePrediction(SHARES)).to_json()
    assert len(list(stored_answers({"whatif": [good, {**good, **wrong}]}))) == 1
    assert list(stored_answers({"whatif": good})) == []
    assert list(stored_answers({"whatif": [good] * 50})) == list(
        stored_answers({"whatif": [good] * MOST_CHANGES})
    )


def question(*rates: float) -> dict[str, Any]:
    """A question about other rates of a line, in bit/s."""
    return {
        "line": CLEAN.to_json(), "criteria": asdict(Criteria()), "client": asdict(REFERENCE),
        "changes": [LineChange(rate=rate).to_json() for rate in rates],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cpu", "real", "answers"),
    [(4.0, 4.0, 5), (5.2, 5.2, 3), (6.5, 6.5, 2), (8.0, 8.0, 0), (1.0, 70.0, 0)],
)
def test_changes_beyond_the_limits_are_left_out(
    monkeypatch: pytest.MonkeyPatch, cpu: float, real: float, answers: int
) -> None:
    """15 s of CPU for all answers together, and none begun after a minute of real time.

    The line and two of the changes have a long warm-up (95 s are simulated), three a short one.
    """
    changes_seen: list[int] = []

    def predicted(line: LineModel, *_: Any) -> GradePrediction:
        changes_seen.append(1)
        return GradePrediction(SHARES)

    def group(line: LineModel, changes: Sequence[LineChange], *_: Any) -> list[ChangeAnswer]:
        return [ChangeAnswer(one, GradePrediction(SHARES)) for one in changes]

    twins = "jharnet_monitor.judge.twin"
    monkeypatch.setattr(f"{twins}.predict.predict", predicted)
    monkeypatch.setattr(f"{twins}.predict_changes.predict_group", group)
    monkeypatch.setattr("time.process_time", lambda: cpu * len(changes_seen))
    monkeypatch.setattr("time.monotonic", lambda: real * len(changes_seen))
    found = twin_process.answered(question(0.8e6, 1e6, 4e6, 8e6, 10e6))
    assert len(found["whatif"]) == answers
    assert found["probabilities"] == SHARES


def test_answers_of_a_group_do_not_depend_on_other_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same changes give the same answers, whether or not there was time for others."""
    monkeypatch.setattr("jharnet_monitor.judge.twin.call.WINDOW", 3.0)
    monkeypatch.setattr("jharnet_monitor.judge.twin.call.WARM_UP", 2.0)
    monkeypatch.setattr("jharnet_monitor.judge.twin.call.LONG_WARM_UP", 4.0)
    slow, fast = LineChange(rate=0.5e6), LineChange(rate=4e6, loss=0.0)
    groups = groups_of(LOSSY, [slow, fast])
    assert groups == [(slow,), (fast,)] == [*groups_of(LOSSY, [slow]), *groups_of(LOSSY, [fast])]
    stored = LineModel.from_json(json.loads(json.dumps(LOSSY.to_json())))
    first, again = (predict_group(one, groups[0], runs=4) for one in (LOSSY, stored))
    assert first == again
    assert first[0].change == slow


def test_the_version_covers_all_that_an_answer_depends_on() -> None:
    """Every module of the twin that a prediction loads, and the criteria."""
    found, waiting = set(), ["predict", "predict_changes"]
    folder = Path(jharnet_monitor.__file__).parent / "judge" / "twin"
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            nodes = ast.walk(ast.parse((folder / f"{name}.py").read_text("utf-8")))
            names = [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
            waiting += [one.rpartition(".")[2] for one in names if "judge.twin." in one]
    assert found == set(twin_process.MODEL)
    criteria = asdict(Criteria())
    other = twin_process.model_version({**criteria, "frozen": 0.5})
    assert other != twin_process.model_version(criteria)


async def test_changes_are_answered_below_hd_and_of_one_call_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call that held HD asks none at first; one that ends while another asks does without."""
    changes_seen: list[int] = []
    go_on = asyncio.Event()

    async def ask(line: LineModel, criteria: Criteria, *, changes: Any) -> TwinAnswer:
        changes_seen.append(len(changes))
        await go_on.wait()
        answers = tuple(ChangeAnswer(one, GradePrediction(SD)) for one in changes)
        return TwinAnswer(GradePrediction(SD), answers, "1-1")

    monkeypatch.setattr(twin, "ask", ask)
    questions, changes = CallQuestions(), changes_to_ask(CLEAN, 2e6, TARIFF)

    line = office_line(CallLine(CLEAN), {}, WEEK.start)

    def judged(grade: float) -> asyncio.Task[Reading]:
        reading = Reading({"grade": grade}, {"limited_by": "rate", "worse_way": "down"})
        return asyncio.create_task(questions.judged(reading, line, Criteria(), changes))

    calls = [judged(4.0), judged(3.0), judged(1.0)]
    await asyncio.sleep(0)
    assert changes_seen == [0, 3, 0]
    go_on.set()
    found = [await call for call in calls]
    assert ["whatif" in one.conditions for one in found] == [False, True, False]
    assert len(found[1].conditions["whatif"]) == 3
    await judged(2.0)
    assert changes_seen[-1] == 3
    # The twin lowers a call that held HD: its changes are asked in a second question.
    lowered = await judged(4.0)
    assert changes_seen[-2:] == [0, 3]
    assert lowered.values["grade"] == 3 and len(lowered.conditions["whatif"]) == 3

"""The twin of the call: its lines, its runs, its predictions, and the questions to it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from jharnet_monitor.judge.conference.grade import Criteria
from jharnet_monitor.judge.twin.arrivals import observe
from jharnet_monitor.judge.twin.call import Run, simulate_each
from jharnet_monitor.judge.twin.clients import REFERENCE
from jharnet_monitor.judge.twin.estimate import line_of
from jharnet_monitor.judge.twin.line import DirectionModel, LineModel
from jharnet_monitor.judge.twin.observed_line import ObservedLine
from jharnet_monitor.judge.twin.predict import count
from jharnet_monitor.judge.twin.prediction import Certainty, GradePrediction, seed_of
from jharnet_monitor.judge.twin.trace import PacketColumns
from jharnet_monitor.judge.twin.whatif import BadChange, parse_change
from jharnet_monitor.lab.pipe import QUEUE_FULL, Pipe
from jharnet_monitor.lab.spec import LinkDirection
from jharnet_monitor.web.errors import Refusal
from jharnet_monitor.web.whatif import WhatIf
from tests.support import make_config

RUNS = 3
CLEAR, NARROW = DirectionModel(rate=8e6, delay=0.02), DirectionModel(rate=0.3e6, delay=0.02)
LOSSY, POLICED = (
    DirectionModel(rate=8e6, delay=0.02, loss=0.2),
    DirectionModel(rate=0.06e6, delay=0.02, bucket=0.2),
)


@pytest.fixture(scope="module")
def runs() -> dict[str, list[Run]]:
    """Calls over four lines, simulated at once."""
    lines = {name: LineModel(way, way) for name, way in zip(
        ("clear", "narrow", "lossy", "policed"), (CLEAR, NARROW, LOSSY, POLICED), strict=True
    )}  # fmt: skip
    found = simulate_each(list(lines.values()), 30.0, seed=1, runs=RUNS)
    return {name: list(each) for name, each in zip(lines, found, strict=True)}


@pytest.mark.parametrize(
    ("name", "grades"), [("clear", {4}), ("narrow", {3}), ("lossy", {0}), ("policed", {0})]
)
def test_a_line_gets_the_grade_that_chromium_shows(
    runs: dict[str, list[Run]], name: str, grades: set[int]
) -> None:
    """HD on a clear line, SD on 0.3 Mbit/s, and no conference at 20 % loss or 60 kbit/s."""
    found = count(runs[name], REFERENCE, Criteria())
    assert found.grade in grades
    assert sum(found.probabilities) == pytest.approx(1.0)


def test_no_more_arrives_than_the_line_carries(runs: dict[str, list[Run]]) -> None:
    """A narrow line's video stays below its rate, and comes near to what the sound leaves."""
    for run in runs["narrow"]:
        assert 0.12e6 < run.down.rate < 0.25e6


def test_the_same_seed_gives_the_same_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same line and seed give the same answer; another seed gives other runs."""
    monkeypatch.setattr("jharnet_monitor.judge.twin.call.WINDOW", 4.0)
    line = LineModel(NARROW, DirectionModel(rate=0.5e6, delay=0.1, loss=0.03, rate_doubt=0.1))
    first, again, other = (simulate_each([line], 3.0, seed, runs=1)[0] for seed in (7, 7, 8))
    assert first == again != other
    stored = LineModel.from_json(json.loads(json.dumps(line.to_json())))
    assert seed_of(stored) == seed_of(line)


def test_an_answer_says_how_sure_it_is() -> None:
    """Certain from nine of ten on; of equal grades the lower one."""
    assert GradePrediction((0.0, 0.0, 0.0, 0.1, 0.9)).certainty is Certainty.CERTAIN
    split = GradePrediction((0.0, 0.0, 0.0, 0.5, 0.5))
    assert (split.grade, split.second, split.certainty) == (3, 4, Certainty.BORDERLINE)
    assert split.at_least(3) == 1.0


def test_a_change_leaves_what_is_not_named() -> None:
    """The rate changes both ways; loss repaired is gone; two calls halve the rate."""
    line = LineModel(
        DirectionModel(rate=2e6, loss=0.03, burst=4), DirectionModel(rate=1e6, delay=0.1)
    )
    changed = line.changed(rate=4e6, loss=0.0)
    assert (changed.down.rate, changed.up.rate, changed.down.loss) == (4e6, 4e6, 0.0)
    assert changed.up.delay == line.up.delay
    assert line.changed(clients=2).down.rate == 1e6


@pytest.mark.parametrize(
    ("requested", "says"),
    [
        ({"rate": "fast"}, "rate must be like `4M`"),
        ({"rate": "1k"}, "rate must be from 30k"),
        ({"loss": "90%"}, "loss must be from"),
        ({"rtt": "50"}, "rtt must be like `50ms`"),
        ({"clients": "0"}, "clients must be a whole number"),
        ({"clients": "٣"}, "clients must be a whole number"),
        ({"client": "zoom"}, "no client `zoom`"),
        ({"colour": "red"}, "unknown parameter `colour`"),
    ],
)
def test_a_bad_question_gets_one_line(requested: dict[str, str], says: str) -> None:
    """The message names the parameter and what is valid."""
    with pytest.raises(BadChange, match=says):
        parse_change(requested, {REFERENCE.name: REFERENCE})


async def test_without_a_call_there_is_no_answer() -> None:
    """404 where no call has met the line, 400 for a bad question."""
    config, office = make_config(), _Office()
    with pytest.raises(Refusal) as refused:
        await WhatIf().ask(config, office, {"rate": "4M"})  # type: ignore[arg-type]
    assert refused.value.status == 404
    with pytest.raises(Refusal) as refused:
        await WhatIf().ask(config, office, {"rate": "4"})  # type: ignore[arg-type]
    assert refused.value.status == 400


class _Office:
    latest: dict[str, Any] = {}  # noqa: RUF012 - never written


def _columns(
    interval: float, count: int, size: float, pipe: Pipe, per_frame: int = 1
) -> PacketColumns:
    """A stream sent at even intervals through a pipe of the lab."""
    frames = np.arange(count // per_frame) * interval
    frames[len(frames) // 2 :] += 1.0  # a pause in which a queue drains
    sent = np.repeat(frames, per_frame)
    at = []
    for moment in sent:
        due = pipe.admit(100.0 + float(moment), int(size))
        at.append(due if due >= 0 else np.nan)
    nothing = np.zeros(0)
    return PacketColumns(sent, np.array(at), np.full(len(sent), size), sent, nothing, nothing)


def _seen(settings: dict[str, Any], video: int = 4) -> ObservedLine:
    """What 20 s of 0.9 Mbit/s show of a line, with nothing else on it."""
    pipe = Pipe("p", LinkDirection.model_validate(settings), 1)
    stream = _columns(1 / 30, 600 * video, 1000, pipe, video)
    silent = np.zeros(0)
    empty = PacketColumns(silent, silent, silent, silent, silent, silent)
    found = observe(stream, empty)
    assert found is not None
    return found


def test_a_full_queue_shows_the_rate_and_its_depth() -> None:
    """0.96 Mbit/s into 0.5 Mbit/s with 300 ms of queue."""
    found = _seen({"rate": "0.5 Mbit/s", "queue": "300ms", "delay": "20ms"})
    assert found.rate == pytest.approx(0.5e6, rel=0.05)
    assert found.queue == pytest.approx(0.3, abs=0.06)


def test_a_line_that_is_not_filled_shows_its_loss() -> None:
    """2 % of random loss on a fast line, and no queue."""
    found = _seen({"rate": "20 Mbit/s", "loss": "2%", "delay": "20ms"})
    assert found.loss == pytest.approx(0.02, abs=0.008)
    assert found.queue is None
    assert found.at_least == pytest.approx(0.96e6, rel=0.1)


def test_what_was_seen_survives_the_message_and_bad_messages_are_refused() -> None:
    """Every key is checked: the other end is not trusted."""
    found = _seen({"rate": "0.5 Mbit/s", "queue": "300ms", "delay": "20ms"})
    fields = json.loads(json.dumps({name: getattr(found, name) for name in ObservedLine.__slots__}))
    assert ObservedLine.from_json(fields) == found
    for key, value in (("loss", "much"), ("rate", -1), ("policed", 1), ("jitter", float("nan"))):
        with pytest.raises(ValueError, match=key):
            ObservedLine.from_json(fields | {key: value})
    line = line_of(found, found, 0.05)
    assert line.down.rate == pytest.approx(found.rate, rel=0.05)


def test_the_lab_polices_without_a_queue() -> None:
    """A bucket of 100 ms at 80 kbit/s holds one packet of 1000 bytes, which nothing delays."""
    settings = {"bucket": {"rate": "80 kbit/s", "size": "100ms"}, "delay": "10ms"}
    pipe = Pipe("p", LinkDirection.model_validate(settings), 1)
    assert pipe.admit(1.0, 1000) == pytest.approx(1.01)
    assert pipe.admit(1.01, 1000) == QUEUE_FULL
    assert pipe.admit(1.11, 1000) == pytest.approx(1.12)

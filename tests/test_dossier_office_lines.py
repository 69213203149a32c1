"""The lines of a dossier's calls follow from the measurements that completed them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jharnet_monitor.dossier.evidence import DossierEvidence
from jharnet_monitor.dossier.office_lines import line_differences
from jharnet_monitor.dossier.verify import verify
from jharnet_monitor.judge.conference.grade import Criteria
from jharnet_monitor.judge.twin.clients import REFERENCE
from jharnet_monitor.judge.twin.line import DirectionModel, LineModel
from jharnet_monitor.judge.twin.measured_rates import LATENCY, ROUTER, SPEED_TEST
from jharnet_monitor.judge.twin.office_line import CallLine, office_line
from jharnet_monitor.judge.twin.prediction import GradePrediction
from jharnet_monitor.model import Direction, Measurement, Outcome, format_utc, parse_utc
from jharnet_monitor.probes.base import Reading
from jharnet_monitor.probes.conference import twin_process
from jharnet_monitor.probes.conference.twin import TwinAnswer, put
from jharnet_monitor.store.tables import to_ms
from tests import made_up
from tests.dossier_support import filed
from tests.made_up_week import WEEK

AT = WEEK.start + timedelta(days=1, hours=9, seconds=1)
CLEAR = DirectionModel(rate=4e6, queue=0.2, delay=0.03, queue_doubt=1.0)
Forge = Callable[[Measurement], Measurement]


def speed_test(at: datetime = AT - timedelta(hours=2)) -> Measurement:
    """A speed test with intervals."""
    one = made_up.bandwidth("potka", at, 2.9e6, 1.9e6)
    values = dict(one.values)
    for way, rate in (("download", 2.9e6), ("upload", 1.9e6)):
        name = f"{way}_bits_per_second"
        values |= {name: rate, f"{name}_low": 0.98 * rate, f"{name}_high": 1.02 * rate}
    return replace(one, values=values, id="test-1")


PINGS = replace(
    made_up.latency("potka", AT - timedelta(minutes=2), 0.03712345),
    id="ping-1", conditions={"path": "jharnet"},
)  # fmt: skip
"""As on demand: a minute of the hub's own has no `path`."""
COUNTERS = made_up.utilisation("potka", AT - timedelta(minutes=6), 0.4e6, 0.1e6)


def call() -> Measurement:
    """A call whose line was completed by a speed test, echo requests and the router."""
    both = dict.fromkeys(Direction, 1.6e6)
    recent = {SPEED_TEST: speed_test(), LATENCY: PINGS, ROUTER: COUNTERS}
    met = frozenset({Direction.UP})
    line = office_line(CallLine(LineModel(CLEAR, CLEAR), met, both), recent, AT)
    assert {one.series for one in line.sources if one.gave} == set(recent)
    held = made_up.conference("potka", AT, 4)
    conditions = {**held.conditions, "limited_by": "none", "worse_way": "down"}
    question = {
        "line": line.line.to_json(), "criteria": asdict(Criteria()), "client": asdict(REFERENCE),
        "changes": [],
    }  # fmt: skip
    found = twin_process.answered(question)
    answer = TwinAnswer(GradePrediction(tuple(found["probabilities"])), (), found["version"])
    reading = put(Reading(held.values, conditions), line, answer)
    return replace(held, values=reading.values, conditions=reading.conditions, id="c-1")


@pytest.fixture(scope="module")
def honest() -> Measurement:
    """The call, made once."""
    return call()


def evidence(one: Measurement, *tests: Measurement, pinged: bool = True) -> DossierEvidence:
    """The evidence of a dossier with this call and what completed it."""
    found = DossierEvidence(made_up.config(1), WEEK)
    found.runs["potka", "conference"] = [one]
    found.runs["potka", "bandwidth"] = list(tests or [speed_test()])
    if pinged:
        minutes = found.minutes["potka"]
        minutes.at.append(np.array([0, to_ms(PINGS.started_at)]))
        minutes.columns["rtt_p50_seconds"].append(np.array([9.0, 0.03712345]))
        for name in ("sent", "received"):
            minutes.columns[name].append(np.array([60.0, 60.0]))
        found.traffic["potka"].add([to_ms(COUNTERS.started_at)], [300.0], [0.4e6], [0.1e6])
    return found


def changed(one: Measurement, series: str, part: str, change: Mapping[str, Any]) -> Measurement:
    """The call with other data of one of its sources."""
    data = dict(one.conditions["line_evidence"])
    data["measured"] = [
        {**each, part: {**each[part], **change}} if each["series"] == series else each
        for each in data["measured"]
    ]
    return replace(one, conditions={**one.conditions, "line_evidence": data})


def test_an_honest_line_follows(honest: Measurement) -> None:
    """From the records, and where minutes were pruned or lie before the period; also if the call
    began a little later than the hub's probe."""
    assert list(line_differences(evidence(honest))) == []
    assert list(line_differences(evidence(honest, pinged=False))) == []
    earlier = replace(honest, started_at=honest.started_at - timedelta(seconds=5))
    assert list(line_differences(evidence(earlier))) == []
    alone = replace(honest, conditions={"line": honest.conditions["line"]})
    assert list(line_differences(evidence(alone))) == []


def _without(one: Measurement, series: str, part: str, name: str) -> Measurement:
    """The call with one figure of a source left out."""
    data = json.loads(json.dumps(one.conditions["line_evidence"]))
    for each in data["measured"]:
        if each["series"] == series:
            del each[part][name]
    return replace(one, conditions={**one.conditions, "line_evidence": data})


def _moved(one: Measurement, seconds: float) -> Measurement:
    """The call with another time of its echo requests, at which none were sent."""
    data = json.loads(json.dumps(one.conditions["line_evidence"]))
    for each in data["measured"]:
        if each["series"] == LATENCY:
            moment = parse_utc(each["started_at"]) + timedelta(seconds=seconds)
            each["started_at"] = format_utc(moment)
    return replace(one, conditions={**one.conditions, "line_evidence": data})


def _call_line(down: Mapping[str, Any]) -> Forge:
    def forge(one: Measurement) -> Measurement:
        data = json.loads(json.dumps(one.conditions["line_evidence"]))
        data["call"]["line"]["down"] = down
        return replace(one, conditions={**one.conditions, "line_evidence": data})

    return forge


def _with_evidence(change: Mapping[str, Any]) -> Forge:
    def forge(one: Measurement) -> Measurement:
        data = {**one.conditions["line_evidence"], **change}
        return replace(one, conditions={**one.conditions, "line_evidence": data})

    return forge


FORGERIES: Mapping[str, tuple[Forge, str]] = {
    "line": (
        lambda one: replace(one, conditions={**one.conditions, "line": {"down": {}, "up": {}}}),
        "its `line` does not follow from `line_evidence`",
    ),
    "rate": (
        lambda one: changed(one, SPEED_TEST, "values", {"upload_bits_per_second": 1.8e6}),
        "upload_bits_per_second is 1800000.0, but was recorded as 1900000.0",
    ),
    "mark": (
        lambda one: changed(one, SPEED_TEST, "conditions", {"upload_limited_by": "policer"}),
        "upload_limited_by is 'policer', but was recorded as None",
    ),
    "echo": (
        lambda one: changed(one, LATENCY, "values", {"rtt_p50_seconds": 0.01}),
        "rtt_p50_seconds is 0.01, but was recorded as 0.03712345",
    ),
    "echo loss": (
        lambda one: changed(one, LATENCY, "values", {"loss_ratio": 0.01}),
        "loss_ratio is 0.01, but was recorded as 0.0",
    ),
    "router": (
        lambda one: changed(one, ROUTER, "values", {"download_bits_per_second": 1.0}),
        "download_bits_per_second is 1.0, but was recorded as 400000.0",
    ),
    "time": (
        _with_evidence({"at": "2026-11-17T00:00:00.000Z"}),
        "the time in `line_evidence` is not that of the call",
    ),
    "omitted end": (
        lambda one: _without(one, SPEED_TEST, "values", "upload_bits_per_second_high"),
        "upload_bits_per_second_high is None, but was recorded as 1938000.0",
    ),
    "omitted rate": (
        lambda one: _without(one, ROUTER, "values", "download_bits_per_second"),
        "download_bits_per_second is None, but was recorded as 400000.0",
    ),
    "invented minute": (lambda one: _moved(one, 1.0), "there is no such measurement"),
    "no rate": (_call_line({"rate": 0.0, "rate_doubt": 0.1}), "`line_evidence` cannot be read"),
    "words": (_call_line({"rate": "x"}), "`line_evidence` cannot be read"),
    "endless": (_call_line({"rate": 1e300}), "`line_evidence` cannot be read"),
    "line of words": (
        lambda one: replace(
            one, conditions={**one.conditions, "line": {"down": {"rate": "x"}, "up": {}}}
        ),
        "`line_evidence` cannot be read",
    ),
    "nonsense": (_with_evidence({"measured": [{}]}), "`line_evidence` cannot be read"),
    "no mapping": (
        lambda one: replace(one, conditions={**one.conditions, "line_evidence": 3}),
        "`line_evidence` cannot be read",
    ),
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_forged_line_is_named(honest: Measurement, kind: str) -> None:
    """Each forgery is said of its call."""
    forge, says = FORGERIES[kind]
    problems = list(line_differences(evidence(forge(honest))))
    assert problems and all(one.startswith("data: the call c-1 of potka: ") for one in problems)
    assert any(says in one for one in problems), problems


def test_a_speed_test_that_is_not_there_is_named(honest: Measurement) -> None:
    """If it was made in the period; the records of another day are not enclosed."""
    other = replace(speed_test(), id="other")
    (problem,) = line_differences(evidence(honest, other))
    assert "names bandwidth test-1: there is no such measurement" in problem
    for change in (
        {"started_at": AT - timedelta(hours=1)},
        {"outcome": Outcome.FAILED},
        {"conditions": {"under_load": True}},
        {"conditions": {"retest": "due"}},
        {"conditions": {"path": "trains"}},
    ):
        (problem,) = line_differences(evidence(honest, replace(speed_test(), **change)))
        assert "there is no such measurement" in problem
    found = evidence(honest, other)
    found.period = replace(WEEK, start=AT - timedelta(hours=1))
    assert list(line_differences(found)) == []


def test_a_dossier_with_a_forged_line_is_found(tmp_path: Path, honest: Measurement) -> None:
    """Written, sealed, packed and verified, as a department would."""
    forged = changed(honest, SPEED_TEST, "values", {"upload_bits_per_second": 1.8e6})
    for name, one, wrong in (("honest", honest, False), ("forged", forged, True)):
        directory = tmp_path / name
        directory.mkdir()
        more = [one, speed_test(), PINGS, COUNTERS]
        filed(directory, 1, 7, more=more).build(directory / "d.zip")
        checked = verify(directory / "d.zip", None, lambda _: None)
        assert bool(checked.problems) == wrong, checked.problems
        assert any("line_evidence" in each for each in checked.problems) == wrong

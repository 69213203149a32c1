"""What would help a line: each verdict from its evidence, doubt where the interval leaves room."""

from __future__ import annotations

import doctest
from dataclasses import replace

import numpy as np
import pytest

from jharnet_monitor.dossier.derive import derive
from jharnet_monitor.dossier.evidence import Evidence
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.judge.line import capacity
from jharnet_monitor.judge.line.capacity import Doubt, Line, Policy, Verdict, judge
from jharnet_monitor.judge.statistics.intervals import Interval
from tests import made_up
from tests.histories import MARKS, TARIFF, histories
from tests.made_up_week import WEEK

GOOD = Interval(3.9e6, 3.85e6, 3.95e6, 300, 30)
CLEAN = Interval(0.001, 0.0008, 0.0013, 40_000, 30)
LINE = Line((GOOD, GOOD), (4e6, 4e6), CLEAN, days=30)
ENOUGH = Policy(1, 1.5e6, 80e3, 0.15, 500e3, 10, 25e3, 100e3, 0.7)
MORE = replace(ENOUGH, seats=40)


def test_examples_in_docstrings_hold() -> None:
    """Every `>>>` example gives what it says."""
    assert doctest.testmod(capacity).failed == 0


def test_the_need_is_the_policys_formula() -> None:
    """(conferences x media x overhead + other + seats + services) / utilisation."""
    assert ENOUGH.need() == pytest.approx((1.58e6 * 1.15 + 500e3 + 250e3 + 100e3) / 0.7)


@pytest.mark.parametrize(
    ("line", "policy", "verdict", "doubt"),
    [
        (LINE, ENOUGH, Verdict.NOTHING, None),
        (LINE, MORE, Verdict.UPGRADE, None),
        (replace(LINE, delivered=(Interval(2e6, 1.9e6, 2.1e6, 300, 30), GOOD)), MORE,
         Verdict.REPAIR, None),
        (replace(LINE, delivered=(Interval(3.25e6, 3.24e6, 3.26e6, 300, 30), GOOD)), ENOUGH,
         Verdict.REPAIR, None),
        (replace(LINE, delivered=(Interval(3.25e6, 3.1e6, 3.4e6, 300, 30), GOOD)), ENOUGH,
         Verdict.REPAIR, None),
        (replace(LINE, delivered=(Interval(3.8e6, 3.7e6, 3.9e6, 300, 30), GOOD)), ENOUGH,
         Verdict.NOT_ENOUGH_EVIDENCE, Doubt.NEED_UNDECIDED),
        (replace(LINE, delivered=(Interval(3.7e6, 3.6e6, 3.8e6, 300, 30), GOOD),
                 contracted=(3.5e6, 4e6)), ENOUGH, Verdict.UPGRADE, None),
        (replace(LINE, link_down=0.03), MORE, Verdict.REPAIR, None),
        (replace(LINE, loss=Interval(0.05, 0.04, 0.06, 40_000, 30)), MORE,
         Verdict.LINE_QUALITY, None),
        (replace(LINE, power_down=0.03), ENOUGH, Verdict.POWER, None),
        (replace(LINE, lan_down=0.03), ENOUGH, Verdict.LAN, None),
        (replace(LINE, days=19), MORE, Verdict.NOT_ENOUGH_EVIDENCE, Doubt.FEW_DAYS),
        (replace(LINE, contracted=(None, None)), MORE, Verdict.NOT_ENOUGH_EVIDENCE,
         Doubt.NO_CONTRACT),
        (replace(LINE, delivered=(None, GOOD)), MORE, Verdict.NOT_ENOUGH_EVIDENCE, Doubt.NO_RATE),
        (replace(LINE, delivered=(Interval(3.3e6, 3.1e6, 3.5e6, 9, 6), GOOD)), MORE,
         Verdict.NOT_ENOUGH_EVIDENCE, Doubt.CONTRACT_UNDECIDED),
        (replace(LINE, loss=Interval(0.02, 0.01, 0.03, 40_000, 30)), MORE,
         Verdict.NOT_ENOUGH_EVIDENCE, Doubt.LOSS_UNDECIDED),
    ],
)  # fmt: skip
def test_each_verdict_from_its_evidence(
    line: Line, policy: Policy, verdict: Verdict, doubt: Doubt | None
) -> None:
    """A fault of the line comes before capacity, and doubt before any claim."""
    found = judge(line, policy, MARKS, TARIFF)
    assert found.main is verdict
    assert (doubt is None and not found.doubts) or doubt in found.doubts
    assert (found.slab is not None) == (verdict is Verdict.UPGRADE)


def test_power_stands_beside_an_upgrade() -> None:
    """A block without power half of the day and with too small a line needs both."""
    found = judge(replace(LINE, power_down=0.2), MORE, MARKS, TARIFF)
    assert found.verdicts == (Verdict.UPGRADE, Verdict.POWER)
    assert found.slab == 8e6


def test_a_need_beyond_the_tariff_has_no_slab() -> None:
    """Then the letter says so instead of naming one."""
    assert judge(LINE, replace(MORE, conferences=20), MARKS, TARIFF).slab is None


def _other(value: float, days: int = 20) -> Interval:
    return Interval(value, value * 0.95, value * 1.05, 90 * days, days)


def test_measured_traffic_takes_the_place_of_the_assumption() -> None:
    """By its interval: what lies between its ends is not decided, and few days leave it aside."""
    idle = judge(replace(LINE, other=(_other(0.1e6), _other(0.1e6))), MORE, MARKS, TARIFF)
    assert idle.needs[0].measured
    assert idle.needs[0].value == MORE.need(0.1e6) < MORE.need()
    busy = judge(replace(LINE, other=(_other(1.5e6), None)), ENOUGH, MARKS, TARIFF)
    assert busy.main is Verdict.UPGRADE and busy.slab == 8e6
    assert (busy.needs[0].measured, busy.needs[1].measured) == (True, False)
    near = Interval(0.6e6, 0.3e6, 0.9e6, 900, 10)
    told = judge(replace(LINE, other=(near, near)), ENOUGH, MARKS, TARIFF)
    assert told.doubts == (Doubt.NEED_UNDECIDED,)
    few = judge(replace(LINE, other=(_other(1.5e6, days=9), None)), ENOUGH, MARKS, TARIFF)
    assert not few.needs[0].measured and few.main is Verdict.NOTHING


def test_demand_that_fills_the_line_is_a_lower_bound() -> None:
    """On a full line measured demand is cut off: the need is at least that, and never met."""
    full = judge(replace(LINE, other=(_other(3.8e6), _other(1e5))), ENOUGH, MARKS, TARIFF)
    assert [need.at_least for need in full.needs] == [True, False]
    assert full.main is Verdict.UPGRADE
    roomy = replace(LINE, contracted=(20e6, 20e6), other=(_other(3.8e6), None))
    assert Doubt.NEED_UNDECIDED in judge(roomy, ENOUGH, MARKS, TARIFF).doubts


def test_histories_of_known_truth_are_judged_right() -> None:
    """At least 95 in 100 plain ones; "upgrade" in none whose truth is another, marginal or not."""
    rng = np.random.default_rng(12)
    plain = list(histories(rng, 140, marginal=False))
    said = [judge(one.line, one.policy, MARKS, TARIFF).main for one in plain]
    assert sum(main is one.truth for main, one in zip(said, plain, strict=True)) >= 0.95 * 140
    for one in (*plain, *histories(rng, 140, marginal=True)):
        main = judge(one.line, one.policy, MARKS, TARIFF).main
        assert main is not Verdict.UPGRADE or one.truth is Verdict.UPGRADE


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_verdict_and_doubt_has_words(language: str) -> None:
    """What is judged can be told, in both languages."""
    said = words(language)
    for verdict in Verdict:
        assert said.phrases[f"capacity.verdict.{verdict}"]
        assert said.phrases[f"capacity.reason.{verdict}"]
        assert said.phrases[f"dossier.letter.{verdict}"]
    for doubt in Doubt:
        assert said.phrases[f"capacity.doubt.{doubt}"]


def test_without_any_measurement_nothing_is_claimed() -> None:
    """An empty week: every office has not enough evidence, and no figure is a made-up 0."""
    found = derive(Evidence(made_up.config(3), WEEK), WEEK.end)
    assert found.district.verdicts[Verdict.NOT_ENOUGH_EVIDENCE] == tuple(found.offices)
    for office in found.offices.values():
        assert office.assessment.loss is None and office.availability.ratio is None
        assert office.conference.grade is None
        assert office.assessment.down.delivered.median is None

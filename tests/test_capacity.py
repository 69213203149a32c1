"""The verdict on a line: each verdict follows from its evidence; doubt if the interval does not
decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from jharnet_monitor.dossier.derive import derive
from jharnet_monitor.dossier.evidence import DossierEvidence
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.judge.line.facts import Line
from jharnet_monitor.judge.line.need import NeedPolicy
from jharnet_monitor.judge.line.verdict import Doubt, LineVerdict, Note, judge_line
from jharnet_monitor.judge.statistics.intervals import Interval
from tests import made_up
from tests.histories import TARIFF, THRESHOLDS, histories, line_of, of_all_hours, outages
from tests.made_up_week import WEEK

GOOD = Interval(3.9e6, 3.85e6, 3.95e6, 300, 30)
CLEAN = Interval(0.001, 0.0008, 0.0013, 40_000, 30)
LINE = line_of((GOOD, GOOD), (4e6, 4e6), of_all_hours(CLEAN), outages(), days=30)


def _but(**changes: Sequence[Interval | float | None]) -> Line:
    """The good line with other figures, each towards the office and from it."""
    held = {"delivered": (GOOD, GOOD), "contracted": (4e6, 4e6)} | changes
    return line_of(loss=LINE.loss, outages=LINE.outages, days=LINE.days, **held)  # type: ignore


ENOUGH = NeedPolicy(1, 1.5e6, 80e3, 0.15, 500e3, 10, 25e3, 100e3, 0.7)
MORE = replace(ENOUGH, seats=40)


def test_the_need_is_the_policys_formula() -> None:
    """(conferences x media x overhead + other + seats + services) / utilisation."""
    assert ENOUGH.need() == pytest.approx((1.58e6 * 1.15 + 500e3 + 250e3 + 100e3) / 0.7)


@pytest.mark.parametrize(
    ("line", "policy", "verdict", "doubt"),
    [
        (LINE, ENOUGH, LineVerdict.NOTHING, None),
        (LINE, MORE, LineVerdict.UPGRADE, None),
        (_but(delivered=(Interval(2e6, 1.9e6, 2.1e6, 300, 30), GOOD)), MORE,
         LineVerdict.REPAIR, None),
        (replace(_but(delivered=(Interval(2e6, 1.9e6, 2.1e6, 300, 30), GOOD)), lan_faulty=True),
         MORE, LineVerdict.NOT_ENOUGH_EVIDENCE, Doubt.LAN_FAULT),
        (replace(LINE, lan_faulty=True), ENOUGH, LineVerdict.NOTHING, None),
        (_but(delivered=(Interval(3.25e6, 3.24e6, 3.26e6, 300, 30), GOOD)), ENOUGH,
         LineVerdict.NEED_NOT_MET, None),
        (_but(delivered=(Interval(3.15e6, 3.0e6, 3.3e6, 300, 30), GOOD)), ENOUGH,
         LineVerdict.NOT_ENOUGH_EVIDENCE, Doubt.CONTRACT_UNDECIDED),
        (_but(delivered=(Interval(3.8e6, 3.7e6, 3.9e6, 300, 30), GOOD)), ENOUGH,
         LineVerdict.NOT_ENOUGH_EVIDENCE, Doubt.NEED_UNDECIDED),
        (_but(delivered=(Interval(3.7e6, 3.6e6, 3.8e6, 300, 30), GOOD),
              contracted=(3.5e6, 4e6)), ENOUGH, LineVerdict.UPGRADE, None),
        (replace(LINE, outages=outages(link=0.03)), MORE, LineVerdict.REPAIR, None),
        (replace(LINE, loss=of_all_hours(Interval(0.05, 0.04, 0.06, 40_000, 30))), MORE,
         LineVerdict.LINE_QUALITY, None),
        (replace(LINE, outages=outages(power=0.03)), ENOUGH, LineVerdict.POWER, None),
        (replace(LINE, outages=outages(lan=0.03)), ENOUGH, LineVerdict.LAN, None),
        (replace(LINE, days=19), MORE, LineVerdict.NOT_ENOUGH_EVIDENCE, Doubt.FEW_DAYS),
        (_but(contracted=(None, None)), MORE, LineVerdict.NOT_ENOUGH_EVIDENCE,
         Doubt.NO_CONTRACT),
        (_but(delivered=(None, GOOD)), MORE, LineVerdict.NOT_ENOUGH_EVIDENCE,
         Doubt.NO_RATE),
        (_but(delivered=(Interval(3.3e6, 3.1e6, 3.5e6, 9, 6), GOOD)), MORE,
         LineVerdict.NOT_ENOUGH_EVIDENCE, Doubt.FEW_RATE_DAYS),
        (replace(LINE, loss=of_all_hours(Interval(0.02, 0.01, 0.03, 40_000, 30))), MORE,
         LineVerdict.NOT_ENOUGH_EVIDENCE, Doubt.LOSS_UNDECIDED),
    ],
)  # fmt: skip
def test_each_verdict_from_its_evidence(
    line: Line, policy: NeedPolicy, verdict: LineVerdict, doubt: Doubt | None
) -> None:
    """Faults take precedence over capacity, and doubts over any claim."""
    found = judge_line(line, policy, THRESHOLDS, TARIFF)
    assert found.verdict is verdict
    assert (doubt is None and not found.doubts) or doubt in found.doubts
    assert (found.slab is not None) == (verdict is LineVerdict.UPGRADE)


def test_power_is_named_with_an_upgrade() -> None:
    """An office with power failures and a line that is too slow needs both."""
    found = judge_line(replace(LINE, outages=outages(power=0.2)), MORE, THRESHOLDS, TARIFF)
    assert found.verdicts == (LineVerdict.UPGRADE, LineVerdict.POWER)
    assert found.slab == 8e6 and found.notes == (Note.POWER_FIRST,)


def test_a_need_beyond_the_tariff_has_no_slab() -> None:
    """There is none to name in the letter."""
    assert judge_line(LINE, replace(MORE, conferences=20), THRESHOLDS, TARIFF).slab is None


def _other(value: float, days: int = 20) -> Interval:
    return Interval(value, value * 0.95, value * 1.05, 90 * days, days)


def test_measured_traffic_replaces_the_assumption() -> None:
    """Its interval may leave the need undecided; too few days are not used."""
    idle = judge_line(_but(other=(_other(0.1e6), _other(0.1e6))), MORE, THRESHOLDS, TARIFF)
    assert idle.line.down.need.measured
    assert idle.line.down.need.value == MORE.need(0.1e6) < MORE.need()
    busy = judge_line(_but(other=(_other(1.9e6), None)), ENOUGH, THRESHOLDS, TARIFF)
    assert busy.verdict is LineVerdict.UPGRADE and busy.slab == 8e6
    assert (busy.line.down.need.measured, busy.line.up.need.measured) == (True, False)
    near = Interval(0.9e6, 0.6e6, 1.2e6, 900, 10)
    undecided = judge_line(_but(other=(near, near)), ENOUGH, THRESHOLDS, TARIFF)
    assert undecided.doubts == (Doubt.NEED_UNDECIDED,)
    few = judge_line(_but(other=(_other(1.5e6, days=9), None)), ENOUGH, THRESHOLDS, TARIFF)
    assert not few.line.down.need.measured and few.verdict is LineVerdict.NOTHING


def test_traffic_that_fills_the_line_is_no_need() -> None:
    """Readings with the line full are left out; if there are many of them, the need is a lower
    bound."""
    often, never = Interval(0.2, 0.15, 0.25, 900, 20), Interval(0.0, 0.0, 0.01, 900, 20)
    free = _but(other=(_other(0.5e6), _other(1e5)), full=(often, never))
    found = judge_line(free, ENOUGH, THRESHOLDS, TARIFF)
    assert [side.need.at_least for side in found.directions] == [True, False]
    assert found.verdict is LineVerdict.NOT_ENOUGH_EVIDENCE and found.doubts == (Doubt.LINE_FULL,)
    busy = _but(other=(_other(2.8e6), _other(1e5)), full=(often, never))
    assert judge_line(busy, ENOUGH, THRESHOLDS, TARIFF).verdict is LineVerdict.UPGRADE


def test_simulated_histories_get_the_right_verdict() -> None:
    """At least 95 of 100 plain ones; and never `upgrade` if another verdict is true."""
    rng = np.random.default_rng(12)
    plain = list(histories(rng, 140, marginal=False))
    found = [judge_line(one.line, one.policy, THRESHOLDS, TARIFF).verdict for one in plain]
    assert sum(main is one.truth for main, one in zip(found, plain, strict=True)) >= 0.95 * 140
    for one in (*plain, *histories(rng, 140, marginal=True)):
        main = judge_line(one.line, one.policy, THRESHOLDS, TARIFF).verdict
        assert main is not LineVerdict.UPGRADE or one.truth is LineVerdict.UPGRADE


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_verdict_and_doubt_has_words(language: str) -> None:
    """In both languages."""
    phrase = words(language)
    for verdict in LineVerdict:
        assert phrase.phrases[f"capacity.verdict.{verdict}"]
        assert phrase.phrases[f"capacity.reason.{verdict}"]
        assert phrase.phrases[f"dossier.letter.{verdict}"]
    for note in set(Note) - {Note.SHARED}:
        assert phrase.phrases[f"capacity.note.{note}"]
    for doubt in Doubt:
        assert phrase.phrases[f"capacity.doubt.{doubt}"]
        if doubt is not Doubt.OUTAGES_UNEXPLAINED:
            assert phrase.phrases[f"capacity.doubt_short.{doubt}"]


def test_without_any_measurement_nothing_is_claimed() -> None:
    """In an empty week every office has not enough evidence, and no figure is an invented 0."""
    found = derive(DossierEvidence(made_up.config(3), WEEK), WEEK.end)
    assert found.district.verdicts[LineVerdict.NOT_ENOUGH_EVIDENCE] == tuple(found.offices)
    for office in found.offices.values():
        assert office.assessment.line.loss.night is None and office.availability.ratio is None
        assert office.conference.grade is None
        assert office.assessment.line.down.delivered.median is None

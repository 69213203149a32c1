"""What simulated calls say would cure an office: an estimate in the papers, and hardly a judge."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

import jharnet_monitor
from jharnet_monitor.dossier.assessment_json import assessment_from_json, assessment_to_json
from jharnet_monitor.dossier.case import Case
from jharnet_monitor.dossier.derive import derive
from jharnet_monitor.dossier.evidence import DossierEvidence
from jharnet_monitor.dossier.letter import letter
from jharnet_monitor.dossier.sheets import sheets
from jharnet_monitor.i18n.words import words
from jharnet_monitor.judge.line.cures import Cures, cures_of
from jharnet_monitor.judge.line.verdict import Assessment, Doubt, LineVerdict, judge_line
from jharnet_monitor.judge.twin.prediction import GradePrediction
from jharnet_monitor.judge.twin.stored_whatif import (
    CHANGES_COMPARED,
    CHANGES_RIGHT,
    UNSEEN_LINKS,
    UNSEEN_RIGHT,
    ChangeAnswer,
    LineChange,
)
from jharnet_monitor.model import AT_LEAST, Measurement
from jharnet_monitor.report.sections.phrases import estimate, estimate_trust, reason
from tests.dossier_support import MADE_AT, filed
from tests.histories import TARIFF, THRESHOLDS
from tests.made_up import NOW, conference, district
from tests.test_capacity import LINE, MORE

HD, SD = (0.0, 0.0, 0.0, 0.03, 0.97), (0.0, 0.0, 0.05, 0.9, 0.05)
STILL, UNSURE = (0.05, 0.9, 0.03, 0.02, 0.0), (0.0, 0.4, 0.2, 0.2, 0.2)
FASTER, REPAIRED, BOTH = LineChange(rate=8e6), LineChange(loss=0.0), LineChange(8e6, 0.0)
Answers = dict[LineChange, tuple[float, ...]]


def call(answers: Answers, grade: int = 1, number: int = 0) -> Measurement:
    """A call with these answers; without any it holds none."""
    held = conference("potka", NOW - timedelta(hours=number), grade)
    stored = [ChangeAnswer(c, GradePrediction(p)).to_json() for c, p in answers.items()]
    return replace(held, conditions={**held.conditions, **({"whatif": stored} if stored else {})})


def calls(*groups: tuple[int, Answers]) -> list[Measurement]:
    """So many calls of each kind."""
    return [call(answers, 1 if answers else 4) for n, answers in groups for _ in range(n)]


CONTRADICTS: Answers = {FASTER: STILL, REPAIRED: SD}


def test_a_call_that_tried_less_is_none_of_the_calls() -> None:
    """It has no answers, and does not make those of the others too few."""
    planned = calls((12, CONTRADICTS), (12, {}))
    less = [replace(call({}, 2), conditions={AT_LEAST: True}) for _ in range(3)]
    assert cures_of([*planned, *less], 3) == cures_of(planned, 3) != Cures()


def judged(some: Sequence[Measurement]) -> Assessment:
    """A line that is contracted too small, with these calls."""
    return judge_line(replace(LINE, cures=cures_of(some, 3)), MORE, THRESHOLDS, TARIFF)


@pytest.mark.parametrize(
    ("some", "doubt"),
    [
        (calls((12, CONTRADICTS)), Doubt.LOSS_FIRST),
        (calls((12, CONTRADICTS), (12, {})), Doubt.LOSS_FIRST),
        (calls((12, CONTRADICTS), (13, {})), None),
        (calls((4, CONTRADICTS)), None),
        (calls((12, {FASTER: UNSURE, REPAIRED: SD})), Doubt.LOSS_FIRST),
        (calls((12, {FASTER: STILL, REPAIRED: UNSURE})), Doubt.NOT_CURED),
        (calls((12, {FASTER: STILL, REPAIRED: STILL})), Doubt.NOT_CURED),
        (calls((12, {FASTER: STILL})), Doubt.NOT_CURED),
        (calls((12, {FASTER: STILL, REPAIRED: STILL, BOTH: HD})), Doubt.LOSS_FIRST),
        (calls((12, {FASTER: STILL, REPAIRED: STILL, BOTH: STILL})), Doubt.NOT_CURED),
        (calls((12, {FASTER: HD, REPAIRED: SD})), None),
        (calls((12, {LineChange(rate=16e6): STILL, REPAIRED: SD})), None),
        (calls((6, CONTRADICTS), (7, {FASTER: HD, REPAIRED: SD})), None),
        (calls((7, CONTRADICTS), (6, {FASTER: HD, REPAIRED: SD})), Doubt.LOSS_FIRST),
        (calls((12, {})), None),
        ([], None),
    ],
)
def test_no_upgrade_is_demanded_that_does_not_cure(
    some: list[Measurement], doubt: Doubt | None
) -> None:
    """At least half of the simulated calls reach the required grade with the speed. Another rate,
    or too few answers, leave the verdict as it is."""
    found = judged(some)
    assert (found.verdict is LineVerdict.UPGRADE) is (doubt is None)
    assert (found.slab is None) is (doubt is not None)
    if doubt is not None:
        assert found.verdicts == (LineVerdict.NOT_ENOUGH_EVIDENCE,)
        assert found.doubts == (doubt,)


def test_simulated_calls_decide_nothing_else() -> None:
    """Where no upgrade would be asked for, no answer changes the verdict."""
    from tests.test_capacity import ENOUGH

    kinds: tuple[Answers, ...] = (CONTRADICTS, {FASTER: HD, REPAIRED: STILL}, {FASTER: HD})
    for answers in kinds:
        cures = cures_of(calls((12, answers)), 3)
        with_answers = judge_line(replace(LINE, cures=cures), ENOUGH, THRESHOLDS, TARIFF)
        without = judge_line(LINE, ENOUGH, THRESHOLDS, TARIFF)
        assert replace(with_answers, line=without.line) == without


def test_an_answer_counts_calls_and_states_the_grade_that_half_of_them_reach() -> None:
    """Means over calls; an answer of fewer than five calls, or of less than half, is left out."""
    some = calls((6, {FASTER: HD, REPAIRED: STILL}), (4, {FASTER: SD, BOTH: HD}))
    found = cures_of(some, 3)
    assert found.calls == 10
    assert [(one.change, one.calls, one.grade) for one in found.answers] == [
        (REPAIRED, 6, 1), (FASTER, 10, 4),
    ]  # fmt: skip
    assert found.answers[1].share == pytest.approx((6 * 0.97 + 4 * 0.05) / 10)
    assert cures_of(calls((6, {FASTER: HD}), (7, {})), 3) == Cures()
    for answered, others, kept in ((5, 0, True), (4, 0, False), (5, 5, True), (5, 6, False)):
        found = cures_of(calls((answered, {FASTER: HD}), (others, {})), 3)
        assert (len(found.answers) == 1) is kept


def test_a_grade_that_half_of_the_calls_reach_is_stated() -> None:
    """The best of them; of a call that holds none, the share of such calls."""
    half = calls((5, {FASTER: HD}), (5, {FASTER: STILL}))
    [only] = cures_of(half, 3).answers
    assert only.grade == 3 and only.share == pytest.approx((5 * 1.0 + 5 * 0.02) / 10)
    [none] = cures_of(calls((6, {FASTER: (0.9, 0.1, 0.0, 0.0, 0.0)})), 3).answers
    assert none.grade == 0 and none.share == pytest.approx(0.9)


@pytest.mark.parametrize(("grade", "cured"), [(4, False), (3, True), (2, True)])
def test_a_change_cures_what_reaches_the_districts_grade(grade: int, cured: bool) -> None:
    """Whatever grade the district requires; no answer is neither yes nor no."""
    found = cures_of(calls((6, {FASTER: SD})), grade)
    assert found.cured_by(FASTER) is cured
    assert found.cured_by(REPAIRED) is None and Cures().cured_by(FASTER) is None


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Estimate by simulated calls over the measured line, for the calls below HD: with "
               "the loss repaired audio only or better in 95 % of 12 calls; with 8 Mbps HD in 97 % "
               "of 12 calls; with 8 Mbps and the loss repaired SD or better in 95 % of 12 calls."),
        ("hi", "अनुमान (मापी गई लाइन पर कॉलों के कंप्यूटर-अनुकरण से, HD से नीचे की कॉलों हेतु): "
               "हानि दूर होने पर 12 कॉलों में से 95 % में केवल ऑडियो या बेहतर; 8 Mbps पर 12 कॉलों में से "
               "97 % में HD; 8 Mbps तथा हानि दूर होने पर 12 कॉलों में से 95 % में SD या बेहतर।"),
    ],
)  # fmt: skip
def test_the_reason_states_the_estimate_and_how_far_it_can_be_trusted(
    language: str, text: str
) -> None:
    """In both languages, with the number of calls; the figure of trust is that of the help."""
    answers: Answers = {FASTER: HD, REPAIRED: STILL, BOTH: SD, LineChange(rate=16e6): HD}
    found, config = judged(calls((12, answers))), district().config
    assert found.slab == 8e6
    assert estimate(found, words(language)) == text
    assert text in reason(found, config, config.office("potka"), words(language))
    trust = estimate_trust([judged([]), found], words(language))
    assert str(UNSEEN_LINKS) in trust and str(UNSEEN_RIGHT) in trust
    assert estimate_trust([judged([])], words(language)) == estimate(judged([]), words("en")) == ""


def test_the_figure_of_trust_is_that_of_the_help() -> None:
    """The page on accuracy states what the papers quote."""
    page = Path(jharnet_monitor.__file__).parent / "help" / "accuracy.md"
    text = " ".join(page.read_text("utf-8").split())
    found = re.search(r"agreed on (\d+) of the (\d+) lines of this draw", text)
    assert found is not None
    assert tuple(map(int, found.groups())) == (UNSEEN_RIGHT, UNSEEN_LINKS)
    changes = re.search(r"equal on (\d+) of (\d+) changes", text)
    assert changes is not None
    assert tuple(map(int, changes.groups())) == (CHANGES_RIGHT, CHANGES_COMPARED)


def test_the_dossiers_claims_hold_the_answers() -> None:
    """They are read back as they were; without answers the claims have the form that they had."""
    found = judged(calls((12, CONTRADICTS)))
    stored = json.loads(json.dumps(assessment_to_json(found)))
    assert assessment_from_json(stored).line.cures == found.line.cures
    assert assessment_from_json(stored).doubts == (Doubt.LOSS_FIRST,)
    assert "cures" not in assessment_to_json(judged([]))


@pytest.mark.parametrize("language", ["en", "hi"])
def test_each_paper_says_once_how_far_the_estimates_can_be_trusted(
    language: str, tmp_path: Path
) -> None:
    """In the weekly report's table, the letter and the sheets, however many offices have one."""
    phrase = words(language)
    figures = {"links": UNSEEN_LINKS, "right": UNSEEN_RIGHT}
    trust = phrase("capacity.estimate.trust", **figures, pairs=CHANGES_COMPARED, same=CHANGES_RIGHT)
    answers: Answers = {FASTER: HD, REPAIRED: SD, BOTH: HD}
    week = {o.id: replace(call(answers), office=o.id) for o in district().config.offices}
    made = filed(tmp_path, 3, 7)
    evidence = DossierEvidence(made.config, made.period)
    for office in made.config.offices[:2]:
        held = [
            replace(
                week[office.id], started_at=made.period.start + timedelta(hours=12 + n), id=f"{n}"
            )
            for n in range(6)
        ]
        evidence.runs[office.id, "conference"] = held
        evidence.counts[office.id, "conference"] = len(held)
    claims = derive(evidence, made.period.end)
    case = Case(
        made.config, made.period, MADE_AT, made.period.end, claims, evidence, [], [], ""
    )  # fmt: skip
    for paper in (letter(case, phrase), sheets(case, phrase)):
        text = json.dumps(paper, ensure_ascii=False)
        assert text.count(trust) == 1
        assert text.count(phrase("capacity.estimate.text", parts="|").split("|")[0]) == 2

"""The letter: its subject is its request, and nobody signs a page without a word of it."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from docx import Document

from jharnet_monitor.dossier.case import Case
from jharnet_monitor.dossier.faults import fault_csv
from jharnet_monitor.dossier.letter import letter
from jharnet_monitor.dossier.word import document
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.judge.line.loss import LossRates
from jharnet_monitor.judge.line.verdict import (
    Condition,
    Ground,
    LineVerdict,
    VerdictReason,
    judge_line,
)
from jharnet_monitor.judge.statistics.intervals import Interval
from jharnet_monitor.model import format_utc
from jharnet_monitor.report.output.pdf import render_pdf
from jharnet_monitor.report.sections.phrases import interval
from tests.dossier_support import Forger
from tests.histories import TARIFF, THRESHOLDS, line_of, of_all_hours, outages, policy_of
from tests.pdf_rules import violations
from tests.pdf_text import pages_of, plain


@pytest.fixture(scope="module")
def case(dossier: Path) -> Case:
    """The dossier of two offices."""
    return Forger.of(dossier).case()


def _with(case: Case, *verdicts: LineVerdict, offices: int = 2) -> Case:
    names = tuple(case.claims.offices)
    given = {verdict: names if verdict in verdicts else () for verdict in LineVerdict}
    district = replace(case.claims.district, verdicts=given, offices=offices)
    return replace(case, claims=replace(case.claims, district=district))


def _of_one(case: Case) -> Case:
    """The same of the first office alone."""
    config = case.config.model_copy(update={"offices": case.config.offices[:1]})
    verdicts = {verdict: names[:1] for verdict, names in case.claims.district.verdicts.items()}
    district = replace(case.claims.district, offices=1, tested=1, able=1, verdicts=verdicts)
    return replace(case, config=config, claims=replace(case.claims, district=district))


def _of_many(case: Case, count: int) -> Case:
    """As many offices, all like the first."""
    first = case.config.offices[0]
    offices = tuple(
        first.model_copy(update={"id": f"block-{n}", "name": f"Block {n}", "name_hi": f"खण्ड {n}"})
        for n in range(1, count + 1)
    )
    claims = {office.id: case.of(first) for office in offices}
    verdicts = dict.fromkeys(LineVerdict, ()) | {LineVerdict.NOTHING: tuple(claims)}
    district = replace(case.claims.district, offices=count, verdicts=verdicts)
    config = case.config.model_copy(update={"offices": offices})
    return replace(case, config=config, claims=replace(case.claims, offices=claims,
                                                       district=district))  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("verdicts", "key"),
    [
        ((LineVerdict.NOTHING, LineVerdict.POWER), "subject"),
        ((LineVerdict.UPGRADE, LineVerdict.NOTHING), "subject_upgrade"),
        ((LineVerdict.REPAIR,), "subject_repair"),
        ((LineVerdict.UPGRADE, LineVerdict.LINE_QUALITY), "subject_both"),
    ],
)
def test_the_subject_is_the_request(
    case: Case, language: str, verdicts: tuple[LineVerdict, ...], key: str
) -> None:
    """More speed, mending, both, or nothing; of one office it names the office."""
    phrase = words(language)
    of_two = _with(case, *verdicts)
    for one in (of_two, _of_one(of_two)):
        offices = one.config.offices
        name = formats.office_name(offices[0], phrase)
        where = phrase("dossier.letter.subject_where", n=len(offices), name=name)
        _, subject = letter(one, phrase)["subject"]
        assert (name in subject) is (len(offices) == 1)
        assert subject == phrase(
            f"dossier.letter.{key}",
            district=case.district(phrase),
            where=where,
            lines=phrase("dossier.letter.subject_lines", n=len(offices)),
        )


@pytest.mark.parametrize(
    ("language", "one", "two"),
    [("en", "JharNet line from", "JharNet lines from"), ("hi", "लाइन का", "लाइनों का")],
)
def test_one_office_has_one_line(case: Case, language: str, one: str, two: str) -> None:
    """The opening counts lines as it counts offices."""
    for offices, text in ((1, one), (2, two)):
        opening = letter(_with(case, LineVerdict.NOTHING, offices=offices), words(language))
        assert text in opening["opening"][0]


def test_the_signature_stands_below_the_request(case: Case) -> None:
    """Wherever the table ends, the page to sign has the letter's last paragraph and its request."""
    phrase = words("hi")
    doc: dict[str, Any] = letter(_with(case, LineVerdict.NOTHING), phrase)
    signed = set()
    for length in (2, *range(8, 14)):
        table = doc["table"] | {"rows": [doc["table"]["rows"][0]] * length}
        pages = pages_of(render_pdf("letter.typ", doc | {"table": table}, case.made_at))
        [number] = [n for n, page in enumerate(pages) if plain(doc["closing"]) in page]
        assert plain(doc["request"]) in pages[number], length
        assert plain(doc["body"][-1]) in pages[number], length
        signed.add(number)
    assert signed == {0, 1}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_letter_about_one_office_does_not_count_offices(case: Case, language: str) -> None:
    """It says whether that office reached the standard, and its copy goes to that block's BDO."""
    phrase = words(language)
    one = _of_one(_with(case, LineVerdict.NOTHING))
    name = formats.office_name(one.config.offices[0], phrase)
    for able, kind in ((1, "reached"), (0, "missed")):
        district = replace(one.claims.district, able=able)
        doc = letter(replace(one, claims=replace(one.claims, district=district)), phrase)
        sentence = phrase.phrases[f"dossier.letter.conference_{kind}"]
        assert doc["opening"][1].startswith(sentence.partition("{")[0])
        assert doc["opening"][1].endswith(sentence.rpartition("}")[2])
        assert name in doc["copies"][-1]
        assert doc["table"]["text"].startswith(phrase("dossier.letter.table.single"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_table_of_many_offices_stands_after_the_signatures(case: Case, language: str) -> None:
    """The letter itself is a page; on paper and in the Word file the table follows at the end."""
    phrase = words(language)
    many = _of_many(case, 30)
    doc = letter(many, phrase)
    paper = render_pdf("letter.typ", doc, case.made_at)
    assert violations(paper) == []
    pages = pages_of(paper)
    assert plain(doc["copies"][-1]) in pages[0]
    names = [formats.office_name(office, phrase) for office in many.config.offices]
    assert plain(names[-1]) not in pages[0] and plain(names[-1]) in pages[-1]
    assert plain(phrase("dossier.letter.table.title")) in pages[1]
    body = Document(io.BytesIO(document(doc, many))).element.body
    kinds = [child.tag.rpartition("}")[2] for child in body]
    assert kinds.count("tbl") == 1 and kinds.index("tbl") > 30
    few = letter(_of_many(case, 24), phrase)
    assert not few["table"]["after"] and doc["table"]["after"]


def _with_tests(case: Case, *tests: int, counted: int) -> Case:
    """The offices with so many conference tests each, of which `counted` have enough."""
    offices = {
        office: replace(one, conference=replace(one.conference, grade=3, tests=n))
        for (office, one), n in zip(case.claims.offices.items(), tests, strict=True)
    }
    district = replace(case.claims.district, tested=counted, able=counted)
    return replace(case, claims=replace(case.claims, offices=offices, district=district))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("enough", [0, 5])
def test_an_office_with_few_conference_tests_is_named_and_not_called_untested(
    case: Case, language: str, enough: int
) -> None:
    """One with one to four tests is named with their number; one without any is not."""
    phrase = words(language)
    found = _with_tests(case, enough, 4, counted=int(enough > 0))
    few = f"{formats.office_name(case.config.offices[1], phrase)} ({phrase('report.tests', n=4)})"
    opening = letter(found, phrase)["opening"]
    assert opening[-1] == phrase("dossier.letter.conference_few", fewest=5, names=few)
    assert len(opening) == (3 if enough else 2)
    assert phrase("dossier.letter.conference_none", n=2) not in opening


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_letter_of_an_empty_period_claims_no_measurement(case: Case, language: str) -> None:
    """It says that nothing was measured, once, has no table, and asks for nothing."""
    phrase = words(language)
    district = replace(case.claims.district, measurements=0, tested=0, able=0)
    empty = _with(replace(case, claims=replace(case.claims, district=district)))
    doc = letter(empty, phrase)
    [opening] = doc["opening"]
    assert opening == phrase(
        "dossier.letter.opening_none",
        days=formats.day_range(case.period, phrase),
        lines=phrase("dossier.letter.lines", n=2),
    )
    assert (doc["body"], doc["table"]["rows"], doc["table"]["text"]) == ([], [], "")
    assert doc["request"] == phrase("dossier.letter.for_information")
    [page] = pages_of(render_pdf("letter.typ", doc, case.made_at))
    assert plain(phrase("dossier.letter.head.verdict")) not in page
    assert Document(io.BytesIO(document(doc, empty))).tables == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_letter_states_what_was_reported(case: Case, language: str) -> None:
    """How many faults are open, and of each its docket and since when."""
    phrase = words(language)
    reported = case.period.start + timedelta(days=3, hours=2)
    office = case.config.offices[0]
    booked = {"reported_at": format_utc(reported), "docket": "JH/2026/7"}
    case.evidence.fault_entries.append((office.id, {"fault": f"{office.id}-1", "set": booked}))
    try:
        body = letter(case, phrase)["body"]
    finally:
        case.evidence.fault_entries.clear()
    [stated] = [text for text in body if "JH/2026/7" in text]
    assert formats.office_name(office, phrase) in stated
    assert formats.moment(reported, case.zone, phrase) in stated
    assert not any("JH/2026/7" in text for text in letter(case, phrase)["body"])


def test_a_broken_promise_of_availability_is_not_called_a_lack_of_speed() -> None:
    """Repair is asked for by what is missing: the speed, or the time that the line is up."""
    for language, speed, up in (("en", "contracted speed", "promised availability"),
                                ("hi", "अनुबंधित गति", "वचनबद्ध उपलब्धता")):  # fmt: skip
        phrases = words(language).phrases
        slow, down = (phrases[f"dossier.letter.{name}"] for name in ("repair", "repair_down"))
        assert speed in slow and up not in slow
        assert up in down and speed not in down


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_was_restored_after_the_period_was_open_at_its_end(case: Case, language: str) -> None:
    """The letter and the ledger beside it count the fault as open, at the moment that they name."""
    phrase = words(language)
    reported, restored = case.until - timedelta(hours=5), case.until + timedelta(hours=1)
    office = case.config.offices[0]
    booked = {"reported_at": format_utc(reported), "restored_at": format_utc(restored)}
    case.evidence.fault_entries.append((office.id, {"fault": f"{office.id}-1", "set": booked}))
    try:
        body, table = letter(case, phrase)["body"], fault_csv(case).decode()
    finally:
        case.evidence.fault_entries.clear()
    [stated] = [text for text in body if formats.moment(case.until, case.zone, phrase) in text]
    assert phrase("faults.open_late", n=1) in stated or phrase("faults.open", n=1) in stated
    assert formats.moment(reported, case.zone, phrase) in stated
    assert str(5 * 3600) in table and formats.iso_moment(restored, case.zone) not in table


def test_no_entry_of_a_fault_is_a_formula_in_a_spreadsheet(case: Case) -> None:
    """A docket that begins like a formula stands as text in `faults.csv`; others are unchanged."""
    office = case.config.offices[0].id
    booked = {"reported_at": format_utc(case.until - timedelta(hours=5)), "reported_by": "NOC"}
    entered = booked | {"docket": "=HYPERLINK(1)", "reported_to": "+91"}
    case.evidence.fault_entries.append((office, {"fault": f"{office}-1", "set": entered}))
    try:
        [row] = csv.DictReader(io.StringIO(fault_csv(case).decode()))
    finally:
        case.evidence.fault_entries.clear()
    assert (row["docket"], row["reported_to"]) == ("'=HYPERLINK(1)", "'+91")
    assert row["reported_by"] == "NOC"


def _lossy(case: Case, loss: LossRates, reason: VerdictReason) -> Case:
    """Both offices lose packets in office hours, for this reason."""
    verdict = LineVerdict.LINE_QUALITY
    ground = Ground(verdict, reason, Condition.OFFICE_HOURS)
    offices = {}
    for name, one in case.claims.offices.items():
        line = replace(one.assessment.line, loss=loss)
        found = replace(one.assessment, line=line, verdicts=(verdict,), grounds=(ground,))
        offices[name] = replace(one, assessment=found)
    return _with(replace(case, claims=replace(case.claims, offices=offices)), verdict)


HIGH, IDLE = Interval(0.05, 0.04, 0.06, 900, 30), Interval(0.03, 0.025, 0.035, 900, 30)
LOW = Interval(0.001, 0.0008, 0.0013, 900, 30)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("night", "is_low"),
    [
        (LOW, True), (None, False), (replace(LOW, days=3), False),
        (Interval(0.02, 0.01, 0.03, 900, 30), False),
    ],
    ids=["low", "not measured", "few days", "undecided"],
)  # fmt: skip
def test_loss_is_denied_outside_office_hours_only_where_it_is_low(
    case: Case, language: str, night: Interval | None, is_low: bool
) -> None:
    """Nothing is said of a time whose loss is not known well enough."""
    denial = {"en": "not outside them", "hi": "उसके बाहर नहीं"}[language]
    lossy = _lossy(case, LossRates(office=HIGH, night=night), VerdictReason.LOSS)
    stated = letter(lossy, words(language))["body"][0]
    assert (denial in stated) is is_low


@pytest.mark.parametrize("language", LANGUAGES)
def test_loss_with_an_idle_line_is_that_of_the_idle_line(case: Case, language: str) -> None:
    """Not that of all office hours, in which the line was busy, too."""
    phrase = words(language)
    loss = LossRates(office=HIGH, night=LOW, idle=IDLE)
    rows = letter(_lossy(case, loss, VerdictReason.CORE), phrase)["table"]["rows"]
    for row in rows:
        assert interval(IDLE, formats.share, phrase) in row["reason"]
        assert interval(HIGH, formats.share, phrase) not in row["reason"]


def test_a_contract_a_little_below_the_need_is_not_called_sufficient() -> None:
    """4.18 Mbit/s are needed of 4 contracted, which is within the margin: whether the contract is
    too small is not proven, and the letter says no more.
    """
    rate, limits = Interval(3.9e6, 3.85e6, 3.95e6, 300, 30), replace(THRESHOLDS, margin=0.05)
    line = line_of((rate, rate), (4e6, 4e6), of_all_hours(LOW), outages(), days=30)
    found = judge_line(line, policy_of(4.18e6), limits, TARIFF)
    assert found.verdict is LineVerdict.NEED_NOT_MET and found.line.down.need.low > 4e6
    for language, sufficient, open_ in (("en", "suffices", "not proven"),
                                        ("hi", "के लिए पर्याप्त है", "प्रमाणित नहीं")):  # fmt: skip
        stated = words(language).phrases[f"dossier.letter.{found.verdict}"]
        assert sufficient not in stated and open_ in stated

"""The formal letter (सरकारी पत्र) to the department, in the order that offices use.

The letter states about an office only what its verdict supports (`judge.line.verdict`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from jharnet_monitor.config import Office
from jharnet_monitor.config.case import LetterTexts
from jharnet_monitor.dossier.case import Case
from jharnet_monitor.dossier.claims import OfficeClaims
from jharnet_monitor.dossier.derive import FEWEST_CALLS
from jharnet_monitor.dossier.faults import judged
from jharnet_monitor.dossier.setting_changes import setting_changes
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.faults import JudgedFault
from jharnet_monitor.judge.line.assess import Assessment, Basis, DeliveredRate
from jharnet_monitor.judge.line.verdict import Condition, LineVerdict, Note
from jharnet_monitor.report.sections.details import MOST_ROWS
from jharnet_monitor.report.sections.faults import sentences
from jharnet_monitor.report.sections.front_page import grade_text
from jharnet_monitor.report.sections.phrases import (
    contract,
    delivered_rates,
    estimate_trust,
    kind_of_reason,
    loss_is_low_outside,
    made_up_texts,
    need,
    other_basis,
    reason,
    rests,
    slabs_text,
    verdict_name,
)
from jharnet_monitor.report.sections.rating import names_of

BLANK = "…………………"
_HEADS = (
    "number", "block", "contracted", "delivered", "need", "conference", "availability", "verdict",
)  # fmt: skip
_ORDER = (
    LineVerdict.UPGRADE, LineVerdict.REPAIR, LineVerdict.LINE_QUALITY, LineVerdict.NEED_NOT_MET,
    LineVerdict.OUTAGES, LineVerdict.POWER, LineVerdict.LAN, LineVerdict.NOT_ENOUGH_EVIDENCE,
    LineVerdict.NOTHING,
)  # fmt: skip
_ASKING = (LineVerdict.UPGRADE, LineVerdict.REPAIR, LineVerdict.LINE_QUALITY)
_BY_DAY = f"{LineVerdict.LINE_QUALITY}_{Condition.OFFICE_HOURS}"
_NOT_SPEED = frozenset({"delay", "host"})
"""Limits of a call that are not the speed; packets are lost on a full line, too."""


def letter(case: Case, words: Words) -> dict[str, Any]:
    """The content of the letter in one language, as plain JSON."""
    own = case.config.letter
    texts = own.texts_in(words.language)
    district = case.district(words)
    place = f"{district}, {texts.town}" if texts.town else district
    return {
        "language": words.language,
        "title": words("dossier.letter.title"),
        "subtitle": district,
        "author": "jharnet-monitor",
        "page": words.phrases["dossier.page"],
        "made_up": made_up_texts(words) if case.evidence.made_up else None,
        "office": texts.office or [words("dossier.letter.office", place=place)],
        "number": [words("dossier.letter.number"), own.number or BLANK],
        "memo": [words("dossier.letter.memo"), own.memo or BLANK],
        "date": [words("dossier.letter.date"), own.date or BLANK],
        "from": words("dossier.letter.from"),
        "sender": texts.sender or [words("dossier.letter.sender", place=place)],
        "to_head": words("dossier.letter.to_head"),
        "to": texts.to or words("dossier.letter.to").split("|"),
        "subject": [words("dossier.letter.subject_head"), _subject(case, words)],
        "reference_head": words("dossier.letter.reference_head"),
        "references": list(texts.references),
        "salutation": words("dossier.letter.salutation"),
        "opening": list(_opening(case, words)),
        "table": _table(case, words),
        "body": [*_verdicts(case, words), *_ending(case, words)]
        if _any_data(case)
        else list(_faults(case, words)),
        "request": words(f"dossier.letter.{'request' if _asks(case) else 'for_information'}"),
        "enclosures_head": words("dossier.letter.enclosures_head"),
        "enclosures": _enclosures(case, words),
        "closing": words("dossier.letter.closing"),
        "signatory": _signatory(texts, place, words),
        "copies_head": words("dossier.letter.copies_head"),
        "copies": [
            words("dossier.letter.copy" if _asks(case) else "dossier.letter.copy_known", who=who)
            for who in _copies(case, texts, words)
        ],
        "courtesy": None if words.language == "hi" else words("dossier.letter.courtesy"),
    }


def _any_data(case: Case) -> bool:
    """Whether anything was measured in the period."""
    found = case.claims.district
    return bool(found.measurements or found.tested)


def _table(case: Case, words: Words) -> dict[str, Any]:
    """The state of each block; of many at the end of the letter, of nothing measured no rows."""
    offices = case.config.offices if _any_data(case) else ()
    after = len(offices) > MOST_ROWS
    kind = "after" if after else "here" if len(offices) > 1 else "single"
    parts = [words(f"dossier.letter.table.{name}") for name in (kind, "interval")]
    return {
        "text": " ".join(parts) if offices else "",
        "title": words("dossier.letter.table.title"),
        "after": after,
        "head": [words(f"dossier.letter.head.{name}") for name in _HEADS],
        "rows": [_row(case, office, words) for office in offices],
    }


def _opening(case: Case, words: Words) -> Iterator[str]:
    found = case.claims.district
    cited = "_cited" if case.config.letter.texts_in(words.language).references else ""
    days = formats.day_range(case.period, words)
    lines = words("dossier.letter.lines", n=found.offices)
    if not _any_data(case):
        yield words(f"dossier.letter.opening_none{cited}", days=days, lines=lines)
        return
    yield words(f"dossier.letter.opening{cited}", days=days, lines=lines, n=found.measurements)
    few = _few_calls(case, words)
    if found.tested:
        yield _tested(case, words)
    elif not few:
        yield words("dossier.letter.conference_none", n=found.offices)
    if few:
        names = formats.list_of(few, words, formats.NAMES_IN_A_SENTENCE)
        yield words("dossier.letter.conference_few", fewest=FEWEST_CALLS, names=names)


def _few_calls(case: Case, words: Words) -> list[str]:
    """The offices with too few conference tests to be counted, each with the number."""
    tests = {office: case.of(office).conference.tests for office in case.config.offices}
    return [
        f"{formats.office_name(office, words)} ({words('report.tests', n=n)})"
        for office, n in tests.items()
        if 0 < n < FEWEST_CALLS
    ]


def _tested(case: Case, words: Words) -> str:
    """How many of the offices with enough conference tests reached the district's standard."""
    found = case.claims.district
    grade = grade_text(case.config.thresholds.grade, words)
    if found.offices == 1:
        kind = "reached" if found.able else "missed"
        return words(f"dossier.letter.conference_{kind}", grade=grade)
    return words(
        "dossier.letter.conference",
        tested=words("dossier.letter.offices", n=found.tested),
        able=found.able,
        grade=grade,
    )


def _row(case: Case, office: Office, words: Words) -> dict[str, Any]:
    claims = case.of(office)
    found, delivered = claims.assessment, _delivered(claims)
    tests = claims.conference.tests
    ratio, coverage = claims.availability.ratio, claims.availability.coverage
    return {
        "office": formats.office_name(office, words),
        "contracted": contract(found, words),
        "delivered": delivered_rates(found, words),
        "rests": list(_rests(delivered, words)),
        "need": need(found, words),
        "other": other_basis(found, words) if _measured(found) else "",
        "conference": grade_text(claims.conference.grade, words),
        "tests": words("report.tests", n=tests) if tests else "",
        "availability": formats.availability(ratio, coverage, words),
        "covers": ""
        if coverage is None or ratio is None
        else words("dossier.letter.covers", coverage=formats.share_floor(coverage)),
        "verdict": verdict_name(found.verdict, words),
        "reason": reason(found, case.config, office, words),
    }


def _verdicts(case: Case, words: Words) -> Iterator[str]:
    """A paragraph for each verdict, requests to the department first."""
    by_id = {office.id: office for office in case.config.offices}
    for verdict in _ORDER:
        offices = [by_id[name] for name in case.claims.district.verdicts[verdict]]
        for kind, some in _kinds(case, verdict, offices).items():
            names = [formats.office_name(office, words) for office in some]
            found = {office.id: case.of(office).assessment for office in some}
            yield words(
                f"dossier.letter.{kind}",
                names=names_of(names, len(by_id), "report.all_blocks", words),
                slabs=slabs_text(case.config, found, words, named=False)
                if verdict is LineVerdict.UPGRADE
                else "",
            )
        if verdict is LineVerdict.UPGRADE:
            yield from _bounds(case, words)


def _kinds(case: Case, verdict: LineVerdict, offices: Sequence[Office]) -> dict[str, list[Office]]:
    """The offices of a verdict, grouped by the paragraph that describes them.

    A line's speed may be sufficient although conferences fell short, for a known or unknown cause;
    and loss or a low rate may be there in office hours only.
    """
    kinds: dict[str, list[Office]] = {}
    for office in offices:
        claims, paragraph = case.of(office), str(verdict)
        calls = claims.conference
        short = calls.grade is not None and calls.grade < case.config.thresholds.grade
        if verdict is LineVerdict.NOTHING and short:
            elsewhere = calls.cause or calls.limited_by in _NOT_SPEED
            paragraph = f"{verdict}_short" if elsewhere else f"{verdict}_unproven"
        elif verdict in (LineVerdict.REPAIR, LineVerdict.LINE_QUALITY, LineVerdict.NEED_NOT_MET):
            paragraph = kind_of_reason(claims.assessment)
            if paragraph == _BY_DAY and loss_is_low_outside(claims.assessment, case.config):
                paragraph += "_only"
        kinds.setdefault(paragraph, []).append(office)
    return dict(sorted(kinds.items()))


def _subject(case: Case, words: Words) -> str:
    """What the letter asks for, and of which offices it is."""
    first, total = case.config.offices[0], len(case.config.offices)
    name = formats.office_name(first, words)
    return words(
        f"dossier.letter.{_subject_key(case)}",
        district=case.district(words),
        where=words("dossier.letter.subject_where", n=total, name=name),
        lines=words("dossier.letter.subject_lines", n=total),
    )


def _subject_key(case: Case) -> str:
    verdicts = case.claims.district.verdicts
    if not _asks(case):
        return "subject"
    if not verdicts[LineVerdict.UPGRADE]:
        return "subject_repair"
    mend = any(verdicts[verdict] for verdict in _ASKING if verdict is not LineVerdict.UPGRADE)
    return "subject_both" if mend else "subject_upgrade"


def _asks(case: Case) -> bool:
    """Whether the department is asked for anything; otherwise the letter only informs."""
    return any(case.claims.district.verdicts[verdict] for verdict in _ASKING)


def _ending(case: Case, words: Words) -> Iterator[str]:
    yield from _further_remarks(case, words)
    yield from _faults(case, words)
    yield words("dossier.letter.basis")
    changes = setting_changes(case, words)
    if changes:
        yield words("dossier.settings.changed", changes="; ".join(changes))
    yield words("dossier.letter.evidence")


def _faults(case: Case, words: Words) -> Iterator[str]:
    """What was reported to the operator, how fast it was restored, and what is still open."""
    if not case.evidence.fault_entries:
        return
    found, _ = judged(case)
    if found:
        parts = [
            *sentences(found, words),
            *(_open(case, one, words) for one in found if one.is_open),
        ]
        until = formats.moment(case.until, case.zone, words)
        yield words("dossier.letter.faults", until=until, told=" ".join(parts))


def _open(case: Case, one: JudgedFault, words: Words) -> str:
    names = {office.id: formats.office_name(office, words) for office in case.config.offices}
    fault = one.fault
    return words(
        "dossier.letter.open_fault",
        name=names[fault.office],
        docket=fault.docket or formats.UNKNOWN,
        reported=formats.moment(fault.reported_at, case.zone, words),
    )


def _bounds(case: Case, words: Words) -> Iterator[str]:
    """For which needs an upgrade is asked."""
    rates: dict[str, list[str]] = {}
    for name, one in _assessments(case, words).items():
        if one.verdict is LineVerdict.UPGRADE and one.holds is not None:
            rates.setdefault(formats.rate(one.holds.low), []).append(name)
    ends = [
        words("dossier.letter.above", rate=rate, name=formats.list_of(names, words))
        for rate, names in rates.items()
    ]
    if ends:
        yield words("dossier.letter.holds", ends=formats.list_of(ends, words))


def _further_remarks(case: Case, words: Words) -> Iterator[str]:
    """How far estimates can be trusted, and what is charged to no line."""
    found = _assessments(case, words)
    if trust := estimate_trust(found.values(), words):
        yield trust
    habit = [name for name, one in found.items() if Note.HABIT in one.notes]
    if habit:
        yield words("dossier.letter.habit", names=formats.list_of(habit, words))
    shared = next((one.line.outages for one in found.values() if one.line.outages.shared), None)
    if shared is not None:
        length = formats.duration(shared.shared_seconds, words)
        yield words("dossier.letter.shared", n=shared.shared, length=length)


def _assessments(case: Case, words: Words) -> dict[str, Assessment]:
    """The judgement on each line, by the office's name."""
    return {
        formats.office_name(office, words): case.of(office).assessment
        for office in case.config.offices
    }


def _measured(found: Assessment) -> bool:
    return any(side.need.measured for side in found.directions)


def _delivered(claims: OfficeClaims) -> list[DeliveredRate]:
    """What the line delivers towards the office and from it."""
    return [side.delivered for side in claims.assessment.directions]


def _rests(delivered: Sequence[DeliveredRate], words: Words) -> Iterator[str]:
    """The number of tests behind the delivered speed, and their kind if they are packet trains."""
    down = delivered[0].median
    if down is not None and down.n:
        yield rests(down, words)
    # else, as the letter says, on tests outside office hours
    if any(one.basis is Basis.TRAINS for one in delivered):
        yield words(f"dossier.basis.{Basis.TRAINS}")


def _enclosures(case: Case, words: Words) -> list[str]:
    names = ["sheets", "method", "outages", "faults", "drills", "data", "certificate"]
    if not case.claims.drills:
        names.remove("drills")
    if not case.evidence.fault_entries:
        names.remove("faults")
    return [words(f"dossier.letter.enclosures.{name}") for name in names]


def _signatory(texts: LetterTexts, place: str, words: Words) -> list[str]:
    default = words("dossier.letter.signatory", place=place).split("|")
    return list(texts.signatory) or default


def _copies(case: Case, texts: LetterTexts, words: Words) -> list[str]:
    name = formats.office_name(case.config.offices[0], words)
    default = words(
        "dossier.letter.copies",
        n=len(case.config.offices),
        district=case.district(words),
        name=name,
    )
    return list(texts.copies) or default.split("|")

"""The front page, for the Deputy Commissioner: tiles, sentences, a map, one row per block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import Any

from jharnet_monitor.config import Config
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.line.grounds import Doubt
from jharnet_monitor.judge.outages.availability import DOWN
from jharnet_monitor.judge.statistics.changes import Course
from jharnet_monitor.model import OfficeState
from jharnet_monitor.report.data.changes import OfficeChanges, office_changes
from jharnet_monitor.report.data.findings import Finding, FindingKind
from jharnet_monitor.report.data.summary import Conference, OfficeSummary, Speed, Summary
from jharnet_monitor.report.sections.details import more_rows, rows_shown
from jharnet_monitor.report.sections.district_map import district_map
from jharnet_monitor.report.sections.phrases import doubt_days
from jharnet_monitor.report.sections.rating import GROUPS, RatedOffice, group_of, names_of
from jharnet_monitor.report.sections.sentences import sentences

_DOWNTIME: Mapping[FindingKind, Container[OfficeState]] = {
    FindingKind.LINE: {OfficeState.LINK_DOWN},
    FindingKind.POWER: {OfficeState.POWER_DOWN},
    FindingKind.LAN: {OfficeState.LAN_DOWN},
    FindingKind.OUTAGE: {OfficeState.UNREACHABLE},
    FindingKind.MIXED: DOWN,
    FindingKind.DOWN_BY_DAY: DOWN,
}
"""Findings on downtime, and the states in which it was spent. They rest on more weeks than the
report's own, of which the availability beside them speaks."""
MOST_NAMED_TWICE = 2
"""Offices of which the same doubt is said in each row; for more it is said once below the table."""


def page_one(summary: Summary, judged: Sequence[RatedOffice], words: Words) -> dict[str, Any]:
    """The content of the front page, as plain JSON."""
    changed = office_changes(summary)
    common = _common_doubts(judged, summary, words)
    rows = [row(one, summary, changed[one.summary.office.id], words, common) for one in judged]
    known = _common_coverage(rows, words)
    acting = any(one["findings"] for one in rows)
    usual = {words("report.change.same"), words("report.change.new")}
    compared = any(one["change"] not in usual or one["faster"] for one in rows)
    heads = ["block", "conference", "availability", "speed"]
    heads += [*(["change"] if compared else []), *(["cause"] if acting else [])]
    before = words(f"period.before_{summary.period.kind}")
    return {
        "tiles": _tiles(judged, words),
        "sentences": sentences(summary, judged, changed, words),
        "of": words("report.of", total=len(judged)),
        "speed_key": " ".join(filter(None, (words("report.speed_key"), known))),
        "compared": compared,
        "head": [words(f"report.head.{name}", before=before) for name in heads],
        "acting": acting,
        "rows": rows[: rows_shown(len(rows))],  # the worst come first
        "every_row": rows if len(rows) > rows_shown(len(rows)) else [],
        "every_title": words("report.front_rows"),
        "more": more_rows(len(rows), words),
        "doubts": [
            words("report.evidence_note", names=_named(texts, judged, words), cause=cause)
            for cause, texts in common.items()
        ],
        "map": district_map(judged, words),
        "prepared": _prepared(summary, words),
    }


def _common_coverage(rows: Sequence[dict[str, Any]], words: Words) -> str:
    """Of how much of the time the availabilities are known, where that is the same of all that
    are: it is said once and leaves the rows. Empty where it differs, or where there are few rows.
    """
    measured = [row["known"] for row in rows if row["known"]]
    if len(set(measured)) != 1 or len(measured) <= MOST_NAMED_TWICE:
        return ""
    for row in rows:
        row["covers"] = ""
    kind = "all" if len(measured) == len(rows) else "measured"
    return words(f"report.covers_{kind}", coverage=measured[0])


def _prepared(summary: Summary, words: Words) -> dict[str, str]:
    """Who prepares the report, and where it is signed."""
    district = summary.config.district.name_in(words.language)
    who = summary.config.report.prepared_by_in(words.language)
    return {
        "label": words("report.prepared"),
        "who": who or words("report.prepared_by", district=district),
        "sign": words("report.signature"),
    }


def _common_doubts(
    judged: Sequence[RatedOffice], summary: Summary, words: Words
) -> dict[str, list[str]]:
    """The doubts that several offices share and that are all there is to say of them: the texts,
    with the offices' names.
    """
    texts = [
        (finding_texts(one.found[0], one.summary, summary.config, words)["cause"], one)
        for one in judged
        if one.doubtful
    ]
    counts = Counter(text for text, _ in texts)
    return {
        cause: [formats.office_name(o.summary.office, words) for text, o in texts if text == cause]
        for cause, count in counts.items()
        if count > MOST_NAMED_TWICE
    }


def _named(names: Sequence[str], judged: Sequence[RatedOffice], words: Words) -> str:
    return names_of(names, len(judged), "report.all_of_them", words)


def _tiles(judged: Sequence[RatedOffice], words: Words) -> list[dict[str, Any]]:
    counts = Counter(one.group for one in judged)
    return [
        {"value": str(counts[group]), "label": words(f"report.tile.{group}"), "group": group}
        for group in GROUPS
    ]


def row(
    judged: RatedOffice,
    summary: Summary,
    changed: OfficeChanges,
    words: Words,
    common: Container[str] = (),
) -> dict[str, Any]:
    """One office in the table of the front page; doubts in `common` are said below it."""
    office = judged.summary
    finding_rows = [
        finding_texts(finding, office, summary.config, words) for finding in judged.shown
    ]
    separate = judged.doubtful and finding_rows[0]["cause"] in common
    return {
        "office": formats.office_name(office.office, words),
        "grade": office.conference.grade,
        "able": judged.group == "able",
        "answer": _answer_text(judged, words),
        "tests": tests_text(office.conference, words),
        "since": _since(office, summary, words),
        **availability_texts(office, words),
        **speed_texts(office.down, office.up, words),
        **_change(office, changed, words),
        "findings": [] if separate else finding_rows,
        "nothing": formats.UNKNOWN
        if separate
        else words("act.nothing" if summary.measurements else "report.row_empty"),
    }


def _since(office: OfficeSummary, summary: Summary, words: Words) -> str:
    """For how long an office has been below the standard without a break; empty for one period."""
    wanted, count = summary.config.thresholds.grade, 0
    for conference in (office.conference, *(point.conference for point in office.history[::-1])):
        if conference.grade is None or group_of(conference, wanted) == "able":
            break
        count += 1
    if count < 2:
        return ""
    span = words(f"period.spans.{summary.period.kind}", n=count)
    return words("report.since", span=span)


def _answer_text(judged: RatedOffice, words: Words) -> str:
    """Whether the block can hold a conference: `yes, HD (720p)`, `audio only`, `no`."""
    conference = judged.summary.conference
    if judged.group not in ("able", "unable"):
        return conference_text(conference, words)
    text = words(f"report.can.{conference.grade}")
    return formats.with_borderline(text, conference.borderline, words)


def conference_text(conference: Conference, words: Words) -> str:
    """`HD video (720p)`, `SD video (360p), borderline HD`, or `not tested`."""
    return formats.with_borderline(
        grade_text(conference.grade, words), conference.borderline, words
    )


def grade_text(grade: int | None, words: Words) -> str:
    """`HD video (720p)`, or `not tested`."""
    return words("grade.none" if grade is None else f"grade.{grade}")


def tests_text(conference: Conference, words: Words) -> str:
    """The number of tests behind the answer, and of those that could not be run."""
    if not conference.tests and not conference.missed:
        return ""  # the answer says it: not tested
    if not conference.tests:
        return words("report.no_result", n=words("report.tests", n=conference.missed))
    key = "report.tests_outside" if conference.outside_hours else "report.tests"
    parts = [words(key, n=conference.tests)]
    if conference.missed:
        parts.append(words("report.missed", n=conference.missed))
    return "; ".join(parts)


def availability_texts(office: OfficeSummary, words: Words) -> dict[str, str]:
    """The availability and its coverage."""
    account = office.state_times
    if account.availability is None or account.coverage is None:
        return {"availability": words("not_measured"), "covers": "", "known": ""}
    known = formats.share_whole(account.coverage)
    return {
        "availability": formats.availability(account.availability, account.coverage, words),
        "covers": words("report.covers", coverage=known),
        "known": known,
    }


def speed_texts(down: Speed, up: Speed, words: Words) -> dict[str, str]:
    """The delivered speed in both directions, the contract, and the number of tests."""
    if down.median is None and up.median is None:
        return {"speed": words("not_measured"), "contract": _contract(down, up, words), "n": ""}
    measured = [way for way in (down, up) if way.tests]
    quiet = all(way.quiet for way in measured)
    return {
        "speed": formats.both_rates(down.median, up.median),
        "contract": _contract(down, up, words),
        "n": words(
            "report.tests" if quiet else "report.speed_tests_left",
            n=min(way.tests for way in measured),
        ),
    }


def _contract(down: Speed, up: Speed, words: Words) -> str:
    if down.contracted is None:
        return words("report.contract_unknown")
    rates = formats.rate(down.contracted)
    if up.contracted not in (None, down.contracted):
        rates = formats.both_rates(down.contracted, up.contracted)
    if down.ratio is None and up.ratio is None:
        return words("report.contract", rate=rates)
    shares = (formats.share_whole(way.ratio) for way in (down, up))
    return words("report.of_contract", shares=" / ".join(shares), rate=rates)


def _change(office: OfficeSummary, changed: OfficeChanges, words: Words) -> dict[str, str]:
    """The change since the period before; `better` or `worse` only if it is certain and large."""
    now = office.conference
    before = office.before.conference if office.before else None
    if before is None or now.grade is None or before.grade is None:
        return {"change": words("report.change.new"), "was": "", "faster": ""}
    if now.grade == before.grade and changed.grade in (Course.NONE, Course.FEW):
        trend_texts = {"change": words("report.change.same"), "was": ""}
    else:
        trend_texts = {
            "change": words(f"report.change.{changed.grade}"),
            "was": words("report.change.was", grade=grade_text(before.grade, words)),
        }
    certain = changed.speed in (Course.BETTER, Course.WORSE)
    faster = words(f"report.change.speed_{changed.speed}") if certain else ""
    return trend_texts | {"faster": faster}


def finding_texts(
    finding: Finding, office: OfficeSummary, config: Config, words: Words
) -> dict[str, str]:
    """A finding and the action it needs, for the table."""
    key, detail = f"finding.{finding.kind}", ""
    if finding.kind is FindingKind.EVIDENCE:
        days = doubt_days(office.assessment, Doubt(finding.detail or ""))
        wanted = config.capacity.days
        detail = words(f"capacity.doubt_short.{finding.detail}", days=days, wanted=wanted)
    elif finding.kind is FindingKind.LIMITED:
        detail = words.get(f"limited_by.{finding.detail}", str(finding.detail))
    elif finding.kind is FindingKind.UPGRADE:
        slab = office.assessment.slab
        if slab is None:
            key = "finding.upgrade_beyond"
        else:
            detail = formats.rate(slab)
    elif finding.detail:
        detail = words.get(f"cause.{finding.detail}", finding.detail)
    if detail and f"{key}_detail" in words:
        key += "_detail"
    acts = f"act.{finding.kind}_{finding.detail}"
    act = words(acts if acts in words else f"act.{finding.kind}", detail=detail)
    cause = words(key, detail=detail)
    if finding.kind in _DOWNTIME and not _was_down(office, _DOWNTIME[finding.kind]):
        cause = words("report.earlier", cause=cause)
    return {"cause": cause, "act": act}


def _was_down(office: OfficeSummary, states: Container[OfficeState]) -> bool:
    """Whether an office was in one of the states within the report's own period."""
    return any(outage.state in states for outage in office.outages)

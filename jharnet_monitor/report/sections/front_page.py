"""The front page, for the Deputy Commissioner: tiles, three sentences, one row per block."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jharnet_monitor.config import Config
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.line.grounds import Doubt
from jharnet_monitor.judge.statistics.changes import Course
from jharnet_monitor.report.data.changes import OfficeChanges, office_changes
from jharnet_monitor.report.data.findings import Finding, FindingKind, every_finding
from jharnet_monitor.report.data.summary import Conference, OfficeSummary, Speed, Summary
from jharnet_monitor.report.sections.phrases import doubt_days


@dataclass(frozen=True, slots=True)
class RatedOffice:
    """An office with its findings, and the group in which it is counted."""

    summary: OfficeSummary
    found: tuple[Finding, ...]
    group: str
    """`able`, `partly`, `unable` or `untested`."""


ACTORS = {
    "department": (FindingKind.UPGRADE,),
    "operator": (
        FindingKind.REPAIR,
        FindingKind.CORE,
        FindingKind.LOSS,
        FindingKind.LINE,
        FindingKind.DELAY,
    ),
    "bdo": (FindingKind.POWER, FindingKind.LAN, FindingKind.NOT_TESTED, FindingKind.HOST),
    "engineer": (
        FindingKind.CALL,
        FindingKind.OUTAGE,
        FindingKind.MIXED,
        FindingKind.DOWN_BY_DAY,
        FindingKind.NEED,
        FindingKind.LIMITED,
        FindingKind.UNEXPLAINED,
        FindingKind.EVIDENCE,
    ),
}
"""Who has to act on which finding; the department, which gets the letter, first."""
FEWEST_CALLED_ALL = 2
SHOWN = 2
"""Number of findings of an office on the front page; its own page has all."""
_ORDER = ("unable", "partly", "untested", "able")


def judge(summary: Summary) -> list[RatedOffice]:
    """Every office with its findings, the worst first."""
    config = summary.config
    judged = [
        RatedOffice(office, found, _group(office.conference, config.thresholds.grade))
        for office, found in zip(summary.offices, every_finding(summary), strict=True)
    ]
    return sorted(judged, key=_severity)


def _group(conference: Conference, wanted: int) -> str:
    if conference.grade is None:
        return "untested"
    if conference.grade >= wanted:
        return "able"
    return "partly" if conference.grade else "unable"


def _severity(judged: RatedOffice) -> tuple[int, int, int]:
    grade = judged.summary.conference.grade
    return _ORDER.index(judged.group), 5 if grade is None else grade, -len(judged.found)


def page_one(summary: Summary, judged: Sequence[RatedOffice], words: Words) -> dict[str, Any]:
    """The content of the front page, as plain JSON."""
    changed = office_changes(summary)
    return {
        "tiles": _tiles(judged, words),
        "sentences": [
            _answer(summary, judged, words),
            *_why_and_ask(summary, judged, words),
        ],
        "of": words("report.of", total=len(judged)),
        "speed_key": words("report.speed_key"),
        "head": [
            words(f"report.head.{name}")
            for name in ("block", "conference", "availability", "speed")
        ]
        + [
            words("report.head.change", before=words(f"period.before_{summary.period.kind}")),
            words("report.head.cause"),
        ],
        "rows": [row(one, summary, changed[one.summary.office.id], words) for one in judged],
    }


def _tiles(judged: Sequence[RatedOffice], words: Words) -> list[dict[str, Any]]:
    counts = {group: sum(one.group == group for one in judged) for group in _ORDER}
    return [
        {"value": str(counts[group]), "label": words(f"report.tile.{group}"), "group": group}
        for group in ("able", "partly", "unable", "untested")
    ]


def _answer(summary: Summary, judged: Sequence[RatedOffice], words: Words) -> str:
    """The first sentence: which blocks can hold a conference and which cannot."""
    names = {
        group: [formats.office_name(o.summary.office, words) for o in judged if o.group == group]
        for group in _ORDER
    }
    total, able = len(judged), len(names["able"])
    if not summary.measurements:
        return words("report.answer.empty")
    if len(names["untested"]) == total:
        return words("report.answer.untested")
    if able == total:
        return words("report.answer.all", total=total) if total > 1 else words("report.answer.only")
    parts = [words(f"report.answer.{'some' if able else 'none'}", able=able, total=total)]
    for group, key in (("partly", "partly"), ("unable", "unable"), ("untested", "untested_too")):
        if names[group]:
            told = _names(names[group], total, "report.all_blocks", words)
            parts.append(words(f"report.answer.{key}", names=told))
    return "; ".join(parts) + words("full_stop")


def _why_and_ask(summary: Summary, judged: Sequence[RatedOffice], words: Words) -> tuple[str, str]:
    """The second sentence (why, from each office's main finding) and the third (who should act)."""
    if not summary.measurements:
        return words("report.why_empty"), words("report.empty_ask")
    if not any(one.found for one in judged):
        return words("report.why_none"), words("report.asked_none")
    main = _by_kind(((one, one.found[:1]) for one in judged), words)
    total = len(judged)
    reasons = "; ".join(
        words(f"reason.{kind}", names=_names(names, total, "report.all_blocks", words))
        for kind, names in main.items()
    )
    shown = _by_kind(((one, _first(one)) for one in judged), words)
    asks = "; ".join(_asks(shown, total, words))
    return words("report.why", reasons=reasons), words("report.asked", asks=asks)


def _by_kind(
    found: Iterable[tuple[RatedOffice, Iterable[Finding]]], words: Words
) -> Mapping[FindingKind, list[str]]:
    """The names of the offices by kind of finding."""
    kinds: dict[FindingKind, list[str]] = defaultdict(list)
    for one, findings_ in found:
        for finding in findings_:
            kinds[finding.kind].append(formats.office_name(one.summary.office, words))
    return kinds


def _names(names: Sequence[str], total: int, every: str, words: Words) -> str:
    """The names, or that all blocks are meant."""
    if len(names) == total > FEWEST_CALLED_ALL:
        return words(every, total=total)
    return formats.list_of(names, words)


def _asks(found: Mapping[FindingKind, list[str]], total: int, words: Words) -> Iterator[str]:
    """The request to each actor, with the offices concerned."""
    for who, kinds in ACTORS.items():
        asked = [
            words(f"ask.{kind}", names=_names(found[kind], total, "report.all_of_them", words))
            for kind in kinds
            if kind in found
        ]
        if asked:
            yield words(f"actor.{who}", acts=formats.list_of(asked, words))


def row(
    judged: RatedOffice, summary: Summary, changed: OfficeChanges, words: Words
) -> dict[str, Any]:
    """One office in the table of the front page."""
    office = judged.summary
    return {
        "office": formats.office_name(office.office, words),
        "grade": office.conference.grade,
        "able": judged.group == "able",
        "answer": _answer_text(judged, words),
        "tests": tests_text(office.conference, words),
        **availability_texts(office, words),
        **speed_texts(office.down, office.up, words),
        **_change(office, changed, words),
        "findings": [
            finding_texts(finding, office, summary.config, words) for finding in _first(judged)
        ],
        "nothing": words("act.nothing" if summary.measurements else "report.row_empty"),
    }


def _first(judged: RatedOffice) -> list[Finding]:
    """The findings for the front page; doubts only if there are no others."""
    certain = [finding for finding in judged.found if finding.kind is not FindingKind.EVIDENCE]
    return (certain or list(judged.found))[:SHOWN]


def _answer_text(judged: RatedOffice, words: Words) -> str:
    """Whether the block can hold a conference: `yes, HD (720p)`, `audio only`, `no`."""
    grade = judged.summary.conference.grade
    if judged.group in ("able", "unable"):
        return words(f"report.can.{grade}")
    return grade_text(grade, words)


def grade_text(grade: int | None, words: Words) -> str:
    """`HD video (720p)`, or `not tested`."""
    return words("grade.none" if grade is None else f"grade.{grade}")


def tests_text(conference: Conference, words: Words) -> str:
    """The number of tests behind the answer, and of those that could not be run."""
    if not conference.tests and not conference.missed:
        return words("report.no_test")
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
        return {"availability": words("not_measured"), "covers": ""}
    return {
        "availability": formats.share_floor(account.availability),
        "covers": words("report.covers", coverage=formats.share_whole(account.coverage)),
    }


def speed_texts(down: Speed, up: Speed, words: Words) -> dict[str, str]:
    """The delivered speed in both directions, the contract, and the number of tests."""
    if down.median is None and up.median is None:
        return {"speed": words("not_measured"), "contract": _contract(down, up, words), "n": ""}
    return {
        "speed": formats.both_rates(down.median, up.median),
        "contract": _contract(down, up, words),
        "n": words(
            "report.tests" if down.quiet else "report.speed_tests_left",
            n=max(down.tests, up.tests),
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
        told = {"change": words("report.change.same"), "was": ""}
    else:
        told = {
            "change": words(f"report.change.{changed.grade}"),
            "was": words("report.change.was", grade=grade_text(before.grade, words)),
        }
    certain = changed.speed in (Course.BETTER, Course.WORSE)
    faster = words(f"report.change.speed_{changed.speed}") if certain else ""
    return told | {"faster": faster}


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
        detail = words("finding.beyond_tariff") if slab is None else formats.rate(slab)
    elif finding.detail:
        detail = words.get(f"cause.{finding.detail}", finding.detail)
    if detail and f"{key}_detail" in words:
        key += "_detail"
    acts = f"act.{finding.kind}_{finding.detail}"
    act = words(acts if acts in words else f"act.{finding.kind}", detail=detail)
    return {"cause": words(key, detail=detail), "act": act}

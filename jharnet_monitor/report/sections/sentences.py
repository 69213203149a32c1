"""The sentences of page one: who can hold a conference, why not, who has to act, what changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.statistics.changes import Course
from jharnet_monitor.report.data.changes import OfficeChanges
from jharnet_monitor.report.data.findings import FindingKind
from jharnet_monitor.report.data.summary import Summary
from jharnet_monitor.report.sections.faults import sentences as fault_sentences
from jharnet_monitor.report.sections.rating import RatedOffice, by_kind, names_of

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
_CHANGES = {
    "better": ("grade", Course.BETTER),
    "worse": ("grade", Course.WORSE),
    "faster": ("speed", Course.BETTER),
    "slower": ("speed", Course.WORSE),
}


def sentences(
    summary: Summary,
    judged: Sequence[RatedOffice],
    changed: Mapping[str, OfficeChanges],
    words: Words,
) -> list[str]:
    """The sentences, in the order in which they are read."""
    found = [_answer(summary, judged, words), *_reasons_and_action(summary, judged, words)]
    if summary.shared:
        found.append(_shared(summary, words))
    if summary.measurements:
        found.append(_changes(summary, judged, changed, words))
    if summary.faults or summary.unbooked:
        parts = " ".join(fault_sentences(summary.faults, words, len(summary.unbooked)))
        until = formats.moment(summary.until, summary.zone, words)
        found.append(words("faults.sentence", until=until, parts=parts))
    return found


def _shared(summary: Summary, words: Words) -> str:
    """The faults that all offices had at once."""
    length = sum((one.end - one.start).total_seconds() for one in summary.shared)
    moments = [beginning(one.start, summary, words) for one in summary.shared]
    return words(
        "report.shared",
        n=len(moments),
        length=formats.duration(length, words),
        moments=formats.list_of(moments, words),
    )


def beginning(start: datetime, summary: Summary, words: Words) -> str:
    """When an outage began; one that reached into the period is known from the period's start."""
    moment = formats.moment(start, summary.zone, words)
    return words("report.or_before", moment=moment) if start <= summary.period.start else moment


def _answer(summary: Summary, judged: Sequence[RatedOffice], words: Words) -> str:
    """Which blocks can hold a conference and which cannot, with what that rests on."""
    names = {
        group: [formats.office_name(o.summary.office, words) for o in judged if o.group == group]
        for group in ("able", "partly", "unable", "untested")
    }
    total, able = len(judged), len(names["able"])
    if not summary.measurements:
        return words("report.answer.empty")
    if len(names["untested"]) == total:
        return words("report.answer.untested")
    if total == 1:
        parts = [words("report.answer.only" if able else "report.answer.only_none")]
    else:
        key = "all" if able == total else "some" if able else "none"
        parts = [words(f"report.answer.{key}", able=able, total=total)]
    for group, key in (("partly", "partly"), ("unable", "unable"), ("untested", "untested_too")):
        if names[group]:
            sentence = names_of(names[group], total, "report.all_blocks", words)
            parts.append(words(f"report.answer.{key}", names=sentence))
    return "; ".join(parts) + words("full_stop") + " " + _basis(summary, judged, words)


def _basis(summary: Summary, judged: Sequence[RatedOffice], words: Words) -> str:
    """The number of tests and days behind the answer, and what is called a success."""
    calls = [one.summary.conference for one in judged]
    days = {at.astimezone(summary.zone).date() for call in calls for at, _ in call.grades}
    outside = all(call.outside_hours for call in calls if call.tests)
    return words(
        "report.basis_outside" if outside else "report.basis",
        tests=words("report.tests", n=sum(call.tests for call in calls)),
        days=words("report.days", n=len(days)),
        grade=words(f"grade.{summary.config.thresholds.grade}"),
    )


def _reasons_and_action(
    summary: Summary, judged: Sequence[RatedOffice], words: Words
) -> tuple[str, str]:
    """Why offices fall short, from the main finding of each, and who should act.

    What is found at an office whose conferences succeeded, or that too little was measured, is no
    cause of anything: it is a note.
    """
    if not summary.measurements:
        return words("report.why_empty"), words("report.empty_ask")
    if not any(one.found for one in judged):
        if summary.shared:
            request = words("actor.engineer", acts=words("report.ask_shared"))
            return words("report.why_none_shared"), words("report.asked", asks=request)
        return words("report.why_none"), words("report.asked_none")
    total = len(judged)
    causes = [one for one in judged if one.found and one.group != "able" and not one.doubtful]
    notes = [one for one in judged if one.found and one not in causes]
    why, note_reasons = (_reasons(some, total, words) for some in (causes, notes))
    if why and note_reasons:
        sentence = words(
            "report.note_beside", why=words("report.why", reasons=why), reasons=note_reasons
        )
    else:
        sentence = words("report.why" if why else "report.note", reasons=why or note_reasons)
    shown = by_kind(((one, one.shown) for one in judged), words)
    asks = "; ".join(
        _asks(_one_request_to_measure(shown), total, words, shared=bool(summary.shared))
    )
    return sentence, words("report.asked", asks=asks)


def _reasons(offices: Sequence[RatedOffice], total: int, words: Words) -> str:
    main = by_kind(((one, one.shown[:1]) for one in offices), words)
    return "; ".join(
        words(f"reason.{kind}", names=names_of(names, total, "report.all_blocks", words))
        for kind, names in main.items()
    )


def _one_request_to_measure(
    found: Mapping[FindingKind, list[str]],
) -> Mapping[FindingKind, list[str]]:
    """The offices by kind; of those where only measuring goes on, whatever for, as one request."""
    limited, evidence = (found.get(kind) for kind in (FindingKind.LIMITED, FindingKind.EVIDENCE))
    if not limited or not evidence:
        return found
    every: dict[FindingKind, list[str]] = {
        kind: names for kind, names in found.items() if kind is not FindingKind.LIMITED
    }
    return every | {FindingKind.EVIDENCE: list(dict.fromkeys([*limited, *evidence]))}


def _asks(
    found: Mapping[FindingKind, list[str]], total: int, words: Words, *, shared: bool
) -> Iterator[str]:
    """The request to each actor, with the offices concerned; the cause of a fault that all offices
    shared is for the engineer to find.
    """
    for who, kinds in ACTORS.items():
        requests = [
            words(f"ask.{kind}", names=names_of(found[kind], total, "report.all_of_them", words))
            for kind in kinds
            if kind in found
        ]
        if shared and who == "engineer":
            requests.append(words("report.ask_shared"))
        if requests:
            yield words(f"actor.{who}", acts=formats.list_of(requests, words))


def _changes(
    summary: Summary,
    judged: Sequence[RatedOffice],
    changed: Mapping[str, OfficeChanges],
    words: Words,
) -> str:
    """What changed since the period before, as far as that is certain and large."""
    before = words(f"period.before_{summary.period.kind}")
    if not any(one.summary.before for one in judged):
        return words("report.changed.new", before=before)
    parts = []
    for key, (figure, course) in _CHANGES.items():
        names = [
            formats.office_name(one.summary.office, words)
            for one in judged
            if getattr(changed[one.summary.office.id], figure) is course
        ]
        if names:
            parts.append(words(f"report.changed.{key}", names=formats.list_of(names, words)))
    if not parts:
        return words("report.changed.none", before=before)
    return words("report.changed.told", before=before, parts="; ".join(parts))

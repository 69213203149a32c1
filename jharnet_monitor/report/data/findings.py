"""The findings about an office: why it falls short, and thus who has to act.

Claims about the line come from its assessment (`judge.line.verdict`), as in the dossier. Findings
from the conference tests describe those tests and claim nothing about the line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from jharnet_monitor.config.schema import Config, Thresholds
from jharnet_monitor.judge.line.grounds import Doubt, LineVerdict, VerdictReason
from jharnet_monitor.report.data.summary import OfficeSummary, Summary


class FindingKind(StrEnum):
    """What is wrong; the texts for people are under `finding` and `act`."""

    UPGRADE = "upgrade"
    """It delivers what was contracted, and that is less than needed."""
    REPAIR = "repair"
    """It delivers less than was contracted."""
    CORE = "core"
    """So in office hours only, with an idle line: the operator's network behind it."""
    NEED = "need"
    """The contract is kept, and less than is needed arrives."""
    DOWN_BY_DAY = "down_by_day"
    """The promised availability is kept, but not in office hours."""
    MIXED = "mixed"
    """Down for longer than allowed, by several causes."""
    LINE = "line"
    """The line was down for longer than promised."""
    LOSS = "loss"
    POWER = "power"
    LAN = "lan"
    OUTAGE = "outage"
    """Unreachable for longer than allowed; it is not known whether line or power failed."""
    EVIDENCE = "evidence"
    """Not enough evidence; `detail` is the doubt."""
    LIMITED = "limited"
    """The conference fell short; `detail` is what limited its tests."""
    DELAY = "delay"
    CALL = "call"
    """The call could not be set up; `detail` is the cause."""
    HOST = "host"
    """The measuring computer, not the line, was the limit."""
    NOT_TESTED = "not_tested"
    """No conference test gave a result; `detail` is the cause, if known."""
    UNEXPLAINED = "unexplained"
    """The conference fell short, and no measurement explains it."""


_VERDICTS = {
    LineVerdict.UPGRADE: FindingKind.UPGRADE,
    LineVerdict.LINE_QUALITY: FindingKind.LOSS,
    LineVerdict.POWER: FindingKind.POWER,
    LineVerdict.LAN: FindingKind.LAN,
    LineVerdict.OUTAGES: FindingKind.MIXED,
}
_BY_REASON = {
    (LineVerdict.REPAIR, VerdictReason.SPEED): FindingKind.REPAIR,
    (LineVerdict.REPAIR, VerdictReason.CORE): FindingKind.CORE,
    (LineVerdict.REPAIR, VerdictReason.DOWN): FindingKind.LINE,
    (LineVerdict.NEED_NOT_MET, VerdictReason.SPEED): FindingKind.NEED,
    (LineVerdict.NEED_NOT_MET, VerdictReason.DOWN): FindingKind.DOWN_BY_DAY,
}
_OF_THE_LINE = frozenset(
    {
        FindingKind.UPGRADE,
        FindingKind.REPAIR,
        FindingKind.CORE,
        FindingKind.NEED,
        FindingKind.LINE,
        FindingKind.LOSS,
    }
)
"""Findings that can explain why a conference fell short."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding, with its detail."""

    kind: FindingKind
    detail: str | None = None


def findings(summary: OfficeSummary, config: Config) -> tuple[Finding, ...]:
    """All findings, the main one first; empty if nothing has to be done."""
    line = list(_judged(summary))
    claims = [finding for finding in line if finding.kind is not FindingKind.EVIDENCE]
    explained = any(finding.kind in _OF_THE_LINE for finding in claims)
    call = list(_conference(summary, config.thresholds, explained=explained))
    doubts = [finding for finding in line if finding.kind is FindingKind.EVIDENCE]
    first, then = (claims, call) if explained else (call, claims)
    return tuple(dict.fromkeys([*first, *then, *doubts, *_delay(summary, config.thresholds)]))


def every_finding(summary: Summary) -> list[tuple[Finding, ...]]:
    """The findings of each office, in order.

    Without any measurement there are none: the monitor itself did not run.
    """
    if not summary.measurements:
        return [()] * len(summary.offices)
    return [findings(office, summary.config) for office in summary.offices]


def _judged(summary: OfficeSummary) -> Iterator[Finding]:
    """The findings of the line's assessment."""
    found = summary.assessment
    for ground in found.grounds:
        if ground.verdict in _VERDICTS:
            yield Finding(_VERDICTS[ground.verdict])
        elif ground.reason is not None:
            yield Finding(_BY_REASON[ground.verdict, ground.reason])
    doubts = list(found.doubts)
    if Doubt.OUTAGES_UNEXPLAINED in doubts:
        doubts.remove(Doubt.OUTAGES_UNEXPLAINED)
        if LineVerdict.OUTAGES not in found.verdicts:
            yield Finding(FindingKind.OUTAGE)
    if doubts:
        yield Finding(FindingKind.EVIDENCE, doubts[0])


def _conference(
    summary: OfficeSummary, thresholds: Thresholds, *, explained: bool
) -> Iterator[Finding]:
    """The findings of the conference tests that the line does not explain already."""
    call = summary.conference
    if call.grade is None:
        yield Finding(FindingKind.NOT_TESTED, call.cause)
    elif call.grade >= thresholds.grade:
        return
    elif call.cause is not None:
        yield Finding(FindingKind.CALL, call.cause)
    elif call.limited_by == "host":
        yield Finding(FindingKind.HOST)
    elif call.limited_by in ("rate", "loss", "delay"):
        if not explained:
            yield Finding(FindingKind.LIMITED, call.limited_by)
    elif not explained:
        yield Finding(FindingKind.UNEXPLAINED)


def _delay(summary: OfficeSummary, thresholds: Thresholds) -> Iterator[Finding]:
    """A finding if the whole interval of the median latency is above the threshold."""
    found = summary.latency.median
    if found is not None and found.above(thresholds.rtt):
        yield Finding(FindingKind.DELAY)

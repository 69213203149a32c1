"""Why an office's line falls short, and who has to act.

Claims about the line are those of the judgement (`judge.line.verdict`), as in the dossier. What
the conference tests showed stands beside them: it describes the tests and claims nothing about the
line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from jharnet_monitor.config.schema import Config, Thresholds
from jharnet_monitor.judge.line.verdict import Doubt, LineVerdict
from jharnet_monitor.report.data.summary import OfficeSummary, Summary


class FindingKind(StrEnum):
    """What is wrong with an office's line; words for people stand under `finding` and `act`."""

    UPGRADE = "upgrade"
    """It delivers what was contracted, and that is less than is needed."""
    REPAIR = "repair"
    """It delivers less than was contracted."""
    LINE = "line"
    """The line was down for longer than was promised."""
    LOSS = "loss"
    POWER = "power"
    LAN = "lan"
    OUTAGE = "outage"
    """Out of reach for longer than is allowed, and whether line or power is not known."""
    EVIDENCE = "evidence"
    """Not enough evidence; `detail` is the doubt."""
    LIMITED = "limited"
    """The conference fell short, and its tests say what held them back; `detail` is that."""
    DELAY = "delay"
    CALL = "call"
    """The call could not be set up; `detail` is the cause."""
    HOST = "host"
    """The measuring computer, not the line, was the limit."""
    NOT_TESTED = "not_tested"
    """No conference test gave a result; `detail` is the cause, where there is one."""
    UNEXPLAINED = "unexplained"
    """The conference fell short, and no measurement says why."""


_VERDICTS = {
    LineVerdict.UPGRADE: FindingKind.UPGRADE,
    LineVerdict.LINE_QUALITY: FindingKind.LOSS,
    LineVerdict.POWER: FindingKind.POWER,
    LineVerdict.LAN: FindingKind.LAN,
}
_OF_THE_LINE = frozenset(
    {FindingKind.UPGRADE, FindingKind.REPAIR, FindingKind.LINE, FindingKind.LOSS}
)
"""What may be the reason why a conference fell short."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason, with what it rests on."""

    kind: FindingKind
    detail: str | None = None


def findings(summary: OfficeSummary, config: Config) -> tuple[Finding, ...]:
    """All reasons, the main one first; empty where nothing has to be done."""
    line = list(_judged(summary, config))
    claims = [finding for finding in line if finding.kind is not FindingKind.EVIDENCE]
    explained = any(finding.kind in _OF_THE_LINE for finding in claims)
    call = list(_conference(summary, config.thresholds, explained=explained))
    doubts = [finding for finding in line if finding.kind is FindingKind.EVIDENCE]
    first, then = (claims, call) if explained else (call, claims)
    return tuple(dict.fromkeys([*first, *then, *doubts, *_delay(summary, config.thresholds)]))


def every_finding(summary: Summary) -> list[tuple[Finding, ...]]:
    """The reasons of each office in turn. Where nobody was measured there is none: the monitor
    itself did not run, so that no office has to act, and none is found well either.
    """
    if not summary.measurements:
        return [()] * len(summary.offices)
    return [findings(office, summary.config) for office in summary.offices]


def _judged(summary: OfficeSummary, config: Config) -> Iterator[Finding]:
    """What the judgement on the line says."""
    found, share = summary.assessment, config.thresholds.delivered
    for verdict in found.verdicts:
        if verdict in _VERDICTS:
            yield Finding(_VERDICTS[verdict])
        elif verdict is LineVerdict.REPAIR:
            short = any(side.not_delivered(share) for side in found.directions)
            yield Finding(FindingKind.REPAIR if short else FindingKind.LINE)
    doubts = list(found.doubts)
    if Doubt.OUTAGES_UNEXPLAINED in doubts:
        doubts.remove(Doubt.OUTAGES_UNEXPLAINED)
        yield Finding(FindingKind.OUTAGE)
    if doubts:
        yield Finding(FindingKind.EVIDENCE, doubts[0])


def _conference(
    summary: OfficeSummary, thresholds: Thresholds, *, explained: bool
) -> Iterator[Finding]:
    """What the conference tests told, where the judgement on the line does not say it already."""
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
    """The median latency, where its whole interval lies over the mark."""
    found = summary.latency.median
    if found is not None and found.above(thresholds.rtt):
        yield Finding(FindingKind.DELAY)

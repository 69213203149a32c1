"""Why an office's line falls short, and who has to act: from the summary, by the thresholds.

The order is that in which a reviewer asks: first what keeps the conference from its grade, then
what keeps the office from its availability, then what is owed by the contract all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from jharnet_monitor.config.schema import Thresholds
from jharnet_monitor.model import OfficeState
from jharnet_monitor.report.summary import OfficeSummary


class Kind(StrEnum):
    """What is wrong with an office's line; words for people stand under `finding` and `act`."""

    UPGRADE = "upgrade"
    """It delivers what was contracted, and that is too little for the conference."""
    REPAIR = "repair"
    """It delivers less than was contracted."""
    RATE = "rate"
    """Its speed is too small for the conference; what was contracted is not known."""
    FEW = "few"
    """Its speed is too small for the conference; too few days to judge the contract by."""
    LOSS = "loss"
    DELAY = "delay"
    CALL = "call"
    """The call could not be set up; `detail` is the cause."""
    HOST = "host"
    """The measuring computer, not the line, was the limit."""
    LINE = "line"
    """The line was down for longer than is allowed."""
    POWER = "power"
    OUTAGE = "outage"
    """Down for longer than is allowed, and whether line or power is not known."""
    LAN = "lan"
    NOT_TESTED = "not_tested"
    """No conference test gave a result; `detail` is the cause, where there is one."""
    UNEXPLAINED = "unexplained"
    """The conference fell short, and no measurement says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason, with what it rests on."""

    kind: Kind
    detail: str | None = None


def findings(summary: OfficeSummary, thresholds: Thresholds) -> tuple[Finding, ...]:
    """All reasons, the main one first; empty where nothing has to be done."""
    found = [*_conference(summary, thresholds), *_availability(summary, thresholds)]
    if _breaks_contract(summary):
        found.append(Finding(Kind.REPAIR))
    if summary.latency.loss is not None and summary.latency.loss > thresholds.loss:
        found.append(Finding(Kind.LOSS))
    if summary.latency.p50 is not None and summary.latency.p50 > thresholds.rtt:
        found.append(Finding(Kind.DELAY))
    return tuple(dict.fromkeys(found))


def _conference(summary: OfficeSummary, thresholds: Thresholds) -> Iterator[Finding]:
    call = summary.conference
    if call.grade is None:
        yield Finding(Kind.NOT_TESTED, call.cause)
        return
    if call.grade >= thresholds.grade:
        return
    if call.cause is not None:
        yield Finding(Kind.CALL, call.cause)
    elif call.limited_by == "rate":
        yield Finding(_too_slow(summary))
    elif call.limited_by in ("loss", "delay", "host"):
        yield Finding(Kind(call.limited_by))
    elif _breaks_contract(summary):
        yield Finding(Kind.REPAIR)
    else:
        yield Finding(Kind.UNEXPLAINED)


def _too_slow(summary: OfficeSummary) -> Kind:
    if _breaks_contract(summary):
        return Kind.REPAIR
    kept = [way.kept for way in (summary.down, summary.up) if way.contracted is not None]
    if not kept:
        return Kind.RATE
    return Kind.UPGRADE if all(kept) else Kind.FEW


def _breaks_contract(summary: OfficeSummary) -> bool:
    return summary.down.kept is False or summary.up.kept is False


def _availability(summary: OfficeSummary, thresholds: Thresholds) -> Iterator[Finding]:
    account = summary.account
    target = promised(summary, thresholds)
    if account.availability is None:
        return
    if account.availability < target:
        times = {
            Kind.LINE: account.of(OfficeState.LINK_DOWN),
            Kind.POWER: account.of(OfficeState.POWER_DOWN),
            Kind.OUTAGE: account.of(OfficeState.UNREACHABLE),
        }
        yield Finding(max(times, key=lambda kind: times[kind]))
    if account.of(OfficeState.LAN_DOWN) > (1 - target) * (account.up + account.down):
        yield Finding(Kind.LAN)


def promised(summary: OfficeSummary, thresholds: Thresholds) -> float:
    """The availability that the office's contract promises, else the district's own mark."""
    link = summary.office.link
    return link.sla if link and link.sla is not None else thresholds.availability

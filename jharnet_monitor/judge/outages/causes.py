"""Why an office was unreachable: its line, its power, or unknown. Pure.

The cause is determined after the outage, from what is known only then: the boot id with which the
PC returns, what its agent recorded meanwhile, and the router's uptime. Parts of the outage for
which there is no such evidence stay `unreachable`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from jharnet_monitor.model import OfficeState

MIN_PART = timedelta(seconds=15)
"""The evidence is no more precise than a heartbeat and a clock's error: shorter parts are merged
with a neighbour."""
BOOT_GRACE = timedelta(minutes=15)
"""A PC that starts within this time after the line's return is taken to have been without power;
one that is switched on the next morning is not."""
ROUTER_START = timedelta(minutes=3)
"""How long a router may take to bring up the line after the power has returned."""
RECORD_LOSS = timedelta(seconds=75)
"""An agent records by the minute and loses the current minute in a power failure."""


class Reason(StrEnum):
    """The evidence for a cause; stored with it."""

    AGENT_RAN = "agent_ran"
    """The agent ran and its own gateway answered it: there was power, and the LAN worked."""
    SAME_BOOT = "same_boot"
    """The PC returned with the same boot: it was never without power."""
    NEW_BOOT = "new_boot"
    """The PC was present until the outage, did not sign off, and returned after a new start."""
    ROUTER_RAN = "router_ran"
    """The router has been running since before the outage."""
    ROUTER_RESTARTED = "router_restarted"
    """The router restarted during the outage."""
    GATEWAY_SILENT = "gateway_silent"
    """The agent ran, but its own gateway did not answer: the LAN or the router failed."""
    NO_WITNESS = "no_witness"
    """There is no evidence from both before and after the outage."""


@dataclass(frozen=True, slots=True)
class Boot:
    """A start of the PC: its boot id, and its time by the hub's clock (now - uptime)."""

    id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class AgentRun:
    """A time for which the agent ran, by its own record.

    `gateway_answered` says whether its own gateway answered it; `clean_stop` that the agent was
    stopped properly at the end, so that the PC's absence afterwards proves nothing.
    """

    boot_id: str
    start: datetime
    end: datetime
    gateway_answered: bool
    clean_stop: bool = False


@dataclass(frozen=True, slots=True)
class OutageContext:
    """What is known after an outage about the time around it."""

    boot_before: str | None = None
    """Boot id with which the agent was last heard before the outage, if it ever was."""
    pc_present: bool = False
    """The PC was present until the outage: its agent was connected, or the PC answered."""
    boot_after: Boot | None = None
    """The first boot heard since the outage began."""
    agent_runs: Sequence[AgentRun] = ()
    """What the agent recorded by itself, around and during the outage."""
    router_start: datetime | None = None
    """When the router started, by its own uptime after the outage."""
    heard_again: datetime | None = None
    """When the office was heard again, if it was silent beyond the end of the outage, which ends
    when the hub stops, or can send nothing."""


@dataclass(frozen=True, slots=True)
class OutagePart:
    """A part of an outage with its cause."""

    state: OfficeState
    start: datetime
    end: datetime
    reason: Reason


def attribute(start: datetime, end: datetime, context: OutageContext) -> list[OutagePart]:
    """The parts of an outage by cause, in order and without a gap.

    Most outages are one part. Overlapping faults give several: an outage in which the line failed
    first and then the power is `link_down` for as long as the agent recorded that it ran.

    >>> from datetime import UTC
    >>> def at(minute: int) -> datetime: return datetime(2026, 11, 23, 5, minute, tzinfo=UTC)
    >>> same_boot = OutageContext(boot_before="a", pc_present=True, boot_after=Boot("a", at(0)))
    >>> [part.state.value for part in attribute(at(10), at(19), same_boot)]
    ['link_down']
    >>> new_boot = OutageContext(boot_before="a", pc_present=True, boot_after=Boot("b", at(19)))
    >>> [part.state.value for part in attribute(at(10), at(19), new_boot)]
    ['power_down']
    """
    whole = OutagePart(OfficeState.UNREACHABLE, start, end, Reason.NO_WITNESS)
    parts, claims = [whole], list(_claims(whole, context))
    returned = context.heard_again or end
    if context.router_start is not None and context.router_start < returned + MIN_PART:
        parts = [_cause_by_router(whole, context.router_start)]
        claims = [claim for claim in claims if claim.reason is Reason.AGENT_RAN]
    for claim in claims:
        parts = _overlay(parts, claim)
    return _coarsen(parts)


def _cause_by_router(whole: OutagePart, started: datetime) -> OutagePart:
    """The cause by the router's uptime. The router is the end of the line, so that only an agent
    that reached it during the outage is better evidence.
    """
    if started < whole.start - MIN_PART:
        return replace(whole, state=OfficeState.LINK_DOWN, reason=Reason.ROUTER_RAN)
    return replace(whole, state=OfficeState.POWER_DOWN, reason=Reason.ROUTER_RESTARTED)


def _claims(whole: OutagePart, context: OutageContext) -> Iterator[OutagePart]:
    """The causes that the PC's evidence supports, the stronger ones last."""
    boot_after, returned = context.boot_after, context.heard_again or whole.end
    if boot_after is not None and _ran_throughout(boot_after, whole.start, context.boot_before):
        yield replace(whole, state=OfficeState.LINK_DOWN, reason=Reason.SAME_BOOT)
    elif boot_after is not None and boot_after.at < returned + BOOT_GRACE:
        last = _last_run_before(boot_after, context.agent_runs)
        ran_on = last is not None and last.end > whole.start - RECORD_LOSS and not last.clean_stop
        if ran_on or (context.pc_present and (last is None or not last.clean_stop)):
            yield _without_power(whole, last, boot_after)
    for run in context.agent_runs:
        if run.gateway_answered:
            yield OutagePart(OfficeState.LINK_DOWN, run.start, run.end, Reason.AGENT_RAN)
        elif context.pc_present:  # else the LAN had failed before, and its silence proves nothing
            state = OfficeState.UNREACHABLE
            yield OutagePart(state, run.start, run.end, Reason.GATEWAY_SILENT)


def _ran_throughout(boot_after: Boot, start: datetime, boot_before: str | None) -> bool:
    """Whether the PC ran throughout the outage; the boot id is valid even if a clock is wrong."""
    return boot_after.id == boot_before or boot_after.at < start - MIN_PART


def _last_run_before(boot: Boot, agent_runs: Sequence[AgentRun]) -> AgentRun | None:
    """The last run that the agent recorded before this boot."""
    earlier = [run for run in agent_runs if run.boot_id != boot.id and run.end < boot.at + MIN_PART]
    return max(earlier, key=lambda run: run.end, default=None)


def _without_power(whole: OutagePart, last: AgentRun | None, boot_after: Boot) -> OutagePart:
    """The time without power: from the end of the agent's last run to the new start; to the end of
    the outage if the router was still starting then.
    """
    start = whole.start if last is None else max(whole.start, last.end)
    end = whole.end if whole.end - boot_after.at < ROUTER_START else boot_after.at
    return OutagePart(OfficeState.POWER_DOWN, start, end, Reason.NEW_BOOT)


def _overlay(parts: Sequence[OutagePart], claim: OutagePart) -> list[OutagePart]:
    """The same parts, with the claim in place of the time that it covers."""
    result: list[OutagePart] = []
    for part in parts:
        start, end = max(part.start, claim.start), min(part.end, claim.end)
        if start >= end:
            result.append(part)
            continue
        if part.start < start:
            result.append(replace(part, end=start))
        result.append(replace(claim, start=start, end=end))
        if end < part.end:
            result.append(replace(part, start=end))
    return result


def _coarsen(parts: Sequence[OutagePart]) -> list[OutagePart]:
    """Merge neighbours of the same state, and parts that are too short with a longer neighbour."""
    joined = _join(parts)
    while len(joined) > 1:
        number, shortest = min(enumerate(joined), key=lambda item: _length(item[1]))
        if _length(shortest) >= MIN_PART:
            break
        neighbours = joined[max(0, number - 1) : number] + joined[number + 1 : number + 2]
        longer = max(neighbours, key=_length)
        joined[number] = replace(longer, start=shortest.start, end=shortest.end)
        joined = _join(joined)
    return joined


def _join(parts: Sequence[OutagePart]) -> list[OutagePart]:
    joined: list[OutagePart] = []
    for part in parts:
        if joined and joined[-1].state is part.state:
            joined[-1] = replace(_longer(joined[-1], part), start=joined[-1].start, end=part.end)
        else:
            joined.append(part)
    return joined


def _longer(one: OutagePart, other: OutagePart) -> OutagePart:
    return one if _length(one) >= _length(other) else other


def _length(part: OutagePart) -> timedelta:
    return part.end - part.start

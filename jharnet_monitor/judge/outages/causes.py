"""Why an office was unreachable: its line, its power, or nobody can tell. Pure.

Asked after an outage, of what only shows then: which boot of the PC comes back, what its agent
saw while nobody heard it, how long the router says it has been running. Only a statement that
the evidence carries is made; the rest of the outage stays `unreachable`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from jharnet_monitor.model import OfficeState

SHORTEST_PART = timedelta(seconds=15)
"""Evidence is no finer than a heartbeat and a clock's error: shorter parts join their neighbour."""
BOOT_GRACE = timedelta(minutes=15)
"""How long after the line's return a PC may start and still be held to have been without power;
one that is switched on the next morning is none."""
ROUTER_START = timedelta(minutes=3)
"""How long a router may take to bring the line up after the power's return."""
STILL_RAN = timedelta(seconds=75)
"""An agent keeps its record by the minute, and loses the minute that runs when the power goes."""


class Reason(StrEnum):
    """What a cause rests on; goes into the record."""

    AGENT_RAN = "agent_ran"
    """The agent ran and reached its own gateway: there was power, and the LAN worked."""
    SAME_BOOT = "same_boot"
    """The PC came back with the boot it had before: it was never without power."""
    NEW_BOOT = "new_boot"
    """The PC was there until the outage, said no goodbye, and came back from a new start."""
    ROUTER_RAN = "router_ran"
    """The router has been running since before the outage."""
    ROUTER_RESTARTED = "router_restarted"
    """The router started anew within the outage."""
    GATEWAY_SILENT = "gateway_silent"
    """The agent ran, but its own gateway did not answer it: LAN or router, whatever the reason."""
    NO_WITNESS = "no_witness"
    """Nothing that was there both before and after the outage."""


@dataclass(frozen=True, slots=True)
class Boot:
    """A start of the PC: its id, and when it was, by the hub's clock (time of hearing - uptime)."""

    id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time for which the agent ran, by its own record.

    `gateway` says whether its own gateway answered it; `ended` that it was stopped in order at
    the end, so that the PC's absence afterwards means nothing.
    """

    boot_id: str
    start: datetime
    end: datetime
    gateway: bool
    ended: bool = False


@dataclass(frozen=True, slots=True)
class OutageContext:
    """What is known, after an outage, of the time around it.

    `before` is the boot id with which the agent was last heard before, if it ever was. `present`
    says that the PC was there until the outage: its agent was heard, or it answered. `after` is
    the first boot heard since the outage began, `stretches` what the agent recorded by itself,
    `router_start` when the router says that it started.
    """

    before: str | None = None
    present: bool = False
    after: Boot | None = None
    stretches: Sequence[Stretch] = ()
    router_start: datetime | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an outage, and its cause."""

    state: OfficeState
    start: datetime
    end: datetime
    reason: Reason


def attribute(start: datetime, end: datetime, known: OutageContext) -> list[Part]:
    """The parts of an outage by cause, in order and without a gap.

    Most outages are one part. Two faults on top of each other are several: a line that was cut
    before the power was is `link_down` for as long as the agent recorded that it ran.

    >>> from datetime import UTC
    >>> def at(minute: int) -> datetime: return datetime(2026, 11, 23, 5, minute, tzinfo=UTC)
    >>> kept = OutageContext(before="a", present=True, after=Boot("a", at(0)))
    >>> [part.state.value for part in attribute(at(10), at(19), kept)]
    ['link_down']
    >>> started_anew = OutageContext(before="a", present=True, after=Boot("b", at(19)))
    >>> [part.state.value for part in attribute(at(10), at(19), started_anew)]
    ['power_down']
    """
    whole = Part(OfficeState.UNREACHABLE, start, end, Reason.NO_WITNESS)
    parts, claims = [whole], list(_claims(whole, known))
    if known.router_start is not None and known.router_start < end + SHORTEST_PART:
        parts = [_by_the_router(whole, known.router_start)]
        claims = [claim for claim in claims if claim.reason is Reason.AGENT_RAN]
    for claim in claims:
        parts = _overlay(parts, claim)
    return _coarsen(parts)


def _by_the_router(whole: Part, started: datetime) -> Part:
    """The router is the end of the line; only who reached it meanwhile is a better witness."""
    if started < whole.start - SHORTEST_PART:
        return replace(whole, state=OfficeState.LINK_DOWN, reason=Reason.ROUTER_RAN)
    return replace(whole, state=OfficeState.POWER_DOWN, reason=Reason.ROUTER_RESTARTED)


def _claims(whole: Part, known: OutageContext) -> Iterator[Part]:
    """What the PC proves, the stronger statements last."""
    after = known.after
    if after is not None and _is_the_same(after, whole.start, known.before):
        yield replace(whole, state=OfficeState.LINK_DOWN, reason=Reason.SAME_BOOT)
    elif after is not None and after.at < whole.end + BOOT_GRACE:
        last = _last_before_the_boot(known.stretches, after)
        ran_on = last is not None and last.end > whole.start - STILL_RAN and not last.ended
        if ran_on or (known.present and (last is None or not last.ended)):
            yield _without_power(whole, last, after)
    for stretch in known.stretches:
        if stretch.gateway:
            yield Part(OfficeState.LINK_DOWN, stretch.start, stretch.end, Reason.AGENT_RAN)
        elif known.present:  # else the LAN was broken before, and its silence says no more
            silent = OfficeState.UNREACHABLE
            yield Part(silent, stretch.start, stretch.end, Reason.GATEWAY_SILENT)


def _is_the_same(after: Boot, start: datetime, before: str | None) -> bool:
    """Whether the PC has been running since before the outage; the id holds where a clock lies."""
    return after.id == before or after.at < start - SHORTEST_PART


def _last_before_the_boot(stretches: Sequence[Stretch], after: Boot) -> Stretch | None:
    """The last that the agent recorded in the boot before."""
    old = [s for s in stretches if s.boot_id != after.id and s.end < after.at + SHORTEST_PART]
    return max(old, key=lambda stretch: stretch.end, default=None)


def _without_power(whole: Part, last: Stretch | None, after: Boot) -> Part:
    """From the agent's last sign of life to the new start, and on until the router is up, too."""
    start = whole.start if last is None else max(whole.start, last.end)
    end = whole.end if whole.end - after.at < ROUTER_START else after.at
    return Part(OfficeState.POWER_DOWN, start, end, Reason.NEW_BOOT)


def _overlay(parts: Sequence[Part], claim: Part) -> list[Part]:
    """The same time, with what the claim says where it speaks."""
    result: list[Part] = []
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


def _coarsen(parts: Sequence[Part]) -> list[Part]:
    """Join neighbours of one state, and give parts that are too short to a longer neighbour."""
    joined = _join(parts)
    while len(joined) > 1:
        number, shortest = min(enumerate(joined), key=lambda item: _length(item[1]))
        if _length(shortest) >= SHORTEST_PART:
            break
        neighbours = joined[max(0, number - 1) : number] + joined[number + 1 : number + 2]
        heir = max(neighbours, key=_length)
        joined[number] = replace(heir, start=shortest.start, end=shortest.end)
        joined = _join(joined)
    return joined


def _join(parts: Sequence[Part]) -> list[Part]:
    joined: list[Part] = []
    for part in parts:
        if joined and joined[-1].state is part.state:
            joined[-1] = replace(_weightier(joined[-1], part), start=joined[-1].start, end=part.end)
        else:
            joined.append(part)
    return joined


def _weightier(one: Part, other: Part) -> Part:
    return one if _length(one) >= _length(other) else other


def _length(part: Part) -> timedelta:
    return part.end - part.start

"""The states of one office over a stretch of time, from everything that became known of it. Pure.

The live state says what is known at a moment; some seconds later more is known, and hours later,
when the agent has handed in what it recorded, more again. Here all of it is put in order by when
it happened, not by when it was noticed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from jharnet_monitor.judge.outages.causes import Boot, OutageContext, Reason, Stretch, attribute
from jharnet_monitor.judge.outages.observations import (
    AgentGone,
    AgentHeard,
    Fact,
    HubRan,
    Maintenance,
    Reached,
    RouterSaid,
    UplinkSeen,
)
from jharnet_monitor.judge.outages.state import AgentPresence, Evidence, live_state
from jharnet_monitor.model import OfficeState

NOTICEABLE = timedelta(seconds=6)
"""A shorter stretch between two others is the edge of one of them: a reply that came before the
next heartbeat, two addresses that fell silent one after the other."""
_STILL_THERE = timedelta(seconds=15)
"""An agent heard so shortly before an outage was there when it began."""

_HINDSIGHT = timedelta(days=7)
"""What is heard later than this after an outage is no witness of it any more."""
_STRETCHES_BEFORE = timedelta(minutes=5)

_DARK = (OfficeState.UNREACHABLE, OfficeState.UPLINK_DOWN, OfficeState.MONITOR_DOWN)
"""States in which nothing is heard of an office, whatever happens there."""

_SEVERITY = {
    OfficeState.UPLINK_DOWN: 5,
    OfficeState.UNREACHABLE: 4,
    OfficeState.LAN_DOWN: 3,
    OfficeState.AGENT_OFF: 2,
    OfficeState.UP: 1,
}
"""Of the states that blur into each other at their edges; the others begin and end sharply."""


@dataclass(frozen=True, slots=True)
class Span:
    """The office was in a state from `start` to just before `end`; `reason` where it was judged
    after the event."""

    state: OfficeState
    start: datetime
    end: datetime
    reason: Reason | None = None


def reconstruct(
    facts: Iterable[Fact],
    stretches: Iterable[Stretch],
    start: datetime,
    until: datetime,
    agent: AgentPresence = AgentPresence.NEVER,
) -> list[Span]:
    """The states from `start` to `until`, without a gap, each outage with its cause.

    `agent` is what is known of the agent before the first fact; `AgentPresence.NOT_EXPECTED` for
    an office without one. Facts before `start` count, facts after `until` only as hindsight.
    """
    ordered = sorted(facts, key=lambda fact: fact.at)
    memory = _Memory(ordered, stretches)
    result: list[Span] = []
    dark_since = start
    for span in smooth(_as_noticed(ordered, start, until, agent)):
        if span.state not in _DARK:
            dark_since = span.end
        if span.state is not OfficeState.UNREACHABLE:
            result.append(span)
            continue
        known = memory.circumstances(dark_since, span)
        parts = attribute(span.start, span.end, known)
        result += [Span(part.state, part.start, part.end, part.reason) for part in parts]
    return result


def _as_noticed(
    ordered: Iterable[Fact], start: datetime, until: datetime, agent: AgentPresence
) -> list[Span]:
    """The live state at every moment, had everything been noticed at once."""
    evidence = Evidence(agent=agent)
    spans: list[Span] = []
    since, state = start, live_state(evidence)
    for fact in ordered:
        if fact.at >= until:
            break
        evidence = _learn(evidence, fact)
        now = live_state(evidence)
        if now is state:
            continue
        if fact.at > since:
            spans.append(Span(state, since, fact.at))
            since = fact.at
        state = now
    return [*spans, Span(state, since, until)]


def _learn(evidence: Evidence, fact: Fact) -> Evidence:
    learnt: dict[str, object] = {}
    match fact:
        case Reached():
            learnt[fact.role] = fact.answers
        case UplinkSeen():
            learnt["uplink"] = fact.works
        case AgentHeard():
            learnt["agent"] = AgentPresence.HEARD
        case AgentGone():
            learnt["agent"] = AgentPresence.GOODBYE if fact.goodbye else AgentPresence.SILENT
        case HubRan():
            learnt = {"hub_healthy": fact.running, "router": None, "pc": None, "uplink": None}
            if evidence.agent in (AgentPresence.HEARD, AgentPresence.SILENT):
                learnt["agent"] = AgentPresence.AWAITED
        case Maintenance():
            learnt["planned"] = fact.planned
    return replace(evidence, **learnt)  # type: ignore[arg-type]


def smooth(spans: Sequence[Span]) -> list[Span]:
    """Give every stretch too short to be noticed to the more severe of its neighbours."""
    result = _joined(spans)
    while True:
        smoother = _joined(_without_edges(result))
        if len(smoother) == len(result):
            return result
        result = smoother


def _without_edges(spans: Sequence[Span]) -> Iterator[Span]:
    before: Span | None = None
    for span, after in zip(spans, [*spans[1:], None], strict=True):
        smoothed = span
        short = span.end - span.start < NOTICEABLE and span.state in _SEVERITY
        if short and before is not None and after is not None:
            heir = max(before, after, key=lambda s: _SEVERITY.get(s.state, 0))
            smoothed = replace(span, state=heir.state)
        yield smoothed
        before = smoothed


def _joined(spans: Iterable[Span]) -> list[Span]:
    result: list[Span] = []
    for span in spans:
        if result and result[-1].state is span.state:
            result[-1] = replace(result[-1], end=span.end)
        else:
            result.append(span)
    return result


class _Memory:
    """What was known before each outage, and what became known after it; asked in their order."""

    def __init__(self, ordered: Sequence[Fact], stretches: Iterable[Stretch]) -> None:
        self._ordered = ordered
        self._stretches = sorted(stretches, key=lambda stretch: stretch.start)
        self._starts = [stretch.start for stretch in self._stretches]
        self._ends = [stretch.end for stretch in self._stretches]
        self._next = 0
        self._agent: AgentHeard | AgentGone | None = None
        self._boot: str | None = None
        self._pc: Reached | None = None

    def circumstances(self, dark_since: datetime, outage: Span) -> OutageContext:
        """What bears on an outage; since `dark_since` nothing was heard of the office.

        The edges of an outage are not sharp: what is nearer to its start was before it, what is
        nearer to its end came after it.
        """
        middle = outage.start + (outage.end - outage.start) / 2
        while self._next < len(self._ordered) and self._ordered[self._next].at <= middle:
            self._learn(self._ordered[self._next])
            self._next += 1
        present = self._agent_was_there(dark_since) or self._pc_was_there(dark_since)
        first = bisect_left(self._ends, outage.start - _STRETCHES_BEFORE)
        last = bisect_left(self._starts, outage.end)
        return OutageContext(
            self._boot,
            present,
            self._boot_after(outage),
            self._stretches[first:last],
            self._router_start(outage),
        )

    def _learn(self, fact: Fact) -> None:
        match fact:
            case AgentHeard():
                self._agent, self._boot = fact, fact.boot_id
            case AgentGone():
                self._agent = fact
            case Reached(role="pc") if fact.answers is not None:
                self._pc = fact
            case _:
                pass

    def _agent_was_there(self, dark_since: datetime) -> bool:
        match self._agent:
            case AgentHeard():
                return True
            case AgentGone(goodbye=False) as gone:
                return gone.at >= dark_since - _STILL_THERE
            case _:
                return False

    def _pc_was_there(self, dark_since: datetime) -> bool:
        if self._pc is None:
            return False
        return bool(self._pc.answers) or self._pc.at >= dark_since - _STILL_THERE

    def _boot_after(self, outage: Span) -> Boot | None:
        for fact in self._later(outage):
            if isinstance(fact, AgentHeard):
                return Boot(fact.boot_id, fact.at - timedelta(seconds=fact.uptime))
        return None

    def _router_start(self, outage: Span) -> datetime | None:
        for fact in self._later(outage):
            if isinstance(fact, RouterSaid) and fact.at >= outage.end:
                return fact.at - timedelta(seconds=fact.uptime)
        return None

    def _later(self, outage: Span) -> Iterator[Fact]:
        for number in range(self._next, len(self._ordered)):
            fact = self._ordered[number]
            if fact.at > outage.end + _HINDSIGHT:
                return
            yield fact

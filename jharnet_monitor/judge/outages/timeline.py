"""The states of one office over a period, reconstructed from all observations. Pure.

The live state is based on what is known at the moment. More is known some seconds later, and more
still once the agent has delivered its records. Here all observations are ordered by when they
happened, not by when they were noticed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from jharnet_monitor.judge.outages.causes import AgentRun, Boot, OutageContext, Reason, attribute
from jharnet_monitor.judge.outages.observations import (
    AgentConnected,
    AgentGone,
    HubChange,
    MaintenanceChange,
    Observation,
    ReachabilityChange,
    RouterUptime,
    UplinkChange,
)
from jharnet_monitor.judge.outages.state import AgentPresence, LiveEvidence, live_state
from jharnet_monitor.model import OfficeState

MIN_SPAN = timedelta(seconds=6)
"""A shorter span between two others is the edge of one of them: a reply that came before the next
heartbeat, or two addresses that stopped answering one after the other."""
_PRESENCE_WINDOW = timedelta(seconds=15)
"""An agent or PC heard this shortly before an outage was present when it began."""
_EVIDENCE_WINDOW = timedelta(days=7)
"""Observations later than this after an outage are no evidence of its cause."""
_RUNS_BEFORE = timedelta(minutes=5)
"""How long before an outage an agent's run may have ended to be evidence."""

_SEVERITY = {
    OfficeState.UPLINK_DOWN: 5,
    OfficeState.UNREACHABLE: 4,
    OfficeState.LAN_DOWN: 3,
    OfficeState.AGENT_OFF: 2,
    OfficeState.UP: 1,
}
"""Severity of the states whose edges are imprecise; all other states begin and end exactly."""


@dataclass(frozen=True, slots=True)
class Span:
    """The office was in `state` during [start, end); `reason` if a cause was determined."""

    state: OfficeState
    start: datetime
    end: datetime
    reason: Reason | None = None


def reconstruct(
    observations: Iterable[Observation],
    agent_runs: Iterable[AgentRun],
    start: datetime,
    until: datetime,
    agent: AgentPresence = AgentPresence.NEVER,
) -> list[Span]:
    """The states from `start` to `until`, without gaps, each outage with its cause.

    `agent` is what is known about the agent before the first observation, or
    `AgentPresence.NOT_EXPECTED` for an office without one. Observations before `start` are used,
    those after `until` only to determine the causes of outages.
    """
    ordered = sorted(observations, key=lambda observation: observation.at)
    contexts = _Contexts(ordered, agent_runs)
    result: list[Span] = []
    for span in smooth(_live_spans(ordered, start, until, agent)):
        if span.state is not OfficeState.UNREACHABLE:
            result.append(span)
            continue
        parts = attribute(span.start, span.end, contexts.of(span))
        result += [Span(part.state, part.start, part.end, part.reason) for part in parts]
    return result


def _live_spans(
    ordered: Iterable[Observation], start: datetime, until: datetime, agent: AgentPresence
) -> list[Span]:
    """The live states, as if every observation had been noticed the moment it happened."""
    evidence = LiveEvidence(agent=agent)
    spans: list[Span] = []
    since, state = start, live_state(evidence)
    for observation in ordered:
        if observation.at >= until:
            break
        evidence = _apply(evidence, observation)
        now = live_state(evidence)
        if now is state:
            continue
        if observation.at > since:
            spans.append(Span(state, since, observation.at))
            since = observation.at
        state = now
    return [*spans, Span(state, since, until)]


def _apply(evidence: LiveEvidence, observation: Observation) -> LiveEvidence:
    """The evidence after an observation."""
    changes: dict[str, object] = {}
    match observation:
        case ReachabilityChange(role=role, answers=answers):
            changes[role] = answers
        case UplinkChange(works=works):
            changes["uplink"] = works
        case AgentConnected():
            changes["agent"] = AgentPresence.HEARD
        case AgentGone(goodbye=goodbye):
            changes["agent"] = AgentPresence.GOODBYE if goodbye else AgentPresence.SILENT
        case HubChange(running=running):
            changes = {"hub_healthy": running, "router": None, "pc": None, "uplink": None}
            if evidence.agent in (AgentPresence.HEARD, AgentPresence.SILENT):
                changes["agent"] = AgentPresence.AWAITED
        case MaintenanceChange(planned=planned):
            changes["planned"] = planned
    return replace(evidence, **changes)  # type: ignore[arg-type]


def _silences(ordered: Iterable[Observation]) -> list[tuple[datetime, datetime | None]]:
    """The periods in which nothing at the office was heard, for whatever reason, also because the
    hub did not run: begin, and end if there is one. Replies for less than `MIN_SPAN` end none.
    """
    evidence = LiveEvidence(agent=AgentPresence.NEVER)
    found: list[tuple[datetime, datetime | None]] = []
    for observation in ordered:
        evidence = _apply(evidence, observation)
        since, until = found[-1] if found else (observation.at, None)
        if evidence.router or evidence.pc or evidence.agent is AgentPresence.HEARD:
            if found and until is None:
                found[-1] = (since, observation.at)
        elif not found or (until is not None and observation.at - until >= MIN_SPAN):
            found.append((observation.at, None))
        else:
            found[-1] = (since, None)
    return found


def smooth(spans: Sequence[Span]) -> list[Span]:
    """Merge every span shorter than `MIN_SPAN` with the more severe of its neighbours."""
    result = _joined(spans)
    while True:
        smoother = _joined(_absorb_short(result))
        if len(smoother) == len(result):
            return result
        result = smoother


def _absorb_short(spans: Sequence[Span]) -> Iterator[Span]:
    before: Span | None = None
    for span, after in zip(spans, [*spans[1:], None], strict=True):
        smoothed = span
        short = span.end - span.start < MIN_SPAN and span.state in _SEVERITY
        if short and before is not None and after is not None:
            neighbour = max(before, after, key=lambda s: _SEVERITY.get(s.state, 0))
            smoothed = replace(span, state=neighbour.state)
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


class _Contexts:
    """Returns the context of each outage; call it for the outages in their order."""

    def __init__(self, ordered: Sequence[Observation], agent_runs: Iterable[AgentRun]) -> None:
        self._ordered = ordered
        self._silences = _silences(ordered)
        self._runs = sorted(agent_runs, key=lambda run: run.start)
        self._starts = [run.start for run in self._runs]
        self._ends = [run.end for run in self._runs]
        self._next = 0
        self._agent: AgentConnected | AgentGone | None = None
        self._boot: str | None = None
        self._pc_answers: bool | None = None
        self._pc_left: datetime | None = None
        """When the PC last ceased to answer."""

    def of(self, outage: Span) -> OutageContext:
        """The context of an outage.

        The edges of an outage are imprecise: observations closer to its start count as before it,
        observations closer to its end as after it.
        """
        middle = outage.start + (outage.end - outage.start) / 2
        while self._next < len(self._ordered) and self._ordered[self._next].at <= middle:
            self._apply(self._ordered[self._next])
            self._next += 1
        since, until = self._silence(middle) or (outage.start, outage.end)
        first = bisect_left(self._ends, outage.start - _RUNS_BEFORE)
        last = bisect_left(self._starts, outage.end)
        return OutageContext(
            boot_before=self._boot,
            pc_present=self._agent_present(since) or self._pc_present(since),
            boot_after=self._boot_after(outage),
            agent_runs=self._runs[first:last],
            router_start=self._router_start(outage),
            heard_again=until,
        )

    def _silence(self, moment: datetime) -> tuple[datetime, datetime | None] | None:
        """The silence at a moment; None if something was heard then."""
        for since, until in self._silences:
            if since <= moment and (until is None or moment < until):
                return since, until
        return None

    def _apply(self, observation: Observation) -> None:
        match observation:
            case AgentConnected(boot_id=boot_id):
                self._agent, self._boot = observation, boot_id
            case AgentGone():
                self._agent = observation
            case ReachabilityChange(role="pc", answers=bool(answers)):
                if self._pc_answers and not answers:
                    self._pc_left = observation.at
                self._pc_answers = answers
            case _:
                pass

    def _agent_present(self, blind_since: datetime) -> bool:
        match self._agent:
            case AgentConnected():
                return True
            case AgentGone(goodbye=False) as gone:
                return gone.at >= blind_since - _PRESENCE_WINDOW
            case _:
                return False

    def _pc_present(self, blind_since: datetime) -> bool:
        if self._pc_answers or self._pc_left is None:
            return bool(self._pc_answers)
        return self._pc_left >= blind_since - _PRESENCE_WINDOW

    def _boot_after(self, outage: Span) -> Boot | None:
        for observation in self._later(outage):
            if isinstance(observation, AgentConnected):
                started = observation.at - timedelta(seconds=observation.uptime)
                return Boot(observation.boot_id, started)
        return None

    def _router_start(self, outage: Span) -> datetime | None:
        for observation in self._later(outage):
            if isinstance(observation, RouterUptime) and observation.at >= outage.end:
                return observation.at - timedelta(seconds=observation.uptime)
        return None

    def _later(self, outage: Span) -> Iterator[Observation]:
        """The observations after the middle of the outage, up to `_EVIDENCE_WINDOW` after it."""
        for number in range(self._next, len(self._ordered)):
            observation = self._ordered[number]
            if observation.at > outage.end + _EVIDENCE_WINDOW:
                return
            yield observation

"""The states of one office over a period, reconstructed from all observations. Pure.

The live state is based on what is known at the moment. More is known some seconds later, and more
still once the agent has delivered its records. Here all observations are ordered by when they
happened, not by when they were noticed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from jharnet_monitor.judge.outages.causes import (
    BOOT_GRACE,
    AgentRun,
    Boot,
    OutageContext,
    Reason,
    attribute,
)
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
"""How long before a silence an agent's run may have ended to be evidence."""
LONGEST_PAUSE = BOOT_GRACE
"""After a longer time in which the hub could not hear anything, nothing is known of the PC."""

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


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing at an office was heard during [begin, end), and no planned work announced it; no end
    while it lasts. Replies for less than `MIN_SPAN` are part of it, and times of up to
    `LONGEST_PAUSE` in which the hub could not have heard anything. It ends where a longer one
    begins.
    """

    begin: datetime
    end: datetime | None


def silences(observations: Iterable[Observation]) -> list[Silence]:
    """All silences, in order."""
    found: list[Silence] = []
    begin: datetime | None = None
    for hearing, start, end in _hearing(sorted(observations, key=lambda one: one.at)):
        length = timedelta.max if end is None else end - start
        over = {
            _Hearing.HEARD: length >= MIN_SPAN,
            _Hearing.SILENT: False,
            _Hearing.DEAF: end is not None and length > LONGEST_PAUSE,
            _Hearing.PLANNED: True,
        }[hearing]
        if over and begin is not None:
            found.append(Silence(begin, start))
            begin = None
        elif not over and begin is None and hearing is not _Hearing.HEARD:
            begin = start
    return found if begin is None else [*found, Silence(begin, None)]


def silence_at(found: Sequence[Silence], moment: datetime) -> Silence | None:
    """The silence at a moment; None if something was heard then."""
    number = bisect_right(found, moment, key=lambda silence: silence.begin) - 1
    if number < 0:
        return None
    silence = found[number]
    return silence if silence.end is None or moment < silence.end else None


class _Hearing(Enum):
    """What the hub hears from an office; `DEAF` if it could not hear anything."""

    HEARD, SILENT, DEAF, PLANNED = range(4)


def _hearing(
    ordered: Iterable[Observation],
) -> Iterator[tuple[_Hearing, datetime, datetime | None]]:
    """What the hub hears over time, with begin and end, without gaps; the last has no end."""
    evidence = LiveEvidence(agent=AgentPresence.NEVER)
    now: tuple[_Hearing, datetime] | None = None
    for observation in ordered:
        evidence = _apply(evidence, observation)
        hearing = _hearing_by(evidence)
        if now is not None and now[0] is not hearing:
            yield *now, observation.at
        if now is None or now[0] is not hearing:
            now = hearing, observation.at
    if now is not None:
        yield *now, None


def _hearing_by(evidence: LiveEvidence) -> _Hearing:
    if evidence.planned:
        return _Hearing.PLANNED
    if evidence.router or evidence.pc or evidence.agent is AgentPresence.HEARD:
        return _Hearing.HEARD
    sends = evidence.router is not None or evidence.pc is not None
    if evidence.hub_healthy and evidence.uplink is not False and sends:
        return _Hearing.SILENT
    return _Hearing.DEAF


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
        self._silences = silences(ordered)
        self._runs = sorted(agent_runs, key=lambda run: run.start)
        self._starts = [run.start for run in self._runs]
        self._ends = [run.end for run in self._runs]
        self._next = 0
        self._agent: AgentConnected | AgentGone | None = None
        self._boot: str | None = None
        self._pc_answers = False
        self._pc_left: datetime | None = None
        """When the PC last ceased to answer, or the hub to hear it."""

    def of(self, outage: Span) -> OutageContext:
        """The context of an outage.

        The edges of an outage are imprecise: observations closer to its start count as before it,
        observations closer to its end as after it.
        """
        middle = outage.start + (outage.end - outage.start) / 2
        while self._next < len(self._ordered) and self._ordered[self._next].at <= middle:
            self._apply(self._ordered[self._next])
            self._next += 1
        silence = silence_at(self._silences, middle) or Silence(outage.start, outage.end)
        since = min(silence.begin, outage.start)
        first = bisect_left(self._ends, since - _RUNS_BEFORE)
        last = bisect_left(self._starts, outage.end)
        return OutageContext(
            boot_before=self._boot,
            pc_present=self._agent_present(silence.begin) or self._pc_present(silence.begin),
            boot_after=self._boot_after(outage),
            agent_runs=self._runs[first:last],
            router_start=self._router_start(outage),
            heard_again=max(silence.end or outage.end, outage.end),
        )

    def _apply(self, observation: Observation) -> None:
        match observation:
            case AgentConnected(boot_id=boot_id):
                self._agent, self._boot = observation, boot_id
            case AgentGone():
                self._agent = observation
            case ReachabilityChange(role="pc"):
                self._note_pc(observation.answers, observation.at)
            case HubChange(running=False):
                self._note_pc(None, observation.at)
                if isinstance(self._agent, AgentConnected):
                    self._agent = AgentGone(observation.at, goodbye=False)
            case _:
                pass

    def _note_pc(self, answers: bool | None, at: datetime) -> None:
        if self._pc_answers and not answers:
            self._pc_left = at
        self._pc_answers = bool(answers)

    def _agent_present(self, silent_since: datetime) -> bool:
        match self._agent:
            case AgentConnected():
                return True
            case AgentGone(goodbye=False) as gone:
                return gone.at >= silent_since - _PRESENCE_WINDOW
            case _:
                return False

    def _pc_present(self, silent_since: datetime) -> bool:
        if self._pc_answers or self._pc_left is None:
            return self._pc_answers
        return self._pc_left >= silent_since - _PRESENCE_WINDOW

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

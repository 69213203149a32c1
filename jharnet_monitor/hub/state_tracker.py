"""The latest evidence of every office, and the live state that follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Office
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.judge.outages.state import (
    AgentPresence,
    LiveEvidence,
    live_state,
)
from jharnet_monitor.model import OfficeState
from jharnet_monitor.wire.protocol import FRESH_SECONDS

SETTLE_SECONDS = 8.0
"""After a router answers again, the machines behind it may need this long to start."""
AGENT_GRACE_SECONDS = 40.0
"""After the hub's start, agents have this long to reconnect before they count as absent."""

STOPPED_SECONDS = 2.5
"""A longer gap between two calls of `look`, due every second, means that this program was
stopped."""
CATCH_UP_SECONDS = 3.0
"""The time needed to read messages queued meanwhile and to receive the next heartbeats."""


@dataclass(slots=True)
class OfficeEvidence:
    """The latest evidence of one office."""

    router: bool | None = None
    """Whether the router answers; None while not known."""
    router_since: float = 0.0
    """When `router` last changed, monotonic."""
    pc: bool | None = None
    last_frame_at: float | None = None
    """When the connected agent last sent anything, monotonic; None without a connection."""
    silent: bool = False
    """The connected agent was found silent in an outage, see `StateTracker.fell_silent`."""
    goodbye: bool = False
    seen_before: bool = False
    """The agent has connected at least once in the recorded history."""
    returned: bool = False
    """The agent has connected since the hub's start, so it is no longer awaited."""


@dataclass(frozen=True, slots=True)
class StateChange:
    """A change of an office's state, with its time and evidence."""

    office: str
    state: OfficeState
    at: datetime
    evidence: LiveEvidence
    first: bool
    """The office had no state before."""


@dataclass(slots=True)
class StateTracker:
    """The evidence of all offices, and the states that follow from it."""

    current: CurrentConfig
    clock: Clock
    uplink_answers: bool | None = None
    """Whether headquarters' line works by echo requests; None if they cannot show it."""
    can_ping: bool = True
    """Whether the hub may ping; if not, only a connected agent proves that a line works."""
    planned: frozenset[str] = frozenset()
    """Offices inside a planned window now."""
    offices: dict[str, OfficeEvidence] = field(default_factory=dict)
    _states: dict[str, OfficeState] = field(default_factory=dict)
    _started: float = 0.0
    _looked_at: float = 0.0
    _stopped: float = 0.0
    _stopped_until: float = 0.0

    def __post_init__(self) -> None:
        self._started = self._looked_at = self.clock.monotonic()
        for office in self.current.config.offices:
            self.offices.setdefault(office.id, OfficeEvidence())

    def restore(self, office: str, *, goodbye: bool, seen_before: bool) -> None:
        """Restore what was known of an office's agent before the hub restarted."""
        self.offices[office].seen_before = seen_before
        self.offices[office].goodbye = goodbye

    def forget_states(self) -> None:
        """Derive every state anew, as a change, though it is what it was."""
        self._states.clear()

    def is_alive(self, seen: OfficeEvidence) -> bool:
        """Whether an office's agent is connected and its heartbeats arrive."""
        if seen.last_frame_at is None:
            return False
        return self.clock.monotonic() - seen.last_frame_at - self._stopped < FRESH_SECONDS

    def fell_silent(self) -> list[str]:
        """The offices that are not up and whose agent is silent, its connection open, each once.
        TCP outlives a short outage, and then no other event shows that the agent was not heard.
        """
        found = []
        for office, state in self._states.items():
            seen = self.offices[office]
            if state is OfficeState.UP or seen.silent or seen.last_frame_at is None:
                continue
            seen.silent = not self.is_alive(seen)
            found += [office] * seen.silent
        return found

    def uplink(self) -> bool | None:
        """Whether headquarters' uplink carries packets; None where that is not known."""
        if self.uplink_answers is None and any(self.is_alive(e) for e in self.offices.values()):
            return True
        return self.uplink_answers

    def look(self) -> None:
        """Detect that this program was stopped; call this about every second. Messages that agents
        sent meanwhile have not been read yet, so their silence proves nothing until
        `CATCH_UP_SECONDS` have passed.
        """
        now = self.clock.monotonic()
        pause = now - self._looked_at
        self._looked_at = now
        if pause > STOPPED_SECONDS:
            self._stopped, self._stopped_until = pause, now + CATCH_UP_SECONDS
        elif now > self._stopped_until:
            self._stopped = 0.0

    def changes(self) -> Iterable[StateChange]:
        """Derive every office's state again; yield the changes."""
        now = self.clock.now()
        for office in self.current.config.offices:
            evidence = self._evidence(office)
            state = live_state(evidence)
            before = self._states.get(office.id)
            if state is OfficeState.LAN_DOWN and self._just_returned(office.id):
                continue
            if before is not state:
                self._states[office.id] = state
                yield StateChange(office.id, state, now, evidence, before is None)

    def _just_returned(self, office: str) -> bool:
        return self.clock.monotonic() - self.offices[office].router_since < SETTLE_SECONDS

    def _evidence(self, office: Office) -> LiveEvidence:
        seen = self.offices[office.id]
        presence = self._presence(office, seen)
        return LiveEvidence(
            router=seen.router,
            pc=seen.pc,
            agent=presence,
            uplink=self.uplink(),
            hub_healthy=self.can_ping or presence is AgentPresence.HEARD,
            planned=office.id in self.planned,
        )

    def _presence(self, office: Office, seen: OfficeEvidence) -> AgentPresence:
        if self.is_alive(seen):
            return AgentPresence.HEARD
        if office.agent is None:
            return AgentPresence.NOT_EXPECTED
        if seen.goodbye:
            return AgentPresence.GOODBYE
        if not seen.returned and self.clock.monotonic() - self._started < AGENT_GRACE_SECONDS:
            return AgentPresence.AWAITED
        return AgentPresence.SILENT if seen.seen_before else AgentPresence.NEVER

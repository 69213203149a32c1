"""Keeps, for every office, the evidence of now, and tells when its state changes."""

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
"""A router that just came back says nothing yet of what lies behind it: that starts later."""
AGENT_GRACE_SECONDS = 40.0
"""After the hub's start, agents that have not come back yet are not called absent."""


@dataclass(slots=True)
class OfficeEvidence:
    """What was last seen of one office."""

    router: bool | None = None
    router_since: float = 0.0
    """Since when the router is as it is, monotonic."""
    pc: bool | None = None
    heard_at: float | None = None
    """When the connected agent was last heard, monotonic; None while none is connected."""
    goodbye: bool = False
    ever: bool = False
    back: bool = False
    """The agent came since the hub's start: it is no longer awaited."""


@dataclass(frozen=True, slots=True)
class Change:
    """An office's state changed at `at`, on this evidence."""

    office: str
    state: OfficeState
    at: datetime
    evidence: LiveEvidence
    first: bool
    """Nothing was known of the office before."""


@dataclass(slots=True)
class StateTracker:
    """The evidence of all offices, and the states that follow from it."""

    current: CurrentConfig
    clock: Clock
    uplink_seen: bool | None = None
    """Whether headquarters' line works, as the echo requests tell; None where they cannot."""
    can_ping: bool = True
    """Whether the hub can measure; where it cannot, only a connected agent proves anything."""
    planned: frozenset[str] = frozenset()
    """Offices inside a planned window now."""
    offices: dict[str, OfficeEvidence] = field(default_factory=dict)
    _states: dict[str, OfficeState] = field(default_factory=dict)
    _started: float = 0.0

    def __post_init__(self) -> None:
        self._started = self.clock.monotonic()
        for office in self.current.config.offices:
            self.offices.setdefault(office.id, OfficeEvidence())

    def restore(self, office: str, *, goodbye: bool, ever: bool) -> None:
        """Go on from what was known of an office's agent before a restart."""
        self.offices[office].ever = ever
        self.offices[office].goodbye = goodbye

    def hears(self, seen: OfficeEvidence) -> bool:
        """Whether an office's agent is heard from now: a session whose line is dead is not."""
        if seen.heard_at is None:
            return False
        return self.clock.monotonic() - seen.heard_at < FRESH_SECONDS

    def uplink(self) -> bool | None:
        """Whether headquarters' uplink carries packets; None where that is not known."""
        if self.uplink_seen is None and any(self.hears(e) for e in self.offices.values()):
            return True
        return self.uplink_seen

    def changes(self) -> Iterable[Change]:
        """Judge every office anew; gives those whose state is another one."""
        now = self.clock.now()
        for office in self.current.config.offices:
            evidence = self._evidence(office)
            state = live_state(evidence)
            before = self._states.get(office.id)
            if state is OfficeState.LAN_DOWN and self._just_back(office.id):
                continue
            if before is not state:
                self._states[office.id] = state
                yield Change(office.id, state, now, evidence, before is None)

    def _just_back(self, office: str) -> bool:
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
        if self.hears(seen):
            return AgentPresence.HEARD
        if office.agent is None:
            return AgentPresence.NOT_EXPECTED
        if seen.goodbye:
            return AgentPresence.GOODBYE
        if not seen.back and self.clock.monotonic() - self._started < AGENT_GRACE_SECONDS:
            return AgentPresence.AWAITED
        return AgentPresence.SILENT if seen.ever else AgentPresence.NEVER

"""Writes what happens into the diary, without letting a full disk stop the watch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from jharnet_monitor.clock import Clock
from jharnet_monitor.hub.outage_attribution import HUB
from jharnet_monitor.hub.state_tracker import Change
from jharnet_monitor.live import HubStatus
from jharnet_monitor.model import OfficeState, format_utc, parse_utc
from jharnet_monitor.store import Store, StoreError

log = logging.getLogger(__name__)

BEAT_SECONDS = 10.0
_BEAT = "beat"
_AGENT = ("joined", "left", "goodbye")


class Journal:
    """The diary of a running hub."""

    def __init__(self, store: Store, clock: Clock, health: HubStatus) -> None:
        self._store = store
        self._clock = clock
        self._health = health
        self._beaten: float | None = None

    async def event(
        self, office: str, kind: str, data: Mapping[str, Any], at: datetime | None = None
    ) -> None:
        """Note an event; `at` is when it happened, now if not given."""
        when = at or self._clock.now()
        await self._guarded(self._store.event_log.add_event, office, kind, when, data)

    async def change(self, change: Change) -> None:
        """Note a change of state with its evidence."""
        evidence = asdict(change.evidence)
        await self._guarded(
            self._store.event_log.add_transition, change.office, change.state, change.at, evidence
        )

    async def beat(self) -> None:
        """Note every few seconds that the hub runs, so that a crash's time is known later."""
        now = self._clock.monotonic()
        if self._beaten is None or now - self._beaten >= BEAT_SECONDS:
            self._beaten = now
            await self._guarded(self._store.set_value, _BEAT, format_utc(self._clock.now()))

    async def started(self, offices: list[str]) -> None:
        """Note the start, and since when nobody watched: nothing is known of that time."""
        beat = await asyncio.to_thread(self._store.get_value, _BEAT)
        now = self._clock.now()
        if beat is not None:
            stopped = min(parse_utc(beat), now)
            await self.event(HUB, "hub_stopped", {}, stopped)
            known = await asyncio.to_thread(self._store.event_log.last_transitions)
            for office in offices:
                if office in known and known[office].at <= stopped:
                    await self._guarded(
                        self._store.event_log.add_transition,
                        office,
                        OfficeState.MONITOR_DOWN,
                        stopped,
                        {"until": format_utc(now)},
                    )
        await self.event(HUB, "hub_started", {}, now)

    async def last_of_agent(self, office: str) -> str | None:
        """What was last noted of an office's agent: `joined`, `left` or `goodbye`."""
        soon = self._clock.now() + timedelta(seconds=1)
        events = await asyncio.to_thread(self._store.event_log.events_before, office, soon, 200)
        return next((e.kind for e in reversed(events) if e.kind in _AGENT), None)

    async def _guarded(self, write: Callable[..., Any], *arguments: Any) -> None:
        try:
            await asyncio.to_thread(write, *arguments)
        except StoreError as error:
            self._health.database_errors += 1
            log.error("the diary could not be written: %s", error)

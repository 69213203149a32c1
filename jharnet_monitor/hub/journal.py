"""Writes events and state changes into the database; a full disk does not stop the hub."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.config.sealed_settings import settings_record
from jharnet_monitor.hub.health import database_write
from jharnet_monitor.hub.outage_attribution import ALL_OFFICES
from jharnet_monitor.hub.state_tracker import StateChange
from jharnet_monitor.live import HubStatus
from jharnet_monitor.model import OfficeState, format_utc, parse_utc
from jharnet_monitor.store import Store, StoreError
from jharnet_monitor.store.pruning import OF_THE_DATABASE, SETTINGS

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0
_HEARTBEAT_KEY = "beat"
_AGENT_EVENTS = ("joined", "left", "goodbye")


class Journal:
    """The events of a running hub. What cannot be written is logged and counted in `status`."""

    def __init__(self, store: Store, clock: Clock, status: HubStatus) -> None:
        self._store = store
        self._clock = clock
        self._status = status
        self._last_heartbeat: float | None = None

    async def add_event(
        self, office: str, kind: str, data: Mapping[str, Any], at: datetime | None = None
    ) -> None:
        """Add an event; `at` is when it happened, by default now."""
        when = at or self._clock.now()
        await self._write(self._store.event_log.add_event, office, kind, when, data)

    async def add_change(self, change: StateChange) -> None:
        """Add a change of state with its evidence."""
        evidence = asdict(change.evidence)
        await self._write(
            self._store.event_log.add_transition, change.office, change.state, change.at, evidence
        )

    async def heartbeat(self) -> None:
        """Write every few seconds that the hub runs, so that the time of a crash is known."""
        now = self._clock.monotonic()
        if self._last_heartbeat is None or now - self._last_heartbeat >= HEARTBEAT_SECONDS:
            self._last_heartbeat = now
            await self._write(self._store.set_value, _HEARTBEAT_KEY, format_utc(self._clock.now()))

    async def hub_started(self, offices: list[str]) -> None:
        """Add the hub's start, and `monitor_down` for the time since its last heartbeat."""
        last = await asyncio.to_thread(self._store.get_value, _HEARTBEAT_KEY)
        now = self._clock.now()
        if last is not None:
            stopped = min(parse_utc(last), now)
            await self.add_event(ALL_OFFICES, "hub_stopped", {}, stopped)
            known = await asyncio.to_thread(self._store.event_log.last_transitions)
            for office in offices:
                if office in known and known[office].at <= stopped:
                    await self._write(
                        self._store.event_log.add_transition,
                        office,
                        OfficeState.MONITOR_DOWN,
                        stopped,
                        {"until": format_utc(now)},
                    )
        await self.add_event(ALL_OFFICES, "hub_started", {}, now)

    async def record_settings(self, config: Config, *, always: bool = False) -> None:
        """Add the settings in force where they are not those of the last such event.

        With `always`, as at the start, an event with their hash alone says that nothing changed.
        """
        await self._write(self._record_settings, config, always)

    def _record_settings(self, config: Config, always: bool) -> None:
        record = settings_record(config)
        last = self._store.event_log.last_event(OF_THE_DATABASE, SETTINGS)
        known = last is not None and last.data.get("sha256") == record["sha256"]
        if known and not always:
            return
        data = {"sha256": record["sha256"]} if known else record
        self._store.event_log.add_event(OF_THE_DATABASE, SETTINGS, self._clock.now(), data)

    async def last_agent_event(self, office: str) -> str | None:
        """The kind of the last event of an office's agent: `joined`, `left` or `goodbye`."""
        soon = self._clock.now() + timedelta(seconds=1)
        events = await asyncio.to_thread(self._store.event_log.events_before, office, soon, 200)
        return next((e.kind for e in reversed(events) if e.kind in _AGENT_EVENTS), None)

    async def _write(self, write: Callable[..., Any], *arguments: Any) -> None:
        try:
            with database_write(self._status, self._clock):
                await asyncio.to_thread(write, *arguments)
        except StoreError as error:
            log.error("an event could not be written: %s", error)

"""Writes events and state changes of a running hub."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.config.sealed_settings import settings_event
from jharnet_monitor.errors import StoreError
from jharnet_monitor.hub.outage_attribution import ALL_OFFICES
from jharnet_monitor.hub.records import (
    HEARTBEAT_KEY,
    EventRecord,
    Record,
    StartRecord,
    StateRecord,
    ValueRecord,
)
from jharnet_monitor.hub.state_tracker import StateChange
from jharnet_monitor.hub.store_writer import StoreWriter
from jharnet_monitor.judge.outages.history import ANSWERING
from jharnet_monitor.judge.outages.observations import UplinkChange
from jharnet_monitor.live import DeviceCheck
from jharnet_monitor.model import OfficeState, parse_utc
from jharnet_monitor.store import LoggedEvent
from jharnet_monitor.store.acts import ACT, OF_PEOPLE, Act
from jharnet_monitor.store.pruning import OF_THE_DATABASE, SETTINGS

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0
STATES_BACK = timedelta(days=7)
"""How far back the states of offices are read at the hub's start."""
DEVICES_CHECKED = "devices_checked"
"""The kind of event that holds a check of an office's camera, microphone and loudspeaker."""
_AGENT_EVENTS = ("joined", "left", "goodbye")


class Journal:
    """Writes the events of a running hub; they wait on disk while the database accepts none."""

    def __init__(self, writer: StoreWriter, clock: Clock) -> None:
        self._writer = writer
        self._store = writer.store
        self._clock = clock
        self._last_heartbeat: float | None = None

    async def add_event(
        self, office: str, kind: str, data: Mapping[str, Any], at: datetime | None = None
    ) -> None:
        """Add an event; `at` is when it happened, by default now."""
        await self._writer.write(EventRecord(office, kind, at or self._clock.now(), data))

    async def add_changes(
        self, changes: Sequence[StateChange], uplink: UplinkChange | None = None
    ) -> None:
        """Add the uplink's change and then changes of state with their evidence, in this order. In
        one write, so that no later change comes between them.
        """
        records: list[Record] = [
            StateRecord(change.office, change.state, change.at, asdict(change.evidence))
            for change in changes
        ]
        if uplink is not None:
            data = {"works": uplink.works}
            records.insert(0, EventRecord(ALL_OFFICES, "uplink", uplink.at, data))
        await self._writer.write(*records)

    async def heartbeat(self, *, last: bool = False) -> None:
        """Write a heartbeat every few seconds, so that the time of a crash is known; the `last` one
        at once."""
        now, before = self._clock.monotonic(), self._last_heartbeat
        if last or before is None or now - before >= HEARTBEAT_SECONDS:
            self._last_heartbeat = now
            await self._writer.write(ValueRecord(HEARTBEAT_KEY, self._clock.now()))

    async def hub_started(self, offices: Sequence[str]) -> None:
        """Add the hub's start, and `monitor_down` for the time since its last heartbeat."""
        beat = await self._writer.waiting_value(HEARTBEAT_KEY)
        last = None if beat is None else parse_utc(beat)
        await self._writer.write(StartRecord(self._clock.now(), tuple(offices), last))

    async def record_settings(self, config: Config, *, always: bool = False) -> None:
        """Add the settings in force if they differ from those of the last such event. With
        `always`, unchanged settings are recorded too, by an event with only their hash.
        """
        try:
            last = await asyncio.to_thread(
                self._store.event_log.last_event, OF_THE_DATABASE, SETTINGS
            )
        except StoreError:
            last = None  # then the record has all settings, and waits with the others
        data = settings_event(None if last is None else last.data, config)
        if data is None and last is not None and always:
            data = {"sha256": last.data["sha256"]}
        if data is None:
            return
        event = EventRecord(OF_THE_DATABASE, SETTINGS, self._clock.now(), data)
        await self._writer.write(event)

    async def states_seen(
        self, offices: Sequence[str]
    ) -> dict[str, list[tuple[OfficeState, datetime]]]:
        """Each office's states of the last days, and all states since it last answered."""
        since, event_log = self._clock.now() - STATES_BACK, self._store.event_log
        return await asyncio.to_thread(event_log.states_seen, offices, since, ANSWERING)

    async def last_answer(self, office: str) -> datetime | None:
        """When an address of an office last began to answer; None if that is not recorded."""
        read = self._store.event_log.last_event
        event = await asyncio.to_thread(read, office, "reached", None, '"answers":true')
        return None if event is None else event.at

    async def uplink_since(self) -> LoggedEvent | None:
        """The last change of headquarters' uplink."""
        return await asyncio.to_thread(self._store.event_log.last_event, ALL_OFFICES, "uplink")

    async def add_act(self, act: Act) -> None:
        """Record and log a person's act."""
        log.info("%s: by %s from %s: %s", act.what, act.by, act.from_, dict(act.about))
        await self.add_event(OF_PEOPLE, ACT, act.to_json())

    async def last_agent_events(self, offices: Sequence[str]) -> dict[str, str]:
        """The kind of the last event of each office's agent: `joined`, `left` or `goodbye`."""
        soon, event_log = self._clock.now() + timedelta(seconds=1), self._store.event_log
        return await asyncio.to_thread(event_log.last_event_kinds, offices, _AGENT_EVENTS, soon)

    async def last_device_check(self, office: str) -> DeviceCheck | None:
        """The newest check of an office's camera, microphone and loudspeaker."""
        read = self._store.event_log.last_event
        event = await asyncio.to_thread(read, office, DEVICES_CHECKED)
        return None if event is None else DeviceCheck(event.at, event.data["findings"])

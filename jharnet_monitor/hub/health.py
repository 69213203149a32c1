"""The hub's own health: event loop, clock, disk, and whether rows can be written."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from jharnet_monitor.clock import Clock
from jharnet_monitor.config.addresses import hub_url
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.errors import StoreError, Trouble, UserError
from jharnet_monitor.judge.calendar.hours import in_office_hours
from jharnet_monitor.live import HubStatus
from jharnet_monitor.store import Store

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
SLOW_TICKS = 30
"""Ticks between two checks of slowly changing values."""
LONGEST_TICK = 10 * TICK_SECONDS
"""Without a tick for longer than this, the event loop counts as blocked."""
LONGEST_WRITE = 60.0
"""Seconds. The hub writes every 10 s, and a write waits at most 15 s for a lock."""

_TROUBLES = {
    Trouble.FULL: "the disk is full",
    Trouble.READ_ONLY: "it is read-only",
    Trouble.LOCKED: "another program has locked it",
    Trouble.DAMAGED: "it is damaged",
    Trouble.DISK: "the disk reports errors",
    Trouble.AWAY: "the server cannot be reached",
    Trouble.UNKNOWN: "it does not answer",
}
_TIME_ERROR = 5
"""adjtimex(2): the clock is not synchronized."""


def clock_is_synchronized() -> bool | None:
    """Whether the kernel considers the wall clock synchronized (adjtimex(2)); None if unknown.

    A time service (chrony, systemd-timesyncd, ntpd) sets this flag.
    """
    request = ctypes.create_string_buffer(512)  # struct timex, zeroed: asks, sets nothing
    answer = ctypes.CDLL(None, use_errno=True).adjtimex(request)
    return None if answer < 0 else answer != _TIME_ERROR


class Health:
    """Keeps `HubStatus` up to date while `run` runs."""

    def __init__(
        self, status: HubStatus, current: CurrentConfig, clock: Clock, store: Store
    ) -> None:
        self._status = status
        self._current = current
        self._clock = clock
        self._store = store
        self._ticked: float | None = None

    async def run(self, clock_step: Callable[[], float]) -> None:
        """Check every second until cancelled; `clock_step` gives a step of the wall clock."""
        number = 0
        while True:
            before = self._clock.monotonic()
            await self._clock.sleep(TICK_SECONDS)
            self._ticked = self._clock.monotonic()
            self._status.loop_lag = max(0.0, self._ticked - before - TICK_SECONDS)
            if clock_step():
                self._status.clock_steps += 1
            if number % SLOW_TICKS == 0:
                await self._check_slowly_changing()
            number += 1

    async def _check_slowly_changing(self) -> None:
        status, config = self._status, self._current.config
        status.office_hours = in_office_hours(config.district, self._clock.now())
        status.clock_synchronized = clock_is_synchronized()
        try:
            status.database_bytes = await asyncio.to_thread(self._store.size)
            status.url = hub_url(config.hub)
        except (StoreError, UserError) as error:
            status.database_bytes = None
            log.error("size of the database or address of the hub unknown: %s", error)
        status.disk_free_bytes = shutil.disk_usage(self._directory()).free

    def _directory(self) -> Path:
        """The directory whose free space counts; PostgreSQL may be on another machine."""
        file = self._current.config.hub.database_file
        return file.parent if file else Path.cwd()

    def ready(self) -> tuple[bool, str]:
        """Whether event loop, database and every part work, and the reason if one does not."""
        if self._ticked is None:
            return False, "starting"
        now = self._clock.monotonic()
        if now - self._ticked > LONGEST_TICK:
            return False, "the event loop is blocked"
        if trouble := self._database_trouble(now):
            return False, trouble
        if failing := self._status.parts.failing(now):
            return False, f"failed and was started again: {', '.join(failing)}"
        if set_aside := self._status.writes_set_aside:
            return True, f"ready; {set_aside} records that the database refused are set aside"
        return True, "ready"

    def _database_trouble(self, now: float) -> str | None:
        """Why the database accepts no rows; None if it does."""
        waiting, written = self._status.writes_waiting, self._status.database_written
        if self._status.database_failing:
            why = _TROUBLES[self._status.database_trouble]
            return f"the database accepts no rows: {why} ({waiting} waiting); see the hub's log"
        if written is not None and now - written > LONGEST_WRITE:
            return f"no write to the database has succeeded for {now - written:.0f} s"
        return None

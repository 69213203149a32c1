"""The hub's watch over itself: is its event loop late, its clock right, its disk full?"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.config.addresses import hub_url
from jharnet_monitor.errors import UserError
from jharnet_monitor.judge.calendar.hours import in_office_hours
from jharnet_monitor.live import HubStatus
from jharnet_monitor.security.tls import certificate_expires
from jharnet_monitor.store import Store, StoreError

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
SLOW_TICKS = 30
"""How many ticks lie between two looks at what changes slowly: disk and database."""


_TIME_ERROR = 5
"""adjtimex(2): the clock is not synchronized."""


def clock_is_synchronized() -> bool | None:
    """Whether the kernel holds the wall clock for right (adjtimex(2)); None where it cannot tell.

    It is what a time service (chrony, systemd-timesyncd, ntpd) last told the kernel.
    """
    request = ctypes.create_string_buffer(512)  # struct timex, zeroed: asks, sets nothing
    answer = ctypes.CDLL(None, use_errno=True).adjtimex(request)
    return None if answer < 0 else answer != _TIME_ERROR


class Health:
    """Keeps `HubStatus` up to date while `run` runs."""

    def __init__(self, live: HubStatus, config: Config, clock: Clock, store: Store) -> None:
        self._live = live
        self._config = config
        self._clock = clock
        self._store = store
        self._ticked: float | None = None

    async def run(self, watch_clock: Callable[[], float]) -> None:
        """Look every second, until cancelled; `watch_clock` gives a clock step in seconds."""
        number = 0
        while True:
            before = self._clock.monotonic()
            await self._clock.sleep(TICK_SECONDS)
            self._ticked = self._clock.monotonic()
            self._live.loop_lag = max(0.0, self._ticked - before - TICK_SECONDS)
            if watch_clock():
                self._live.clock_steps += 1
            if number % SLOW_TICKS == 0:
                await self._look_at_slow_things()
            number += 1

    async def _look_at_slow_things(self) -> None:
        live, hub = self._live, self._config.hub
        live.office_hours = in_office_hours(self._config.district, self._clock.now())
        live.clock_synchronized = clock_is_synchronized()
        try:
            live.database_bytes = await asyncio.to_thread(self._store.size)
            if hub.tls:
                live.certificate_expires = certificate_expires(hub.tls.certificate)
            live.url = hub_url(hub)
        except (StoreError, UserError) as error:
            live.database_bytes = None
            log.error("the hub's own health is not known: %s", error)
        live.disk_free_bytes = shutil.disk_usage(self._directory()).free

    def _directory(self) -> Path:
        """Where the database fills the disk; with PostgreSQL it is that machine's affair."""
        kind, _, file = self._config.hub.database.partition(":///")
        return Path(file).parent if kind == "sqlite" else Path.cwd()

    def reload(self, config: Config) -> None:
        """Go by another configuration: its office hours, its certificate."""
        self._config = config

    def ready(self) -> tuple[bool, str]:
        """Whether the loop still turns and the database takes rows, and in words why not."""
        if self._ticked is None:
            return False, "starting"
        if self._clock.monotonic() - self._ticked > 10 * TICK_SECONDS:
            return False, "the event loop stands still"
        return True, "ready"

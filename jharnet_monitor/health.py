"""The hub's watch over itself: is its event loop late, its clock right, its disk full?"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.judge.hours import in_office_hours
from jharnet_monitor.live import SelfLive
from jharnet_monitor.store import Store

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
SLOW_TICKS = 30
"""How many ticks lie between two looks at what changes slowly: disk and database."""


class Health:
    """Keeps `SelfLive` up to date while `run` runs."""

    def __init__(self, live: SelfLive, config: Config, clock: Clock, store: Store) -> None:
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
        self._live.office_hours = in_office_hours(self._config.district, self._clock.now())
        size = await asyncio.to_thread(self._store.size)
        self._live.database_bytes = size
        self._live.disk_free_bytes = shutil.disk_usage(Path.cwd()).free

    def ready(self) -> tuple[bool, str]:
        """Whether the loop still turns and the database takes rows, and in words why not."""
        if self._ticked is None:
            return False, "starting"
        if self._clock.monotonic() - self._ticked > 10 * TICK_SECONDS:
            return False, "the event loop stands still"
        return True, "ready"

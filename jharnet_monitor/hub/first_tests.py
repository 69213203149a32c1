"""Tests an office once when its agent is there for the first time, before the schedule would.

Otherwise a district that was just installed shows nothing until the next planned test, which may be
a day away. It waits a minute, in which a person may start a test, and takes one office at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from jharnet_monitor.clock import Clock
from jharnet_monitor.live import Live
from jharnet_monitor.model import series_key

log = logging.getLogger(__name__)

FIRST_AFTER_SECONDS = 60.0
"""How long an agent has been connected before its office is tested."""
CHECK_SECONDS = 10.0
FIRST_PROBES = ("bandwidth", "conference")
"""Whether the line delivers, and whether it carries a conference."""

RunScheduled = Callable[[str, str, Mapping[str, Any]], Awaitable[Any]]


class FirstTests:
    """The first tests of the offices of one hub; each is tried once in the hub's life."""

    def __init__(self, live: Live, clock: Clock, run: RunScheduled) -> None:
        self._live = live
        self._clock = clock
        self._run = run
        self._connected: dict[str, float] = {}
        self._tried: set[str] = set()

    async def run_due(self) -> None:
        """Test what is due, one office after the other."""
        now = self._clock.monotonic()
        for office_id, office in self._live.offices.items():
            if not office.agent.connected:
                self._connected.pop(office_id, None)
            elif now - self._connected.setdefault(office_id, now) >= FIRST_AFTER_SECONDS:
                await self._test(office_id)

    async def _test(self, office_id: str) -> None:
        if office_id in self._tried:
            return
        self._tried.add(office_id)
        for probe in FIRST_PROBES:
            if series_key(probe) not in self._live.offices[office_id].latest:
                log.info("%s has never had a test of %s: it has one now", office_id, probe)
                await self._run(office_id, probe, {})

"""Tests an office soon after its agent connects for the first time, ahead of the schedule.

Otherwise a newly installed district has no results until the next planned test, which may be a day
later. It waits for a minute, in which a person may start a test, and tests one office at a time.
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
"""How long an agent must have been connected before its office is tested."""
CHECK_SECONDS = 10.0
FIRST_PROBES = ("bandwidth", "conference")
"""They show the line's rate, and whether it can carry a conference."""

RunScheduled = Callable[[str, str, Mapping[str, Any]], Awaitable[Any]]


class FirstTests:
    """The first tests of one hub's offices; each office gets one attempt per start of the hub."""

    def __init__(self, live: Live, clock: Clock, run: RunScheduled) -> None:
        self._live = live
        self._clock = clock
        self._run = run
        self._connected: dict[str, float] = {}
        self._tried: set[str] = set()

    async def run_due(self) -> None:
        """Test the offices that are due, one after the other."""
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
                log.info("%s has no result of %s yet: starting its first test", office_id, probe)
                await self._run(office_id, probe, {})

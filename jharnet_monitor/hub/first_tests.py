"""Tests an office soon after its agent connects for the first time, ahead of the schedule.

Otherwise a newly installed district has no results until the next planned test, which may be a day
later. It tests one office at a time, and none on whose line a test ran within the last minute:
somebody is probably testing there, and a second test would only cost bytes.
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
"""How long an agent must have been connected, without a test on its line, before its office is
tested."""
CHECK_SECONDS = 10.0
FIRST_PROBES = ("bandwidth", "conference")
"""They show the line's rate, and whether it can carry a conference."""

LoadedSince = Callable[[str, float], bool]
"""Whether a test loaded the line of an office since this time, in monotonic seconds."""
RunScheduled = Callable[[str, str, Mapping[str, Any]], Awaitable[Any]]


class FirstTests:
    """The first tests of one hub's offices; each office gets one attempt per start of the hub."""

    def __init__(
        self, live: Live, clock: Clock, loaded_since: LoadedSince, run: RunScheduled
    ) -> None:
        self._live = live
        self._clock = clock
        self._loaded_since = loaded_since
        self._run = run
        self._connected: dict[str, float] = {}
        self._tried: set[str] = set()

    async def run_due(self) -> None:
        """Test the offices that are due, one after the other."""
        for office_id, office in self._live.offices.items():
            now = self._clock.monotonic()
            if not office.agent.connected:
                self._connected.pop(office_id, None)
                continue
            begin = now - FIRST_AFTER_SECONDS
            connected = self._connected.setdefault(office_id, now)
            if connected <= begin and not self._loaded_since(office_id, begin):
                await self._test(office_id)

    async def _test(self, office_id: str) -> None:
        if office_id in self._tried:
            return
        self._tried.add(office_id)
        for probe in FIRST_PROBES:
            if series_key(probe) not in self._live.offices[office_id].latest:
                log.info("%s has no result of %s yet: starting its first test", office_id, probe)
                await self._run(office_id, probe, {})

"""When outages are looked at again: soon after an office is back, and as its spool comes in."""

from __future__ import annotations

import asyncio
import logging

from jharnet_monitor.clock import Clock
from jharnet_monitor.hub.outage_attribution import OutageAttribution
from jharnet_monitor.live import Live
from jharnet_monitor.store import StoreError

log = logging.getLogger(__name__)

SOON_SECONDS = 3.0
"""Long enough for the agent's spool to come in with its first word."""
LATER_SECONDS = 45.0
"""The cause is to be told within a minute of the return."""


class Reviews:
    """Offices whose outages are to be judged again, and when."""

    def __init__(self, outage_attribution: OutageAttribution, live: Live, clock: Clock) -> None:
        self._outage_attribution = outage_attribution
        self._live = live
        self._clock = clock
        self._due: dict[str, list[float]] = {}

    def ask(self, office: str) -> None:
        """Something new is known of an office: look soon, and once more when all is in."""
        now = self._clock.monotonic()
        held = [moment for moment in self._due.get(office, []) if moment > now + SOON_SECONDS]
        self._due[office] = [now + SOON_SECONDS, *(held or [now + LATER_SECONDS])]

    async def tick(self) -> None:
        """Review what is due."""
        now = self._clock.monotonic()
        for office, moments in list(self._due.items()):
            if moments[0] > now:
                continue
            self._due[office] = [moment for moment in moments if moment > now]
            if not self._due[office]:
                del self._due[office]
            try:
                past = await asyncio.to_thread(self._outage_attribution.review, office)
            except StoreError as error:
                log.error("the outages of %s could not be reviewed: %s", office, error)
            else:
                if past is not None:
                    self._live.offices[office].last_outage = past

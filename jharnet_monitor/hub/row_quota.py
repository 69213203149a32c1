"""How many rows an office's agent may add in a day, so that one office cannot fill the disk."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from jharnet_monitor.clock import Clock

log = logging.getLogger(__name__)

ROWS_PER_DAY = 50_000
"""An agent makes about 3000 a day, and 12,000 on a day without contact. A full spool is delivered
after two days."""
PERIOD_SECONDS = 86400.0
_CHECK_SECONDS = 60.0


@dataclass(slots=True)
class RowQuota:
    """Counts the rows of each office; an office that has used its quota waits for the next day."""

    clock: Clock
    _began: dict[str, float] = field(default_factory=dict)
    _used: dict[str, int] = field(default_factory=dict)

    async def wait(self, office: str, rows: int) -> None:
        """Wait until the office may add this number of rows, and count them."""
        logged = False
        while not self._take(office, rows):
            if not logged:
                log.warning(
                    "%s has handed in %d measurements in a day: the rest has to wait until the "
                    "next; its agent keeps them", office, ROWS_PER_DAY,
                )  # fmt: skip
                logged = True
            await self.clock.sleep(_CHECK_SECONDS)

    def _take(self, office: str, rows: int) -> bool:
        now = self.clock.monotonic()
        if now - self._began.get(office, -PERIOD_SECONDS) >= PERIOD_SECONDS:
            self._began[office], self._used[office] = now, 0
        if self._used[office] + rows > ROWS_PER_DAY:
            return False
        self._used[office] += rows
        return True

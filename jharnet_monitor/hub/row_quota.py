"""How many rows an office's agent may add in a day, so that one office cannot fill the disk."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from jharnet_monitor.clock import Clock

log = logging.getLogger(__name__)

ROWS_PER_DAY = 50_000
"""An agent makes about 3000 a day, and 12,000 on a day without contact. A full spool is delivered
after two days."""
PERIOD_SECONDS = 86400.0
_CHECK_SECONDS = 1.0
"""How soon a batch is dropped after its session has ended."""


@dataclass(slots=True)
class RowQuota:
    """Counts the rows of each office; an office that has used its quota waits for the next day."""

    clock: Clock
    _began: dict[str, float] = field(default_factory=dict)
    _used: dict[str, int] = field(default_factory=dict)

    async def wait(self, office: str, rows: int, is_gone: Callable[[], bool]) -> bool:
        """Wait until the office may add this number of rows, and count them. Returns False, without
        counting them, once the session that handed them in is gone: the agent still has them.
        """
        logged = False
        while not is_gone():
            if self._take(office, rows):
                return True
            if not logged:
                log.warning(
                    "%s has handed in %d measurements in a day: the rest has to wait until the "
                    "next; its agent keeps them", office, ROWS_PER_DAY,
                )  # fmt: skip
                logged = True
            await self.clock.sleep(_CHECK_SECONDS)
        return False

    def _take(self, office: str, rows: int) -> bool:
        now = self.clock.monotonic()
        if now - self._began.get(office, -PERIOD_SECONDS) >= PERIOD_SECONDS:
            self._began[office], self._used[office] = now, 0
        if self._used[office] + rows > ROWS_PER_DAY:
            return False
        self._used[office] += rows
        return True

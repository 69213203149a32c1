"""A part of the hub that does work when it is due, and repeats it while it fails."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from jharnet_monitor.clock import Clock
from jharnet_monitor.errors import TemporaryError, UserError
from jharnet_monitor.report.output.files import TypesettingError
from jharnet_monitor.report.output.worker import WorkerError

CHECK_SECONDS = 60.0
Work = TypeVar("Work")


class DueWork(ABC, Generic[Work]):
    """Looks every `CHECK_SECONDS` for due work, and does one piece after another.

    After a failure the rest has to wait as well, for as long as `_note_failure` returns. The wait
    ends early if the clock is set back.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        """Attempts that failed since the last success."""
        self._wait: tuple[datetime, datetime] | None = None
        """Begin and end of the wait after a failure."""

    async def run(self) -> None:
        """Look every `CHECK_SECONDS` until cancelled."""
        while True:
            await self.run_once()
            await self._clock.sleep(CHECK_SECONDS)

    async def run_once(self) -> None:
        """Look once; an error that may not recur is passed to `_note_failure`, not raised."""
        now = self._clock.now()
        try:
            due = await self._due(now)
            if self._wait is not None and self._wait[0] <= now < self._wait[1]:
                return
            for work in due:
                await self._do(work, now)
                self._failures, self._wait = 0, None
        except (UserError, TemporaryError, TypesettingError, WorkerError) as error:
            self._failures += 1
            self._wait = now, now + self._note_failure(error)

    @abstractmethod
    async def _due(self, now: datetime) -> Sequence[Work]:
        """What is due and not done, the oldest first; also called while an attempt must wait."""

    @abstractmethod
    async def _do(self, work: Work, now: datetime) -> None:
        """Do one piece of work, and record that it is done."""

    @abstractmethod
    def _note_failure(self, error: Exception) -> timedelta:
        """Log and count a failed attempt; returns how long the next one must wait."""

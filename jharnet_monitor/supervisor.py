"""Keeps the parts of a daemon running: a part that fails is restarted, and the others continue."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from jharnet_monitor.clock import Clock

log = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 1.0
LAST_RETRY_SECONDS = 60.0
HEALTHY_SECONDS = 120.0
"""A part that has run for this long since it failed counts as healthy again."""

Part = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class PartStatus:
    """Restarts and failures of the parts of a daemon, for metrics and readiness."""

    restarts: Counter[str] = field(default_factory=Counter)
    """How often each part was started again after an error."""
    failed_at: dict[str, float] = field(default_factory=dict)
    """When each part failed last, monotonic."""

    def failing(self, now: float) -> list[str]:
        """The parts that failed within `HEALTHY_SECONDS` before `now`, monotonic."""
        return sorted(name for name, at in self.failed_at.items() if now - at < HEALTHY_SECONDS)


class Supervisor:
    """Runs parts until `stop`. A part that returns has done its work and is not started again."""

    def __init__(
        self,
        clock: Clock,
        status: PartStatus,
        first_retry: float = FIRST_RETRY_SECONDS,
        last_retry: float = LAST_RETRY_SECONDS,
    ) -> None:
        self._clock = clock
        self._status = status
        self._first_retry = first_retry
        self._last_retry = last_retry
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, part: Part) -> None:
        """Start a part; after an error it is started again, with back-off."""
        self._tasks.append(asyncio.create_task(self._keep_running(name, part), name=name))

    def start_every(self, name: str, seconds: float, step: Part) -> None:
        """Start a part that repeats a step every `seconds` seconds."""

        async def steps() -> None:
            while True:
                await self._clock.sleep(seconds)
                await step()

        self.start(name, steps)

    async def wait(self) -> None:
        """Wait until every part has finished; most parts never do."""
        await asyncio.gather(*self._tasks)

    async def stop(self) -> None:
        """Cancel every part, and wait for its end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep_running(self, name: str, part: Part) -> None:
        retry = self._first_retry
        while True:
            started = self._clock.monotonic()
            try:
                await part()
                return
            except Exception as error:
                now = self._clock.monotonic()
                if now - started > self._last_retry:
                    retry = self._first_retry
                self._note(name, error, now, retry)
            await self._clock.sleep(retry)
            retry = min(retry * 2, self._last_retry)

    def _note(self, name: str, error: Exception, now: float, retry: float) -> None:
        self._status.restarts[name] += 1
        self._status.failed_at[name] = now
        log.error("%s failed; restarting it in %g s", name, retry, exc_info=error)

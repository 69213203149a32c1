"""Clocks that are passed in wherever time is needed, so that tests can run a month in seconds."""

from __future__ import annotations

import asyncio
import heapq
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

LEAST_AHEAD = timedelta(minutes=1)
"""What lies less ahead of now may come from a clock that is slightly ahead or was adjusted."""


def is_ahead(at: datetime, now: datetime) -> bool:
    """Whether a recorded time lies ahead: it was recorded before a clock was set back."""
    return at > now + LEAST_AHEAD


def is_newer(at: datetime, known: datetime, now: datetime) -> bool:
    """Whether what was recorded for `at` is as new as what is known, which may lie ahead.

    >>> now = datetime(2026, 11, 23, tzinfo=UTC)
    >>> hour = timedelta(hours=1)
    >>> is_newer(now, now - hour, now), is_newer(now - hour, now, now)
    (True, False)
    >>> is_newer(now, now + hour, now), is_newer(now + hour, now + 2 * hour, now)
    (True, False)
    """
    return at >= known or (is_ahead(known, now) and not is_ahead(at, now))


class Clock(Protocol):
    """A source of time."""

    def now(self) -> datetime:
        """Wall-clock time in UTC: for timestamps, never for durations."""

    def monotonic(self) -> float:
        """Monotonic time in seconds: for durations and time-outs."""

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of this clock."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """Wall-clock time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """CLOCK_MONOTONIC in seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the event loop."""
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that moves only when a test advances it, and wakes its sleepers in order.

    >>> clock = ManualClock(datetime(2026, 11, 23, tzinfo=UTC))
    >>> async def a_week() -> str:
    ...     sleeper = asyncio.create_task(clock.sleep(7 * 86400))
    ...     await clock.advance(7 * 86400)
    ...     await sleeper
    ...     return clock.now().isoformat()
    >>> asyncio.run(a_week())
    '2026-11-30T00:00:00+00:00'
    """

    def __init__(self, start: datetime) -> None:
        self._now = start.astimezone(UTC)
        self._monotonic = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = 0

    def now(self) -> datetime:
        """Wall-clock time, as set and advanced."""
        return self._now

    def monotonic(self) -> float:
        """Seconds advanced since the start; `step` does not change it."""
        return self._monotonic

    def step(self, seconds: float) -> None:
        """Set the wall clock forward or back, as NTP or an operator would."""
        self._now += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        """Wait until `advance` has passed `seconds`."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._order += 1
        heapq.heappush(self._sleepers, (self._monotonic + seconds, self._order, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Let time pass and wake each sleeper when its time comes."""
        end = self._monotonic + seconds
        await asyncio.sleep(0)
        while self._sleepers and self._sleepers[0][0] <= end:
            moment, _, future = heapq.heappop(self._sleepers)
            self._pass(moment - self._monotonic)
            if not future.done():
                future.set_result(None)
            for _ in range(5):  # lets the woken task run to its next sleep
                await asyncio.sleep(0)
        self._pass(end - self._monotonic)

    def _pass(self, seconds: float) -> None:
        self._monotonic += seconds
        self._now += timedelta(seconds=seconds)

"""How much of a line probes may take: of the headquarters uplink, which all offices share, and of
an office's line, which a test has to itself."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class LineLimiter:
    """The part of a line that probes may take, first come first served."""

    def __init__(self, limit: Callable[[], float]) -> None:
        """`limit` returns the current limit, which a reload may change, in bit/s or as a share."""
        self._limit = limit
        self._granted: list[float] = []
        self._waiting: deque[tuple[float, asyncio.Future[float]]] = deque()

    @property
    def limit(self) -> float:
        """What all reservations together may take."""
        return self._limit()

    @property
    def reserved(self) -> float:
        """The sum of all reservations; infinite while one holds the whole limit."""
        return math.fsum(self._granted)

    def has_room(self, rate: float) -> bool:
        """Whether `rate` would be granted at once."""
        return not self._waiting and self.reserved + min(rate, self.limit) <= self.limit

    @asynccontextmanager
    async def reserve(self, rate: float = math.inf) -> AsyncIterator[float]:
        """Reserve `rate`, by default the whole limit; yields what was granted.

        Waits for its turn; grants at most the limit. A reservation of the whole limit stays
        exclusive even if a reload raises the limit meanwhile.
        """
        turn: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append((rate, turn))
        self._admit()
        try:
            granted = await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._admit()  # the request may have blocked those behind it
            else:
                self._release(turn.result())  # granted in the same iteration of the event loop
            raise
        try:
            yield min(granted, self.limit)
        finally:
            self._release(granted)

    def _release(self, granted: float) -> None:
        self._granted.remove(granted)
        self._admit()

    def _admit(self) -> None:
        """Grant the requests at the head of the queue, as far as they fit."""
        while self._waiting:
            rate, turn = self._waiting[0]
            limit = self.limit
            if not turn.cancelled():
                if self.reserved + min(rate, limit) > limit:
                    return
                granted = math.inf if rate >= limit else rate
                self._granted.append(granted)
                turn.set_result(granted)
            self._waiting.popleft()

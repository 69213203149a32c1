"""The headquarters uplink, which all offices share: who may fill how much of it, and when."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class UplinkLimiter:
    """The part of the headquarters uplink that heavy probes may take, first come first served."""

    def __init__(self, limit: Callable[[], float]) -> None:
        """`limit` gives the limit now, in bit/s: a reload of the configuration may change it."""
        self._limit = limit
        self._held: list[float] = []
        self._waiting: deque[tuple[float, asyncio.Future[float]]] = deque()

    @property
    def limit(self) -> float:
        """What all reservations together may take, in bit/s."""
        return self._limit()

    @property
    def reserved(self) -> float:
        """What is held now, in bit/s; infinite while one holder has the whole limit."""
        return math.fsum(self._held)

    @asynccontextmanager
    async def reserve(self, rate: float = math.inf) -> AsyncIterator[float]:
        """Hold `rate` bit/s, by default the whole limit; gives what was granted.

        Waits for its turn. More than the limit is never granted. Whoever asks for the whole limit
        stays alone even if a reload raises the limit meanwhile.
        """
        turn: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append((rate, turn))
        self._admit()
        try:
            held = await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._admit()  # it may have kept those behind it waiting
            else:
                self._release(turn.result())  # granted in the same turn of the event loop
            raise
        try:
            yield min(held, self.limit)
        finally:
            self._release(held)

    def _release(self, held: float) -> None:
        self._held.remove(held)
        self._admit()

    def _admit(self) -> None:
        """Grant the requests at the head of the queue, as far as they fit."""
        while self._waiting:
            rate, turn = self._waiting[0]
            limit = self.limit
            if not turn.cancelled():
                if self.reserved + min(rate, limit) > limit:
                    return
                held = math.inf if rate >= limit else rate
                self._held.append(held)
                turn.set_result(held)
            self._waiting.popleft()

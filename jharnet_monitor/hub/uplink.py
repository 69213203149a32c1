"""The headquarters uplink, which all offices share: who may fill how much of it, and when."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class UplinkLimiter:
    """The part of the headquarters uplink that heavy probes may take, first come first served."""

    def __init__(self, limit: float) -> None:
        """`limit` is in bit/s."""
        self.limit = limit
        self.reserved = 0.0
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def reserve(self, rate: float) -> AsyncIterator[float]:
        """Hold `rate` bit/s; gives what was granted, which never exceeds the limit."""
        rate = min(rate, self.limit)
        if self._waiting or self.reserved + rate > self.limit:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            entry = (rate, turn)
            self._waiting.append(entry)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._release(rate)  # granted in the same moment
                else:
                    self._waiting.remove(entry)
                raise
        else:
            self.reserved += rate
        try:
            yield rate
        finally:
            self._release(rate)

    def _release(self, rate: float) -> None:
        self.reserved -= rate
        while self._waiting and self.reserved + self._waiting[0][0] <= self.limit:
            granted, turn = self._waiting.popleft()
            if not turn.cancelled():
                self.reserved += granted
                turn.set_result(None)

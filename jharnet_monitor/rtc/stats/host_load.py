"""Whether this host kept up: a call measured by a host that slept says nothing of the network.

And what helps it to: what is counted up after a call is counted beside the event loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

_T = TypeVar("_T")

_INTERVAL = 0.05
_STALL = 0.1
"""Seconds of lag that a viewer might notice."""


@dataclass(frozen=True, slots=True)
class Load:
    """How late this host was, over one call."""

    lag: float
    """The longest wait for the event loop, in seconds."""
    stalled: float
    """Share of the call during which the loop was more than 100 ms late."""
    cpu: float
    """Processor time of this process over the call's time; all its calls together."""


class HostWatch:
    """Samples the event loop's lag while `run` runs."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._cpu = time.process_time()
        self._lag = self._stalled = 0.0

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            due = time.monotonic() + _INTERVAL
            await asyncio.sleep(_INTERVAL)
            lag = time.monotonic() - due
            self._lag = max(self._lag, lag)
            if lag > _STALL:
                self._stalled += lag

    def load(self) -> Load:
        """The figures so far."""
        elapsed = max(time.monotonic() - self._started, 1e-6)
        cpu = (time.process_time() - self._cpu) / elapsed
        return Load(self._lag, min(1.0, self._stalled / elapsed), max(0.0, cpu))


_counting = threading.Lock()


async def apart(count: Callable[..., _T], *arguments: Any) -> _T:
    """Call in a thread, one call at a time.

    A drill's calls all end at once, and counting up five minutes takes 7 MB for 0.05 s.
    """

    def alone() -> _T:
        with _counting:
            return count(*arguments)

    return await asyncio.to_thread(alone)

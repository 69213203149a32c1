"""Whether this host kept up during a call: an overloaded host measures itself, not the network."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

_SAMPLE_INTERVAL = 0.05
_STALL = 0.1
"""Seconds of event-loop lag from which a user may notice it."""


@dataclass(frozen=True, slots=True)
class HostLoad:
    """The load of this host over one call."""

    lag: float
    """The longest event-loop lag in seconds."""
    stalled: float
    """Share of the call during which the event loop was more than 100 ms late."""
    cpu: float
    """CPU time of this process, all its calls included, per second of the call."""


class HostLoadMonitor:
    """Samples the lag of the event loop while `run` runs."""

    def __init__(self) -> None:
        self._started_at = time.monotonic()
        self._cpu_at_start = time.process_time()
        self._max_lag = self._stalled_seconds = 0.0

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            due = time.monotonic() + _SAMPLE_INTERVAL
            await asyncio.sleep(_SAMPLE_INTERVAL)
            lag = time.monotonic() - due
            self._max_lag = max(self._max_lag, lag)
            if lag > _STALL:
                self._stalled_seconds += lag

    def load(self) -> HostLoad:
        """The load so far."""
        elapsed = max(time.monotonic() - self._started_at, 1e-6)
        cpu = (time.process_time() - self._cpu_at_start) / elapsed
        return HostLoad(self._max_lag, min(1.0, self._stalled_seconds / elapsed), max(0.0, cpu))

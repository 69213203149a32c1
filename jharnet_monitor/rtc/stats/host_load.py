"""Whether this host kept up during a test: an overloaded host measures itself, not the network.
Overload shows in three ways: the event loop wakes late; the kernel lets this program wait for a CPU
while others compute (`/proc/self/schedstat`); the hypervisor gives the CPU to another machine
(steal, in `/proc/stat`). The last two can delay packets without a visible lag of the event loop;
they are known on Linux only.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from jharnet_monitor.judge.latency import percentile

_SAMPLE_INTERVAL = 0.05
_STALL = 0.1
"""Seconds of event-loop lag from which a user may notice it."""
_MISSING_SHARE = 0.5
"""Share of a second in which this program was ready to run and had no CPU, as others had it: with
a third of it spent waiting calls were still judged correctly, with six tenths packets were late.
What a hypervisor takes counts alike: of 75 calls over loss-free lines of the lab during which it
took 10 to 50 % of a second, 72 got the line's grade and three none
(`tests/bench/stolen_cpu.py --seed 2027`)."""
_STALLED_SHARE = 0.25
_SCHEDSTAT, _STAT = Path("/proc/self/schedstat"), Path("/proc/stat")


@dataclass(frozen=True, slots=True)
class HostLoad:
    """The load of this host over one call."""

    lag: float
    """The longest event-loop lag in seconds."""
    stalled: float
    """Share of the call during which the event loop was more than 100 ms late."""
    cpu: float
    """CPU time of this process, all its calls included, per second of the call."""
    median_lag: float | None = None
    """The median event-loop lag in seconds: half of the packets are read so late or later. None if
    not known, as on Windows, where a timer of an idle computer may be late by a tick of 16 ms."""
    lag_p75: float | None = None
    """The upper quartile of the event-loop lag in seconds; None as with `median_lag`."""
    disturbed: int = 0
    """Seconds of the call in which this program got too little of the CPU."""


class HostLoadMonitor:
    """Samples the lag of the event loop, and what it waited for a CPU, while `run` runs."""

    def __init__(self) -> None:
        self._started_at = time.monotonic()
        self._cpu_at_start = time.process_time()
        self._lags: list[float] = []
        self._stalled_seconds = 0.0
        self._disturbed = 0
        self._disturbed_at = -math.inf

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            began, waited, stolen = time.monotonic(), _wait_seconds(), _steal_seconds()
            stalled = self._stalled_seconds
            while time.monotonic() - began < 1.0:
                await self._sample()
            seconds = time.monotonic() - began
            missing = _wait_seconds() - waited + _steal_seconds() - stolen
            stalled = self._stalled_seconds - stalled
            if missing > _MISSING_SHARE * seconds or stalled > _STALLED_SHARE:
                self._disturbed += max(1, round(seconds))
                self._disturbed_at = time.monotonic()

    async def _sample(self) -> None:
        due = time.monotonic() + _SAMPLE_INTERVAL
        await asyncio.sleep(_SAMPLE_INTERVAL)
        lag = time.monotonic() - due
        self._lags.append(lag)
        if lag > _STALL:
            self._stalled_seconds += lag

    def disturbed_within(self, seconds: float) -> bool:
        """Whether this program got too little of the CPU within the last `seconds`."""
        return time.monotonic() - self._disturbed_at < seconds

    def load(self) -> HostLoad:
        """The load so far."""
        elapsed = max(time.monotonic() - self._started_at, 1e-6)
        cpu = (time.process_time() - self._cpu_at_start) / elapsed
        stalled = min(1.0, self._stalled_seconds / elapsed)
        lags = sorted(self._lags) or [0.0]
        known = sys.platform != "win32"
        half, most = (percentile(lags, share) if known else None for share in (0.5, 0.75))
        return HostLoad(lags[-1], stalled, max(0.0, cpu), half, most, self._disturbed)


def _wait_seconds() -> float:
    """Seconds that this program's main thread was ready to run and had no CPU; 0 if not known."""
    try:
        return int(_SCHEDSTAT.read_text("ascii").split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _steal_seconds() -> float:
    """Seconds that the hypervisor took from each CPU, on average; 0 if not known."""
    if sys.platform == "win32":
        return 0.0
    try:
        first = _STAT.read_text("ascii").partition("\n")[0].split()
        return int(first[8]) / os.sysconf("SC_CLK_TCK") / (os.cpu_count() or 1)
    except (OSError, ValueError, IndexError):
        return 0.0

"""How late an end of a bulk transfer wakes up to read the kernel's counters."""

from __future__ import annotations

import sys

from jharnet_monitor.judge.line.throughput import LATE_SECONDS, PAUSE_SECONDS

SHORTEST_PAUSE_SECONDS = PAUSE_SECONDS if sys.platform == "linux" else LATE_SECONDS
"""Elsewhere a timer is late by up to 0.016 s on a computer that keeps up."""


class PollLateness:
    """The lateness of an end that sleeps for `interval` seconds between two readings.

    `started` is the time of the first reading, in seconds of the end's monotonic clock.
    """

    def __init__(self, started: float, interval: float) -> None:
        self._interval = interval
        self._started = self._before = started
        self._late_seconds = self._paused_seconds = 0.0

    def add(self, now: float) -> None:
        """Add the next reading, at `now`."""
        lag = now - self._before - self._interval
        self._before = now
        self._late_seconds += max(0.0, lag - LATE_SECONDS)
        if lag > SHORTEST_PAUSE_SECONDS:
            self._paused_seconds += lag

    @property
    def late(self) -> float:
        """The share of the time that exceeds `LATE_SECONDS`: this end did not keep up."""
        return self._share(self._late_seconds)

    @property
    def paused(self) -> float:
        """The share of the time for which this end stood still: it may have slowed down TCP."""
        return self._share(self._paused_seconds)

    def _share(self, seconds: float) -> float:
        passed = self._before - self._started
        return seconds / passed if passed > 0 else 0.0

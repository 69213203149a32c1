"""Slows down the guessing of tokens and passwords."""

from __future__ import annotations

from collections import deque

from jharnet_monitor.clock import Clock

_MOST_KEYS = 1000


class Throttle:
    """Counts failures by a key, such as an address or an account: so many in so many seconds."""

    def __init__(self, clock: Clock, failures: int, seconds: float) -> None:
        self._clock = clock
        self._most = failures
        self.seconds = seconds
        self._failures: dict[str, deque[float]] = {}

    def is_full(self, key: str) -> bool:
        """Whether there were too many failures lately."""
        recent = self._failures.get(key)
        now = self._clock.monotonic()
        while recent and recent[0] < now - self.seconds:
            recent.popleft()
        return recent is not None and len(recent) >= self._most

    def failed(self, key: str) -> None:
        """Count a failure."""
        if key not in self._failures and len(self._failures) >= _MOST_KEYS:
            self._failures.pop(next(iter(self._failures)))
        self._failures.setdefault(key, deque(maxlen=self._most)).append(self._clock.monotonic())

    def succeeded(self, key: str) -> None:
        """Forget the failures."""
        self._failures.pop(key, None)

"""The peak rate of the shared line: the most that all calls of a drill carry within a second."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from jharnet_monitor.model import Direction
from jharnet_monitor.rtc.stats.live_stats import LiveSample


class PeakRate:
    """Takes the live samples of every call, one a second."""

    def __init__(self) -> None:
        self._seconds: dict[Direction, dict[int, dict[str, float]]] = {
            direction: defaultdict(dict) for direction in Direction
        }

    def add(self, office: str, sample: LiveSample, now: float) -> None:
        """Add a sample of one office's call; `now` is in seconds, always of the same clock."""
        for direction, call in ((Direction.DOWN, sample.down), (Direction.UP, sample.up)):
            if call.bits_per_second is not None:
                self._seconds[direction][int(now)][office] = call.bits_per_second

    def peaks(self) -> Mapping[Direction, float | None]:
        """The peak of each direction in bit/s; None where no call carried anything."""
        return {direction: _peak(seconds) for direction, seconds in self._seconds.items()}


def _peak(seconds: Mapping[int, Mapping[str, float]]) -> float | None:
    """The largest sum of one second; None without any sample.

    Samples arrive slightly less often than once a second; an office without one in a second counts
    with that of the second before.

    >>> _peak({1: {"a": 2.0}, 2: {"a": 4.0, "b": 2.0}, 3: {"b": 3.0}, 5: {"b": 1.0}})
    7.0
    """
    return max(
        (sum({**seconds.get(n - 1, {}), **seconds[n]}.values()) for n in seconds), default=None
    )

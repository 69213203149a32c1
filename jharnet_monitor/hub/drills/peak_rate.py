"""The most that all calls of a drill carry within the same second: the rate of the shared line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from jharnet_monitor.rtc.stats.live_stats import LiveSample

WAYS = ("down", "up")


class PeakRate:
    """Takes the live samples of every call, one a second."""

    def __init__(self) -> None:
        self._seconds: dict[str, dict[int, dict[str, float]]] = {
            way: defaultdict(dict) for way in WAYS
        }

    def add(self, office: str, sample: LiveSample, now: float) -> None:
        """Take a sample of one office's call; `now` is in seconds of any one clock."""
        for way, side in zip(WAYS, (sample.down, sample.up), strict=True):
            if side.bits_per_second is not None:
                self._seconds[way][int(now)][office] = side.bits_per_second

    def peaks(self) -> Mapping[str, float | None]:
        """The peak of each direction in bit/s; None where no call carried anything."""
        return {way: _peak(seconds) for way, seconds in self._seconds.items()}


def _peak(seconds: Mapping[int, Mapping[str, float]]) -> float | None:
    """The largest sum of one second; None without any sample.

    Samples come a little less often than once a second: an office that has none in a second
    counts with the one of the second before.

    >>> _peak({1: {"a": 2.0}, 2: {"a": 4.0, "b": 2.0}, 3: {"b": 3.0}, 5: {"b": 1.0}})
    7.0
    """
    return max(
        (sum({**seconds.get(n - 1, {}), **seconds[n]}.values()) for n in seconds), default=None
    )

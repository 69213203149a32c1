"""What all calls of a drill carry in the same seconds: the truth of the line that they share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from jharnet_monitor.rtc.pulse import Beat

MEAN_OF = 3
"""Seconds: calls tell of their last second each at its own moment."""


class Together:
    """Takes every call's beats, one a second."""

    def __init__(self) -> None:
        self._seconds: dict[str, dict[int, dict[str, float]]] = {
            "down": defaultdict(dict), "up": defaultdict(dict),
        }  # fmt: skip

    def note(self, office: str, beat: Beat, now: float) -> None:
        """One office's beat, `now` in seconds of any one clock."""
        for way, rate in (("down", beat.down.bits_per_second), ("up", beat.up.bits_per_second)):
            if rate is not None:
                self._seconds[way][int(now)][office] = rate

    def most(self) -> Mapping[str, float]:
        """bit/s of all calls at most, by the way; 0 where no call was held for long enough."""
        return {way: _most(seconds) for way, seconds in self._seconds.items()}


def _most(seconds: Mapping[int, Mapping[str, float]]) -> float:
    """The largest mean over some seconds that follow each other.

    >>> _most({1: {"a": 2.0}, 2: {"a": 4.0, "b": 2.0}, 3: {"a": 4.0, "b": 3.0}, 4: {"b": 1.0}})
    5.0
    """
    sums = {second: sum(rates.values()) for second, rates in seconds.items()}
    means = [
        sum(sums[second + step] for step in range(MEAN_OF)) / MEAN_OF
        for second in sums
        if all(second + step in sums for step in range(MEAN_OF))
    ]
    return max(means, default=0.0)

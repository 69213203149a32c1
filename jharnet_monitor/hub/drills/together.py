"""What all calls of a drill carry in the same seconds: the truth of the line that they share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from jharnet_monitor.rtc.stats.live_stats import LiveSample


class Together:
    """Takes every call's beats, one a second."""

    def __init__(self) -> None:
        self._seconds: dict[str, dict[int, dict[str, float]]] = {
            "down": defaultdict(dict), "up": defaultdict(dict),
        }  # fmt: skip

    def note(self, office: str, beat: LiveSample, now: float) -> None:
        """One office's beat, `now` in seconds of any one clock."""
        for way, rate in (("down", beat.down.bits_per_second), ("up", beat.up.bits_per_second)):
            if rate is not None:
                self._seconds[way][int(now)][office] = rate

    def most(self) -> Mapping[str, float | None]:
        """bit/s of all calls at most, by the way; None where no call was seen to carry anything."""
        return {way: _most(seconds) for way, seconds in self._seconds.items()}


def _most(seconds: Mapping[int, Mapping[str, float]]) -> float | None:
    """The largest sum of one second; None where there is none.

    A beat comes a little less than once a second: where an office has none, its last one stands.

    >>> _most({1: {"a": 2.0}, 2: {"a": 4.0, "b": 2.0}, 3: {"b": 3.0}, 5: {"b": 1.0}})
    7.0
    """
    return max(
        (sum({**seconds.get(n - 1, {}), **seconds[n]}.values()) for n in seconds), default=None
    )

"""What all calls of a drill carry in the same seconds: the truth of the line that they share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from jharnet_monitor.model import Direction
from jharnet_monitor.rtc.stats.live_stats import LiveSample


class Together:
    """Takes every call's beats, one a second."""

    def __init__(self) -> None:
        self._seconds: dict[Direction, dict[int, dict[str, float]]] = {
            direction: defaultdict(dict) for direction in Direction
        }

    def note(self, office: str, beat: LiveSample, now: float) -> None:
        """One office's beat, `now` in seconds of any one clock."""
        for direction, call in ((Direction.DOWN, beat.down), (Direction.UP, beat.up)):
            if call.bits_per_second is not None:
                self._seconds[direction][int(now)][office] = call.bits_per_second

    def most(self) -> Mapping[Direction, float | None]:
        """bit/s of all calls at most, by direction; None where no call carried anything."""
        return {direction: _most(seconds) for direction, seconds in self._seconds.items()}


def _most(seconds: Mapping[int, Mapping[str, float]]) -> float | None:
    """The largest sum of one second; None where there is none.

    A beat comes a little less than once a second: where an office has none, its last one stands.

    >>> _most({1: {"a": 2.0}, 2: {"a": 4.0, "b": 2.0}, 3: {"b": 3.0}, 5: {"b": 1.0}})
    7.0
    """
    return max(
        (sum({**seconds.get(n - 1, {}), **seconds[n]}.values()) for n in seconds), default=None
    )

"""Freezes as they are to be expected, not as the luck of one call had them.

Which packets are lost is counted over thousands; but only a repeat that is lost, too, makes a
picture stand still, and of those a call sees a handful. So the repeats are drawn anew, many times,
with the loss that was counted, and the freezes are the mean. Repeats of a burst go one behind the
other, so that one burst more, or one lost request, takes them all.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jharnet_monitor.judge.video import Freezes
from jharnet_monitor.rtc.arrivals import REPEATED, Arrivals

DRAWS = 15
"""For a window of `_WINDOW`; a longer one tells as much by fewer."""
_WINDOW = 30.0
_TRIES = 10
"""How often a client asks for a packet (Chromium)."""
_TICK = 0.02
"""Seconds by which it asks again late: it looks that often."""


@dataclass(frozen=True, slots=True)
class Path:
    """What a repeat has to pass."""

    delay: float
    """Seconds of play-out delay."""
    round_trip: float
    """Seconds."""
    lost_back: float = 0.0
    """Loss of the other direction, which the request takes."""


@dataclass(frozen=True, slots=True)
class Losses:
    """Loss that comes in bursts (Gilbert's model); on average so many packets in one."""

    share: float
    burst: float

    def drawn(self, count: int, chance: random.Random) -> Iterator[bool]:
        """Whether each of so many packets in a row is lost."""
        lost = chance.random() < self.share
        yield lost
        begins = min(1.0, self.share / (self.burst * max(1 - self.share, 1e-9)))
        for _ in range(count - 1):
            lost = chance.random() < (1 - 1 / self.burst if lost else begins)
            yield lost


def draws(seconds: float) -> range:
    """As many as a window of so many seconds needs, each by its number."""
    return range(max(3, round(DRAWS * _WINDOW / max(seconds, _WINDOW))))


def redrawn(
    video: Arrivals, slots: Mapping[int, int], window: range, path: Path, seconds: float
) -> Iterator[tuple[Mapping[int, int], array[float]]]:
    """Slots and moments of arrival with other luck; none where there was nothing to repeat."""
    came = {n for n in window if n in slots and not video.flags[slots[n]] & REPEATED}
    lost = [n for n in window if n not in came]
    if not lost or not came or path.round_trip <= 0:
        return
    bursts = sum(n - 1 in came for n in lost) or 1
    losses = Losses(len(lost) / len(window), len(lost) / bursts)
    asked = _requests(video, slots, window, came)
    for number in draws(seconds):
        chance = random.Random(number)  # the same call is always judged alike
        at, left = array("d", video.at), dict(slots)
        for moment, packets in asked:
            arrivals = _repeats(len(packets), losses, path, chance)
            for packet, wait in zip(packets, arrivals, strict=True):
                if wait is None:
                    left.pop(packet, None)
                elif packet in left:
                    at[left[packet]] = moment + wait
        yield left, at


def _requests(
    video: Arrivals, slots: Mapping[int, int], window: range, came: set[int]
) -> list[tuple[float, list[int]]]:
    """What was asked for at once, and when: a gap is found when the next packet comes.

    What was lost at the very end is found by nobody, and left as it was.
    """
    found: list[tuple[float, list[int]]] = []
    gap: list[int] = []
    for packet in window:
        if packet not in came:
            gap.append(packet)
        elif gap:
            found.append((video.at[slots[packet]], gap))
            gap = []
    return found


def _repeats(count: int, losses: Losses, path: Path, chance: random.Random) -> list[float | None]:
    """When each packet of a request has come, in seconds from then on; None if it never does."""
    waits: list[float | None] = [None] * count
    for tries in range(_TRIES):
        missing = [n for n in range(count) if waits[n] is None]
        if not missing:
            break
        if chance.random() < path.lost_back:
            continue
        for n, lost in zip(missing, losses.drawn(len(missing), chance), strict=True):
            if not lost:
                waits[n] = path.round_trip + tries * (path.round_trip + _TICK)
    return waits


def mean(found: list[Freezes]) -> Freezes:
    """The mean of several; at least one."""
    return Freezes(
        round(sum(each.count for each in found) / len(found)),
        round(sum(each.seconds for each in found) / len(found), 6),
    )

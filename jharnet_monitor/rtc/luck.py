"""Freezes as they are to be expected, not as the luck of one call had them.

Which packets are lost is counted over thousands; but only a repeat that is lost, too, makes a
picture stand still, and of those a call sees a handful. So the repeats are drawn anew, many times,
with the loss that was counted, and the freezes are the mean.
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
    again = 1 - (1 - len(lost) / len(window)) * (1 - path.lost_back)
    noticed = _noticed(video, slots, window, came)
    for number in draws(seconds):
        chance = random.Random(number)  # the same call is always judged alike
        at, left = array("d", video.at), dict(slots)
        for packet in lost:
            tries = 1
            while tries < _TRIES and chance.random() < again:
                tries += 1
            if packet not in left:
                continue
            if tries == _TRIES or packet not in noticed:
                del left[packet]
            else:
                wait = path.round_trip + (tries - 1) * (path.round_trip + _TICK)
                at[left[packet]] = noticed[packet] + wait
        yield left, at


def _noticed(
    video: Arrivals, slots: Mapping[int, int], window: range, came: set[int]
) -> dict[int, float]:
    """When each lost packet was found missing: when the next one came."""
    found: dict[int, float] = {}
    next_at: float | None = None
    for packet in reversed(window):
        if packet in came:
            next_at = video.at[slots[packet]]
        elif next_at is not None:
            found[packet] = next_at
    return found


def mean(found: list[Freezes]) -> Freezes:
    """The mean of several; at least one."""
    return Freezes(
        round(sum(each.count for each in found) / len(found)),
        round(sum(each.seconds for each in found) / len(found), 6),
    )

"""Freezes as they are to be expected, not as the luck of one call had them.

Which packets are lost is counted over thousands; but only a repeat that is lost, too, makes a
picture stand still, and of those a call sees a handful. So the repeats are drawn anew, many times,
with the loss that was counted, and the freezes are the mean. Repeats of a burst go one behind the
other, so that one burst more, or one lost request, takes them all. After an interruption all that
was lost is repeated at once, as by a client, which sends next to nothing while no report comes.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jharnet_monitor.judge.conference.video import Freezes
from jharnet_monitor.rtc.receive.arrivals import REPEATED, Arrivals

DRAWS = 15
"""For a window of `_WINDOW`; a longer one tells as much by fewer."""
_WINDOW = 30.0
_TRIES = 10
"""How often a client asks for a packet (Chromium)."""
_INTERRUPTED = 0.3
"""Seconds without any packet: the line was gone, which says nothing of the loss of repeats."""
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
class Request:
    """Packets that were lost in a row, and are asked for when the next one comes."""

    at: float
    """Seconds, when that was."""
    packets: list[int]
    silence: float
    """Seconds in which nothing came before it."""


@dataclass(frozen=True, slots=True)
class Losses:
    """Loss that comes in bursts (Gilbert's model); on average so many packets in one."""

    share: float
    burst: float

    @classmethod
    def of(cls, requests: Sequence[Request], came: int) -> Losses:
        """As they were counted, beside so many packets that came."""
        lost = sum(len(each.packets) for each in requests)
        return cls(lost / (lost + came), lost / max(1, len(requests)) or 1.0)

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
    if not came or len(came) == len(window) or path.round_trip <= 0:
        return
    asked = _requests(video, slots, window, came)
    losses = Losses.of([each for each in asked if each.silence <= _INTERRUPTED], len(came))
    back = path.lost_back
    if any(each.silence > _INTERRUPTED for each in asked):
        back = min(back, losses.share)  # what was counted has the interruptions in it
    for number in draws(seconds):
        chance = random.Random(number)  # the same call is always judged alike
        at, left = array("d", video.at), dict(slots)
        for request in asked:
            waits = _repeats(len(request.packets), losses, path.round_trip, back, chance)
            for packet, wait in zip(request.packets, waits, strict=True):
                if wait is None:
                    left.pop(packet, None)
                elif packet in left:
                    at[left[packet]] = request.at + wait
        yield left, at


def _requests(
    video: Arrivals, slots: Mapping[int, int], window: range, came: set[int]
) -> list[Request]:
    """What was lost, by gaps; what was lost at the very end is found by nobody."""
    found: list[Request] = []
    gap: list[int] = []
    newest = None
    for packet in window:
        if packet not in came:
            gap.append(packet)
            continue
        at = video.at[slots[packet]]
        if gap:
            found.append(Request(at, gap, 0.0 if newest is None else at - newest))
            gap = []
        newest = at
    return found


def _repeats(
    count: int, losses: Losses, round_trip: float, back: float, chance: random.Random
) -> list[float | None]:
    """When each packet of a request has come, in seconds from then on; None if it never does."""
    waits: list[float | None] = [None] * count
    for tries in range(_TRIES):
        missing = [n for n in range(count) if waits[n] is None]
        if not missing:
            break
        if chance.random() < back:
            continue
        for n, lost in zip(missing, losses.drawn(len(missing), chance), strict=True):
            if not lost:
                waits[n] = round_trip + tries * (round_trip + _TICK)
    return waits


def mean(found: list[Freezes]) -> Freezes:
    """The mean of several; at least one."""
    return Freezes(
        round(sum(each.count for each in found) / len(found)),
        round(sum(each.seconds for each in found) / len(found), 6),
    )

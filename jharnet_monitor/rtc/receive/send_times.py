"""When a browser sent its packets, as the abs-send-time header extension of its video says.

A browser does not number its late packets for us, as our own agent does. But a packet of its voice
waits in the line about as long as the packets of its picture that arrive around it, and these say
when they were sent: what the voice is later than that, the browser's computer made late. That need
not show in the timers of its page: in Chromium another process records the sound.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise

from jharnet_monitor.rtc.receive.arrivals import MAX_PACKETS, Arrivals
from jharnet_monitor.rtc.rtp import header_extension, unwrap
from jharnet_monitor.rtc.send.sent_log import LATE

_TICKS_PER_SECOND = 1 << 18
"""abs-send-time counts 2^-18 s in 24 bits and wraps every 64 s."""
_NEAR = 0.1
"""Seconds around a packet of the voice in which packets of the picture show what the line did."""
_UNSURE = 0.03
"""Seconds by which a packet must be late to prove it where the timers were punctual: for so long a
picture's packet of 1200 bytes occupies a line of 0.3 Mbit/s, which the voice behind it waits."""
_USUAL = 0.9
"""Quantile of the intervals between pictures that is the usual one: a PC that stands still, or a
loss, makes a few of them longer."""


class SendTimes:
    """Arrival and transit of each packet that says when it was sent."""

    def __init__(self, extension_id: int) -> None:
        """`extension_id` is that of abs-send-time."""
        self.at = array("d")
        """Arrival in monotonic seconds."""
        self.transit = array("d")
        """Seconds from sending to arrival, between unrelated clocks."""
        self._extension_id = extension_id
        self._ticks = 0

    def add(self, data: bytes, at: float) -> float | None:
        """Note an RTP packet that arrived at `at`; returns its transit, None if it has none."""
        value = header_extension(data, self._extension_id)
        if value is None or len(value) != 3:
            return None
        self._ticks = unwrap(int.from_bytes(value), self._ticks, 24)
        transit = at - self._ticks / _TICKS_PER_SECOND
        if len(self.at) < MAX_PACKETS:
            self.transit.append(transit)
            # Appended last: readers in other threads take the number of rows from this column.
            self.at.append(at)
        return transit


def sent_late(
    voice: Arrivals, video: Arrivals, times: SendTimes, timers_late: bool
) -> tuple[tuple[int, float], ...]:
    """The packets of the voice that were sent late, and by how many seconds.

    Packets are numbered from the first that arrived. The line is given the delay of the picture's
    packet that arrived nearest, so that its jitter stays. It is given all where none arrived within
    0.1 s, and where no packet of the voice within 0.1 s proves that the computer was late.

    A packet proves it if it is later than a line that keeps the order can have made it since the
    packet of the picture before it. If a computer stands still as a whole, which its `timers_late`
    show, its picture pauses, too: then also by more than the usual interval of the pictures.
    """
    moments = voice.at[: len(voice.sequence)]
    nearest = _nearest(times, moments)
    transits = _transits(voice, times, nearest)
    usual = _usual_interval(video) + LATE if timers_late else math.inf
    margin = LATE if timers_late else _UNSURE
    proofs = [
        at
        for at, transit, wait in zip(moments, transits, _longest_near(times, moments), strict=True)
        if transit > min(wait + usual, _longest_in_order(times, at, wait) + margin)
    ]
    first = voice.first or 0
    late = (transit - wait for transit, wait in zip(transits, nearest, strict=True))
    return tuple(
        (sequence - first, seconds)
        for sequence, at, seconds in zip(voice.sequence, moments, late, strict=False)
        if seconds > LATE and _has_near(proofs, at)
    )


def _transits(voice: Arrivals, times: SendTimes, nearest: Sequence[float]) -> list[float]:
    """Transits of the voice by the picture's clock: its fastest packet waited as the picture's."""
    transits = [
        at - stamp / voice.clock_rate
        for at, stamp, _ in zip(voice.at, voice.timestamp, nearest, strict=False)
    ]
    known = (t for t, wait in zip(transits, nearest, strict=True) if wait < math.inf)
    offset = min(times.transit, default=0.0) - min(known, default=0.0)
    return [transit + offset for transit in transits]


def _longest_in_order(times: SendTimes, at: float, wait: float) -> float:
    """The longest transit, in a line that keeps the order, of a packet of the voice that arrives at
    `at`: it was sent after the packet of the picture that arrived before it. `wait` is the longest
    transit of those around it."""
    before = bisect_left(times.at, at) - 1
    if before < 0:
        return math.inf
    return max(wait, times.transit[before]) + at - times.at[before]


def _has_near(moments: Sequence[float], at: float) -> bool:
    """Whether one of the moments, which are in order, is within 0.1 s."""
    found = bisect_left(moments, at - _NEAR)
    return found < len(moments) and moments[found] <= at + _NEAR


def _usual_interval(video: Arrivals) -> float:
    """Seconds between two pictures."""
    stamps = sorted(set(video.timestamp))
    ticks = sorted(later - earlier for earlier, later in pairwise(stamps))
    return ticks[int(_USUAL * (len(ticks) - 1))] / video.clock_rate if ticks else _NEAR


def _nearest(times: SendTimes, moments: Sequence[float]) -> list[float]:
    """For each moment, in order, the transit of what arrived nearest to it; infinite if nothing
    did within 0.1 s."""
    found: list[float] = []
    for moment in moments:
        after = bisect_left(times.at, moment)
        around = range(max(0, after - 1), min(after + 1, len(times.at)))
        distance, row = min(
            ((abs(times.at[row] - moment), row) for row in around), default=(1.0, 0)
        )
        found.append(times.transit[row] if distance <= _NEAR else math.inf)
    return found


def _longest_near(times: SendTimes, moments: Sequence[float]) -> Iterator[float]:
    """For each moment, in order, the longest transit of what arrived within 0.1 s of it; infinite
    if nothing did."""
    near: deque[int] = deque()
    """Rows whose transit is longer than those of all later ones."""
    entered = 0
    for moment in moments:
        while entered < len(times.at) and times.at[entered] <= moment + _NEAR:
            while near and times.transit[near[-1]] <= times.transit[entered]:
                near.pop()
            near.append(entered)
            entered += 1
        while near and times.at[near[0]] < moment - _NEAR:
            near.popleft()
        yield times.transit[near[0]] if near else math.inf

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

    Packets are numbered from the first that arrived. The line is given the longest delay of the
    picture's packets within 0.1 s. It is given all without such packets, and where no packet within
    0.1 s proves that the computer was late: it is later than the line can have held it up since the
    packet of the picture before it. If a computer stands still as a whole, which its `timers_late`
    show, its picture pauses, too: then the usual interval of the pictures counts, if it is shorter.
    """
    late = _beyond_picture(voice, times)
    usual, first = _usual_interval(video) if timers_late else math.inf, voice.first or 0
    proofs = [
        voice.at[row]
        for row, seconds in late.items()
        if seconds > min(usual, _since_picture(times, voice.at[row])) + LATE
    ]
    return tuple(
        (voice.sequence[row] - first, seconds)
        for row, seconds in late.items()
        if seconds > LATE and _has_near(proofs, voice.at[row])
    )


def _beyond_picture(voice: Arrivals, times: SendTimes) -> dict[int, float]:
    """By row, the seconds by which the voice is later than the picture around it."""
    rows = range(len(voice.sequence))
    transits = [voice.at[row] - voice.timestamp[row] / voice.clock_rate for row in rows]
    waits = _longest_near(times, voice.at[: len(rows)])
    waited = {row: wait for row, wait in zip(rows, waits, strict=True) if wait is not None}
    shortest = min((transits[row] for row in waited), default=0.0)
    fastest = min(times.transit, default=0.0)
    return {row: (transits[row] - shortest) - (wait - fastest) for row, wait in waited.items()}


def _since_picture(times: SendTimes, at: float) -> float:
    """Seconds since a packet of the picture arrived.

    In a line that keeps the order, a packet of the voice that arrives after it was sent after it,
    too: it waited at most these seconds longer.
    """
    before = bisect_left(times.at, at)
    return at - times.at[before - 1] if before else math.inf


def _has_near(moments: Sequence[float], at: float) -> bool:
    """Whether one of the moments, which are in order, is within 0.1 s."""
    found = bisect_left(moments, at - _NEAR)
    return found < len(moments) and moments[found] <= at + _NEAR


def _usual_interval(video: Arrivals) -> float:
    """Seconds between two pictures."""
    stamps = sorted(set(video.timestamp))
    ticks = sorted(later - earlier for earlier, later in pairwise(stamps))
    return ticks[int(_USUAL * (len(ticks) - 1))] / video.clock_rate if ticks else _NEAR


def _longest_near(times: SendTimes, moments: Sequence[float]) -> Iterator[float | None]:
    """For each moment, in order, the longest transit of what arrived within 0.1 s of it.

    None if nothing did.
    """
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
        yield times.transit[near[0]] if near else None

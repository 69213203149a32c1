"""What a listener would have heard: packets lost, packets too late, and how evenly they came."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from itertools import groupby

from jharnet_monitor.judge.conference.chromium_model import concealed_packets
from jharnet_monitor.profiles import AUDIO_FRAMES_PER_SECOND
from jharnet_monitor.rtc.receive.arrivals import Arrivals

_INTERVAL = 1 / AUDIO_FRAMES_PER_SECOND
_LEAST, _MOST = 0.04, 0.5
"""Seconds within which a client adapts its play-out delay."""
_START = 0.06
_HISTORY = 5 * AUDIO_FRAMES_PER_SECOND
_QUANTILE = 0.97


@dataclass(frozen=True, slots=True)
class Sound:
    """The audio of the judged window."""

    lost: list[bool]
    """By packet, in order of sending."""
    concealed: int
    """Packets that a client would have had to make up."""
    play_out: float
    """Mean play-out delay in seconds."""
    jitter: float | None
    """RFC 3550, 6.4.1, in seconds at the end of the window; None without packets."""
    pdv: float | None
    """RFC 5481: 95th percentile of the one-way delay above the smallest, in seconds."""
    line_bytes: int


def heard(audio: Arrivals, first: int, packets: int, window: int) -> Sound:
    """Hold arrivals against the packets that were sent, `window` being the first judged one.

    A packet that comes later than the play-out delay of the moment counts as lost to the
    listener. The delay follows the 97th percentile of the last five seconds, as NetEQ does.
    """
    slots = audio.slots(first, packets)
    recent = _Recent()
    present: list[bool] = []
    in_time: list[bool] = []
    transits: list[float] = []
    play_outs: list[float] = []
    jitter, previous = 0.0, None
    for number in range(packets):
        index = slots.get(number)
        arrived = index is not None
        on_time = False
        if index is not None:
            transit = audio.at[index] - audio.timestamp[index] / audio.clock_rate
            if previous is not None:
                jitter += (abs(transit - previous) - jitter) / 16
            previous = transit
            play_out = recent.play_out()
            recent.add(transit)
            on_time = transit - recent.shortest <= play_out
            if number >= window:
                transits.append(transit)
                play_outs.append(play_out)
        if number >= window:
            present.append(arrived)
            in_time.append(on_time)
    transits.sort()
    return Sound(
        lost=[not here for here in present],
        concealed=round(concealed_packets(_gaps(in_time))),
        play_out=sum(play_outs) / len(play_outs) if play_outs else _LEAST,
        jitter=jitter if transits else None,
        pdv=transits[int(0.95 * (len(transits) - 1))] - transits[0] if transits else None,
        line_bytes=sum(audio.size[slots[n]] for n in range(window, packets) if n in slots),
    )


def _gaps(in_time: list[bool]) -> list[int]:
    """Lengths of the gaps.

    >>> _gaps([True, False, True, True, False, False])
    [1, 2]
    """
    return [sum(1 for _ in run) for here, run in groupby(in_time) if not here]


class _Recent:
    """The transits of the last five seconds, also in order of size."""

    def __init__(self) -> None:
        self._queue: deque[float] = deque()
        self._ordered: list[float] = []

    def add(self, transit: float) -> None:
        self._queue.append(transit)
        insort(self._ordered, transit)
        if len(self._queue) > _HISTORY:
            del self._ordered[bisect_left(self._ordered, self._queue.popleft())]

    @property
    def shortest(self) -> float:
        return self._ordered[0]

    def play_out(self) -> float:
        """What a client would hold packets back by, now."""
        if len(self._ordered) < AUDIO_FRAMES_PER_SECOND:
            return _START
        spread = self._ordered[int(_QUANTILE * (len(self._ordered) - 1))] - self._ordered[0]
        return min(_MOST, max(_LEAST, spread + _INTERVAL))

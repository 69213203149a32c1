"""The audio quality at a client's speaker: lost and late packets, jitter and delay variation."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from jharnet_monitor.judge.conference.chromium_model import concealed_packets
from jharnet_monitor.profiles import AUDIO_FRAMES_PER_SECOND
from jharnet_monitor.rtc.receive.arrivals import Arrivals

_PACKET_SECONDS = 1 / AUDIO_FRAMES_PER_SECOND
_MIN_DELAY, _MAX_DELAY = 0.04, 0.5
"""Limits in seconds of a client's adaptive playout delay."""
_INITIAL_DELAY = 0.06
_HISTORY_PACKETS = 5 * AUDIO_FRAMES_PER_SECOND
_QUANTILE = 0.97


@dataclass(frozen=True, slots=True)
class AudioQuality:
    """The audio of the judged window."""

    lost: list[bool]
    """For each packet, in sending order, whether it never arrived."""
    concealed: int
    """Packets that a client would have had to conceal."""
    playout_delay: float
    """Mean playout delay in seconds."""
    jitter: float | None
    """Interarrival jitter (RFC 3550, 6.4.1) in seconds at the end; None without packets."""
    pdv: float | None
    """Packet delay variation (RFC 5481): the 95th percentile of the one-way delay above its
    minimum, in seconds; None without packets."""
    line_bytes: int
    """Bytes on the line."""


def audio_quality(
    audio: Arrivals, first: int, packets: int, window: int, late: Mapping[int, float]
) -> AudioQuality:
    """Compare the packets that arrived with those that were sent.

    `first` is the sequence number of the first packet sent, `packets` how many were sent, and
    `window` the number of the first judged one. `late` are the seconds by which the sender itself
    sent packets late, by number: they are no delay of the line. A packet that arrives later than
    the current playout delay counts as concealed. The delay follows the 97th percentile of the last
    five seconds, like NetEQ in WebRTC.
    """
    rows = audio.rows_by_packet(first, packets)
    recent = _RecentTransits()
    present: list[bool] = []
    in_time: list[bool] = []
    transits: list[float] = []
    delays: list[float] = []
    jitter, previous_transit = 0.0, None
    for number in range(packets):
        row = rows.get(number)
        is_in_time = False
        if row is not None:
            due_at = audio.timestamp[row] / audio.clock_rate
            transit = audio.at[row] - due_at - late.get(number, 0.0)
            if previous_transit is not None:
                jitter += (abs(transit - previous_transit) - jitter) / 16
            previous_transit = transit
            delay = recent.playout_delay()
            recent.add(transit)
            is_in_time = transit - recent.shortest <= delay
            if number >= window:
                transits.append(transit)
                delays.append(delay)
        if number >= window:
            present.append(row is not None)
            in_time.append(is_in_time)
    transits.sort()
    return AudioQuality(
        lost=[not arrived for arrived in present],
        concealed=round(concealed_packets(_gap_lengths(in_time))),
        playout_delay=sum(delays) / len(delays) if delays else _MIN_DELAY,
        jitter=jitter if transits else None,
        pdv=transits[int(0.95 * (len(transits) - 1))] - transits[0] if transits else None,
        line_bytes=sum(audio.size[rows[n]] for n in range(window, packets) if n in rows),
    )


def _gap_lengths(in_time: list[bool]) -> list[int]:
    """Lengths of the runs of False.

    >>> _gap_lengths([True, False, True, True, False, False])
    [1, 2]
    """
    return [sum(1 for _ in run) for present, run in groupby(in_time) if not present]


class _RecentTransits:
    """The transits of the last five seconds, in order of arrival and sorted."""

    def __init__(self) -> None:
        self._queue: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, transit: float) -> None:
        self._queue.append(transit)
        insort(self._sorted, transit)
        if len(self._queue) > _HISTORY_PACKETS:
            del self._sorted[bisect_left(self._sorted, self._queue.popleft())]

    @property
    def shortest(self) -> float:
        return self._sorted[0]

    def playout_delay(self) -> float:
        """Seconds by which a client would delay packets now."""
        if len(self._sorted) < AUDIO_FRAMES_PER_SECOND:
            return _INITIAL_DELAY
        spread = self._sorted[int(_QUANTILE * (len(self._sorted) - 1))] - self._sorted[0]
        return min(_MAX_DELAY, max(_MIN_DELAY, spread + _PACKET_SECONDS))

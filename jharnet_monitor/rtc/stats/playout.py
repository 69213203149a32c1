"""The audio quality at a client's speaker: lost and late packets, jitter and delay variation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jharnet_monitor.judge.conference.jitter_buffer import PACKET_SECONDS, JitterBuffer
from jharnet_monitor.rtc.receive.arrivals import Arrivals

_MIN_DELAY = 0.04
"""Seconds of playout delay where nothing arrived."""


@dataclass(frozen=True, slots=True)
class AudioQuality:
    """The audio of the judged window."""

    lost: list[bool]
    """For each packet, in sending order, whether it never arrived."""
    concealed: int
    """Packets that a client would have had to conceal; a late one until it came."""
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
    sent packets late, by number: they are no delay of the line.
    """
    rows = audio.rows_by_packet(first, packets)
    buffer, concealed = JitterBuffer(), 0.0
    present: list[bool] = []
    transits: list[float] = []
    delays: list[float] = []
    jitter, previous_transit = 0.0, None
    for number in range(packets):
        row = rows.get(number)
        if row is None:
            gap = buffer.add(0.0, None)
        else:
            left = audio.timestamp[row] / audio.clock_rate + late.get(number, 0.0)
            gap = buffer.add(left, audio.at[row])
            transit = audio.at[row] - left
            if previous_transit is not None:
                jitter += (abs(transit - previous_transit) - jitter) / 16
            previous_transit = transit
            if number >= window:
                transits.append(transit)
                delays.append(buffer.delay)
        if number >= window:
            present.append(row is not None)
            concealed += gap
    transits.sort()
    return AudioQuality(
        lost=[not arrived for arrived in present],
        concealed=min(len(present), round(concealed / PACKET_SECONDS)),
        playout_delay=sum(delays) / len(delays) if delays else _MIN_DELAY,
        jitter=jitter if transits else None,
        pdv=transits[int(0.95 * (len(transits) - 1))] - transits[0] if transits else None,
        line_bytes=sum(audio.size[rows[n]] for n in range(window, packets) if n in rows),
    )

"""The receiving half of one end: logs every arrival before any jitter buffer, decodes nothing.

It requests missing packets (NACK), requests a keyframe if that does not help (PLI), and sends
receiver reports every 100 to 250 ms so that the sender soon learns that it overloads the link.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

from aiortc.rtp import (
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
)

from jharnet_monitor.profiles import AUDIO_CLOCK_RATE
from jharnet_monitor.rtc.codecs import DEFAULT_CODEC, PARSERS
from jharnet_monitor.rtc.receive.arrivals import FRAME_END, FRAME_START, KEYFRAME, Arrivals
from jharnet_monitor.rtc.receive.receiver_report import ReceiverReportApp
from jharnet_monitor.rtc.rtp import RtpHeader, original_sequence, parse_header
from jharnet_monitor.rtc.sdp import Stream, Streams

REPORT_INTERVAL = 0.25
"""Seconds between receiver reports."""
FAST_REPORT_INTERVAL = 0.1
"""Seconds between reports while the sender searches for its rung; a full link drops some."""
_FAST_REPORT_SECONDS = 3.0
"""Reports are fast for this long after the first video packet ..."""
_FAST_REPORT_LOSS = 0.06
"""... and while more than this share of the packets is lost."""
NACK_INTERVAL = 0.02
"""Seconds between checks for missing packets."""
_LATE = 0.01
"""Seconds by which a check that comes later waits for the next one with its report ..."""
_MUCH_LATER = 2.0
"""... and so does the next one if it comes later by this factor: another pause has begun. (On a
host that is always late, every second check reports.)"""
_MAX_NACKS = 10
"""Requests for one packet."""
_MAX_NACK_AGE = 2.0
"""Seconds after which a missing packet is no longer requested."""
_FIRST_KEYFRAME = 0.2
"""Seconds for which Chromium waits for a keyframe (`kMaxWaitForKeyFrame`); then it requests one."""
_MAX_PACKETS_PER_NACK = 200
"""So that a request fits a datagram, however the sequence numbers are spread."""
_MAX_MISSING = 1000
"""Missing packets that are tracked: seconds of 720p. Older ones are given up."""
_MAX_GAP = 3000
"""A larger jump in sequence numbers is a restarted stream, not loss."""

Send = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _MissingPacket:
    """A packet to be requested; times in monotonic seconds."""

    missing_since: float
    nacks: int = 0
    last_nack_at: float = 0.0


class Receiver:
    """Receives the peer's audio and video stream."""

    def __init__(self, round_trip: Callable[[], float]) -> None:
        """`round_trip` returns the current round-trip time in seconds."""
        self.audio, self.video = Arrivals(AUDIO_CLOCK_RATE), Arrivals(90_000)
        self.last_at: float | None = None
        """When the latest media packet arrived, in monotonic seconds."""
        self.needs_feedback = False
        """A packet is newly missing, or the first video packet arrived: call `send_feedback`."""
        self.reports_stopped = False
        """The call is over: send no more reports."""
        self._started_at = time.monotonic()
        self._round_trip = round_trip
        self._remote: Streams | None = None
        self._local: Streams | None = None
        self._parse_payload = PARSERS[DEFAULT_CODEC]
        self._missing: dict[int, _MissingPacket] = {}
        self._sender_reports: dict[int, tuple[int, float]] = {}
        """By SSRC: the middle 32 bits of the NTP timestamp, and when the report arrived."""
        self._previous_counts: dict[int, tuple[int, int]] = {}
        """By SSRC: packets expected and received at the previous report."""
        self._longest_gap = 0.0
        self._fraction_lost = 0.0
        self._last_pli_at = 0.0

    def start(self, remote: Streams, local: Streams) -> None:
        """Set the peer's streams, and our own, whose SSRC identifies our reports."""
        self._remote, self._local = remote, local
        self._parse_payload = PARSERS[remote.codec]

    @property
    def first_at(self) -> float | None:
        """When the first media packet arrived, in monotonic seconds; None before it."""
        starts = [log.at[0] for log in (self.audio, self.video) if log.at]
        return min(starts) if starts else None

    def rtp_received(self, data: bytes, at: float) -> None:
        """Log one RTP packet; a packet of a stream that the peer did not describe is ignored."""
        header = parse_header(data)
        if header is None or self._remote is None:
            return
        remote = self._remote
        if header.ssrc == remote.audio.ssrc:
            if header.payload_type == remote.audio.payload_type:
                self.audio.add(header, len(data), at, FRAME_START | FRAME_END, None)
                self._note_arrival(at)
        elif header.ssrc == remote.video.ssrc:
            if header.payload_type == remote.video.payload_type:
                self._add_video(data, header, at, header.payload_offset, None)
                self._note_arrival(at)
        elif header.ssrc == remote.video.rtx_ssrc:
            original = original_sequence(data, header)
            if original is not None:
                self._add_video(data, header, at, header.payload_offset + 2, original)

    def _note_arrival(self, at: float) -> None:
        if self.last_at is not None:
            self._longest_gap = max(self._longest_gap, at - self.last_at)
        self.last_at = at

    def _add_video(
        self, data: bytes, header: RtpHeader, at: float, offset: int, original: int | None
    ) -> None:
        """Log a video packet whose codec payload starts at `offset`, and note a gap before it."""
        info = self._parse_payload(data, offset)
        flags = FRAME_START * info.starts_frame | FRAME_END * header.marker | KEYFRAME * info.is_key
        previous = self.video.highest if self.video.at else None
        if not self.video.add(header, len(data), at, flags, original):
            return
        if info.height:
            self.video.heights[self.video.timestamp[-1]] = info.height
        sequence = self.video.sequence[-1]
        self._missing.pop(sequence, None)
        self.needs_feedback = self.needs_feedback or previous is None
        if previous is not None and previous + 1 < sequence <= previous + _MAX_GAP:
            for lost in range(previous + 1, sequence):
                self._missing[lost] = _MissingPacket(at)
                self.needs_feedback = True
            while len(self._missing) > _MAX_MISSING:
                del self._missing[next(iter(self._missing))]

    def sender_report_received(self, ssrc: int, ntp_timestamp: int, at: float) -> None:
        """Note a sender report, for the LSR and DLSR fields of our reports (RFC 3550, 6.4.1)."""
        self._sender_reports[ssrc] = ((ntp_timestamp >> 16) & 0xFFFFFFFF, at)

    async def run(self, send: Send) -> None:
        """Send reports and requests until cancelled or disconnected."""
        now = time.monotonic()
        report_at, waited_for = now + REPORT_INTERVAL, 0.0
        while True:
            due = now + NACK_INTERVAL
            await asyncio.sleep(NACK_INTERVAL)
            now = time.monotonic()
            # What has arrived meanwhile is read next; a report before it states too few bytes.
            is_late = now - due > max(_LATE, _MUCH_LATER * waited_for)
            waited_for = now - due if is_late else 0.0
            try:
                await self._send_nacks(now, send)
                await self._request_keyframe(now, send)
                if now >= report_at and not is_late and not self.reports_stopped:
                    report_at = now + self._report_interval(now)
                    await self._send_report(time.monotonic(), send)  # requests took their time
            except ConnectionError:
                return

    def _report_interval(self, now: float) -> float:
        """Seconds until the next report."""
        is_starting = not self.video.at or now - self.video.at[0] < _FAST_REPORT_SECONDS
        is_lossy = self._fraction_lost > _FAST_REPORT_LOSS
        return FAST_REPORT_INTERVAL if is_starting or is_lossy else REPORT_INTERVAL

    async def send_feedback(self, now: float, send: Send) -> None:
        """Send what cannot wait for the next iteration of `run`.

        The first video packet is reported at once: it met an empty queue, and its transit is the
        reference for later delays.
        """
        self.needs_feedback = False
        if len(self.video.at) == 1:
            await self._send_report(now, send)
        await self._send_nacks(now, send)

    async def _send_nacks(self, now: float, send: Send) -> None:
        """Request missing packets, each once per round trip."""
        if not self._missing or self._remote is None or self._local is None:
            return
        interval = max(self._round_trip(), NACK_INTERVAL)
        due = []
        for sequence, packet in list(self._missing.items()):
            if packet.nacks >= _MAX_NACKS or now - packet.missing_since > _MAX_NACK_AGE:
                del self._missing[sequence]
            elif now - packet.last_nack_at >= interval:
                due.append(sequence)
                self._missing[sequence] = _MissingPacket(
                    packet.missing_since, packet.nacks + 1, now
                )
        local_ssrc, remote_ssrc = self._local.video.ssrc, self._remote.video.ssrc
        for lost in _nack_batches(due):
            nack = RtcpRtpfbPacket(RTCP_RTPFB_NACK, local_ssrc, remote_ssrc)
            nack.lost = lost
            await send(bytes(nack))

    async def _request_keyframe(self, now: float, send: Send) -> None:
        """Request a keyframe (RFC 4585, 6.3.1) if retransmissions do not arrive, or none came yet.

        A packet that is lost before the first arrival is never missed, but without it the first
        picture cannot be decoded.
        """
        if not self.video.at or self._remote is None or self._local is None:
            return
        interval = max(self._round_trip(), NACK_INTERVAL)
        oldest = min((packet.missing_since for packet in self._missing.values()), default=now)
        waits = not self.video.heights and now - self.video.at[0] > _FIRST_KEYFRAME
        if not waits and now - oldest <= 0.2 + 2 * interval:
            return
        if now - self._last_pli_at > max(0.3, interval):
            self._last_pli_at = now
            ssrcs = self._local.video.ssrc, self._remote.video.ssrc
            await send(bytes(RtcpPsfbPacket(RTCP_PSFB_PLI, *ssrcs)))

    async def _send_report(self, now: float, send: Send) -> None:
        if self._remote is None or self._local is None:
            return
        blocks = [
            self._report_block(log, stream, now)
            for log, stream in (
                (self.audio, self._remote.audio),
                (self.video, self._remote.video),
            )
            if log.first is not None
        ]
        if blocks:
            app = ReceiverReportApp(
                written_at=now - self._started_at,
                line_bytes=self.audio.line_bytes + self.video.line_bytes,
                newest_audio_at=self.audio.highest_at - self._started_at,
                newest_video_at=self.video.highest_at - self._started_at,
                longest_gap=self._longest_gap,
            )
            self._longest_gap = 0.0
            report = RtcpRrPacket(ssrc=self._local.video.ssrc, reports=blocks)
            await send(bytes(report) + app.pack())

    def _report_block(self, log: Arrivals, stream: Stream, now: float) -> RtcpReceiverInfo:
        """A report block (RFC 3550, 6.4.1); its loss counts first transmissions only."""
        expected, received = log.expected, log.first_transmissions
        previous_expected, previous_received = self._previous_counts.get(stream.ssrc, (0, 0))
        self._previous_counts[stream.ssrc] = (expected, received)
        expected_interval = expected - previous_expected
        lost_interval = max(0, expected_interval - (received - previous_received))
        self._fraction_lost = lost_interval / expected_interval if expected_interval > 0 else 0.0
        lsr, arrived_at = self._sender_reports.get(stream.ssrc, (0, now))
        return RtcpReceiverInfo(
            ssrc=stream.ssrc,
            fraction_lost=(
                min(255, (lost_interval << 8) // expected_interval) if expected_interval > 0 else 0
            ),
            packets_lost=max(-(1 << 23), min(expected - received, (1 << 23) - 1)),
            highest_sequence=log.highest & 0xFFFFFFFF,
            jitter=int(log.jitter) & 0xFFFFFFFF,
            lsr=lsr,
            dlsr=min(int((now - arrived_at) * 65536), 0xFFFFFFFF),
        )


def _nack_batches(lost: list[int]) -> Iterator[list[int]]:
    """Split unwrapped sequence numbers into lists of 16-bit numbers, one list per NACK.

    A list ends where the numbers wrap, because aiortc computes the bit masks (RFC 4585, 6.2.1)
    from plain differences.

    >>> list(_nack_batches([65536, 65535, 65537]))
    [[65535], [0, 1]]
    """
    for _, cycle in groupby(sorted(lost), lambda number: number >> 16):
        numbers = [number & 0xFFFF for number in cycle]
        for start in range(0, len(numbers), _MAX_PACKETS_PER_NACK):
            yield numbers[start : start + _MAX_PACKETS_PER_NACK]

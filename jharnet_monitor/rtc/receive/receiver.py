"""One end's receiving half: notes every arrival before any jitter buffer, and decodes nothing.

It asks again for what is missing (NACK), for a keyframe where that does not help (PLI), and
reports to the sender every 250 ms, so that the sender knows in time that it chokes the link.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import groupby

from aiortc.rtp import (
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
)

from jharnet_monitor.rtc.codecs import DEFAULT, PARSERS
from jharnet_monitor.rtc.receive.arrivals import ENDS, KEY, STARTS, Arrivals
from jharnet_monitor.rtc.receive.receiver_report import Account
from jharnet_monitor.rtc.rtp import Header, original_sequence, parse_header
from jharnet_monitor.rtc.sdp import Stream, Streams

REPORT_INTERVAL = 0.25
PROBING_INTERVAL = 0.1
"""Seconds between reports while the sender tries what the link bears: a full link drops them."""
_PROBING = 3.0
_LOSS_THAT_ALARMS = 0.06
NACK_INTERVAL = 0.02
_NACK_TRIES = 10
_NACK_AGE = 2.0
"""Seconds after which a packet is no longer asked for."""
_NACK_MOST = 200
"""Packets that one request names, so that it fits a datagram however they lie."""
_MOST_MISSING = 1000
"""Packets that are asked for at a time: seconds of 720p; what is older is given up."""
_MAX_GAP = 3000
"""Sequence numbers; a larger jump is a new stream, not loss."""

Send = Callable[[bytes], Awaitable[None]]


class Receiver:
    """Takes the packets of the peer's two streams."""

    def __init__(self, round_trip: Callable[[], float]) -> None:
        self.audio, self.video = Arrivals(48_000), Arrivals(90_000)
        self.last_at: float | None = None
        self.urgent = False
        """A packet was found missing just now, or the first picture came: `attend` at once."""
        self.quiet = False
        """The call is over: report no more."""
        self._begun = time.monotonic()
        self._round_trip = round_trip
        self._streams: Streams | None = None
        self._own: Streams | None = None
        self._parse = PARSERS[DEFAULT]
        self._missing: dict[int, tuple[int, float, float]] = {}
        self._sender_reports: dict[int, tuple[int, float]] = {}
        self._last_counts: dict[int, tuple[int, int]] = {}
        self._longest_gap = 0.0
        self._fraction_lost = 0.0
        self._last_pli = 0.0

    def start(self, theirs: Streams, own: Streams) -> None:
        """Learn the peer's stream numbers, and ours, under which we report."""
        self._streams, self._own = theirs, own
        self._parse = PARSERS[theirs.codec]

    @property
    def first_at(self) -> float | None:
        """Monotonic seconds of the first media packet; None before it."""
        starts = [log.at[0] for log in (self.audio, self.video) if log.at]
        return min(starts) if starts else None

    def received(self, data: bytes, at: float) -> None:
        """Note one RTP packet; one of no stream that the peer described counts for nothing."""
        header = parse_header(data)
        if header is None or self._streams is None:
            return
        streams = self._streams
        if header.ssrc == streams.audio.ssrc:
            if header.payload_type == streams.audio.payload_type:
                self.audio.add(header, len(data), at, STARTS | ENDS, None)
                self._note_arrival(at)
        elif header.ssrc == streams.video.ssrc:
            if header.payload_type == streams.video.payload_type:
                self._video(data, header, at, header.payload, None)
                self._note_arrival(at)
        elif header.ssrc == streams.video.rtx_ssrc:
            original = original_sequence(data, header)
            if original is not None:
                self._video(data, header, at, header.payload + 2, original)

    def _note_arrival(self, at: float) -> None:
        if self.last_at is not None:
            self._longest_gap = max(self._longest_gap, at - self.last_at)
        self.last_at = at

    def _video(
        self, data: bytes, header: Header, at: float, payload: int, original: int | None
    ) -> None:
        frame = self._parse(data, payload)
        flags = STARTS * frame.starts_frame | ENDS * header.marker | KEY * frame.is_key
        before = self.video.highest if self.video.at else None
        if not self.video.add(header, len(data), at, flags, original):
            return
        if frame.height:
            self.video.heights[self.video.timestamp[-1]] = frame.height
        sequence = self.video.sequence[-1]
        self._missing.pop(sequence, None)
        self.urgent = self.urgent or before is None
        if before is not None and before + 1 < sequence <= before + _MAX_GAP:
            for lost in range(before + 1, sequence):
                self._missing[lost] = (0, 0.0, at)
                self.urgent = True
            while len(self._missing) > _MOST_MISSING:
                del self._missing[next(iter(self._missing))]

    def sender_report(self, ssrc: int, ntp_timestamp: int, at: float) -> None:
        """Remember a sender report, to say in ours how long ago it came (LSR, DLSR)."""
        self._sender_reports[ssrc] = ((ntp_timestamp >> 16) & 0xFFFFFFFF, at)

    async def run(self, send: Send) -> None:
        """Report and ask again until cancelled."""
        report_at = time.monotonic() + REPORT_INTERVAL
        while True:
            await asyncio.sleep(NACK_INTERVAL)
            now = time.monotonic()
            try:
                await self._ask_again(now, send)
                if now >= report_at and not self.quiet:
                    report_at = now + self._interval(now)
                    await self._report(now, send)
            except ConnectionError:
                return

    def _interval(self, now: float) -> float:
        """Seconds to the next report: sooner at the start, and while much is lost."""
        starting = not self.video.at or now - self.video.at[0] < _PROBING
        alarming = self._fraction_lost > _LOSS_THAT_ALARMS
        return PROBING_INTERVAL if starting or alarming else REPORT_INTERVAL

    async def attend(self, now: float, send: Send) -> None:
        """Do what cannot wait for the next round of `run`.

        The first video packet is reported at once: it met an empty queue, and later delays are
        held against its own.
        """
        self.urgent = False
        if len(self.video.at) == 1:
            await self._report(now, send)
        await self._ask_again(now, send)

    async def _ask_again(self, now: float, send: Send) -> None:
        """Ask for what is missing: at once, then every round trip, ten times or two seconds."""
        if not self._missing or self._streams is None or self._own is None:
            return
        wait = max(self._round_trip(), NACK_INTERVAL)
        due = []
        for sequence, (tries, last, since) in list(self._missing.items()):
            if tries >= _NACK_TRIES or now - since > _NACK_AGE:
                del self._missing[sequence]
            elif now - last >= wait:
                due.append(sequence)
                self._missing[sequence] = (tries + 1, now, since)
        own, theirs = self._own.video.ssrc, self._streams.video.ssrc
        for lost in _by_packet(due):
            packet = RtcpRtpfbPacket(RTCP_RTPFB_NACK, own, theirs)
            packet.lost = lost
            await send(bytes(packet))
        oldest = min((since for _, _, since in self._missing.values()), default=now)
        if now - oldest > 0.2 + 2 * wait and now - self._last_pli > max(0.3, wait):
            self._last_pli = now
            await send(bytes(RtcpPsfbPacket(RTCP_PSFB_PLI, own, theirs)))

    async def _report(self, now: float, send: Send) -> None:
        if self._streams is None or self._own is None:
            return
        blocks = [
            self._block(log, stream, now)
            for log, stream in (
                (self.audio, self._streams.audio),
                (self.video, self._streams.video),
            )
            if log.first is not None
        ]
        if blocks:
            account = Account(
                written=now - self._begun,
                line_bytes=self.audio.line_bytes + self.video.line_bytes,
                newest_audio=self.audio.newest_at - self._begun,
                newest_video=self.video.newest_at - self._begun,
                longest_gap=max(self._longest_gap, now - (self.last_at or now)),
            )
            self._longest_gap = 0.0
            report = RtcpRrPacket(ssrc=self._own.video.ssrc, reports=blocks)
            await send(bytes(report) + account.pack())

    def _block(self, log: Arrivals, stream: Stream, now: float) -> RtcpReceiverInfo:
        expected, received = log.expected, log.first_pass
        expected_before, received_before = self._last_counts.get(stream.ssrc, (0, 0))
        self._last_counts[stream.ssrc] = (expected, received)
        interval = expected - expected_before
        lost = max(0, interval - (received - received_before))
        self._fraction_lost = lost / interval if interval > 0 else 0.0
        lsr, arrived = self._sender_reports.get(stream.ssrc, (0, now))
        return RtcpReceiverInfo(
            ssrc=stream.ssrc,
            fraction_lost=min(255, (lost << 8) // interval) if interval > 0 else 0,
            packets_lost=max(-(1 << 23), min(expected - received, (1 << 23) - 1)),
            highest_sequence=log.highest & 0xFFFFFFFF,
            jitter=int(log.jitter) & 0xFFFFFFFF,
            lsr=lsr,
            dlsr=min(int((now - arrived) * 65536), 0xFFFFFFFF),
        )


def _by_packet(lost: list[int]) -> Iterator[list[int]]:
    """What a NACK each can ask for (RFC 4585, 6.2.1), from numbers that were counted on past 2^16.

    A list that runs over the end of the 16 bits is cut there: aiortc masks by differences.

    >>> list(_by_packet([65536, 65535, 65537]))
    [[65535], [0, 1]]
    """
    for _, cycle in groupby(sorted(lost), lambda number: number >> 16):
        numbers = [number & 0xFFFF for number in cycle]
        for start in range(0, len(numbers), _NACK_MOST):
            yield numbers[start : start + _NACK_MOST]

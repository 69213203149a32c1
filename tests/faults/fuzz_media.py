"""Strangers in a call: session descriptions, RTP and RTCP, as the code of calls takes them."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from aiortc.rtp import (
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSenderInfo,
    RtcpSrPacket,
)

from jharnet_monitor.profiles import RUNGS
from jharnet_monitor.rtc.call import Call
from jharnet_monitor.rtc.receive.arrivals import ReportArrivals
from jharnet_monitor.rtc.receive.receiver import Receiver
from jharnet_monitor.rtc.receive.receiver_report import ReceiverReportApp
from jharnet_monitor.rtc.receive.remb import RembEstimator
from jharnet_monitor.rtc.receive.send_times import SendTimes
from jharnet_monitor.rtc.receive.transport_feedback import TransportFeedback
from jharnet_monitor.rtc.sdp import (
    BadDescription,
    Stream,
    Streams,
    candidate_addresses,
    offered_codec,
    parse_streams,
    sanitize,
)
from jharnet_monitor.rtc.send.sender import Sender
from tests.faults.fuzz_inputs import any_value, changed, changed_text

FINGERPRINT = ":".join(["AB"] * 32)
OFFER = f"""v=0
o=- 1 2 IN IP4 0.0.0.0
s=-
t=0 0
a=group:BUNDLE 0 1
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=candidate:1 1 udp 2130706431 127.0.0.1 40001 typ host
a=end-of-candidates
a=ice-ufrag:abcd
a=ice-pwd:abcdefghijklmnopqrstuvwx
a=fingerprint:sha-256 {FINGERPRINT}
a=setup:actpass
a=mid:0
a=extmap:4 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
a=sendrecv
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=fmtp:111 minptime=10;useinbandfec=1
a=ssrc:1001 cname:a
m=video 9 UDP/TLS/RTP/SAVPF 96 97 99
c=IN IP4 0.0.0.0
a=ice-ufrag:abcd
a=ice-pwd:abcdefghijklmnopqrstuvwx
a=fingerprint:sha-256 {FINGERPRINT}
a=setup:actpass
a=mid:1
a=extmap:3 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time
a=extmap:4 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
a=sendrecv
a=rtcp-mux
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 nack
a=rtcp-fb:96 transport-cc
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=rtpmap:99 H264/90000
a=rtcp-fb:99 transport-cc
a=fmtp:99 packetization-mode=1;profile-level-id=42e01f
a=ssrc-group:FID 2001 2002
a=ssrc:2001 cname:a
a=ssrc:2002 cname:a
"""
MAX_FEEDBACK_BYTES = 1240
LONG_LINE = "a=candidate:" + "1 " * 5000


def descriptions(dice: random.Random, count: int) -> Iterator[object]:
    """Session descriptions, and other things in their place."""
    for _ in range(count):
        kind = dice.random()
        if kind < 0.03:
            yield any_value(dice)
        elif kind < 0.05:
            yield OFFER + LONG_LINE
        elif kind < 0.1:
            yield changed(OFFER.encode(), dice).decode("utf-8", "surrogateescape")
        else:
            yield changed_text(OFFER, dice)


def take_description(text: Any) -> None:
    """As an offer of an agent or a page is taken; only `BadDescription` may come out."""
    with suppress(BadDescription):
        parse_streams(sanitize(text, "127.0.0.1"), offered_codec(text, "h264"))
    with suppress(BadDescription):
        candidate_addresses(text)


def _streams(codec: Any) -> Streams:
    return Streams(Stream(1001, 111), Stream(2001, 96, 2002, 97), codec, 3)


def _rtp(ssrc: int, kind: int, sequence: int, payload: bytes, extension: bytes = b"") -> bytes:
    first = 0x90 if extension else 0x80
    header = struct.pack("!BBHII", first, 0x80 | kind, sequence & 0xFFFF, sequence * 3000, ssrc)
    return header + extension + payload


_EXTENSION = b"\xbe\xde\x00\x02\x32\x01\x02\x03\x41\xff\xf0\x00"
_VP8 = b"\x90\x80\x01\x00\x00\x00\x9d\x01\x2a\x80\x02\x68\x01" + bytes(40)
_H264 = b"\x7c\x85" + bytes(40)
_SPS = b"\x67\x42\xc0\x1e\xd9\x00\xa0\x47\xfe\xc8"
RTP = (
    _rtp(1001, 111, 7, bytes(80)),
    _rtp(2001, 96, 9, _VP8, _EXTENSION),
    _rtp(2001, 96, 10, _H264, _EXTENSION),
    _rtp(2001, 96, 11, _SPS, _EXTENSION),
    _rtp(2001, 96, 12, b"\x78\x00\x0a" + _SPS + b"\x00\x04\x68\xce\x3c\x80"),
    _rtp(2002, 97, 3, b"\x00\x08" + _VP8),
)


class RtpEnds:
    """A receiver of each codec, and what limits a browser's rate or notes when it sends."""

    def __init__(self) -> None:
        self.receivers = [Receiver(lambda: 0.05) for _ in range(2)]
        for receiver, codec in zip(self.receivers, ("vp8", "h264"), strict=True):
            receiver.start(_streams(codec), _streams(codec))
        self.send_times = SendTimes(3)
        self.remb = RembEstimator(5, 3e6)
        self.feedback = TransportFeedback(4, 5)
        self.at = itertools.count()

    async def take(self, data: bytes) -> None:
        """Take a packet; send what feedback there is now and then."""
        number = next(self.at)
        at = number / 200
        for receiver in self.receivers:
            receiver.rtp_received(data, at)
        if len(data) >= 12:  # srtp gives nothing shorter
            self.remb.rtp_received(data, at, self.send_times.add(data, at))
        for message in self.feedback.rtp_received(data, at):
            assert len(message) <= MAX_FEEDBACK_BYTES, len(message)
        if number % 500 == 0:
            for receiver in self.receivers:
                await receiver.send_feedback(at, _nowhere)


async def _nowhere(data: bytes) -> None:
    """Send nothing."""


def rtp_packets(dice: random.Random, count: int) -> Iterator[bytes]:
    """RTP packets, changed, some of them right."""
    for number in range(count):
        packet = bytearray(dice.choice(RTP))
        packet[2:4] = (number & 0xFFFF).to_bytes(2)
        if packet[0] & 0x10:
            packet[21:23] = (number & 0xFFFF).to_bytes(2)
        yield bytes(packet) if dice.random() < 0.1 else changed(bytes(packet), dice, RTP)


_BLOCK = RtcpReceiverInfo(2001, 3, 5, 4000, 7, 0x1234, 99)
RTCP = (
    bytes(RtcpRrPacket(ssrc=77, reports=[_BLOCK])),
    bytes(RtcpSrPacket(77, RtcpSenderInfo(2**40, 5, 6, 7), [_BLOCK])),
    bytes(RtcpRtpfbPacket(RTCP_RTPFB_NACK, 77, 2001, [1, 2, 40, 65535])),
    bytes(RtcpPsfbPacket(RTCP_PSFB_PLI, 77, 2001)),
    bytes(RtcpRrPacket(ssrc=77, reports=[_BLOCK])) + ReceiverReportApp(1.5, 3000, 1.2, 1.0).pack(),
)


class SenderWithoutClips(Sender):
    """A sender that changes its rungs, but encodes no picture."""

    def begin_video(self) -> None:
        """Begin nothing."""

    async def _step_down(self, rung: Any) -> None:
        self._begin_segment(rung, 0.0)
        self._stepping_down = None


class RtcpEnd:
    """A call's sender and receiver, as they take what the other end reports."""

    def __init__(self) -> None:
        self.sender = SenderWithoutClips(RUNGS[0])
        self.sender.start(_streams("vp8"))
        self.receiver = Receiver(lambda: 0.05)
        self.receiver.start(_streams("vp8"), _streams("vp8"))
        self.call: Any = SimpleNamespace(
            sender=self.sender, receiver=self.receiver, _reports=ReportArrivals(),
            _connection=SimpleNamespace(send=_nowhere),
        )  # fmt: skip
        self.at = itertools.count()

    async def take(self, data: bytes) -> None:
        """Take a (compound) packet, as `rtc.call` does."""
        at = next(self.at) / 20
        await Call.rtcp_received(self.call, data, at, at)
        if self.sender._stepping_down is not None:
            await self.sender._stepping_down


def rtcp_packets(dice: random.Random, count: int) -> Iterator[bytes]:
    """RTCP packets, changed; aiortc hands on nothing that is shorter than two bytes."""
    for _ in range(count):
        raw = b"".join(dice.choices(RTCP, k=dice.choice((1, 1, 2, 3))))
        data = changed(raw, dice, RTCP)
        yield data if len(data) >= 2 else b"\x80\xc9"

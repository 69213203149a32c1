"""One end of a call, hub or agent: set up, talk, tell what was sent and what was seen, close.

The office's end offers, headquarters' end answers; from then on both do the same.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable
from types import TracebackType

from aiortc.rtp import (
    RTCP_PSFB_FIR,
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    RtcpPacket,
    RtcpPsfbPacket,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSrPacket,
)

from jharnet_monitor.judge.conference.video import playout_delay
from jharnet_monitor.judge.latency import percentile
from jharnet_monitor.model import Cause
from jharnet_monitor.profiles import Rung
from jharnet_monitor.rtc.browser import BrowserAccount, BrowserSent, numbered
from jharnet_monitor.rtc.codecs import DEFAULT, Codec
from jharnet_monitor.rtc.connection import SILENCE, Connection, settled
from jharnet_monitor.rtc.duration import call_complete
from jharnet_monitor.rtc.failure import CallFailed
from jharnet_monitor.rtc.media.clips import prepare
from jharnet_monitor.rtc.receive.receiver import Receiver
from jharnet_monitor.rtc.receive.receiver_report import find_account
from jharnet_monitor.rtc.receive.remb import RateAdvice
from jharnet_monitor.rtc.send.sender import Sender
from jharnet_monitor.rtc.stats.call_stats import Seen, Sent, seen
from jharnet_monitor.rtc.stats.freeze_resampling import Path
from jharnet_monitor.rtc.stats.host_load import HostWatch, apart

_DRAIN = 2.0
"""Seconds that the last packets and their repeats may still take."""
_PATIENCE = 2.0
"""Seconds without a report after which video begins all the same."""
_ABOVE = 1.2
"""A browser may send so many times the profile's rate: it keeps to the profile's by itself."""


class Call:
    """One end. Use as an async context manager: leaving it closes everything."""

    def __init__(
        self,
        address: str,
        top: Rung,
        ports: tuple[int, int] | None = None,
        codec: Codec = DEFAULT,
    ) -> None:
        """`address` is our own, `ports` the range to take a UDP port from (None: any)."""
        self._begun = time.monotonic()
        self.sender = Sender(top, codec)
        self.receiver = Receiver(lambda: self.sender.round_trip)
        self._watch = HostWatch()
        tracks = (self.sender.audio_track, self.sender.video_track)
        self._connection = Connection(address, ports, tracks, self, codec)
        self._tasks = [asyncio.create_task(self._watch.run())]
        self._peer_finished = False
        self._rate_advice: RateAdvice | None = None

    @classmethod
    async def new(
        cls,
        address: str,
        top: Rung,
        ports: tuple[int, int] | None = None,
        codec: Codec = DEFAULT,
    ) -> Call:
        """A call end with the clips at hand that it may need; makes them the first time."""
        await asyncio.to_thread(prepare, codec)
        return cls(address, top, ports, codec)

    async def __aenter__(self) -> Call:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Free the port, the tasks and the threads; bounded, and idempotent."""
        self.sender.finish()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self._connection.close()

    # Set-up

    async def offer(self) -> str:
        """Our session description, for the other end to answer."""
        return await self._connection.offer()

    async def answer(self, offer: object) -> str:
        """Take the other end's offer; gives our answer to it. Raises `CallFailed`."""
        text = await self._connection.answer(offer)
        self._described()
        return text

    async def accept(self, answer: object) -> None:
        """Take the other end's answer to our offer. Raises `CallFailed`."""
        await self._connection.accept(answer)
        self._described()

    def _described(self) -> None:
        self.sender.start(self._connection.own)
        self.receiver.start(self._connection.theirs, self._connection.own)

    def advise_rate(self, top: Rung) -> None:
        """Tell the other end, a browser that is to send up to `top`, what rate it may send.

        Call once it is described.
        """
        number = self._connection.theirs.send_time
        if number is not None:
            most = _ABOVE * top.line_rate
            self._rate_advice = RateAdvice(number, self._connection.own.video.ssrc, most)

    async def connect(self) -> None:
        """Wait until media comes in; raises `CallFailed` with the cause where it does not."""
        await self._connection.connect()
        self._tasks.append(asyncio.create_task(self.receiver.run(self._connection.send)))
        await self._connection.until(
            lambda: self.receiver.first_at is not None, SILENCE, Cause.NO_MEDIA, "no media came"
        )

    @property
    def setup_seconds(self) -> float | None:
        """From this end's beginning to its first media packet; None before it."""
        first = self.receiver.first_at
        return None if first is None else first - self._begun

    # The call itself

    async def talk(self, seconds: float) -> None:
        """Send for `seconds`; longer if the rung changed late. Raises `CallFailed`."""
        without_reports = time.monotonic() + _PATIENCE
        while not self._said_enough(seconds):
            self._check_alive(time.monotonic())
            if time.monotonic() > without_reports:
                self.sender.begin_video()
            await asyncio.sleep(0.05)
        self.sender.finish()
        await settled(lambda: not self.sender.busy, 1.0)

    def _said_enough(self, seconds: float) -> bool:
        now, begun = time.monotonic(), self.sender.started_at
        if begun is None:
            return False
        return call_complete(now - begun, now - max(self.sender.changed_at, begun), seconds)

    def _check_alive(self, now: float) -> None:
        if self._connection.flooded:
            raise CallFailed(Cause.BAD_REPORT, "the other end floods us", by_network=False)
        for task in self._tasks:
            if task.done():
                task.result()  # what reports to the other end must not end unseen
        last = self.receiver.last_at
        if not self._peer_finished and last is not None and now - last > SILENCE:
            raise CallFailed(Cause.INTERRUPTED, f"no media came for {SILENCE:g} s")
        if not self._peer_finished and not self._connection.is_open:
            raise CallFailed(Cause.AGENT_LOST, "the other end hung up", by_network=False)

    def accounted(self, account: BrowserAccount) -> None:
        """A browser says what has come of ours."""
        self.sender.accounted(account, time.monotonic())

    def peer_finished(self) -> None:
        """The other end said that it sends no more: silence is no fault from now on."""
        self._peer_finished = True

    # What became of it

    @property
    def line_bytes(self) -> int:
        """IP bytes that the call put on the line so far, as this end saw them."""
        return self._connection.line_bytes

    @property
    def datagrams(self) -> tuple[int, int]:
        """Sent and received by this end so far: media, RTCP, DTLS and STUN."""
        return self._connection.datagrams

    def sent(self) -> Sent:
        """What this end sent."""
        sender, load = self.sender, self._watch.load()
        last, now = sender.segments[-1], time.monotonic()
        begun = max(last.at, sender.started_at or now)
        trips = sender.round_trips_since(begun)
        local_port, remote_port = self._connection.ports
        return Sent(
            rung=last.rung.name,
            seconds=max((sender.finished_at or now) - begun, 0.1),
            audio_first=sender.audio.first or 0,
            audio_packets=len(sender.audio),
            audio_window=last.audio,
            video_first=sender.video.first or 0,
            video_packets=len(sender.video),
            video_rung=last.keyframe,
            video_window=last.video,
            retransmitted=sender.repeats.granted,
            refused=sender.repeats.refused,
            frames_left_out=sender.left_out,
            adapts=False,
            stepped_down=sender.ladder.capacity is not None,
            loss_stays=sender.ladder.loss_stays,
            capacity=sender.ladder.capacity,
            setup_seconds=self.setup_seconds,
            round_trip_p50=percentile(trips, 0.5) if trips else None,
            round_trip_p95=percentile(trips, 0.95) if trips else None,
            local_port=local_port,
            remote_port=remote_port,
            loop_lag_seconds=load.lag,
            loop_stalled_ratio=load.stalled,
            socket_drops=self._connection.socket_drops,
            cpu_ratio=load.cpu,
        )

    async def numbered(self, told: BrowserSent) -> Sent:
        """What a browser sent, once the last of it is in."""
        self.receiver.quiet = True
        await settled(lambda: self._silent, _DRAIN)
        got = self.receiver
        return await apart(numbered, told, got.audio, got.video, self._connection.ports)

    async def seen(self, theirs: Sent) -> Seen:
        """What arrived of what the other end says it sent, once the last of it is in."""
        self.receiver.quiet = True
        await settled(lambda: self._all_in(theirs), _DRAIN)
        round_trip = theirs.round_trip_p50 or self.sender.round_trip
        delay = playout_delay(round_trip, theirs.stepped_down)
        path = Path(delay, round_trip, self.sender.lost_share)
        got = self.receiver
        return await apart(seen, got.audio, got.video, theirs, path, self.datagrams)

    def _all_in(self, theirs: Sent) -> bool:
        audio, video = len(self.receiver.audio.at), len(self.receiver.video.at)
        return self._silent or (audio >= theirs.audio_packets and video >= theirs.video_packets)

    @property
    def _silent(self) -> bool:
        return time.monotonic() - (self.receiver.last_at or 0.0) > 0.5 + self.sender.round_trip

    # What `Wire` gives

    async def rtp_received(self, data: bytes, at: float) -> None:
        """A media packet arrived."""
        self.receiver.received(data, at)
        if self._rate_advice is not None and (advice := self._rate_advice.received(data, at)):
            await self._connection.send(advice)
        if self.receiver.urgent:
            await self.receiver.attend(at, self._connection.send)

    async def rtcp_received(self, data: bytes, at: float) -> None:
        """An RTCP packet arrived: reports on what we sent, and requests for more."""
        try:
            packets = RtcpPacket.parse(data)
        except (ValueError, IndexError, struct.error):
            return
        self.sender.account = find_account(data)
        for packet in packets:
            if isinstance(packet, RtcpSrPacket):
                info = packet.sender_info
                self.receiver.sender_report(packet.ssrc, info.ntp_timestamp, at)
            if isinstance(packet, RtcpSrPacket | RtcpRrPacket):
                for report in packet.reports:
                    self.sender.reported(report, at)
            elif isinstance(packet, RtcpRtpfbPacket) and packet.fmt == RTCP_RTPFB_NACK:
                await self.sender.repeat(packet.lost, self._connection.send)
            elif isinstance(packet, RtcpPsfbPacket) and packet.fmt in (
                RTCP_PSFB_PLI, RTCP_PSFB_FIR,
            ):  # fmt: skip
                self.sender.video_track.jump_to_keyframe()

    async def rtp_leaving(self, data: bytes, send: Callable[[bytes], Awaitable[None]]) -> None:
        """A media packet of ours is ready."""
        await self.sender.leaving(data, send)

    def rtcp_leaving(self, data: bytes, at: float) -> bool:
        """An RTCP packet of ours goes out, unless the call is over."""
        self.sender.sender_report_leaving(data, at)
        return not self.receiver.quiet

"""One end of a call, hub or agent: set up, talk, tell what was sent and what was seen, close.

The office's end offers, headquarters' end answers. Every wait has an end, and every end has a
cause: UDP blocked, no route, DTLS failed and no media are told apart.
"""

from __future__ import annotations

import asyncio
import errno
import os
import struct
import time
from collections.abc import Awaitable, Callable
from types import TracebackType

from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import InternalError, InvalidStateError, OperationError
from aiortc.rtcrtpsender import RTCRtpSender
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

from jharnet_monitor.judge.latency import percentile
from jharnet_monitor.judge.video import play_out_delay
from jharnet_monitor.model import Cause
from jharnet_monitor.rtc.aiortc_private import (
    Port,
    Wire,
    bind,
    port_of,
    remote_address,
    self_test,
    transport_of,
)
from jharnet_monitor.rtc.clips import prepare
from jharnet_monitor.rtc.failure import CallFailed
from jharnet_monitor.rtc.host_watch import HostWatch
from jharnet_monitor.rtc.profiles import Rung
from jharnet_monitor.rtc.progress import find_account
from jharnet_monitor.rtc.receiver import Receiver
from jharnet_monitor.rtc.report import Seen, Sent, seen
from jharnet_monitor.rtc.sdp import BadDescription, streams, vetted
from jharnet_monitor.rtc.sender import Sender

SILENCE = 4.0
"""Seconds without a datagram or a media packet after which a path is dead."""
HANDSHAKE = 8.0
"""Seconds for ICE, and again for DTLS, once something comes through."""
_POLL = 0.02
_DRAIN = 2.0
"""Seconds that the last packets and their repeats may still take."""
_OVERTIME = 1.5
"""A call may last this much longer than planned if it changed its rung late."""


class Call:
    """One end. Use as an async context manager: leaving it closes everything."""

    def __init__(self, address: str, top: Rung, ports: tuple[int, int] | None = None) -> None:
        """`address` is our own, `ports` the range to take a UDP port from (None: any)."""
        self_test()
        self.address = address
        self.sender = Sender(top)
        self.receiver = Receiver(lambda: self.sender.round_trip)
        self.watch = HostWatch()
        self._begun = time.monotonic()
        self._connection = RTCPeerConnection(
            RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        )
        for track, codecs in (
            (self.sender.audio_track, ("opus",)),
            (self.sender.video_track, ("vp8", "rtx")),
        ):
            transceiver = self._connection.addTransceiver(track)
            transceiver.setCodecPreferences(
                [c for c in RTCRtpSender.getCapabilities(track.kind).codecs
                 if c.name.lower() in codecs]
            )  # fmt: skip
        bind(self._connection, address, ports)
        self._wire = Wire(self._connection, self)
        self._port: Port | None = None
        self._tasks = [asyncio.create_task(self.watch.run())]
        self._peer_finished = False

    @classmethod
    async def new(cls, address: str, top: Rung, ports: tuple[int, int] | None = None) -> Call:
        """A call end with the clips at hand that it may need; makes them the first time."""
        await asyncio.to_thread(prepare, top)
        return cls(address, top, ports)

    async def __aenter__(self) -> Call:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # Set-up

    async def offer(self) -> str:
        """Our session description, for the other end to answer."""
        await self._describe(self._connection.setLocalDescription)
        return str(self._connection.localDescription.sdp)

    async def answer(self, offer: object) -> str:
        """Take the other end's offer; gives our answer to it."""
        await self._take(offer, "offer")
        await self._describe(self._connection.setLocalDescription)
        self._begin()
        return str(self._connection.localDescription.sdp)

    async def accept(self, answer: object) -> None:
        """Take the other end's answer to our offer."""
        await self._take(answer, "answer")
        self._begin()

    async def _take(self, text: object, kind: str) -> None:
        try:
            description = vetted(text, self.address)
            streams(description)
        except BadDescription as error:
            raise CallFailed(
                Cause.SIGNALLING_FAILED, f"the other end's {kind} {error}", by_network=False
            ) from error
        await self._describe(
            lambda: self._connection.setRemoteDescription(RTCSessionDescription(description, kind))
        )

    async def _describe(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except OSError as error:
            raise CallFailed(
                Cause.NOT_CONFIGURED, f"no free UDP port at {self.address}: {error.strerror}",
                by_network=False,
            ) from error  # fmt: skip
        except (ValueError, AssertionError, LookupError, TypeError, AttributeError,
                InternalError, InvalidStateError, OperationError) as error:  # fmt: skip
            raise CallFailed(
                Cause.SIGNALLING_FAILED,
                f"session description refused ({type(error).__name__}: {error})",
                by_network=False,
            ) from error

    def _begin(self) -> None:
        own = streams(self._connection.localDescription.sdp)
        theirs = streams(self._connection.remoteDescription.sdp)
        self._port = port_of(self._connection)
        self.sender.start(own)
        self.receiver.start(theirs, own)

    async def connect(self) -> None:
        """Wait until media comes in; raises `CallFailed` with the cause where it does not."""
        transport = transport_of(self._connection)
        ice = transport.transport
        await self._until(self._heard, SILENCE, Cause.UDP_BLOCKED, "no datagram came")
        await self._until(
            lambda: ice.state == "completed", HANDSHAKE, Cause.UDP_BLOCKED,
            "datagrams come, but none of ours is answered",
        )  # fmt: skip
        await self._until(
            lambda: transport.state in ("connected", "failed", "closed"), HANDSHAKE,
            Cause.DTLS_FAILED, "the DTLS handshake does not end",
        )  # fmt: skip
        if transport.state != "connected":
            raise CallFailed(Cause.DTLS_FAILED, "the DTLS handshake failed")
        self._tasks.append(asyncio.create_task(self.receiver.run(self._wire.send)))
        await self._until(
            lambda: self.receiver.first_at is not None, SILENCE, Cause.NO_MEDIA, "no media came"
        )

    def _heard(self) -> bool:
        return self._port is not None and self._port.received > 0

    async def _until(
        self, done: Callable[[], bool], seconds: float, cause: Cause, detail: str
    ) -> None:
        def refused() -> bool:
            port = self._port
            return port is not None and port.refused is not None and not port.received

        if not await _settled(lambda: done() or refused(), seconds):
            raise CallFailed(cause, f"{detail} within {seconds:g} s")
        if refused() and self._port is not None:
            by_firewall = self._port.refused in (errno.EPERM, errno.EACCES)
            raise CallFailed(
                Cause.UDP_BLOCKED if by_firewall else Cause.NO_ROUTE,
                f"this host refuses to send ({os.strerror(self._port.refused or 0)})",
            )

    @property
    def setup_seconds(self) -> float | None:
        """From this end's beginning to its first media packet; None before it."""
        first = self.receiver.first_at
        return None if first is None else first - self._begun

    # The call itself

    async def talk(self, seconds: float) -> None:
        """Send for `seconds`; longer if the rung changed late. Raises `CallFailed`."""
        least = min(seconds, max(3.0, 0.4 * seconds))
        self.sender.ladder.climb_within = seconds - least
        while True:
            await asyncio.sleep(0.05)
            now = time.monotonic()
            begun = self.sender.started_at
            if begun is not None and now - begun >= seconds:
                changed = self.sender.changed_at
                if now - max(changed, begun) >= least or now - begun >= _OVERTIME * seconds:
                    break
            self._check_alive(now)
        self.sender.finish()
        await _settled(lambda: not self.sender.busy, 1.0)

    def _check_alive(self, now: float) -> None:
        if self._port is not None and self._port.flooded:
            raise CallFailed(Cause.BAD_REPORT, "the other end floods us", by_network=False)
        last = self.receiver.last_at
        if not self._peer_finished and last is not None and now - last > SILENCE:
            raise CallFailed(Cause.INTERRUPTED, f"no media came for {SILENCE:g} s")
        if transport_of(self._connection).state in ("closed", "failed") and not self._peer_finished:
            raise CallFailed(Cause.INTERRUPTED, "the other end left", by_network=False)

    def peer_finished(self) -> None:
        """The other end said that it sends no more: silence is no fault from now on."""
        self._peer_finished = True

    # What became of it

    def sent(self) -> Sent:
        """What this end sent."""
        sender, load = self.sender, self.watch.load()
        last = sender.segments[-1]
        now = time.monotonic()
        begun = max(last.at, sender.started_at or now)
        trips = [seconds for at, seconds in sender.round_trips if at >= begun]
        trips = sorted(trips or [seconds for _, seconds in sender.round_trips])
        peer = remote_address(self._connection)
        port = self._port.local_candidate.port if self._port is not None else 0
        return Sent(
            rung=last.rung.name,
            seconds=max((sender.finished_at or now) - begun, 0.1),
            audio_first=sender.audio.first or 0,
            audio_packets=len(sender.audio),
            audio_window=last.audio,
            video_first=sender.video.first or 0,
            video_packets=len(sender.video),
            video_window=last.video,
            retransmitted=sender.retransmitted,
            refused=sender.refused,
            stepped_down=len(sender.segments) > 1,
            loss_stays=sender.ladder.loss_stays,
            capacity=sender.ladder.capacity,
            setup_seconds=self.setup_seconds,
            round_trip_p50=percentile(trips, 0.5) if trips else None,
            round_trip_p95=percentile(trips, 0.95) if trips else None,
            local_port=port,
            remote_port=peer[1] if peer else 0,
            loop_lag_seconds=load.lag,
            loop_stalled_ratio=load.stalled,
            socket_drops=self._port.socket_drops if self._port is not None else 0,
            cpu_ratio=load.cpu,
        )

    async def seen(self, theirs: Sent) -> Seen:
        """What arrived of what the other end says it sent, once the last of it is in."""
        self.receiver.quiet = True
        await _settled(lambda: self._all_in(theirs), _DRAIN)
        delay = play_out_delay(theirs.round_trip_p50 or self.sender.round_trip)
        audio, video = self.receiver.audio, self.receiver.video
        return await asyncio.to_thread(seen, audio, video, theirs, delay, self.datagrams)

    @property
    def datagrams(self) -> tuple[int, int]:
        """Sent and received by this end so far, everything counted."""
        return (0, 0) if self._port is None else (self._port.sent, self._port.received)

    def _all_in(self, theirs: Sent) -> bool:
        audio, video = self.receiver.audio, self.receiver.video
        quiet = time.monotonic() - (self.receiver.last_at or 0.0) > 0.5 + self.sender.round_trip
        return quiet or (
            len(audio.at) >= theirs.audio_packets and len(video.at) >= theirs.video_packets
        )

    async def close(self) -> None:
        """Free the port, the tasks and the threads; bounded, and idempotent."""
        self.sender.finish()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await asyncio.wait_for(self._connection.close(), SILENCE)

    # What `Wire` gives

    async def rtp_received(self, data: bytes, at: float) -> None:
        """A media packet arrived."""
        self.receiver.received(data, at)
        if self.receiver.urgent:
            await self.receiver.ask_again(at, self._wire.send)

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
                await self.sender.repeat(packet.lost, self._wire.send)
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


async def _settled(done: Callable[[], bool], seconds: float) -> bool:
    """Poll a state of aiortc, which has events for few of them; False when time is up."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL)
    return True

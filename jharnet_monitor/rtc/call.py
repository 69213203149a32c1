"""One end of a call, at the hub or the agent: set up, exchange media, report, close.

The office's end offers and headquarters' end answers; after that both run the same code.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

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
from jharnet_monitor.rtc.aiortc_private import LibraryChanged, self_test
from jharnet_monitor.rtc.browser import (
    LATE_TIMERS,
    BrowserReceiverReport,
    BrowserSendStats,
    send_stats_from_arrivals,
)
from jharnet_monitor.rtc.codecs import DEFAULT_CODEC, Codec
from jharnet_monitor.rtc.connection import (
    MEDIA_TIMEOUT_SECONDS,
    CallFailed,
    PeerConnection,
    poll,
)
from jharnet_monitor.rtc.media.clips import (
    ClipsMissing,
    prepare_clips,
    prepare_clips_in_background,
)
from jharnet_monitor.rtc.receive.arrivals import ReportArrivals
from jharnet_monitor.rtc.receive.receiver import Receiver
from jharnet_monitor.rtc.receive.receiver_report import find_report_app
from jharnet_monitor.rtc.receive.remb import RembEstimator
from jharnet_monitor.rtc.receive.send_times import SendTimes, sent_late
from jharnet_monitor.rtc.receive.transport_feedback import TransportFeedback
from jharnet_monitor.rtc.send.sender import Sender
from jharnet_monitor.rtc.stats.call_stats import ReceiveStats, SendStats, receive_stats
from jharnet_monitor.rtc.stats.freeze_resampling import PathModel
from jharnet_monitor.rtc.stats.host_load import HostLoadMonitor
from jharnet_monitor.rtc.stats.line_process import observe_line

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

_PAUSE_SECONDS = 0.5
"""A longer gap in the event loop means that this program was stopped."""
_RECENT_SECONDS = 15.0
"""A failure this soon after a disturbance of this computer is not attributed to the line."""
_MIN_WINDOW_SHARE = 0.4
"""The last rung must have been held for this share of the call to be judged ..."""
_MIN_WINDOW_SECONDS = 3.0
"""... and for this long, or for the whole call if that is shorter."""
_MAX_LENGTH_FACTOR = 1.5
"""A call may last this many times its length for that ..."""
_MAX_EXTRA_SECONDS = 8.0
"""... and this much longer if the last rung has been held for less than `_MIN_WINDOW_SECONDS`."""

_FLUSH_SECONDS = 2.0
"""Time limit for the last packets and their retransmissions to arrive."""
_VIDEO_START_SECONDS = 2.0
"""After this long without a report, video starts anyway."""
_REMB_MARGIN = 1.2
"""A browser may send this many times the profile's rate; it keeps to its own target below that."""


def warm_up(*codecs: Codec) -> None:
    """Prepare this process for calls at start: check aiortc, and make the clips in the background.

    If the installed aiortc is not supported, logs it; each call then fails with `internal_error`.
    """
    try:
        self_test()
    except LibraryChanged as error:
        _log.critical("conference tests are not possible: %s", error)
        return
    prepare_clips_in_background(*codecs)


def prepare(*codecs: Codec) -> bool:
    """Like `warm_up`, but returns only once the clips are made: whether calls will be possible."""
    try:
        self_test()
        for codec in codecs:
            prepare_clips(codec)
    except (LibraryChanged, ClipsMissing) as error:
        _log.critical("conference tests are not possible: %s", error)
        return False
    return True


def call_complete(elapsed: float, rung_seconds: float, seconds: float) -> bool:
    """Whether a call of length `seconds` may end.

    `elapsed` is the time since its start and `rung_seconds` the time since its last change of rung,
    both in seconds. The call is prolonged if the last rung has not been sent for long enough to be
    judged.

    >>> [call_complete(*times, 30.0) for times in ((29, 29), (30, 30), (30, 5), (45, 5), (45, 1))]
    [False, True, False, True, False]
    """
    min_rung_seconds = min(seconds, _MIN_WINDOW_SECONDS)
    overrun = elapsed - _MAX_LENGTH_FACTOR * seconds
    if overrun >= _MAX_EXTRA_SECONDS:
        return True
    if overrun < 0:
        min_rung_seconds = max(min_rung_seconds, _MIN_WINDOW_SHARE * seconds)
    return elapsed >= seconds and rung_seconds >= min_rung_seconds


_compute_lock = threading.Lock()


async def _run_in_thread(function: Callable[..., _T], *arguments: Any) -> _T:
    """Call `function` in a thread, off the event loop, and one call at a time.

    All calls of a drill end together, and computing the statistics of five minutes takes 7 MB for
    0.05 s.
    """

    def run() -> _T:
        with _compute_lock:
            return function(*arguments)

    return await asyncio.to_thread(run)


class Call:
    """One end of a call. An async context manager: leaving it closes everything."""

    def __init__(
        self,
        address: str,
        top: Rung,
        ports: tuple[int, int] | None = None,
        codec: Codec = DEFAULT_CODEC,
    ) -> None:
        """`address` is the local address, `ports` the range for the UDP port (None: any).

        `top` is the rung to start with. Raises `LibraryChanged`, and `ClipsMissing` if the clips
        have to be made and cannot be; use `new` to make them without blocking the event loop.
        """
        self._started_at = time.monotonic()
        self.sender = Sender(top, codec)
        self.receiver = Receiver(lambda: self.sender.round_trip)
        self._reports = ReportArrivals()
        self._host_load = HostLoadMonitor()
        tracks = (self.sender.audio_track, self.sender.video_track)
        self._connection = PeerConnection(address, ports, tracks, self, codec)
        self._tasks = [asyncio.create_task(self._host_load.run())]
        self._peer_finished = False
        self._awake_since = self._started_at
        """Since when this program has run without a pause."""
        self._paused = False
        self._send_times: SendTimes | None = None
        self._remb: RembEstimator | None = None
        self._transport_feedback: TransportFeedback | None = None

    @classmethod
    async def new(
        cls,
        address: str,
        top: Rung,
        ports: tuple[int, int] | None = None,
        codec: Codec = DEFAULT_CODEC,
    ) -> Call:
        """Create a call after loading its clips in a thread, which makes them if necessary."""
        await asyncio.to_thread(prepare_clips, codec)
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
        """Free the port, the tasks and the threads, within seconds; idempotent."""
        self.sender.finish()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self._connection.close()

    # Set-up

    async def offer(self) -> str:
        """Our session description, to be answered by the other end. Raises `CallFailed`."""
        return await self._connection.offer()

    async def answer(self, offer: object) -> str:
        """Apply the other end's offer and return our answer. Raises `CallFailed`.

        A browser that takes transport-wide feedback is answered that it gets it, and does.
        """
        text = await self._connection.answer(offer)
        self._set_streams()
        extension_id = self._connection.remote_streams.transport_cc_id
        if extension_id is not None:
            own_ssrc = self._connection.local_streams.video.ssrc
            self._transport_feedback = TransportFeedback(extension_id, own_ssrc)
        return text

    async def accept(self, answer: object) -> None:
        """Apply the other end's answer to our offer. Raises `CallFailed`."""
        await self._connection.accept(answer)
        self._set_streams()

    def mark(self, dscp: int) -> None:
        """Send with this code point (RFC 2474) from now on; valid after the negotiation."""
        self._connection.mark(dscp)

    def _set_streams(self) -> None:
        local, remote = self._connection.local_streams, self._connection.remote_streams
        self.sender.start(local)
        self.receiver.start(remote, local)

    def expect_browser(self, top: Rung) -> None:
        """The other end is a browser that is to send up to `top`: note when it sends, limit its
        rate by REMB. Call after `answer`.

        A browser that gets transport-wide feedback estimates the rate itself, which REMB would only
        lower. Without abs-send-time there is no REMB, and nothing to note.
        """
        extension_id = self._connection.remote_streams.abs_send_time_id
        if extension_id is None:
            return
        self._send_times = SendTimes(extension_id)
        if self._transport_feedback is None:
            own_ssrc = self._connection.local_streams.video.ssrc
            self._remb = RembEstimator(own_ssrc, _REMB_MARGIN * top.line_rate)

    @property
    def browser_rate(self) -> float | None:
        """The latest of these estimates in bit/s, of all media as IP packets; None without REMB."""
        return None if self._remb is None else self._remb.rate

    async def connect(self) -> None:
        """Wait until media arrives; raises `CallFailed` with the cause if it does not."""
        await self._connection.connect()
        self._tasks.append(asyncio.create_task(self.receiver.run(self._connection.send)))
        await self._connection.wait_for(
            lambda: self.receiver.first_at is not None,
            MEDIA_TIMEOUT_SECONDS,
            Cause.NO_MEDIA,
            "no media arrived",
        )

    @property
    def setup_seconds(self) -> float | None:
        """From the creation of this end to its first media packet; None before it."""
        first_at = self.receiver.first_at
        return None if first_at is None else first_at - self._started_at

    # During the call

    async def exchange_media(self, seconds: float) -> None:
        """Send and receive for `seconds`, or longer (see `call_complete`). Raises `CallFailed`."""
        self._awake_since = time.monotonic()
        start_video_at = self._awake_since + _VIDEO_START_SECONDS
        while not self._is_complete(seconds):
            self._check_alive(time.monotonic())
            if time.monotonic() > start_video_at:
                self.sender.begin_video()
            before = time.monotonic()
            await asyncio.sleep(0.05)
            if time.monotonic() - before > _PAUSE_SECONDS:
                self._awake_since, self._paused = time.monotonic(), True
        self.sender.finish()
        await poll(lambda: not self.sender.is_sending, 1.0)

    def _is_complete(self, seconds: float) -> bool:
        now, started_at = time.monotonic(), self.sender.started_at
        if started_at is None:
            return False
        rung_seconds = now - max(self.sender.rung_started_at, started_at)
        return call_complete(now - started_at, rung_seconds, seconds)

    def _check_alive(self, now: float) -> None:
        if self._connection.is_flooded():
            raise CallFailed(Cause.BAD_REPORT, "the other end floods us", by_network=False)
        for task in self._tasks:
            if task.done():
                task.result()  # raises: without reports the other end would send blindly
        last_at = self.receiver.last_at
        if self._peer_finished:
            return
        # Packets that arrived while this program was stopped are still to be read.
        if last_at is not None and now - max(last_at, self._awake_since) > MEDIA_TIMEOUT_SECONDS:
            raise CallFailed(Cause.INTERRUPTED, f"no media arrived for {MEDIA_TIMEOUT_SECONDS:g} s")
        if not self._connection.is_open:
            raise CallFailed(
                Cause.AGENT_LOST, "the other end closed the connection", by_network=False
            )

    def attribute(self, error: CallFailed) -> CallFailed:
        """Attribute a failure to this computer if it was disturbed just before, else return it
        unchanged."""
        paused = time.monotonic() - self._awake_since < _RECENT_SECONDS and self._paused
        if not error.by_network or not (
            paused or self._host_load.disturbed_within(_RECENT_SECONDS)
        ):
            return error
        detail = f"this computer was stopped or short of CPU just before: {error.detail}"
        return CallFailed(Cause.HOST_OVERLOADED, detail, by_network=False)

    def browser_report_received(self, report: BrowserReceiverReport) -> None:
        """Process a report of a browser on what it has received."""
        self.sender.browser_report_received(report, time.monotonic())

    def peer_finished(self) -> None:
        """Note that the other end sends no more media, so that silence is no failure."""
        self._peer_finished = True

    # After the call

    @property
    def line_bytes(self) -> int:
        """IP bytes that the call has put on the line so far, as this end saw them."""
        return self._connection.line_bytes

    @property
    def datagrams(self) -> tuple[int, int]:
        """Datagrams sent and received by this end so far: media, RTCP, DTLS and STUN."""
        return self._connection.datagrams

    def send_stats(self) -> SendStats:
        """What this end sent."""
        sender, load = self.sender, self._host_load.load()
        segment, now = sender.segments[-1], time.monotonic()
        window_start = max(segment.started_at, sender.started_at or now)
        round_trips = sender.round_trips_since(window_start)
        local_port, remote_port = self._connection.ports
        return SendStats(
            rung=segment.rung.name,
            seconds=max((sender.finished_at or now) - window_start, 0.1),
            audio_first=sender.audio.first or 0,
            audio_packets=len(sender.audio),
            audio_window=segment.audio,
            video_first=sender.video.first or 0,
            video_packets=len(sender.video),
            video_rung=segment.keyframe,
            video_window=segment.video,
            retransmitted=sender.retransmissions.retransmitted,
            refused=sender.retransmissions.refused,
            frames_left_out=sender.skipped_frames,
            adapts=False,
            stepped_down=sender.ladder.capacity is not None,
            loss_stays=sender.ladder.loss_stays,
            capacity=sender.ladder.capacity,
            setup_seconds=self.setup_seconds,
            round_trip_p50=percentile(round_trips, 0.5) if round_trips else None,
            round_trip_p95=percentile(round_trips, 0.95) if round_trips else None,
            local_port=local_port,
            remote_port=remote_port,
            loop_lag_seconds=load.lag,
            loop_stalled_ratio=load.stalled,
            socket_drops=self._connection.socket_drops,
            cpu_ratio=load.cpu,
            disturbed_seconds=load.disturbed,
            stepped_after=sender.stepped_after,
            loop_lag_median_seconds=load.median_lag,
            audio_late=tuple((n, round(late, 4)) for n, late in sender.late_audio),
        )

    async def browser_send_stats(self, stats: BrowserSendStats) -> SendStats:
        """What a browser sent; waits until its last packets have arrived."""
        self.receiver.reports_stopped = True
        await poll(lambda: self._is_silent, _FLUSH_SECONDS)
        audio, video = self.receiver.audio, self.receiver.video
        sent = await _run_in_thread(
            send_stats_from_arrivals, stats, audio, video, self._connection.ports
        )
        if self._send_times is None:
            return sent
        timers_late = (stats.loop_lag or 0.0) >= LATE_TIMERS
        late = await _run_in_thread(sent_late, audio, video, self._send_times, timers_late)
        return replace(sent, audio_late=late)

    async def receive_stats(self, sent: SendStats, *, with_line: bool = True) -> ReceiveStats:
        """What arrived of what the other end sent; waits until its last packets have arrived.

        The line is left out unless `with_line`: to observe it takes half a second of CPU.
        """
        self.receiver.reports_stopped = True
        await poll(lambda: self._has_all(sent), _FLUSH_SECONDS)
        round_trip = sent.round_trip_p50 or self.sender.round_trip
        delay = playout_delay(round_trip, sent.stepped_down)
        path = PathModel(delay, round_trip, self.sender.loss_ratio)
        audio, video = self.receiver.audio, self.receiver.video
        stats = await _run_in_thread(receive_stats, audio, video, sent, path)
        line = await observe_line(audio, video, self._reports, sent) if with_line else None
        # Counted last: the other end, too, has counted what this end sent while it computed.
        ours, theirs = self.datagrams
        return replace(stats, line=line, datagrams_sent=ours, datagrams_received=theirs)

    def _has_all(self, sent: SendStats) -> bool:
        audio, video = len(self.receiver.audio.at), len(self.receiver.video.at)
        return self._is_silent or (audio >= sent.audio_packets and video >= sent.video_packets)

    @property
    def _is_silent(self) -> bool:
        silence = time.monotonic() - (self.receiver.last_at or 0.0)
        return silence > 0.5 + self.sender.round_trip

    # The packets of the connection (`PacketHandler`)

    async def rtp_received(self, data: bytes, at: float, arrived_at: float) -> None:
        """Process an RTP packet."""
        self.receiver.rtp_received(data, arrived_at)
        if self._transport_feedback is not None:
            for feedback in self._transport_feedback.rtp_received(data, arrived_at):
                await self._connection.send(feedback)
        transit = None if self._send_times is None else self._send_times.add(data, arrived_at)
        if self._remb is not None and (remb := self._remb.rtp_received(data, arrived_at, transit)):
            await self._connection.send(remb)
        if self.receiver.needs_feedback:
            await self.receiver.send_feedback(at, self._connection.send)

    async def rtcp_received(self, data: bytes, at: float, arrived_at: float) -> None:
        """Process an RTCP packet: reports on our media, NACK and PLI."""
        self._reports.add(at, len(data))
        try:
            packets = RtcpPacket.parse(data)
        except (ValueError, IndexError, struct.error):
            return
        self.sender.report_app = find_report_app(data)
        for packet in packets:
            if isinstance(packet, RtcpSrPacket):
                ntp_timestamp = packet.sender_info.ntp_timestamp
                self.receiver.sender_report_received(packet.ssrc, ntp_timestamp, arrived_at)
            if isinstance(packet, RtcpSrPacket | RtcpRrPacket):
                for report in packet.reports:
                    self.sender.report_received(report, at, arrived_at)
            elif isinstance(packet, RtcpRtpfbPacket) and packet.fmt == RTCP_RTPFB_NACK:
                await self.sender.retransmit(packet.lost, self._connection.send)
            elif isinstance(packet, RtcpPsfbPacket) and packet.fmt in (
                RTCP_PSFB_PLI, RTCP_PSFB_FIR,
            ):  # fmt: skip
                self.sender.video_track.jump_to_keyframe()

    async def rtp_outgoing(self, data: bytes, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send an RTP packet of ours."""
        await self.sender.rtp_outgoing(data, send)

    def rtcp_outgoing(self, data: bytes, at: float) -> bool:
        """Note an RTCP packet of ours; returns False, so that it is dropped, after the call."""
        self.sender.sender_report_sent(data, at)
        return not self.receiver.reports_stopped

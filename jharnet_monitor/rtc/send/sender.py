"""The sending half of one end: paces what aiortc packetizes, retransmits, and steps down.

aiortc sends a frame as one burst, which alone makes a short queue drop 6 % of the packets. Video
is therefore paced at 1.5 times its rate, as browsers do.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from aiortc.rtp import RtcpReceiverInfo

from jharnet_monitor.profiles import (
    AUDIO_CLOCK_RATE,
    AUDIO_FRAMES_PER_SECOND,
    AUDIO_LINE_RATE,
    FRAMES_PER_SECOND,
    Rung,
)
from jharnet_monitor.rtc.browser import BrowserReceiverReport
from jharnet_monitor.rtc.codecs import DEFAULT_CODEC, Codec
from jharnet_monitor.rtc.media.clips import audio_clip, video_clip
from jharnet_monitor.rtc.receive.arrivals import LINE_OVERHEAD
from jharnet_monitor.rtc.receive.receiver_report import ReceiverReportApp
from jharnet_monitor.rtc.rtp import parse_header
from jharnet_monitor.rtc.sdp import Streams
from jharnet_monitor.rtc.send.ladder import Ladder, Progress
from jharnet_monitor.rtc.send.retransmission import RetransmissionBuffer
from jharnet_monitor.rtc.send.sent_log import Lateness, Pauses, Segment, SentLog
from jharnet_monitor.rtc.send.tracks import ClipTrack

PACING_FACTOR = 1.5
_PACING_BURST = 0.005
"""Seconds that the pacer may run ahead: sleeping for every packet costs more than it gains."""
_MAX_CATCH_UP = 0.03
"""Seconds of lateness, after this host woke late, that the rest of a frame may catch up."""
_DRAINED_QUEUE = 0.03
"""Seconds of queueing delay up to which the queue counts as drained."""
_MAX_DRAIN_SECONDS = 3.0
"""The longest pause of the video between two rungs."""
_LAST_FRAME_SECONDS = 0.1
"""After this long without a packet, no frame is partly sent."""
_UNKNOWN_ROUND_TRIP = 0.1
_MAX_SENDER_REPORTS = 64
"""Sender reports whose sending times are kept."""

Send = Callable[[bytes], Awaitable[None]]


class QueueDelay:
    """The queueing delay on the link, from the audio packets, which go on while video pauses."""

    def __init__(self) -> None:
        self._min_transit = float("inf")
        self._is_drained = asyncio.Event()

    def note_audio_transit(self, transit: float) -> None:
        """Note an audio packet's transit in seconds, between unrelated clocks."""
        self._min_transit = min(self._min_transit, transit)
        if transit - self._min_transit < _DRAINED_QUEUE:
            self._is_drained.set()

    async def wait_until_drained(self) -> None:
        """Wait for a report that shows no queue, for at most `_MAX_DRAIN_SECONDS`."""
        self._is_drained.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._is_drained.wait(), _MAX_DRAIN_SECONDS)


class Sender:
    """Provides the tracks for a connection and sends the packets that aiortc makes of them."""

    def __init__(self, top: Rung, codec: Codec = DEFAULT_CODEC) -> None:
        """`top` is the rung to start with."""
        self._codec = codec
        self.audio_track = ClipTrack(
            "audio", audio_clip(), AUDIO_FRAMES_PER_SECOND, AUDIO_CLOCK_RATE
        )
        self.video_track = ClipTrack("video", None, FRAMES_PER_SECOND, 90_000)
        self.ladder = Ladder(top)
        self.audio, self.video = SentLog(), SentLog()
        self.segments: list[Segment] = [Segment(top, 0, 0, 0, 0.0, 0.0)]
        self.round_trips: list[tuple[float, float]] = []
        """(monotonic time, seconds) of each round trip from RTCP (RFC 3550, 6.4.1), unsmoothed."""
        self.retransmissions = RetransmissionBuffer()
        self.report_app: ReceiverReportApp | None = None
        """The supplement that came with the receiver report being processed."""
        self.received_bytes: tuple[float, int] | None = None
        """(seconds of the receiver's clock, bytes on the line that it had received by then)."""
        self.last_report_at: float | None = None
        self.finished_at: float | None = None
        self._rung = top
        self._streams: Streams | None = None
        self._sender_reports: OrderedDict[int, float] = OrderedDict()
        """When each sender report was sent, by the middle 32 bits of its NTP timestamp."""
        self._next_send_at = 0.0
        self._paced_timestamp: int | None = None
        self._stepping_down: asyncio.Task[None] | None = None
        self._queue_delay = QueueDelay()
        self._counts = {True: (0, 0), False: (0, 0)}
        """Packets sent and lost by the newest report, of audio (True) and of video (False)."""
        self._pauses = Pauses()
        self._audio_lateness = Lateness(AUDIO_CLOCK_RATE)

    def start(self, streams: Streams) -> None:
        """Set the streams that our own session description announces."""
        self._streams = streams

    @property
    def started_at(self) -> float | None:
        """When the first media packet was sent, in monotonic seconds; None before it."""
        return self.audio.at[0] if len(self.audio) else None

    @property
    def rung_started_at(self) -> float:
        """Monotonic seconds from which the current rung is judged; now, while it changes."""
        if self._stepping_down is not None:
            return time.monotonic()
        return self.segments[-1].started_at

    @property
    def round_trip(self) -> float:
        """The latest round trip in seconds; 0.1 before one is known."""
        return self.round_trips[-1][1] if self.round_trips else _UNKNOWN_ROUND_TRIP

    def round_trips_since(self, start: float) -> list[float]:
        """Round trips in seconds from `start` (monotonic) on, sorted; all of them if none is."""
        recent = [seconds for at, seconds in self.round_trips if at >= start]
        return sorted(recent or [seconds for _, seconds in self.round_trips])

    @property
    def late_audio(self) -> tuple[tuple[int, float], ...]:
        """Number and seconds of each audio packet that this end sent late."""
        return tuple(self._audio_lateness.late.items())

    @property
    def loss_ratio(self) -> float:
        """Share of our packets that are lost by the newest reports; 0 before the first one."""
        packets = sum(sent for sent, _ in self._counts.values())
        lost = sum(lost for _, lost in self._counts.values())
        return max(0.0, lost / packets) if packets else 0.0

    # Sending

    async def rtp_outgoing(self, data: bytes, send: Send) -> None:
        """Send one RTP packet when the pacer permits it."""
        header = parse_header(data)
        if header is None or self._streams is None:
            return
        now = time.monotonic()
        self._pauses.sent(now)
        if header.payload_type == self._streams.audio.payload_type:
            self._audio_lateness.sent(len(self.audio), header.timestamp, now)
            self.audio.add(header.sequence, now)
            await send(data)
            return
        if self.video_track.rung is not None and self.video_track.rung is not self._rung:
            self._begin_segment(self.video_track.rung, now)
        self.video.add(header.sequence, now)
        self.retransmissions.add(header.sequence, data)
        await send(data)
        ahead = self._pace(len(data), now, header.timestamp)
        if ahead > _PACING_BURST:
            await asyncio.sleep(ahead)

    def _pace(self, size: int, now: float, timestamp: int | None = None) -> float:
        """Account for a packet; returns the seconds by which sending is ahead of the paced rate.

        `timestamp` is the RTP timestamp of a media packet, None for a retransmission.
        """
        rate = PACING_FACTOR * max(self._rung.video_line_rate, AUDIO_LINE_RATE)
        same_frame = timestamp is not None and timestamp == self._paced_timestamp
        earliest = now - _MAX_CATCH_UP if same_frame else now
        self._next_send_at = max(earliest, self._next_send_at) + (size + LINE_OVERHEAD) * 8 / rate
        self._paced_timestamp = timestamp
        return self._next_send_at - now

    async def retransmit(self, lost: list[int], send: Send) -> None:
        """Answer a NACK (RFC 4585, 6.2.1)."""
        if self._streams is None or self._streams.video.rtx_ssrc is None:
            return
        stream, rate = self._streams.video, self._rung.video_line_rate
        for sequence in lost:
            now = time.monotonic()
            packet = self.retransmissions.retransmission_of(
                sequence, stream, now, self.round_trip, rate
            )
            if packet is not None:
                self._pace(len(packet), now)
                await send(packet)

    @property
    def is_sending(self) -> bool:
        """Whether packets of the last frame may still be waiting to be sent."""
        last = max((log.at[-1] for log in (self.audio, self.video) if len(log)), default=0.0)
        return time.monotonic() - last < _LAST_FRAME_SECONDS

    def finish(self) -> None:
        """Stop sending media; the connection stays open for what is in flight."""
        if self.finished_at is None:
            self.finished_at = time.monotonic()
        self.audio_track.pause()
        self.video_track.pause()
        if self._stepping_down is not None:
            self._stepping_down.cancel()
            self._stepping_down = None

    # Reports

    def sender_report_sent(self, data: bytes, at: float) -> None:
        """Note when a sender report was sent, to measure the round trip from its answer."""
        if len(data) >= 20 and data[1] == 200:
            self._sender_reports[int.from_bytes(data[10:14])] = at
            while len(self._sender_reports) > _MAX_SENDER_REPORTS:
                self._sender_reports.popitem(last=False)

    def report_received(self, report: RtcpReceiverInfo, at: float, arrived_at: float) -> None:
        """Process a report block on one of our streams, which was read at `at`.

        The round trip ends when the kernel received it: the rest is a delay of this host.
        """
        if self._streams is None:
            return
        self._note_first_report(at)
        self.last_report_at = at
        sent_at = self._sender_reports.get(report.lsr) if report.lsr else None
        if sent_at is not None:
            round_trip = arrived_at - sent_at - report.dlsr / 65536
            if 0 < round_trip < 60:
                self.round_trips.append((at, round_trip))
        is_audio = report.ssrc == self._streams.audio.ssrc
        progress = self._progress(report, is_audio)
        if progress is not None:
            self._update_ladder(progress, is_audio)

    def browser_report_received(self, report: BrowserReceiverReport, at: float) -> None:
        """Process a browser's report, which has what a report block and its supplement have."""
        self._note_first_report(at)
        self.last_report_at = at
        self.received_bytes = report.written, report.line_bytes
        for log, packets, lost, newest, is_audio in (
            (self.audio, report.audio_packets, report.audio_lost, report.audio_newest, True),
            (self.video, report.video_packets, report.video_lost, report.video_newest, False),
        ):
            if 0 < packets <= len(log):
                transit = newest - log.at[packets - 1]
                self._update_ladder(
                    Progress(report.written, packets, lost, report.line_bytes, transit), is_audio
                )

    def _note_first_report(self, at: float) -> None:
        """Begin the judged window and the video: the other end has seen the link without video."""
        if self.last_report_at is None:
            self.segments[-1] = self._segment(self._rung, len(self.video), at)
            self.begin_video()

    def begin_video(self) -> None:
        """Start the video, unless it has started or the rung has none."""
        if self._rung.video and self.video_track.rung is None and self._stepping_down is None:
            self.video_track.play(video_clip(self._rung, self._codec), self._rung)

    def _progress(self, report: RtcpReceiverInfo, is_audio: bool) -> Progress | None:
        """Combine a report block with its supplement; None if that is missing."""
        log, app = self.audio if is_audio else self.video, self.report_app
        number = log.packet_number(report.highest_sequence & 0xFFFF)
        if app is None or number is None:
            return None
        self.received_bytes = app.written_at, app.line_bytes
        self._counts[is_audio] = (number + 1, report.packets_lost)
        newest_at = app.newest_audio_at if is_audio else app.newest_video_at
        return Progress(
            at=app.written_at,
            packets=number + 1,
            lost=report.packets_lost,
            other_stream=self._counts[not is_audio],
            line_bytes=app.line_bytes,
            transit=newest_at - log.at[number],
            longest_gap=app.longest_gap,
            newest_at=app.newest_at,
            longest_pause=0.0 if is_audio else self._pauses.until(self._newest_reported),
        )

    @property
    def _newest_reported(self) -> float:
        """When the newest packet was sent that the newest report is about."""
        logs = ((self.audio, self._counts[True][0]), (self.video, self._counts[False][0]))
        return max((log.at[packets - 1] for log, packets in logs if packets), default=0.0)

    def _update_ladder(self, progress: Progress, is_audio: bool) -> None:
        """Pass a report to the queue delay (audio) and, if it is the watched stream, the ladder.

        The ladder watches the video, or the audio of a rung without video; after the last packet
        it would only begin the video again.
        """
        if is_audio:
            self._queue_delay.note_audio_transit(progress.transit)
            if not len(self.video):
                self.ladder.note_audio_transit(progress.transit)
        if self.finished_at is not None or self._stepping_down is not None:
            return
        if is_audio != bool(self._rung.video):
            rung = self.ladder.report(progress)
            if rung is not None:
                self._stepping_down = asyncio.create_task(self._step_down(rung))

    # Rungs

    async def _step_down(self, rung: Rung) -> None:
        """Pause the video until the queue has drained, then continue with the lower rung."""
        self.video_track.pause()
        self.retransmissions.clear()
        await self._queue_delay.wait_until_drained()
        if rung.video:
            self.ladder.rung_started(len(self.video))
            self.video_track.play(video_clip(rung, self._codec), rung)
        else:
            self.video_track.rung = rung
            self._begin_segment(rung, time.monotonic())
            self.ladder.rung_started(len(self.audio))
        self._stepping_down = None

    def _begin_segment(self, rung: Rung, now: float) -> None:
        self._rung = rung
        self.segments.append(self._segment(rung, len(self.video), now))

    def _segment(self, rung: Rung, keyframe: int, now: float) -> Segment:
        skipped = self.video_track.skipped_frames
        return Segment(rung, keyframe, len(self.video), len(self.audio), now, skipped)

    @property
    def stepped_after(self) -> float | None:
        """Seconds from the first report to the last change of rung; None if there was none."""
        if len(self.segments) == 1:
            return None
        return max(0.0, self.segments[-1].started_at - self.segments[0].started_at)

    @property
    def skipped_frames(self) -> int:
        """Video frames of the current rung that this host was too slow to send."""
        return round(self.video_track.skipped_frames - self.segments[-1].skipped_frames)

"""One end's sending half: paces what aiortc packetizes, repeats what was lost, steps down.

Frames leave aiortc as bursts; on a short queue that alone drops 6 % of them. Video is spread at
1.5 times its rate, as real clients do.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from aiortc.rtp import RtcpReceiverInfo

from jharnet_monitor.profiles import (
    AUDIO_FRAMES_PER_SECOND,
    AUDIO_LINE_RATE,
    FRAMES_PER_SECOND,
    Rung,
)
from jharnet_monitor.rtc.browser import BrowserAccount
from jharnet_monitor.rtc.codecs import DEFAULT, Codec
from jharnet_monitor.rtc.media.clips import audio_clip, video_clip
from jharnet_monitor.rtc.receive.arrivals import LINE_OVERHEAD
from jharnet_monitor.rtc.receive.receiver_report import Account
from jharnet_monitor.rtc.rtp import parse_header
from jharnet_monitor.rtc.sdp import Streams
from jharnet_monitor.rtc.send.ladder import Ladder, Progress
from jharnet_monitor.rtc.send.retransmission import Repeats
from jharnet_monitor.rtc.send.sent_log import Segment, SentLog
from jharnet_monitor.rtc.send.tracks import ClipTrack

PACING = 1.5
_BURST = 0.005
"""Seconds that the pacer may be ahead: sleeping for every packet costs more than it brings."""
_OVERSLEPT = 0.03
"""Seconds by which the rest of a frame is hurried if this computer woke late within it."""
_DRAINED = 0.03
_DRAIN_LIMIT = 3.0
"""Seconds; the longest pause between two rungs."""
_LAST_FRAME = 0.1
"""Seconds without a packet after which no frame is half sent."""

Send = Callable[[bytes], Awaitable[None]]


class Queue:
    """How long packets wait on the link, by the audio, which goes on while video pauses."""

    def __init__(self) -> None:
        self._shortest = float("inf")
        self._short = asyncio.Event()

    def note(self, transit: float) -> None:
        """Take in the time that an audio packet took, on two clocks."""
        self._shortest = min(self._shortest, transit)
        if transit - self._shortest < _DRAINED:
            self._short.set()

    async def drained(self) -> None:
        """Wait until packets pass without waiting, as a report still to come will say."""
        self._short.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._short.wait(), _DRAIN_LIMIT)


class Sender:
    """Gives the tracks to add to a connection, and takes the packets that aiortc makes of them."""

    def __init__(self, top: Rung, codec: Codec = DEFAULT) -> None:
        self._codec = codec
        self.audio_track = ClipTrack("audio", audio_clip(), AUDIO_FRAMES_PER_SECOND, 48_000)
        self.video_track = ClipTrack("video", None, FRAMES_PER_SECOND, 90_000)
        self.ladder = Ladder(top)
        self.audio, self.video = SentLog(), SentLog()
        self.segments: list[Segment] = [Segment(top, 0, 0, 0, 0.0, 0.0)]
        self.round_trips: list[tuple[float, float]] = []
        """(when, seconds), raw, by RTCP sender reports and what the receiver says of them."""
        self.repeats = Repeats()
        self.account: Account | None = None
        """What the receiver's own report says, which came with the standard one."""
        self.arrived: tuple[float, int] | None = None
        """Bytes on the line that the receiver has counted so far, and when by its own clock."""
        self.last_report_at: float | None = None
        self.finished_at: float | None = None
        self._rung = top
        self._streams: Streams | None = None
        self._sender_reports: OrderedDict[int, float] = OrderedDict()
        self._free_at = 0.0
        self._stamp: int | None = None
        self._changing: asyncio.Task[None] | None = None
        self._queue = Queue()
        self._counted = {True: (0, 0), False: (0, 0)}
        """Packets sent and lost by the newest report, of audio (True) and of video."""

    def start(self, streams: Streams) -> None:
        """Learn which numbers our own streams carry, as our session description says."""
        self._streams = streams

    @property
    def started_at(self) -> float | None:
        """Monotonic seconds of the first media packet; None before it."""
        return self.audio.at[0] if len(self.audio) else None

    @property
    def changed_at(self) -> float:
        """Monotonic seconds from which the present rung is sent; the future while it changes."""
        return time.monotonic() if self._changing is not None else self.segments[-1].at

    @property
    def round_trip(self) -> float:
        """The latest round trip in seconds; 0.1 before one is known."""
        return self.round_trips[-1][1] if self.round_trips else 0.1

    def round_trips_since(self, begun: float) -> list[float]:
        """All of them in seconds from a moment on, rising; of the whole call if there was none."""
        recent = [seconds for at, seconds in self.round_trips if at >= begun]
        return sorted(recent or [seconds for _, seconds in self.round_trips])

    @property
    def lost_share(self) -> float:
        """Share of our packets that the newest reports miss; 0 before there is one."""
        packets = sum(sent for sent, _ in self._counted.values())
        lost = sum(lost for _, lost in self._counted.values())
        return max(0.0, lost / packets) if packets else 0.0

    async def leaving(self, data: bytes, send: Send) -> None:
        """Send one media packet when the pacer lets it."""
        header = parse_header(data)
        if header is None or self._streams is None:
            return
        now = time.monotonic()
        if header.payload_type == self._streams.audio.payload_type:
            self.audio.add(header.sequence, now)
            await send(data)
            return
        if self.video_track.rung is not None and self.video_track.rung is not self._rung:
            self._begin_segment(self.video_track.rung, now)
        self.video.add(header.sequence, now)
        self.repeats.keep(header.sequence, data)
        await send(data)
        ahead = self._pace(len(data), now, header.timestamp)
        if ahead > _BURST:
            await asyncio.sleep(ahead)

    def _pace(self, size: int, now: float, stamp: int | None = None) -> float:
        """Book a packet; gives the seconds by which sending is ahead of the paced rate."""
        rate = PACING * max(self._rung.video_line_rate, AUDIO_LINE_RATE)
        same_frame = stamp is not None and stamp == self._stamp
        earliest = now - _OVERSLEPT if same_frame else now
        self._free_at = max(earliest, self._free_at) + (size + LINE_OVERHEAD) * 8 / rate
        self._stamp = stamp
        return self._free_at - now

    def sender_report_leaving(self, data: bytes, at: float) -> None:
        """Remember when a sender report went out, by the middle of its NTP time stamp."""
        if len(data) >= 20 and data[1] == 200:
            self._sender_reports[int.from_bytes(data[10:14])] = at
            while len(self._sender_reports) > 64:
                self._sender_reports.popitem(last=False)

    def reported(self, report: RtcpReceiverInfo, at: float) -> None:
        """Take in what the peer says of one of our streams."""
        if self._streams is None:
            return
        self._first_report(at)
        self.last_report_at = at
        sent_at = self._sender_reports.get(report.lsr) if report.lsr else None
        if sent_at is not None:
            round_trip = at - sent_at - report.dlsr / 65536
            if 0 < round_trip < 60:
                self.round_trips.append((at, round_trip))
        is_audio = report.ssrc == self._streams.audio.ssrc
        progress = self._progress(report, is_audio)
        if progress is not None:
            self._take(progress, is_audio)

    def _first_report(self, at: float) -> None:
        """The other end is there and has seen the link without video: begin what is judged."""
        if self.last_report_at is None:
            self.segments[-1] = self._segment(self._rung, len(self.video), at)
            self.begin_video()

    def begin_video(self) -> None:
        """Send video from now on, if that has not begun and the rung has any."""
        if self._rung.video and self.video_track.rung is None and self._changing is None:
            self.video_track.play(video_clip(self._rung, self._codec), self._rung)

    def _take(self, progress: Progress, is_audio: bool) -> None:
        """Let the ladder know, by the stream that it watches, and the queue, by the audio."""
        if is_audio:
            self._queue.note(progress.transit)
            if not len(self.video):
                self.ladder.idle(progress.transit)
        if self._changing is None and is_audio != bool(self._rung.video):
            step = self.ladder.report(progress)
            if step is not None:
                self._changing = asyncio.create_task(self._change(step))

    def accounted(self, told: BrowserAccount, at: float) -> None:
        """Take in a browser's account of what came, which stands for report and account."""
        self._first_report(at)
        self.last_report_at = at
        self.arrived = told.written, told.line_bytes
        for log, packets, lost, newest, is_audio in (
            (self.audio, told.audio_packets, told.audio_lost, told.audio_newest, True),
            (self.video, told.video_packets, told.video_lost, told.video_newest, False),
        ):
            if 0 < packets <= len(log):
                transit = newest - log.at[packets - 1]
                self._take(
                    Progress(told.written, packets, lost, told.line_bytes, transit), is_audio
                )

    def _progress(self, report: RtcpReceiverInfo, is_audio: bool) -> Progress | None:
        log, account = self.audio if is_audio else self.video, self.account
        offset = log.offset(report.highest_sequence & 0xFFFF)
        if account is None or offset is None:
            return None
        self.arrived = account.written, account.line_bytes
        self._counted[is_audio] = (offset + 1, report.packets_lost)
        return Progress(
            at=account.written,
            packets=offset + 1,
            lost=report.packets_lost,
            beside=self._counted[not is_audio],
            line_bytes=account.line_bytes,
            transit=(account.newest_audio if is_audio else account.newest_video) - log.at[offset],
            gap=account.longest_gap,
        )

    async def _change(self, step: Rung) -> None:
        """Let the queue drain, which the audio shows, then go on with the lower rung."""
        self.video_track.pause()
        self.repeats.forget()
        await self._queue.drained()
        if step.video:
            self.ladder.switched(len(self.video))
            self.video_track.play(video_clip(step, self._codec), step)
        else:
            self.video_track.rung = step
            self._begin_segment(step, time.monotonic())
            self.ladder.switched(len(self.audio))
        self._changing = None

    def _begin_segment(self, step: Rung, now: float) -> None:
        self._rung = step
        self.segments.append(self._segment(step, len(self.video), now))

    def _segment(self, step: Rung, keyframe: int, now: float) -> Segment:
        left_out = self.video_track.left_out
        return Segment(step, keyframe, len(self.video), len(self.audio), now, left_out)

    @property
    def left_out(self) -> int:
        """Video frames of this rung that were never sent, because this computer was too slow."""
        return round(self.video_track.left_out - self.segments[-1].left_out)

    async def repeat(self, lost: list[int], send: Send) -> None:
        """Answer a NACK (RFC 4585, 6.2.1)."""
        if self._streams is None or self._streams.video.rtx_ssrc is None:
            return
        stream, rate = self._streams.video, self._rung.video_line_rate
        for sequence in lost:
            now = time.monotonic()
            again = self.repeats.of(sequence, stream, now, self.round_trip, rate)
            if again is not None:
                self._pace(len(again), now)
                await send(again)

    @property
    def busy(self) -> bool:
        """Whether packets of the last frame may still have to leave."""
        last = max((log.at[-1] for log in (self.audio, self.video) if len(log)), default=0.0)
        return time.monotonic() - last < _LAST_FRAME

    def finish(self) -> None:
        """Send no more media; the connection stays up for what is still under way."""
        if self.finished_at is None:
            self.finished_at = time.monotonic()
        self.audio_track.pause()
        self.video_track.pause()
        if self._changing is not None:
            self._changing.cancel()
            self._changing = None

"""One end's sending half: paces what aiortc packetizes, repeats what was lost, steps down.

Frames leave aiortc as bursts; on a short queue that alone drops 6 % of them. Video is spread at
1.5 times its rate, as real clients do. Retransmissions draw on a token bucket: without one,
aiortc repeats twenty thousand packets over a full link.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiortc.rtp import RtcpReceiverInfo

from jharnet_monitor.rtc.arrivals import LINE_OVERHEAD
from jharnet_monitor.rtc.clips import audio_clip, video_clip
from jharnet_monitor.rtc.ladder import Ladder, Progress, Step
from jharnet_monitor.rtc.profiles import (
    AUDIO_FRAMES_PER_SECOND,
    AUDIO_LINE_RATE,
    FRAMES_PER_SECOND,
    Rung,
)
from jharnet_monitor.rtc.rtp import parse_header, retransmission, unwrap
from jharnet_monitor.rtc.sdp import Streams
from jharnet_monitor.rtc.tracks import ClipTrack

PACING = 1.5
_BURST = 0.005
"""Seconds that the pacer may be ahead: sleeping for every packet costs more than it brings."""
_LAST_FRAME = 0.1
"""Seconds without a packet after which no frame is half sent."""
_HISTORY = 1024
"""Packets kept for retransmission: 7 s of 720p."""
_REPEAT_SHARE = 0.5
"""Retransmissions take at most this share of the video rate, over half a second."""

Send = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Segment:
    """From which packets on a rung was sent (counted from the call's first), and when."""

    rung: Rung
    video: int
    audio: int
    at: float


class SentLog:
    """Every packet of one stream as it went out."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.at = array("d")
        self.total_bytes = array("q")
        """Running sum of line bytes, this packet included."""

    def __len__(self) -> int:
        return len(self.at)

    def add(self, sequence: int, size: int, now: float) -> None:
        """Note one packet, in the order in which they are numbered."""
        if self.first is None:
            self.first = sequence
        before = self.total_bytes[-1] if self.total_bytes else 0
        self.at.append(now)
        self.total_bytes.append(before + size + LINE_OVERHEAD)

    def offset(self, sequence: int) -> int | None:
        """Which packet of the call carries this sequence number; None if none does."""
        if self.first is None:
            return None
        newest = self.first + len(self) - 1
        offset = unwrap(sequence, newest) - self.first
        return offset if 0 <= offset < len(self) else None


class Sender:
    """Gives the tracks to add to a connection, and takes the packets that aiortc makes of them."""

    def __init__(self, top: Rung) -> None:
        self.audio_track = ClipTrack("audio", audio_clip(), AUDIO_FRAMES_PER_SECOND, 48_000)
        self.video_track = ClipTrack("video", None, FRAMES_PER_SECOND, 90_000)
        if top.video:
            self.video_track.play(video_clip(top), top)
        self.ladder = Ladder(top, AUDIO_LINE_RATE)
        self.audio, self.video = SentLog(), SentLog()
        self.segments: list[Segment] = [Segment(top, 0, 0, 0.0)]
        self.round_trips: list[tuple[float, float]] = []
        """(when, seconds), raw, by RTCP sender reports and what the receiver says of them."""
        self.retransmitted = self.refused = 0
        self.last_report_at: float | None = None
        self.finished_at: float | None = None
        self._rung = top
        self._streams: Streams | None = None
        self._sender_reports: OrderedDict[int, float] = OrderedDict()
        self._history: OrderedDict[int, bytes] = OrderedDict()
        self._repeated_at: dict[int, float] = {}
        self._rtx_sequence = 0
        self._tokens = 0.0
        self._tokens_at = 0.0
        self._free_at = 0.0
        self._changing: asyncio.Task[None] | None = None

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

    async def leaving(self, data: bytes, send: Send) -> None:
        """Send one media packet when the pacer lets it."""
        header = parse_header(data)
        if header is None or self._streams is None:
            return
        now = time.monotonic()
        if header.payload_type == self._streams.audio.payload_type:
            self.audio.add(header.sequence, len(data), now)
            await send(data)
            return
        if self.video_track.rung is not None and self.video_track.rung is not self._rung:
            self._begin_segment(self.video_track.rung, now)
        self.video.add(header.sequence, len(data), now)
        self._history[header.sequence] = data
        if len(self._history) > _HISTORY:
            self._repeated_at.pop(self._history.popitem(last=False)[0], None)
        await send(data)
        ahead = self._pace(len(data), now)
        if ahead > _BURST:
            await asyncio.sleep(ahead)

    def _pace(self, size: int, now: float) -> float:
        """Book a packet; gives the seconds by which sending is ahead of the paced rate."""
        rate = PACING * max(self._rung.video_line_rate, AUDIO_LINE_RATE)
        self._free_at = max(now, self._free_at) + (size + LINE_OVERHEAD) * 8 / rate
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
        self.last_report_at = at
        sent_at = self._sender_reports.get(report.lsr) if report.lsr else None
        if sent_at is not None:
            round_trip = at - sent_at - report.dlsr / 65536
            if 0 < round_trip < 60:
                self.round_trips.append((at, round_trip))
        watched = self._streams.video if self._rung.video else self._streams.audio
        if report.ssrc != watched.ssrc or self._changing is not None:
            return
        log = self.video if self._rung.video else self.audio
        offset = log.offset(report.highest_sequence & 0xFFFF)
        if offset is None:
            return
        step = self.ladder.report(
            Progress(at, offset + 1, log.total_bytes[offset], report.packets_lost,
                     at - log.at[offset])
        )  # fmt: skip
        if step is not None:
            self._changing = asyncio.create_task(self._change(step))

    async def _change(self, step: Step) -> None:
        """Let the queue drain, then go on with the lower rung."""
        self.video_track.pause()
        clip = await asyncio.to_thread(video_clip, step.rung) if step.rung.video else None
        await asyncio.sleep(step.pause)
        if clip is None:
            self._begin_segment(step.rung, time.monotonic())
            self.ladder.switched(len(self.audio))
        else:
            self.ladder.switched(len(self.video))
            self.video_track.play(clip, step.rung)
        self._changing = None

    def _begin_segment(self, step: Rung, now: float) -> None:
        self._rung = step
        self.segments.append(Segment(step, len(self.video), len(self.audio), now))

    async def repeat(self, lost: list[int], send: Send) -> None:
        """Answer a NACK (RFC 4585, 6.2.1) by RFC 4588, within the token bucket."""
        if self._streams is None or self._streams.video.rtx_ssrc is None:
            return
        stream = self._streams.video
        for sequence in lost:
            now = time.monotonic()
            data = self._history.get(sequence)
            if data is None or now - self._repeated_at.get(sequence, 0.0) < self.round_trip:
                continue
            if not self._may_repeat(len(data) + LINE_OVERHEAD, now):
                self.refused += 1
                continue
            self._repeated_at[sequence] = now
            self._rtx_sequence += 1
            self.retransmitted += 1
            self._pace(len(data), now)
            await send(
                retransmission(
                    data,
                    payload_type=stream.rtx_payload_type or 0,
                    ssrc=stream.rtx_ssrc or 0,
                    sequence=self._rtx_sequence,
                )
            )

    def _may_repeat(self, size: int, now: float) -> bool:
        rate = _REPEAT_SHARE * self._rung.video_line_rate / 8
        self._tokens = min(rate / 2 + 3000, self._tokens + (now - self._tokens_at) * rate)
        self._tokens_at = now
        if self._tokens < size:
            return False
        self._tokens -= size
        return True

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

"""The join page as the other end: a browser, which reports `getStats` and adapts its own rate.

A browser does not number its packets for us and cannot see its socket, so it reports less than our
own agent (W3C webrtc-stats, `outbound-rtp` and `inbound-rtp`); what it cannot know is None. What it
sent is therefore counted here, from the sequence numbers that arrived.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jharnet_monitor.profiles import AUDIO_LINE_RATE, RUNGS, Rung, rungs_below
from jharnet_monitor.rtc.receive.arrivals import RETRANSMITTED, Arrivals
from jharnet_monitor.rtc.stats.call_stats import SendStats, StatsMessage

BROWSER = "browser"
"""The value of `client` in a browser's offer message."""
LATE_TIMERS = 0.02
"""Seconds by which a timer is late only where something disturbs the computer: in quiet calls of
Firefox it was at most 0.006. (On Windows it may be late by a tick of 0.016.)"""
_ENLARGE_SECONDS, _ENLARGE_MARGIN = 30.0, 1.15
"""A larger picture is asked for after this long without a change, where the rate exceeds its need
by this factor."""
_CHANGE = 0.03
"""A smaller change of the rate is not worth a message."""


@dataclass(frozen=True, slots=True)
class BrowserReceiverReport(StatsMessage):
    """What a browser has received so far, sent four times a second over the signalling channel.

    Stands in for receiver report and `ReceiverReportApp`. The fields are the keys of the message;
    times are in seconds of the browser's clock.
    """

    written: float
    """When the report was written."""
    line_bytes: int
    """IP bytes of all media received."""
    audio_packets: int
    """Audio packets sent up to the newest that arrived."""
    audio_lost: int
    audio_newest: float
    """When the newest audio packet arrived."""
    video_packets: int
    video_lost: int
    video_newest: float


@dataclass(frozen=True, slots=True)
class BrowserSendStats(StatsMessage):
    """What a browser sent over the last `seconds` of the call, the judged window.

    The fields are the keys of its `sent` message.
    """

    seconds: float
    height: int
    """Lines of the picture that it sent last; 0 if none."""
    stepped_down: bool
    """The link prevented it from sending the requested picture."""
    capacity: float | None
    """Its estimate in bit/s (`availableOutgoingBitrate`) when it had stepped down."""
    retransmitted: int | None
    setup_seconds: float | None
    round_trip_p50: float | None
    """Seconds."""
    round_trip_p95: float | None
    """Seconds."""
    host_limited: float | None
    """Share of the window in which its encoder was limited by the CPU."""
    camera: bool
    microphone: bool
    hidden: bool
    """The page was in the background at some time during the call."""
    frames_left_out: int | None = None
    """Frames of the window that its encoder was too slow for; older pages do not say."""
    silent: bool | None = None
    """It had no microphone, and its browser played no tone either (Firefox without a sound device),
    so it sent silence; older pages do not say."""
    loop_lag: float | None = None
    """The longest lag in seconds of a timer within the window; older pages do not say."""

    def conditions(self) -> dict[str, Any]:
        """The conditions of the measurement that describe the browser's media."""
        return {
            "agent_client": BROWSER,
            "agent_video": "camera" if self.camera else "pattern",
            "agent_audio": self._audio,
            "agent_page_hidden": self.hidden,
        }

    @property
    def _audio(self) -> str:
        if self.microphone:
            return "microphone"
        return "silence" if self.silent else "tone"


@dataclass(frozen=True, slots=True)
class BrowserLag(StatsMessage):
    """How late a page's thread handled what came during a series of datagrams, in seconds.

    The fields are the keys of its `lag` message.
    """

    loop_lag: float
    """The longest lag."""
    loop_lag_p75: float
    """The upper quartile."""


class PictureAdvice:
    """The picture and the rate that a browser is to send: what REMB says, for one that ignores it.

    Firefox has a least rate for each size of picture (1.2 Mbit/s for 720 lines), goes below it for
    no REMB, and repeats what is lost beside it. A smaller picture and `maxBitrate` it obeys.
    """

    def __init__(self, top: Rung) -> None:
        """`top` is what the browser was asked to send."""
        self._rungs = [rung for rung in rungs_below(top) if rung.video]
        self._rung = top
        self._changed_at = float("-inf")
        self._video: float = top.video

    def update(self, line_rate: float, now: float) -> dict[str, float] | None:
        """The fields of an `advice` message if there is something new, else None.

        `line_rate` in bit/s is for sound and picture as IP packets, `now` in monotonic seconds.
        """
        if not self._rungs:
            return None
        before = self._rung
        lower = self._best(line_rate)
        if lower.height < before.height:
            self._rung = lower
        elif now - self._changed_at >= _ENLARGE_SECONDS:
            self._rung = max(before, self._best(line_rate / _ENLARGE_MARGIN), key=_height)
        size = self._rung
        coded = size.video / size.video_line_rate * (line_rate - AUDIO_LINE_RATE)
        video = max(self._rungs[0].video, min(self._rungs[-1].video, coded))
        if size.height == before.height and abs(video - self._video) <= _CHANGE * self._video:
            return None
        if size.height != before.height:
            self._changed_at = now
        self._video = video
        return {"video": round(video), "height": size.height, "line_rate": round(line_rate)}

    def _best(self, line_rate: float) -> Rung:
        fits = [rung for rung in self._rungs if rung.line_rate <= line_rate]
        return (fits or self._rungs[:1])[-1]


def _height(rung: Rung) -> int:
    return rung.height


def send_stats_from_arrivals(
    stats: BrowserSendStats, audio: Arrivals, video: Arrivals, ports: tuple[int, int]
) -> SendStats:
    """A browser's send statistics, with packets counted by the sequence numbers that arrived.

    Losses before the first and after the last arrival cannot be seen this way: a fraction of a
    second at either end of the call. `ports` are our UDP port and the browser's.
    """
    ends = [log.at[-1] for log in (audio, video) if log.at]
    seconds = max(stats.seconds, 0.1)
    window_start = max(ends, default=0.0) - seconds
    return SendStats(
        rung=_nearest_rung(stats.height, _bit_rate(video, window_start, seconds)).name,
        seconds=seconds,
        audio_first=audio.first or 0,
        audio_packets=audio.expected,
        audio_window=_first_of_window(audio, window_start),
        video_first=video.first or 0,
        video_packets=video.expected,
        video_rung=0,
        video_window=_first_of_window(video, window_start),
        retransmitted=stats.retransmitted,
        refused=None,
        frames_left_out=stats.frames_left_out,
        adapts=True,
        stepped_down=stats.stepped_down,
        loss_stays=False,
        capacity=stats.capacity,
        setup_seconds=stats.setup_seconds,
        round_trip_p50=stats.round_trip_p50,
        round_trip_p95=stats.round_trip_p95,
        local_port=ports[1],
        remote_port=ports[0],
        loop_lag_seconds=stats.loop_lag,
        loop_stalled_ratio=stats.host_limited,
        socket_drops=None,
        cpu_ratio=None,
        disturbed_seconds=None,
        stepped_after=None,
    )


def _first_of_window(log: Arrivals, window_start: float) -> int:
    """The number, counted from the first packet, of the first packet in the window. Meanwhile more
    may arrive.
    """
    first = log.first or 0
    inside = (
        sequence - first
        for sequence, at, flags in zip(log.sequence, log.at, log.flags, strict=False)
        if at >= window_start and not flags & RETRANSMITTED
    )
    return max(0, min(inside, default=log.expected))


def _bit_rate(video: Arrivals, window_start: float, seconds: float) -> float:
    """bit/s on the line of the video that arrived in the window. Meanwhile more may arrive."""
    rows = zip(video.size, video.at, video.sequence, strict=False)
    return sum(size for size, at, _ in rows if at >= window_start) * 8 / seconds


def _nearest_rung(height: int, bit_rate: float) -> Rung:
    """The rung closest to a picture height in lines and a rate in bit/s.

    >>> [_nearest_rung(*sent).name for sent in ((720, 1.2e6), (720, 0.7e6), (0, 0.0))]
    ['720p', '720p-lean', 'audio']
    """
    tallest = max(rung.height for rung in RUNGS if rung.height <= height)
    same_height = [rung for rung in RUNGS if rung.height == tallest]
    return min(same_height, key=lambda rung: abs(rung.video_line_rate - bit_rate))

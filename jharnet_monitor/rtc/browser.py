"""The other end is a browser, the join page: it counts by `getStats` and adapts its own rate.

It numbers no packets and knows nothing of its socket, so it tells less (W3C webrtc-stats,
`outbound-rtp` and `inbound-rtp`); what it cannot know is None. What it sent is counted here, by
the sequence numbers that arrived.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jharnet_monitor.profiles import RUNGS, Rung
from jharnet_monitor.rtc.receive.arrivals import REPEATED, Arrivals
from jharnet_monitor.rtc.stats.call_stats import Report, Sent

BROWSER = "browser"
"""What a browser calls itself in its offer."""


@dataclass(frozen=True, slots=True)
class BrowserAccount(Report):
    """What has arrived so far, four times a second: what a `progress.Account` is for our own end.

    Moments in seconds of the browser's clock; `packets` are those sent up to the newest arrival.
    """

    written: float
    line_bytes: int
    audio_packets: int
    audio_lost: int
    audio_newest: float
    video_packets: int
    video_lost: int
    video_newest: float


@dataclass(frozen=True, slots=True)
class BrowserSent(Report):
    """What a browser says of its sending, over the last `seconds` of the call: the window."""

    seconds: float
    height: int
    """Lines of the picture that it sent last; 0 for none."""
    stepped_down: bool
    """The link kept it from sending what it was to send."""
    capacity: float | None
    """Its own estimate in bit/s (`availableOutgoingBitrate`) when it had stepped down."""
    retransmitted: int | None
    setup_seconds: float | None
    round_trip_p50: float | None
    round_trip_p95: float | None
    host_limited: float | None
    """Share of the window in which its encoder lacked processor time."""
    camera: bool
    microphone: bool
    hidden: bool
    """The page lay behind others at some time of the call."""

    def conditions(self) -> dict[str, Any]:
        """What the browser took part with, for the measurement's conditions."""
        return {
            "agent_client": BROWSER,
            "agent_video": "camera" if self.camera else "pattern",
            "agent_audio": "microphone" if self.microphone else "tone",
            "agent_page_hidden": self.hidden,
        }


def numbered(told: BrowserSent, audio: Arrivals, video: Arrivals, ports: tuple[int, int]) -> Sent:
    """What was sent, from the sequence numbers that came; `ports` are ours and the browser's.

    What was lost before the first arrival or after the last one cannot be seen this way: a
    fraction of a second at either end of the call.
    """
    ends = [log.at[-1] for log in (audio, video) if log.at]
    seconds = max(told.seconds, 0.1)
    begin = max(ends, default=0.0) - seconds
    return Sent(
        rung=_rung(told.height, _rate(video, begin, seconds)).name,
        seconds=seconds,
        audio_first=audio.first or 0,
        audio_packets=audio.expected,
        audio_window=_window(audio, begin),
        video_first=video.first or 0,
        video_packets=video.expected,
        video_rung=0,
        video_window=_window(video, begin),
        retransmitted=told.retransmitted,
        refused=None,
        frames_left_out=None,
        adapts=True,
        stepped_down=told.stepped_down,
        loss_stays=False,
        capacity=told.capacity,
        setup_seconds=told.setup_seconds,
        round_trip_p50=told.round_trip_p50,
        round_trip_p95=told.round_trip_p95,
        local_port=ports[1],
        remote_port=ports[0],
        loop_lag_seconds=None,
        loop_stalled_ratio=told.host_limited,
        socket_drops=None,
        cpu_ratio=None,
    )


def _window(log: Arrivals, begin: float) -> int:
    """Which packet, counted from the first, was the first of the window."""
    first = log.first or 0
    inside = (
        sequence - first
        for sequence, at, flags in zip(log.sequence, log.at, log.flags, strict=True)
        if at >= begin and not flags & REPEATED
    )
    return max(0, min(inside, default=log.expected))


def _rate(video: Arrivals, begin: float, seconds: float) -> float:
    size = sum(size for size, at in zip(video.size, video.at, strict=True) if at >= begin)
    return size * 8 / seconds


def _rung(height: int, rate: float) -> Rung:
    """The rung that comes nearest to a picture height and a rate in bit/s.

    >>> _rung(720, 1.2e6).name, _rung(720, 0.7e6).name, _rung(0, 0.0).name
    ('720p', '720p-lean', 'audio')
    """
    tallest = max(step.height for step in RUNGS if step.height <= height)
    alike = [step for step in RUNGS if step.height == tallest]
    return min(alike, key=lambda step: abs(step.video_line_rate - rate))

"""What each end says after a call: what it sent, and what it saw arrive of the other's.

Only the receiver's counts are quoted; the sender's tell how many there should have been, so that
a loss before the first arrival or after the last is seen too.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from jharnet_monitor.judge.conference.video import (
    Frame,
    detect_freezes,
    frames_per_second,
    render_times,
)
from jharnet_monitor.judge.conference.voice import burst_ratio
from jharnet_monitor.profiles import RUNGS
from jharnet_monitor.rtc.receive.arrivals import ENDS, KEY, REPEATED, STARTS, Arrivals
from jharnet_monitor.rtc.stats.freeze_resampling import Path, mean, redrawn
from jharnet_monitor.rtc.stats.playout import Sound, heard

_MOST = 1e10
INTERRUPTION = 5.0
"""Mean length of a gap in the sound, in packets: the line was gone, however much was sent."""
SETTLE = 1.0
"""Seconds after a change of rung that are not judged: the queue of the old one runs out."""


class BadReport(ValueError):
    """The other end's report is not one."""


T = TypeVar("T", bound="Report")


@dataclass(frozen=True, slots=True)
class Report:
    """Figures that one end tells the other; None is what it cannot know."""

    def to_json(self) -> dict[str, Any]:
        """As it goes over the signalling channel."""
        return asdict(self)

    @classmethod
    def from_json(cls: type[T], data: Mapping[str, Any]) -> T:
        """Read a stranger's report; raises `BadReport` on anything but its own fields."""
        values = {}
        for entry in fields(cls):
            value = data.get(entry.name)
            if entry.type == "str":
                if value not in {step.name for step in RUNGS}:
                    raise BadReport(f"{entry.name} is no rung")
            elif value is None and "None" in str(entry.type):
                pass
            elif isinstance(value, bool) != (entry.type == "bool"):
                raise BadReport(f"{entry.name} has the wrong type")
            elif not isinstance(value, int | float) or not 0 <= value <= _MOST:
                raise BadReport(f"{entry.name} must be a number from 0")
            elif str(entry.type).startswith("int") and not isinstance(value, int):
                raise BadReport(f"{entry.name} must be a whole number")
            values[entry.name] = value
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Sent(Report):
    """What one end sent. The judged window is its last rung, once the other end reported.

    Packets are counted from the call's first; `…_window` is the first that is judged, and
    `video_rung` the first of the rung, a keyframe's.
    """

    rung: str
    seconds: float
    """Length of the judged window."""
    audio_first: int
    audio_packets: int
    audio_window: int
    video_first: int
    video_packets: int
    video_rung: int
    video_window: int
    retransmitted: int | None
    refused: int | None
    frames_left_out: int | None
    """Frames of the rung that this host was too slow to send."""
    adapts: bool
    """The sender is a real client: its picture follows the link by itself."""
    stepped_down: bool
    loss_stays: bool
    capacity: float | None
    """bit/s that came through when a rung overloaded the link."""
    setup_seconds: float | None
    round_trip_p50: float | None
    round_trip_p95: float | None
    local_port: int
    remote_port: int
    loop_lag_seconds: float | None
    loop_stalled_ratio: float | None
    """Share of the call in which this host was too slow."""
    socket_drops: int | None
    cpu_ratio: float | None


@dataclass(frozen=True, slots=True)
class Seen(Report):
    """What one end saw arrive of the other's media, in the judged window unless said otherwise."""

    datagrams_sent: int | None
    """By the end that says this, in the whole call: media, RTCP, DTLS and STUN."""
    datagrams_received: int | None
    audio_sent: int
    audio_lost: int
    audio_concealed: int
    audio_burst_ratio: float | None
    audio_play_out: float | None
    jitter_seconds: float | None
    pdv_seconds: float | None
    video_sent: int
    video_lost: int
    """First transmission never arrived."""
    video_missing: int | None
    """Never arrived, not even as a retransmission."""
    judged_seconds: float
    """The window less the time after a change of rung: that of the frames and freezes."""
    frames_complete: int
    frames_per_second: float
    freeze_count: int
    freeze_seconds: float
    height: int
    video_bits_per_second: float
    bits_per_second: float


def seen(
    audio: Arrivals, video: Arrivals, sent: Sent, path: Path, datagrams: tuple[int, int]
) -> Seen:
    """Hold what arrived against what was sent, as a client would show it over that path.

    `datagrams` are this end's own counts, sent and received, of the whole call.
    """
    sound = heard(audio, sent.audio_first, sent.audio_packets, sent.audio_window)
    figures: dict[str, Any] = {
        "datagrams_sent": datagrams[0],
        "datagrams_received": datagrams[1],
        "audio_sent": sent.audio_packets - sent.audio_window,
        "audio_lost": sum(sound.lost),
        "audio_concealed": sound.concealed,
        "audio_burst_ratio": burst_ratio(sound.lost),
        "audio_play_out": sound.play_out,
        "jitter_seconds": sound.jitter,
        "pdv_seconds": sound.pdv,
    }
    return Seen(**figures, **_picture(video, sent, sound, path))


def _picture(video: Arrivals, sent: Sent, sound: Sound, path: Path) -> dict[str, Any]:
    expected = sent.video_packets - sent.video_window
    slots = video.slots(sent.video_first, sent.video_packets)
    window = range(sent.video_window, sent.video_packets)
    settle = min(SETTLE, sent.seconds / 2) if sent.stepped_down else 0.0
    here = [slots[i] for i in window if i in slots]
    bits = sum(video.size[i] for i in here) * 8
    result: dict[str, Any] = {
        "video_sent": expected,
        "video_lost": expected - sum(not video.flags[i] & REPEATED for i in here),
        "video_missing": expected - len(here),
        "judged_seconds": sent.seconds - settle,
        "frames_complete": 0,
        "frames_per_second": 0.0,
        "freeze_count": min(expected, 1),
        "freeze_seconds": sent.seconds - settle if expected else 0.0,
        "height": 0,
        "video_bits_per_second": bits / sent.seconds,
        "bits_per_second": (bits + sound.line_bytes * 8) / sent.seconds,
    }
    if not here:
        return result
    rung = range(sent.video_rung, sent.video_packets)
    frames = frames_of(video, slots, rung)
    times = render_times(frames, path.delay)
    begun = _begun(video, here)
    start, end = begun + settle, begun + sent.seconds
    still = detect_freezes(times, start, end)
    lucks = [
        detect_freezes(render_times(frames_of(video, left, rung, at), path.delay), start, end)
        for left, at in redrawn(video, slots, rung, path, sent.seconds)
    ]
    still = mean(lucks) if lucks else still
    last_stamp = video.timestamp[here[-1]]
    heights = [h for stamp, h in sorted(video.heights.items()) if stamp <= last_stamp]
    return result | {
        "frames_complete": sum(
            f.complete is not None and start <= f.complete < end for f in frames
        ),
        "frames_per_second": frames_per_second(times, start, end),
        "freeze_count": still.count,
        "freeze_seconds": still.seconds,
        "height": heights[-1] if heights else 0,
    }


def _begun(video: Arrivals, here: list[int]) -> float:
    """When the first packet of the window would have come, had it met no queue."""
    sent = [video.timestamp[i] / video.clock_rate for i in here]
    return min(sent) + min(video.at[i] - at for i, at in zip(here, sent, strict=True))


def frames_of(
    video: Arrivals, slots: Mapping[int, int], numbers: range, at: array[float] | None = None
) -> list[Frame]:
    """The frames of a stretch of a stream, in order, from its packets by their number.

    `at` stands for the moments of arrival, if given.

    A gap between two whole frames is one or more frames lost; it stands as one that never
    completed, which is all that the chain of frames needs to know.
    """
    frames: list[Frame] = []
    moments = video.at if at is None else at
    stamp: int | None = None
    complete = 0.0
    whole = key = gap = False

    def close() -> None:
        nonlocal stamp
        if stamp is not None:
            frames.append(Frame(stamp / video.clock_rate, complete if whole else None, key))
            stamp = None

    for number in numbers:
        index = slots.get(number)
        if index is None:
            gap = True
            continue
        flags = video.flags[index]
        if video.timestamp[index] != stamp:
            if stamp is not None:
                whole = False
                close()
            if gap and flags & STARTS:
                frames.append(Frame(video.timestamp[index] / video.clock_rate, None))
            stamp, complete = video.timestamp[index], 0.0
            whole, key = bool(flags & STARTS), bool(flags & KEY)
        elif gap:
            whole = False
        gap = False
        complete = max(complete, moments[index])
        if flags & ENDS:
            close()
    return frames

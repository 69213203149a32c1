"""The statistics that each end reports after a call: what it sent, and what it received.

Results come from the receiver's counts only. The sender's counts say how many packets there were,
so that losses before the first and after the last arrival are included.
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
    sending_seconds,
)
from jharnet_monitor.judge.conference.voice import burst_ratio
from jharnet_monitor.judge.twin.observed_line import ObservedLine
from jharnet_monitor.profiles import FRAMES_PER_SECOND, RUNGS
from jharnet_monitor.rtc.receive.arrivals import (
    FRAME_END,
    FRAME_START,
    KEYFRAME,
    MAX_PACKETS,
    RETRANSMITTED,
    Arrivals,
)
from jharnet_monitor.rtc.stats.freeze_resampling import (
    PathModel,
    mean_freezes,
    resample_retransmissions,
)
from jharnet_monitor.rtc.stats.playout import AudioQuality, audio_quality

_MAX_NUMBER = 1e10
"""Larger numbers in a peer's statistics are rejected."""
MAX_MEDIAN_LAG = 0.003
"""Seconds. Round trips lie between the kernels, but an end that is so late sends late, too. A call
over 1 Mbit/s whose ends had a median lag of 3.2 to 7.8 ms got a grade that was too low."""
INTERRUPTION = 5.0
"""Burst ratio of the audio from which its gaps are interruptions of the line, which do not depend
on how many packets are sent."""
SETTLE_SECONDS = 1.0
"""Time after a change of rung that is not judged, while the queue of the old rung drains."""

_MAX_PAUSED_SHARE = 0.5
"""Share of the window up to which a sender's pauses are left out; with more it is overloaded."""


class BadReport(ValueError):
    """Statistics from the other end that are malformed or contradict themselves."""


LatePackets = tuple[tuple[int, float], ...]
"""Number and seconds of each packet that was sent late."""

T = TypeVar("T", bound="StatsMessage")


@dataclass(frozen=True, slots=True)
class StatsMessage:
    """Statistics that one end sends to the other as JSON; None is what it cannot know.

    The fields of a subclass are the keys of the message, a contract between versions.
    """

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    @classmethod
    def from_json(cls: type[T], data: Mapping[str, Any]) -> T:
        """Read the fields from an untrusted message, ignoring other keys; raises `BadReport`."""
        values = {}
        for field in fields(cls):
            value = data.get(field.name)
            if field.type == "str":
                if value not in {rung.name for rung in RUNGS}:
                    raise BadReport(f"{field.name} is not the name of a rung")
            elif value is None and "None" in str(field.type):
                pass
            elif field.type == "ObservedLine | None":
                value = _read_observed(value)
            elif field.type == "LatePackets":
                value = _read_late(field.name, value)
            elif isinstance(value, bool) != str(field.type).startswith("bool"):
                raise BadReport(f"{field.name} has the wrong type")
            elif not isinstance(value, int | float) or not 0 <= value <= _MAX_NUMBER:
                raise BadReport(f"{field.name} must be a number from 0 to {_MAX_NUMBER:g}")
            elif str(field.type).startswith("int") and not isinstance(value, int):
                raise BadReport(f"{field.name} must be a whole number")
            values[field.name] = value
        return cls(**values)


def _read_observed(value: Any) -> ObservedLine:
    """The line as observed by the other end; raises `BadReport`."""
    try:
        return ObservedLine.from_json(value)
    except (TypeError, ValueError) as error:
        raise BadReport(f"line {error}") from None


def _read_late(name: str, value: Any) -> LatePackets:
    """Late packets, none of an older version; raises `BadReport`."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(map(_is_late_packet, value)):
        raise BadReport(f"{name} must be pairs of a packet's number and seconds")
    return tuple((number, seconds) for number, seconds in value)


def _is_late_packet(value: Any) -> bool:
    if not isinstance(value, list | tuple) or len(value) != 2:
        return False
    number, seconds = value
    if type(number) is not int or type(seconds) not in (int, float):
        return False
    return 0 <= number < MAX_PACKETS and 0 <= seconds <= _MAX_NUMBER


@dataclass(frozen=True, slots=True)
class SendStats(StatsMessage):
    """What one end sent: the `sent` message.

    The judged window is the last rung, from the other end's first report on. Packets are numbered
    from the first of the call.
    """

    rung: str
    """Name of the last rung."""
    seconds: float
    """Length of the judged window."""
    audio_first: int
    """RTP sequence number of the first audio packet."""
    audio_packets: int
    """Audio packets sent in the call."""
    audio_window: int
    """Number of the first audio packet of the window."""
    video_first: int
    """RTP sequence number of the first video packet."""
    video_packets: int
    """Video packets sent in the call, without retransmissions."""
    video_rung: int
    """Number of the last rung's first video packet, the start of a keyframe."""
    video_window: int
    """Number of the first video packet of the window."""
    retransmitted: int | None
    """Packets retransmitted in the call."""
    refused: int | None
    """Requested retransmissions that the limit refused."""
    frames_left_out: int | None
    """Frames of the rung that this host was too slow to send."""
    adapts: bool
    """The sender is a browser, whose picture adapts to the link."""
    stepped_down: bool
    """A rung overloaded the link."""
    loss_stays: bool
    """A lower rung lost as much: the link loses packets at any rate."""
    capacity: float | None
    """bit/s that arrived when a rung overloaded the link."""
    setup_seconds: float | None
    """From the start of this end to its first media packet."""
    round_trip_p50: float | None
    """Seconds."""
    round_trip_p95: float | None
    """Seconds."""
    local_port: int
    remote_port: int
    loop_lag_seconds: float | None
    """The longest event-loop lag."""
    loop_stalled_ratio: float | None
    """Share of the call in which this host was too slow."""
    socket_drops: int | None
    """Datagrams dropped at the socket because they were not read in time."""
    cpu_ratio: float | None
    """CPU time of the process per second of the call."""
    disturbed_seconds: int | None
    """Seconds of the call in which the process got too little of the CPU."""
    stepped_after: float | None
    """Seconds from the first report to the last step down; None if there was none."""
    loop_lag_median_seconds: float | None = None
    """The median event-loop lag."""
    audio_late: LatePackets = ()
    """The audio packets that this end sent late, which the line did not delay."""

    @property
    def is_late(self) -> bool:
        """Whether this host was so late that its own time may be in the round trips of the call."""
        return (self.loop_lag_median_seconds or 0.0) > MAX_MEDIAN_LAG


@dataclass(frozen=True, slots=True)
class ReceiveStats(StatsMessage):
    """What one end received: the `seen` message. It covers the judged window where not stated."""

    datagrams_sent: int | None
    """Sent by the reporting end in the whole call: media, RTCP, DTLS and STUN."""
    datagrams_received: int | None
    """Received by the reporting end in the whole call."""
    audio_sent: int
    """Audio packets that the other end sent."""
    audio_lost: int
    audio_concealed: int
    """Audio packets that a client would have had to conceal: lost or too late."""
    audio_burst_ratio: float | None
    """BurstR of ITU-T G.107, 7.5; 1 for random loss."""
    audio_play_out: float | None
    """Mean playout delay in seconds."""
    jitter_seconds: float | None
    pdv_seconds: float | None
    video_sent: int
    """Video packets that the other end sent, without retransmissions."""
    video_lost: int
    """Packets whose first transmission never arrived."""
    video_missing: int | None
    """Packets that never arrived, not even as a retransmission."""
    judged_seconds: float
    """The window without the time after a change of rung; frames and freezes refer to it."""
    frames_complete: int
    """Frames of which all packets arrived."""
    frames_per_second: float
    """Frames that could be displayed, per second in which the other end sent any."""
    freeze_count: int
    freeze_seconds: float
    height: int
    """Lines of the last picture; 0 if none arrived."""
    video_bits_per_second: float
    bits_per_second: float
    """Audio and video as IP rate."""
    line: ObservedLine | None = None
    """The line as observed from all arrivals of the call (`line_process`); None if not known."""


def receive_stats(
    audio: Arrivals, video: Arrivals, sent: SendStats, path: PathModel
) -> ReceiveStats:
    """Compare what arrived with what the other end sent, as a client would play it.

    `path` describes the path of retransmissions. The numbers of datagrams are left out: they are
    counted when the report is sent, after this has been computed.
    """
    quality = audio_quality(
        audio, sent.audio_first, sent.audio_packets, sent.audio_window, dict(sent.audio_late)
    )
    audio_stats: dict[str, Any] = {
        "datagrams_sent": None,
        "datagrams_received": None,
        "audio_sent": sent.audio_packets - sent.audio_window,
        "audio_lost": sum(quality.lost),
        "audio_concealed": quality.concealed,
        "audio_burst_ratio": burst_ratio(quality.lost),
        "audio_play_out": quality.playout_delay,
        "jitter_seconds": quality.jitter,
        "pdv_seconds": quality.pdv,
    }
    return ReceiveStats(**audio_stats, **_video_stats(video, sent, quality, path))


def _video_stats(
    video: Arrivals, sent: SendStats, audio: AudioQuality, path: PathModel
) -> dict[str, Any]:
    """The remaining fields of `ReceiveStats`."""
    expected = sent.video_packets - sent.video_window
    rows = video.rows_by_packet(sent.video_first, sent.video_packets)
    window = range(sent.video_window, sent.video_packets)
    settle = min(SETTLE_SECONDS, sent.seconds / 2) if sent.stepped_down else 0.0
    window_rows = [rows[number] for number in window if number in rows]
    bits = sum(video.size[row] for row in window_rows) * 8
    first_transmissions = sum(not video.flags[row] & RETRANSMITTED for row in window_rows)
    result: dict[str, Any] = {
        "video_sent": expected,
        "video_lost": expected - first_transmissions,
        "video_missing": expected - len(window_rows),
        "judged_seconds": sent.seconds - settle,
        "frames_complete": 0,
        "frames_per_second": 0.0,
        "freeze_count": min(expected, 1),
        "freeze_seconds": sent.seconds - settle if expected else 0.0,
        "height": 0,
        "video_bits_per_second": bits / sent.seconds,
        "bits_per_second": (bits + audio.line_bytes * 8) / sent.seconds,
    }
    if not window_rows:
        return result
    rung_packets = range(sent.video_rung, sent.video_packets)
    frames = assemble_frames(video, rows, rung_packets)
    times = render_times(frames, path.playout_delay)
    captured, transit = _window_start(video, window_rows)
    start, end = captured + transit + settle, captured + transit + sent.seconds
    observed = detect_freezes(times, start, end)
    resampled = [
        detect_freezes(
            render_times(assemble_frames(video, remaining, rung_packets, at), path.playout_delay),
            start,
            end,
        )
        for remaining, at in resample_retransmissions(video, rows, rung_packets, path, sent.seconds)
    ]
    # A viewer sees the window later by the playout delay.
    shown = frames_per_second(times, start + path.playout_delay, end + path.playout_delay)
    sending = _sending_seconds(rows, sent, frames, (start - transit, end - transit))
    expected_freezes = mean_freezes(resampled) if resampled else observed
    last_timestamp = video.timestamp[window_rows[-1]]
    heights = [
        height for timestamp, height in sorted(video.heights.items()) if timestamp <= last_timestamp
    ]
    return result | {
        "frames_complete": sum(
            f.complete is not None and start <= f.complete < end for f in frames
        ),
        "frames_per_second": shown * (end - start) / sending,
        "freeze_count": expected_freezes.count,
        "freeze_seconds": expected_freezes.seconds,
        "height": heights[-1] if heights else 0,
    }


def _window_start(video: Arrivals, rows: list[int]) -> tuple[float, float]:
    """When the window's first frame was captured, and how long its packets take without any queue.

    Both in seconds; their sum is when the first packet would have arrived, in monotonic seconds.
    """
    captured = [video.timestamp[row] / video.clock_rate for row in rows]
    return min(captured), min(video.at[row] - at for row, at in zip(rows, captured, strict=True))


def _sending_seconds(
    rows: Mapping[int, int],
    sent: SendStats,
    frames: list[Frame],
    window: tuple[float, float],
) -> float:
    """Seconds of `window`, in the sender's clock, in which the other end sent pictures.

    It stands still while its host is busy, and after its last picture, which is the last whole one:
    the end of the call may cut another. A browser adapts the rate of its pictures to the line, so
    of one it is the whole window.
    """
    start, end = window
    if sent.adapts:
        return end - start
    interval, end_of_sending = 1 / FRAMES_PER_SECOND, end
    if frames and sent.video_window in rows and sent.video_packets - 1 in rows:
        end_of_sending = frames[-1].captured + interval  # else the line may have lost more
    sending = sending_seconds(frames, interval, start, min(end, end_of_sending))
    return max(sending, (1 - _MAX_PAUSED_SHARE) * (end - start))


def assemble_frames(
    video: Arrivals, rows: Mapping[int, int], packets: range, at: array[float] | None = None
) -> list[Frame]:
    """The frames of a range of packet numbers, in order.

    `rows` maps packet numbers to the entries of `video`, without those that never arrived; `at`
    replaces the arrival times. One or more frames that are lost between two others appear as one
    incomplete frame, which is enough to know that the frames after it cannot be decoded.
    """
    frames: list[Frame] = []
    arrival_times = video.at if at is None else at
    timestamp: int | None = None
    complete_at = 0.0
    is_whole = is_key = after_gap = False

    def close_frame() -> None:
        nonlocal timestamp
        if timestamp is not None:
            captured = timestamp / video.clock_rate
            frames.append(Frame(captured, complete_at if is_whole else None, is_key))
            timestamp = None

    for number in packets:
        row = rows.get(number)
        if row is None:
            after_gap = True
            continue
        flags = video.flags[row]
        if video.timestamp[row] != timestamp:
            if timestamp is not None:
                is_whole = False
                close_frame()
            if after_gap and flags & FRAME_START:
                frames.append(Frame(video.timestamp[row] / video.clock_rate, None))
            timestamp, complete_at = video.timestamp[row], 0.0
            is_whole, is_key = bool(flags & FRAME_START), bool(flags & KEYFRAME)
        elif after_gap:
            is_whole = False
        after_gap = False
        complete_at = max(complete_at, arrival_times[row])
        if flags & FRAME_END:
            close_frame()
    return frames

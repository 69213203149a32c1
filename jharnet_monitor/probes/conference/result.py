"""From what both ends of a call counted to its measurement: values, conditions, grade."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jharnet_monitor.judge.conference.chromium_model import (
    ClientVideo,
    client_video,
    freeze_scale,
    scaled_freeze_ratio,
)
from jharnet_monitor.judge.conference.grade import (
    Criteria,
    DirectionQuality,
    GradeLimit,
    grade_call,
)
from jharnet_monitor.judge.conference.video import video_mos
from jharnet_monitor.judge.conference.voice import mos, mouth_to_ear_delay, r_factor
from jharnet_monitor.model import Cause, Direction
from jharnet_monitor.probes.base import NoData, Reading
from jharnet_monitor.profiles import (
    AUDIO_FRAMES_PER_SECOND,
    FRAMES_PER_SECOND,
    HD_HEIGHT,
    Rung,
)
from jharnet_monitor.rtc.codecs import DEFAULT, Codec
from jharnet_monitor.rtc.stats.call_stats import INTERRUPTION, Seen, Sent

STALLED = 0.03
"""A host that overslept more than this share of the call was itself the limit."""
KEPT_UP = 0.9
"""Share of its packets that a sender must have sent in time: it leaves out what is too late."""
SOCKET_DROPS = 0.001
VIDEO_HEADERS = 70
"""Bytes a packet that are no picture: IPv4, UDP, RTP with its extensions, payload, SRTP tag."""


@dataclass(frozen=True, slots=True)
class CallSides:
    """What headquarters' end and the office's sent, and what came of it at the other end."""

    ours: Sent
    theirs: Sent
    down: Seen
    up: Seen


def reading(
    top: Rung,
    both: CallSides,
    criteria: Criteria,
    client: Mapping[str, Any],
    codec: Codec = DEFAULT,
) -> Reading:
    """Values and conditions; raises `NoData` where a host was the limit, not the network.

    `client` is what the office took part with, where that was not our own agent.
    """
    ours, theirs, down, up = both.ours, both.theirs, both.down, both.up
    if min(ours.seconds, theirs.seconds) <= 0:
        raise NoData(Cause.BAD_REPORT, "nothing was sent for long enough to be judged")
    measured = ours.round_trip_p50 or theirs.round_trip_p50
    trip = measured or 0.0
    ways = {
        Direction.DOWN: _way(ours, down, top, trip),
        Direction.UP: _way(theirs, up, top, trip),
    }
    result = grade_call(ways[Direction.DOWN], ways[Direction.UP], criteria)
    conditions: dict[str, Any] = {
        "profile": top.name,
        "codecs": f"opus, {codec}",
        "limited_by": result.limited_by.value,
        "worse_way": result.worse.value,
        "rtt_p50_seconds": _rounded(measured),
        "hub_port": ours.local_port,
        "agent_port": ours.remote_port,
        **client,
    }
    for name, load in (("hub", ours), ("agent", theirs)):
        conditions |= {
            f"{name}_loop_lag_seconds": _rounded(load.loop_lag_seconds),
            f"{name}_socket_drops": load.socket_drops,
            f"{name}_cpu_ratio": _rounded(load.cpu_ratio),
        }
    values: dict[str, float] = {"grade": float(result.grade)}
    _put(values, "setup_seconds", theirs.setup_seconds)
    _put(values, "rtt_p95_seconds", ours.round_trip_p95)
    for direction, sent, got, other in (
        (Direction.DOWN, ours, down, up),
        (Direction.UP, theirs, up, down),
    ):
        conditions |= _way_conditions(direction, sent, got)
        conditions |= _wire(direction, other.datagrams_sent, got.datagrams_received)
        values |= _way_values(direction, sent, got, ways[direction])
        _put(values, f"{direction}_video_mos", _video_mos(codec, sent, got))
    overloaded = _overloaded(ours, up) or _overloaded(theirs, down)
    if overloaded:
        conditions["limited_by"] = GradeLimit.HOST.value
        del values["grade"]
        raise NoData(Cause.HOST_OVERLOADED, overloaded, values={}, conditions=conditions)
    return Reading(values, conditions)


def _way(sent: Sent, got: Seen, top: Rung, round_trip: float) -> DirectionQuality:
    shows = ClientVideo(got.height, got.video_bits_per_second)
    loss, times = _share(got.video_lost, got.video_sent) or 0.0, 1.0
    if not sent.adapts:
        if sent.capacity is not None:
            shows = client_video(sent.capacity)
        if top.height >= HD_HEIGHT and (got.audio_burst_ratio or 1.0) < INTERRUPTION:
            packets = got.video_sent / (FRAMES_PER_SECOND * sent.seconds)
            times = freeze_scale(sent.capacity, loss, packets)
    return DirectionQuality(
        height=min(shows.height, top.height) if got.video_sent else 0,
        frames_per_second=got.frames_per_second,
        freeze_ratio=scaled_freeze_ratio(got.freeze_seconds / got.judged_seconds, times),
        concealed_ratio=_share(got.audio_concealed, got.audio_sent) or 0.0,
        video_bits_per_second=shows.bits_per_second,
        video_loss_ratio=loss,
        round_trip=round_trip,
        stepped_down=sent.stepped_down,
        capacity=None if sent.adapts else sent.capacity,
        loss_stays=sent.loss_stays,
        requested_height=top.height,
    )


def _way_values(way: str, sent: Sent, got: Seen, shown: DirectionQuality) -> Mapping[str, float]:
    """The quantities of one direction; what was not measured is left out."""
    values: dict[str, float] = {f"{way}_height": float(shown.height)}
    audio_loss, round_trip = _share(got.audio_lost, got.audio_sent), shown.round_trip
    _put(values, f"{way}_audio_loss_ratio", audio_loss)
    _put(values, f"{way}_bits_per_second", got.bits_per_second)
    if audio_loss is not None and round_trip > 0 and got.audio_play_out is not None:
        delay = mouth_to_ear_delay(round_trip, got.audio_play_out)
        burst = 1.0 if got.audio_burst_ratio is None else got.audio_burst_ratio
        _put(values, f"{way}_audio_mos", mos(r_factor(delay, audio_loss, burst)))
    if got.video_sent:
        _put(values, f"{way}_video_loss_ratio", _share(got.video_lost, got.video_sent))
        _put(values, f"{way}_frames_per_second", got.frames_per_second)
        _put(values, f"{way}_freeze_ratio", shown.freeze_ratio)
    return values


def _video_mos(codec: Codec, sent: Sent, got: Seen) -> float | None:
    """G.1070 of what a decoder would get: the coded rate, and the loss that repeats left."""
    missing = got.video_lost if got.video_missing is None else got.video_missing
    loss = _share(missing, got.video_sent)
    if loss is None:
        return None
    headers = 8 * VIDEO_HEADERS * (got.video_sent - missing) / sent.seconds
    coded = (got.video_bits_per_second - headers) / 1000
    return video_mos(codec, got.height, coded, got.frames_per_second, loss) if coded > 0 else None


def _way_conditions(way: str, sent: Sent, got: Seen) -> Mapping[str, Any]:
    return {
        f"{way}_rung": sent.rung,
        f"{way}_seconds": _rounded(sent.seconds),
        f"{way}_stepped_down": sent.stepped_down,
        f"{way}_capacity_bits_per_second": sent.capacity,
        f"{way}_residual_loss_ratio": _rounded(_share(got.video_missing, got.video_sent)),
        f"{way}_concealed_ratio": _rounded(_share(got.audio_concealed, got.audio_sent)),
        f"{way}_freezes": got.freeze_count,
        f"{way}_complete_frames_per_second": _rounded(got.frames_complete / got.judged_seconds),
        f"{way}_jitter_seconds": _rounded(got.jitter_seconds),
        f"{way}_pdv_seconds": _rounded(got.pdv_seconds),
        f"{way}_retransmitted": sent.retransmitted,
        f"{way}_retransmissions_refused": sent.refused,
    }


def _wire(way: str, sent: int | None, received: int | None) -> Mapping[str, Any]:
    loss = max(0.0, 1 - received / sent) if sent and received is not None else None
    return {
        f"{way}_wire_sent": sent,
        f"{way}_wire_received": received,
        f"{way}_wire_loss_ratio": _rounded(loss),
    }


def _overloaded(host: Sent, got: Seen) -> str | None:
    """What the host that received `got` lacked, if it was the limit."""
    if (host.loop_stalled_ratio or 0.0) > STALLED:
        return f"this computer was too slow for {host.loop_stalled_ratio:.0%} of the call"
    due = AUDIO_FRAMES_PER_SECOND * host.seconds
    if host.audio_packets - host.audio_window < KEPT_UP * due:
        return f"fewer than {KEPT_UP:.0%} of {due:.0f} audio packets were sent in time"
    frames = FRAMES_PER_SECOND * host.seconds
    if (host.frames_left_out or 0) > (1 - KEPT_UP) * frames:
        return f"{host.frames_left_out} of {frames:.0f} frames could not be sent in time"
    if (host.socket_drops or 0) > SOCKET_DROPS * max(1, got.datagrams_received or 0):
        return f"{host.socket_drops} datagrams were dropped at the socket"
    return None


def _share(part: int | None, whole: int) -> float | None:
    return part / whole if part is not None and whole > 0 else None


def _put(values: dict[str, float], name: str, value: float | None) -> None:
    if value is not None:
        values[name] = round(value, 6)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)

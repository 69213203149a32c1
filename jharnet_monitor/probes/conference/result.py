"""Computes the values, conditions and grade of a call from the statistics of both ends."""

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
from jharnet_monitor.rtc.codecs import DEFAULT_CODEC, Codec
from jharnet_monitor.rtc.stats.call_stats import INTERRUPTION, ReceiveStats, SendStats

MAX_STALLED_SHARE = 0.03
"""A host whose event loop stalled for more than this share of the call was overloaded."""
MIN_SENT_SHARE = 0.9
"""Share of its packets or frames that a host must have sent; it skips what is too late."""
MAX_SOCKET_DROPS = 0.001
"""Share of its datagrams that a host may drop at the socket."""
VIDEO_HEADER_BYTES = 70
"""Bytes of a packet that are not coded video: IPv4, UDP, RTP with extensions, payload descriptor,
SRTP tag."""


@dataclass(frozen=True, slots=True)
class CallSides:
    """The statistics of both ends of a call."""

    ours: SendStats
    """Sent by headquarters."""
    theirs: SendStats
    """Sent by the office."""
    down: ReceiveStats
    """Received by the office."""
    up: ReceiveStats
    """Received by headquarters."""


def reading(
    top: Rung,
    sides: CallSides,
    criteria: Criteria,
    client: Mapping[str, Any],
    codec: Codec = DEFAULT_CODEC,
) -> Reading:
    """Values and conditions of a call that started at the rung `top`.

    `client` holds further conditions, such as those of a browser. Raises `NoData` if nothing was
    sent for long enough, or if a host was the limit rather than the network.
    """
    ours, theirs, down, up = sides.ours, sides.theirs, sides.down, sides.up
    if min(ours.seconds, theirs.seconds) <= 0:
        raise NoData(Cause.BAD_REPORT, "no end sent for long enough to be judged")
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
        conditions |= _wire_conditions(direction, other.datagrams_sent, got.datagrams_received)
        values |= _way_values(direction, sent, got, ways[direction])
        _put(values, f"{direction}_video_mos", _video_mos(codec, sent, got))
    overloaded = _overloaded(ours, up) or _overloaded(theirs, down)
    if overloaded:
        conditions["limited_by"] = GradeLimit.HOST.value
        del values["grade"]
        raise NoData(Cause.HOST_OVERLOADED, overloaded, values={}, conditions=conditions)
    return Reading(values, conditions)


def _way(sent: SendStats, got: ReceiveStats, top: Rung, round_trip: float) -> DirectionQuality:
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


def _way_values(
    way: str, sent: SendStats, got: ReceiveStats, shown: DirectionQuality
) -> Mapping[str, float]:
    """The quantities of one direction, without those that were not measured."""
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


def _video_mos(codec: Codec, sent: SendStats, got: ReceiveStats) -> float | None:
    """The G.1070 rating from the coded rate and the loss after retransmission."""
    missing = got.video_lost if got.video_missing is None else got.video_missing
    loss = _share(missing, got.video_sent)
    if loss is None:
        return None
    headers = 8 * VIDEO_HEADER_BYTES * (got.video_sent - missing) / sent.seconds
    coded = (got.video_bits_per_second - headers) / 1000
    return video_mos(codec, got.height, coded, got.frames_per_second, loss) if coded > 0 else None


def _way_conditions(way: str, sent: SendStats, got: ReceiveStats) -> Mapping[str, Any]:
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


def _wire_conditions(way: str, sent: int | None, received: int | None) -> Mapping[str, Any]:
    loss = max(0.0, 1 - received / sent) if sent and received is not None else None
    return {
        f"{way}_wire_sent": sent,
        f"{way}_wire_received": received,
        f"{way}_wire_loss_ratio": _rounded(loss),
    }


def _overloaded(host: SendStats, got: ReceiveStats) -> str | None:
    """Why the host that sent `host` and received `got` was overloaded; None if it was not."""
    if (host.loop_stalled_ratio or 0.0) > MAX_STALLED_SHARE:
        return f"the host was too slow for {host.loop_stalled_ratio:.0%} of the call"
    packets = AUDIO_FRAMES_PER_SECOND * host.seconds
    if host.audio_packets - host.audio_window < MIN_SENT_SHARE * packets:
        return f"the host sent fewer than {MIN_SENT_SHARE:.0%} of {packets:.0f} audio packets"
    frames = FRAMES_PER_SECOND * host.seconds
    if (host.frames_left_out or 0) > (1 - MIN_SENT_SHARE) * frames:
        return f"the host skipped {host.frames_left_out} of {frames:.0f} video frames"
    if (host.socket_drops or 0) > MAX_SOCKET_DROPS * max(1, got.datagrams_received or 0):
        return f"the host dropped {host.socket_drops} datagrams at the socket"
    return None


def _share(part: int | None, whole: int) -> float | None:
    return part / whole if part is not None and whole > 0 else None


def _put(values: dict[str, float], name: str, value: float | None) -> None:
    if value is not None:
        values[name] = round(value, 6)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)

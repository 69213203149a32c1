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
    grade_direction,
    without_gaps,
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
    best_grade,
)
from jharnet_monitor.rtc.codecs import DEFAULT_CODEC, Codec
from jharnet_monitor.rtc.stats.call_stats import INTERRUPTION, ReceiveStats, SendStats

MAX_STALLED_SHARE = 0.03
"""A host whose event loop stalled for more than this share of the call was overloaded."""
MIN_SENT_SHARE = 0.9
"""Share of its packets or frames that a host must have sent; late ones are skipped."""
MAX_SOCKET_DROPS = 0.001
"""Share of its datagrams that a host may drop at the socket."""
FREEZING_LAG = 0.1
"""Seconds of event-loop lag from which a host may freeze a picture itself: one is frozen when the
next is 150 ms late (`detect_freezes`), and the lag is sampled every 50 ms, so seen as shorter."""
VIDEO_HEADER_BYTES = 70
"""Bytes of a packet that are not coded video: IPv4, UDP, RTP with extensions, payload descriptor,
SRTP tag."""


@dataclass(frozen=True, slots=True)
class CallSides:
    """The statistics of both ends of a call."""

    hub_sent: SendStats
    """Sent by headquarters."""
    office_sent: SendStats
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
    upward: Rung | None = None,
) -> Reading:
    """Values and conditions of a call that started at the rung `top`, or `upward` from the office
    if that was a lower one.

    `client` holds further conditions, such as those of a browser. Raises `NoData` if nothing was
    sent for long enough, or if a host was the limit rather than the network.
    """
    hub_sent, office_sent, down, up = sides.hub_sent, sides.office_sent, sides.down, sides.up
    if min(hub_sent.seconds, office_sent.seconds) <= 0:
        raise NoData(Cause.BAD_REPORT, "no end sent for long enough to be judged")
    measured = hub_sent.round_trip_p50 or office_sent.round_trip_p50
    late = hub_sent.is_late or office_sent.is_late
    trip = 0.0 if late else measured or 0.0
    qualities = {
        Direction.DOWN: _quality(hub_sent, down, top, trip),
        Direction.UP: _quality(office_sent, up, upward or top, trip),
    }
    result = grade_call(qualities[Direction.DOWN], qualities[Direction.UP], criteria)
    conditions: dict[str, Any] = {
        "profile": top.name,
        "codecs": f"opus, {codec}",
        "limited_by": result.limited_by.value,
        "worse_way": result.worse.value,
        "rtt_p50_seconds": None if late else _rounded(measured),
        "hub_port": hub_sent.local_port,
        "agent_port": hub_sent.remote_port,
        **client,
    }
    for name, load in (("hub", hub_sent), ("agent", office_sent)):
        conditions |= {
            f"{name}_loop_lag_seconds": _rounded(load.loop_lag_seconds),
            f"{name}_loop_lag_median_seconds": _rounded(load.loop_lag_median_seconds),
            f"{name}_socket_drops": load.socket_drops,
            f"{name}_cpu_ratio": _rounded(load.cpu_ratio),
            f"{name}_disturbed_seconds": load.disturbed_seconds,
        }
    values: dict[str, float] = {"grade": float(result.grade)}
    _put(values, "setup_seconds", office_sent.setup_seconds)
    _put(values, "rtt_p95_seconds", None if late else hub_sent.round_trip_p95)
    for direction, sent, received, other in (
        (Direction.DOWN, hub_sent, down, up),
        (Direction.UP, office_sent, up, down),
    ):
        conditions |= _conditions_of(direction, sent, received)
        conditions |= _wire_conditions(direction, other.datagrams_sent, received.datagrams_received)
        values |= _values_of(direction, sent, received, qualities[direction])
        _put(values, f"{direction}_video_mos", _video_mos(codec, sent, received))
    spoiled = any(
        quality.stepped_down
        or grade_direction(quality, criteria) < best_grade(quality.requested_height)
        for quality in qualities.values()
    )
    overloaded = _overloaded(hub_sent, up, spoiled) or _overloaded(office_sent, down, spoiled)
    if spoiled and not overloaded:
        overloaded = _disturbed("the hub", hub_sent) or _disturbed("the agent", office_sent)
    if not overloaded and _gaps_decide(qualities, result.grade, criteria):
        overloaded = _stood_still("the hub", hub_sent) or _stood_still("the agent", office_sent)
    if overloaded:
        conditions["limited_by"] = GradeLimit.HOST.value
        del values["grade"]
        raise NoData(Cause.HOST_OVERLOADED, overloaded, values={}, conditions=conditions)
    return Reading(values, conditions)


def _quality(
    sent: SendStats, received: ReceiveStats, top: Rung, round_trip: float
) -> DirectionQuality:
    shows = ClientVideo(received.height, received.video_bits_per_second)
    loss, times = _share(received.video_lost, received.video_sent) or 0.0, 1.0
    if not sent.adapts:
        if sent.capacity is not None:
            shows = client_video(sent.capacity)
        if top.height >= HD_HEIGHT and (received.audio_burst_ratio or 1.0) < INTERRUPTION:
            packets = received.video_sent / (FRAMES_PER_SECOND * sent.seconds)
            times = freeze_scale(sent.capacity, loss, packets)
    return DirectionQuality(
        height=min(shows.height, top.height) if received.video_sent else 0,
        frames_per_second=received.frames_per_second,
        freeze_ratio=scaled_freeze_ratio(received.freeze_seconds / received.judged_seconds, times),
        concealed_ratio=_share(received.audio_concealed, received.audio_sent) or 0.0,
        video_bits_per_second=shows.bits_per_second,
        video_loss_ratio=loss,
        round_trip=round_trip,
        stepped_down=sent.stepped_down,
        capacity=None if sent.adapts else sent.capacity,
        loss_stays=sent.loss_stays,
        requested_height=top.height,
    )


def _values_of(
    direction: Direction, sent: SendStats, received: ReceiveStats, shown: DirectionQuality
) -> Mapping[str, float]:
    """The quantities of one direction, without those that were not measured."""
    values: dict[str, float] = {f"{direction}_height": float(shown.height)}
    audio_loss, round_trip = _share(received.audio_lost, received.audio_sent), shown.round_trip
    _put(values, f"{direction}_audio_loss_ratio", audio_loss)
    _put(values, f"{direction}_bits_per_second", received.bits_per_second)
    if audio_loss is not None and round_trip > 0 and received.audio_play_out is not None:
        delay = mouth_to_ear_delay(round_trip, received.audio_play_out)
        burst = 1.0 if received.audio_burst_ratio is None else received.audio_burst_ratio
        # Packets too late to be played count as lost (Ppl of ITU-T G.107, clause 7.5).
        effective_loss = max(audio_loss, shown.concealed_ratio)
        _put(values, f"{direction}_audio_mos", mos(r_factor(delay, effective_loss, burst)))
    if received.video_sent:
        _put(
            values,
            f"{direction}_video_loss_ratio",
            _share(received.video_lost, received.video_sent),
        )
        _put(values, f"{direction}_frames_per_second", received.frames_per_second)
        _put(values, f"{direction}_freeze_ratio", shown.freeze_ratio)
    return values


def _video_mos(codec: Codec, sent: SendStats, received: ReceiveStats) -> float | None:
    """The G.1070 rating from the coded rate and the loss after retransmission."""
    missing = received.video_lost if received.video_missing is None else received.video_missing
    loss = _share(missing, received.video_sent)
    if loss is None:
        return None
    headers = 8 * VIDEO_HEADER_BYTES * (received.video_sent - missing) / sent.seconds
    coded = (received.video_bits_per_second - headers) / 1000
    return (
        video_mos(codec, received.height, coded, received.frames_per_second, loss)
        if coded > 0
        else None
    )


def _conditions_of(
    direction: Direction, sent: SendStats, received: ReceiveStats
) -> Mapping[str, Any]:
    return {
        f"{direction}_rung": sent.rung,
        f"{direction}_seconds": _rounded(sent.seconds),
        f"{direction}_stepped_down": sent.stepped_down,
        f"{direction}_stepped_after_seconds": _rounded(sent.stepped_after),
        f"{direction}_capacity_bits_per_second": sent.capacity,
        f"{direction}_residual_loss_ratio": _rounded(
            _share(received.video_missing, received.video_sent)
        ),
        f"{direction}_concealed_ratio": _rounded(
            _share(received.audio_concealed, received.audio_sent)
        ),
        f"{direction}_freezes": received.freeze_count,
        f"{direction}_complete_frames_per_second": _rounded(
            received.frames_complete / received.judged_seconds
        ),
        f"{direction}_jitter_seconds": _rounded(received.jitter_seconds),
        f"{direction}_pdv_seconds": _rounded(received.pdv_seconds),
        f"{direction}_retransmitted": sent.retransmitted,
        f"{direction}_retransmissions_refused": sent.refused,
    }


def _wire_conditions(
    direction: Direction, sent: int | None, received: int | None
) -> Mapping[str, Any]:
    loss = max(0.0, 1 - received / sent) if sent and received is not None else None
    return {
        f"{direction}_wire_sent": sent,
        f"{direction}_wire_received": received,
        f"{direction}_wire_loss_ratio": _rounded(loss),
    }


def _overloaded(host: SendStats, received: ReceiveStats, spoiled: bool) -> str | None:
    """Why the host that sent `host` and received `received` was overloaded; None if it was not.

    A browser's encoder leaves frames out on many PCs, so that counts only in a `spoiled` call.
    """
    if (host.loop_stalled_ratio or 0.0) > MAX_STALLED_SHARE:
        return f"the host was too slow for {host.loop_stalled_ratio:.0%} of the call"
    packets = AUDIO_FRAMES_PER_SECOND * host.seconds
    if host.audio_packets - host.audio_window < MIN_SENT_SHARE * packets:
        return f"the host sent fewer than {MIN_SENT_SHARE:.0%} of {packets:.0f} audio packets"
    frames = FRAMES_PER_SECOND * host.seconds
    left_out = 0 if host.adapts and not spoiled else host.frames_left_out or 0
    if left_out > (1 - MIN_SENT_SHARE) * frames:
        return f"the host skipped {left_out} of {frames:.0f} video frames"
    if (host.socket_drops or 0) > MAX_SOCKET_DROPS * max(1, received.datagrams_received or 0):
        return f"the host dropped {host.socket_drops} datagrams at the socket"
    return None


def _disturbed(name: str, host: SendStats) -> str | None:
    """Why an imperfect call is no evidence against the line; None if it is. (A perfect call proves
    the line even if a host was disturbed.)
    """
    if host.disturbed_seconds:
        return f"{name} got too little of its CPU for {host.disturbed_seconds} s of the call"
    if host.is_late:
        return f"{name} read half of its packets {host.loop_lag_median_seconds:.3f} s late or more"
    return None


def _gaps_decide(
    qualities: Mapping[Direction, DirectionQuality], grade: int, criteria: Criteria
) -> bool:
    """Whether a call without freezes and gaps of the voice would have had a better grade."""
    down, up = (without_gaps(qualities[way], criteria) for way in (Direction.DOWN, Direction.UP))
    return grade_call(down, up, criteria).grade > grade


def _stood_still(name: str, host: SendStats) -> str | None:
    """Why a freeze is no evidence against the line: this host may have made it. None if not."""
    lag = host.loop_lag_seconds or 0.0
    return f"{name} stood still for {lag:.2f} s" if lag > FREEZING_LAG else None


def _share(part: int | None, whole: int) -> float | None:
    return part / whole if part is not None and whole > 0 else None


def _put(values: dict[str, float], name: str, value: float | None) -> None:
    if value is not None:
        values[name] = round(value, 6)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)

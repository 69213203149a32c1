"""Conference readiness: a real two-way WebRTC call between headquarters and the office's agent.

Opus and VP8 both ways, judged on what arrived. The call starts at the configured profile; a rung
that overloads the link is aborted at once, and the judged window is the rung that was held.

Values are of that window. `…_loss_ratio` is the first-pass loss: the share of media packets whose
first transmission never arrived. In the conditions, `…_residual_loss_ratio` is what was still
missing after retransmissions, and `…_wire_sent`, `…_wire_received`, `…_wire_loss_ratio` count all
datagrams of the whole call with its retransmissions and reports, from set-up to the last: what a
counter on the way sees of the UDP flow between `hub_port` and `agent_port`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from jharnet_monitor.judge.grade import Limit, Way, verdict
from jharnet_monitor.judge.voice import mos, one_way_delay, r_factor
from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import (
    ChannelClosed,
    Failed,
    NoData,
    Probe,
    ProbeContext,
    ProbeError,
    Reading,
)
from jharnet_monitor.probes.conference_dialogue import Dialogue
from jharnet_monitor.rtc.aiortc_private import LibraryChanged
from jharnet_monitor.rtc.browser import BROWSER, BrowserAccount, BrowserSent
from jharnet_monitor.rtc.call import Call
from jharnet_monitor.rtc.clips import ClipsMissing
from jharnet_monitor.rtc.failure import CallFailed, route_address
from jharnet_monitor.rtc.profiles import (
    AUDIO_FRAMES_PER_SECOND,
    PROFILES,
    Rung,
    rung,
    rungs_below,
)
from jharnet_monitor.rtc.report import BadReport, Seen, Sent
from jharnet_monitor.rtc.sdp import MAX_CANDIDATES, BadDescription, candidate_addresses

OVERHEAD_SECONDS = 45.0
"""Set-up, overtime of a call that changed its rung, and the exchange of reports."""
STALLED = 0.03
"""A host that overslept more than this share of the call was itself the limit."""
KEPT_UP = 0.9
"""Share of its packets that a sender must have sent in time: it leaves out what is too late."""
SOCKET_DROPS = 0.001
NO_CONFERENCE = {"grade": 0.0}


def _profile(context: ProbeContext) -> Rung:
    name = str(context.options.get("profile", context.config.probes.conference.profile))
    if name not in PROFILES:
        raise NoData(Cause.NOT_CONFIGURED, f"no profile {name!r}; there are {', '.join(PROFILES)}")
    return rung(name)


def _granted(context: ProbeContext) -> Rung:
    """The highest rung up to the profile that fits what was granted of the uplink."""
    granted = float(context.options.get("granted", float("inf")))
    for step in reversed(rungs_below(_profile(context))):
        if step.line_rate <= granted * (1 + 1e-9):
            return step
    raise NoData(Cause.UPLINK_BUSY, f"{granted:.0f} bit/s of the uplink are too few for a call")


def _seconds(context: ProbeContext) -> float:
    return float(context.options.get("seconds", context.config.probes.conference.seconds))


def cost(context: ProbeContext) -> int:
    """Bytes that one call puts on the office's line, both ways together."""
    return int(2 * _profile(context).line_rate * _seconds(context) * 1.05 / 8)


def reserve(context: ProbeContext) -> float:
    """bit/s that one call takes of the uplink, each way at the same time."""
    return _profile(context).line_rate


def time_limit(context: ProbeContext) -> float:
    """Seconds after which a call is given up."""
    return 1.5 * _seconds(context) + OVERHEAD_SECONDS


async def run(context: ProbeContext) -> Reading:
    """Hold one call; raises `Failed` with grade 0 where the network lets none come about."""
    if context.agent is None:
        raise NoData(Cause.NO_AGENT)
    top, seconds = _granted(context), _seconds(context)
    try:
        channel = await context.agent.open("conference", _asked(top, seconds))
    except ChannelClosed as error:
        raise NoData(Cause.AGENT_LOST, str(error)) from error
    dialogue, meter = Dialogue(channel), Meter()
    try:
        told = await _hold(context, dialogue, top, seconds, meter)
    except CallFailed as error:
        raise meter.charge(_as_probe_error(error)) from error
    except (BadReport, BadDescription) as error:
        raise meter.charge(NoData(Cause.BAD_REPORT, str(error))) from error
    except (LibraryChanged, ClipsMissing) as error:
        raise NoData(Cause.INTERNAL_ERROR, str(error)) from error
    except ProbeError as error:
        raise meter.charge(error) from error
    finally:
        await dialogue.end()
    return Reading(told.values, {**told.conditions, "bytes_spent": meter.bytes})


@dataclass(slots=True)
class Meter:
    """What a call took of the office's byte budget, whatever became of it."""

    bytes: int = 0

    def charge(self, error: ProbeError) -> ProbeError:
        """The same error, with the bill."""
        if self.bytes:
            error.conditions["bytes_spent"] = self.bytes
        return error


def _asked(top: Rung, seconds: float) -> Mapping[str, Any]:
    """What the far half is told; a page has no table of rungs, so that it is told their figures."""
    figures = {"width": top.width, "height": top.height, "video": top.video}
    return {"profile": top.name, "seconds": seconds, **figures}


def _as_probe_error(error: CallFailed) -> ProbeError:
    if error.by_network:
        return Failed(error.cause, error.detail, values=NO_CONFERENCE)
    return NoData(error.cause, error.detail)


async def _hold(
    context: ProbeContext, dialogue: Dialogue, top: Rung, seconds: float, meter: Meter
) -> Reading:
    message = await dialogue.hear("offer")
    offer, browser = message.get("sdp"), message.get("client") == BROWSER
    address = await _own_address(context, offer)
    async with (
        await Call.new(address, top, context.config.hub.udp_range) as call,
        metered(call, meter),
    ):
        if browser:
            dialogue.on_account = lambda told: call.accounted(BrowserAccount.from_json(told))
        await dialogue.say("answer", sdp=await call.answer(offer))
        if browser:
            call.advise_rate()
        await dialogue.unless_broken(call.connect())
        hearing = asyncio.create_task(dialogue.hear("sent", 2 * seconds + 20))
        hearing.add_done_callback(lambda _: call.peer_finished())
        try:
            await dialogue.unless_broken(call.talk(seconds))
            ours = call.sent()
            await dialogue.say("sent", **ours.to_json())
            told = (BrowserSent if browser else Sent).from_json(await hearing)
        finally:
            hearing.cancel()
            await asyncio.wait({hearing})
        theirs = told if isinstance(told, Sent) else await call.numbered(told)
        up = await call.seen(theirs)
        down = Seen.from_json(await dialogue.hear("seen", 20.0))
        up = replace(up, datagrams_received=call.datagrams[1])  # the last came while we waited
    return reading(top, ours, theirs, down, up, {} if isinstance(told, Sent) else told.conditions())


@asynccontextmanager
async def metered(call: Call, meter: Meter) -> AsyncIterator[None]:
    """Read the meter at the call's end, however it ends."""
    try:
        yield
    finally:
        meter.bytes = call.line_bytes


async def _own_address(context: ProbeContext, offer: object) -> str:
    """Our address on the way to the agent: to what its offer names, else from where it dialled.

    A browser hides its addresses behind mDNS names unless it uses its camera, and may name
    addresses that lead nowhere from here; it comes to us by its own checks all the same.
    """
    targets = candidate_addresses(offer) if isinstance(offer, str) else []
    if context.agent is not None and context.agent.address is not None:
        targets.append(context.agent.address)
    if not targets:
        raise BadDescription("the agent's offer names no address")
    for number, target in enumerate(targets[:MAX_CANDIDATES], 1):
        try:
            return await asyncio.to_thread(route_address, target)
        except CallFailed:
            if number == min(len(targets), MAX_CANDIDATES):
                raise
    raise AssertionError("a loop over targets ends by return or raise")


def reading(
    top: Rung,
    ours: Sent,
    theirs: Sent,
    down: Seen,
    up: Seen,
    client: Mapping[str, Any] = MappingProxyType({}),
) -> Reading:
    """Values and conditions; raises `NoData` where a host was the limit, not the network."""
    round_trip = ours.round_trip_p50 or theirs.round_trip_p50 or 0.0
    ways = {"down": _way(ours, down, round_trip), "up": _way(theirs, up, round_trip)}
    result = verdict(ways["down"], ways["up"])
    conditions: dict[str, Any] = {
        "profile": top.name,
        "codecs": "opus, vp8",
        "limited_by": result.limited_by.value,
        "worse_way": result.worse,
        "rtt_p50_seconds": _rounded(round_trip),
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
    for way, sent, got, other in (("down", ours, down, up), ("up", theirs, up, down)):
        conditions |= _way_conditions(way, sent, got)
        conditions |= _wire(way, other.datagrams_sent, got.datagrams_received)
        values |= _way_values(way, sent, got, round_trip)
    overloaded = _overloaded(ours, up) or _overloaded(theirs, down)
    if overloaded:
        conditions["limited_by"] = Limit.HOST.value
        del values["grade"]
        raise NoData(Cause.HOST_OVERLOADED, overloaded, values={}, conditions=conditions)
    return Reading(values, conditions)


def _way(sent: Sent, got: Seen, round_trip: float) -> Way:
    return Way(
        height=got.height,
        frames_per_second=got.frames_per_second,
        freeze_ratio=got.freeze_seconds / sent.seconds,
        concealed_ratio=_share(got.audio_concealed, got.audio_sent) or 0.0,
        video_bits_per_second=got.video_bits_per_second,
        video_loss_ratio=_share(got.video_lost, got.video_sent) or 0.0,
        round_trip=round_trip,
        stepped_down=sent.stepped_down,
    )


def _way_values(way: str, sent: Sent, got: Seen, round_trip: float) -> Mapping[str, float]:
    """The quantities of one direction; what was not measured is left out."""
    values: dict[str, float] = {f"{way}_height": float(got.height)}
    audio_loss = _share(got.audio_lost, got.audio_sent)
    _put(values, f"{way}_audio_loss_ratio", audio_loss)
    _put(values, f"{way}_bits_per_second", got.bits_per_second)
    if audio_loss is not None and round_trip > 0 and got.audio_play_out is not None:
        delay = one_way_delay(round_trip, got.audio_play_out)
        burst = 1.0 if got.audio_burst_ratio is None else got.audio_burst_ratio
        _put(values, f"{way}_audio_mos", mos(r_factor(delay, audio_loss, burst)))
    if got.video_sent:
        _put(values, f"{way}_video_loss_ratio", _share(got.video_lost, got.video_sent))
        _put(values, f"{way}_frames_per_second", got.frames_per_second)
        _put(values, f"{way}_freeze_ratio", got.freeze_seconds / sent.seconds)
    return values


def _way_conditions(way: str, sent: Sent, got: Seen) -> Mapping[str, Any]:
    return {
        f"{way}_rung": sent.rung,
        f"{way}_seconds": _rounded(sent.seconds),
        f"{way}_stepped_down": sent.stepped_down,
        f"{way}_capacity_bits_per_second": sent.capacity,
        f"{way}_residual_loss_ratio": _rounded(_share(got.video_missing, got.video_sent)),
        f"{way}_concealed_ratio": _rounded(_share(got.audio_concealed, got.audio_sent)),
        f"{way}_freezes": got.freeze_count,
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


CONFERENCE = Probe(
    name="conference",
    run=run,
    time_limit=time_limit,
    heavy=True,
    needs_agent=True,
    cost=cost,
    reserve=reserve,
)

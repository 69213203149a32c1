"""A run of the conference probe: one call, from the offer to the judgement."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from jharnet_monitor.judge.conference.grade import Criteria
from jharnet_monitor.judge.line.contract import contracted_rates
from jharnet_monitor.judge.twin.measured_rates import LATENCY
from jharnet_monitor.judge.twin.office_line import CallLine, OfficeLine, office_line
from jharnet_monitor.judge.twin.stored_whatif import changes_to_ask
from jharnet_monitor.model import AT_LEAST, Cause
from jharnet_monitor.probes.base import (
    AgentLink,
    ChannelClosed,
    Failed,
    NoData,
    ProbeContext,
    ProbeError,
    Reading,
)
from jharnet_monitor.probes.conference import plan
from jharnet_monitor.probes.conference.relay import DIRECT, CallWay, relayed_ways
from jharnet_monitor.probes.conference.result import CallSides, reading
from jharnet_monitor.probes.conference.signalling import (
    Dialogue,
    parse_receive_stats,
    parse_send_stats,
)
from jharnet_monitor.probes.conference.twin import QUESTIONS, line_of_call
from jharnet_monitor.profiles import Rung, best_grade
from jharnet_monitor.rtc.aiortc_private import LibraryChanged
from jharnet_monitor.rtc.browser import (
    BROWSER,
    BrowserReceiverReport,
    BrowserSendStats,
    PictureAdvice,
)
from jharnet_monitor.rtc.call import Call
from jharnet_monitor.rtc.codecs import Codec
from jharnet_monitor.rtc.connection import CallFailed, route_address
from jharnet_monitor.rtc.media.clips import ClipsMissing
from jharnet_monitor.rtc.sdp import (
    MAX_CANDIDATES,
    BadDescription,
    candidate_addresses,
    offered_codec,
)
from jharnet_monitor.rtc.stats.call_stats import BadReport, ReceiveStats, SendStats
from jharnet_monitor.rtc.stats.live_stats import LiveSample, LiveStats

REPORT_SECONDS = 40.0
"""How long the office's report of the call may take, on a line that loses every fifth packet."""
SAMPLE_SECONDS = 1.0
ADVICE_SECONDS = 0.25
NO_CONFERENCE = {"grade": 0.0}


def _codec(context: ProbeContext) -> Codec:
    codec: Codec = context.options.get("codec", context.config.probes.conference.codec)
    return codec


async def run(context: ProbeContext) -> Reading:
    """Hold one call; raises `Failed` with grade 0 where the network prevents it, and `NoData`.

    Where a browser's UDP does not come through, the call is repeated over the configured TURN
    server, as real clients do: `transport` says what carried it.
    """
    if context.agent is None:
        raise NoData(Cause.NO_AGENT)
    began = context.clock.now()
    try:
        return await _run_over(context, context.agent, CallWay(), began)
    except Failed as error:
        if error.cause is not Cause.UDP_BLOCKED or not context.agent.in_browser:
            raise
        return await _run_relayed(context, context.agent, error, began)


async def _run_relayed(
    context: ProbeContext, agent: AgentLink, blocked: Failed, began: datetime
) -> Reading:
    """The call over the first transport that carries it; raises `blocked` where none does.

    `bytes_spent` is that of all attempts.
    """
    tried, spent = [DIRECT], _bytes(blocked.conditions)
    for way in relayed_ways(context):
        carried = {"transport": way.transport, "transports_blocked": ", ".join(tried)}
        try:
            reading = await _run_over(context, agent, way, began)
        except ProbeError as error:
            spent += _bytes(error.conditions)
            if isinstance(error, Failed) and error.cause is not Cause.INTERRUPTED:
                tried.append(way.transport)
                continue
            error.conditions.update(carried, bytes_spent=spent)
            raise
        spent += _bytes(reading.conditions)
        return Reading(reading.values, {**reading.conditions, **carried, "bytes_spent": spent})
    blocked.conditions.update(transports_blocked=", ".join(tried), bytes_spent=spent)
    raise blocked


def _bytes(conditions: Mapping[str, Any]) -> int:
    return int(conditions.get("bytes_spent", 0))


async def _run_over(
    context: ProbeContext, agent: AgentLink, way: CallWay, began: datetime
) -> Reading:
    """Hold the call on one way; the probe `began` then."""
    top, seconds = plan.granted(context), plan.seconds(context)
    parameters = _task_parameters(context, plan.upward(context, top), seconds)
    try:
        channel = await agent.open("conference", {**parameters, **way.parameters()})
    except ChannelClosed as error:
        raise NoData(Cause.AGENT_LOST, str(error)) from error
    dialogue, meter = Dialogue(channel), CallMeter()
    try:
        result, line = await _hold(context, dialogue, top, seconds, meter)
    except CallFailed as error:
        raise meter.charge(await _as_probe_error(error, agent)) from error
    except (BadReport, BadDescription) as error:
        raise meter.charge(NoData(Cause.BAD_REPORT, str(error))) from error
    except (LibraryChanged, ClipsMissing) as error:
        raise NoData(Cause.INTERNAL_ERROR, str(error)) from error
    except ProbeError as error:
        raise meter.charge(error) from error
    finally:
        await dialogue.end()
    if line is not None:
        recent = dict(context.recent)
        if way.url is not None:
            recent.pop(LATENCY, None)  # the call went another way
        known = office_line(line, recent, began)
        result = await _with_twin(context, result, known)
    return Reading(result.values, {**result.conditions, "bytes_spent": meter.bytes})


@dataclass(slots=True)
class CallMeter:
    """The bytes that a call put on the office's line, even where it failed."""

    bytes: int = 0

    def charge(self, error: ProbeError) -> ProbeError:
        """The same error, with the bytes in its conditions."""
        if self.bytes:
            error.conditions["bytes_spent"] = self.bytes
        return error


def _task_parameters(context: ProbeContext, top: Rung, seconds: float) -> Mapping[str, Any]:
    """The parameters of the agent's task, with the rung's figures, since a browser has no table of
    rungs."""
    figures = {"width": top.width, "height": top.height, "video": top.video}
    call = {"codec": _codec(context), "dscp": context.config.probes.conference.dscp}
    return {"profile": top.name, "seconds": seconds, **call, **figures}


async def _as_probe_error(error: CallFailed, agent: AgentLink) -> ProbeError:
    if error.cause is Cause.INTERRUPTED and await agent.is_stalled():
        if agent.behind_proxy:  # it is the proxy that acknowledged
            return NoData(
                Cause.AGENT_LOST, "a proxy hides whether the line was cut or the computer stalled"
            )
        return NoData(Cause.HOST_OVERLOADED, "the office's computer stalled during the call")
    if error.by_network:
        return Failed(error.cause, error.detail, values=NO_CONFERENCE)
    return NoData(error.cause, error.detail)


async def _hold(
    context: ProbeContext, dialogue: Dialogue, top: Rung, seconds: float, meter: CallMeter
) -> tuple[Reading, CallLine | None]:
    message = await dialogue.expect("offer")
    offer, browser = message.get("sdp"), message.get("client") == BROWSER
    address = await _own_address(context, offer)
    codec = offered_codec(offer, _codec(context))
    async with (
        await Call.new(address, top, context.config.hub.udp_range, codec) as call,
        metered(call, meter),
    ):
        if browser:
            dialogue.on_receiver_report = lambda report: call.browser_report_received(
                BrowserReceiverReport.from_json(report)
            )
        await dialogue.send("answer", sdp=await call.answer(offer))
        call.mark(context.config.probes.conference.dscp)
        if browser:
            call.expect_browser(plan.upward(context, top))
        await dialogue.race(call.connect())
        tasks = {asyncio.create_task(_sample(call, context.options.get("watch")))}
        if browser:
            advice = PictureAdvice(plan.upward(context, top))
            tasks.add(asyncio.create_task(_advise(call, dialogue, advice)))
        peer_stats = asyncio.create_task(dialogue.expect("sent", 2 * seconds + 20))
        peer_stats.add_done_callback(lambda _: call.peer_finished())
        try:
            await dialogue.race(call.exchange_media(seconds))
            hub_sent = call.send_stats()
            await dialogue.send("sent", **hub_sent.to_json())
            message = await peer_stats
            sent = BrowserSendStats.from_json(message) if browser else parse_send_stats(message)
        finally:
            for task in (peer_stats, *tasks):
                task.cancel()
            await asyncio.wait({peer_stats, *tasks})
        office_sent = sent if isinstance(sent, SendStats) else await call.browser_send_stats(sent)
        with_line = plan.asks_twin(context, top)
        down, up = await _receive_stats(call, dialogue, office_sent, with_line)
    client = {} if isinstance(sent, SendStats) else sent.conditions()
    if dscp := context.config.probes.conference.dscp:
        client["dscp"] = dscp
    if (upward := plan.upward(context, top)) != top:
        client["up_profile"] = upward.name
    sides = CallSides(hub_sent, office_sent, down, up)
    found = reading(top, sides, _criteria(context), client, codec, upward)
    if plan.tries_less(context) and found.values["grade"] >= best_grade(top.height):
        found = replace(found, conditions={**found.conditions, AT_LEAST: True})
    return found, line_of_call(hub_sent, office_sent, down, up) if with_line else None


async def _receive_stats(
    call: Call, dialogue: Dialogue, office_sent: SendStats, with_line: bool
) -> tuple[ReceiveStats, ReceiveStats]:
    """What arrived down and up, the latter `with_line` if the twin is asked about that. The hub
    counts datagrams when the office's counts arrive: of those that either end sends later, the
    other end's count has none.
    """

    async def reported() -> tuple[ReceiveStats, tuple[int, int]]:
        message = await dialogue.expect("seen", REPORT_SECONDS)
        return parse_receive_stats(message), call.datagrams

    report = asyncio.create_task(reported())
    try:
        up = await call.receive_stats(office_sent, with_line=with_line)
        down, (sent, received) = await report
    finally:
        report.cancel()
        await asyncio.wait({report})
    return down, replace(up, datagrams_sent=sent, datagrams_received=received)


def _criteria(context: ProbeContext) -> Criteria:
    return Criteria(**context.config.thresholds.call.model_dump())


async def _with_twin(context: ProbeContext, found: Reading, line: OfficeLine) -> Reading:
    """The reading with the twin's probabilities; not used in a drill, whose calls share one
    line."""
    known = [rate for rate in contracted_rates(context.office) if rate is not None]
    tariff = context.config.capacity.tariff
    changes = changes_to_ask(line.line, max(known, default=None), tariff)
    return await QUESTIONS.judged(found, line, _criteria(context), changes)


async def _sample(call: Call, watch: Callable[[LiveSample], None] | None) -> None:
    """Call `watch` with the state of the call every `SAMPLE_SECONDS`."""
    stats = LiveStats(call)
    while watch is not None:
        watch(stats.sample())
        await asyncio.sleep(SAMPLE_SECONDS)


async def _advise(call: Call, dialogue: Dialogue, advice: PictureAdvice) -> None:
    """Tell a browser what to send, as often as that changes, until it is gone."""
    with contextlib.suppress(CallFailed):
        while True:
            await asyncio.sleep(ADVICE_SECONDS)
            rate = call.browser_rate
            if rate is not None and (fields := advice.update(rate, time.monotonic())):
                await dialogue.send("advice", **fields)


@asynccontextmanager
async def metered(call: Call, meter: CallMeter) -> AsyncIterator[None]:
    """Count the bytes of the call when it ends, also with an error; attributes the error."""
    try:
        yield
    except CallFailed as error:
        raise call.attribute(error) from error
    finally:
        meter.bytes = call.line_bytes


async def _own_address(context: ProbeContext, offer: object) -> str:
    """The local address of the route to the agent, by its offer or else by the source of its
    session. A browser hides its addresses behind mDNS names unless it uses its camera, and may
    offer addresses that are unreachable from here; its own connectivity checks reach the hub
    nevertheless.
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

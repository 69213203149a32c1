"""The agent's half of a conference call: it offers, exchanges media, and reports."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import AgentContext, Channel
from jharnet_monitor.probes.conference.signalling import Dialogue, parse_send_stats
from jharnet_monitor.profiles import RUNGS, Rung, rung
from jharnet_monitor.rtc.aiortc_private import LibraryChanged
from jharnet_monitor.rtc.call import Call
from jharnet_monitor.rtc.codecs import CODECS, DEFAULT_CODEC, Codec
from jharnet_monitor.rtc.connection import CallFailed, route_address
from jharnet_monitor.rtc.media.clips import ClipsMissing
from jharnet_monitor.rtc.stats.call_stats import BadReport

MAX_CALL_SECONDS = 3600.0
"""An agent never holds a longer call, whatever the hub requests."""
CLOSE_TIMEOUT_SECONDS = 30.0
"""How long to wait for the hub to read the last message and close the channel."""


async def agent_task(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
    """Hold the call that the hub requests with `params`: `profile`, `seconds` and `codec`.

    Returns when the hub closes the channel or the call has failed, which is reported to the hub.
    """
    dialogue = Dialogue(channel)
    try:
        top, seconds, codec = _parse_params(params)
        address = await asyncio.to_thread(route_address, urlsplit(context.hub).hostname or "")
        async with await Call.new(address, top, codec=codec) as call:
            try:
                await _hold_call(dialogue, call, seconds, _dscp(params))
            except CallFailed as error:
                raise call.attribute(error) from error
    except CallFailed as error:
        if error.cause is not Cause.AGENT_LOST:
            await _report_failure(dialogue, error)
    except (LibraryChanged, ClipsMissing) as error:
        failure = CallFailed(Cause.INTERNAL_ERROR, str(error), by_network=False)
        await _report_failure(dialogue, failure)
    finally:
        await dialogue.end()


def _parse_params(params: Mapping[str, Any]) -> tuple[Rung, float, Codec]:
    profile, seconds = params.get("profile"), params.get("seconds")
    codec = params.get("codec", DEFAULT_CODEC)
    known = {rung.name for rung in RUNGS}
    if (
        profile not in known
        or not isinstance(seconds, int | float)
        or seconds < 1
        or codec not in CODECS
    ):
        raise CallFailed(
            Cause.SIGNALLING_FAILED,
            "the hub requests an unknown profile or codec, or less than 1 s",
            by_network=False,
        )
    return rung(str(profile)), min(float(seconds), MAX_CALL_SECONDS), codec


def _dscp(params: Mapping[str, Any]) -> int:
    """The mark that the hub requests; an older hub requests none."""
    mark = params.get("dscp", 0)
    return mark if type(mark) is int and 0 <= mark < 64 else 0


async def _hold_call(dialogue: Dialogue, call: Call, seconds: float, dscp: int) -> None:
    await dialogue.send("offer", sdp=await call.offer())
    answer = await dialogue.expect("answer")
    await call.accept(answer.get("sdp"))
    call.mark(dscp)
    await dialogue.race(call.connect())
    their_stats = asyncio.create_task(dialogue.expect("sent", 2 * seconds + 20))
    their_stats.add_done_callback(lambda _: call.peer_finished())
    try:
        await dialogue.race(call.exchange_media(seconds))
        await dialogue.send("sent", **call.send_stats().to_json())
        sent = parse_send_stats(await their_stats)
    except BadReport as error:
        raise CallFailed(Cause.SIGNALLING_FAILED, str(error), by_network=False) from error
    finally:
        their_stats.cancel()
        await asyncio.wait({their_stats})
    await dialogue.send("seen", **(await call.receive_stats(sent)).to_json())
    await dialogue.wait_until_closed(CLOSE_TIMEOUT_SECONDS)


async def _report_failure(dialogue: Dialogue, error: CallFailed) -> None:
    """Send a `failed` message, unless the hub is gone."""
    try:
        await dialogue.send("failed", cause=error.cause.value, detail=error.detail)
    except CallFailed:
        return

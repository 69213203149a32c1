"""The office's half of a conference call: it offers, talks, and says what it saw."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import AgentContext, Channel
from jharnet_monitor.probes.conference.signalling import Dialogue, sent_of
from jharnet_monitor.profiles import RUNGS, Rung, rung
from jharnet_monitor.rtc.aiortc_private import LibraryChanged
from jharnet_monitor.rtc.call import Call
from jharnet_monitor.rtc.codecs import CODECS, DEFAULT, Codec
from jharnet_monitor.rtc.failure import CallFailed, route_address
from jharnet_monitor.rtc.media.clips import ClipsMissing
from jharnet_monitor.rtc.stats.call_stats import BadReport

MOST_SECONDS = 3600.0
"""An agent talks no longer than this, whatever it is asked for."""


async def agent_task(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
    """Join the hub's call `params` (`profile`, `seconds`, `codec`).

    Ends when the hub closes the channel.
    """
    dialogue = Dialogue(channel)
    try:
        profile, seconds, codec = _asked(params)
        address = await asyncio.to_thread(route_address, urlsplit(context.hub).hostname or "")
        async with await Call.new(address, profile, codec=codec) as call:
            await _take_part(dialogue, call, seconds)
    except CallFailed as error:
        if error.cause is not Cause.AGENT_LOST:
            await _tell(dialogue, error)
    except (LibraryChanged, ClipsMissing) as error:
        await _tell(dialogue, CallFailed(Cause.INTERNAL_ERROR, str(error), by_network=False))
    finally:
        await dialogue.end()


def _asked(params: Mapping[str, Any]) -> tuple[Rung, float, Codec]:
    profile, seconds = params.get("profile"), params.get("seconds")
    codec = params.get("codec", DEFAULT)
    known = {step.name for step in RUNGS}
    if (
        profile not in known
        or not isinstance(seconds, int | float)
        or seconds < 1
        or codec not in CODECS
    ):
        raise CallFailed(
            Cause.SIGNALLING_FAILED, "the hub asks for a call that there is not", by_network=False
        )
    return rung(str(profile)), min(float(seconds), MOST_SECONDS), codec


async def _take_part(dialogue: Dialogue, call: Call, seconds: float) -> None:
    await dialogue.say("offer", sdp=await call.offer())
    answer = await dialogue.hear("answer")
    await call.accept(answer.get("sdp"))
    await dialogue.unless_broken(call.connect())
    hearing = asyncio.create_task(dialogue.hear("sent", 2 * seconds + 20))
    hearing.add_done_callback(lambda _: call.peer_finished())
    try:
        await dialogue.unless_broken(call.talk(seconds))
        await dialogue.say("sent", **call.sent().to_json())
        theirs = sent_of(await hearing)
    except BadReport as error:
        raise CallFailed(Cause.SIGNALLING_FAILED, str(error), by_network=False) from error
    finally:
        hearing.cancel()
        await asyncio.wait({hearing})
    await dialogue.say("seen", **(await call.seen(theirs)).to_json())
    await dialogue.until_ended(30.0)


async def _tell(dialogue: Dialogue, error: CallFailed) -> None:
    """Say why we gave up, if there is still somebody to hear it."""
    try:
        await dialogue.say("failed", cause=error.cause.value, detail=error.detail)
    except CallFailed:
        return

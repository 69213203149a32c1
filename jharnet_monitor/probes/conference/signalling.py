"""The signalling of a call: named messages over a channel, at either end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import Channel, ChannelClosed
from jharnet_monitor.rtc.failure import CallFailed
from jharnet_monitor.rtc.receive.arrivals import MOST_PACKETS
from jharnet_monitor.rtc.stats.call_stats import BadReport, Seen, Sent

REPLY = 20.0
"""Seconds for a message that must come at once; a full link delays it, a lossy one more so."""
LAST_WORDS = 2.0
"""Seconds in which an end that hung up may still tell why: its media ends before its word comes."""

_T = TypeVar("_T")
_MESSAGES = ("offer", "answer", "sent", "seen", "failed")
_NETWORK = (Cause.UDP_BLOCKED, Cause.NO_ROUTE, Cause.DTLS_FAILED, Cause.NO_MEDIA, Cause.INTERRUPTED)
_OURSELVES = (Cause.SIGNALLING_FAILED, Cause.HOST_OVERLOADED, Cause.NOT_CONFIGURED,
              Cause.INTERNAL_ERROR)  # fmt: skip


class Dialogue:
    """Each message comes once. A `failed` or the end of the channel breaks every wait."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.on_account: Callable[[Mapping[str, Any]], None] | None = None
        """Takes the accounts that a browser gives while the call runs; None: it gives none."""
        loop = asyncio.get_running_loop()
        self._came: dict[str, asyncio.Future[dict[str, Any]]] = {
            name: loop.create_future() for name in _MESSAGES[:-1]
        }
        self._broken: asyncio.Future[None] = loop.create_future()
        self._reader = asyncio.create_task(self._read())

    async def say(self, name: str, **fields: Any) -> None:
        """Send one message; raises `CallFailed` where the other end is gone."""
        try:
            await self._channel.send({"type": name, **fields})
        except ChannelClosed as error:
            raise _lost(error) from error

    async def hear(self, name: str, seconds: float = REPLY) -> dict[str, Any]:
        """Wait for a message; raises `CallFailed`."""
        try:
            async with asyncio.timeout(seconds):
                return await self.unless_broken(asyncio.shield(self._came[name]))
        except TimeoutError as error:
            raise CallFailed(
                Cause.SIGNALLING_FAILED, f"no `{name}` within {seconds:g} s", by_network=False
            ) from error

    async def unless_broken(self, work: Coroutine[Any, Any, _T] | asyncio.Future[_T]) -> _T:
        """Do something as long as the other end is there; raises `CallFailed` when it goes."""
        task = asyncio.ensure_future(work)
        try:
            waits: set[asyncio.Future[Any]] = {task, self._broken}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                self._broken.result()
            return await task
        except CallFailed as error:
            if error.cause is Cause.AGENT_LOST:
                await asyncio.wait({self._broken}, timeout=LAST_WORDS)
                if self._broken.done():
                    self._broken.result()
            raise
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    async def until_ended(self, seconds: float) -> None:
        """Wait for the other end to close, so that it has read our last message."""
        await asyncio.wait({self._reader}, timeout=seconds)

    async def end(self) -> None:
        """Stop listening and end the other end's half."""
        self._reader.cancel()
        await asyncio.wait({self._reader})
        futures: list[asyncio.Future[Any]] = [*self._came.values(), self._broken]
        for future in futures:
            if future.done() and not future.cancelled():
                future.exception()  # nobody waits for it any more
        await self._channel.close()

    async def _read(self) -> None:
        try:
            while True:
                message = await self._channel.receive()
                name = message.get("type")
                if name == "failed":
                    self._break(_told(message))
                elif name in self._came and not self._came[name].done():
                    self._came[name].set_result(message)
                elif name == "account" and self.on_account is not None:
                    self.on_account(message)
                else:
                    self._break(
                        CallFailed(
                            Cause.SIGNALLING_FAILED, f"unexpected message {str(name)[:40]!r}",
                            by_network=False,
                        )
                    )  # fmt: skip
        except ChannelClosed as error:
            self._break(_lost(error))
        except BadReport as error:
            self._break(CallFailed(Cause.BAD_REPORT, str(error), by_network=False))

    def _break(self, why: CallFailed) -> None:
        if not self._broken.done():
            self._broken.set_exception(why)


def sent_of(message: Mapping[str, Any]) -> Sent:
    """What the other end says it sent; raises `BadReport`, also where nothing is left to judge."""
    sent = Sent.from_json(message)
    if not sent.seconds:
        raise BadReport("seconds must be more than 0")
    if not sent.audio_window <= sent.audio_packets <= MOST_PACKETS:
        raise BadReport(f"audio_window, audio_packets and {MOST_PACKETS} must rise in this order")
    if not sent.video_rung <= sent.video_window <= sent.video_packets <= MOST_PACKETS:
        raise BadReport(
            f"video_rung, video_window, video_packets and {MOST_PACKETS} must rise in this order"
        )
    return sent


def seen_of(message: Mapping[str, Any]) -> Seen:
    """What the other end says it saw; raises `BadReport`."""
    seen = Seen.from_json(message)
    if not seen.judged_seconds:
        raise BadReport("judged_seconds must be more than 0")
    return seen


def _lost(error: ChannelClosed) -> CallFailed:
    return CallFailed(Cause.AGENT_LOST, f"the other end went away ({error})", by_network=False)


def _told(message: Mapping[str, Any]) -> CallFailed:
    """The other end's account of why it gave up; only causes that it can know are taken."""
    known = {cause.value: cause for cause in (*_NETWORK, *_OURSELVES)}
    cause = known.get(str(message.get("cause")), Cause.SIGNALLING_FAILED)
    detail = str(message.get("detail", ""))[:200]
    return CallFailed(cause, f"the other end says: {detail}", by_network=cause in _NETWORK)

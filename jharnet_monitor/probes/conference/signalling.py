"""The signalling of a call: typed JSON messages over a channel, the same at both ends.

A message is an object with its name in `type`: `offer`, `answer`, `sent`, `seen` and `failed`, and
`account` from a browser, `advice` to one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import Channel, ChannelClosed
from jharnet_monitor.rtc.connection import CallFailed
from jharnet_monitor.rtc.receive.arrivals import MAX_PACKETS
from jharnet_monitor.rtc.stats.call_stats import BadReport, ReceiveStats, SendStats

REPLY_TIMEOUT_SECONDS = 20.0
"""Time limit for a reply that is sent at once: a full or lossy link delays it."""
FAILURE_MESSAGE_SECONDS = 2.0
"""How long to wait for the `failed` message of an end whose connection has already closed."""

_T = TypeVar("_T")
_EXPECTED_MESSAGES = ("offer", "answer", "sent", "seen")
_NETWORK_CAUSES = (
    Cause.UDP_BLOCKED, Cause.NO_ROUTE, Cause.DTLS_FAILED, Cause.NO_MEDIA, Cause.INTERRUPTED,
)  # fmt: skip
_HOST_CAUSES = (
    Cause.SIGNALLING_FAILED, Cause.HOST_OVERLOADED, Cause.NOT_CONFIGURED, Cause.INTERNAL_ERROR,
    Cause.NAME_NOT_RESOLVED,
)  # fmt: skip


class Dialogue:
    """The signalling with the other end.

    Each message is expected once. A `failed` message, an unexpected one or the end of the channel
    ends the dialogue: every wait then raises `CallFailed`.
    """

    def __init__(self, channel: Channel) -> None:
        """Start reading from `channel`; call `end` to stop."""
        self._channel = channel
        self.on_receiver_report: Callable[[Mapping[str, Any]], None] | None = None
        """Processes the `account` messages of a browser; they are unexpected while it is None."""
        loop = asyncio.get_running_loop()
        self._messages: dict[str, asyncio.Future[dict[str, Any]]] = {
            name: loop.create_future() for name in _EXPECTED_MESSAGES
        }
        self._ended: asyncio.Future[None] = loop.create_future()
        self._reader = asyncio.create_task(self._read())

    async def send(self, name: str, **fields: Any) -> None:
        """Send one message; raises `CallFailed` if the other end is gone."""
        try:
            await self._channel.send({"type": name, **fields})
        except ChannelClosed as error:
            raise _lost(error) from error

    async def expect(self, name: str, seconds: float = REPLY_TIMEOUT_SECONDS) -> dict[str, Any]:
        """Wait for a message; raises `CallFailed` if it does not arrive within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                return await self.race(asyncio.shield(self._messages[name]))
        except TimeoutError as error:
            raise CallFailed(
                Cause.SIGNALLING_FAILED,
                f"no `{name}` message arrived within {seconds:g} s",
                by_network=False,
            ) from error

    async def race(self, work: Coroutine[Any, Any, _T] | asyncio.Future[_T]) -> _T:
        """Run `work`, cancelling it if the dialogue ends first; that raises `CallFailed`."""
        task = asyncio.ensure_future(work)
        try:
            waits: set[asyncio.Future[Any]] = {task, self._ended}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                self._ended.result()
            return await task
        except CallFailed as error:
            if error.cause is Cause.AGENT_LOST:  # its own reason may still be on the way
                await asyncio.wait({self._ended}, timeout=FAILURE_MESSAGE_SECONDS)
                if self._ended.done():
                    self._ended.result()
            raise
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    async def wait_until_closed(self, seconds: float) -> None:
        """Wait until the other end closes the channel, having read our last message."""
        await asyncio.wait({self._reader}, timeout=seconds)

    async def end(self) -> None:
        """Stop reading and close the channel, which ends the other end's task."""
        self._reader.cancel()
        await asyncio.wait({self._reader})
        futures: list[asyncio.Future[Any]] = [*self._messages.values(), self._ended]
        for future in futures:
            if future.done() and not future.cancelled():
                future.exception()  # mark it as retrieved: asyncio would log it otherwise
        await self._channel.close()

    async def _read(self) -> None:
        try:
            while True:
                message = await self._channel.receive()
                name = message.get("type")
                if name == "failed":
                    self._fail(_parse_failure(message))
                elif name in self._messages and not self._messages[name].done():
                    self._messages[name].set_result(message)
                elif name == "account" and self.on_receiver_report is not None:
                    self.on_receiver_report(message)
                else:
                    self._fail(
                        CallFailed(
                            Cause.SIGNALLING_FAILED, f"unexpected message {str(name)[:40]!r}",
                            by_network=False,
                        )
                    )  # fmt: skip
        except ChannelClosed as error:
            self._fail(_lost(error))
        except BadReport as error:
            self._fail(CallFailed(Cause.BAD_REPORT, str(error), by_network=False))

    def _fail(self, error: CallFailed) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)


def parse_send_stats(message: Mapping[str, Any]) -> SendStats:
    """Read a `sent` message; raises `BadReport`, also if the judged window would be empty."""
    stats = SendStats.from_json(message)
    if not stats.seconds:
        raise BadReport("seconds must be more than 0")
    if not stats.audio_window <= stats.audio_packets <= MAX_PACKETS:
        raise BadReport(f"audio_window, audio_packets and {MAX_PACKETS} must be in rising order")
    if not stats.video_rung <= stats.video_window <= stats.video_packets <= MAX_PACKETS:
        raise BadReport(
            f"video_rung, video_window, video_packets and {MAX_PACKETS} must be in rising order"
        )
    return stats


def parse_receive_stats(message: Mapping[str, Any]) -> ReceiveStats:
    """Read a `seen` message; raises `BadReport`."""
    stats = ReceiveStats.from_json(message)
    if not stats.judged_seconds:
        raise BadReport("judged_seconds must be more than 0")
    return stats


def _lost(error: ChannelClosed) -> CallFailed:
    return CallFailed(Cause.AGENT_LOST, f"the other end disconnected ({error})", by_network=False)


def _parse_failure(message: Mapping[str, Any]) -> CallFailed:
    """Read a `failed` message; a cause that the other end cannot know is replaced."""
    known = {cause.value: cause for cause in (*_NETWORK_CAUSES, *_HOST_CAUSES)}
    cause = known.get(str(message.get("cause")), Cause.SIGNALLING_FAILED)
    detail = str(message.get("detail", ""))[:200]
    return CallFailed(
        cause, f"the other end reports: {detail}", by_network=cause in _NETWORK_CAUSES
    )

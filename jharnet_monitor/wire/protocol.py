"""The hub-agent protocol: JSON frames over one WebSocket, and the channels that run inside it.

The agent dials out, proves its office by a bearer token in the upgrade request, and says `hello`.
From then on either side may send a frame; every frame is a JSON object with a `type`:

- agent → hub: `hello`, `heartbeat`, `measurements`, `goodbye`; from a page also `device_check`
- hub → agent: `welcome`, `beat`, `ack`, `open`; to a page also `checked`
- both: `channel` (a message of a running probe), `closed` (the end of a channel)

A browser (the join page) cannot set a header on a WebSocket: it offers the subprotocols `jharnet`
and `bearer.TOKEN`, of which the hub accepts only the first, and its `hello` has
`"kind": "browser"`. It cannot read the status of a refusal either, so it gets the close codes
below. It numbers its heartbeats (`n`); the `beat` that answers one repeats the number and tells the
hub's time (`now`, in seconds since 1970), for a page cannot ping and its clock may be wrong.

Sizes and rates are bounded here, so that neither side can exhaust the other.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import time
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import ClientWebSocketResponse, WSMessage

from jharnet_monitor.probes.base import AgentContext, AgentTask, ChannelClosed

if TYPE_CHECKING:
    from aiohttp.web import WebSocketResponse

log = logging.getLogger(__name__)

PROTOCOL = 1
MAX_FRAME_BYTES = 1 << 20
MAX_BATCH = 200
"""Measurements in one `measurements` frame."""
MAX_CHANNELS = 8
MAX_QUEUED = 2000
"""Messages waiting in a channel; more than that is a flood, and closes it."""
MAX_QUEUED_BYTES = 4 << 20
"""Characters of JSON waiting in a channel; more than that closes it, too."""
HEARTBEAT_SECONDS = 2.0
FRESH_SECONDS = 5.5
"""An agent heard from within this time is alive; longer silence is evidence."""
SILENCE_SECONDS = 12.0
"""Without a frame for this long a session is dead, whatever TCP says."""
BUSY_SILENCE_SECONDS = 36.0
"""The same while a probe runs, whose data may fill a lossy line."""

UPTIME = "uptime_seconds"
"""The condition with the uptime of an agent's machine when the measurement began. With it the hub
corrects the error of the machine's clock (`wire.agent_clock`)."""

STOPPED_SECONDS = 1.0
"""A time-out noticed this late means that this program was stopped."""

SUBPROTOCOL = "jharnet"
BEARER_PREFIX = "bearer."
CLOSE_WRONG_TOKEN = 4401
CLOSE_ELSEWHERE = 4408
"""Another page has joined for the same office."""
CLOSE_NOT_NEEDED = 4409
"""The office has an agent program, which can do more than a page."""


class ProtocolError(Exception):
    """The other side violated the protocol."""


class FrameSocket(Protocol):
    """The part of a WebSocket that is used, at either end."""

    async def send_str(self, data: str) -> None:
        """Send a text frame."""


async def receive(socket: WebSocketResponse | ClientWebSocketResponse, seconds: float) -> WSMessage:
    """The next message; raises `TimeoutError` if the other end is silent for `seconds`. If this
    program itself was stopped for a while, messages may be waiting to be read, so the other end
    gets extra time.
    """
    began = time.monotonic()
    try:
        return await socket.receive(timeout=seconds)
    except TimeoutError:
        if time.monotonic() - began < seconds + STOPPED_SECONDS:
            raise
        return await socket.receive(timeout=HEARTBEAT_SECONDS)


def encode(frame: Mapping[str, Any]) -> str:
    """A frame as compact JSON text."""
    return json.dumps(frame, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def decode(text: str) -> dict[str, Any]:
    """A frame from JSON text; raises `ProtocolError`."""
    if len(text) > MAX_FRAME_BYTES:
        raise ProtocolError("frame too large")
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("frame is not JSON") from error
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise ProtocolError("frame has no type")
    return frame


class SessionChannel:
    """One end of a channel inside a session; see `probes.base.Channel`."""

    def __init__(self, channels: Channels, number: int) -> None:
        self._channels = channels
        self.number = number
        self._inbox: asyncio.Queue[tuple[dict[str, Any], int] | None] = asyncio.Queue()
        self._waiting = 0
        self._closed: str | None = None

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one message; raises `ChannelClosed`."""
        if self._closed is not None:
            raise ChannelClosed(self._closed)
        await self._channels.send({"type": "channel", "id": self.number, "data": dict(message)})

    async def receive(self) -> dict[str, Any]:
        """The next message, even after the end if it came before; raises `ChannelClosed`."""
        if self._closed is not None and self._inbox.empty():
            raise ChannelClosed(self._closed)
        found = await self._inbox.get()
        if found is None:
            raise ChannelClosed(self._closed or "closed")
        message, size = found
        self._waiting -= size
        return message

    async def close(self, reason: str = "done") -> None:
        """End the channel at both ends; idempotent, never raises."""
        if self._closed is None:
            self.end(reason)
            try:
                await self._channels.send({"type": "closed", "id": self.number, "why": reason})
            except ChannelClosed:
                log.debug("channel %d: the session was gone before it closed", self.number)

    def put(self, message: dict[str, Any], size: int = 0) -> None:
        """Queue a message of `size` characters from the other side; a flood ends the channel."""
        if self._closed is not None:
            return
        if self._inbox.qsize() < MAX_QUEUED and self._waiting + size <= MAX_QUEUED_BYTES:
            self._waiting += size
            self._inbox.put_nowait((message, size))
        else:
            self._channels.soon(self.close("too many messages"))

    def end(self, reason: str) -> None:
        """Mark the channel as ended; what was received before can still be read."""
        if self._closed is None:
            self._closed = reason
            self._channels.forget(self.number)
            self._inbox.put_nowait(None)


class Channels:
    """The channels of one session, at either end."""

    def __init__(self, socket: FrameSocket) -> None:
        self._socket = socket
        self._open: dict[int, SessionChannel] = {}
        self._numbers = itertools.count(1)
        self._ended: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def silence_seconds(self) -> float:
        """How long the other end may be silent now."""
        return BUSY_SILENCE_SECONDS if self._open else SILENCE_SECONDS

    async def send(self, frame: Mapping[str, Any]) -> None:
        """Send a frame; raises `ChannelClosed` when the session is gone."""
        if self._ended is not None:
            raise ChannelClosed(self._ended)
        try:
            await self._socket.send_str(encode(frame))
        except (ConnectionError, RuntimeError) as error:
            raise ChannelClosed(f"session lost: {error}") from error

    def new(self, number: int | None = None) -> SessionChannel:
        """Open a channel with the next number, or with the one that the other side chose.

        Raises `ProtocolError` when too many are open.
        """
        if len(self._open) >= MAX_CHANNELS:
            raise ProtocolError(f"more than {MAX_CHANNELS} channels at once")
        channel = SessionChannel(self, next(self._numbers) if number is None else number)
        self._open[channel.number] = channel
        return channel

    def take(self, frame: Mapping[str, Any], size: int = 0) -> bool:
        """Handle a `channel` or `closed` frame of `size` characters; True when it was one."""
        if frame["type"] not in ("channel", "closed"):
            return False
        number = frame.get("id", 0)
        if not isinstance(number, int):
            raise ProtocolError("the id of a channel must be a number")
        channel = self._open.get(number)
        if channel is None:
            return True  # this end closed it while the frame was in flight
        data = frame.get("data")
        if frame["type"] == "closed":
            channel.end(str(frame.get("why", "closed"))[:200])
        elif isinstance(data, dict):
            channel.put(data, size)
        else:
            raise ProtocolError("a channel message must be an object")
        return True

    def soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a channel's work in the background, while frames are read."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def forget(self, number: int) -> None:
        """Remove a channel that ended."""
        self._open.pop(number, None)

    @property
    def ended(self) -> bool:
        """Whether the session is gone."""
        return self._ended is not None

    def end(self, reason: str) -> None:
        """End every channel, as the session is gone."""
        self._ended = reason
        for channel in list(self._open.values()):
            channel.end(reason)


class AgentTasks:
    """The agent's halves of running probes: one asyncio task a channel, which ends with it.

    `known` are the tasks that the agent can run, by name.
    """

    def __init__(
        self, known: Mapping[str, AgentTask], channels: Channels, context: AgentContext
    ) -> None:
        self._known = known
        self._channels = channels
        self._context = context
        self._running: set[asyncio.Task[None]] = set()

    async def start(self, frame: Mapping[str, Any]) -> None:
        """Start what the hub asks for in an `open` frame; raises `ProtocolError`."""
        number, name, params = frame.get("id"), frame.get("task"), frame.get("params")
        if not isinstance(number, int) or not isinstance(params, dict):
            raise ProtocolError("`open` needs an id and params")
        channel = self._channels.new(number)
        task = self._known.get(str(name))
        if task is None:
            await channel.close(f"this agent has no task {name}")
            return
        running = asyncio.create_task(self._run(task, channel, params), name=f"agent task {name}")
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def _run(self, task: AgentTask, channel: SessionChannel, params: dict[str, Any]) -> None:
        try:
            await task(channel, params, self._context)
        except ChannelClosed:
            await channel.close("closed by the other side")
        except Exception as error:  # the hub is notified, and the agent continues
            log.exception("unexpected error in an agent task")
            await channel.close(f"failed: {type(error).__name__}")
        else:
            await channel.close()

    async def idle(self) -> None:
        """Wait until no task runs."""
        while self._running:
            await asyncio.wait(set(self._running))

    async def stop(self) -> None:
        """Cancel every running task."""
        for running in self._running:
            running.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

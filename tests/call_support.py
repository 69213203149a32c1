"""Conference calls for tests and benchmarks, over loopback or over a link of a lab."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from math import inf
from typing import TYPE_CHECKING, Any

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.model import Measurement
from jharnet_monitor.probes.base import (
    AgentContext,
    AgentTask,
    Channel,
    ChannelClosed,
    ProbeContext,
    ProbeError,
    Reading,
)
from jharnet_monitor.probes.conference.agent import agent_task
from jharnet_monitor.probes.conference.run import run
from jharnet_monitor.probes.conference.signalling import Dialogue
from jharnet_monitor.profiles import rung
from jharnet_monitor.rtc.call import Call
from tests import busy_host
from tests.support import make_config

if TYPE_CHECKING:
    from jharnet_monitor.lab import Lab

SIGNALLING_PORT = 9797
HEADQUARTERS = "headquarters"


class QueueChannel:
    """One end of an in-memory channel; messages pass through JSON, as over a WebSocket."""

    def __init__(self, inbox: asyncio.Queue[str | None], outbox: asyncio.Queue[str | None]) -> None:
        self._inbox, self._outbox = inbox, outbox
        self._closed = False

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one message."""
        if self._closed:
            raise ChannelClosed("closed")
        self._outbox.put_nowait(json.dumps(message, allow_nan=False))

    async def receive(self) -> dict[str, Any]:
        """The next message."""
        text = None if self._closed and self._inbox.empty() else await self._inbox.get()
        if text is None:
            self._closed = True
            raise ChannelClosed("closed")
        message: dict[str, Any] = json.loads(text)
        return message

    async def close(self) -> None:
        """Close both ends."""
        if not self._closed:
            self._closed = True
            self._outbox.put_nowait(None)
            self._inbox.put_nowait(None)


def channel_pair() -> tuple[QueueChannel, QueueChannel]:
    """The hub's end and the agent's."""
    there: asyncio.Queue[str | None] = asyncio.Queue()
    back: asyncio.Queue[str | None] = asyncio.Queue()
    return QueueChannel(back, there), QueueChannel(there, back)


@dataclass
class LoopbackAgent:
    """An agent in the same event loop; `far` is its task, which may misbehave."""

    far: AgentTask = agent_task
    office: str = "potka"
    address: str | None = None
    features: frozenset[str] = frozenset({"conference"})
    in_browser: bool = False
    behind_proxy: bool = False
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def open(self, task: str, params: Mapping[str, Any]) -> Channel:
        """Start the agent's task."""
        ours, theirs = channel_pair()
        context = AgentContext(self.office, SystemClock(), "https://127.0.0.1:9797", None)
        self.tasks.append(asyncio.create_task(_run_agent_task(self.far, theirs, params, context)))
        return ours

    async def is_stalled(self) -> bool:
        """Not known."""
        return False

    def serve_transfer(self, handler: Any) -> str:
        """Not used by calls."""
        raise NotImplementedError


async def sends_no_media(
    channel: Channel, params: Mapping[str, Any], context: AgentContext
) -> None:
    """An agent's task that sets up the call and sends no media."""
    dialogue = Dialogue(channel)
    async with Call("127.0.0.1", rung("audio")) as there:
        there.sender.audio_track.pause()
        await dialogue.send("offer", sdp=await there.offer())
        await there.accept((await dialogue.expect("answer"))["sdp"])
        await dialogue.wait_until_closed(10)
    await dialogue.end()


async def _run_agent_task(
    far: AgentTask, channel: Channel, params: Mapping[str, Any], context: AgentContext
) -> None:
    """Run the agent's task and close the channel when it ends, as the session does."""
    try:
        await far(channel, params, context)
    finally:
        await channel.close()


@dataclass(frozen=True)
class Result:
    """The values and conditions of a call, its error if it had one, and the seconds it took."""

    values: Mapping[str, float]
    conditions: Mapping[str, Any]
    error: ProbeError | None = None
    seconds: float = 0.0


_CONFIG = cache(make_config)
"""One configuration for all calls."""


async def call(
    agent: Any, granted: float = inf, recent: Mapping[str, Measurement] | None = None,
    **options: Any,
) -> Result:  # fmt: skip
    """Hold one call as the hub does, and wait for the agent's task too.

    The twin, which takes seconds of CPU, runs only with `twin=True`. `recent` is what was measured
    before.
    """
    options.setdefault("twin", False)
    config = _CONFIG()
    context = ProbeContext(
        config, config.offices[0], SystemClock(), agent, options, granted, recent=recent or {}
    )
    began = time.monotonic()
    try:
        reading: Reading = await run(context)
    except ProbeError as error:
        return Result(error.values, error.conditions, error, time.monotonic() - began)
    finally:
        await asyncio.gather(*getattr(agent, "tasks", ()), return_exceptions=True)
    return Result(reading.values, reading.conditions, None, time.monotonic() - began)


async def undisturbed_call(agent: LoopbackAgent, **options: Any) -> Result:
    """As `call`, repeated where this machine was too busy for a result."""
    return await busy_host.undisturbed(lambda: call(agent, **options))


class StreamChannel:
    """A channel over a TCP connection, so that the signalling shares the link with the media."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one message as a line."""
        try:
            self._writer.write(json.dumps(message).encode() + b"\n")
            await self._writer.drain()
        except ConnectionError as error:
            raise ChannelClosed(str(error)) from error

    async def receive(self) -> dict[str, Any]:
        """The next line."""
        try:
            line = await self._reader.readline()
        except ConnectionError as error:
            raise ChannelClosed(str(error)) from error
        if not line:
            raise ChannelClosed("closed")
        message: dict[str, Any] = json.loads(line)
        return message

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()


@dataclass
class StreamAgent:
    """The hub's link to an agent that connected over TCP."""

    channel: StreamChannel
    office: str = "potka"
    address: str | None = None
    features: frozenset[str] = frozenset({"conference"})
    in_browser: bool = False
    behind_proxy: bool = False

    async def open(self, task: str, params: Mapping[str, Any]) -> Channel:
        """Request the call from the agent."""
        await self.channel.send(params)
        return self.channel

    async def is_stalled(self) -> bool:
        """Not known."""
        return False

    def serve_transfer(self, handler: Any) -> str:
        """Not used by calls."""
        raise NotImplementedError


class LabCall:
    """A call over a link of a lab: each end in its namespace, in a thread with an event loop."""

    def __init__(self, lab: Lab, office: str, **options: Any) -> None:
        self.lab, self.office, self.options = lab, office, options
        self.result: Result | None = None
        self.started_at = datetime.now(UTC)
        self._listening = threading.Event()
        self._port = SIGNALLING_PORT + lab.layout.number(office)
        self._threads = [
            threading.Thread(target=self._run, args=(HEADQUARTERS, self._hub)),
            threading.Thread(target=self._run, args=(office, self._agent)),
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> Result:
        """Wait for the end of the call and return its result."""
        for thread in self._threads:
            thread.join()
        if self.result is None:
            raise RuntimeError("the call has no result")
        return self.result

    def _run(self, where: str, half: Any) -> None:
        with self.lab.inside(where):
            asyncio.run(half())

    async def _hub(self) -> None:
        dialled: asyncio.Future[StreamChannel] = asyncio.get_running_loop().create_future()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            dialled.set_result(StreamChannel(reader, writer))

        server = await asyncio.start_server(accept, "0.0.0.0", self._port)  # noqa: S104 - a namespace
        self._listening.set()
        self.result = await call(StreamAgent(await dialled), **self.options)
        server.close()

    async def _agent(self) -> None:
        await asyncio.to_thread(self._listening.wait)
        host = self.lab.addresses(HEADQUARTERS).pc
        channel = StreamChannel(*await asyncio.open_connection(host, self._port))
        params = await channel.receive()
        context = AgentContext(self.office, SystemClock(), f"https://{host}:{self._port}", None)
        await _run_agent_task(agent_task, channel, params, context)

    def flow(self, way: str) -> Mapping[str, Any]:
        """The emulator's counters of this call's datagrams, `down` or `up`."""
        if self.result is None:
            raise RuntimeError("the call has not ended")
        hub, agent = self.result.conditions["hub_port"], self.result.conditions["agent_port"]
        ports = (hub, agent) if way == "down" else (agent, hub)
        for flow in self.lab.flows():
            if flow["protocol"] == "udp" and (flow["source_port"], flow["target_port"]) == ports:
                return flow
        raise LookupError(f"no flow of UDP ports {ports}")

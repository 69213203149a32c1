"""Runs an agent task in a process of its own, so that its libraries take memory only meanwhile. A
conference call needs FFmpeg, SRTP and the WebRTC stack: 45 MB that an agent would otherwise hold
all day for two calls of half a minute. The agent starts this module as a program for each call, and
passes the channel's messages through its standard input and output, one JSON object a line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.probes.agent_tasks import AGENT_TASKS
from jharnet_monitor.probes.base import AgentContext, AgentTask, Channel, ChannelClosed
from jharnet_monitor.probes.deferred import Deferred
from jharnet_monitor.windows_api import fine_timers
from jharnet_monitor.wire.protocol import MAX_FRAME_BYTES

log = logging.getLogger(__name__)

END_SECONDS = 5.0
"""How long a task may take to end after its channel has closed."""
PREPARE = "--prepare"
PROGRAM = "jharnet_monitor.commands.agent_task"
"""The module that calls `run`."""

_prepare = Deferred("jharnet_monitor.rtc.call:prepare")


def in_own_process(name: str) -> AgentTask:
    """The agent task `name` as a task that runs in a process of its own."""

    async def task(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
        process = await _start(name)
        stdin, stdout = _pipes(process)
        first = {"params": dict(params), "office": context.office, "hub": context.hub}
        incoming = asyncio.create_task(_pass_in(channel, stdin, first))
        try:
            while line := await stdout.readline():
                await channel.send(json.loads(line))
            if status := await asyncio.wait_for(process.wait(), END_SECONDS):
                raise RuntimeError(f"the process of task {name} ended with status {status}")
        finally:
            incoming.cancel()
            await asyncio.gather(incoming, return_exceptions=True)
            if process.returncode is None:
                process.kill()
                await process.wait()

    return task


async def prepare(*codecs: str) -> None:
    """Check the WebRTC library and make missing clips, in a process that ends afterwards."""
    process = await _start(PREPARE, *codecs)
    try:
        if status := await process.wait():
            log.error("conference tests will not be possible: preparing ended with %d", status)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _start(*arguments: str) -> asyncio.subprocess.Process:
    level = logging.getLevelName(logging.getLogger().getEffectiveLevel())
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", PROGRAM, level, *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=MAX_FRAME_BYTES,
    )  # fmt: skip


def _pipes(
    process: asyncio.subprocess.Process,
) -> tuple[asyncio.StreamWriter, asyncio.StreamReader]:
    if process.stdin is None or process.stdout is None:
        raise AssertionError("the process was started with pipes")
    return process.stdin, process.stdout


async def _pass_in(channel: Channel, stdin: asyncio.StreamWriter, first: Mapping[str, Any]) -> None:
    """Write the first line and then every message of the channel; its end closes the input."""
    message: Mapping[str, Any] = first
    with contextlib.suppress(ChannelClosed, ConnectionError):
        while True:
            stdin.write(json.dumps(message).encode() + b"\n")
            await stdin.drain()
            message = await channel.receive()
    stdin.close()


class PipeChannel:
    """The task's end of the channel, inside its process."""

    def __init__(self, reader: asyncio.StreamReader, output: int) -> None:
        self._reader = reader
        self._output = output

    async def send(self, message: Mapping[str, Any]) -> None:
        """Pass a message on to the agent; raises `ChannelClosed` when the agent is gone."""
        try:
            await asyncio.to_thread(self._write, json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise ChannelClosed(f"the agent is gone: {error}") from error

    def _write(self, line: bytes) -> None:
        while line:
            line = line[os.write(self._output, line) :]

    async def receive(self) -> dict[str, Any]:
        """The next message; raises `ChannelClosed` when the channel or the agent has ended."""
        line = await self._reader.readline()
        if not line:
            raise ChannelClosed("closed by the agent")
        message: dict[str, Any] = json.loads(line)
        return message

    async def close(self) -> None:
        """Close the output, by which the agent sees the end; idempotent."""
        if self._output >= 0:
            os.close(self._output)
            self._output = -1


def _read_input(source: int, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop) -> None:
    """Feed what the agent sends to the reader, from a thread: on Windows, an event loop can wait
    neither for a pipe that another process made nor for a file descriptor.
    """
    with contextlib.suppress(RuntimeError):  # the loop has ended
        while data := _read_some(source):
            loop.call_soon_threadsafe(reader.feed_data, data)
        loop.call_soon_threadsafe(reader.feed_eof)


def _read_some(source: int) -> bytes:
    """The next bytes; none once the agent has ended."""
    try:
        return os.read(source, MAX_FRAME_BYTES)
    except OSError:
        return b""


async def _run_task(name: str, output: int) -> None:
    reader = asyncio.StreamReader(MAX_FRAME_BYTES)
    loop = asyncio.get_running_loop()
    threading.Thread(
        target=_read_input, args=(sys.stdin.fileno(), reader, loop), daemon=True
    ).start()
    channel = PipeChannel(reader, output)
    first = await channel.receive()
    context = AgentContext(first["office"], SystemClock(), first["hub"], None)
    with contextlib.suppress(ChannelClosed):
        await AGENT_TASKS[name](channel, first["params"], context)
    await channel.close()


def run(name: str, *arguments: str) -> int:
    """Run the task `name`, or prepare the clips of the given codecs; returns the exit status.

    This is the whole work of the process.
    """
    if name == PREPARE:
        return 0 if _prepare(*arguments) else 1
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # keeps a library's prints out of the channel
    with fine_timers():
        asyncio.run(_run_task(name, output))
    return 0

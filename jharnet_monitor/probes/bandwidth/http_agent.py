"""The agent's end of a bulk HTTP transfer with the hub, in either direction.

The agent never listens: it sends every request to the hub. It has limits of its own, so that no hub
can make it load the office's line for longer than a test may take.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from http import HTTPStatus
from statistics import fmean
from typing import Any, TypeGuard

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from jharnet_monitor.model import Direction
from jharnet_monitor.probes.bandwidth.counter_series import CounterSeries
from jharnet_monitor.probes.bandwidth.poll_lateness import PollLateness
from jharnet_monitor.probes.bandwidth.tcp_connection import (
    POLL_SECONDS,
    TcpConnections,
    write_forever,
)
from jharnet_monitor.probes.bandwidth.tcp_info import TcpInfo
from jharnet_monitor.probes.base import AgentContext

MAX_SECONDS = 30.0
MAX_CONNECTIONS = 8
TRANSFER_PREFIX = "/agent/transfer/"


async def transfer(
    direction: Direction, message: Mapping[str, Any], context: AgentContext
) -> dict[str, Any]:
    """Run the transfer that the hub requests; returns the report, or an `error`.

    The message has `paths`, one for each connection, `seconds`, and for an upload `rate` in bit/s.
    The transfer ends when the hub resets its connections.
    """
    paths, seconds = message.get("paths"), message.get("seconds")
    if not _are_paths(paths) or not isinstance(seconds, int | float):
        return {"error": "a transfer needs its paths and its time"}
    rate = float(message.get("rate", 1e9)) / len(paths)
    running = AgentDownload(context) if direction is Direction.DOWN else AgentUpload(context, rate)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(min(float(seconds), MAX_SECONDS)):
            await running.run([f"{context.hub}{path}" for path in paths])
    return running.report()


def _are_paths(paths: Any) -> TypeGuard[list[str]]:
    return (
        isinstance(paths, list)
        and 0 < len(paths) <= MAX_CONNECTIONS
        and all(isinstance(p, str) and p.startswith(TRANSFER_PREFIX) for p in paths)
    )


class AgentTransfer(ABC):
    """One or more parallel requests, whose connections are measured together."""

    def __init__(self, context: AgentContext) -> None:
        self._context = context
        self._connections = TcpConnections()
        self._error: str | None = None
        self._lateness = PollLateness(context.clock.monotonic(), POLL_SECONDS)

    async def run(self, urls: list[str]) -> None:
        """Transfer until every connection has ended, or until cancelled."""
        polling = asyncio.create_task(self._poll())
        try:
            await asyncio.gather(*(self._run_request(url) for url in urls))
        finally:
            polling.cancel()
            self._connections.reset()

    async def _run_request(self, url: str) -> None:
        with contextlib.suppress(aiohttp.ClientError, ConnectionError):  # the hub has reset it
            status = await self._request(url)
            if status != HTTPStatus.OK:
                self._error = f"the hub answered {status}"

    async def _poll(self) -> None:
        clock = self._context.clock
        self._lateness = PollLateness(clock.monotonic(), POLL_SECONDS)
        while True:
            self._count(self._connections.infos())
            await asyncio.sleep(POLL_SECONDS)
            self._lateness.add(clock.monotonic())

    @abstractmethod
    async def _request(self, url: str) -> int:
        """Move data until the connection ends; returns the status of an early answer."""

    @abstractmethod
    def _count(self, infos: list[TcpInfo]) -> None:
        """Record the kernel's counters."""

    def report(self) -> dict[str, Any]:
        """The report to the hub: `late` and `paused` are the shares of the time of `PollLateness`,
        `error` why there was no transfer.
        """
        if self._error is not None:
            return {"error": self._error}
        lateness = self._lateness
        return {"late": round(lateness.late, 3), "paused": round(lateness.paused, 3)}


class AgentDownload(AgentTransfer):
    """Hub to agent; the agent counts what arrives."""

    def __init__(self, context: AgentContext) -> None:
        super().__init__(context)
        self._payload = 0
        self._series = CounterSeries()

    async def _request(self, url: str) -> int:
        async with self._context.http.get(url, params={"office": self._context.office}) as response:
            if response.status == HTTPStatus.OK:
                self._connections.add(response.connection and response.connection.transport)
                async for chunk in response.content.iter_any():
                    self._payload += len(chunk)
            return int(response.status)

    def _count(self, infos: list[TcpInfo]) -> None:
        if infos or self._payload:
            self._series.add_received(self._context.clock.monotonic(), infos, self._payload)

    def report(self) -> dict[str, Any]:
        """The series of received segments and bytes."""
        return {**super().report(), "series": self._series.to_json()}


class AgentUpload(AgentTransfer):
    """Agent to hub, with `rate` bit/s for each connection."""

    def __init__(self, context: AgentContext, rate: float) -> None:
        super().__init__(context)
        self._rate = rate
        self._infos: list[TcpInfo] = []
        self._rtts: list[float] = []

    async def _request(self, url: str) -> int:
        body = RandomPayload(self._rate, self._connections)
        params = {"office": self._context.office}
        async with self._context.http.post(url, params=params, data=body) as response:
            return HTTPStatus.BAD_GATEWAY if response.status == HTTPStatus.OK else response.status

    def _count(self, infos: list[TcpInfo]) -> None:
        self._infos = infos
        self._rtts += [fmean(info.rtt for info in infos)] if infos else []

    def report(self) -> dict[str, Any]:
        """The sender's counters.

        `sent` is in IP bytes, `payload_sent` and `retransmitted` in bytes of payload, `rtt` the
        mean in seconds, `window` the share of time for which the receiver's window limited the
        sender.
        """
        return {
            **super().report(),
            "sent": sum(info.ip_bytes_out for info in self._infos),
            "payload_sent": sum(info.bytes_sent for info in self._infos),
            "retransmitted": sum(info.bytes_retransmitted for info in self._infos),
            "window": max((round(info.window_share, 3) for info in self._infos), default=0.0),
            "rtt": round(fmean(self._rtts), 6) if self._rtts else None,
        }


class RandomPayload(Payload):
    """An endless request body of random bytes, which registers and paces its connection."""

    def __init__(self, rate: float, connections: TcpConnections) -> None:
        super().__init__(None, content_type="application/octet-stream")
        self._rate = rate
        self._connections = connections

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Raise `TypeError`: the body is binary."""
        raise TypeError("random bytes are not text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write until the connection ends or the request is cancelled."""
        connection = self._connections.add(getattr(writer, "transport", None))
        connection.pace(self._rate)
        await write_forever(writer.write)

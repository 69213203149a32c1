"""The agent's half of the bandwidth probe: answers pings, takes a download, gives an upload.

It never listens: every exchange is a request of its own to the hub. It keeps limits of its own,
so that no hub can make it fill the office's line for longer than a test may take.
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
from jharnet_monitor.probes.bandwidth.http_hub import POLL_SECONDS
from jharnet_monitor.probes.bandwidth.tcp_connection import TcpConnections, pour
from jharnet_monitor.probes.bandwidth.tcp_info import TcpInfo
from jharnet_monitor.probes.bandwidth.udp_agent import AgentUdpChannel
from jharnet_monitor.probes.base import AgentContext, Channel

LONGEST_SECONDS = 30.0
TRANSFER_PREFIX = "/agent/transfer/"
MOST_CONNECTIONS = 8


async def agent_task(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
    """Do what the hub asks, one message at a time, until it closes the channel."""
    side = AgentUdpChannel(context.hub)
    try:
        while True:
            message = await channel.receive()
            await channel.send(await _answer(message, side, context))
    finally:
        side.close()


async def _answer(
    message: Mapping[str, Any], side: AgentUdpChannel, context: AgentContext
) -> dict[str, Any]:
    what = message.get("do")
    if what == "ping":
        return {"pong": message.get("n")}
    for direction in Direction:
        if what == direction.transfer:
            return await _exchange(direction, message, context)
    beside = {
        "udp": side.open,
        "listen": side.listen,
        "arrivals": side.arrivals,
        "train": side.train,
    }.get(str(what))
    return {"error": "unknown request"} if beside is None else beside(message)


async def _exchange(
    direction: Direction, message: Mapping[str, Any], context: AgentContext
) -> dict[str, Any]:
    """Run one exchange; the end of its connections, by whomever, is its normal end."""
    paths, seconds = message.get("paths"), message.get("seconds")
    if not _are_paths(paths) or not isinstance(seconds, int | float):
        return {"error": "a transfer needs its paths and its time"}
    rate = float(message.get("rate", 1e9)) / len(paths)
    transfer = _Download(context) if direction is Direction.DOWN else _Upload(context, rate)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(min(float(seconds), LONGEST_SECONDS)):
            await transfer.run([f"{context.hub}{path}" for path in paths])
    return transfer.report()


def _are_paths(paths: Any) -> TypeGuard[list[str]]:
    return (
        isinstance(paths, list)
        and 0 < len(paths) <= MOST_CONNECTIONS
        and all(isinstance(p, str) and p.startswith(TRANSFER_PREFIX) for p in paths)
    )


class _Transfer(ABC):
    """One or more requests at once, whose connections are watched together."""

    def __init__(self, context: AgentContext) -> None:
        self._context = context
        self._connections = TcpConnections()
        self._error: str | None = None

    async def run(self, urls: list[str]) -> None:
        """Until every connection has ended, or the caller's time is over."""
        watching = asyncio.create_task(self._watch())
        try:
            await asyncio.gather(*(self._guarded(url) for url in urls))
        finally:
            watching.cancel()
            self._connections.cut()

    async def _guarded(self, url: str) -> None:
        with contextlib.suppress(aiohttp.ClientError, ConnectionError):  # the hub has cut it
            status = await self._request(url)
            if status != HTTPStatus.OK:
                self._error = f"the hub answered {status}"

    async def _watch(self) -> None:
        while True:
            self._look(self._connections.infos())
            await asyncio.sleep(POLL_SECONDS)

    @abstractmethod
    async def _request(self, url: str) -> int:
        """Move data until the connection ends, or give the status that the hub answered."""

    @abstractmethod
    def _look(self, infos: list[TcpInfo]) -> None:
        """Take what the kernel counts now."""

    def report(self) -> dict[str, Any]:
        """What this end has counted."""
        return {} if self._error is None else {"error": self._error}


class _Download(_Transfer):
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

    def _look(self, infos: list[TcpInfo]) -> None:
        if infos or self._payload:
            self._series.arrived(self._context.clock.monotonic(), infos, self._payload)

    def report(self) -> dict[str, Any]:
        """When how much had arrived."""
        return {**super().report(), "series": self._series.to_json()}


class _Upload(_Transfer):
    def __init__(self, context: AgentContext, rate: float) -> None:
        """`rate` is that of one connection, in bit/s."""
        super().__init__(context)
        self._rate = rate
        self._infos: list[TcpInfo] = []
        self._round_trips: list[float] = []

    async def _request(self, url: str) -> int:
        body = _Noise(self._rate, self._connections)
        params = {"office": self._context.office}
        async with self._context.http.post(url, params=params, data=body) as response:
            return HTTPStatus.BAD_GATEWAY if response.status == HTTPStatus.OK else response.status

    def _look(self, infos: list[TcpInfo]) -> None:
        self._infos = infos
        self._round_trips += [fmean(info.rtt for info in infos)] if infos else []

    def report(self) -> dict[str, Any]:
        """What the sender knows: IP bytes put on the line, retransmissions, round trips."""
        trips = self._round_trips
        return {
            **super().report(),
            "sent": sum(info.ip_bytes_out for info in self._infos),
            "payload_sent": sum(info.bytes_sent for info in self._infos),
            "retransmitted": sum(info.bytes_retransmitted for info in self._infos),
            "window": max((round(info.window_share, 3) for info in self._infos), default=0.0),
            "rtt": round(fmean(trips), 6) if trips else None,
        }


class _Noise(Payload):
    """A request body without end, which makes its connection known and paces it."""

    def __init__(self, rate: float, connections: TcpConnections) -> None:
        super().__init__(None, content_type="application/octet-stream")
        self._rate = rate
        self._connections = connections

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Not text."""
        raise TypeError("noise is no text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write until the connection ends or the request is cancelled."""
        connection = self._connections.add(getattr(writer, "transport", None))
        connection.pace(self._rate)
        await pour(writer.write)

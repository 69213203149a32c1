"""The agent's half of the bandwidth probe: answers pings, takes a download, gives an upload.

It never listens: every exchange is a request of its own to the hub. It keeps limits of its own,
so that no hub can make it fill the office's line for longer than a test may take.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from jharnet_monitor.clock import Clock
from jharnet_monitor.probes.base import Channel, FarContext
from jharnet_monitor.probes.connection import Connection, pour
from jharnet_monitor.probes.series import Series
from jharnet_monitor.probes.side_path_far import FarSidePath
from jharnet_monitor.probes.tcpinfo import TcpInfo
from jharnet_monitor.probes.transfer import POLL_SECONDS

LONGEST_SECONDS = 30.0
TRANSFER_PREFIX = "/agent/transfer/"


async def far_side(channel: Channel, params: Mapping[str, Any], context: FarContext) -> None:
    """Do what the hub asks, one message at a time, until it closes the channel."""
    side = FarSidePath(context.hub)
    try:
        while True:
            message = await channel.receive()
            await channel.send(await _answer(message, side, context))
    finally:
        side.close()


async def _answer(
    message: Mapping[str, Any], side: FarSidePath, context: FarContext
) -> dict[str, Any]:
    what = message.get("do")
    if what == "ping":
        return {"pong": message.get("n")}
    exchange = {"download": _download, "upload": _upload}.get(str(what))
    if exchange is not None:
        return await _exchange(exchange, message, context)
    beside = {
        "udp": side.open,
        "listen": side.listen,
        "arrivals": side.arrivals,
        "train": side.train,
    }.get(str(what))
    return {"error": "unknown request"} if beside is None else beside(message)


async def _exchange(work: Any, message: Mapping[str, Any], context: FarContext) -> dict[str, Any]:
    """Run one exchange; the end of the connection, by whomever, is its normal end."""
    path, seconds = str(message.get("path", "")), message.get("seconds")
    if not path.startswith(TRANSFER_PREFIX) or not isinstance(seconds, int | float):
        return {"error": "a transfer needs its path and its time"}
    report: dict[str, Any] = {}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(min(float(seconds), LONGEST_SECONDS)):
            try:
                await work(f"{context.hub}{path}", message, context, report)
            except (aiohttp.ClientError, ConnectionError) as error:
                report.setdefault("ended", f"{type(error).__name__}: {error}"[:200])
    return report


async def _download(
    url: str, message: Mapping[str, Any], context: FarContext, report: dict[str, Any]
) -> None:
    arrivals = _Arrivals(context.clock)
    try:
        async with context.http.get(url, params={"office": context.office}) as response:
            if response.status != 200:
                report["error"] = f"the hub answered {response.status}"
                return
            await arrivals.take(response)
    finally:
        report["series"] = arrivals.series.to_json()
        report["counted"] = "kernel" if arrivals.series.kernel_counted else "application"


async def _upload(
    url: str, message: Mapping[str, Any], context: FarContext, report: dict[str, Any]
) -> None:
    stream = _Stream(float(message.get("rate", 1e9)), context.clock)
    try:
        async with context.http.post(
            url, params={"office": context.office}, data=stream
        ) as response:
            report["error"] = f"the hub answered {response.status}"
    finally:
        stream.stop()
        report.update(stream.report())


class _Arrivals:
    """Reads a response without end, and notes what has arrived when."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._payload = 0
        self.series = Series()

    async def take(self, response: aiohttp.ClientResponse) -> None:
        """Read until the connection ends or the request is cancelled."""
        connection = Connection(response.connection and response.connection.transport)
        watching = asyncio.create_task(self._watch(connection))
        try:
            async for chunk in response.content.iter_any():
                self._payload += len(chunk)
        finally:
            watching.cancel()
            connection.cut()

    async def _watch(self, connection: Connection) -> None:
        while True:
            self.series.arrived(self._clock.monotonic(), connection.info(), self._payload)
            await asyncio.sleep(POLL_SECONDS)


class _Stream(Payload):
    """A request body without end, which watches the connection that it is written to."""

    def __init__(self, rate: float, clock: Clock) -> None:
        super().__init__(None, content_type="application/octet-stream")
        self._rate = rate
        self._clock = clock
        self._connection = Connection(None)
        self._info: TcpInfo | None = None
        self._round_trips: list[float] = []

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Not text."""
        raise TypeError("noise is no text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write until the connection ends or the request is cancelled."""
        self._connection = Connection(getattr(writer, "transport", None))
        self._connection.pace(self._rate)
        watching = asyncio.create_task(self._watch())
        try:
            await pour(writer.write)
        finally:
            watching.cancel()

    async def _watch(self) -> None:
        while (info := self._connection.info()) is not None:
            self._info = info
            self._round_trips.append(info.rtt)
            await asyncio.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Throw away what the kernel still holds."""
        self._connection.cut()

    def report(self) -> dict[str, Any]:
        """What the sender knows: IP bytes put on the line, retransmissions, round trips."""
        info = self._info
        if info is None:
            return {}
        trips = self._round_trips
        return {
            "sent": info.bytes_sent + info.segments_out * info.header,
            "payload_sent": info.bytes_sent,
            "retransmitted": info.bytes_retransmitted,
            "rtt": round(sum(trips) / len(trips), 6) if trips else None,
        }

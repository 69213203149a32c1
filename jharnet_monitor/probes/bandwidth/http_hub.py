"""The hub's end of a bulk HTTP transfer with an agent, in either direction.

Only the hub decides when a transfer stops: when the rate is stable, or when its time or its bytes
are used up. Nothing that the agent does or omits can prolong it.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import fmean

from aiohttp import web

from jharnet_monitor.clock import Clock
from jharnet_monitor.judge.line.throughput import is_stable
from jharnet_monitor.probes.bandwidth.counter_series import CounterSeries
from jharnet_monitor.probes.bandwidth.plan import Limits
from jharnet_monitor.probes.bandwidth.poll_lateness import PollLateness
from jharnet_monitor.probes.bandwidth.tcp_connection import (
    POLL_SECONDS,
    TcpConnection,
    TcpConnections,
    write_forever,
)
from jharnet_monitor.probes.bandwidth.tcp_info import TcpInfo

REQUEST_SECONDS = 15.0
"""How long an agent may take to send the requests of a transfer; on a lossy line the first packets
of a connection are sent again only after 1, 2 and 4 s."""
BURST_BYTES = 1 << 18
"""How far an upload may be ahead of its agreed rate before the hub reads more slowly."""
RESET_BYTES = 40


class EndReason(StrEnum):
    """Why a transfer stopped."""

    STABLE = "stable"
    TIME = "time"
    BYTES = "bytes"
    SILENCE = "silence"
    BROKEN_OFF = "broken_off"


@dataclass(slots=True)
class TransferResult:
    """What the hub measured of one transfer, in seconds of its monotonic clock.

    `waited` is the time from the offer to the agent's first request.
    `late` and `paused` are the shares of the time of `PollLateness`. `slowed` is for how long the
    hub slowed down a sender that exceeded its pace, summed over the connections. `rtts` are the
    sender's smoothed round-trip times, where the hub sends.
    """

    series: CounterSeries = field(default_factory=CounterSeries)
    ended: EndReason = EndReason.BROKEN_OFF
    infos: list[TcpInfo] = field(default_factory=list)
    payload: int = 0
    late: float = 0.0
    paused: float = 0.0
    slowed: float = 0.0
    rtts: list[float] = field(default_factory=list)
    started: float = 0.0
    stopped: float = 0.0
    waited: float = 0.0

    @property
    def bytes_down(self) -> int:
        """IP bytes that the hub sent, headers and retransmissions included."""
        return sum(info.ip_bytes_out for info in self.infos)

    @property
    def bytes_up(self) -> int:
        """IP bytes that reached the hub, and outstanding acknowledgements."""
        if not self.infos:
            return self.payload
        return sum(info.ip_bytes_in + _outstanding_ack_bytes(info) for info in self.infos)

    @property
    def tcp_rtt(self) -> float | None:
        """Mean of the smoothed round-trip times that TCP measured, in seconds."""
        return fmean(self.rtts) if self.rtts else None


def _outstanding_ack_bytes(info: TcpInfo) -> int:
    """IP bytes of the acknowledgements for data in flight.

    They arrive after the connection was reset, and each is answered by a reset.
    """
    if not info.bytes_acked:
        return 0
    in_flight = max(0, info.bytes_sent - info.bytes_retransmitted - info.bytes_acked)
    return int(info.segments_in * (info.header + RESET_BYTES) * in_flight / info.bytes_acked)


class HubTransfer(ABC):
    """A transfer that waits for its agent. `handle` is the aiohttp handler to offer."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self._clock = clock
        self._limits = limits
        self._requested = asyncio.Event()
        self._stopped = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._connections = TcpConnections()
        self.result = TransferResult()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection until the transfer stops; `serve_transfer` checks the agent."""
        if self._stopped.is_set() or len(self._tasks) >= self._limits.connections:
            raise web.HTTPGone(text="this transfer is over")
        connection = self._connections.add(request.transport)
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        moving = asyncio.create_task(self._move_data(request, response, connection))
        stopped = asyncio.create_task(self._stopped.wait())
        self._tasks.append(moving)
        self._requested.set()
        try:
            await asyncio.wait({moving, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            connection.reset()
            for task in (moving, stopped):
                task.cancel()
            await asyncio.gather(moving, stopped, return_exceptions=True)
        return response

    async def run(self) -> TransferResult:
        """Measure until the transfer stops; raises `TimeoutError` if the agent never starts it."""
        offered = self._clock.monotonic()
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                await self._requested.wait()
            self.result.waited = self._clock.monotonic() - offered
            await self._measure()
            return self.result
        finally:
            self.stop()

    def stop(self) -> None:
        """Reset every connection and accept no more. Idempotent."""
        if not self._stopped.is_set() and self.result.infos:
            self.result.infos = self._connections.infos()  # sent since the last reading
        self._stopped.set()
        self._connections.reset()

    @abstractmethod
    async def _move_data(
        self, request: web.Request, response: web.StreamResponse, connection: TcpConnection
    ) -> None:
        """Move the data of one connection for ever."""

    @abstractmethod
    def _count(self, now: float, infos: list[TcpInfo]) -> bool:
        """Add the counters to the series; True if they changed."""

    async def _measure(self) -> None:
        """Read the kernel's counters until the transfer should stop."""
        result, clock = self.result, self._clock
        result.started = clock.monotonic()
        lateness = PollLateness(result.started, POLL_SECONDS)
        while not any(task.done() for task in self._tasks):
            await asyncio.sleep(POLL_SECONDS)
            result.stopped = now = clock.monotonic()
            lateness.add(now)
            result.late, result.paused = lateness.late, lateness.paused
            result.infos = self._connections.infos()
            if self._should_stop(now, self._count(now, result.infos)):
                return

    def _should_stop(self, now: float, changed: bool) -> bool:
        """Whether to stop now; sets the reason."""
        result, limits = self.result, self._limits
        points = result.series.points
        if result.bytes_down + result.bytes_up >= limits.max_bytes:
            result.ended = EndReason.BYTES
        elif changed and self._may_be_stable and is_stable(result.series.samples(), limits.window):
            result.ended = EndReason.STABLE
        elif now - result.started >= limits.seconds - 2 * POLL_SECONDS:  # next poll is too late
            result.ended = EndReason.TIME
        elif now - (points[-1].seconds if points else result.started) >= limits.silence:
            result.ended = EndReason.SILENCE
        else:
            return False
        return True

    @property
    def _may_be_stable(self) -> bool:
        """Whether the hub's series is one of the line."""
        return True

    @property
    def _connection_rate(self) -> float:
        """The rate of one connection in bit/s."""
        return self._limits.rate / self._limits.connections


class HubDownload(HubTransfer):
    """Hub to agent; the hub counts what the agent's kernel acknowledges."""

    async def _move_data(
        self, request: web.Request, response: web.StreamResponse, connection: TcpConnection
    ) -> None:
        connection.pace(self._connection_rate)
        await response.prepare(request)
        await write_forever(response.write)

    def _count(self, now: float, infos: list[TcpInfo]) -> bool:
        self.result.rtts += [fmean(info.rtt for info in infos)] if infos else []
        return self.result.series.add_acknowledged(now, infos)

    @property
    def _may_be_stable(self) -> bool:
        return not self._limits.by_proxy


class HubUpload(HubTransfer):
    """Agent to hub; the hub counts what arrives."""

    async def _move_data(
        self, request: web.Request, response: web.StreamResponse, connection: TcpConnection
    ) -> None:
        clock, started, received = self._clock, self._clock.monotonic(), 0
        async for chunk in request.content.iter_any():
            received += len(chunk)
            self.result.payload += len(chunk)
            # a sender that exceeds the agreed rate is slowed down by its full receive window
            due = (received - BURST_BYTES) * 8 / self._connection_rate
            before = clock.monotonic()
            await asyncio.sleep(max(0.0, started + due - before))
            self.result.slowed += max(0.0, started + due - before)

    def _count(self, now: float, infos: list[TcpInfo]) -> bool:
        if self._limits.by_proxy:  # its segments are not full, nor those of the line
            return self.result.series.add(now, 0, sum(info.bytes_received for info in infos))
        return self.result.series.add_received(now, infos, self.result.payload)

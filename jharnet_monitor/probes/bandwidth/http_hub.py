"""The hub's end of one bulk HTTP exchange with an agent, in either direction.

The hub alone decides when a transfer stops: when the rate is stable, when its time is over, when
its bytes are spent. Nothing that the agent does or leaves undone can make it last longer.
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
from jharnet_monitor.probes.bandwidth.tcp_connection import TcpConnection, TcpConnections, pour
from jharnet_monitor.probes.bandwidth.tcp_info import TcpInfo

POLL_SECONDS = 0.004
"""Between looks at the kernel's counters: the application sees TLS records, which come late."""
SILENCE_SECONDS = 1.0
"""Nothing delivered for this long: the transfer is broken off."""
ARRIVAL_SECONDS = 8.0
"""How long an agent may take to come for the exchange that it was told of."""
BURST_BYTES = 1 << 18
"""What an upload may run ahead of its agreed rate before the hub reads more slowly."""
RESET_BYTES = 40
LATE_SECONDS = 0.05
"""The event loop waking up later than this is time in which the host did not keep up."""


class Ended(StrEnum):
    """Why a transfer stopped."""

    STABLE = "stable"
    TIME = "time"
    BYTES = "bytes"
    SILENCE = "silence"
    BROKEN_OFF = "broken_off"


@dataclass(slots=True)
class TransferResult:
    """What the hub saw of one transfer, on its monotonic clock.

    `late` is the share of it that the hub's host overslept.
    """

    series: CounterSeries = field(default_factory=CounterSeries)
    ended: Ended = Ended.BROKEN_OFF
    infos: list[TcpInfo] = field(default_factory=list)
    payload: int = 0
    late: float = 0.0
    round_trips: list[float] = field(default_factory=list)
    begun: float = 0.0
    stopped: float = 0.0

    @property
    def bytes_down(self) -> int:
        """IP bytes that the hub sent, headers and retransmissions included."""
        return sum(info.ip_bytes_out for info in self.infos)

    @property
    def bytes_up(self) -> int:
        """IP bytes that reached the hub, and the acknowledgements that what is under way brings."""
        if not self.infos:
            return self.payload
        return sum(info.ip_bytes_in + _to_come(info) for info in self.infos)

    @property
    def own_rtt(self) -> float | None:
        """Mean of the sender's smoothed round-trip times, in seconds."""
        return fmean(self.round_trips) if self.round_trips else None


def _to_come(info: TcpInfo) -> int:
    """IP bytes of acknowledgements for what was sent and not acknowledged yet: they come after the
    connection was cut, and each brings a reset.
    """
    if not info.bytes_acked:
        return 0
    waiting = max(0, info.bytes_sent - info.bytes_retransmitted - info.bytes_acked)
    return int(info.segments_in * (info.header + RESET_BYTES) * waiting / info.bytes_acked)


class Exchange(ABC):
    """A transfer that waits for its agent. `handle` is the aiohttp handler to offer."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self._clock = clock
        self._limits = limits
        self._arrived = asyncio.Event()
        self._over = asyncio.Event()
        self._pumps: list[asyncio.Task[None]] = []
        self._connections = TcpConnections()
        self.flow = TransferResult()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One connection of the transfer, until it is over; `serve_transfer` checks whose."""
        if self._over.is_set() or len(self._pumps) >= self._limits.connections:
            raise web.HTTPGone(text="this transfer is over")
        connection = self._connections.add(request.transport)
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        pumping = asyncio.create_task(self._pump(request, response, connection))
        over = asyncio.create_task(self._over.wait())
        self._pumps.append(pumping)
        self._arrived.set()
        try:
            await asyncio.wait({pumping, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            connection.cut()
            for task in (pumping, over):
                task.cancel()
            await asyncio.gather(pumping, over, return_exceptions=True)
        return response

    async def finished(self) -> TransferResult:
        """The flow once it is over; raises `TimeoutError` when the agent never came for it."""
        try:
            async with asyncio.timeout(ARRIVAL_SECONDS):
                await self._arrived.wait()
            await self._watch()
            return self.flow
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Cut every connection, whoever is on it, and let nobody in any more."""
        self._over.set()
        self._connections.cut()

    @abstractmethod
    async def _pump(
        self, request: web.Request, response: web.StreamResponse, connection: TcpConnection
    ) -> None:
        """Move the data of one connection, for ever."""

    @abstractmethod
    def _count(self, moment: float, infos: list[TcpInfo]) -> bool:
        """Take the counters into the series; True when there is something new."""

    async def _watch(self) -> None:
        """Look at the kernel's counters until it is time to stop."""
        flow, clock = self.flow, self._clock
        flow.begun = begun = moment = clock.monotonic()
        overslept = 0.0
        while not any(pump.done() for pump in self._pumps):
            await asyncio.sleep(POLL_SECONDS)
            before, moment = moment, clock.monotonic()
            flow.stopped = moment
            overslept += max(0.0, moment - before - POLL_SECONDS - LATE_SECONDS)
            flow.late = overslept / (moment - begun)
            flow.infos = self._connections.infos()
            if self._is_enough(moment, self._count(moment, flow.infos)):
                return

    def _is_enough(self, now: float, changed: bool) -> bool:
        """Whether to stop now, and why."""
        flow, limits = self.flow, self._limits
        points = flow.series.points
        if flow.bytes_down + flow.bytes_up >= limits.most_bytes:
            flow.ended = Ended.BYTES
        elif changed and is_stable(flow.series.samples(), limits.window):
            flow.ended = Ended.STABLE
        elif now - flow.begun >= limits.seconds - POLL_SECONDS:  # the next look comes too late
            flow.ended = Ended.TIME
        elif now - (points[-1].seconds if points else flow.begun) >= limits.silence:
            flow.ended = Ended.SILENCE
        else:
            return False
        return True

    @property
    def _share(self) -> float:
        """bit/s of one connection."""
        return self._limits.rate / self._limits.connections


class Download(Exchange):
    """Hub to agent: counted here by what the agent's kernel acknowledges, there by what came."""

    async def _pump(
        self, request: web.Request, response: web.StreamResponse, connection: TcpConnection
    ) -> None:
        connection.pace(self._share)
        await response.prepare(request)
        await pour(response.write)

    def _count(self, moment: float, infos: list[TcpInfo]) -> bool:
        self.flow.round_trips += [fmean(info.rtt for info in infos)] if infos else []
        return self.flow.series.acknowledged(moment, infos)


class Upload(Exchange):
    """Agent to hub: counted here, where it arrives."""

    async def _pump(
        self, request: web.Request, response: web.StreamResponse, connection: TcpConnection
    ) -> None:
        clock, begun, taken = self._clock, self._clock.monotonic(), 0
        async for chunk in request.content.iter_any():
            taken += len(chunk)
            self.flow.payload += len(chunk)
            # who sends faster than was agreed finds the window closed
            due = (taken - BURST_BYTES) * 8 / self._share
            await asyncio.sleep(max(0.0, begun + due - clock.monotonic()))

    def _count(self, moment: float, infos: list[TcpInfo]) -> bool:
        return self.flow.series.arrived(moment, infos, self.flow.payload)

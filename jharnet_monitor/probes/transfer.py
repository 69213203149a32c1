"""The hub's end of one bulk HTTP exchange with an agent, in either direction.

The hub alone decides when a transfer stops: when the rate is stable, when its time is over, when
its bytes are spent. Nothing that the agent does or leaves undone can make it last longer.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import fmean

from aiohttp import web

from jharnet_monitor.clock import Clock
from jharnet_monitor.judge.throughput import stable
from jharnet_monitor.probes.connection import Connection, pour
from jharnet_monitor.probes.series import Series
from jharnet_monitor.probes.tcpinfo import TcpInfo

POLL_SECONDS = 0.004
"""Between looks at the kernel's counters: the application sees TLS records, which come late."""
SILENCE_SECONDS = 1.0
"""Nothing delivered for this long: the transfer is broken off."""
ARRIVAL_SECONDS = 8.0
"""How long an agent may take to come for the exchange that it was told of."""
BURST_BYTES = 1 << 18
"""What an upload may run ahead of its agreed rate before the hub reads more slowly."""
LATE_SECONDS = 0.05
"""The event loop waking up later than this is time in which the host did not keep up."""


class Ended(StrEnum):
    """Why a transfer stopped."""

    STABLE = "stable"
    TIME = "time"
    BYTES = "bytes"
    SILENCE = "silence"
    BROKEN_OFF = "broken_off"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a transfer may take: `rate` in bit/s, `seconds`, and IP bytes both ways."""

    rate: float
    seconds: float
    most_bytes: int


@dataclass(slots=True)
class Flow:
    """What the hub saw of one transfer, on its monotonic clock.

    `late` is the share of it that the hub's host overslept.
    """

    series: Series = field(default_factory=Series)
    ended: Ended = Ended.BROKEN_OFF
    info: TcpInfo | None = None
    payload: int = 0
    late: float = 0.0
    round_trips: list[float] = field(default_factory=list)
    begun: float = 0.0
    stopped: float = 0.0

    @property
    def bytes_down(self) -> int:
        """IP bytes that the hub sent, headers and retransmissions included."""
        if self.info is None:
            return 0
        return self.info.bytes_sent + self.info.segments_out * self.info.header

    @property
    def bytes_up(self) -> int:
        """IP bytes that reached the hub."""
        if self.info is None:
            return self.payload
        return self.info.bytes_received + self.info.segments_in * self.info.header

    @property
    def own_rtt(self) -> float | None:
        """Mean of the sender's smoothed round-trip times, in seconds."""
        return fmean(self.round_trips) if self.round_trips else None


class Exchange:
    """A transfer that waits for its agent. `handle` is the aiohttp handler to offer."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self._clock = clock
        self._limits = limits
        self._arrived = asyncio.Event()
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connection = Connection(None)
        self.flow = Flow()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Run the exchange for the first who comes; `AgentLink.serve_transfer` checks who."""
        if self._arrived.is_set() or self._done.done():
            raise web.HTTPGone(text="this transfer is over")
        self._arrived.set()
        self._connection = Connection(request.transport)
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        try:
            await self._run(request, response)
        except ConnectionError:
            self.flow.ended = Ended.BROKEN_OFF
        finally:
            self._connection.cut()
            if not self._done.done():
                self._done.set_result(None)
        return response

    async def finished(self) -> Flow:
        """The flow once it is over; raises `TimeoutError` when the agent never came for it."""
        try:
            async with asyncio.timeout(ARRIVAL_SECONDS):
                await self._arrived.wait()
            # `_run` keeps its own time; this is for a hub whose loop is stuck elsewhere
            async with asyncio.timeout(self._limits.seconds + ARRIVAL_SECONDS):
                await asyncio.shield(self._done)
            return self.flow
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Cut the connection, whoever is on it, and let nobody in any more."""
        if not self._done.done():
            self._done.set_result(None)
        self._connection.cut()

    async def _run(self, request: web.Request, response: web.StreamResponse) -> None:
        """Move the data in a task of its own, and watch the kernel's counters meanwhile."""
        pumping = asyncio.create_task(self._pump(request, response))
        try:
            await self._watch(pumping)
        finally:
            self._connection.cut()
            pumping.cancel()
            await asyncio.gather(pumping, return_exceptions=True)

    async def _pump(self, request: web.Request, response: web.StreamResponse) -> None:
        raise NotImplementedError

    def _count(self, moment: float, info: TcpInfo | None) -> bool:
        """Take the counters into the series; True when there is something new."""
        raise NotImplementedError

    async def _watch(self, pumping: asyncio.Task[None]) -> None:
        flow, clock = self.flow, self._clock
        flow.begun = begun = moment = clock.monotonic()
        overslept = 0.0
        while not pumping.done():
            await asyncio.sleep(POLL_SECONDS)
            before, moment = moment, clock.monotonic()
            flow.stopped = moment
            overslept += max(0.0, moment - before - POLL_SECONDS - LATE_SECONDS)
            flow.late = overslept / (moment - begun)
            info = self._connection.info()
            if info is not None:
                flow.info = info
            changed = self._count(moment, info)
            if self._over(begun, moment, changed):
                return

    def _over(self, begun: float, now: float, changed: bool) -> bool:
        """Whether to stop now, and why."""
        flow, limits = self.flow, self._limits
        points = flow.series.points
        if flow.bytes_down + flow.bytes_up >= limits.most_bytes:
            flow.ended = Ended.BYTES
        elif changed and stable(flow.series.samples()):
            flow.ended = Ended.STABLE
        elif now - begun >= limits.seconds:
            flow.ended = Ended.TIME
        elif now - (points[-1].seconds if points else begun) >= SILENCE_SECONDS:
            flow.ended = Ended.SILENCE
        else:
            return False
        return True


class Download(Exchange):
    """Hub to agent: counted here by what the agent's kernel acknowledges, there by what came."""

    async def _pump(self, request: web.Request, response: web.StreamResponse) -> None:
        self._connection.pace(self._limits.rate)
        await response.prepare(request)
        await pour(response.write)

    def _count(self, moment: float, info: TcpInfo | None) -> bool:
        if info is None:
            return False
        self.flow.round_trips.append(info.rtt)
        return self.flow.series.acknowledged(moment, info)


class Upload(Exchange):
    """Agent to hub: counted here, where it arrives."""

    async def _pump(self, request: web.Request, response: web.StreamResponse) -> None:
        clock, begun = self._clock, self._clock.monotonic()
        async for chunk in request.content.iter_any():
            self.flow.payload += len(chunk)
            # who sends faster than was agreed finds the window closed
            due = (self.flow.payload - BURST_BYTES) * 8 / self._limits.rate
            await asyncio.sleep(max(0.0, begun + due - clock.monotonic()))

    def _count(self, moment: float, info: TcpInfo | None) -> bool:
        return self.flow.series.arrived(moment, info, self.flow.payload)

"""The hub's end of the datagrams beside a bandwidth test: round trips, and trains each way."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jharnet_monitor.clock import Clock
from jharnet_monitor.judge.line.packet_trains import PacketArrival, TrainCapacity, train_capacity
from jharnet_monitor.judge.line.throughput import RttSample
from jharnet_monitor.model import Direction
from jharnet_monitor.probes.bandwidth.plan import TRAIN_PACKETS
from jharnet_monitor.probes.bandwidth.udp_socket import (
    FULL_IP_BYTES,
    SMALL_IP_BYTES,
    Datagram,
    DatagramKind,
    DatagramSocket,
    bind,
)
from jharnet_monitor.probes.base import Channel

KNOCK_SECONDS = 2.0
ANSWER_SECONDS, LEAST_ANSWER_SECONDS = 1.0, 0.3
"""How long a datagram may be under way once nothing more is sent; less on a short line."""
LEAST_SPACING_SECONDS = 0.03
MOST_HELD_SECONDS = 0.02
"""Believed of an agent that says how long it held a ping before it answered."""
PING_SHARE = 0.01
"""Of the line, for the small packets that measure round trips under load."""
FEWEST_PACKETS = 8
"""32 full packets are 48 kB."""
TRAIN_SECONDS = 0.15
"""A train should fit into the queue of a narrow line."""
UNSTRETCHED = 0.7
"""Of the rate at which it was sent: a train that arrives so fast met nothing narrow."""


def ping_spacing(rate: float) -> float:
    """Seconds between small packets on a line of `rate` bit/s."""
    return max(LEAST_SPACING_SECONDS, SMALL_IP_BYTES * 8 / (PING_SHARE * rate))


@dataclass(frozen=True, slots=True)
class Train:
    """What a train told; `at_least` when the line did not stretch it: it carries that or more."""

    capacity: TrainCapacity
    at_least: bool = False


class UdpChannel:
    """A socket that has heard the agent knock; made by `opened`."""

    def __init__(self, sock: DatagramSocket, channel: Channel, clock: Clock) -> None:
        self._socket = sock
        self._channel = channel
        self._clock = clock
        self._knocked = asyncio.Event()
        self._news = asyncio.Event()
        self._sent: dict[int, float] = {}
        self._trips: list[RttSample] = []
        self._arrivals: list[PacketArrival] = []
        self._number = 0
        self.bytes_down = 0
        self.bytes_up = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(
        cls, channel: Channel, clock: Clock, host: str, ports: tuple[int, int]
    ) -> AsyncIterator[UdpChannel | None]:
        """The path while the block runs; None where UDP does not get through."""
        key = secrets.token_bytes(16)
        sock = bind(host, ports, key)
        if sock is None:
            yield None
            return
        try:
            path = cls(sock, channel, clock)
            with sock.listening(path._take):
                yield path if await path._met(key) else None
        finally:
            sock.close()

    async def _met(self, key: bytes) -> bool:
        await self._channel.send({"do": "udp", "port": self._socket.port, "key": key.hex()})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KNOCK_SECONDS):
                if "error" not in await self._channel.receive():
                    await self._knocked.wait()
        return self._knocked.is_set()

    def _take(self, datagram: Datagram) -> None:
        self._news.set()
        match datagram.kind:
            case DatagramKind.KNOCK:
                self._knocked.set()
            case DatagramKind.PONG if datagram.number in self._sent:
                sent = self._sent.pop(datagram.number)
                held = min(datagram.held / 1e6, MOST_HELD_SECONDS)
                self._trips.append(RttSample(sent, max(0.0, datagram.moment - sent - held)))
                self.bytes_up += SMALL_IP_BYTES
            case DatagramKind.TRAIN if len(self._arrivals) < TRAIN_PACKETS:
                self._arrivals.append(PacketArrival(datagram.number, datagram.moment))
                self.bytes_up += FULL_IP_BYTES

    def _ping(self) -> None:
        self._number += 1
        self._sent[self._number] = self._clock.monotonic()
        self._socket.send(DatagramKind.PING, self._number)
        self.bytes_down += SMALL_IP_BYTES

    async def round_trips(self, count: int, spacing: float) -> list[float]:
        """Seconds of those of `count` pings, `spacing` seconds apart, that were answered."""
        self._forget()
        for _ in range(count):
            self._ping()
            await asyncio.sleep(spacing)
        await self._settle(lambda: not self._sent)
        return [trip.seconds for trip in self._trips]

    @contextlib.asynccontextmanager
    async def pinging(self, spacing: float) -> AsyncIterator[list[RttSample]]:
        """Ping while the block runs; what was answered is in the list once it has ended."""
        self._forget()
        trips: list[RttSample] = []

        async def ping() -> None:
            while True:
                self._ping()
                await asyncio.sleep(spacing)

        pinging = asyncio.create_task(ping())
        try:
            yield trips
        finally:
            pinging.cancel()
        await self._settle(lambda: not self._sent)
        trips += self._trips

    def _forget(self) -> None:
        self._sent.clear()
        self._trips.clear()

    async def _settle(self, done: Callable[[], bool]) -> None:
        """Until everything has come back, or would have."""
        longest = max((trip.seconds for trip in self._trips), default=ANSWER_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(LEAST_ANSWER_SECONDS, 2 * longest)):
                while not done():
                    self._news.clear()
                    await self._news.wait()

    async def train(self, direction: Direction, rate: float, jitter: float) -> Train | None:
        """A train in one direction, over a line expected to carry near `rate` bit/s.

        None when too little of it came through to tell, or when it came in one bunch that `jitter`
        seconds may have made of it, so that nothing near `rate` is proven.
        """
        packets = int(rate * TRAIN_SECONDS / 8 / FULL_IP_BYTES)
        packets = max(FEWEST_PACKETS, min(TRAIN_PACKETS, packets))
        self._arrivals.clear()
        try:
            async with asyncio.timeout(4 * ANSWER_SECONDS):
                run = self._train_up if direction is Direction.UP else self._train_down
                sent_in, arrivals = await run(packets)
        except TimeoutError:
            return None
        found = train_capacity(arrivals, FULL_IP_BYTES)
        if found is None:
            return None
        fastest = 8 * FULL_IP_BYTES * (packets - 1) / max(sent_in, 1e-9)
        if found.rate <= UNSTRETCHED * fastest:
            return Train(found)
        bound = _least(arrivals, jitter)
        return None if bound < rate else Train(TrainCapacity(bound, 0.0), at_least=True)

    async def _train_up(self, packets: int) -> tuple[float, list[PacketArrival]]:
        await self._channel.send({"do": "train", "packets": packets})
        report = await self._channel.receive()
        await self._settle(lambda: len(self._arrivals) == packets)
        microseconds = report.get("microseconds")
        return (microseconds / 1e6 if type(microseconds) is int else 0.0), self._arrivals

    async def _train_down(self, packets: int) -> tuple[float, list[PacketArrival]]:
        await self._channel.send({"do": "listen"})
        await self._channel.receive()
        sent_in = self._socket.send_train(packets)
        self.bytes_down += packets * FULL_IP_BYTES
        arrivals: list[PacketArrival] = []
        for _ in range(3):
            await asyncio.sleep(TRAIN_SECONDS)
            await self._channel.send({"do": "arrivals"})
            arrivals = _arrivals(await self._channel.receive(), packets)
            if len(arrivals) == packets:
                break
        return sent_in, arrivals


def _least(arrivals: list[PacketArrival], jitter: float) -> float:
    """bit/s that were carried at the least, if jitter made the time in which they came so short."""
    moments = [arrival.seconds for arrival in arrivals]
    span = max(moments) - min(moments) + jitter
    return 8 * FULL_IP_BYTES * (len(arrivals) - 1) / max(span, 1e-6)


def _arrivals(report: Mapping[str, Any], packets: int) -> list[PacketArrival]:
    """What an agent says has reached it; nothing, if that cannot be."""
    rows = report.get("arrivals")
    if not isinstance(rows, list) or len(rows) > packets:
        return []
    found = {}
    for row in rows:
        if not (isinstance(row, list) and len(row) == 2 and all(type(n) is int for n in row)):
            return []
        number, microseconds = row
        if not 0 <= number < packets or not 0 <= microseconds < 10_000_000:
            return []
        found[number] = PacketArrival(number, microseconds / 1e6)
    return list(found.values())

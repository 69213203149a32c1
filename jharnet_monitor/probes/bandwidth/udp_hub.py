"""The hub's end of the UDP datagrams of a bandwidth test: round-trip times and packet trains."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jharnet_monitor.clock import Clock
from jharnet_monitor.judge.line.paced_stream import StreamRow
from jharnet_monitor.judge.line.packet_trains import PacketArrival, TrainCapacity, train_capacity
from jharnet_monitor.judge.line.throughput import RttSample
from jharnet_monitor.model import Direction
from jharnet_monitor.probes.bandwidth.metered_channel import MeteredChannel
from jharnet_monitor.probes.bandwidth.plan import TRAIN_PACKETS
from jharnet_monitor.probes.bandwidth.udp_socket import (
    FULL_IP_BYTES,
    SMALL_IP_BYTES,
    Datagram,
    DatagramKind,
    DatagramSocket,
    bind_socket,
)
from jharnet_monitor.probes.bandwidth.udp_stream import (
    StreamCount,
    StreamPlan,
    rows_from_json,
    send_stream,
)

ANSWER_SECONDS, PUNCH_SECONDS = 15.0, 2.0
"""How long to wait for the agent's answer, and then for a punch of it."""
REPLY_SECONDS, MIN_REPLY_SECONDS = 1.0, 0.3
"""How long to wait for outstanding datagrams when the RTT is not known, and at least."""
MIN_PING_SPACING_SECONDS = 0.03
MAX_DELAY_SECONDS = 0.02
"""A pong that waited longer at the agent, or is said to have, shows no round-trip time: the agent's
computer was late."""
PING_SHARE = 0.01
"""Share of the line's rate for the pings that measure the round-trip time under load."""
TRAIN_ANSWER_SECONDS = 12.0
"""How long to wait for a train and the messages about it, on a line that may lose some."""
MIN_TRAIN_PACKETS = 8
"""The longest train has `TRAIN_PACKETS` packets, 48 kB."""
TRAIN_SECONDS = 0.15
"""A train should fit into the queue of a slow line."""
REPORT_ROWS = 250
"""Rows of an agent's report of a stream: 6 kB, which a slow line carries in time."""
UNDISPERSED = 0.7
"""A train that arrives at more than this share of its sending rate met no slower line."""


def ping_spacing(rate: float) -> float:
    """Seconds between two pings on a line of `rate` bit/s."""
    return max(MIN_PING_SPACING_SECONDS, SMALL_IP_BYTES * 8 / (PING_SHARE * rate))


@dataclass(frozen=True, slots=True)
class TrainResult:
    """The capacity that a train shows; `at_least` if it is a lower bound, because the line did not
    disperse the train.
    """

    capacity: TrainCapacity
    at_least: bool = False


@dataclass(frozen=True, slots=True)
class Streamed:
    """What arrived of a stream, and the share of the time in which its sender did not keep up."""

    rows: list[StreamRow]
    late: float


class UdpChannel:
    """Exchanges datagrams with an agent whose punch has arrived; created by `opened`.

    `bytes_down` and `bytes_up` count the IP bytes of its datagrams.
    """

    def __init__(self, sock: DatagramSocket, channel: MeteredChannel, clock: Clock) -> None:
        self._socket = sock
        self._channel = channel
        self._clock = clock
        self._punched = asyncio.Event()
        self._received = asyncio.Event()
        self._sent: dict[int, float] = {}
        self._rtts: list[RttSample] = []
        self._pongs = 0
        self._arrivals: list[PacketArrival] = []
        self._stream = StreamCount()
        self._number = 0
        self.train_counts: tuple[int, int] | None = None
        """Datagrams of the last train that were sent, and that arrived."""
        self.bytes_down = 0
        self.bytes_up = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(
        cls, channel: MeteredChannel, clock: Clock, host: str, ports: tuple[int, int]
    ) -> AsyncIterator[UdpChannel | None]:
        """A channel while the block runs; None if UDP is blocked on the route."""
        key = secrets.token_bytes(16)
        sock = bind_socket(host, ports, key)
        if sock is None:
            yield None
            return
        try:
            udp = cls(sock, channel, clock)
            with sock.listening(udp._take):
                yield udp if await udp._wait_for_punch(key) else None
        finally:
            sock.close()

    async def _wait_for_punch(self, key: bytes) -> bool:
        await self._channel.send({"do": "udp", "port": self._socket.port, "key": key.hex()})
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if "error" in await self._channel.receive():
                    return False
        except TimeoutError:
            self._channel.give_up()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PUNCH_SECONDS):
                await self._punched.wait()
        return self._punched.is_set()

    def _take(self, datagram: Datagram) -> None:
        self._received.set()
        match datagram.kind:
            case DatagramKind.PUNCH:
                self._punched.set()
            case DatagramKind.PONG if datagram.number in self._sent:
                sent, delay = self._sent.pop(datagram.number), datagram.delay / 1e6
                if delay <= MAX_DELAY_SECONDS:
                    self._rtts.append(RttSample(sent, max(0.0, datagram.received - sent - delay)))
                self._pongs += 1
                self.bytes_up += SMALL_IP_BYTES
            case DatagramKind.STREAM:
                self._stream.add(datagram)
            case DatagramKind.TRAIN if len(self._arrivals) < TRAIN_PACKETS:
                self._arrivals.append(PacketArrival(datagram.number, datagram.received))
                self.bytes_up += FULL_IP_BYTES

    def _ping(self) -> None:
        self._number += 1
        self._sent[self._number] = self._clock.monotonic()
        self._socket.send(DatagramKind.PING, self._number)
        self.bytes_down += SMALL_IP_BYTES

    async def measure_rtts(self, count: int, spacing: float) -> list[float]:
        """Round-trip times in seconds of those of `count` pings that were answered at once.

        They are sent `spacing` seconds apart.
        """
        self._reset_pings()
        for _ in range(count):
            self._ping()
            await asyncio.sleep(spacing)
        await self._wait_until(lambda: not self._sent)
        return [sample.seconds for sample in self._rtts]

    @contextlib.asynccontextmanager
    async def pinging(self, spacing: float) -> AsyncIterator[list[RttSample]]:
        """Ping while the block runs; the list is filled when the block has ended."""
        self._reset_pings()
        samples: list[RttSample] = []

        async def ping() -> None:
            while True:
                self._ping()
                await asyncio.sleep(spacing)

        pinging = asyncio.create_task(ping())
        try:
            yield samples
        finally:
            pinging.cancel()
        await self._wait_until(lambda: not self._sent)
        samples += self._rtts

    async def is_answered(self, count: int, spacing: float) -> bool:
        """Whether any of `count` pings is answered, however late the agent is."""
        await self.measure_rtts(count, spacing)
        return self._pongs > 0

    def _reset_pings(self) -> None:
        self._sent.clear()
        self._rtts.clear()
        self._pongs = 0

    async def _wait_until(self, done: Callable[[], bool]) -> None:
        """Wait until outstanding datagrams have arrived, or must be lost."""
        longest = max((sample.seconds for sample in self._rtts), default=REPLY_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(MIN_REPLY_SECONDS, 2 * longest)):
                while not done():
                    self._received.clear()
                    await self._received.wait()

    async def train(self, direction: Direction, rate: float, jitter: float) -> TrainResult | None:
        """Measure the capacity in one direction of a line expected to carry about `rate` bit/s.

        None if too little of the train arrived, or if it was not dispersed but jitter (in seconds)
        may have compressed it, so that a capacity near `rate` is not proven.
        """
        packets = int(rate * TRAIN_SECONDS / 8 / FULL_IP_BYTES)
        packets = max(MIN_TRAIN_PACKETS, min(TRAIN_PACKETS, packets))
        self._arrivals.clear()
        self.train_counts = None
        try:
            async with asyncio.timeout(TRAIN_ANSWER_SECONDS):
                run = self._train_up if direction is Direction.UP else self._train_down
                send_seconds, arrivals = await run(packets)
        except TimeoutError:
            self._channel.give_up()
            return None
        self.train_counts = packets, len(arrivals)
        found = train_capacity(arrivals, FULL_IP_BYTES)
        if found is None:
            return None
        send_rate = 8 * FULL_IP_BYTES * (packets - 1) / max(send_seconds, 1e-9)
        if found.rate <= UNDISPERSED * send_rate:
            return TrainResult(found)
        bound = lower_bound(arrivals, jitter)
        return None if bound < rate else TrainResult(TrainCapacity(bound, 0.0), at_least=True)

    async def _train_up(self, packets: int) -> tuple[float, list[PacketArrival]]:
        await self._channel.send({"do": "train", "packets": packets})
        report = await self._channel.receive()
        await self._wait_until(lambda: len(self._arrivals) == packets)
        microseconds = report.get("microseconds")
        return (microseconds / 1e6 if type(microseconds) is int else 0.0), self._arrivals

    async def _train_down(self, packets: int) -> tuple[float, list[PacketArrival]]:
        await self._channel.send({"do": "listen"})
        await self._channel.receive()
        send_seconds = self._socket.send_train(packets)
        self.bytes_down += packets * FULL_IP_BYTES
        arrivals: list[PacketArrival] = []
        for _ in range(3):
            await asyncio.sleep(TRAIN_SECONDS)
            await self._channel.send({"do": "arrivals"})
            arrivals = _parse_arrivals(await self._channel.receive(), packets)
            if len(arrivals) == packets:
                break
        return send_seconds, arrivals

    async def stream(
        self, direction: Direction, plan: StreamPlan, patience: float
    ) -> Streamed | None:
        """Send a stream in one direction; returns what arrived at the receiver. None if the agent
        does not support streams. `patience` is the extra time in seconds for queued data and the
        report. Raises `TimeoutError` if the agent does not answer in that time, `ValueError` for an
        impossible report.
        """
        run = self._stream_up if direction is Direction.UP else self._stream_down
        try:
            async with asyncio.timeout(plan.seconds + patience):
                return await run(plan)
        except TimeoutError:
            self._channel.give_up()
            raise

    async def _stream_up(self, plan: StreamPlan) -> Streamed | None:
        self._stream = StreamCount(plan.spacing)
        self.bytes_up += plan.bytes  # until the agent has reported what it sent
        await self._channel.send({"do": "stream", **plan.to_json()})
        report = await self._channel.receive()
        if "error" in report:
            return None
        sent, late = report.get("sent"), report.get("late")
        if type(sent) is not int or not isinstance(late, int | float):
            raise ValueError("a stream's report needs `sent` and `late`")
        sent = max(self._stream.highest + 1, min(sent, plan.bytes // plan.ip_bytes))
        self.bytes_up += sent * plan.ip_bytes - plan.bytes
        return Streamed(self._stream.all_rows(), float(late))

    async def _stream_down(self, plan: StreamPlan) -> Streamed | None:
        await self._channel.send({"do": "expect_stream", "spacing": plan.spacing})
        if "error" in await self._channel.receive():
            return None
        sent = await send_stream(self._socket, plan)
        self.bytes_down += sent.datagrams * plan.ip_bytes
        await self._channel.send({"do": "stream_received", "rows": REPORT_ROWS})
        report = await self._channel.receive()
        return Streamed(rows_from_json(report.get("rows"), sent.datagrams), sent.late)


def lower_bound(arrivals: list[PacketArrival], jitter: float) -> float:
    """The lowest rate in bit/s that the line can have carried if jitter compressed the train."""
    moments = [arrival.seconds for arrival in arrivals]
    span = max(moments) - min(moments) + jitter
    return 8 * FULL_IP_BYTES * (len(arrivals) - 1) / max(span, 1e-6)


def _parse_arrivals(report: Mapping[str, Any], packets: int) -> list[PacketArrival]:
    """The arrivals that an agent reports; none if the report is invalid."""
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

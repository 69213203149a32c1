"""Echo requests and replies, timed and matched: one socket a family for all targets.

The monotonic clock is read right before a packet goes to the kernel, and the kernel stamps the
reply when it arrives, so that nothing depends on when this program comes to read it. It reads on
a beat, since to be woken for a packet costs more than the packet does.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
from collections import deque
from enum import StrEnum
from ipaddress import ip_address
from typing import Any, Protocol

from jharnet_monitor.probes.dns import SocketAddress
from jharnet_monitor.probes.latency.icmp import (
    PAYLOAD_BYTES,
    EchoReply,
    EchoSocket,
    Family,
)
from jharnet_monitor.probes.latency.timestamps import ClockBracket, Timebase

_SEQUENCES = 1 << 16
_MEMORY_SECONDS = 10.0
"""How long a settled request is remembered, to know a late or a second reply to it."""
_PATTERN = bytes(range(8, PAYLOAD_BYTES))
_MOST_AT_A_BEAT = 20_000
"""Whoever floods this socket with replies does not keep the loop from everything else."""
_SURE_NS = 500_000
"""A send that took longer was interrupted, and nobody knows before or after the packet left."""
_BEAT = 0.05
_BEAT_AT_MOST_NS = 10_000_000


class Stray(StrEnum):
    """A reply that is none of the ones that count."""

    LATE = "late"
    """After its time-out: the request counts as lost, as RFC 7680 has it."""
    DUPLICATE = "duplicate"
    CORRUPTED = "corrupted"
    """Right source, identifier and sequence, but not the bytes that were sent."""


class EchoListener(Protocol):
    """Who asked: hears what became of each of its requests."""

    def settled(self, echo: Echo) -> None:
        """The reply came in time, or the time-out passed."""

    def stray(self, echo: Echo, kind: Stray) -> None:
        """A reply came that does not count."""


class Echo:
    """One echo request and what became of it.

    `sent_ns` is monotonic. `received` is None while waiting and where it cannot be known (the
    kernel threw replies away); `rtt` is in seconds, None also where a reply's time cannot be
    trusted. `timed` is False where this program was interrupted while it sent: then the moment
    of the sending is not known well enough. `mark` is the caller's own.
    """

    __slots__ = (
        "doubtful",
        "lane",
        "listener",
        "mark",
        "offset_ns",
        "payload",
        "received",
        "rtt",
        "sent_ns",
        "sequence",
        "source",
        "timed",
        "waiting",
    )  # fmt: skip

    def __init__(self, listener: EchoListener, source: str, mark: Any) -> None:
        self.listener = listener
        self.source = source
        self.mark = mark
        self.waiting = self.timed = True
        self.doubtful = False
        self.received: bool | None = None
        self.rtt: float | None = None
        self.sent_ns = 0
        # set by the pinger alone
        self.lane: _Lane
        self.sequence: int
        self.payload: bytes
        self.offset_ns: int


def socket_address(address: str) -> SocketAddress:
    """What the socket needs of a literal IP address; raises `ValueError` for anything else."""
    parsed = ip_address(address)
    return (str(parsed), 0) if parsed.version == 4 else (str(parsed), 0, 0, 0)


def family_of(address: SocketAddress) -> Family:
    """4 or 6."""
    return 4 if len(address) == 2 else 6


class Pinger:
    """Sends echo requests and settles each of them exactly once.

    It lives on the running event loop. `timeout` is in seconds. `strange` counts replies that
    match nothing: a wrong source, or a request long forgotten. `steps` counts the replies during
    whose way the wall clock was set.
    """

    def __init__(self, timeout: float, dscp: int = 0, timebase: Timebase | None = None) -> None:
        self.timeout = timeout
        self.strange = 0
        self.steps = 0
        self._dscp = dscp
        self._time = timebase or Timebase()
        self._timeout_ns = round(timeout * 1e9)
        self._memory_ns = self._timeout_ns + round(_MEMORY_SECONDS * 1e9)
        self._offset_ns = self._time.offset_ns()
        self._cookie = secrets.token_bytes(4)
        self._count = 0
        self._lanes: dict[Family, _Lane] = {}
        self._waiting: deque[Echo] = deque()
        self._remembered: deque[Echo] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._beaten_ns = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def open(self, family: Family) -> EchoSocket:
        """The socket of a family, opened when first asked for; errors as `EchoSocket`."""
        lane = self._lanes.get(family)
        if lane is None:
            socket = EchoSocket(family, self._dscp)
            lane = self._lanes[family] = _Lane(socket, self._time.monotonic_ns())
        return lane.socket

    def send(self, listener: EchoListener, address: SocketAddress, mark: Any = None) -> Echo:
        """Send one request; raises `OSError` when it did not leave: then it was not sent."""
        family = family_of(address)
        lane = self._lanes.get(family)
        if lane is None:
            self.open(family)
            lane = self._lanes[family]
        sequence = lane.sequence
        held = lane.echoes.get(sequence)
        if held is not None and held.waiting:
            raise OSError(errno.ENOBUFS, "65536 echo requests are waiting for their replies")
        self._count += 1
        echo = Echo(listener, address[0], mark)
        echo.lane = lane
        echo.sequence = sequence
        echo.payload = self._cookie + (self._count & 0xFFFFFFFF).to_bytes(4, "big") + _PATTERN
        echo.offset_ns = self._offset_ns
        echo.sent_ns = self._time.monotonic_ns()
        lane.socket.send(sequence, echo.payload, address)
        echo.timed = self._time.monotonic_ns() - echo.sent_ns < _SURE_NS
        lane.sequence = (sequence + 1) % _SEQUENCES
        lane.echoes[sequence] = echo
        self._waiting.append(echo)
        self._remembered.append(echo)
        self._idle.clear()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_BEAT, self._beat)
        return echo

    def beat(self) -> None:
        """Read and settle now what else would be by 50 ms later: for who is awake just then."""
        if self._time.monotonic_ns() - self._beaten_ns > _BEAT_AT_MOST_NS:
            if self._timer is not None:
                self._timer.cancel()
            self._beat()

    async def settle(self) -> None:
        """Wait until every request has its reply or its time-out."""
        await self._idle.wait()

    def close(self) -> None:
        """Give the sockets back; requests under way stay unsettled. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for lane in self._lanes.values():
            lane.socket.close()
        self._lanes.clear()
        self._waiting.clear()
        self._remembered.clear()

    def _read(self, lane: _Lane) -> bool:
        """Read what came; False if there is more. The clocks are compared after the reading, so
        that a step between a packet's arrival and its reading cannot hide."""
        replies: list[EchoReply] = []
        while len(replies) < _MOST_AT_A_BEAT and (reply := lane.socket.receive()) is not None:
            replies.append(reply)
        self._offset_ns, now = self._time.offset_ns(), self._time.monotonic_ns()
        for reply in replies:
            self._match(lane, reply, self._offset_ns, now)
        lane.read_ns = now
        return len(replies) < _MOST_AT_A_BEAT

    def _match(self, lane: _Lane, reply: EchoReply, offset: int, now: int) -> None:
        echo = lane.echoes.get(reply.sequence)
        if echo is None or echo.source != reply.source:
            self.strange += 1
        elif reply.payload != echo.payload:
            echo.listener.stray(echo, Stray.CORRUPTED)
        elif not echo.waiting:
            echo.listener.stray(echo, Stray.DUPLICATE if echo.received else Stray.LATE)
        else:
            arrived = None
            if reply.stamp is not None and echo.timed:
                between = ClockBracket(echo.sent_ns, lane.read_ns, now, echo.offset_ns, offset)
                arrived = between.arrival(self._time.stamp_ns(reply.stamp))
                self.steps += between.stepped
            self._accept(echo, arrived)
            if not echo.received:
                echo.listener.stray(echo, Stray.LATE)

    def _accept(self, echo: Echo, arrived: int | None) -> None:
        """Settle a request with its reply, unless that came after the time-out."""
        if arrived is None:
            _settle(echo, True)
        elif arrived - echo.sent_ns <= self._timeout_ns:
            echo.rtt = (arrived - echo.sent_ns) / 1e9
            _settle(echo, True)
        else:
            _settle(echo, False)

    def _beat(self) -> None:
        """Read, then settle what had timed out before the reading, and forget what is old."""
        now = self._beaten_ns = self._time.monotonic_ns()
        for lane in self._lanes.values():
            emptied = self._read(lane)
            if lane.lost_some() or not emptied:
                self._doubt()
        self._expire(now)
        self._forget(now)
        busy = self._waiting or self._remembered
        self._timer = asyncio.get_running_loop().call_later(_BEAT, self._beat) if busy else None

    def _doubt(self) -> None:
        """Replies that were thrown away or not read may belong to any request under way."""
        for echo in self._waiting:
            echo.doubtful = True

    def _expire(self, now: int) -> None:
        while self._waiting:
            echo = self._waiting[0]
            if echo.waiting:
                if now - echo.sent_ns <= self._timeout_ns:
                    return
                _settle(echo, None if echo.doubtful else False)
            self._waiting.popleft()
        self._idle.set()

    def _forget(self, now: int) -> None:
        while self._remembered and now - self._remembered[0].sent_ns > self._memory_ns:
            echo = self._remembered.popleft()
            if echo.lane.echoes.get(echo.sequence) is echo:
                del echo.lane.echoes[echo.sequence]


class _Lane:
    """One family's socket, and its requests by the sequence number that they hold."""

    __slots__ = ("dropped", "echoes", "read_ns", "sequence", "socket")

    def __init__(self, socket: EchoSocket, now_ns: int) -> None:
        self.socket = socket
        self.read_ns = now_ns
        self.dropped = socket.dropped()
        self.sequence = secrets.randbelow(_SEQUENCES)
        self.echoes: dict[int, Echo] = {}

    def lost_some(self) -> bool:
        """Whether the kernel threw replies away since it was asked last."""
        before, self.dropped = self.dropped, self.socket.dropped()
        return self.dropped != before


def _settle(echo: Echo, received: bool | None) -> None:
    echo.waiting = False
    echo.received = received
    echo.listener.settled(echo)

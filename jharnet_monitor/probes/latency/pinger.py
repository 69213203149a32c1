"""Sends echo requests, times them and matches their replies, with one socket per IP family.

The monotonic clock is read right before a packet is passed to the kernel, and the kernel timestamps
the reply on arrival, so no round-trip time depends on when this program reads the reply. The
sockets are polled, since waking up for each packet would cost more than the packet itself.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
import sys
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
from jharnet_monitor.probes.latency.windows_icmp import WindowsEchoSocket

AnyEchoSocket = EchoSocket | WindowsEchoSocket

_SEQUENCE_NUMBERS = 1 << 16
_REMEMBER_SECONDS = 10.0
"""How long a settled request is remembered, to recognise a late or second reply to it."""
_PATTERN = bytes(range(8, PAYLOAD_BYTES))
_MAX_REPLIES_PER_POLL = 20_000
"""A flood of replies must not keep the event loop from everything else."""
_MAX_SEND_NS = 500_000
"""A longer send was interrupted, before or after the packet left: its time is uncertain."""
_POLL_SECONDS = 0.05
_MIN_POLL_INTERVAL_NS = 10_000_000


class UnexpectedReply(StrEnum):
    """Why a reply does not count as the answer to its request."""

    LATE = "late"
    """It arrived after the time-out: the request counts as lost (RFC 7680)."""
    DUPLICATE = "duplicate"
    CORRUPTED = "corrupted"
    """Source, identifier and sequence number are right, but the payload is not what was sent."""


class EchoListener(Protocol):
    """The sender of requests, which receives the outcome of each."""

    def settled(self, echo: Echo) -> None:
        """Handle a request that was answered in time or timed out; called once for each request."""

    def unexpected(self, echo: Echo, kind: UnexpectedReply) -> None:
        """Handle a reply to the request that does not count."""


class Echo:
    """One echo request and its outcome.

    `sent_ns` is monotonic. `received` is None while waiting, and where it cannot be known because
    the kernel dropped replies. `rtt` is in seconds, and None also where the time of the reply is
    uncertain. `send_time_known` is False where this program was interrupted while sending. `tag`
    is for the caller.
    """

    __slots__ = (
        "listener",
        "offset_ns",
        "payload",
        "received",
        "reply_may_be_dropped",
        "rtt",
        "send_time_known",
        "sent_ns",
        "sequence",
        "source",
        "state",
        "tag",
        "waiting",
    )  # fmt: skip

    def __init__(self, listener: EchoListener, source: str, tag: Any) -> None:
        self.listener = listener
        self.source = source
        self.tag = tag
        self.waiting = self.send_time_known = True
        self.reply_may_be_dropped = False
        self.received: bool | None = None
        self.rtt: float | None = None
        self.sent_ns = 0
        # set by the pinger alone
        self.state: _FamilyState
        self.sequence: int
        self.payload: bytes
        self.offset_ns: int


def socket_address(address: str) -> SocketAddress:
    """The socket address of a literal IP address; raises `ValueError` for anything else."""
    parsed = ip_address(address)
    return (str(parsed), 0) if parsed.version == 4 else (str(parsed), 0, 0, 0)


def family_of(address: SocketAddress) -> Family:
    """The IP version, 4 or 6."""
    return 4 if len(address) == 2 else 6


class Pinger:
    """Sends echo requests and settles each of them exactly once, on the running event loop.

    `timeout` is in seconds. `unmatched` counts replies that match no request: from a wrong source,
    or to a request that is no longer remembered. `clock_steps` counts the replies during whose
    round trip the wall clock was set.
    """

    def __init__(self, timeout: float, dscp: int = 0, timebase: Timebase | None = None) -> None:
        self.timeout = timeout
        self.unmatched = 0
        self.clock_steps = 0
        self._dscp = dscp
        self._time = timebase or Timebase()
        self._timeout_ns = round(timeout * 1e9)
        self._remember_ns = self._timeout_ns + round(_REMEMBER_SECONDS * 1e9)
        self._offset_ns = self._time.offset_ns()
        self._cookie = secrets.token_bytes(4)
        self._count = 0
        self._families: dict[Family, _FamilyState] = {}
        self._waiting: deque[Echo] = deque()
        self._remembered: deque[Echo] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._polled_ns = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def open(self, family: Family) -> AnyEchoSocket:
        """The socket of a family, opened by the first call; raises as `EchoSocket` does."""
        state = self._families.get(family)
        if state is None:
            socket = _open(family, self._dscp)
            state = self._families[family] = _FamilyState(socket, self._time.monotonic_ns())
        return state.socket

    def send(self, listener: EchoListener, address: SocketAddress, tag: Any = None) -> Echo:
        """Send one request; raises `OSError` if it was not sent."""
        family = family_of(address)
        state = self._families.get(family)
        if state is None:
            self.open(family)
            state = self._families[family]
        sequence = state.sequence
        previous = state.echoes.get(sequence)
        if previous is not None and previous.waiting:
            raise OSError(errno.ENOBUFS, "65536 echo requests are waiting for their replies")
        self._count += 1
        echo = Echo(listener, address[0], tag)
        echo.state = state
        echo.sequence = sequence
        echo.payload = self._cookie + (self._count & 0xFFFFFFFF).to_bytes(4, "big") + _PATTERN
        echo.offset_ns = self._offset_ns
        echo.sent_ns = self._time.monotonic_ns()
        state.socket.send(sequence, echo.payload, address)
        echo.send_time_known = self._time.monotonic_ns() - echo.sent_ns < _MAX_SEND_NS
        state.sequence = (sequence + 1) % _SEQUENCE_NUMBERS
        state.echoes[sequence] = echo
        self._waiting.append(echo)
        self._remembered.append(echo)
        self._idle.clear()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_POLL_SECONDS, self._poll)
        return echo

    def poll(self) -> None:
        """Read replies now instead of within 50 ms, for a caller that is awake anyway."""
        if self._time.monotonic_ns() - self._polled_ns > _MIN_POLL_INTERVAL_NS:
            if self._timer is not None:
                self._timer.cancel()
            self._poll()

    async def settle(self) -> None:
        """Wait until every request has been answered or has timed out."""
        await self._idle.wait()

    def close(self) -> None:
        """Close the sockets; waiting requests are never settled. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for state in self._families.values():
            state.socket.close()
        self._families.clear()
        self._waiting.clear()
        self._remembered.clear()

    def _read(self, state: _FamilyState) -> bool:
        """Read the replies that have arrived; False if there are more.

        The clocks are compared after the reading, so that a change of the wall clock between the
        arrival of a reply and its reading is noticed.
        """
        replies: list[EchoReply] = []
        while len(replies) < _MAX_REPLIES_PER_POLL:
            reply = state.socket.receive()
            if reply is None:
                break
            replies.append(reply)
        self._offset_ns, now = self._time.offset_ns(), self._time.monotonic_ns()
        for reply in replies:
            self._match(state, reply, self._offset_ns, now)
        state.read_ns = now
        return len(replies) < _MAX_REPLIES_PER_POLL

    def _match(self, state: _FamilyState, reply: EchoReply, offset: int, now: int) -> None:
        echo = state.echoes.get(reply.sequence)
        if echo is None or echo.source != reply.source:
            self.unmatched += 1
        elif reply.payload != echo.payload:
            echo.listener.unexpected(echo, UnexpectedReply.CORRUPTED)
        elif not echo.waiting:
            kind = UnexpectedReply.DUPLICATE if echo.received else UnexpectedReply.LATE
            echo.listener.unexpected(echo, kind)
        else:
            arrival = None
            if reply.timestamp_ns is not None and echo.send_time_known:
                bracket = ClockBracket(echo.sent_ns, state.read_ns, now, echo.offset_ns, offset)
                arrival = bracket.arrival(self._time.timestamp_ns(reply.timestamp_ns))
                self.clock_steps += bracket.clock_was_set
            self._accept(echo, arrival)
            if not echo.received:
                echo.listener.unexpected(echo, UnexpectedReply.LATE)

    def _accept(self, echo: Echo, arrival: int | None) -> None:
        """Settle a request with its reply, unless the reply arrived after the time-out."""
        if arrival is None:
            _settle(echo, True)
        elif arrival - echo.sent_ns <= self._timeout_ns:
            echo.rtt = (arrival - echo.sent_ns) / 1e9
            _settle(echo, True)
        else:
            _settle(echo, False)

    def _poll(self) -> None:
        """Read replies, then settle requests that had timed out before, and forget old ones."""
        now = self._polled_ns = self._time.monotonic_ns()
        for state in self._families.values():
            all_read = self._read(state)
            if state.replies_were_dropped() or not all_read:
                self._mark_waiting_uncertain()
        self._expire(now)
        self._forget(now)
        busy = self._waiting or self._remembered
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_POLL_SECONDS, self._poll) if busy else None

    def _mark_waiting_uncertain(self) -> None:
        """Mark all waiting requests: a reply that was dropped or not read may belong to any of
        them."""
        for echo in self._waiting:
            echo.reply_may_be_dropped = True

    def _expire(self, now: int) -> None:
        while self._waiting:
            echo = self._waiting[0]
            if echo.waiting:
                if now - echo.sent_ns <= self._timeout_ns:
                    return
                _settle(echo, None if echo.reply_may_be_dropped else False)
            self._waiting.popleft()
        self._idle.set()

    def _forget(self, now: int) -> None:
        while self._remembered and now - self._remembered[0].sent_ns > self._remember_ns:
            echo = self._remembered.popleft()
            if echo.state.echoes.get(echo.sequence) is echo:
                del echo.state.echoes[echo.sequence]


class _FamilyState:
    """The socket of an IP family, and its requests by sequence number."""

    __slots__ = ("dropped", "echoes", "read_ns", "sequence", "socket")

    def __init__(self, socket: AnyEchoSocket, now_ns: int) -> None:
        self.socket = socket
        self.read_ns = now_ns
        self.dropped = socket.dropped()
        self.sequence = secrets.randbelow(_SEQUENCE_NUMBERS)
        self.echoes: dict[int, Echo] = {}

    def replies_were_dropped(self) -> bool:
        """Whether the kernel has dropped replies since the last call."""
        before, self.dropped = self.dropped, self.socket.dropped()
        return self.dropped != before


def _open(family: Family, dscp: int) -> AnyEchoSocket:
    if sys.platform == "win32":
        return WindowsEchoSocket(family, dscp)
    return EchoSocket(family, dscp)


def _settle(echo: Echo, received: bool | None) -> None:
    echo.waiting = False
    echo.received = received
    echo.listener.settled(echo)

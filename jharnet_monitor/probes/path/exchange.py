"""Marked UDP packets between hub and agent: the marks with which they arrive, and their delays. The
agent opens the path, as in a speed test: it sends to a port of the hub's UDP range, and the hub's
packets return through the NAT mapping that this made (RFC 4787). Each packet carries an HMAC with a
key that was exchanged over the session; all others are dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import secrets
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from jharnet_monitor.judge.path import MarkArrivals

PACKETS = 40
"""Of each mark, in each direction."""
SPACING_SECONDS = 0.02
IP_BYTES = 200
"""About a voice packet."""
PUNCHES, PUNCH_SECONDS = 20, 0.1
OPEN_SECONDS = PUNCHES * PUNCH_SECONDS + 2.0
"""How long the hub waits for the agent's first packet."""
LAST_SECONDS = 1.0
"""For packets still in flight at the end."""
_HEADER = struct.Struct("!4sBBIQ")
_MAGIC = b"JHM1"
_MAC_BYTES = 8
_PUNCH, _PACKET = 0, 1
_UDP_HEADERS = 28
_MOST_READ = 500
_LONGEST_DELAY = 1e9


@dataclass(slots=True)
class MarkCount:
    """Packets of one mark that arrived; delays in seconds, from an unknown zero."""

    numbers: set[int] = field(default_factory=set)
    marked: int = 0
    delays: list[float] = field(default_factory=list)


class MarkedSocket:
    """A UDP socket that sends marked packets and counts the marks of those that arrive."""

    def __init__(self, sock: socket.socket, key: bytes, marks: Iterable[int]) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        self._socket = sock
        self._key = key
        self.peer: tuple[str, int] | None = None
        self.opened = asyncio.Event()
        """A packet of the other end has arrived."""
        self.counts = {mark: MarkCount() for mark in (0, *marks)}
        self.bytes = 0
        """IP bytes of what was sent, and of what arrived of the other end."""

    @property
    def port(self) -> int:
        """The local port."""
        return int(self._socket.getsockname()[1])

    def _send(self, kind: int, mark: int, number: int) -> None:
        """Send to the other end; a packet that the kernel refuses counts as lost."""
        if self.peer is None:
            return
        head = _HEADER.pack(_MAGIC, kind, mark, number, time.monotonic_ns() // 1000)
        body = head + hmac.digest(self._key, head, hashlib.sha256)[:_MAC_BYTES]
        tos = [(socket.IPPROTO_IP, socket.IP_TOS, struct.pack("@i", mark << 2))]
        with contextlib.suppress(OSError):
            padding = bytes(IP_BYTES - _UDP_HEADERS - len(body))
            self._socket.sendmsg([body + padding], tos, 0, self.peer)
            self.bytes += IP_BYTES

    async def punch(self) -> None:
        """Send until a packet of the other end arrives."""
        for number in range(PUNCHES):
            if self.opened.is_set():
                return
            self._send(_PUNCH, 0, number)
            await asyncio.sleep(PUNCH_SECONDS)

    async def send_all(self) -> None:
        """Send all packets, the marks in turn, so that they meet the same queues."""
        for number in range(PACKETS):
            for mark in self.counts:
                self._send(_PACKET, mark, number)
                await asyncio.sleep(SPACING_SECONDS)

    def _read(self) -> None:
        for _ in range(_MOST_READ):
            try:
                data, ancillary, _, sender = self._socket.recvmsg(2048, 64)
            except OSError:
                return
            head = data[: _HEADER.size]
            mac = data[_HEADER.size : _HEADER.size + _MAC_BYTES]
            right = hmac.digest(self._key, head, hashlib.sha256)[:_MAC_BYTES]
            if len(head) < _HEADER.size or not hmac.compare_digest(mac, right):
                continue
            self.bytes += IP_BYTES
            _, kind, mark, number, sent = _HEADER.unpack(head)
            if kind == _PUNCH:
                self.peer = sender[:2]
            self.opened.set()
            count = self.counts.get(mark)
            if kind == _PACKET and count is not None and number < PACKETS:
                self._count(count, mark, number, sent, ancillary)

    @staticmethod
    def _count(count: MarkCount, mark: int, number: int, sent: int, ancillary: list[Any]) -> None:
        if number in count.numbers:
            return
        count.numbers.add(number)
        tos = next((d[0] for _, kind, d in ancillary if kind == socket.IP_TOS), 0)
        count.marked += tos >> 2 == mark
        count.delays.append(time.monotonic() - sent / 1e6)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Count what arrives while the block runs."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket, self._read)
        try:
            yield
        finally:
            loop.remove_reader(self._socket)

    def arrivals(self) -> dict[int, MarkArrivals]:
        """What has arrived, by mark; empty if nothing of the other end arrived."""
        if not any(count.numbers for count in self.counts.values()):
            return {}
        return {
            mark: MarkArrivals(PACKETS, len(count.numbers), count.marked, tuple(count.delays))
            for mark, count in self.counts.items()
        }

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class HubExchange:
    """The hub's end: bound to a free port, with a key that is sent to the agent."""

    def __init__(self, sock: socket.socket, marks: Iterable[int]) -> None:
        self._key = secrets.token_bytes(16)
        self._marked = MarkedSocket(sock, self._key, marks)

    @property
    def invitation(self) -> dict[str, Any]:
        """What the agent needs to take part."""
        return {"port": self._marked.port, "key": self._key.hex()}

    @property
    def bytes(self) -> int:
        """IP bytes of both ends' packets, without those of the agent's that were lost."""
        return self._marked.bytes

    async def run(self) -> dict[int, MarkArrivals]:
        """Send once a packet of the agent has arrived, and count the packets that it sends."""
        seconds = PACKETS * len(self._marked.counts) * SPACING_SECONDS
        with self._marked.listening():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(OPEN_SECONDS):
                    await self._marked.opened.wait()
            if not self._marked.opened.is_set():
                return {}
            began = time.monotonic()
            await self._marked.send_all()
            await asyncio.sleep(LAST_SECONDS + max(0.0, began + seconds - time.monotonic()))
        return self._marked.arrivals()

    def close(self) -> None:
        """Close the socket."""
        self._marked.close()


async def take_part(invitation: object, hub: str, marks: Iterable[int]) -> dict[int, MarkArrivals]:
    """The agent's end; `hub` is the hub's IPv4 address. Empty if UDP does not pass."""
    if not isinstance(invitation, Mapping) or not hasattr(socket.socket, "recvmsg"):
        return {}  # Windows shows no marks
    port, key = invitation.get("port"), invitation.get("key")
    if not isinstance(port, int) or not 0 < port < 65536 or not isinstance(key, str):
        return {}
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        marked = MarkedSocket(sock, bytes.fromhex(key), marks)
        marked.peer = (hub, port)
        with marked.listening():
            await marked.punch()
            if not marked.opened.is_set():
                return {}
            await marked.send_all()
            await asyncio.sleep(LAST_SECONDS)
        return marked.arrivals()
    finally:
        sock.close()


def to_message(arrivals: Mapping[int, MarkArrivals]) -> list[list[Any]]:
    """The arrivals as an agent sends them to the hub, with the smallest delay as zero."""
    known = [delay for one in arrivals.values() for delay in one.delays]
    least = min(known, default=0.0)
    return [
        [mark, one.received, one.marked, [round(delay - least, 4) for delay in one.delays]]
        for mark, one in arrivals.items()
    ]


def from_message(message: object, marks: Iterable[int]) -> dict[int, MarkArrivals]:
    """The arrivals that an agent reports; empty if the report is impossible."""
    rows = message if isinstance(message, list) else []
    try:
        found = dict(_row(row) for row in rows)
    except (TypeError, ValueError):
        return {}
    return found if set(found) <= {0, *marks} else {}


def _row(message: Any) -> tuple[int, MarkArrivals]:
    """One mark's arrivals; raises `TypeError` or `ValueError` for an impossible row."""
    mark, received, marked, delays = message
    if not all(type(one) is int for one in (mark, received, marked)):
        raise TypeError("packets are counted")
    if not 0 <= marked <= received <= PACKETS or len(delays) > PACKETS:
        raise ValueError("more arrived than were sent")
    if not all(type(d) in (int, float) and 0 <= d < _LONGEST_DELAY for d in delays):
        raise ValueError("no such delays")
    return mark, MarkArrivals(PACKETS, received, marked, tuple(map(float, delays)))

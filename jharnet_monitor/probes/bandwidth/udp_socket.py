"""Small authenticated UDP datagrams between agent and hub: pings under load, and packet trains.

Here, too, the agent opens the path: it sends punches to a port of the hub's UDP range until the hub
has received one, and the hub's datagrams return through the NAT mapping that the punches made
(RFC 4787). Every datagram carries an HMAC with a key that was exchanged over the session; all
others are dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from jharnet_monitor.probes.bandwidth.tcp_connection import random_block
from jharnet_monitor.probes.receive_buffer import enlarge_receive_buffer
from jharnet_monitor.probes.udp_port import bind_free_port
from jharnet_monitor.windows_api import ignore_icmp_errors

_SO_TIMESTAMPNS, _SO_RXQ_OVFL = 35, 40
_HEADER = struct.Struct("!4sBII8s")
_MAGIC = b"JHB1"
_TIMESPEC = struct.Struct("@ll")
IP_UDP_BYTES = 28
SMALL_IP_BYTES = _HEADER.size + IP_UDP_BYTES
FULL_IP_BYTES = 1500
_MAX_BYTES = 2048
_RECEIVE_BUFFER = 2 << 20
"""Bytes for what arrives while the event loop is busy, half a second of 10 Mbit/s and more."""
_MAX_PER_TURN = 5000
_AFTER_ERROR_SECONDS = 0.001
"""So that an error that stays does not block the event loop."""
MAX_OFFSET_CHANGE_SECONDS = 0.001
"""A larger change of the clocks' offset between two readings means that the wall clock was set."""


class DatagramKind(IntEnum):
    """The kind of a datagram."""

    PUNCH = 1
    PING = 2
    PONG = 3
    TRAIN = 4
    STREAM = 5


@dataclass(frozen=True, slots=True)
class Datagram:
    """An authenticated datagram. `received` is its arrival in the kernel, in monotonic seconds.

    `delay` is, in a pong, the time in microseconds from the arrival of the ping to its answer, and
    in a stream the time in microseconds from its start to the sending. `dropped` datagrams have
    reached this computer until then and were lost there, because it was too busy to read them.
    """

    kind: DatagramKind
    number: int
    delay: int
    received: float
    dropped: int = 0


class DatagramSocket:
    """A non-blocking UDP socket that sends and accepts only datagrams made with its key."""

    def __init__(self, sock: socket.socket, key: bytes) -> None:
        self._socket = sock
        self._key = key
        self._offset = _clock_offset()
        self._dropped = 0
        self.peer: tuple[str, int] | None = None
        sock.setblocking(False)
        ignore_icmp_errors(sock)
        enlarge_receive_buffer(sock, _RECEIVE_BUFFER)
        with contextlib.suppress(OSError):  # without kernel timestamps, the time of reading is used
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)

    @property
    def port(self) -> int:
        """The local port."""
        return int(self._socket.getsockname()[1])

    def send(
        self, kind: DatagramKind, number: int, delay: int = 0, ip_bytes: int = SMALL_IP_BYTES
    ) -> None:
        """Send to the peer; a datagram that the kernel refuses counts as lost."""
        if self.peer is not None:
            head = _HEADER.pack(_MAGIC, kind, number, delay, self._mac(kind, number, delay))
            padding = random_block()[: ip_bytes - SMALL_IP_BYTES]
            with contextlib.suppress(OSError):
                self._socket.sendto(head + padding, self.peer)

    def send_train(self, packets: int) -> float:
        """Send full-size packets back to back; returns the seconds that this took."""
        started = time.perf_counter()
        for number in range(packets):
            self.send(DatagramKind.TRAIN, number, ip_bytes=FULL_IP_BYTES)
        return time.perf_counter() - started

    def send_pong(self, ping: Datagram) -> None:
        """Answer a ping, with the time that it waited to be read."""
        delay = round((time.monotonic() - ping.received) * 1e6)
        self.send(DatagramKind.PONG, ping.number, max(0, min(delay, 0xFFFFFFFF)))

    def _mac(self, kind: int, number: int, delay: int) -> bytes:
        """HMAC-SHA-256 of the header's fields, truncated to 8 bytes (RFC 2104)."""
        fields = struct.pack("!BII", kind, number, delay)
        return hmac.digest(self._key, fields, hashlib.sha256)[:8]

    def receive(self) -> Iterator[Datagram]:
        """The datagrams that have arrived; an authenticated punch sets the peer.

        The number per call is limited, so that a flood does not block the event loop.
        """
        for _ in range(_MAX_PER_TURN):
            try:
                data, ancillary, _, sender = self._socket.recvmsg(_MAX_BYTES, 64)
            except OSError:  # no more, or an ICMP error for one that was sent
                return
            known = {kind: value for _, kind, value in ancillary}
            self._dropped = _count(known.get(_SO_RXQ_OVFL), self._dropped)
            found = self._accept(data, sender, self._arrival(known.get(_SO_TIMESTAMPNS)))
            if found is not None:
                yield found

    def _accept(self, data: bytes, sender: Any, received: float) -> Datagram | None:
        """The datagram in `data`; None if it was not made with the key."""
        if len(data) < _HEADER.size:
            return None
        magic, kind, number, delay, mac = _HEADER.unpack_from(data)
        if magic != _MAGIC or not hmac.compare_digest(mac, self._mac(kind, number, delay)):
            return None
        if kind == DatagramKind.PUNCH:
            self.peer = sender[:2]
        if kind not in iter(DatagramKind):
            return None
        return Datagram(DatagramKind(kind), number, delay, received, self._dropped)

    def _arrival(self, timestamp: bytes | None) -> float:
        """The kernel's timestamp in monotonic seconds; now if there is none or a clock was set."""
        before, self._offset = self._offset, _clock_offset()
        if timestamp is None or abs(self._offset - before) > MAX_OFFSET_CHANGE_SECONDS:
            return time.monotonic()
        seconds, nanoseconds = _TIMESPEC.unpack(timestamp)
        return float(seconds - self._offset + nanoseconds / 1e9)

    @contextlib.contextmanager
    def listening(self, take: Callable[[Datagram], None]) -> Iterator[None]:
        """Pass every datagram to `take` as it arrives, while the block runs."""
        loop = asyncio.get_running_loop()

        def ready() -> None:
            for datagram in self.receive():
                take(datagram)

        try:
            loop.add_reader(self._socket, ready)
        except NotImplementedError:  # on Windows
            reading = loop.create_task(self._read(take))
            try:
                yield
            finally:
                reading.cancel()
            return
        try:
            yield
        finally:
            loop.remove_reader(self._socket)

    async def _read(self, take: Callable[[Datagram], None]) -> None:
        """Pass on datagrams until cancelled; without the kernel's timestamps."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                data, sender = await loop.sock_recvfrom(self._socket, _MAX_BYTES)
            except OSError:  # an ICMP error for one that was sent, or a larger one than any of ours
                await asyncio.sleep(_AFTER_ERROR_SECONDS)
                continue
            found = self._accept(data, sender, time.monotonic())
            if found is not None:
                take(found)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _count(value: bytes | None, before: int) -> int:
    """The kernel's count in `value`, which it leaves out while it is 0."""
    return before if value is None else int.from_bytes(value, sys.byteorder)


def _clock_offset() -> float:
    """Wall-clock minus monotonic time, in seconds."""
    return time.time() - time.monotonic()


def bind_socket(host: str, ports: tuple[int, int], key: bytes) -> DatagramSocket | None:
    """A socket on a free port of the range, both ends included; None if none is free."""
    sock = bind_free_port(host, ports)
    return DatagramSocket(sock, key) if sock is not None else None


def connect_socket(host: str, port: int, key: bytes) -> DatagramSocket:
    """The agent's socket to a port of the hub; raises `OSError` if there is no route."""
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    sock = socket.socket(family, kind)
    sock.connect(address)
    found = DatagramSocket(sock, key)
    found.peer = str(address[0]), port
    return found

"""Small authenticated datagrams between agent and hub: round trips under load, packet trains.

The agent dials out, here too: it knocks at a port of the hub's range until the hub has heard it,
and the hub answers through the hole that the knocking made. Every datagram carries a code made
with a key that came over the session; whatever else arrives is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from jharnet_monitor.probes.bandwidth.tcp import noise

_SO_TIMESTAMPNS = 35
_HEADER = struct.Struct("!4sBII8s")
_MAGIC = b"JHB1"
_TIMESPEC = struct.Struct("@ll")
IP_UDP_BYTES = 28
SMALL_IP_BYTES = _HEADER.size + IP_UDP_BYTES
FULL_IP_BYTES = 1500
_LONGEST = 2048
_MOST_AT_ONCE = 5000
STEP_SECONDS = 0.001
"""The wall clock moved by more between two readings: somebody set it."""


class DatagramKind(IntEnum):
    """What a datagram is."""

    KNOCK = 1
    PING = 2
    PONG = 3
    TRAIN = 4


@dataclass(frozen=True, slots=True)
class Datagram:
    """One that proved its key. `moment` is its arrival in the kernel, in monotonic seconds.

    `held` is how long its sender had held what it answers, in microseconds.
    """

    kind: DatagramKind
    number: int
    held: int
    moment: float


class DatagramSocket:
    """A non-blocking UDP socket that sends and takes only datagrams made with its key."""

    def __init__(self, sock: socket.socket, key: bytes) -> None:
        self._socket = sock
        self._key = key
        self._offset = _clock_offset()
        self.peer: tuple[str, int] | None = None
        sock.setblocking(False)
        with contextlib.suppress(OSError):  # without kernel stamps the reading time stands in
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)

    @property
    def port(self) -> int:
        """The local port."""
        return int(self._socket.getsockname()[1])

    def send(
        self, kind: DatagramKind, number: int, held: int = 0, ip_bytes: int = SMALL_IP_BYTES
    ) -> None:
        """Send to the peer; what the kernel does not take counts as lost on the way."""
        if self.peer is not None:
            head = _HEADER.pack(_MAGIC, kind, number, held, self._code(kind, number, held))
            filling = noise()[: ip_bytes - SMALL_IP_BYTES]
            with contextlib.suppress(OSError):
                self._socket.sendto(head + filling, self.peer)

    def send_train(self, packets: int) -> float:
        """Send full packets as fast as it goes; gives the seconds that took."""
        begun = time.perf_counter()
        for number in range(packets):
            self.send(DatagramKind.TRAIN, number, ip_bytes=FULL_IP_BYTES)
        return time.perf_counter() - begun

    def answer(self, ping: Datagram) -> None:
        """Echo a ping, with how long it had to wait here for this program to come to it."""
        held = round((time.monotonic() - ping.moment) * 1e6)
        self.send(DatagramKind.PONG, ping.number, max(0, min(held, 0xFFFFFFFF)))

    def _code(self, kind: int, number: int, held: int) -> bytes:
        said = struct.pack("!BII", kind, number, held)
        return hmac.digest(self._key, said, hashlib.sha256)[:8]

    def receive(self) -> Iterator[Datagram]:
        """What has arrived by now; a knock with the right key sets the peer.

        Whoever floods the socket does not keep the loop from everything else: the rest is read at
        the next turn.
        """
        for _ in range(_MOST_AT_ONCE):
            try:
                data, ancillary, _, sender = self._socket.recvmsg(_LONGEST, 64)
            except OSError:  # nothing more, or an ICMP error for one that was sent
                return
            moment = self._moment([d for _, kind, d in ancillary if kind == _SO_TIMESTAMPNS])
            if len(data) < _HEADER.size:
                continue
            magic, kind, number, held, code = _HEADER.unpack_from(data)
            if magic != _MAGIC or not hmac.compare_digest(code, self._code(kind, number, held)):
                continue
            if kind == DatagramKind.KNOCK:
                self.peer = sender[:2]
            if kind in iter(DatagramKind):
                yield Datagram(DatagramKind(kind), number, held, moment)

    def _moment(self, stamps: list[bytes]) -> float:
        """The kernel's stamp in monotonic time; the reading time if the wall clock was set."""
        before, self._offset = self._offset, _clock_offset()
        if not stamps or abs(self._offset - before) > STEP_SECONDS:
            return time.monotonic()
        seconds, nanoseconds = _TIMESPEC.unpack(stamps[0])
        return float(seconds - self._offset + nanoseconds / 1e9)

    @contextlib.contextmanager
    def listening(self, take: Callable[[Datagram], None]) -> Iterator[None]:
        """Hand every datagram to `take` as it comes, while the block runs."""
        loop = asyncio.get_running_loop()

        def ready() -> None:
            for datagram in self.receive():
                take(datagram)

        loop.add_reader(self._socket, ready)
        try:
            yield
        finally:
            loop.remove_reader(self._socket)

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()


def _clock_offset() -> float:
    """Wall minus monotonic clock, in seconds."""
    return time.time() - time.monotonic()


def bind(host: str, ports: tuple[int, int], key: bytes) -> DatagramSocket | None:
    """A socket on a free port of the range, both ends included; None where none is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    choices = list(range(ports[0], ports[1] + 1))
    random.shuffle(choices)
    for port in choices[:50]:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.bind((host, port))
        except OSError:
            sock.close()
        else:
            return DatagramSocket(sock, key)
    return None


def dial(host: str, port: int, key: bytes) -> DatagramSocket:
    """The agent's socket towards a port of the hub; raises `OSError` without a route."""
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    sock = socket.socket(family, kind)
    sock.connect(address)
    found = DatagramSocket(sock, key)
    found.peer = str(address[0]), port
    return found

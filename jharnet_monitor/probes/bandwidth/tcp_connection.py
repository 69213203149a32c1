"""The TCP connection of a bulk transfer, at either end: paced, measured, and reset at the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

from jharnet_monitor.probes.bandwidth.tcp_info import TcpInfo, tcp_info

POLL_SECONDS = 0.004
"""Interval at which the kernel's counters are read; the application sees only whole TLS records."""
SO_MAX_PACING_RATE = 47
_TCP_NOTSENT_LOWAT = 25
_TCP_CONGESTION, _TCP_THIN_LINEAR_TIMEOUTS = 13, 16
_ON_LINUX = sys.platform == "linux"
"""Elsewhere these numbers are other options: on Windows 16 is the number of keepalives."""
BLOCK_BYTES = 1 << 16
MAX_SEGMENT_BYTES = 1460
"""TCP payload of an Ethernet packet; on loopback and with jumbo frames segments would be larger."""
CONGESTION_CONTROL = b"bbr"
"""Keeps its rate on a lossy line and does not fill long queues; used if the system has it and
allows it."""
MAX_UNSENT_BYTES = 1 << 17
"""Unsent bytes that the kernel may queue: few, as they are discarded when the test stops."""


def limit_segment_size(sock: socket.socket) -> None:
    """Limit segments to the size on a real line; call it before the socket connects or listens.

    On loopback a segment has 64 kB, too coarse to pace a few Mbit/s or to measure a rate.
    """
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, MAX_SEGMENT_BYTES)


def retry_steadily(sock: Any) -> None:
    """Send small messages again at a steady pace instead of ever more rarely (thin streams).

    A session must not fall silent during a test on a lossy line.
    """
    if _ON_LINUX:
        with contextlib.suppress(OSError, AttributeError):
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_THIN_LINEAR_TIMEOUTS, 1)


def tcp_socket(address: tuple[int, int, int, str, Any]) -> socket.socket:
    """A TCP socket for an entry of `getaddrinfo`: a `socket_factory` for `aiohttp.TCPConnector`."""
    family, kind, protocol, *_ = address
    sock = socket.socket(family, kind, protocol)
    limit_segment_size(sock)
    retry_steadily(sock)
    return sock


@cache
def random_block() -> bytes:
    """`BLOCK_BYTES` random bytes, which no device on the route can compress."""
    return os.urandom(BLOCK_BYTES)


async def write_forever(write: Callable[[bytes], Awaitable[None]]) -> None:
    """Write until cancelled, or until `write` raises because the connection has ended."""
    block = random_block()
    while True:
        await write(block)


class TcpConnection:
    """The socket of a transport, taken at once: a TLS transport no longer has it at the end."""

    def __init__(self, transport: asyncio.BaseTransport | None) -> None:
        self._transport = transport
        self._socket: Any | None = None
        self._last: TcpInfo | None = None
        if transport is not None and not transport.is_closing():
            self._socket = transport.get_extra_info("socket")

    def info(self) -> TcpInfo | None:
        """The kernel's counters, the last known ones after the end; None if it has none."""
        if self._socket is not None:
            self._last = tcp_info(self._socket) or self._last
        return self._last

    def pace(self, rate: float) -> None:
        """Send at most `rate` bit/s, keep the send queue short, and send only full segments."""
        if _ON_LINUX:
            self._set(socket.IPPROTO_TCP, _TCP_CONGESTION, CONGESTION_CONTROL)
            self._set(socket.SOL_SOCKET, SO_MAX_PACING_RATE, min(int(rate / 8), 0x7FFFFFFF))
            self._set(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, MAX_UNSENT_BYTES)
        self._set(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)

    def reset(self) -> None:
        """Reset the connection, so that queued data of this end is never sent."""
        self._set(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if isinstance(self._transport, asyncio.Transport):
            with contextlib.suppress(AttributeError):  # CPython 3.11: closed after a last flush
                self._transport.abort()

    def _set(self, level: int, option: int, value: int | bytes) -> None:
        """Set a socket option where the system has it and the socket is open."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(level, option, value)


class TcpConnections:
    """The parallel connections of one transfer, counted together."""

    def __init__(self) -> None:
        self._all: list[TcpConnection] = []

    def add(self, transport: asyncio.BaseTransport | None) -> TcpConnection:
        """Add the connection of a transport."""
        connection = TcpConnection(transport)
        self._all.append(connection)
        return connection

    def infos(self) -> list[TcpInfo]:
        """The kernel's counters of each connection, also of those that have ended."""
        return [info for c in self._all if (info := c.info()) is not None]

    def reset(self) -> None:
        """Reset all connections."""
        for connection in self._all:
            connection.reset()

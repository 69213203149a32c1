"""The TCP connection of a bulk stream, at either end: paced, watched, and cut at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

from jharnet_monitor.probes.bandwidth.tcp_info import TcpInfo, tcp_info

SO_MAX_PACING_RATE = 47
_TCP_NOTSENT_LOWAT = 25
BLOCK_BYTES = 1 << 16
LARGEST_SEGMENT = 1460
"""TCP payload of an Ethernet packet, to which loopback and jumbo frames do not keep."""
UNSENT_BYTES = 1 << 17
"""Unsent bytes that the kernel may hold: little to throw away when the test stops."""


def ordinary_segments(sock: socket.socket) -> None:
    """Before it connects or listens: let its packets be as small as a line has them.

    On loopback a segment is 64 kB, too coarse to be paced at a few Mbit/s or to tell a rate.
    """
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, LARGEST_SEGMENT)


def line_socket(address: tuple[int, int, int, str, Any]) -> socket.socket:
    """A TCP socket for an entry of `getaddrinfo`: a `socket_factory` for `aiohttp.TCPConnector`."""
    family, kind, protocol, *_ = address
    sock = socket.socket(family, kind, protocol)
    ordinary_segments(sock)
    return sock


@cache
def noise() -> bytes:
    """A block that no optimiser on the way can compress."""
    return os.urandom(BLOCK_BYTES)


async def pour(write: Callable[[bytes], Awaitable[None]]) -> None:
    """Write for ever; ends by an exception when the connection does, or when cancelled."""
    block = noise()
    while True:
        await write(block)


class TcpConnection:
    """The socket below a transport, which is asked for early: below TLS it is gone at the end."""

    def __init__(self, transport: asyncio.BaseTransport | None) -> None:
        self._transport = transport
        self._socket: Any | None = None
        self._last: TcpInfo | None = None
        if transport is not None and not transport.is_closing():
            self._socket = transport.get_extra_info("socket")

    def info(self) -> TcpInfo | None:
        """What the kernel has counted, the last of it when it is gone; None if it cannot count."""
        if self._socket is not None:
            self._last = tcp_info(self._socket) or self._last
        return self._last

    def pace(self, rate: float) -> None:
        """Send at most `rate` bit/s, keep the send queue short, send full segments only."""
        self._set(socket.SOL_SOCKET, SO_MAX_PACING_RATE, min(int(rate / 8), 0x7FFFFFFF))
        self._set(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        self._set(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)

    def cut(self) -> None:
        """Reset the connection: what is queued at this end never goes on the line."""
        self._set(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if isinstance(self._transport, asyncio.Transport):
            self._transport.abort()

    def _set(self, level: int, option: int, value: int | bytes) -> bool:
        """Whether the option was taken: other systems lack some, and a closed socket all."""
        try:
            if self._socket is not None:
                self._socket.setsockopt(level, option, value)
        except OSError:
            return False
        return self._socket is not None


class TcpConnections:
    """The parallel connections of one stream, counted together."""

    def __init__(self) -> None:
        self._all: list[TcpConnection] = []

    def add(self, transport: asyncio.BaseTransport | None) -> TcpConnection:
        """One more."""
        connection = TcpConnection(transport)
        self._all.append(connection)
        return connection

    def infos(self) -> list[TcpInfo]:
        """What the kernel has counted for each, also for those that are gone."""
        return [info for c in self._all if (info := c.info()) is not None]

    def cut(self) -> None:
        """Reset all of them."""
        for connection in self._all:
            connection.cut()

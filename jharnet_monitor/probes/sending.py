"""Either end of a bulk stream: fill the line with noise, stop at once, and keep the books."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

_SO_MAX_PACING_RATE = 47
_TCP_NOTSENT_LOWAT = 25
BLOCK_BYTES = 1 << 16
UNSENT_BYTES = 1 << 17
"""Unsent bytes that the kernel may hold: little to throw away when the test stops."""


@cache
def noise() -> bytes:
    """A block that no optimiser on the way can compress."""
    return os.urandom(BLOCK_BYTES)


async def pour(write: Callable[[bytes], Awaitable[None]]) -> None:
    """Write for ever; ends by an exception when the connection does, or when cancelled."""
    block = noise()
    while True:
        await write(block)


def socket_of(transport: asyncio.BaseTransport | None) -> Any | None:
    """The socket below a transport, also below TLS; None when it is gone."""
    return None if transport is None else transport.get_extra_info("socket")


def tune_sender(transport: asyncio.BaseTransport | None, rate: float) -> None:
    """Pace at most `rate` bit/s of payload, keep the send queue short, send full segments only."""
    sock = socket_of(transport)
    if sock is None:
        return
    for level, option, value in (
        (socket.SOL_SOCKET, _SO_MAX_PACING_RATE, min(int(rate / 8), 0x7FFFFFFF)),
        (socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, UNSENT_BYTES),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 0),
    ):
        try:
            sock.setsockopt(level, option, value)
        except OSError:  # another system than Linux: the stream is only less tidy
            continue


def cut(transport: asyncio.BaseTransport | None) -> None:
    """Reset the connection: what is queued at this end never goes on the line."""
    if transport is None:
        return
    sock = socket_of(transport)
    if sock is not None:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:  # closed already
            return
    if isinstance(transport, asyncio.Transport):
        transport.abort()

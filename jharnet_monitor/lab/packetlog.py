"""A record of every echo packet, in a ring in shared memory: written by the emulator, read by all.

Writing takes no system call and reading none of the emulator's time.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

CAPACITY = 1 << 17
"""Records kept; the oldest are overwritten."""

_MARGIN = 1024
"""The oldest records are not read: the emulator may be about to overwrite them."""

_HEADER = struct.Struct("=Q56x")  # number of records ever written
_RECORD = struct.Struct("=dddHHB3x16s16s")  # in, due, out, id, sequence, length, addresses


@dataclass(frozen=True, slots=True)
class EchoPacket:
    """One echo request or reply: monotonic seconds when it came in and when it left."""

    number: int
    """Counted from 0 over the lab's life."""
    source: str
    target: str
    echo_id: int
    sequence: int
    arrived: float
    due: float
    """When it should have left; it left late by the difference. 0 if it was dropped."""
    left: float | None
    """None if it was dropped."""


class PacketLogWriter:
    """The emulator's end."""

    def __init__(self, path: Path) -> None:
        size = _HEADER.size + CAPACITY * _RECORD.size
        with path.open("w+b") as file:
            file.truncate(size)
            self._map = mmap.mmap(file.fileno(), size)
        self._count = 0

    def write(self, key: bytes, sequence: int, arrived: float, due: float, left: float) -> None:
        """Record a packet of the flow `key`; `left` is 0 for a dropped one."""
        width = (len(key) - 3) >> 1
        _RECORD.pack_into(
            self._map,
            _HEADER.size + self._count % CAPACITY * _RECORD.size,
            arrived,
            due,
            left,
            key[-2] << 8 | key[-1],
            sequence,
            width,
            key[1 : 1 + width],
            key[1 + width : 1 + 2 * width],
        )
        self._count += 1
        _HEADER.pack_into(self._map, 0, self._count)


def read_packet_log(path: Path, since: int = 0) -> Iterator[EchoPacket]:
    """The echo packets that are done, oldest first, from the `since`-th ever written on."""
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    (count,) = _HEADER.unpack_from(data)
    for number in range(max(since, count - CAPACITY + _MARGIN), count):
        offset = _HEADER.size + number % CAPACITY * _RECORD.size
        arrived, due, left, echo_id, sequence, width, source, target = _RECORD.unpack_from(
            data, offset
        )
        yield EchoPacket(
            number,
            str(ip_address(source[:width])),
            str(ip_address(target[:width])),
            echo_id,
            sequence,
            arrived,
            due,
            left or None,
        )

"""A log of all echo packets, in a ring buffer in shared memory that the emulator writes.

Writing takes no system call, and reading takes no time of the emulator.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

CAPACITY = 1 << 17
"""Records in the ring; the oldest are overwritten."""

_MARGIN = 1024
"""The oldest records, which are not read: the emulator may be overwriting them."""

_HEADER = struct.Struct("=Q56x")  # number of records ever written
_RECORD = struct.Struct("=dddHHB3x16s16s")  # in, due, out, id, sequence, length, addresses


@dataclass(frozen=True, slots=True)
class EchoPacket:
    """One echo request or reply; times in monotonic seconds."""

    number: int
    """Counted from 0 since the start of the lab."""
    source: str
    target: str
    echo_id: int
    sequence: int
    arrived: float
    """When it came in."""
    due: float
    """When it was due to leave; 0 if it was dropped."""
    left: float | None
    """When it left; None if it was dropped."""


class PacketLogWriter:
    """Writes the log, in the emulator."""

    def __init__(self, path: Path) -> None:
        size = _HEADER.size + CAPACITY * _RECORD.size
        with path.open("w+b") as file:
            file.truncate(size)
            self._map = mmap.mmap(file.fileno(), size)
        self._count = 0

    def write(self, key: bytes, sequence: int, arrived: float, due: float, left: float) -> None:
        """Log a packet of the flow `key`; `left` is 0 if it was dropped."""
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
    """The echo packets that left or were dropped, oldest first, from number `since` on."""
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

"""A router on loopback whose SNMP answers are changed at random; each is followed by a right
one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from tests.faults.fuzz_inputs import changed

IFX, IF = (1, 3, 6, 1, 2, 1, 31, 1, 1, 1), (1, 3, 6, 1, 2, 1, 2, 2, 1)
UPTIME = (1, 3, 6, 1, 2, 1, 1, 3, 0)
INTEGER, TEXT, OID, SEQUENCE = 0x02, 0x04, 0x06, 0x30
RESPONSE, GET_BULK = 0xA2, 0xA5
COUNTER64, TICKS, NO_SUCH, END = 0x46, 0x43, 0x80, 0x82


def tlv(tag: int, body: bytes) -> bytes:
    """Tag, length, value (X.690, BER)."""
    size = len(body)
    length = bytes([size]) if size < 128 else bytes([0x82, size >> 8, size & 255])
    return bytes([tag]) + length + body


def number(value: int, tag: int = INTEGER) -> bytes:
    """An integer."""
    return tlv(tag, value.to_bytes(value.bit_length() // 8 + 1))


def oid(parts: Sequence[int]) -> bytes:
    """An object identifier."""
    body = bytearray([40 * parts[0] + parts[1]])
    for part in parts[2:]:
        groups = [part & 127]
        while part := part >> 7:
            groups.append(part & 127 | 128)
        body += bytes(reversed(groups))
    return tlv(OID, bytes(body))


def read(data: bytes, at: int = 0) -> tuple[int, bytes, int]:
    """Tag and value at an offset, and the offset behind it."""
    tag, size, at = data[at], data[at + 1], at + 2
    if size & 128:
        count = size & 127
        size, at = int.from_bytes(data[at : at + count]), at + count
    return tag, data[at : at + size], at + size


def read_all(body: bytes) -> list[tuple[int, bytes]]:
    """Everything in a sequence."""
    found, at = [], 0
    while at < len(body):
        tag, value, at = read(body, at)
        found.append((tag, value))
    return found


def read_oid(body: bytes) -> tuple[int, ...]:
    """The parts of an object identifier."""
    parts, value = list(divmod(body[0], 40)), 0
    for byte in body[1:]:
        value = value << 7 | byte & 127
        if not byte & 128:
            parts.append(value)
            value = 0
    return tuple(parts)


class ChangedRouter(asyncio.DatagramProtocol):
    """Answers GET and GETBULK of SNMPv2c: a changed answer, then the right one."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.sent = 0
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """Keep the socket."""
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        """Answer twice."""
        right = self.answer(data)
        for _ in range(self.dice.choice((1, 1, 3))):
            self._transport.sendto(changed(right, self.dice)[:60_000], address)
            self.sent += 1
        self._transport.sendto(right, address)

    def answer(self, data: bytes) -> bytes:
        """The right answer to a request."""
        (_, version), (_, community), (kind, pdu) = read_all(read(data)[1])
        (_, request), _, _, (_, requested) = read_all(pdu)
        bound = b""
        for _, entry in read_all(requested):
            name = read_oid(read_all(entry)[0][1])
            if kind == GET_BULK:
                bound += tlv(SEQUENCE, oid((*IFX, 1, 3)) + tlv(TEXT, b"Gi0/0"))
                bound += tlv(SEQUENCE, oid((*IFX, 2, 3)) + tlv(TEXT, b"x"))
            else:
                bound += tlv(SEQUENCE, oid(name) + self._value(name))
        body = tlv(INTEGER, request) + number(0) + number(0) + tlv(SEQUENCE, bound)
        whole = tlv(INTEGER, version) + tlv(TEXT, community) + tlv(RESPONSE, body)
        return tlv(SEQUENCE, whole)

    def _value(self, name: tuple[int, ...]) -> bytes:
        if name == UPTIME:
            return number(self.dice.randrange(2**31), TICKS)
        if name[: len(IFX)] == IFX or name[: len(IF)] == IF:
            return number(self.dice.choice((0, 1, 10**6, 2**63)), COUNTER64)
        return tlv(NO_SUCH, b"")

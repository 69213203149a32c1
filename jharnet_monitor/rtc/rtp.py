"""Reading RTP headers (RFC 3550) and retransmissions (RFC 4588).

Only what a count of arrivals needs, without building an object a packet: a call sees 500 a second.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_FIXED = struct.Struct("!BBHII")
_SEQUENCE = struct.Struct("!H")


class Header(NamedTuple):
    """A packet's header; `payload` is the offset where the payload starts."""

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: int


def parse_header(data: bytes) -> Header | None:
    """The header of an RTP packet, or None where the bytes are not one."""
    if len(data) < 12:
        return None
    first, second, sequence, timestamp, ssrc = _FIXED.unpack_from(data)
    if first >> 6 != 2:
        return None
    payload = 12 + 4 * (first & 0x0F)
    if first & 0x10:
        if len(data) < payload + 4:
            return None
        payload += 4 + 4 * int(_SEQUENCE.unpack_from(data, payload + 2)[0])
    if payload > len(data):
        return None
    return Header(second & 0x7F, bool(second & 0x80), sequence, timestamp, ssrc, payload)


def extension(data: bytes, number: int) -> bytes | None:
    """The header extension of that number (RFC 8285, 4.2: one-byte headers), or None."""
    at = 12 + 4 * (data[0] & 0x0F)
    if not data[0] & 0x10 or data[at : at + 2] != b"\xbe\xde":
        return None
    end = min(len(data), at + 4 + 4 * int(_SEQUENCE.unpack_from(data, at + 2)[0]))
    at += 4
    while at < end:
        if not data[at]:  # padding
            at += 1
            continue
        length = (data[at] & 0x0F) + 1
        if data[at] >> 4 == number:
            return data[at + 1 : min(end, at + 1 + length)]
        at += 1 + length
    return None


def unwrap(value: int, near: int, bits: int = 16) -> int:
    """The number whose last `bits` are `value` and that is closest to `near`.

    >>> unwrap(2, 65_530), unwrap(65_530, 65_538)
    (65538, 65530)
    """
    span = 1 << bits
    return near + (value - near + span // 2) % span - span // 2


def original_sequence(data: bytes, header: Header) -> int | None:
    """The sequence number that a retransmission carries, or None (padding carries none)."""
    if len(data) < header.payload + 2:
        return None
    return int(_SEQUENCE.unpack_from(data, header.payload)[0])


def retransmission(data: bytes, *, payload_type: int, ssrc: int, sequence: int) -> bytes:
    """Wrap a packet sent before into one of the retransmission stream (RFC 4588, 4)."""
    header = parse_header(data)
    if header is None:
        raise ValueError("not an RTP packet")
    fixed = _FIXED.pack(
        data[0], (data[1] & 0x80) | payload_type, sequence & 0xFFFF, header.timestamp, ssrc
    )
    original = _SEQUENCE.pack(header.sequence)
    return fixed + data[12 : header.payload] + original + data[header.payload :]

"""RTP headers (RFC 3550) and retransmission packets (RFC 4588).

Parses only what the counting of arrivals needs and builds one named tuple per packet: a 720p call
receives 250 packets a second.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_FIXED_HEADER = struct.Struct("!BBHII")
_UINT16 = struct.Struct("!H")
_PADDED = 0x20
"""The P bit: the last byte of the packet says how many bytes of padding end it."""


class RtpHeader(NamedTuple):
    """The fixed header of an RTP packet; `payload_offset` is where its payload starts."""

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload_offset: int


def parse_header(data: bytes) -> RtpHeader | None:
    """Parse the header (RFC 3550, 5.1); None if the bytes are not an RTP packet."""
    if len(data) < 12:
        return None
    first, second, sequence, timestamp, ssrc = _FIXED_HEADER.unpack_from(data)
    if first >> 6 != 2:
        return None
    offset = 12 + 4 * (first & 0x0F)
    if first & 0x10:
        if len(data) < offset + 4:
            return None
        offset += 4 + 4 * int(_UINT16.unpack_from(data, offset + 2)[0])
    if offset > len(data):
        return None
    return RtpHeader(second & 0x7F, bool(second & 0x80), sequence, timestamp, ssrc, offset)


def header_extension(data: bytes, extension_id: int) -> bytes | None:
    """The value of a one-byte header extension (RFC 8285, 4.2); None if it is absent."""
    at = 12 + 4 * (data[0] & 0x0F)
    if not data[0] & 0x10 or data[at : at + 2] != b"\xbe\xde" or len(data) < at + 4:
        return None
    end = min(len(data), at + 4 + 4 * int(_UINT16.unpack_from(data, at + 2)[0]))
    at += 4
    while at < end:
        if not data[at]:  # padding
            at += 1
            continue
        length = (data[at] & 0x0F) + 1
        if data[at] >> 4 == extension_id:
            return data[at + 1 : min(end, at + 1 + length)]
        at += 1 + length
    return None


def unwrap(value: int, near: int, bits: int = 16) -> int:
    """Extend a counter of `bits` bits: the number congruent to `value` that is closest to `near`.

    >>> unwrap(2, 65_530), unwrap(65_530, 65_538)
    (65538, 65530)
    """
    span = 1 << bits
    return near + (value - near + span // 2) % span - span // 2


def original_sequence(data: bytes, header: RtpHeader) -> int | None:
    """The original sequence number in a retransmission packet (RFC 4588, 4).

    None if the packet has no payload but padding (RFC 3550, 5.1), with which clients probe the
    bandwidth before they have anything to retransmit.
    """
    padding = data[-1] if data[0] & _PADDED else 0
    if len(data) - padding < header.payload_offset + 2:
        return None
    return int(_UINT16.unpack_from(data, header.payload_offset)[0])


def retransmission(data: bytes, *, payload_type: int, ssrc: int, sequence: int) -> bytes:
    """Wrap a sent packet for the retransmission stream (RFC 4588, 4).

    `payload_type`, `ssrc` and `sequence` are those of the retransmission stream. Raises
    `ValueError` if `data` is not an RTP packet.
    """
    header = parse_header(data)
    if header is None:
        raise ValueError("not an RTP packet")
    fixed = _FIXED_HEADER.pack(
        data[0], (data[1] & 0x80) | payload_type, sequence & 0xFFFF, header.timestamp, ssrc
    )
    original = _UINT16.pack(header.sequence)
    return fixed + data[12 : header.payload_offset] + original + data[header.payload_offset :]

"""IP packets as the emulator needs them: their flow, their destination, and echo replies.

IPv4 (RFC 791), ICMP (RFC 792), IPv6 (RFC 8200) and ICMPv6 (RFC 4443). A packet is the bytes read
from a TUN interface.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import NamedTuple

ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
_NAMES = {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMP6: "icmp6"}
_ECHO_KEY_BYTES, _ECHO_KEY6_BYTES = 11, 35
"""Lengths of the flow keys of echo packets, which no other keys have."""
_NO_NEXT_HEADER = 59


class FlowName(NamedTuple):
    """What identifies a flow; ports and the echo identifier are None where it has none."""

    protocol: str
    source: str
    target: str
    source_port: int | None
    target_port: int | None
    echo_id: int | None


def destination(packet: bytes) -> bytes:
    """The destination address, 4 or 16 bytes; empty if this is not an IP packet."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        return packet[16:20]
    if version == 6 and len(packet) >= 40:
        return packet[24:40]
    return b""


def flow_key(packet: bytes) -> bytes:
    """A key that is equal for all packets of a flow: protocol, addresses, ports or echo identifier.

    Later fragments and packets with IP options are keyed without ports.
    """
    if packet[0] >> 4 == 4:
        protocol = packet[9]
        if packet[0] == 0x45 and len(packet) >= 28 and not packet[7] and not packet[6] & 0x1F:
            if protocol in (TCP, UDP):
                return packet[9:10] + packet[12:24]
            if protocol == ICMP and packet[20] in (0, 8):
                return packet[9:10] + packet[12:20] + packet[24:26]
        return packet[9:10] + packet[12:20]
    protocol = packet[6] if len(packet) >= 48 else _NO_NEXT_HEADER
    if protocol in (TCP, UDP):
        return packet[6:7] + packet[8:44]
    if protocol == ICMP6 and packet[40] in (128, 129):
        return packet[6:7] + packet[8:40] + packet[44:46]
    return packet[6:7] + packet[8:40]


def flow_name(key: bytes) -> FlowName:
    """Decode a key of `flow_key`."""
    width = 16 if len(key) > 16 else 4
    source, target = key[1 : 1 + width], key[1 + width : 1 + 2 * width]
    rest = key[1 + 2 * width :]
    source_port, target_port = struct.unpack("!HH", rest) if len(rest) == 4 else (None, None)
    return FlowName(
        _NAMES.get(key[0], str(key[0])),
        str(ip_address(source)),
        str(ip_address(target)),
        source_port,
        target_port,
        struct.unpack("!H", rest)[0] if len(rest) == 2 else None,
    )


def echo_sequence(key: bytes, packet: bytes) -> int | None:
    """The sequence number of an echo request or reply; None for any other packet."""
    if len(key) == _ECHO_KEY_BYTES:
        return packet[26] << 8 | packet[27]
    if len(key) == _ECHO_KEY6_BYTES:
        return packet[46] << 8 | packet[47]
    return None


def echo_reply(packet: bytes) -> bytes | None:
    """The reply to an echo request; None for any other packet."""
    reply = bytearray(packet)
    length = len(flow_key(packet))
    if length == _ECHO_KEY_BYTES and packet[20] == 8:
        reply[12:16], reply[16:20] = packet[16:20], packet[12:16]
        reply[20] = 0
        _patch_checksum(reply, 22, 8 << 8)
    elif length == _ECHO_KEY6_BYTES and packet[40] == 128:
        reply[8:24], reply[24:40] = packet[24:40], packet[8:24]
        reply[40] = 129
        _patch_checksum(reply, 42, -(1 << 8))
    else:
        return None
    return bytes(reply)


def _patch_checksum(packet: bytearray, offset: int, less: int) -> None:
    """Update the checksum at `offset` after the 16-bit words' sum fell by `less` (RFC 1624)."""
    checksum = packet[offset] << 8 | packet[offset + 1]
    total = (~checksum & 0xFFFF) - less
    total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into("!H", packet, offset, ~total & 0xFFFF)

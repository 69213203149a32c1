"""What the emulator must know of IP packets: whose they are, and how to answer an echo request.

RFC 791, 792, 8200, 4443. A packet here is the bytes as they come from a TUN interface.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import NamedTuple

ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
_NAMES = {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMP6: "icmp6"}
_ECHO_KEY, _ECHO_KEY6 = 11, 35
_NO_TRANSPORT = 59  # "no next header"


class FlowName(NamedTuple):
    """What tells one flow from another; ports, or the echo identifier, where there are any."""

    protocol: str
    source: str
    target: str
    source_port: int | None
    target_port: int | None
    echo_id: int | None


def destination(packet: bytes) -> bytes:
    """The target's address, 4 or 16 bytes; empty if this is no IP packet."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        return packet[16:20]
    if version == 6 and len(packet) >= 40:
        return packet[24:40]
    return b""


def flow_key(packet: bytes) -> bytes:
    """Protocol and addresses, then ports or echo identifier; equal for all packets of a flow.

    Later fragments and packets with IP options have no ports.
    """
    if packet[0] >> 4 == 4:
        protocol = packet[9]
        if packet[0] == 0x45 and len(packet) >= 28 and not packet[7] and not packet[6] & 0x1F:
            if protocol in (TCP, UDP):
                return packet[9:10] + packet[12:24]
            if protocol == ICMP and packet[20] in (0, 8):
                return packet[9:10] + packet[12:20] + packet[24:26]
        return packet[9:10] + packet[12:20]
    protocol = packet[6] if len(packet) >= 48 else _NO_TRANSPORT
    if protocol in (TCP, UDP):
        return packet[6:7] + packet[8:44]
    if protocol == ICMP6 and packet[40] in (128, 129):
        return packet[6:7] + packet[8:40] + packet[44:46]
    return packet[6:7] + packet[8:40]


def flow_name(key: bytes) -> FlowName:
    """A key made by `flow_key` in words."""
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
    """The sequence number of an echo request or reply; None for a packet of any other flow."""
    if len(key) == _ECHO_KEY:
        return packet[26] << 8 | packet[27]
    if len(key) == _ECHO_KEY6:
        return packet[46] << 8 | packet[47]
    return None


def echo_reply(packet: bytes) -> bytes | None:
    """The answer to an echo request; None for anything else."""
    reply = bytearray(packet)
    length = len(flow_key(packet))
    if length == _ECHO_KEY and packet[20] == 8:
        reply[12:16], reply[16:20] = packet[16:20], packet[12:16]
        reply[20] = 0
        _patch_checksum(reply, 22, 8 << 8)
    elif length == _ECHO_KEY6 and packet[40] == 128:
        reply[8:24], reply[24:40] = packet[24:40], packet[8:24]
        reply[40] = 129
        _patch_checksum(reply, 42, -(1 << 8))
    else:
        return None
    return bytes(reply)


def _patch_checksum(packet: bytearray, offset: int, less: int) -> None:
    """Correct a checksum after the sum of the 16-bit words became smaller by `less` (RFC 1624)."""
    checksum = packet[offset] << 8 | packet[offset + 1]
    total = (~checksum & 0xFFFF) - less
    total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into("!H", packet, offset, ~total & 0xFFFF)

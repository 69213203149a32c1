"""The kernel's counters of one TCP connection: Linux `TCP_INFO` (tcp(7), linux/tcp.h).

Kernel versions append fields and never move one, so the shorter structure of an older kernel leaves
the later fields at 0.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Protocol

_TCP_INFO = 11
_LENGTH = 232
_TIMESTAMPS = 1
"""`TCPI_OPT_TIMESTAMPS`."""


class HasOptions(Protocol):
    """A socket, or the part of one that an asyncio transport offers."""

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""

    def getsockopt(self, level: int, option: int, length: int, /) -> bytes:
        """getsockopt(2)."""


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """The fields that a throughput test uses; times in seconds, sizes in bytes.

    `data_segments_in` counts every data segment that arrived, in order or not; `delivered` the
    segments that the other end has acknowledged, by ACK or SACK; `out_of_order` those that arrived
    behind a gap. `rwnd_limited` is how long the
    receiver's window limited the sender.
    """

    options: int
    send_mss: int
    receive_mss: int
    rtt: float
    bytes_acked: int
    bytes_received: int
    segments_out: int
    segments_in: int
    data_segments_in: int
    delivered: int
    bytes_sent: int
    bytes_retransmitted: int
    out_of_order: int
    busy: float
    rwnd_limited: float
    header: int
    """IP and TCP header of a data segment."""

    @property
    def window_share(self) -> float:
        """The share of the busy time in which the receiver's window limited this sender."""
        return min(1.0, self.rwnd_limited / self.busy) if self.busy else 0.0

    @property
    def ip_bytes_out(self) -> int:
        """IP bytes that this end has sent, retransmissions and acknowledgements included."""
        return self.bytes_sent + self.segments_out * self.header

    @property
    def ip_bytes_in(self) -> int:
        """IP bytes that have arrived from the other end, each byte of payload counted once."""
        return self.bytes_received + self.segments_in * self.header


def tcp_info(sock: HasOptions) -> TcpInfo | None:
    """Read the counters of a socket; None if it is closed or the system has no such counters."""
    try:
        raw = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _LENGTH)
    except (OSError, ValueError):
        return None
    return parse(raw, sock.family)


def parse(raw: bytes, family: int = socket.AF_INET) -> TcpInfo | None:
    """Parse the structure; None if it ends before `tcpi_data_segs_in` (before Linux 4.6)."""
    if len(raw) < 156:
        return None
    raw = raw.ljust(_LENGTH, b"\0")

    def u32(offset: int) -> int:
        return int(struct.unpack_from("=I", raw, offset)[0])

    def u64(offset: int) -> int:
        return int(struct.unpack_from("=Q", raw, offset)[0])

    header = (40 if family == socket.AF_INET6 else 20) + (32 if raw[5] & _TIMESTAMPS else 20)
    return TcpInfo(
        options=raw[5],
        send_mss=u32(16),
        receive_mss=u32(20),
        rtt=u32(68) / 1e6,
        bytes_acked=u64(120),
        bytes_received=u64(128),
        segments_out=u32(136),
        segments_in=u32(140),
        data_segments_in=u32(152),
        busy=u64(168) / 1e6,
        rwnd_limited=u64(176) / 1e6,
        delivered=u32(192),
        bytes_sent=u64(200),
        bytes_retransmitted=u64(208),
        out_of_order=u32(224),
        header=header,
    )

"""One ICMP socket for echo requests to any number of targets (RFC 792, RFC 4443).

The socket is made by icmplib's classes. Their `send` and `receive` are not used, because they
resolve a name, set two socket options and compute a checksum in Python for every packet, and
timestamp the reply in user space. This module uses kernel receive timestamps instead. A raw socket
gets a kernel filter, without which it would receive the replies to all other programs that ping.
"""

from __future__ import annotations

import ctypes
import secrets
import socket
import struct
from typing import Any, Literal, NamedTuple

from icmplib import ICMPv4Socket, ICMPv6Socket
from icmplib.exceptions import ICMPSocketError, SocketPermissionError

from jharnet_monitor.probes.dns import SocketAddress
from jharnet_monitor.probes.receive_buffer import enlarge_receive_buffer

PAYLOAD_BYTES = 56
"""The same size as ping and fping: 64 bytes of ICMP, 84 bytes of IPv4."""

Family = Literal[4, 6]

# Constants of asm-generic/socket.h and linux/in6.h that the socket module lacks.
_SO_ATTACH_FILTER = 26
_SO_TIMESTAMPNS = 35
_SO_MEMINFO = 55
_MEMINFO_DROPS = 8
_RECEIVE_BUFFER = 4 << 20
"""Bytes for the replies of a second in which the event loop is busy."""
_IPV6_TCLASS = 67

_HEADER = struct.Struct("!BBHHH")
_TIMESPEC = struct.Struct("@ll")
_MEMINFO = struct.Struct("@9I")
_ECHO_REQUEST = {4: 8, 6: 128}
_ECHO_REPLY = {4: 0, 6: 129}


class PingNotAllowed(PermissionError):
    """This process may open neither an unprivileged nor a raw ICMP socket."""

    def __init__(self) -> None:
        super().__init__(
            "not allowed to send echo requests: set the sysctl net.ipv4.ping_group_range to "
            '"0 2147483647", or give the program CAP_NET_RAW'
        )


class EchoReply(NamedTuple):
    """One echo reply as received, not yet matched with a request."""

    source: str
    sequence: int
    payload: bytes
    timestamp_ns: int | None
    """Wall-clock time of its arrival in the kernel, in ns; None if the kernel gave none."""


class EchoSocket:
    """A non-blocking ICMP socket of one IP family, unprivileged where that is allowed.

    `identifier` is the ICMP identifier of all its requests. `dscp` is the Differentiated Services
    code point (RFC 2474), 46 for EF. Raises `PingNotAllowed`, or `OSError` where this host lacks
    the family.
    """

    def __init__(self, family: Family, dscp: int = 0) -> None:
        self.family = family
        self._icmp = _open(family)
        self.privileged: bool = self._icmp.is_privileged
        self._icmp.blocking = False
        sock: socket.socket = self._icmp.sock
        self._sock = sock
        if self.privileged:
            self.identifier = 1 + secrets.randbelow(0xFFFF)
            _attach_filter(sock, family, self.identifier)
        else:
            sock.bind(("", 0) if family == 4 else ("::", 0))
            self.identifier = sock.getsockname()[1]
        enlarge_receive_buffer(sock, _RECEIVE_BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        if dscp and family == 4:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
        elif dscp:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TCLASS, dscp << 2)

    def fileno(self) -> int:
        """The file descriptor."""
        return self._sock.fileno()

    def send(self, sequence: int, payload: bytes, address: SocketAddress) -> None:
        """Send one echo request; raises `OSError` if the kernel refuses it."""
        header = _HEADER.pack(_ECHO_REQUEST[self.family], 0, 0, self.identifier, sequence)
        if self.privileged and self.family == 4:  # in all other cases the kernel computes it
            check = checksum(header + payload)
            header = _HEADER.pack(_ECHO_REQUEST[4], 0, check, self.identifier, sequence)
        self._sock.sendto(header + payload, address)

    def receive(self) -> EchoReply | None:
        """The next echo reply to this socket; None if there is none yet."""
        while True:
            try:
                packet, ancillary, _, source = self._sock.recvmsg(2048, 128)
            except BlockingIOError:
                return None
            timestamp_ns = None
            for _, kind, data in ancillary:
                if kind == _SO_TIMESTAMPNS:
                    seconds, nanoseconds = _TIMESPEC.unpack(data)
                    timestamp_ns = seconds * 1_000_000_000 + nanoseconds
            if self.privileged and self.family == 4:
                packet = packet[(packet[0] & 0x0F) * 4 :]
            if len(packet) < _HEADER.size:
                continue
            kind, _, _, identifier, sequence = _HEADER.unpack_from(packet)
            if kind == _ECHO_REPLY[self.family] and identifier == self.identifier:
                return EchoReply(source[0], sequence, packet[_HEADER.size :], timestamp_ns)

    def dropped(self) -> int:
        """Packets that the kernel has dropped since the start because the buffer was full."""
        info = self._sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        dropped: int = _MEMINFO.unpack(info)[_MEMINFO_DROPS]
        return dropped

    def close(self) -> None:
        """Close the socket; idempotent."""
        self._icmp.close()


def checksum(packet: bytes) -> int:
    """The Internet checksum (RFC 1071) of a packet of an even number of bytes.

    >>> hex(checksum(bytes.fromhex("0001f203f4f5f6f7")))
    '0x220d'
    """
    total: int = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def _open(family: Family) -> Any:
    """An ICMP socket of the family, unprivileged if possible."""
    kind = ICMPv4Socket if family == 4 else ICMPv6Socket
    for privileged in (False, True):
        try:
            return kind(privileged=privileged)
        except SocketPermissionError:
            continue
        except ICMPSocketError as error:
            raise OSError(f"no ICMP socket for IPv{family}: {error}") from error
    raise PingNotAllowed


def _attach_filter(sock: socket.socket, family: Family, identifier: int) -> None:
    """Let the kernel pass only echo replies with our identifier (classic BPF).

    Instructions are (code, jump if true, jump if false, operand) of linux/filter.h. A raw IPv4
    socket sees the IP header, whose length is loaded into X first; a raw IPv6 socket does not.
    """
    start = [(0xB1, 0, 0, 0)] if family == 4 else [(0x01, 0, 0, 0)]  # X = 4 * IHL, or 0
    program = [
        *start,
        (0x50, 0, 0, 0),  # A = type, the byte at X
        (0x15, 0, 3, _ECHO_REPLY[family]),
        (0x48, 0, 0, 4),  # A = identifier, two bytes at X + 4
        (0x15, 0, 1, identifier),
        (0x06, 0, 0, 0xFFFF),  # pass
        (0x06, 0, 0, 0),  # drop
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("@HBBI", *step) for step in program))
    pointer = struct.pack("@HP", len(program), ctypes.addressof(code))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)

"""Sockets for traceroute without privileges: the kernel hands over the ICMP errors of our packets.

Every packet of a socket belongs to one flow, as in Paris traceroute (Augustin et al. 2006): ports,
identifier and checksum stay the same, so that a router that spreads flows over several paths sends
all of them over the same one. With `IP_RECVERR` the errors arrive in the socket's error queue, with
the address of the router and the kernel's time stamp (ip(7)). icmplib's traceroute needs raw
sockets and varies the flow.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Iterator
from enum import Enum, StrEnum
from typing import NamedTuple

HEADER_BYTES = 28
"""IPv4 and ICMP, or UDP."""
UDP_PORT = 33434
"""A port on which nothing listens: the target answers that it is unreachable."""

_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")
_EXTENDED_ERROR = struct.Struct("@IBBBBII")  # linux/errqueue.h: sock_extended_err
_ORIGIN_LOCAL, _ORIGIN_ICMP = 1, 2
_TIME_EXCEEDED, _UNREACHABLE, _ECHO_REQUEST, _ECHO_REPLY = 11, 3, 8, 0
_TOO_BIG, _NO_PORT = 4, 3
_IP_RECVERR, _IP_MTU_DISCOVER, _PMTUDISC_PROBE = 11, 10, 3  # DF is set, and no cached MTU is asked
_MOST_READ = 2000
"""A flood must not keep the event loop from everything else."""


class Protocol(StrEnum):
    """The protocol of a trace's packets."""

    ICMP = "icmp"
    UDP = "udp"


class AnswerKind(Enum):
    """Who answered a packet, and with what."""

    HOP = "hop"
    """A router: the packet's time to live expired, or it cannot be forwarded."""
    END = "end"
    """The target itself."""
    TOO_BIG = "too big"
    """A router: the packet does not fit into the next link, which takes `mtu` bytes."""


class Answer(NamedTuple):
    """One answer to one packet."""

    number: int
    source: str
    kind: AnswerKind
    timestamp_ns: int | None
    """Wall-clock time of arrival in the kernel."""
    mtu: int = 0


class TraceSocket:
    """A socket of one flow to one IPv4 address.

    `flow` selects the identifier or source port: the same flow takes the same path each time.
    Raises `PermissionError` where this process may not open it, `OSError` without a route.
    """

    def __init__(self, protocol: Protocol, target: str, flow: int) -> None:
        self.protocol = protocol
        self.target = target
        self.finds_mtu = protocol is Protocol.ICMP
        """Whether sizes can be tried: a target that answers UDP limits its errors, so that most
        sizes would seem to vanish."""
        self.link_mtu: int | None = None
        """The MTU of this host's own link, once a larger packet was refused."""
        number = socket.IPPROTO_ICMP if protocol is Protocol.ICMP else 0
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, number)
        self._socket = sock
        sock.setblocking(False)
        for level, option, value in (
            # else two sockets may share an identifier, and only one of them gets the answers
            (socket.SOL_SOCKET, socket.SO_REUSEADDR, 0),
            (socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1),
            (socket.IPPROTO_IP, _IP_RECVERR, 1),
            (socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE),
        ):
            sock.setsockopt(level, option, value)
        for wanted in (flow, flow + 1, flow + 2, 0):  # another program may have it
            with contextlib.suppress(OSError):
                sock.bind(("", wanted))
                break
        self.identifier: int = sock.getsockname()[1]

    def send(self, number: int, ttl: int, size: int, dscp: int = 0) -> None:
        """Send a packet of `size` IP bytes, an even number.

        Raises `OSError`; `EMSGSIZE` means that the packet is larger than the MTU of this host's
        link.
        """
        ancillary = [
            (socket.IPPROTO_IP, socket.IP_TTL, struct.pack("@i", ttl)),
            (socket.IPPROTO_IP, socket.IP_TOS, struct.pack("@i", dscp << 2)),
        ]
        packet = self._packet(number, size - HEADER_BYTES)
        for last in (False, False, True):
            try:
                self._socket.sendmsg([packet], ancillary, 0, (self.target, UDP_PORT))
                return
            except OSError as error:  # the next call reports the ICMP error of an earlier packet
                if last or error.errno in (errno.EMSGSIZE, errno.EACCES, errno.EPERM):
                    raise

    def _packet(self, number: int, payload: int) -> bytes:
        """The number, and its complement, so that the checksum is that of every other packet."""
        pair = struct.pack("!HH", number, 0xFFFF - number)
        if self.protocol is Protocol.UDP:
            return pair + bytes(payload - 4)
        # the kernel fills in checksum and identifier; the number is the sequence number
        return bytes((_ECHO_REQUEST, 0, 0, 0, 0, 0)) + pair + bytes(payload - 2)

    def receive(self) -> Iterator[Answer]:
        """The answers that have arrived."""
        for _ in range(_MOST_READ):
            try:
                data, ancillary, _, _ = self._socket.recvmsg(256, 512, socket.MSG_ERRQUEUE)
            except OSError:
                break
            if (answer := self._error(data, ancillary)) is not None:
                yield answer
        for _ in range(_MOST_READ):
            try:
                data, ancillary, _, source = self._socket.recvmsg(256, 512)
            except BlockingIOError:
                return
            except OSError:  # the error that was just read from its queue
                continue
            is_reply = len(data) >= 8 and data[0] == _ECHO_REPLY and source[0] == self.target
            if self.protocol is Protocol.ICMP and is_reply:
                number = struct.unpack_from("!H", data, 6)[0]
                yield Answer(number, source[0], AnswerKind.END, _timestamp(ancillary))

    def _error(self, data: bytes, ancillary: list[tuple[int, int, bytes]]) -> Answer | None:
        """The answer in an ICMP error of a router or the target, which quotes the start of our
        packet."""
        message = next((d for _, kind, d in ancillary if kind == _IP_RECVERR), b"")
        at = 6 if self.protocol is Protocol.ICMP else 0
        if len(message) < _EXTENDED_ERROR.size + 8:
            return None
        _, origin, kind, code, _, info, _ = _EXTENDED_ERROR.unpack_from(message)
        if origin == _ORIGIN_LOCAL:
            self.link_mtu = info
        is_icmp = origin == _ORIGIN_ICMP and kind in (_TIME_EXCEEDED, _UNREACHABLE)
        if not is_icmp or len(data) < at + 2:
            return None
        number = struct.unpack_from("!H", data, at)[0]
        source = socket.inet_ntoa(message[_EXTENDED_ERROR.size + 4 : _EXTENDED_ERROR.size + 8])
        answer = AnswerKind.END if source == self.target else AnswerKind.HOP
        if (kind, code) == (_UNREACHABLE, _TOO_BIG):
            answer = AnswerKind.TOO_BIG
        return Answer(number, source, answer, _timestamp(ancillary), info & 0xFFFF)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _timestamp(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return None


class QuoteListener:
    """Shows with which mark a UDP packet arrived at the hop where its time to live expired (RFC
    2474).

    Routers quote the packet's header as they received it (tracebox, Detal et al. 2013). Only a raw
    socket shows it: raises `PermissionError` without CAP_NET_RAW.
    """

    _FILTER = 1  # linux/icmp.h: ICMP_FILTER of SOL_RAW, a bit for each type that is not wanted
    _SOL_RAW = 255

    def __init__(self, target: str, source_port: int) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        unwanted = ~(1 << _TIME_EXCEEDED | 1 << _UNREACHABLE) & 0xFFFFFFFF
        sock.setsockopt(self._SOL_RAW, self._FILTER, struct.pack("@I", unwanted))
        sock.setblocking(False)
        self._socket = sock
        self._target = socket.inet_aton(target)
        self._ports = struct.pack("!HH", source_port, UDP_PORT)

    def receive(self) -> Iterator[tuple[int, int]]:
        """Number and DSCP of each quoted packet of ours."""
        for _ in range(_MOST_READ):
            try:
                packet = self._socket.recv(2048)
            except OSError:
                return
            quote = packet[(packet[0] & 0x0F) * 4 + 8 :]
            if len(quote) < 20 or quote[9] != socket.IPPROTO_UDP or quote[16:20] != self._target:
                continue
            udp = quote[(quote[0] & 0x0F) * 4 :]
            if len(udp) >= 10 and udp[:4] == self._ports:
                yield struct.unpack_from("!H", udp, 8)[0], quote[1] >> 2

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

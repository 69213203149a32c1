"""All private names of aiortc and aioice that the package uses, checked by `self_test`.

aiortc has no hook for arriving packets, its jitter buffer stalls on a lost packet, it decodes what
we only count, it retransmits without limit, and aioice binds any port. `PacketTap` attaches
between SRTP and the rest of aiortc: decrypted packets that arrive go to our handler instead of to
aiortc's receivers, and packets from aiortc's senders pass through our handler before they are
encrypted. `bind` makes ICE gather one address and a port of the configured range.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any, Protocol

from aioice.candidate import Candidate, candidate_foundation, candidate_priority
from aioice.ice import Connection, StunProtocol
from aiortc import RTCPeerConnection
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcicetransport import RTCIceGatherer, RTCIceTransport
from aiortc.rtcrtpreceiver import RTCRtpReceiver
from aiortc.rtcrtpsender import RTCRtpSender

from jharnet_monitor.windows_api import ignore_icmp_errors

MAX_DATAGRAMS_PER_SECOND = 4000
"""Datagrams above this rate are dropped as a flood; a 720p call receives 250 a second."""
_SO_MEMINFO = 55
"""Linux socket option that returns the socket's counters as 32-bit numbers."""
_SK_MEMINFO_DROPS = 8
"""Index of the counter of datagrams dropped because the receive buffer was full."""
_RECEIVE_BUFFER_BYTES = 1 << 20
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")
_MAX_AGE_SECONDS = 5.0
"""A datagram cannot have waited longer in the socket; then the clock was set meanwhile."""
_RTCP_TYPES = bytes(range(192, 224))
"""The second byte of RTCP (RFC 5761, 4)."""


class LibraryChanged(RuntimeError):
    """The installed aiortc or aioice differs from the version whose private names we use."""


_BITRATE_ESTIMATOR = "_RTCRtpReceiver__remote_bitrate_estimator"
_RTP_HISTORY = "_RTCRtpSender__rtp_history"

_KNOWN: tuple[tuple[Any, str, str], ...] = (
    (RTCRtpReceiver.receive, "self parameters", "_register_rtp_receiver start"),
    (RTCRtpReceiver.stop, "self", "_unregister_rtp_receiver"),
    (RTCRtpReceiver._handle_rtp_packet, "self packet arrival_time_ms", _BITRATE_ESTIMATOR),
    (RTCRtpSender._run_rtp, "self codec", _RTP_HISTORY),
    (RTCDtlsTransport._send_rtp, "self data", "_tx_srtp transport"),
    (RTCDtlsTransport._handle_rtp_data, "self data arrival_time_ms", "_rtp_router"),
    (RTCDtlsTransport._handle_rtcp_data, "self data", "_rtp_router"),
    (
        RTCDtlsTransport._recv_next,
        "self",
        "transport _recv _handle_rtp_data _handle_rtcp_data _rx_srtp",
    ),
    (RTCIceTransport.__init__, "self gatherer", "_connection _recv"),
    (RTCIceGatherer.gather, "self", "_connection gather_candidates"),
    (Connection.gather_candidates, "self", "_local_candidates _local_candidates_end"),
    (Connection.get_component_candidates, "self component addresses timeout", "_protocols"),
    (Connection.sendto, "self data component", "_nominated send_data"),
    (Connection.query_consent, "self", "request close"),
    (StunProtocol.request, "self request addr integrity_key retransmissions", "Transaction"),
    (StunProtocol.send_data, "self data addr", "transport sendto"),
    (StunProtocol.send_stun, "self message addr", "transport sendto"),
    (StunProtocol.datagram_received, "self data addr", "data_received request_received"),
)
"""Each function with its parameters and the names that its body must use."""


def self_test() -> None:
    """Raise `LibraryChanged`, naming the installed versions, if a private name has changed."""
    for function, parameters, names in _KNOWN:
        found = " ".join(inspect.signature(function).parameters)
        used = {name for code in _code_objects(function.__code__) for name in code.co_names}
        missing = set(names.split()) - used
        if found != parameters or missing:
            what = f"has parameters ({found})" if found != parameters else f"lacks {missing}"
            raise LibraryChanged(
                f"aiortc {version('aiortc')} with aioice {version('aioice')} is not supported: "
                f"{function.__qualname__} {what}; conference calls need aiortc 1.16"
            )


def _code_objects(code: Any) -> list[Any]:
    """A function's code object and those of the functions nested in it."""
    nested = [c for c in code.co_consts if inspect.iscode(c)]
    return [code, *(inner for c in nested for inner in _code_objects(c))]


HEADER_BYTES = 28
"""IPv4 and UDP headers of a datagram."""
CONSENT_RETRANSMISSIONS = 2
CHECK_RETRANSMISSIONS = 20
"""Retransmissions of an unanswered connectivity check, in addition to the library's own."""
CHECK_INTERVAL_SECONDS = 0.15


class StampedDatagram(bytes):
    """A datagram that knows when the kernel received it, as long as it is not copied."""

    arrived_at: float
    """In monotonic seconds."""


class StampedSocket(socket.socket):
    """A UDP socket that reads datagrams with the kernel's time of arrival."""

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[StampedDatagram, Any]:
        """As of any socket; asyncio reads by this method."""
        data, ancillary, _, address = self.recvmsg(
            bufsize, socket.CMSG_SPACE(_TIMESPEC.size), flags
        )
        now, wall, age = time.monotonic(), time.time(), 0.0
        for level, kind, value in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
                seconds, nanoseconds = _TIMESPEC.unpack(value)
                age = wall - seconds - nanoseconds / 1e9
        datagram = StampedDatagram(data)
        datagram.arrived_at = now - age if 0 < age < _MAX_AGE_SECONDS else now
        return datagram, address


class Port(StunProtocol):
    """The UDP socket of one end of a call: counts all datagrams and drops a flood."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.sent = self.received = self.flood_drops = 0
        self.bytes = 0
        """IP bytes sent and received."""
        self.send_errno: int | None = None
        """The latest error number with which the kernel refused to send; None if none."""
        self.socket: socket.socket | None = None
        self._tokens = float(MAX_DATAGRAMS_PER_SECOND)
        self._tokens_at = 0.0
        self._counted: int | None = None
        self._counted_at = 0.0

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        """Count a datagram and pass it on, unless it exceeds `MAX_DATAGRAMS_PER_SECOND`."""
        now = time.monotonic()
        self._tokens += (now - self._tokens_at) * MAX_DATAGRAMS_PER_SECOND
        self._tokens = min(self._tokens, MAX_DATAGRAMS_PER_SECOND) - 1
        self._tokens_at = now
        if self._tokens < 0:
            self._tokens = 0
            self.flood_drops += 1
            return
        self.received += 1
        self.bytes += len(data) + HEADER_BYTES
        super().datagram_received(data, addr)

    def is_flooded(self) -> bool:
        """Whether more than `MAX_DATAGRAMS_PER_SECOND` arrived in a second, since the first
        question; with what the kernel dropped, as a host that is too busy to read a flood sees the
        smaller part of it. To be asked several times a second.
        """
        now, arrived = time.monotonic(), self.received + self.flood_drops + self.socket_drops
        if self._counted is None:
            self._counted, self._counted_at = arrived, now
        seconds = now - self._counted_at
        flooded = arrived - self._counted > MAX_DATAGRAMS_PER_SECOND * max(1.0, seconds)
        if seconds >= 1.0:
            self._counted, self._counted_at = arrived, now
        return flooded or self.flood_drops > 0

    def error_received(self, exc: Exception) -> None:
        """Note that the kernel refused a datagram: no route, or a firewall of this host."""
        if isinstance(exc, OSError):
            self.send_errno = exc.errno

    async def request(
        self,
        request: Any,
        addr: tuple[str, int],
        integrity_key: bytes | None = None,
        retransmissions: int | None = None,
    ) -> tuple[Any, tuple[str, int]]:
        """Send a STUN request and wait for the response, more persistently than aioice does.

        aioice waits 0.5 s for each answer to a consent check (RFC 7675) and ends the call after
        six failures: over a satellite link every call would end after half a minute. With
        `CONSENT_RETRANSMISSIONS` it waits 3.5 s.
        """
        if retransmissions == 0:
            return await super().request(request, addr, integrity_key, CONSENT_RETRANSMISSIONS)
        resending = asyncio.create_task(self._resend_check(request, addr))
        try:
            return await super().request(request, addr, integrity_key, retransmissions)
        finally:
            resending.cancel()

    async def _resend_check(self, request: Any, addr: tuple[str, int]) -> None:
        """Resend a connectivity check at short intervals until cancelled.

        aioice resends it after 0.5, 1.5 and 3.5 s: a burst of four lost packets would make a
        usable link look like one that blocks UDP.
        """
        for _ in range(CHECK_RETRANSMISSIONS):
            await asyncio.sleep(CHECK_INTERVAL_SECONDS)
            self.send_stun(request, addr)

    async def send_data(self, data: bytes, addr: tuple[str, int]) -> None:
        """Send a DTLS, RTP or RTCP datagram."""
        self.sent += 1
        self.bytes += len(data) + HEADER_BYTES
        self.transport.sendto(data, addr)

    def send_stun(self, message: Any, addr: tuple[str, int]) -> None:
        """Send a STUN message."""
        self.sent += 1
        super().send_stun(message, addr)

    def mark(self, dscp: int) -> None:
        """Send with this code point from now on."""
        if self.socket is None:
            return
        if self.socket.family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
        else:
            self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)

    @property
    def socket_drops(self) -> int:
        """Datagrams that the kernel dropped because they were not read in time."""
        if self.socket is None or self.socket.fileno() < 0:
            return 0
        try:
            counters = self.socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36)
        except OSError:
            return 0
        return int(struct.unpack(f"={len(counters) // 4}I", counters)[_SK_MEMINFO_DROPS])


def transport_of(connection: RTCPeerConnection) -> RTCDtlsTransport:
    """The DTLS transport that all media of a bundled call share, or that of a data channel."""
    if connection.sctp is not None and not connection.getTransceivers():
        return connection.sctp.transport
    return connection.getTransceivers()[0].receiver.transport


def bind(connection: RTCPeerConnection, address: str, ports: tuple[int, int] | None) -> None:
    """Make ICE gather only `address`, on a free port of the range `ports` (None: any port).

    The socket is bound when ICE gathers; that raises `OSError` if no port is free.
    """
    ice: Any = transport_of(connection).transport.iceGatherer._connection

    async def gather() -> None:
        sock = _bound_socket(address, ports)
        loop = asyncio.get_running_loop()
        _, port = await loop.create_datagram_endpoint(lambda: Port(ice), sock=sock)
        port.socket = sock
        host, number = sock.getsockname()[:2]
        port.local_candidate = Candidate(
            foundation=candidate_foundation("host", "udp", host),
            component=1,
            transport="udp",
            priority=candidate_priority(1, "host"),
            host=host,
            port=number,
            type="host",
        )
        ice._protocols.append(port)
        ice._local_candidates.append(port.local_candidate)
        ice._local_candidates_start = ice._local_candidates_end = True

    ice.gather_candidates = gather


def _new_socket(family: int) -> socket.socket:
    """A UDP socket with the kernel's timestamps, which Windows does not give."""
    if sys.platform == "win32":
        plain = socket.socket(family, socket.SOCK_DGRAM)
        ignore_icmp_errors(plain)
        return plain
    sock = StampedSocket(family, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    return sock


def _bound_socket(address: str, ports: tuple[int, int] | None) -> socket.socket:
    """A bound non-blocking UDP socket; raises `OSError` if no port of the range is free."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = _new_socket(family)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    last_error = OSError("no port")
    for number in range(ports[0], ports[1] + 1) if ports else (0,):
        try:
            sock.bind((address, number))
        except OSError as error:
            last_error = error
        else:
            return sock
    sock.close()
    raise last_error


def port_of(connection: RTCPeerConnection) -> Port | None:
    """The port that `bind` opened; None before ICE gathers and after the connection closes."""
    protocols = transport_of(connection).transport.iceGatherer._connection._protocols
    return next((p for p in protocols if isinstance(p, Port)), None)


def remote_address(connection: RTCPeerConnection) -> tuple[str, int] | None:
    """The peer's address that ICE nominated; None before that."""
    nominated = transport_of(connection).transport.iceGatherer._connection._nominated
    return nominated[1].remote_addr if 1 in nominated else None


class PacketHandler(Protocol):
    """Gets the packets of a `PacketTap`: plain RTP or RTCP as `data`.

    `at` is when the program read or has the packet, `arrived_at` when the kernel received it, both
    in monotonic seconds. They are the same where the kernel does not tell (Windows).
    """

    async def rtp_received(self, data: bytes, at: float, arrived_at: float) -> None:
        """An RTP packet arrived."""

    async def rtcp_received(self, data: bytes, at: float, arrived_at: float) -> None:
        """A (compound) RTCP packet arrived."""

    async def rtp_outgoing(self, data: bytes, send: Callable[[bytes], Awaitable[None]]) -> None:
        """A sender of aiortc has an RTP packet ready; pass it to `send` when it is due."""

    def rtcp_outgoing(self, data: bytes, at: float) -> bool:
        """A sender of aiortc has an RTCP packet ready; return whether to send it."""


class _DiscardingDict(dict[int, Any]):
    """Replaces aiortc's history of sent packets, which we keep ourselves.

    Saves 3 MB with eleven calls.
    """

    def __setitem__(self, number: int, packet: Any) -> None:
        """Keep nothing."""


class PacketTap:
    """Routes the decrypted packets of one transport, in both directions, through a handler."""

    def __init__(self, connection: RTCPeerConnection, handler: PacketHandler) -> None:
        transport: Any = transport_of(connection)
        self.send: Callable[[bytes], Awaitable[None]] = transport._send_rtp
        """Encrypt and send one RTP or RTCP packet now; raises `ConnectionError`."""
        receive_next: Callable[[], Awaitable[bytes]] = transport.transport._recv
        arrived_at: float | None = None
        """Of the datagram that aiortc decrypts and hands over before it reads the next."""

        async def receive() -> bytes:
            nonlocal arrived_at
            datagram = await receive_next()
            arrived_at = datagram.arrived_at if isinstance(datagram, StampedDatagram) else None
            return datagram

        def times() -> tuple[float, float]:
            now = time.monotonic()
            return now, now if arrived_at is None else arrived_at

        async def handle_rtp(data: bytes, arrival_time_ms: int) -> None:
            await handler.rtp_received(data, *times())

        async def handle_rtcp(data: bytes) -> None:
            await handler.rtcp_received(data, *times())

        async def send_outgoing(data: bytes) -> None:
            if data[1] in _RTCP_TYPES:
                if handler.rtcp_outgoing(data, time.monotonic()):
                    await self.send(data)
            else:
                await handler.rtp_outgoing(data, self.send)

        async def receive_nothing(parameters: Any) -> None:
            """Start no jitter buffer, no decoder thread and no receiver reports."""

        receivers: list[Any] = connection.getReceivers()
        for receiver in receivers:
            receiver.receive = receive_nothing
            setattr(receiver, _BITRATE_ESTIMATOR, None)
        for sender in connection.getSenders():
            setattr(sender, _RTP_HISTORY, _DiscardingDict())
        transport.transport._recv = receive
        transport._handle_rtp_data = handle_rtp
        transport._handle_rtcp_data = handle_rtcp
        transport._send_rtp = send_outgoing

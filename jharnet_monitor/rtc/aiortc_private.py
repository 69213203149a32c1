"""Every private name of aiortc and aioice that we touch, in one place, guarded by `self_test`.

aiortc keeps its packets to itself: it has no hook for arrivals, its jitter buffer stalls, it
decodes what we only want to count, it retransmits without limit, and aioice binds any port.
`Wire` takes the plain RTP and RTCP packets of one transport at the seam between SRTP and the
rest: whatever arrives goes to us instead of to aiortc's receivers, and whatever aiortc's
senders give out goes through us. `bind` puts ICE on one address and a port of our range.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any, Protocol

from aioice.candidate import Candidate, candidate_foundation, candidate_priority
from aioice.ice import Connection, StunProtocol
from aiortc import RTCPeerConnection
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcicetransport import RTCIceGatherer
from aiortc.rtcrtpreceiver import RTCRtpReceiver
from aiortc.rtcrtpsender import RTCRtpSender

DATAGRAMS_A_SECOND = 4000
"""A peer that sends more floods us; a 720p call takes 250."""
_SO_MEMINFO = 55
"""Linux: counters of a socket, among them the datagrams dropped for want of buffer."""
_SK_MEMINFO_DROPS = 8
_RECEIVE_BUFFER = 1 << 20


class LibraryChanged(RuntimeError):
    """The installed aiortc or aioice is not the one whose inside we know."""


_ESTIMATOR = "_RTCRtpReceiver__remote_bitrate_estimator"
_REPEATS = "_RTCRtpSender__rtp_history"

_KNOWN: tuple[tuple[Any, str, str], ...] = (
    (RTCRtpReceiver.receive, "self parameters", "_register_rtp_receiver start"),
    (RTCRtpReceiver.stop, "self", "_unregister_rtp_receiver"),
    (RTCRtpReceiver._handle_rtp_packet, "self packet arrival_time_ms", _ESTIMATOR),
    (RTCRtpSender._run_rtp, "self codec", _REPEATS),
    (RTCDtlsTransport._send_rtp, "self data", "_tx_srtp transport"),
    (RTCDtlsTransport._handle_rtp_data, "self data arrival_time_ms", "_rtp_router"),
    (RTCDtlsTransport._handle_rtcp_data, "self data", "_rtp_router"),
    (RTCDtlsTransport._recv_next, "self", "_handle_rtp_data _handle_rtcp_data _rx_srtp"),
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
"""Function, its parameters, and names that its body must use: what our seam rests on."""


def self_test() -> None:
    """Raise `LibraryChanged`, with the versions, if a private name is not as we know it."""
    for function, parameters, names in _KNOWN:
        found = " ".join(inspect.signature(function).parameters)
        used = {name for code in _codes(function.__code__) for name in code.co_names}
        missing = set(names.split()) - used
        if found != parameters or missing:
            what = f"has parameters ({found})" if found != parameters else f"lacks {missing}"
            raise LibraryChanged(
                f"aiortc {version('aiortc')} with aioice {version('aioice')} is not supported: "
                f"{function.__qualname__} {what}; conference calls need aiortc 1.16"
            )


def _codes(code: Any) -> list[Any]:
    nested = [c for c in code.co_consts if inspect.iscode(c)]
    return [code, *(inner for c in nested for inner in _codes(c))]


HEADER_BYTES = 28
"""IPv4 and UDP."""
CONSENT_REPEATS = 2
CHECK_REPEATS, CHECK_INTERVAL = 20, 0.15
"""Of a check at the beginning, beside the library's own; seconds."""


class Port(StunProtocol):
    """The UDP socket of one end: counts every datagram, and drops a flood before it queues."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.sent = self.received = self.flooded = 0
        self.bytes = 0
        """IP bytes of all of them, both ways."""
        self.refused: int | None = None
        """The error number with which the kernel refused to send; None if it never did."""
        self.socket: socket.socket | None = None
        self._allowance = float(DATAGRAMS_A_SECOND)
        self._allowed_at = 0.0

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        """Count, and let through what the allowance holds."""
        now = time.monotonic()
        self._allowance += (now - self._allowed_at) * DATAGRAMS_A_SECOND
        self._allowance = min(self._allowance, DATAGRAMS_A_SECOND) - 1
        self._allowed_at = now
        if self._allowance < 0:
            self._allowance = 0
            self.flooded += 1
            return
        self.received += 1
        self.bytes += len(data) + HEADER_BYTES
        super().datagram_received(data, addr)

    def error_received(self, exc: Exception) -> None:
        """The kernel refused a datagram: no route, or a firewall of this host."""
        if isinstance(exc, OSError):
            self.refused = exc.errno

    async def request(
        self,
        request: Any,
        addr: tuple[str, int],
        integrity_key: bytes | None = None,
        retransmissions: int | None = None,
    ) -> tuple[Any, tuple[str, int]]:
        """Ask by STUN; for consent (RFC 7675) with more patience than the library has.

        It waits half a second for each answer and gives the call up after six: over a satellite
        every call would end after half a minute. With two repeats it waits 3.5 s.
        """
        if retransmissions == 0:
            return await super().request(request, addr, integrity_key, CONSENT_REPEATS)
        insisting = asyncio.create_task(self._insist(request, addr))
        try:
            return await super().request(request, addr, integrity_key, retransmissions)
        finally:
            insisting.cancel()

    async def _insist(self, request: Any, addr: tuple[str, int]) -> None:
        """Send a check again and again while its answer is awaited.

        The library does at 0.5, 1.5 and 3.5 s: a burst of loss that takes four packets in a row
        would make a line that bears a conference look like one that blocks UDP.
        """
        for _ in range(CHECK_REPEATS):
            await asyncio.sleep(CHECK_INTERVAL)
            self.send_stun(request, addr)

    async def send_data(self, data: bytes, addr: tuple[str, int]) -> None:
        """Send DTLS, RTP or RTCP."""
        self.sent += 1
        self.bytes += len(data) + HEADER_BYTES
        self.transport.sendto(data, addr)

    def send_stun(self, message: Any, addr: tuple[str, int]) -> None:
        """Send a connectivity check or its answer."""
        self.sent += 1
        super().send_stun(message, addr)

    @property
    def socket_drops(self) -> int:
        """Datagrams that this host lost because we did not read them in time."""
        if self.socket is None or self.socket.fileno() < 0:
            return 0
        try:
            counters = self.socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36)
        except OSError:
            return 0
        return int(struct.unpack(f"={len(counters) // 4}I", counters)[_SK_MEMINFO_DROPS])


def transport_of(connection: RTCPeerConnection) -> RTCDtlsTransport:
    """The one transport that all media of a bundled call share."""
    return connection.getTransceivers()[0].receiver.transport


def bind(connection: RTCPeerConnection, address: str, ports: tuple[int, int] | None) -> None:
    """Let ICE gather this address alone, on a free port of the range (None: any port)."""
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


def _bound_socket(address: str, ports: tuple[int, int] | None) -> socket.socket:
    """A non-blocking UDP socket; raises `OSError` where no port of the range is free."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    problem = OSError("no port")
    for number in range(ports[0], ports[1] + 1) if ports else (0,):
        try:
            sock.bind((address, number))
        except OSError as error:
            problem = error
        else:
            return sock
    sock.close()
    raise problem


def port_of(connection: RTCPeerConnection) -> Port | None:
    """The socket that `bind` made, once gathered and until closed."""
    protocols = transport_of(connection).transport.iceGatherer._connection._protocols
    return next((p for p in protocols if isinstance(p, Port)), None)


def remote_address(connection: RTCPeerConnection) -> tuple[str, int] | None:
    """The peer's address that ICE settled on."""
    nominated = transport_of(connection).transport.iceGatherer._connection._nominated
    return nominated[1].remote_addr if 1 in nominated else None


class Tap(Protocol):
    """Who gets the packets of a `Wire`; `data` is plain RTP or RTCP, `at` monotonic seconds."""

    async def rtp_received(self, data: bytes, at: float) -> None:
        """A media packet arrived."""

    async def rtcp_received(self, data: bytes, at: float) -> None:
        """A (compound) RTCP packet arrived."""

    async def rtp_leaving(self, data: bytes, send: Callable[[bytes], Awaitable[None]]) -> None:
        """A sender of aiortc gives out a media packet: pass it to `send` when its time comes."""

    def rtcp_leaving(self, data: bytes, at: float) -> bool:
        """A sender of aiortc gives out RTCP; True lets it go."""


class _Forgetful(dict[int, Any]):
    """Stands for packets kept for repeats, which are ours to make: eleven calls save 3 MB."""

    def __setitem__(self, number: int, packet: Any) -> None:
        """Keep nothing."""


class Wire:
    """The seam: the plain packets of one transport, both ways."""

    def __init__(self, connection: RTCPeerConnection, tap: Tap) -> None:
        transport: Any = transport_of(connection)
        self.send: Callable[[bytes], Awaitable[None]] = transport._send_rtp
        """Encrypt and send one RTP or RTCP packet now; raises `ConnectionError`."""

        async def received(data: bytes, arrival_time_ms: int) -> None:
            await tap.rtp_received(data, time.monotonic())

        async def control_received(data: bytes) -> None:
            await tap.rtcp_received(data, time.monotonic())

        async def leaving(data: bytes) -> None:
            if 192 <= data[1] <= 223:  # RFC 5761: RTCP among RTP
                if tap.rtcp_leaving(data, time.monotonic()):
                    await self.send(data)
            else:
                await tap.rtp_leaving(data, self.send)

        async def nothing(parameters: Any) -> None:
            """No jitter buffer, no decoder's thread, no report beside ours."""

        receivers: list[Any] = connection.getReceivers()
        for receiver in receivers:
            receiver.receive = nothing
            setattr(receiver, _ESTIMATOR, None)
        for sender in connection.getSenders():
            setattr(sender, _REPEATS, _Forgetful())
        transport._handle_rtp_data = received
        transport._handle_rtcp_data = control_received
        transport._send_rtp = leaving

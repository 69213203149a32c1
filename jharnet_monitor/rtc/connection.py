"""One peer connection over one UDP port: negotiated, established, monitored and closed.

Every wait has a time limit, and every failure has its own cause: blocked UDP, no route and a
failed DTLS handshake are reported separately.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence

from aiortc import (
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.exceptions import InternalError, InvalidStateError, OperationError
from aiortc.rtcrtpparameters import RTCRtpCodecCapability
from aiortc.rtcrtpsender import RTCRtpSender

from jharnet_monitor.model import Cause
from jharnet_monitor.rtc.aiortc_private import (
    PacketHandler,
    PacketTap,
    Port,
    bind,
    port_of,
    remote_address,
    self_test,
    transport_of,
)
from jharnet_monitor.rtc.codecs import Codec
from jharnet_monitor.rtc.sdp import (
    BadDescription,
    Streams,
    parse_streams,
    sanitize,
    with_transport_cc,
)

_log = logging.getLogger(__name__)

MEDIA_TIMEOUT_SECONDS = 3.9
"""Without a media packet for this long a path is dead. With the polling interval that reports a
dead path within 4 s."""
FIRST_DATAGRAM_TIMEOUT_SECONDS = 3.2
"""Time limit for the first datagram. With the exchange of descriptions before it, a dead path is
reported within 4 s."""
HANDSHAKE_TIMEOUT_SECONDS = 8.0
"""Time limit for ICE, and again for DTLS, once a datagram has arrived."""
_POLL_SECONDS = 0.02
_H264_PROFILE_LEVEL_ID = "42e01f"
"""Constrained baseline, level 3.1 (RFC 6184, 8.1): 720p at 30 frames/s, decoded by all clients."""


class CallFailed(Exception):
    """A call without a result.

    `by_network` is True if the network prevented the call (outcome `failed`), False if the call
    could not be measured (outcome `no_data`).
    """

    def __init__(self, cause: Cause, detail: str, *, by_network: bool = True) -> None:
        super().__init__(f"{cause.value}: {detail}")
        self.cause, self.detail, self.by_network = cause, detail, by_network


def route_address(host: str, port: int = 9) -> str:
    """The local address from which packets to `host` are sent.

    Raises `CallFailed`: `NO_ROUTE`, or `NAME_NOT_RESOLVED`, which says nothing about the line.
    """
    try:
        family, _, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    except socket.gaierror as error:
        raise CallFailed(
            Cause.NAME_NOT_RESOLVED, f"{host}: {error.strerror}", by_network=False
        ) from error
    except OSError as error:
        raise CallFailed(Cause.NO_ROUTE, f"no route to {host} ({error.strerror})") from error


async def poll(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until `condition` is true, for at most `seconds`; returns whether it became true.

    Polls because aiortc has events for few of its states.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL_SECONDS)
    return True


def _is_supported(capability: RTCRtpCodecCapability, codec: Codec) -> bool:
    profile = capability.parameters.get("profile-level-id", _H264_PROFILE_LEVEL_ID)
    return capability.name.lower() in ("opus", codec, "rtx") and profile == _H264_PROFILE_LEVEL_ID


class PeerConnection:
    """Sends the given tracks and passes all packets through the given handler."""

    def __init__(
        self,
        address: str,
        ports: tuple[int, int] | None,
        tracks: Sequence[MediaStreamTrack],
        handler: PacketHandler,
        codec: Codec,
    ) -> None:
        """`address` is the local address; `ports` the range for the UDP port (None: any).

        Raises `LibraryChanged` if the installed aiortc is not supported.
        """
        self_test()
        self._address = address
        self._codec = codec
        self._peer = RTCPeerConnection(
            RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        )
        for track in tracks:
            capabilities = RTCRtpSender.getCapabilities(track.kind).codecs
            self._peer.addTransceiver(track).setCodecPreferences(
                [capability for capability in capabilities if _is_supported(capability, codec)]
            )
        bind(self._peer, address, ports)
        self._transport = transport_of(self._peer)
        self._port: Port | None = None
        self.send = PacketTap(self._peer, handler).send
        """Send one RTP or RTCP packet now; raises `ConnectionError`."""

    # Descriptions

    async def offer(self) -> str:
        """Our session description, to be answered by the other end. Raises `CallFailed`."""
        await self._negotiate(self._peer.setLocalDescription)
        return str(self._peer.localDescription.sdp)

    async def answer(self, offer: object) -> str:
        """Apply the other end's offer and return our answer. Raises `CallFailed`."""
        await self._apply_remote(offer, "offer")
        await self._negotiate(self._peer.setLocalDescription)
        self._port = port_of(self._peer)
        text = str(self._peer.localDescription.sdp)
        extension_id = self.remote_streams.transport_cc_id
        return text if extension_id is None else with_transport_cc(text, extension_id)

    async def accept(self, answer: object) -> None:
        """Apply the other end's answer to our offer. Raises `CallFailed`."""
        await self._apply_remote(answer, "answer")
        self._port = port_of(self._peer)

    async def _apply_remote(self, text: object, kind: str) -> None:
        try:
            description = sanitize(text, self._address)
            parse_streams(description, self._codec)
        except BadDescription as error:
            raise CallFailed(
                Cause.SIGNALLING_FAILED, f"the other end's {kind} {error}", by_network=False
            ) from error
        await self._negotiate(
            lambda: self._peer.setRemoteDescription(RTCSessionDescription(description, kind))
        )

    async def _negotiate(self, step: Callable[[], Awaitable[None]]) -> None:
        """Run one step of aiortc's negotiation; turns its exceptions into `CallFailed`."""
        try:
            await step()
        except OSError as error:
            raise CallFailed(
                Cause.NOT_CONFIGURED, f"no free UDP port at {self._address}: {error.strerror}",
                by_network=False,
            ) from error  # fmt: skip
        except (ValueError, AssertionError, LookupError, TypeError, AttributeError,
                InternalError, InvalidStateError, OperationError) as error:  # fmt: skip
            raise CallFailed(
                Cause.SIGNALLING_FAILED,
                f"session description refused ({type(error).__name__}: {error})",
                by_network=False,
            ) from error

    def mark(self, dscp: int) -> None:
        """Send with this code point (RFC 2474) from now on; valid after the negotiation."""
        if self._port is not None and dscp:
            self._port.mark(dscp)

    @property
    def local_streams(self) -> Streams:
        """The streams that this end sends; valid after the negotiation."""
        return parse_streams(self._peer.localDescription.sdp, self._codec)

    @property
    def remote_streams(self) -> Streams:
        """The streams that the other end sends; valid after the negotiation."""
        return parse_streams(self._peer.remoteDescription.sdp, self._codec)

    # Set-up

    async def connect(self) -> None:
        """Wait for ICE and DTLS to complete; raises `CallFailed` with the cause if they do not."""
        ice, dtls = self._transport.transport, self._transport
        await self.wait_for(
            lambda: self.datagrams[1] > 0, FIRST_DATAGRAM_TIMEOUT_SECONDS, Cause.UDP_BLOCKED,
            "no datagram arrived",
        )  # fmt: skip
        await self.wait_for(
            lambda: ice.state == "completed", HANDSHAKE_TIMEOUT_SECONDS, Cause.UDP_BLOCKED,
            "datagrams arrive, but no connectivity check of ours was answered",
        )  # fmt: skip
        await self.wait_for(
            lambda: dtls.state in ("connected", "failed", "closed"), HANDSHAKE_TIMEOUT_SECONDS,
            Cause.DTLS_FAILED, "the DTLS handshake did not complete",
        )  # fmt: skip
        if dtls.state != "connected":
            raise CallFailed(Cause.DTLS_FAILED, "the DTLS handshake failed")

    async def wait_for(
        self, condition: Callable[[], bool], seconds: float, cause: Cause, detail: str
    ) -> None:
        """Wait until `condition` is true.

        Raises `CallFailed` with `cause` and `detail` if that takes longer than `seconds`, and with
        the cause of the refusal if this host refuses to send before anything has arrived.
        """

        def send_errno() -> int | None:
            port = self._port
            return port.send_errno if port is not None and not port.received else None

        if not await poll(lambda: condition() or send_errno() is not None, seconds):
            raise CallFailed(cause, f"{detail} within {seconds:g} s")
        if number := send_errno():
            by_firewall = number in (errno.EPERM, errno.EACCES)
            raise CallFailed(
                Cause.UDP_BLOCKED if by_firewall else Cause.NO_ROUTE,
                f"this host refuses to send ({os.strerror(number)})",
            )

    # State

    @property
    def is_open(self) -> bool:
        """Whether the DTLS transport is neither closed nor failed."""
        return self._transport.state not in ("closed", "failed")

    @property
    def datagrams(self) -> tuple[int, int]:
        """Datagrams of any kind that this end has sent and received so far."""
        return (0, 0) if self._port is None else (self._port.sent, self._port.received)

    @property
    def line_bytes(self) -> int:
        """IP bytes of these datagrams, both directions together, without the STUN we send."""
        return 0 if self._port is None else self._port.bytes

    def is_flooded(self) -> bool:
        """Whether the other end sends more than any call needs; ask several times a second."""
        return self._port is not None and self._port.is_flooded()

    @property
    def socket_drops(self) -> int:
        """Datagrams that the kernel dropped because they were not read in time."""
        return 0 if self._port is None else self._port.socket_drops

    @property
    def ports(self) -> tuple[int, int]:
        """Local and remote UDP port of the call; 0 where not known."""
        peer = remote_address(self._peer)
        return (
            0 if self._port is None else self._port.local_candidate.port,
            0 if peer is None else peer[1],
        )

    async def close(self) -> None:
        """Free the port and the threads, within `MEDIA_TIMEOUT_SECONDS`; idempotent."""
        try:
            await asyncio.wait_for(self._peer.close(), MEDIA_TIMEOUT_SECONDS)
        except TimeoutError:  # raising would replace the result of the call, which is known
            _log.warning(
                "aiortc did not close its connection within %g s; closing its socket",
                MEDIA_TIMEOUT_SECONDS,
            )
            if self._port is not None:
                self._port.transport.close()

"""A peer connection over one UDP port of ours: described, set up, watched, and closed for sure.

Every wait has an end, and every end has a cause: UDP blocked, no route and DTLS failed are told
apart.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
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
    Port,
    Tap,
    Wire,
    bind,
    port_of,
    remote_address,
    self_test,
    transport_of,
)
from jharnet_monitor.rtc.codecs import Codec
from jharnet_monitor.rtc.failure import CallFailed
from jharnet_monitor.rtc.sdp import BadDescription, Streams, streams, vetted

_log = logging.getLogger(__name__)

SILENCE = 3.9
"""Seconds without a media packet after which a path is dead: looked at often enough to know it
within 4 s."""
FIRST_DATAGRAM = 3.2
"""Seconds for the first one: with the descriptions before it, a dead path is known within 4 s."""
HANDSHAKE = 8.0
"""Seconds for ICE, and again for DTLS, once something comes through."""
POLL = 0.02
_BASELINE = "42e01f"
"""Constrained baseline, level 3.1 (RFC 6184, 8.1): 720p at 30 frames/s, which everybody decodes."""


async def settled(done: Callable[[], bool], seconds: float) -> bool:
    """Poll a state of aiortc, which has events for few of them; False when time is up."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL)
    return True


def _is_ours(offered: RTCRtpCodecCapability, codec: Codec) -> bool:
    profile = offered.parameters.get("profile-level-id", _BASELINE)
    return offered.name.lower() in ("opus", codec, "rtx") and profile == _BASELINE


class Connection:
    """Sends the tracks, and gives what passes to the tap."""

    def __init__(
        self,
        address: str,
        ports: tuple[int, int] | None,
        tracks: Sequence[MediaStreamTrack],
        tap: Tap,
        codec: Codec,
    ) -> None:
        """`address` is our own, `ports` the range to take a UDP port from (None: any)."""
        self_test()
        self._address = address
        self._codec = codec
        self._peer = RTCPeerConnection(
            RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        )
        for track in tracks:
            capabilities = RTCRtpSender.getCapabilities(track.kind).codecs
            self._peer.addTransceiver(track).setCodecPreferences(
                [one for one in capabilities if _is_ours(one, codec)]
            )
        bind(self._peer, address, ports)
        self._transport = transport_of(self._peer)
        self._port: Port | None = None
        self.send = Wire(self._peer, tap).send
        """Send one RTP or RTCP packet now; raises `ConnectionError`."""

    # Descriptions

    async def offer(self) -> str:
        """Our session description, for the other end to answer."""
        await self._describe(self._peer.setLocalDescription)
        return str(self._peer.localDescription.sdp)

    async def answer(self, offer: object) -> str:
        """Take the other end's offer; gives our answer to it."""
        await self._take(offer, "offer")
        await self._describe(self._peer.setLocalDescription)
        self._port = port_of(self._peer)
        return str(self._peer.localDescription.sdp)

    async def accept(self, answer: object) -> None:
        """Take the other end's answer to our offer."""
        await self._take(answer, "answer")
        self._port = port_of(self._peer)

    async def _take(self, text: object, kind: str) -> None:
        try:
            description = vetted(text, self._address)
            streams(description, self._codec)
        except BadDescription as error:
            raise CallFailed(
                Cause.SIGNALLING_FAILED, f"the other end's {kind} {error}", by_network=False
            ) from error
        await self._describe(
            lambda: self._peer.setRemoteDescription(RTCSessionDescription(description, kind))
        )

    async def _describe(self, step: Callable[[], Awaitable[None]]) -> None:
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

    @property
    def own(self) -> Streams:
        """What we send, once described."""
        return streams(self._peer.localDescription.sdp, self._codec)

    @property
    def theirs(self) -> Streams:
        """What the other end sends, once described."""
        return streams(self._peer.remoteDescription.sdp, self._codec)

    # Set-up

    async def connect(self) -> None:
        """Wait for ICE and DTLS; raises `CallFailed` with the cause where they do not come."""
        ice, dtls = self._transport.transport, self._transport
        await self.until(
            lambda: self.datagrams[1] > 0, FIRST_DATAGRAM, Cause.UDP_BLOCKED, "no datagram came"
        )
        await self.until(
            lambda: ice.state == "completed", HANDSHAKE, Cause.UDP_BLOCKED,
            "datagrams come, but none of ours is answered",
        )  # fmt: skip
        await self.until(
            lambda: dtls.state in ("connected", "failed", "closed"), HANDSHAKE, Cause.DTLS_FAILED,
            "the DTLS handshake does not end",
        )  # fmt: skip
        if dtls.state != "connected":
            raise CallFailed(Cause.DTLS_FAILED, "the DTLS handshake failed")

    async def until(
        self, done: Callable[[], bool], seconds: float, cause: Cause, detail: str
    ) -> None:
        """Wait for a state; raises `CallFailed` if it does not come in time."""

        def refused() -> int | None:
            port = self._port
            return port.refused if port is not None and not port.received else None

        if not await settled(lambda: done() or refused() is not None, seconds):
            raise CallFailed(cause, f"{detail} within {seconds:g} s")
        if number := refused():
            by_firewall = number in (errno.EPERM, errno.EACCES)
            raise CallFailed(
                Cause.UDP_BLOCKED if by_firewall else Cause.NO_ROUTE,
                f"this host refuses to send ({os.strerror(number)})",
            )

    # State

    @property
    def is_open(self) -> bool:
        """Whether the other end has neither left nor been lost."""
        return self._transport.state not in ("closed", "failed")

    @property
    def datagrams(self) -> tuple[int, int]:
        """Sent and received by this end so far, everything counted."""
        return (0, 0) if self._port is None else (self._port.sent, self._port.received)

    @property
    def line_bytes(self) -> int:
        """IP bytes of these datagrams, both ways together; the few of STUN we send left out."""
        return 0 if self._port is None else self._port.bytes

    @property
    def flooded(self) -> int:
        """Datagrams dropped because the other end sends more than any call needs."""
        return 0 if self._port is None else self._port.flooded

    @property
    def socket_drops(self) -> int:
        """Datagrams that this host lost because we did not read them in time."""
        return 0 if self._port is None else self._port.socket_drops

    @property
    def ports(self) -> tuple[int, int]:
        """UDP ports of the flow, ours and theirs; 0 where not known."""
        peer = remote_address(self._peer)
        return (
            0 if self._port is None else self._port.local_candidate.port,
            0 if peer is None else peer[1],
        )

    async def close(self) -> None:
        """Free the port and the threads; bounded, and idempotent."""
        try:
            await asyncio.wait_for(self._peer.close(), SILENCE)
        except TimeoutError:  # what the call came to is known, and must not become a time-out
            _log.warning("aiortc did not close its connection within %g s", SILENCE)
            if self._port is not None:
                self._port.transport.close()

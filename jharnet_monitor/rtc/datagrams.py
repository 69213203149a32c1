"""Small datagrams to and from a page in a browser: an unreliable data channel (RFC 8831).

A browser has no UDP socket for pages. A data channel without order and retransmission is the
nearest: each message is one SCTP chunk in one DTLS record in one UDP datagram, over the port range
of calls.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import InternalError, InvalidStateError, OperationError

from jharnet_monitor.rtc.aiortc_private import bind, self_test
from jharnet_monitor.rtc.sdp import BadDescription, sanitize

CLOSE_SECONDS = 3.0
MOST_BYTES = 64
"""The longest datagram that is passed on; the hub sends no longer ones."""

_REFUSED = (
    ValueError, AssertionError, LookupError, TypeError, AttributeError, InternalError,
    InvalidStateError, OperationError,
)  # fmt: skip


class DatagramPath:
    """The hub's end of a page's data channel, over one UDP port.

    `received` is called with each datagram. An async context manager: leaving it closes everything.
    """

    def __init__(
        self, address: str, ports: tuple[int, int] | None, received: Callable[[bytes], None]
    ) -> None:
        """`address` is the local address; raises `LibraryChanged` for another aiortc."""
        self_test()
        self._address = address
        self._ports = ports
        self._received = received
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._peer.on("datachannel", self._take)
        self._channel: RTCDataChannel | None = None
        self._opened = asyncio.Event()

    async def __aenter__(self) -> DatagramPath:
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await asyncio.wait_for(self._peer.close(), CLOSE_SECONDS)
        except TimeoutError:
            return

    def _take(self, channel: RTCDataChannel) -> None:
        if self._channel is None:
            self._channel = channel
            channel.on("message", self._pass_on)
            self._opened.set()

    def _pass_on(self, message: object) -> None:
        if isinstance(message, bytes) and len(message) <= MOST_BYTES:
            self._received(message)

    async def answer(self, offer: object) -> str:
        """Apply the page's offer of a data channel; our answer.

        Raises `BadDescription`, and `OSError` where no port of the range is free.
        """
        description = sanitize(offer, self._address)
        if re.findall(r"(?m)^m=(\w+)", description) != ["application"]:
            raise BadDescription("does not describe one data channel")
        try:
            await self._peer.setRemoteDescription(RTCSessionDescription(description, "offer"))
            bind(self._peer, self._address, self._ports)
            await self._peer.setLocalDescription(await self._peer.createAnswer())
        except _REFUSED as error:
            raise BadDescription(f"was refused ({type(error).__name__}: {error})") from error
        return str(self._peer.localDescription.sdp)

    async def opened(self, seconds: float) -> bool:
        """Whether the channel opened within this time."""
        try:
            await asyncio.wait_for(self._opened.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def send(self, datagram: bytes) -> None:
        """Send one datagram; on a path that has ended, it is lost."""
        if self._channel is not None and self._channel.readyState == "open":
            try:
                self._channel.send(datagram)
            except (InvalidStateError, ConnectionError):
                return

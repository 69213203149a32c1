"""One office's connected agent, as the probes on the hub use it."""

from __future__ import annotations

import asyncio
import fcntl
import secrets
import socket
import termios
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from jharnet_monitor.clock import Clock
from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import Channel, NoData
from jharnet_monitor.wire.intake import BROWSER, PROGRAM
from jharnet_monitor.wire.protocol import HEARTBEAT_SECONDS, Channels, ProtocolError

TRANSFER_SECONDS = 60.0
"""How long a transfer may wait for its agent."""

QUIET_SECONDS = 1.5 * HEARTBEAT_SECONDS
"""An agent that is silent for this long is overloaded, or its line is cut."""
ACKNOWLEDGE_SECONDS = 1.0
"""How long a TCP acknowledgement may take, on a line with a round trip of at most a second."""

TransferHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class AgentConnection:
    """An agent's open session: the `AgentLink` of one office."""

    office: str
    features: frozenset[str]
    channels: Channels
    transfers: Transfers
    socket: web.WebSocketResponse
    transport: asyncio.Transport | None = None
    """The connection below the socket; None once it is closed."""
    address: str | None = None
    """The IP address from which it connected."""
    kind: str = PROGRAM
    goodbye: bool = False
    token: str = field(default="", repr=False)
    """The token of the agent; checked again while the session lasts."""
    checked_at: float = 0.0
    """When the token was checked last, monotonic."""
    last_frame_at: float = 0.0
    """When the last frame arrived, monotonic."""
    storing: set[asyncio.Task[None]] = field(default_factory=set)
    """Batches that are being stored."""
    behind_proxy: bool = False
    """Whether a reverse proxy passed the session on; see `AgentLink`."""

    async def open(self, task: str, params: Mapping[str, Any]) -> Channel:
        """Start the agent's half of a probe; see `probes.base.AgentLink`."""
        if task not in self.features and self.in_browser:
            raise NoData(Cause.NEEDS_PROGRAM, f"a page in a browser cannot do {task}")
        if task not in self.features:
            raise NoData(Cause.AGENT_TOO_OLD, f"the agent does not know {task}")
        try:
            channel = self.channels.new()
        except ProtocolError as error:
            raise NoData(Cause.AGENT_BUSY, str(error)) from error
        await self.channels.send(
            {"type": "open", "id": channel.number, "task": task, "params": dict(params)}
        )
        return channel

    async def is_stalled(self) -> bool:
        """Whether the kernel of the office's PC answers but its agent does not; see `AgentLink`.
        The kernel acknowledges a frame over TCP even if the program does not run.
        """
        connection = self.transport.get_extra_info("socket") if self.transport else None
        if connection is None or self._is_recent():
            return False
        began = self.clock.monotonic()
        try:
            await self.socket.ping()
            while self.clock.monotonic() - began < ACKNOWLEDGE_SECONDS and not self._is_recent():
                await self.clock.sleep(0.05)
                if not _unacknowledged(connection):
                    return not self._is_recent()
        except (OSError, RuntimeError):
            return False
        return False

    def _is_recent(self) -> bool:
        return self.clock.monotonic() - self.last_frame_at < QUIET_SECONDS

    @property
    def in_browser(self) -> bool:
        """Whether it is a page in a browser."""
        return self.kind == BROWSER

    @property
    def clock(self) -> Clock:
        """The hub's clock."""
        return self.transfers.clock

    def serve_transfer(self, handler: TransferHandler) -> str:
        """Offer a one-time HTTP exchange to this agent; returns its path."""
        return self.transfers.offer(self.office, handler)


def _unacknowledged(connection: socket.socket) -> int:
    """Bytes that the other end's kernel has not acknowledged (SIOCOUTQ, tcp(7))."""
    return int.from_bytes(fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)), "little")


@dataclass(slots=True)
class Transfers:
    """One-time HTTP exchanges that running probes have offered to agents."""

    clock: Clock
    _offers: dict[str, tuple[str, float, TransferHandler]] = field(default_factory=dict)

    def offer(self, office: str, handler: TransferHandler) -> str:
        """Keep the handler for the office under a new key; returns the path."""
        now = self.clock.monotonic()
        self._offers = {k: o for k, o in self._offers.items() if o[1] > now}
        key = secrets.token_urlsafe(24)
        self._offers[key] = (office, now + TRANSFER_SECONDS, handler)
        return f"/agent/transfer/{key}"

    async def serve(self, key: str, office: str, request: web.Request) -> web.StreamResponse:
        """Run an exchange once, for the office to which it was offered."""
        offer = self._offers.pop(key, None)
        if offer is None or offer[0] != office or offer[1] < self.clock.monotonic():
            if request.can_read_body and request.transport is not None:
                # A browser sends an upload again that was reset at its end: stop that at once.
                request.transport.abort()
            raise web.HTTPNotFound(text="no such transfer")
        return await offer[2](request)

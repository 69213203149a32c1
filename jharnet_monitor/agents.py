"""The hub's end of the agents' sessions: who may come in, who is there, what they hand in."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from jharnet_monitor.clock import Clock
from jharnet_monitor.model import Cause, Measurement
from jharnet_monitor.probes.base import Channel, ChannelClosed, NoData
from jharnet_monitor.session import (
    MAX_BATCH,
    MAX_FRAME_BYTES,
    PROTOCOL,
    SILENCE_SECONDS,
    Channels,
    ProtocolError,
    decode,
)

log = logging.getLogger(__name__)

HELLO_SECONDS = 10.0
TRANSFER_SECONDS = 60.0
"""A transfer that nobody came for is forgotten after this."""
MAX_FRAMES_PER_MINUTE = 6000

TransferHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Vitals:
    """What an agent says of itself in `hello` and every heartbeat."""

    boot_id: str
    uptime: float
    spooled: int
    version: str | None = None

    @classmethod
    def of(cls, frame: Mapping[str, Any]) -> Vitals:
        """Read the frame; raises `ProtocolError`."""
        boot_id, uptime, spooled = (frame.get(k) for k in ("boot_id", "uptime_seconds", "spooled"))
        if (
            not isinstance(boot_id, str)
            or len(boot_id) > 64
            or not isinstance(uptime, (int, float))
            or not isinstance(spooled, int)
        ):
            raise ProtocolError("vitals are incomplete")
        version = frame.get("version")
        return cls(boot_id, float(uptime), spooled, str(version)[:40] if version else None)


class AgentEvents:
    """What the hub wants to know; the default hears nothing."""

    async def joined(self, office: str, vitals: Vitals) -> None:
        """An agent said hello."""

    async def heard(self, office: str, vitals: Vitals) -> None:
        """A heartbeat."""

    async def left(self, office: str, goodbye: bool) -> None:
        """The session ended; `goodbye` when the agent said so."""

    async def handed_in(self, office: str, measurements: list[Measurement]) -> None:
        """Store what an agent measured; returns when it is safe on disk."""


@dataclass(slots=True)
class AgentSession:
    """A live session: the hub's `AgentLink` of one office."""

    office: str
    features: frozenset[str]
    channels: Channels
    transfers: Transfers
    socket: web.WebSocketResponse
    goodbye: bool = False

    async def open(self, task: str, params: Mapping[str, Any]) -> Channel:
        """Start the far half of a probe; see `probes.base.AgentLink`."""
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

    def serve_transfer(self, handler: TransferHandler) -> str:
        """Offer a one-time HTTP exchange to this agent; gives its path."""
        return self.transfers.offer(self.office, handler)


@dataclass(slots=True)
class Transfers:
    """One-time HTTP exchanges that running probes have offered to agents."""

    clock: Clock
    _offers: dict[str, tuple[str, float, TransferHandler]] = field(default_factory=dict)

    def offer(self, office: str, handler: TransferHandler) -> str:
        """Keep the handler for the office under a new key; gives the path."""
        now = self.clock.monotonic()
        self._offers = {k: o for k, o in self._offers.items() if o[1] > now}
        key = secrets.token_urlsafe(24)
        self._offers[key] = (office, now + TRANSFER_SECONDS, handler)
        return f"/agent/transfer/{key}"

    async def serve(self, key: str, office: str, request: web.Request) -> web.StreamResponse:
        """Run the exchange for its office, once."""
        offer = self._offers.pop(key, None)
        if offer is None or offer[0] != office or offer[1] < self.clock.monotonic():
            raise web.HTTPNotFound(text="no such transfer")
        return await offer[2](request)


class Agents:
    """All sessions. `authenticate(office, token)` tells whether a token is the office's."""

    def __init__(
        self, authenticate: Callable[[str, str], bool], events: AgentEvents, clock: Clock
    ) -> None:
        self.authenticate = authenticate
        self._events = events
        self._clock = clock
        self._sessions: dict[str, AgentSession] = {}
        self.transfers = Transfers(clock)

    def get(self, office: str) -> AgentSession | None:
        """The office's session, when an agent is connected."""
        return self._sessions.get(office)

    def _admit(self, request: web.Request, office: str) -> None:
        """Refuse whoever cannot prove the office; says no more than that."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not self.authenticate(office, token):
            log.warning("refused an agent for office %r from %s", office[:60], request.remote)
            raise web.HTTPUnauthorized(text="wrong or missing token for this office")

    async def transfer(self, request: web.Request) -> web.StreamResponse:
        """`/agent/transfer/{key}?office=ID`: the bulk exchanges of probes."""
        office = request.query.get("office", "")
        self._admit(request, office)
        return await self.transfers.serve(request.match_info["key"], office, request)

    async def socket(self, request: web.Request) -> web.StreamResponse:
        """`/agent?office=ID`: the session of one agent, until it ends."""
        office = request.query.get("office", "")
        self._admit(request, office)
        socket = web.WebSocketResponse(max_msg_size=MAX_FRAME_BYTES, timeout=5)
        await socket.prepare(request)
        try:
            await self._session(office, socket)
        except ProtocolError as error:
            log.warning("agent of %s broke the protocol: %s", office, error)
            await socket.close(code=1002, message=str(error).encode()[:100])
        except (TimeoutError, ChannelClosed, ConnectionError):
            log.info("agent of %s fell silent", office)
            socket_transport = request.transport
            if socket_transport is not None:
                socket_transport.abort()  # a closing handshake would wait for a dead link
        return socket

    async def _session(self, office: str, socket: web.WebSocketResponse) -> None:
        hello = await self._frame(socket, HELLO_SECONDS)
        if hello is None or hello["type"] != "hello" or hello.get("protocol") != PROTOCOL:
            raise ProtocolError(f"expected `hello` of protocol {PROTOCOL}")
        features = frozenset(str(f)[:40] for f in hello.get("features", [])[:20])
        session = AgentSession(office, features, Channels(socket), self.transfers, socket)
        before = self._sessions.pop(office, None)
        if before is not None:  # the agent came back before its dead session was noticed
            before.channels.end("the agent reconnected")
            asyncio.ensure_future(before.socket.close()).add_done_callback(_ignore)
        self._sessions[office] = session
        await self._events.joined(office, Vitals.of(hello))
        await session.channels.send({"type": "welcome"})
        try:
            await self._converse(session)
        finally:
            session.channels.end("the agent left")
            if self._sessions.get(office) is session:
                del self._sessions[office]
                await self._events.left(office, session.goodbye)

    async def _frame(self, socket: web.WebSocketResponse, seconds: float) -> dict[str, Any] | None:
        message = await socket.receive(timeout=seconds)
        return decode(message.data) if message.type is WSMsgType.TEXT else None

    async def _converse(self, session: AgentSession) -> None:
        frames, minute = 0, self._clock.monotonic()
        while (frame := await self._frame(session.socket, SILENCE_SECONDS)) is not None:
            frames += 1
            if self._clock.monotonic() - minute > 60:
                frames, minute = 0, self._clock.monotonic()
            if frames > MAX_FRAMES_PER_MINUTE:
                raise ProtocolError("too many frames")
            if session.channels.take(frame):
                continue
            match frame["type"]:
                case "heartbeat":
                    await self._events.heard(session.office, Vitals.of(frame))
                    await session.channels.send({"type": "beat"})
                case "measurements":
                    await self._take_in(session, frame)
                case "goodbye":
                    session.goodbye = True
                case other:
                    raise ProtocolError(f"unknown frame {other[:40]!r}")

    async def _take_in(self, session: AgentSession, frame: Mapping[str, Any]) -> None:
        items = frame.get("items")
        if not isinstance(items, list) or len(items) > MAX_BATCH:
            raise ProtocolError(f"`measurements` needs at most {MAX_BATCH} items")
        good: list[Measurement] = []
        refused: list[dict[str, str]] = []
        for item in items:
            try:
                measurement = Measurement.from_json(item)
                if measurement.office != session.office:
                    raise ValueError(f"an agent of {session.office} hands in only for its office")
                good.append(measurement)
            except (ValueError, TypeError, AttributeError) as error:
                name = str(item.get("id", ""))[:64] if isinstance(item, dict) else ""
                refused.append({"id": name, "why": str(error)[:200]})
        if refused:
            log.warning("refused %d measurements of %s: %s", len(refused), session.office,
                        refused[0]["why"])  # fmt: skip
        await self._events.handed_in(session.office, good)
        await session.channels.send(
            {"type": "ack", "ids": [m.id for m in good], "refused": refused}
        )

    async def close(self) -> None:
        """End every session."""
        for session in list(self._sessions.values()):
            session.channels.end("the hub is stopping")
            await session.socket.close(code=1001, message=b"the hub is stopping")


def _ignore(task: asyncio.Future[Any]) -> None:
    """Fetch the result of a close whose outcome nobody waits for."""
    if not task.cancelled():
        task.exception()

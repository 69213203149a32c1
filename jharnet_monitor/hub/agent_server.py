"""The hub's end of the agents' sessions: who may come in, who is there, what they hand in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from aiohttp import WSMsgType, web

from jharnet_monitor.clock import Clock
from jharnet_monitor.hub.agent_connection import (
    BROWSER,
    PROGRAM,
    AgentConnection,
    Transfers,
    Vitals,
)
from jharnet_monitor.model import Measurement
from jharnet_monitor.probes.base import ChannelClosed
from jharnet_monitor.wire.protocol import (
    AGENTS_OWN_SERIES,
    BEARER_PREFIX,
    CLOSE_ELSEWHERE,
    CLOSE_NOT_NEEDED,
    CLOSE_WRONG_TOKEN,
    MAX_BATCH,
    MAX_FRAME_BYTES,
    PROTOCOL,
    SILENCE_SECONDS,
    SUBPROTOCOL,
    Channels,
    ProtocolError,
    decode,
)

log = logging.getLogger(__name__)

HELLO_SECONDS = 10.0
MAX_FRAMES_PER_MINUTE = 6000


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


class _Closed(Exception):
    """A session that is ended at once, with a close code for the page."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


def _header_token(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme == "Bearer" else None


def _offered(request: web.Request) -> list[str]:
    """The subprotocols that a page offers, ours first; none for a program."""
    header = ",".join(request.headers.getall("Sec-WebSocket-Protocol", []))
    offered = [entry.strip() for entry in header.split(",")] if header else []
    if offered and offered[0] != SUBPROTOCOL:  # aiohttp would log them all, with the token
        raise web.HTTPBadRequest(text=f"the first subprotocol must be {SUBPROTOCOL}")
    return offered


def _refuse_other_sites(request: web.Request) -> None:
    """A browser says whose page asks; only our own may (RFC 6455, 10.2)."""
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        log.warning("refused a page of another site, from %s", request.remote)
        raise web.HTTPForbidden(text="this was asked for by another site, and so is refused")


class AgentServer:
    """All sessions. `authenticate(office, token)` tells whether a token is the office's."""

    def __init__(
        self, authenticate: Callable[[str, str], bool], events: AgentEvents, clock: Clock
    ) -> None:
        self.authenticate = authenticate
        self._events = events
        self._clock = clock
        self._sessions: dict[str, AgentConnection] = {}
        self.transfers = Transfers(clock)

    def get(self, office: str) -> AgentConnection | None:
        """The office's session, when an agent is connected."""
        return self._sessions.get(office)

    def _admit(self, request: web.Request, office: str, token: str | None) -> None:
        """Refuse whoever cannot prove the office; says no more than that."""
        if token is None or not self.authenticate(office, token):
            log.warning("refused an agent for office %r from %s", office[:60], request.remote)
            raise web.HTTPUnauthorized(text="wrong or missing token for this office")

    async def transfer(self, request: web.Request) -> web.StreamResponse:
        """`/agent/transfer/{key}?office=ID`: the bulk exchanges of probes."""
        office = request.query.get("office", "")
        self._admit(request, office, _header_token(request))
        return await self.transfers.serve(request.match_info["key"], office, request)

    async def socket(self, request: web.Request) -> web.StreamResponse:
        """`/agent?office=ID`: the session of one agent, until it ends."""
        office = request.query.get("office", "")
        _refuse_other_sites(request)
        offered = _offered(request)
        if not offered:
            self._admit(request, office, _header_token(request))
        socket = web.WebSocketResponse(
            max_msg_size=MAX_FRAME_BYTES, timeout=5, protocols=(SUBPROTOCOL,)
        )
        await socket.prepare(request)
        try:
            if offered:
                await self._admit_page(request, office, offered, socket)
            await self._session(office, socket, BROWSER if offered else PROGRAM, request.remote)
        except ProtocolError as error:
            log.warning("agent of %s broke the protocol: %s", office, error)
            await socket.close(code=1002, message=str(error).encode()[:100])
        except _Closed as closed:
            await socket.close(code=closed.code, message=str(closed).encode())
        except (TimeoutError, ChannelClosed, ConnectionError):
            log.info("agent of %s fell silent", office)
            socket_transport = request.transport
            if socket_transport is not None:
                socket_transport.abort()  # a closing handshake would wait for a dead link
        return socket

    async def _admit_page(
        self, request: web.Request, office: str, offered: list[str], socket: web.WebSocketResponse
    ) -> None:
        """As `_admit`, for a page, which learns of a refusal only by the code of a close."""
        tokens = [o.removeprefix(BEARER_PREFIX) for o in offered if o.startswith(BEARER_PREFIX)]
        try:
            self._admit(request, office, tokens[0] if tokens else None)
        except web.HTTPUnauthorized as error:
            raise _Closed(CLOSE_WRONG_TOKEN, "wrong or missing token for this office") from error

    async def _session(
        self, office: str, socket: web.WebSocketResponse, kind: str, address: str | None
    ) -> None:
        hello = await self._frame(socket, HELLO_SECONDS)
        if hello is None or hello["type"] != "hello" or hello.get("protocol") != PROTOCOL:
            raise ProtocolError(f"expected `hello` of protocol {PROTOCOL}")
        vitals = Vitals.of(hello)
        if vitals.kind != kind:
            raise ProtocolError(f"this door is for a {kind}")
        features = frozenset(str(f)[:40] for f in hello.get("features", [])[:20])
        session = AgentConnection(
            office, features, Channels(socket), self.transfers, socket, address, kind
        )
        self._take_the_place(session)
        await self._events.joined(office, vitals)
        await session.channels.send({"type": "welcome"})
        try:
            await self._converse(session)
        finally:
            session.channels.end("the agent left")
            if self._sessions.get(office) is session:
                del self._sessions[office]
                # A page is closed, or put to sleep, without a word as often as with one.
                await self._events.left(office, session.goodbye or kind == BROWSER)

    def _take_the_place(self, session: AgentConnection) -> None:
        """Become the office's session; the one before it is dead, or has to give way.

        Raises `_Closed` for a page where a program does more: two that replace each other in
        turn would never end.
        """
        before = self._sessions.get(session.office)
        if before is not None and (before.kind, session.kind) == (PROGRAM, BROWSER):
            raise _Closed(CLOSE_NOT_NEEDED, "the office's agent is connected")
        self._sessions[session.office] = session
        if before is not None:
            before.channels.end("the agent reconnected")
            code = CLOSE_ELSEWHERE if session.kind == BROWSER else CLOSE_NOT_NEEDED
            closing = before.socket.close(code=code if before.kind == BROWSER else 1000)
            asyncio.ensure_future(closing).add_done_callback(_ignore)

    async def _frame(self, socket: web.WebSocketResponse, seconds: float) -> dict[str, Any] | None:
        message = await socket.receive(timeout=seconds)
        return decode(message.data) if message.type is WSMsgType.TEXT else None

    async def _converse(self, session: AgentConnection) -> None:
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

    async def _take_in(self, session: AgentConnection, frame: Mapping[str, Any]) -> None:
        items = frame.get("items")
        if not isinstance(items, list) or len(items) > MAX_BATCH:
            raise ProtocolError(f"`measurements` needs at most {MAX_BATCH} items")
        good: list[Measurement] = []
        refused: list[dict[str, str]] = []
        for item in items:
            try:
                measurement = Measurement.from_json(item)
                _check_own(measurement, session.office)
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


def _check_own(measurement: Measurement, office: str) -> None:
    """Raise `ValueError` for what this office's agent cannot have measured by itself."""
    if measurement.office != office:
        raise ValueError(f"an agent of {office} hands in only for its office")
    if measurement.series not in AGENTS_OWN_SERIES:
        told = measurement.series[:80]
        raise ValueError(f"an agent does not measure {told} by itself")


def _ignore(task: asyncio.Future[Any]) -> None:
    """Fetch the result of a close whose outcome nobody waits for."""
    if not task.cancelled():
        task.exception()

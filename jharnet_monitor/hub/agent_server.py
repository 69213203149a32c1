"""The hub's endpoint for agents: authentication, sessions, and the measurements they hand in."""

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
    """What happens to agents. Each method is called by `AgentServer`; here they do nothing."""

    async def agent_connected(self, office: str, vitals: Vitals) -> None:
        """An agent sent `hello`."""

    async def agent_heartbeat(self, office: str, vitals: Vitals) -> None:
        """A connected agent sent a heartbeat."""

    async def agent_disconnected(self, office: str, goodbye: bool) -> None:
        """A session ended; `goodbye` when the agent announced it."""

    async def agent_measured(self, office: str, measurements: list[Measurement]) -> None:
        """Store what an agent measured; returns when it is safe on disk."""


class _Closed(Exception):
    """Ends a session at once, with a close code for the page."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def _header_token(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme == "Bearer" else None


def _offered_protocols(request: web.Request) -> list[str]:
    """The subprotocols that a page offers, ours first; none for a program."""
    header = ",".join(request.headers.getall("Sec-WebSocket-Protocol", []))
    offered = [entry.strip() for entry in header.split(",")] if header else []
    if offered and offered[0] != SUBPROTOCOL:  # aiohttp would log all of them, token included
        raise web.HTTPBadRequest(text=f"the first subprotocol must be {SUBPROTOCOL}")
    return offered


def _refuse_other_sites(request: web.Request) -> None:
    """A browser names the site of the page that asks; only our own may (RFC 6455, 10.2)."""
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        log.warning("refused a page of another site, from %s", request.remote)
        raise web.HTTPForbidden(text="refused: the request comes from a page of another site")


class AgentServer:
    """The sessions of all agents. `authenticate(office, token)` checks an office's token."""

    def __init__(
        self, authenticate: Callable[[str, str], bool], events: AgentEvents, clock: Clock
    ) -> None:
        self.authenticate = authenticate
        self._events = events
        self._clock = clock
        self._connections: dict[str, AgentConnection] = {}
        self.transfers = Transfers(clock)

    def get(self, office: str) -> AgentConnection | None:
        """The office's connection, while an agent is connected."""
        return self._connections.get(office)

    def _require_token(self, request: web.Request, office: str, token: str | None) -> None:
        """Answer 401 to a wrong token or office; the answer does not say which it is."""
        if token is None or not self.authenticate(office, token):
            log.warning("refused an agent for office %r from %s", office[:60], request.remote)
            raise web.HTTPUnauthorized(text="wrong or missing token for this office")

    async def handle_transfer(self, request: web.Request) -> web.StreamResponse:
        """`/agent/transfer/{key}?office=ID`: a bulk exchange of a running probe."""
        office = request.query.get("office", "")
        self._require_token(request, office, _header_token(request))
        return await self.transfers.serve(request.match_info["key"], office, request)

    async def handle_socket(self, request: web.Request) -> web.StreamResponse:
        """`/agent?office=ID`: the session of one agent, until it ends."""
        office = request.query.get("office", "")
        _refuse_other_sites(request)
        offered = _offered_protocols(request)
        if not offered:
            self._require_token(request, office, _header_token(request))
        socket = web.WebSocketResponse(
            max_msg_size=MAX_FRAME_BYTES, timeout=5, protocols=(SUBPROTOCOL,)
        )
        await socket.prepare(request)
        try:
            if offered:
                self._require_page_token(request, office, offered)
            await self._serve(office, socket, BROWSER if offered else PROGRAM, request.remote)
        except ProtocolError as error:
            log.warning("agent of %s broke the protocol: %s", office, error)
            await socket.close(code=1002, message=str(error).encode()[:100])
        except _Closed as closed:
            await socket.close(code=closed.code, message=str(closed).encode())
        except (TimeoutError, ChannelClosed, ConnectionError):
            log.info("no more heartbeats from the agent of %s", office)
            if request.transport is not None:
                request.transport.abort()  # a closing handshake would wait for a dead link
        return socket

    def _require_page_token(self, request: web.Request, office: str, offered: list[str]) -> None:
        """As `_require_token`, for a page, which can read a refusal only from the close code."""
        tokens = [o.removeprefix(BEARER_PREFIX) for o in offered if o.startswith(BEARER_PREFIX)]
        try:
            self._require_token(request, office, tokens[0] if tokens else None)
        except web.HTTPUnauthorized as error:
            raise _Closed(CLOSE_WRONG_TOKEN, "wrong or missing token for this office") from error

    async def _serve(
        self, office: str, socket: web.WebSocketResponse, kind: str, address: str | None
    ) -> None:
        hello = await _receive_frame(socket, HELLO_SECONDS)
        if hello is None or hello["type"] != "hello" or hello.get("protocol") != PROTOCOL:
            raise ProtocolError(f"expected `hello` of protocol {PROTOCOL}")
        vitals = Vitals.from_frame(hello)
        if vitals.kind != kind:
            raise ProtocolError(f"this endpoint accepts only {kind} agents")
        features = frozenset(str(f)[:40] for f in hello.get("features", [])[:20])
        connection = AgentConnection(
            office, features, Channels(socket), self.transfers, socket, address, kind
        )
        self._replace_previous(connection)
        await self._events.agent_connected(office, vitals)
        await connection.channels.send({"type": "welcome"})
        try:
            await self._handle_frames(connection)
        finally:
            connection.channels.end("the agent left")
            if self._connections.get(office) is connection:
                del self._connections[office]
                # A browser often closes a page, or puts it to sleep, without a goodbye.
                goodbye = connection.goodbye or kind == BROWSER
                await self._events.agent_disconnected(office, goodbye)

    def _replace_previous(self, connection: AgentConnection) -> None:
        """Make it the office's connection; a previous one is dead, or is closed.

        Raises `_Closed` for a page while a program is connected, which can do more: two that
        replace each other in turn would never stop.
        """
        previous = self._connections.get(connection.office)
        if previous is not None and (previous.kind, connection.kind) == (PROGRAM, BROWSER):
            raise _Closed(CLOSE_NOT_NEEDED, "the office's agent is connected")
        self._connections[connection.office] = connection
        if previous is not None:
            previous.channels.end("the agent reconnected")
            code = CLOSE_ELSEWHERE if connection.kind == BROWSER else CLOSE_NOT_NEEDED
            closing = previous.socket.close(code=code if previous.kind == BROWSER else 1000)
            asyncio.ensure_future(closing).add_done_callback(_ignore_result)

    async def _handle_frames(self, connection: AgentConnection) -> None:
        """Handle every frame until the agent leaves; raises `TimeoutError` when it is silent."""
        frames, minute = 0, self._clock.monotonic()
        while (frame := await _receive_frame(connection.socket, SILENCE_SECONDS)) is not None:
            frames += 1
            if self._clock.monotonic() - minute > 60:
                frames, minute = 0, self._clock.monotonic()
            if frames > MAX_FRAMES_PER_MINUTE:
                raise ProtocolError("too many frames")
            if connection.channels.take(frame):
                continue
            match frame["type"]:
                case "heartbeat":
                    vitals = Vitals.from_frame(frame)
                    await self._events.agent_heartbeat(connection.office, vitals)
                    await connection.channels.send({"type": "beat"})
                case "measurements":
                    await self._accept_measurements(connection, frame)
                case "goodbye":
                    connection.goodbye = True
                case other:
                    raise ProtocolError(f"unknown frame {other[:40]!r}")

    async def _accept_measurements(
        self, connection: AgentConnection, frame: Mapping[str, Any]
    ) -> None:
        """Store a batch and acknowledge it; one that cannot be accepted is refused by its id."""
        items = frame.get("items")
        if not isinstance(items, list) or len(items) > MAX_BATCH:
            raise ProtocolError(f"`measurements` needs at most {MAX_BATCH} items")
        accepted: list[Measurement] = []
        refused: list[dict[str, str]] = []
        for item in items:
            try:
                measurement = Measurement.from_json(item)
                _require_own(measurement, connection.office)
                accepted.append(measurement)
            except (ValueError, TypeError, AttributeError) as error:
                name = str(item.get("id", ""))[:64] if isinstance(item, dict) else ""
                refused.append({"id": name, "why": str(error)[:200]})
        if refused:
            log.warning("refused %d measurements of %s: %s", len(refused), connection.office,
                        refused[0]["why"])  # fmt: skip
        await self._events.agent_measured(connection.office, accepted)
        await connection.channels.send(
            {"type": "ack", "ids": [m.id for m in accepted], "refused": refused}
        )

    async def close(self) -> None:
        """End every session."""
        for connection in list(self._connections.values()):
            connection.channels.end("the hub is stopping")
            await connection.socket.close(code=1001, message=b"the hub is stopping")


async def _receive_frame(socket: web.WebSocketResponse, seconds: float) -> dict[str, Any] | None:
    """The next frame; None when the agent closed the socket. Raises `TimeoutError`."""
    message = await socket.receive(timeout=seconds)
    return decode(message.data) if message.type is WSMsgType.TEXT else None


def _require_own(measurement: Measurement, office: str) -> None:
    """Raise `ValueError` for what this office's agent cannot have measured by itself."""
    if measurement.office != office:
        raise ValueError(f"an agent of {office} hands in only for its office")
    if measurement.series not in AGENTS_OWN_SERIES:
        told = measurement.series[:80]
        raise ValueError(f"an agent does not measure {told} by itself")


def _ignore_result(task: asyncio.Future[Any]) -> None:
    """Retrieve the result of a close that nobody waits for, so that asyncio does not complain."""
    if not task.cancelled():
        task.exception()

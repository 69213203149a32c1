"""The hub's endpoint for agents: authentication, sessions, and the measurements they hand in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from jharnet_monitor import __version__
from jharnet_monitor.clock import Clock
from jharnet_monitor.errors import StoreError
from jharnet_monitor.hub.agent_connection import AgentConnection, Transfers
from jharnet_monitor.hub.row_quota import RowQuota
from jharnet_monitor.model import Measurement
from jharnet_monitor.probes.bandwidth.tcp_connection import retry_steadily
from jharnet_monitor.probes.base import ChannelClosed
from jharnet_monitor.rtc.codecs import DEFAULT_CODEC
from jharnet_monitor.web.auth import bearer, is_own_origin
from jharnet_monitor.web.proxies import is_forwarded
from jharnet_monitor.wire.agent_clock import AgentClock
from jharnet_monitor.wire.device_check import CheckQuota, read_device_check
from jharnet_monitor.wire.intake import (
    BROWSER,
    PROGRAM,
    Batch,
    Vitals,
    read_batch,
    read_beat,
    read_features,
    read_vitals,
)
from jharnet_monitor.wire.protocol import (
    BEARER_PREFIX,
    CLOSE_ELSEWHERE,
    CLOSE_NOT_NEEDED,
    CLOSE_WRONG_TOKEN,
    FRESH_SECONDS,
    MAX_FRAME_BYTES,
    PROTOCOL,
    SUBPROTOCOL,
    Channels,
    ProtocolError,
    decode,
    receive,
)

log = logging.getLogger(__name__)

HELLO_SECONDS = 10.0
MAX_FRAMES_PER_MINUTE = 6000
RECHECK_SECONDS = 10.0
"""How often the token of an open session is checked again: a new token ends sessions that used the
old one."""
RIVALRY_SECONDS = 60.0
MOST_REPLACEMENTS = 3
"""An agent that reconnects replaces its dead session. If live sessions of one office replace each
other more often than this within `RIVALRY_SECONDS`, two agents share a token."""
FIRST_STORE_RETRY_SECONDS = 1.0
LAST_STORE_RETRY_SECONDS = 15.0
MOST_FAILURES = 3
"""Internal errors on one batch after which it is refused, so that later batches get through."""
CLOSE_SECONDS = 1.0
MOST_BATCHES = 4
"""Batches of one session that wait for the store."""
MOST_BATCHES_OF_OFFICE = 2 * MOST_BATCHES
"""Those of all sessions of one office, also of sessions that have just ended."""


class AgentEvents:
    """What happens to agents. Each method is called by `AgentServer`; here they do nothing."""

    async def agent_connected(self, office: str, vitals: Vitals) -> None:
        """An agent sent `hello`."""

    async def agent_heartbeat(self, office: str, vitals: Vitals) -> None:
        """A connected agent sent a heartbeat."""

    async def agent_disconnected(self, office: str, goodbye: bool) -> None:
        """A session ended; `goodbye` when the agent announced it."""

    def agent_refused(self, office: str, count: int) -> None:
        """The hub refused some of an agent's measurements; the agent keeps them."""

    async def agent_checked(self, office: str, findings: Mapping[str, str]) -> None:
        """A person has checked camera, microphone and loudspeaker on the join page."""

    async def agent_measured(self, office: str, measurements: list[Measurement]) -> None:
        """Store an agent's measurements and return once they are stored; raises `StoreError`.
        Measurements that the database would never accept are set aside and count as stored.
        """


class _Closed(Exception):
    """Ends a session at once, with a close code for the page."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def _offered_protocols(request: web.Request) -> list[str]:
    """The subprotocols that a page offers, starting with `SUBPROTOCOL`; none for a program."""
    header = ",".join(request.headers.getall("Sec-WebSocket-Protocol", []))
    offered = [entry.strip() for entry in header.split(",")] if header else []
    if offered and offered[0] != SUBPROTOCOL:  # aiohttp would log all of them, token included
        raise web.HTTPBadRequest(text=f"the first subprotocol must be {SUBPROTOCOL}")
    return offered


def _refuse_other_sites(request: web.Request) -> None:
    """Refuse pages of other sites, which a browser names in `Origin` (RFC 6455, 10.2)."""
    origin = request.headers.get("Origin")
    if origin is not None and not is_own_origin(origin, request.host):
        log.warning("refused a page of another site, from %s", request.remote)
        raise web.HTTPForbidden(text="refused: the request comes from a page of another site")


class AgentServer:
    """The sessions of all agents. `authenticate(office, token)` checks an office's token.

    `codec` returns the video codec of calls; an agent prepares its clips once it has connected.
    """

    def __init__(
        self,
        authenticate: Callable[[str, str], bool],
        events: AgentEvents,
        clock: Clock,
        codec: Callable[[], str] = lambda: DEFAULT_CODEC,
    ) -> None:
        self._codec = codec
        self.authenticate = authenticate
        self._events = events
        self._clock = clock
        self._connections: dict[str, AgentConnection] = {}
        self._replacements: dict[str, deque[float]] = {}
        self._quota = RowQuota(clock)
        self._storing: dict[str, set[asyncio.Task[None]]] = defaultdict(set)
        """Batches that are being stored, by office."""
        self._checks = CheckQuota(clock)
        self._clocks: dict[str, AgentClock] = defaultdict(AgentClock)
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
        self._require_token(request, office, bearer(request))
        return await self.transfers.serve(request.match_info["key"], office, request)

    async def handle_socket(self, request: web.Request) -> web.StreamResponse:
        """`/agent?office=ID`: the session of one agent, until it ends."""
        office = request.query.get("office", "")
        _refuse_other_sites(request)
        offered = _offered_protocols(request)
        if not offered:
            self._require_token(request, office, bearer(request))
        socket = web.WebSocketResponse(
            max_msg_size=MAX_FRAME_BYTES, timeout=5, protocols=(SUBPROTOCOL,)
        )
        await socket.prepare(request)
        if request.transport is not None:
            retry_steadily(request.transport.get_extra_info("socket"))
        try:
            if offered:
                token = self._require_page_token(request, office, offered)
            else:
                token = bearer(request) or ""
            kind = BROWSER if offered else PROGRAM
            await self._serve(office, token, socket, kind, request)
        except ProtocolError as error:
            log.warning("agent of %s broke the protocol: %s", office, error)
            await socket.close(code=1002, message=str(error).encode()[:100])
        except _Closed as closed:
            await socket.close(code=closed.code, message=str(closed).encode())
        except (TimeoutError, ChannelClosed, ConnectionError):
            log.info("no more heartbeats from the agent of %s", office)
            if request.transport is not None:
                request.transport.abort()  # a closing handshake would wait for a dead link
        except Exception:  # answered here: an HTTP answer would be written into the WebSocket
            log.exception("unexpected error in the session of the agent of %s", office)
            await socket.close(code=1011, message=b"internal error of the monitor")
        return socket

    def _require_page_token(self, request: web.Request, office: str, offered: list[str]) -> str:
        """Like `_require_token`, for a page, which sees only the close code of a refusal."""
        tokens = [o.removeprefix(BEARER_PREFIX) for o in offered if o.startswith(BEARER_PREFIX)]
        try:
            self._require_token(request, office, tokens[0] if tokens else None)
        except web.HTTPUnauthorized as error:
            raise _Closed(CLOSE_WRONG_TOKEN, "wrong or missing token for this office") from error
        return tokens[0]

    async def _serve(
        self,
        office: str,
        token: str,
        socket: web.WebSocketResponse,
        kind: str,
        request: web.Request,
    ) -> None:
        text = await _receive_text(socket, HELLO_SECONDS)
        hello = {} if text is None else decode(text)
        if hello.get("type") != "hello" or hello.get("protocol") != PROTOCOL:
            raise ProtocolError(f"expected `hello` of protocol {PROTOCOL}")
        vitals = self._vitals(office, hello)
        if vitals.kind != kind:
            raise ProtocolError(f"this endpoint accepts only {kind} agents")
        connection = AgentConnection(
            office=office,
            features=read_features(hello),
            channels=Channels(socket),
            transfers=self.transfers,
            socket=socket,
            transport=request.transport,
            address=request.remote,
            kind=kind,
            token=token,
            last_frame_at=self._clock.monotonic(),
            behind_proxy=is_forwarded(request),
        )
        self._replace_previous(connection)
        try:
            await self._events.agent_connected(office, vitals)
            await connection.channels.send(
                {"type": "welcome", "version": __version__, "codec": self._codec()}
            )
            await self._handle_frames(connection)
        finally:
            connection.channels.end("the agent left")
            if self._connections.get(office) is connection:
                del self._connections[office]
                # A browser often closes a page, or puts it to sleep, without a goodbye.
                goodbye = connection.goodbye or kind == BROWSER
                await self._events.agent_disconnected(office, goodbye)

    def _vitals(self, office: str, frame: Mapping[str, Any]) -> Vitals:
        """The vitals in a frame; a program's frame also shows how wrong its clock is."""
        vitals = read_vitals(frame)
        if vitals.kind == PROGRAM:
            self._clocks[office].note_frame(vitals.boot_id, vitals.uptime, self._clock.now())
        return vitals

    def _replace_previous(self, connection: AgentConnection) -> None:
        """Make this the office's connection and close the previous one. Raises `_Closed` for a page
        while a program is connected, since a program can do more and the two would replace each
        other for ever.
        """
        previous = self._connections.get(connection.office)
        if previous is not None and (previous.kind, connection.kind) == (PROGRAM, BROWSER):
            raise _Closed(CLOSE_NOT_NEEDED, "the office's agent is connected")
        if previous is not None and previous.kind == connection.kind == PROGRAM:
            self._refuse_rival(previous, connection)
        self._connections[connection.office] = connection
        if previous is not None:
            previous.channels.end("the agent reconnected")
            code = CLOSE_ELSEWHERE if connection.kind == BROWSER else CLOSE_NOT_NEEDED
            closing = previous.socket.close(code=code if previous.kind == BROWSER else 1000)
            asyncio.ensure_future(closing).add_done_callback(_ignore_result)

    def _refuse_rival(self, previous: AgentConnection, newcomer: AgentConnection) -> None:
        """Raise `_Closed` if two agents of an office keep replacing each other's session."""
        now = self._clock.monotonic()
        if now - previous.last_frame_at > FRESH_SECONDS:
            return
        recent = self._replacements.setdefault(newcomer.office, deque(maxlen=MOST_REPLACEMENTS))
        while recent and recent[0] < now - RIVALRY_SECONDS:
            recent.popleft()
        if len(recent) == MOST_REPLACEMENTS:
            log.warning(
                "two agents use the token of %s: the one from %s stays connected, the one from %s "
                "is refused; stop one of them",
                newcomer.office, previous.address, newcomer.address,
            )  # fmt: skip
            raise _Closed(CLOSE_NOT_NEEDED, "another agent of this office is connected; stop one")
        recent.append(now)

    def _require_valid_token(self, connection: AgentConnection) -> None:
        """Raise `_Closed` if the session's token is no longer valid."""
        now = self._clock.monotonic()
        if now - connection.checked_at < RECHECK_SECONDS:
            return
        connection.checked_at = now
        if not self.authenticate(connection.office, connection.token):
            log.warning("the token of %s was changed: its agent's session ends", connection.office)
            raise _Closed(CLOSE_WRONG_TOKEN, "the token of this office was changed")

    async def _handle_frames(self, connection: AgentConnection) -> None:
        """Handle every frame until the agent leaves; raises `TimeoutError` when it is silent."""
        frames, minute = 0, self._clock.monotonic()
        connection.checked_at = minute
        while (
            text := await _receive_text(connection.socket, connection.channels.silence_seconds)
        ) is not None:
            frame = decode(text)
            frames += 1
            connection.last_frame_at = self._clock.monotonic()
            self._require_valid_token(connection)
            if self._clock.monotonic() - minute > 60:
                frames, minute = 0, self._clock.monotonic()
            if frames > MAX_FRAMES_PER_MINUTE:
                raise ProtocolError("too many frames")
            if connection.channels.take(frame, len(text)):
                continue
            match frame["type"]:
                case "heartbeat":
                    vitals = self._vitals(connection.office, frame)
                    await self._events.agent_heartbeat(connection.office, vitals)
                    await connection.channels.send(read_beat(frame, self._clock.now()))
                case "measurements":
                    self._accept_measurements(connection, frame)
                case "device_check" if connection.in_browser:
                    await self._take_check(connection, read_device_check(frame))
                case "goodbye":
                    connection.goodbye = True
                case other:
                    raise ProtocolError(f"unknown frame {other[:40]!r}")

    async def _take_check(self, connection: AgentConnection, findings: dict[str, str]) -> None:
        """Pass on a check of the office's devices, unless there are too many.

        A page that received no answer sends its check again in its next session.
        """
        if not self._checks.take(connection.office):
            log.warning(
                "ignored a check of devices from %s: too many in an hour", connection.office
            )
            return
        await self._events.agent_checked(connection.office, findings)
        await connection.channels.send({"type": "checked"})

    def _accept_measurements(self, connection: AgentConnection, frame: Mapping[str, Any]) -> None:
        """Start to store a batch; measurements that cannot be accepted are refused by id."""
        if len(connection.storing) >= MOST_BATCHES:
            raise ProtocolError("too many batches that are not acknowledged yet")
        of_office = self._storing[connection.office]
        if len(of_office) >= MOST_BATCHES_OF_OFFICE:
            log.warning("batches of earlier sessions of %s still wait for the store",
                        connection.office)  # fmt: skip
            raise _Closed(WSCloseCode.TRY_AGAIN_LATER, "batches of earlier sessions still wait")
        clock = None if connection.in_browser else self._clocks[connection.office]
        now = self._clock.now()
        batch = read_batch(frame, connection.office, now, clock, connection.kind)
        self._note_refused(connection.office, batch)
        task = asyncio.create_task(self._store(connection, batch), name="store a batch")
        for storing in (connection.storing, of_office):
            storing.add(task)
            task.add_done_callback(storing.discard)

    async def _store(self, connection: AgentConnection, batch: Batch) -> None:
        """Store a batch, then acknowledge it; until then the agent keeps it."""
        office, channels = connection.office, connection.channels
        retry, failures = FIRST_STORE_RETRY_SECONDS, 0
        if not await self._quota.wait(office, len(batch.accepted), lambda: channels.ended):
            return
        while not channels.ended and failures < MOST_FAILURES:
            try:
                await self._events.agent_measured(office, batch.accepted)
                break
            except StoreError:  # the recorder has logged it
                pass
            except Exception:
                log.exception("a batch of %s could not be recorded", office)
                failures += 1
            await self._clock.sleep(retry)
            retry = min(retry * 2, LAST_STORE_RETRY_SECONDS)
        if channels.ended:
            return
        if failures == MOST_FAILURES:
            batch = _refused(batch)
            self._note_refused(office, batch)
        ids = [measurement.id for measurement in batch.accepted]
        with contextlib.suppress(ChannelClosed):
            await channels.send({"type": "ack", "ids": ids, "refused": batch.refused})

    def _note_refused(self, office: str, batch: Batch) -> None:
        if batch.refused:
            log.warning("refused %d measurements of %s, which its agent keeps: %s",
                        len(batch.refused), office, batch.refused[0]["why"])  # fmt: skip
            self._events.agent_refused(office, len(batch.refused))

    async def close(self) -> None:
        """End every session, within `CLOSE_SECONDS` whatever the agents do."""
        closing = []
        for connection in list(self._connections.values()):
            connection.channels.end("the hub is stopping")
            closing.append(connection.socket.close(code=1001, message=b"the hub is stopping"))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*closing, return_exceptions=True), CLOSE_SECONDS)


def _refused(batch: Batch) -> Batch:
    """The same batch, refused as a whole; the agent keeps it for a hub of another version."""
    why = f"hub {__version__} could not record it; its log says why"
    return Batch([], [*batch.refused, *({"id": m.id, "why": why} for m in batch.accepted)])


async def _receive_text(socket: web.WebSocketResponse, seconds: float) -> str | None:
    """The next frame's text; None when the agent closed the socket. Raises `TimeoutError`."""
    message = await receive(socket, seconds)
    return str(message.data) if message.type is WSMsgType.TEXT else None


def _ignore_result(task: asyncio.Future[Any]) -> None:
    """Retrieve the result of a close that nobody waits for, so that asyncio does not complain."""
    if not task.cancelled():
        task.exception()

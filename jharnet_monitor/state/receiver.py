"""The state's receiver: accepts only signed weeks of registered districts, over HTTPS.

A sender without a registered key can store nothing and costs little. A body is read only after its
sender has proven in the head of the request that it has a registered key (`state.proof`). Before
that a connection takes none of the places in which bodies are read, and is closed after seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

from jharnet_monitor.clock import Clock
from jharnet_monitor.config.fields import split_listen
from jharnet_monitor.config.state_file import StateFile
from jharnet_monitor.errors import StoreError, TemporaryError, UserError
from jharnet_monitor.security.connections import ConnectionCount, CountingListener
from jharnet_monitor.security.tls import ServedCertificate
from jharnet_monitor.state.proof import HEADER, Proof, read_proof
from jharnet_monitor.state.push import PATH
from jharnet_monitor.state.table import Reception, StateTable
from jharnet_monitor.state.unauthenticated import (
    GRACE_SECONDS,
    MOST_CONNECTIONS,
    MOST_OF_AN_ADDRESS,
    Connection,
    UnauthenticatedConnections,
)
from jharnet_monitor.state.week import (
    MOST_BYTES,
    DistrictWeek,
    SignedWeek,
    is_from_the_future,
    read_signed,
)

log = logging.getLogger(__name__)

MOST_BODIES = 8
"""Number of bodies read at a time; the other senders get status 429 and retry later."""
MOST_OF_A_DISTRICT = 2
"""How many of these may be one district's."""
READ_SECONDS = 30.0
CERTIFICATE_SECONDS = 60.0
_MOST_REQUEST = 2 * MOST_BYTES
"""JSON may escape a byte of the text as two."""


class WeekReceiver:
    """One receiver; `run` serves until `stop` is called."""

    def __init__(self, file: Path, state: StateFile, clock: Clock) -> None:
        self._file = file
        self._state = state
        self._clock = clock
        self._table = StateTable(state.database)
        self._reading: Counter[str] = Counter()
        """By district: the bodies that are being read."""
        self._unauthenticated = UnauthenticatedConnections(tuple)
        self._stopping = asyncio.Event()
        self.address: str | None = None
        """The URL at which it listens; None until it does."""

    def stop(self) -> None:
        """Ask the receiver to end."""
        self._stopping.set()

    async def run(self) -> None:
        """Serve until `stop`; raises `UserError`, `TemporaryError`."""
        await asyncio.to_thread(self._table.prepare, self._state.districts)
        tls = self._state.tls
        certificate = await asyncio.to_thread(ServedCertificate, tls) if tls else None
        if certificate is None:
            log.warning("tls is off: weeks are sent unencrypted")
        runner = web.AppRunner(self.app(), access_log=None)
        await runner.setup()
        server = runner.server
        assert server is not None  # noqa: S101 - `setup` made it
        self._unauthenticated = UnauthenticatedConnections(lambda: server.connections)
        closing = asyncio.create_task(self._unauthenticated.run(), name="close connections")
        listening: asyncio.Server | None = None
        try:
            listening = await self._listen(
                server, None if certificate is None else certificate.context
            )
            while not self._stopping.is_set():
                try:
                    await asyncio.wait_for(self._stopping.wait(), CERTIFICATE_SECONDS)
                except TimeoutError:
                    _renew(certificate)
        finally:
            if listening is not None:
                listening.close()
            closing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await closing
            await runner.cleanup()
            await asyncio.to_thread(self._table.close)

    async def _listen(self, server: web.Server, context: ssl.SSLContext | None) -> asyncio.Server:
        host, port = split_listen(self._state.listen)
        try:
            bound = _bind(host, port)
            listening = await asyncio.get_running_loop().create_server(
                server, sock=bound, ssl=context,
                ssl_handshake_timeout=None if context is None else GRACE_SECONDS,
            )  # fmt: skip
        except OSError as error:
            raise TemporaryError(
                f"{self._file}: listen: cannot listen on {self._state.listen} ({error.strerror})"
            ) from error
        scheme = "http" if context is None else "https"
        self.address = f"{scheme}://{host}:{bound.getsockname()[1]}"
        log.info("ready at %s, expecting %d districts", self.address, len(self._state.districts))
        return listening

    def app(self) -> web.Application:
        """The web application: one path that receives weeks, and one for health checks."""
        app = web.Application(client_max_size=_MOST_REQUEST)
        app.router.add_post(PATH, self._receive)
        app.router.add_get("/-/healthy", _healthy)
        return app

    async def _receive(self, request: web.Request) -> web.Response:
        """Answer a request, and close the connection: the next request needs a proof of its own."""
        answer = await self._answer_sender(request)
        answer.force_close()
        return answer

    async def _answer_sender(self, request: web.Request) -> web.Response:
        remote = request.remote or "?"
        proof = read_proof(request.headers.get(HEADER, ""))
        if proof is None:
            return self._refuse(remote, 401, "its sender has not proven who it is")
        if not proof.is_signed_by(self._state.keys_of(proof.district)):
            return self._refuse(
                remote, 401, f"it is not sent with a registered key of {proof.district}"
            )
        if (self._reading.total() >= MOST_BODIES
                or self._reading[proof.district] >= MOST_OF_A_DISTRICT):  # fmt: skip
            return _answer(429, "too many requests at a time; try again later", retry=True)
        connection: Connection = request.protocol
        self._unauthenticated.mark_authenticated(connection)
        with self._place(proof.district):
            return await self._read(request, proof, remote)

    @contextmanager
    def _place(self, district: str) -> Iterator[None]:
        """Take one of the places in which bodies are read."""
        self._reading[district] += 1
        try:
            yield
        finally:
            self._reading[district] -= 1

    async def _read(self, request: web.Request, proof: Proof, remote: str) -> web.Response:
        try:
            async with asyncio.timeout(READ_SECONDS):
                text = await request.read()
        except TimeoutError:
            return _answer(408, f"the request took longer than {READ_SECONDS:g} s")
        except web.HTTPRequestEntityTooLarge:
            return _answer(413, f"a week has at most {MOST_BYTES} bytes", final=True)
        if not proof.is_of(text):
            return self._refuse(remote, 400, "it is not the body that its sender signed")
        return await self._take(remote, text)

    async def _take(self, remote: str, text: bytes) -> web.Response:
        try:
            signed = read_signed(text)
            week = signed.read()
        except UserError as error:
            return self._refuse(remote, 400, str(error), final=True)
        key = signed.key_among(self._state.keys_of(week.district))
        if key is None:
            return self._refuse(
                remote, 403, f"it is not signed with a registered key of {week.district}"
            )
        if is_from_the_future(week, self._clock.now()):
            return self._refuse(remote, 409, f"the week was made in the future, at {week.made_at}")
        return await self._store(remote, signed, week, key)

    async def _store(
        self, remote: str, signed: SignedWeek, week: DistrictWeek, key: str
    ) -> web.Response:
        try:
            reception, number = await asyncio.to_thread(
                self._table.add, signed, week, key, self._clock.now()
            )
        except StoreError as error:
            log.error("week %s of %s could not be stored: %s", week.week, week.district, error)
            return _answer(503, "the database is unavailable; try again later", retry=True)
        if reception is Reception.OLDER:
            return self._refuse(
                remote, 409, f"a later version of week {week.week} of {week.district} exists",
                final=True,
            )  # fmt: skip
        if reception is Reception.STORED:
            log.info("stored week %s of %s as number %d, made at %s", week.week, week.district,
                     number, week.made_at)  # fmt: skip
        body = json.dumps({"result": reception.value, "number": number, "sha256": signed.sha256})
        status = 201 if reception is Reception.STORED else 200
        return web.Response(status=status, text=body, content_type="application/json")

    def _refuse(self, remote: str, status: int, why: str, *, final: bool = False) -> web.Response:
        log.warning("refused a week from %s: %s", remote, ascii(why)[1:-1])
        return _answer(status, why, final=final)


def _bind(host: str, port: int) -> socket.socket:
    """Bind a listening socket that limits its connections; raises `OSError`."""
    [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    count = ConnectionCount(MOST_CONNECTIONS, MOST_OF_AN_ADDRESS)
    listener = CountingListener(family, kind, protocol, count)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _renew(certificate: ServedCertificate | None) -> None:
    if certificate is None:
        return
    try:
        certificate.refresh()
    except (UserError, OSError) as error:
        log.error("still serving the old certificate: %s", error)


def _answer(status: int, why: str, *, retry: bool = False, final: bool = False) -> web.Response:
    """An error; `final` tells the hub that this week will never be accepted as it is."""
    headers = {"Retry-After": "60"} if retry else None
    body = json.dumps({"error": why, "final": final}, ensure_ascii=False)
    return web.Response(status=status, text=body, content_type="application/json", headers=headers)


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")

"""A web server whose every phase takes as long as a test says, and that notes the times of its
actions."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from aiohttp.abc import AbstractResolver, ResolveResult

from jharnet_monitor.security.tls import Files, make_authority, make_certificate

PAGE = b"<html><title>e-Office</title>" + b"<p>sign in</p>" * 60 + b"</html>"


@dataclass
class PageServer:
    """Behaviour in seconds, and the events on the last connection, in monotonic seconds."""

    tls: float = 0.0
    """From the connection to its part of the handshake."""
    wait: float = 0.0
    """From the request to the answer."""
    transfer: float = 0.0
    """From the first half of the body to the second."""
    status: int = 200
    body: bytes = PAGE
    headers: dict[str, str] = field(default_factory=dict)
    breaks: bool = False
    """The second half never comes: the connection is reset."""
    context: ssl.SSLContext | None = None
    port: int = 0
    requests: list[str] = field(default_factory=list)
    marks: dict[str, float] = field(default_factory=dict)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Of the page, by address."""
        return f"{'http' if self.context is None else 'https'}://127.0.0.1:{self.port}/"

    @asynccontextmanager
    async def serving(self, listener: socket.socket | None = None) -> AsyncIterator[PageServer]:
        """Serve, on a loopback port unless a listening socket is given."""
        listener = listener or socket.create_server(("127.0.0.1", self.port))
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        accepting = asyncio.create_task(self._accept(listener))
        try:
            yield self
        finally:
            for task in (accepting, *self.tasks):
                task.cancel()
            await asyncio.gather(accepting, *self.tasks, return_exceptions=True)
            listener.close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listener)
            self.mark("accepted")
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.tasks.append(asyncio.create_task(self._serve(connection)))

    async def _serve(self, connection: socket.socket) -> None:
        """TLS begins when it is due: until then nothing of it is read."""
        loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
        try:
            await asyncio.sleep(self.tls)
            self.mark("encrypting")
            transport, protocol = await loop.connect_accepted_socket(
                lambda: asyncio.StreamReaderProtocol(reader), connection, ssl=self.context
            )
        except (OSError, asyncio.CancelledError):
            connection.close()
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        with contextlib.suppress(OSError, EOFError):
            await self._answer(reader, writer)
        if self.breaks:
            transport.abort()
        else:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.requests.append(request)
        self.mark("asked")
        await asyncio.sleep(self.wait)
        headers = {"Content-Length": str(len(self.body)), "Connection": "close", **self.headers}
        lines = [f"HTTP/1.1 {self.status} X", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
        half = len(self.body) // 2
        writer.write("\r\n".join(lines).encode() + self.body[:half])
        self.mark("answered")
        await writer.drain()
        await asyncio.sleep(self.transfer)
        if not self.breaks:
            writer.write(self.body[half:])
            await writer.drain()
        self.mark("done")

    def mark(self, name: str) -> None:
        """Note when something happened."""
        self.marks[name] = time.monotonic()


class SlowResolver(AbstractResolver):
    """Every name is one address, after some seconds; without an address there is no such name."""

    def __init__(self, seconds: float = 0.0, address: str | None = "127.0.0.1") -> None:
        self._seconds = seconds
        self._address = address
        self.requested: float | None = None
        """When it was first asked, in monotonic seconds."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The one address."""
        self.requested = self.requested or time.monotonic()
        await asyncio.sleep(self._seconds)
        if self._address is None:
            raise OSError(None, "no such name")
        return [ResolveResult(hostname=host, host=self._address, port=port, family=socket.AF_INET,
                              proto=socket.IPPROTO_TCP, flags=0)]  # fmt: skip

    async def close(self) -> None:
        """Nothing to close."""


def server_tls(directory: Path, age: timedelta = timedelta(0)) -> ssl.SSLContext:
    """A certificate for `localhost` and 127.0.0.1 made so long ago; `ca.pem` trusts it."""
    files, made = Files(directory), datetime.now(UTC) - age
    make_authority(files, "test", made)
    make_certificate(files, ["localhost"], [IPv4Address("127.0.0.1")], made)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    return context

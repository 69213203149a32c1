"""Speed tests without an Ookla server: a file over HTTP, and LibreSpeed.

Like speedtest-cli, a client only moves data; rates come from the kernel's counters of its sockets.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from http.client import HTTPConnection, HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from jharnet_monitor.model import Cause
from jharnet_monitor.probes.bandwidth.tcp_connection import random_block
from jharnet_monitor.probes.internet.speedtest_client import (
    REQUESTS,
    TIMEOUT_SECONDS,
    Pacer,
    SocketCounters,
    SpeedtestFailed,
    cause_of,
)

BLOCK_BYTES = 1 << 14
UPLOAD_BLOCKS = 320
"""Blocks of `random_block` in one upload request: 20 MB, which LibreSpeed's own page sends."""
GARBAGE_MEGABYTES = 100


class HttpFileClient:
    """Downloads a file again and again; there is no upload."""

    uploads = False

    def __init__(
        self, counters: SocketCounters, stop: threading.Event, pacer: Pacer, server: str
    ) -> None:
        """`server` is the address of the file."""
        self._counters, self._stop, self._pacer = counters, stop, pacer
        self._server = server
        self._found = ""

    @property
    def _download_url(self) -> str:
        return self._server

    def choose_server(self) -> str:
        """Request the first byte; returns the address to which this leads.

        Raises `SpeedtestFailed`.
        """
        request = Request(self._download_url, headers={"Range": "bytes=0-0"})  # noqa: S310 - ours
        try:
            with urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - configured
                kind = answer.headers.get_content_type()
                answer.read(1)
                self._found = answer.geturl()
        except (OSError, HTTPException, URLError) as error:
            raise SpeedtestFailed(cause_of(error), str(error)[:200]) from error
        if kind == "text/html":
            raise SpeedtestFailed(Cause.BLOCKED, "the answer is a web page instead of data")
        return self._server if self._found == self._download_url else self._found

    def download(self, threads: int) -> None:
        """Download over `threads` connections until the test is over."""
        self._run(threads, self._download_once)

    def upload(self, threads: int, pre_allocate: bool = False) -> None:
        """Upload over `threads` connections until the test is over."""
        self._run(threads, self._upload_once)

    def _run(self, threads: int, transfer_once: object) -> None:
        def work() -> None:
            for _ in range(REQUESTS):
                if self._stop.is_set():
                    return
                try:
                    transfer_once()  # type: ignore[operator]
                except (OSError, HTTPException) as error:
                    if not self._stop.is_set():
                        self._counters.errors.append(error)
                    return

        others = [threading.Thread(target=work, daemon=True) for _ in range(threads - 1)]
        for other in others:
            other.start()
        work()
        for other in others:
            other.join()

    def _download_once(self) -> None:
        connection = self._connect(self._found)
        connection.request("GET", _target(self._found))
        answer = connection.getresponse()
        if answer.status >= 300:
            raise HTTPError(self._found, answer.status, answer.reason, answer.headers, None)
        while not self._stop.is_set() and (block := answer.read(BLOCK_BYTES)):
            self._pacer.wait(len(block))
        connection.close()

    def _upload_once(self) -> None:
        raise SpeedtestFailed(Cause.SERVER_ERROR, "this server takes no uploads")

    def _connect(self, url: str) -> HTTPConnection:
        """A new connection, paced and counted."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        host, port = parts.hostname or "", parts.port or (443 if secure else 80)
        sock = socket.create_connection((host, port), TIMEOUT_SECONDS)
        self._counters.add(sock)
        self._pacer.pace(sock)
        if secure:
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
        connection.sock = sock
        return connection


class LibreSpeedClient(HttpFileClient):
    """LibreSpeed's `garbage` and `empty`, below the address of its `backend` folder."""

    uploads = True

    @property
    def _download_url(self) -> str:
        return f"{self._server.rstrip('/')}/garbage.php?ckSize={GARBAGE_MEGABYTES}"

    def _upload_once(self) -> None:
        url = self._found.partition("garbage.php")[0] + "empty.php"
        connection = self._connect(url)
        block = random_block()
        connection.putrequest("POST", _target(url))
        connection.putheader("Content-Type", "application/octet-stream")
        connection.putheader("Content-Length", str(UPLOAD_BLOCKS * len(block)))
        connection.endheaders()
        for _ in range(UPLOAD_BLOCKS):
            if self._stop.is_set():
                return
            connection.send(block)
        answer = connection.getresponse()
        answer.read()
        if answer.status >= 300:
            raise HTTPError(url, answer.status, answer.reason, answer.headers, None)
        connection.close()


def _target(url: str) -> str:
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

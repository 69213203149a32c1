"""speedtest-cli: everything that depends on it is in this module.

speedtest-cli chooses the server and moves the data. Its figures are not used: it counts what it
passes to its sockets, ignores every error in its threads, and averages over slow start. Instead,
the kernel's counters of its sockets are read: what arrived, and what was acknowledged.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from http.client import HTTPException, HTTPMessage
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import OpenerDirector, Request

import speedtest

from jharnet_monitor.model import Cause
from jharnet_monitor.probes.bandwidth.tcp_connection import SO_MAX_PACING_RATE
from jharnet_monitor.probes.bandwidth.tcp_info import TcpInfo, tcp_info
from jharnet_monitor.probes.internet import COUNTS_HEADER

SpeedtestError = speedtest.SpeedtestException

TIMEOUT_SECONDS = 8
REQUESTS = 64
LARGEST_PICTURE, LARGEST_UPLOAD = 4000, 7_340_032
"""speedtest-cli's largest: in pixels (32 MB), and in bytes."""
MAX_UPLOAD = 1 << 26
BURST_BYTES = 1 << 17


class SpeedtestFailed(Exception):
    """The speed test gave no rate; `cause` is why."""

    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause


def cause_of(error: BaseException) -> Cause:
    """The cause for an error in the communication with a speed-test server."""
    if isinstance(error, HTTPError):
        if error.code in (401, 403, 407, 451, 511):
            return Cause.BLOCKED
        return Cause.THROTTLED if error.code in (429, 503, 509) else Cause.SERVER_ERROR
    inner = error.args[0] if error.args else None
    if isinstance(error, URLError) and isinstance(error.reason, BaseException):
        inner = error.reason
    if isinstance(inner, BaseException):
        return cause_of(inner)
    if isinstance(error, ssl.SSLError):
        return Cause.TLS_ERROR
    if isinstance(error, ConnectionError | HTTPException):
        return Cause.SERVER_ERROR
    return Cause.OFFLINE


class SocketCounters:
    """The kernel's counters of every socket of one direction, also of closed ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.errors: list[BaseException] = []

    def add(self, sock: socket.socket) -> None:
        """Keep a duplicate of a socket: its counters outlive speedtest-cli's own."""
        duplicate = socket.socket(fileno=os.dup(sock.fileno()))
        with self._lock:
            self._sockets.append(duplicate)

    def read(self) -> list[TcpInfo]:
        """The counters of each socket."""
        with self._lock:
            return [info for s in self._sockets if (info := tcp_info(s)) is not None]

    def reset(self) -> None:
        """Reset every connection, so that what is queued is never sent, and forget all sockets."""
        with self._lock:
            for sock in self._sockets:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    sock.shutdown(socket.SHUT_RDWR)
                sock.close()
            self._sockets.clear()
            self.errors.clear()


class Pacer:
    """Limits the rate of a direction: readers wait, and the kernel paces the senders."""

    def __init__(self, connections: int) -> None:
        self._lock = threading.Lock()
        self._connections = connections
        self.start(1e9)

    def start(self, rate: float) -> None:
        """Start a direction with `rate` bit/s for all connections together."""
        with self._lock:
            self._rate, self._started, self._read = rate, time.monotonic(), 0

    def wait(self, received: int) -> None:
        """Wait after reading `received` bytes, so that the receive window limits the sender."""
        with self._lock:
            self._read += received
            due = self._started + (self._read - BURST_BYTES) * 8 / self._rate
        time.sleep(max(0.0, due - time.monotonic()))

    def pace(self, sock: socket.socket) -> None:
        """Let the kernel pace what the socket sends."""
        with contextlib.suppress(OSError):
            value = min(int(self._rate / 8 / self._connections), 0x7FFFFFFF)
            sock.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, value)


class _PacedResponse:
    """A response for speedtest-cli's downloader, read no faster than the pace."""

    def __init__(self, response: Any, pacer: Pacer) -> None:
        self._response, self._pacer = response, pacer

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes."""
        data: bytes = self._response.read(size)
        self._pacer.wait(len(data))
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)


class _Opener(OpenerDirector):
    """speedtest-cli's opener, which registers its sockets and records its errors."""

    def __init__(self, counters: SocketCounters, stop: threading.Event, pacer: Pacer) -> None:
        super().__init__()
        self._counters = counters
        self._stop = stop
        self._pacer = pacer

        class Plain(speedtest.SpeedtestHTTPConnection):  # type: ignore[misc]
            def connect(self) -> None:
                super().connect()
                counters.add(self.sock)
                pacer.pace(self.sock)

        class Secure(speedtest.SpeedtestHTTPSConnection):  # type: ignore[misc]
            def connect(self) -> None:
                super().connect()
                counters.add(self.sock)
                pacer.pace(self.sock)

        class PlainHandler(speedtest.SpeedtestHTTPHandler):  # type: ignore[misc]
            def http_open(self, request: Request) -> Any:
                return self.do_open(_with_timeout(Plain), request)

        class SecureHandler(speedtest.SpeedtestHTTPSHandler):  # type: ignore[misc]
            def https_open(self, request: Request) -> Any:
                return self.do_open(_with_timeout(Secure), request)

        for handler in (
            speedtest.ProxyHandler(),
            PlainHandler(timeout=TIMEOUT_SECONDS),
            SecureHandler(timeout=TIMEOUT_SECONDS),
            speedtest.HTTPDefaultErrorHandler(),
            speedtest.HTTPRedirectHandler(),
            speedtest.HTTPErrorProcessor(),
        ):
            self.add_handler(handler)
        self.addheaders = [("User-agent", speedtest.build_user_agent())]

    def open(self, fullurl: Any, data: Any = None, timeout: Any = None) -> Any:
        """Open as speedtest-cli does, but not after the end, and record errors."""
        if self._stop.is_set():
            raise URLError("the test is over")
        if isinstance(body := getattr(fullurl, "data", None), speedtest.HTTPUploaderData):
            body._data = UploadBody(body.length)
        try:
            response = super().open(fullurl, data, TIMEOUT_SECONDS)
        except (OSError, HTTPException) as error:
            if not any(error is each for each in self._counters.errors):
                self._counters.errors.append(error)
            raise
        if isinstance(response, _PacedResponse):  # after a redirect, which opens by this method
            return response
        if _is_page(response.headers):
            self._counters.errors.append(
                SpeedtestFailed(Cause.BLOCKED, "the answer is a web page instead of data")
            )
        return _PacedResponse(response, self._pacer)


def _with_timeout(connection: Any) -> Callable[..., Any]:
    def build(host: str, **options: Any) -> Any:
        return connection(host, **{**options, "timeout": TIMEOUT_SECONDS})

    return build


def _is_page(headers: HTTPMessage) -> bool:
    return headers.get_content_type() == "text/html"


def large_requests(upload_bytes: float) -> dict[str, Any]:
    """The part of speedtest-cli's configuration that says what it requests: only what is large.

    A rate of small pictures is that of their connections. Each connection of an upload can carry
    `upload_bytes`, up to `MAX_UPLOAD`, but is no smaller than speedtest-cli's largest.
    """
    size = int(min(MAX_UPLOAD, max(LARGEST_UPLOAD, upload_bytes)))
    return {
        "sizes": {"upload": [size], "download": [LARGEST_PICTURE]},
        "counts": {"upload": REQUESTS, "download": REQUESTS},
        "threads": {"upload": 1, "download": 1},
        "length": {"upload": 60, "download": 60},
        "upload_max": REQUESTS,
    }


class UploadBody:
    """A form of `size` bytes, which is never in memory as a whole as speedtest-cli's own is."""

    def __init__(self, size: int) -> None:
        self._size, self._sent = size, 0

    def read(self, size: int) -> bytes:
        """Up to `size` bytes. A line hardly compresses them: they repeat after 64 kB."""
        start = self._sent % len(_FORM)
        found = _FORM[start : start + min(size, self._size - self._sent)]
        if not self._sent:
            found = (_FORM_START + found)[: len(found)]
        self._sent += len(found)
        return found


_FORM_START, _FORM = b"content1=", urlsafe_b64encode(os.urandom(3 << 14))


class SpeedtestClient(speedtest.Speedtest):  # type: ignore[misc]
    """speedtest-cli, which contacts no public service if a server is named."""

    def __init__(
        self,
        counters: SocketCounters,
        stop: threading.Event,
        pacer: Pacer,
        server: str | None,
        run: str,
        upload_bytes: float,
    ) -> None:
        """`upload_bytes` is what one connection may have to carry."""
        self._upload_bytes = upload_bytes
        self._counters = counters
        self._stop = stop
        self._pacer = pacer
        self._named = server
        self._run = run
        super().__init__(timeout=TIMEOUT_SECONDS, secure=server is None, shutdown_event=stop)

    def get_config(self) -> dict[str, Any]:
        """The public configuration, or fixed values where a server is named; `large_requests`."""
        self._opener = _Opener(self._counters, self._stop, self._pacer)
        if self._named is None:
            if super().get_config() is None:
                raise SpeedtestFailed(
                    Cause.SERVER_ERROR, "the public service gave no configuration"
                )
        else:
            self.config.update(
                client={"ip": "", "lat": "0", "lon": "0", "isp": "", "country": ""},
                ignore_servers=[],
            )
            self.lat_lon = (0.0, 0.0)
        self.config.update(large_requests(self._upload_bytes))
        return dict(self.config)

    def choose_server(self) -> str:
        """Choose the server; returns the address of its folder."""
        if self._named is None:
            self.get_servers()
            best = self.get_best_server()
            if best["latency"] > 1000 * TIMEOUT_SECONDS:
                raise SpeedtestFailed(Cause.OFFLINE, "no public speed-test server answers")
        else:
            folder = self._named.rsplit("/", 1)[0]
            answer = self._opener.open(Request(f"{folder}/latency.txt"))  # noqa: S310 - configured
            if answer.read(9) != b"test=test":
                raise SpeedtestFailed(Cause.BLOCKED, "the answer is not from a speed-test server")
            if answer.headers.get(COUNTS_HEADER):
                folder = f"{folder}/run-{self._run}"
            answer.close()
            self._best.update(url=f"{folder}/upload.php", id=0, name=self._named, sponsor="")
        return str(self._best["url"])

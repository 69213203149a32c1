"""A small speed-test server for speedtest-cli and compatible clients.

It counts the bytes that each run uploaded and downloaded, so that a client's results can be
compared with the server's. A run is named in the path: `/speedtest/run-NAME/upload.php`. It serves
the demo, the tests, and districts with a server of their own beyond JharNet.
"""

from __future__ import annotations

import re
import socket
from collections import OrderedDict
from dataclasses import dataclass

from aiohttp import web

from jharnet_monitor.probes.bandwidth.tcp_connection import (
    BLOCK_BYTES,
    limit_segment_size,
    random_block,
)
from jharnet_monitor.probes.internet import COUNTS_HEADER

MAX_UPLOAD_BYTES = 1 << 26
MAX_SIDE = 4000
"""Pixels."""
MAX_RUNS = 200
"""Runs whose counts are kept."""

_RUN = re.compile(r"^[A-Za-z0-9_-]{1,64}$")


@dataclass(slots=True)
class Counts:
    """Payload bytes of one run: `received` in uploads, `sent` (passed to TCP) in downloads."""

    received: int = 0
    sent: int = 0


def listen(host: str, port: int) -> socket.socket:
    """A bound socket for the server, with the packet sizes of a real line even on loopback."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    limit_segment_size(sock)
    sock.bind((host, port))
    return sock


class SpeedtestServer:
    """The request handlers, and the counts of the latest `MAX_RUNS` runs."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, Counts] = OrderedDict()

    def app(self) -> web.Application:
        """The web application: `/speedtest/`, with and without a run in the path."""
        app = web.Application(client_max_size=MAX_UPLOAD_BYTES)
        for base in ("/speedtest", "/speedtest/run-{run}"):
            app.router.add_get(f"{base}/latency.txt", self._latency)
            app.router.add_get(f"{base}/random{{side:\\d+}}x{{other:\\d+}}.jpg", self._download)
            app.router.add_get(f"{base}/upload.php", self._ready)
            app.router.add_post(f"{base}/upload.php", self._upload)
        app.router.add_get("/speedtest/run-{run}/counts.json", self._counts)
        return app

    def counts(self, run: str) -> Counts | None:
        """The counts of a run so far; None if it is unknown."""
        return self._runs.get(run)

    def _counts_of(self, request: web.Request) -> Counts:
        run = request.match_info.get("run", "")
        if run and not _RUN.match(run):
            raise web.HTTPBadRequest(text="a run's name has letters, digits, - and _")
        counts = self._runs.setdefault(run, Counts())
        self._runs.move_to_end(run)
        while len(self._runs) > MAX_RUNS:
            self._runs.popitem(last=False)
        return counts

    async def _latency(self, request: web.Request) -> web.Response:
        return web.Response(text="test=test\n", headers={COUNTS_HEADER: "1"})

    async def _ready(self, request: web.Request) -> web.Response:
        return web.Response(text="size=500", headers={COUNTS_HEADER: "1"})

    async def _download(self, request: web.Request) -> web.StreamResponse:
        """Random bytes, about as many as the picture of this size has on public servers."""
        side, counts = int(request.match_info["side"]), self._counts_of(request)
        if not 0 < side <= MAX_SIDE:
            raise web.HTTPNotFound
        remaining = 2 * side * side
        response = web.StreamResponse(headers={"Content-Type": "image/jpeg"})
        response.content_length = remaining
        await response.prepare(request)
        while remaining > 0:
            block = random_block()[: min(remaining, BLOCK_BYTES)]
            try:
                await response.write(block)
            except ConnectionError:  # the client ended its test
                break
            counts.sent += len(block)
            remaining -= len(block)
        return response

    async def _upload(self, request: web.Request) -> web.Response:
        counts, size = self._counts_of(request), 0
        try:
            async for chunk in request.content.iter_any():
                size += len(chunk)
                counts.received += len(chunk)
                if size > MAX_UPLOAD_BYTES:
                    raise web.HTTPRequestEntityTooLarge(MAX_UPLOAD_BYTES, size)
        except ConnectionError:  # the client ended its test
            return web.Response(status=499)
        return web.Response(text=f"size={size}")

    async def _counts(self, request: web.Request) -> web.Response:
        counts = self.counts(request.match_info["run"])
        if counts is None:
            raise web.HTTPNotFound
        return web.json_response({"received": counts.received, "sent": counts.sent})

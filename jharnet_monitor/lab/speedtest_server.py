"""A small speed-test server on our own ground, as speedtest-cli and its kin expect one.

It counts, run by run, what really arrived and what was taken from it, so that a client's figures
can be held against the other end. A run is named in the path: `/speedtest/run-NAME/upload.php`.
For the demo, for tests, and for a district that has a server of its own beyond JharNet.
"""

from __future__ import annotations

import re
import socket
from collections import OrderedDict
from dataclasses import dataclass

from aiohttp import web

from jharnet_monitor.probes.bandwidth.tcp import BLOCK_BYTES, noise, ordinary_segments
from jharnet_monitor.probes.internet import COUNTS_HEADER

MAX_UPLOAD_BYTES = 1 << 26
MAX_SIDE = 4000
REMEMBERED_RUNS = 200

_RUN = re.compile(r"^[A-Za-z0-9_-]{1,64}$")


@dataclass(slots=True)
class Counts:
    """Payload bytes of one run: `received` in uploads, `sent` in downloads (handed to TCP)."""

    received: int = 0
    sent: int = 0


def listen(host: str, port: int) -> socket.socket:
    """A socket for the server whose packets are those of a line, also on loopback."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    ordinary_segments(sock)
    sock.bind((host, port))
    return sock


class SpeedtestServer:
    """The handlers, and the counts of the latest runs."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, Counts] = OrderedDict()

    def app(self) -> web.Application:
        """The application: `/speedtest/` with and without a run in the path."""
        app = web.Application(client_max_size=MAX_UPLOAD_BYTES)
        for base in ("/speedtest", "/speedtest/run-{run}"):
            app.router.add_get(f"{base}/latency.txt", self._latency)
            app.router.add_get(f"{base}/random{{side:\\d+}}x{{other:\\d+}}.jpg", self._download)
            app.router.add_get(f"{base}/upload.php", self._ready)
            app.router.add_post(f"{base}/upload.php", self._upload)
        app.router.add_get("/speedtest/run-{run}/counts.json", self._counts)
        return app

    def counts(self, run: str) -> Counts | None:
        """What this run has brought and taken so far; None where nothing is known of it."""
        return self._runs.get(run)

    def _of(self, request: web.Request) -> Counts:
        run = request.match_info.get("run", "")
        if run and not _RUN.match(run):
            raise web.HTTPBadRequest(text="a run is named by letters, digits, - and _")
        counts = self._runs.setdefault(run, Counts())
        self._runs.move_to_end(run)
        while len(self._runs) > REMEMBERED_RUNS:
            self._runs.popitem(last=False)
        return counts

    async def _latency(self, request: web.Request) -> web.Response:
        return web.Response(text="test=test\n", headers={COUNTS_HEADER: "1"})

    async def _ready(self, request: web.Request) -> web.Response:
        return web.Response(text="size=500", headers={COUNTS_HEADER: "1"})

    async def _download(self, request: web.Request) -> web.StreamResponse:
        """Noise of about the size that a picture of this many pixels has at the public servers."""
        side, counts = int(request.match_info["side"]), self._of(request)
        if not 0 < side <= MAX_SIDE:
            raise web.HTTPNotFound
        left = 2 * side * side
        response = web.StreamResponse(headers={"Content-Type": "image/jpeg"})
        response.content_length = left
        await response.prepare(request)
        while left > 0:
            block = noise()[: min(left, BLOCK_BYTES)]
            try:
                await response.write(block)
            except ConnectionError:  # the test was long enough
                break
            counts.sent += len(block)
            left -= len(block)
        return response

    async def _upload(self, request: web.Request) -> web.Response:
        counts, here = self._of(request), 0
        try:
            async for chunk in request.content.iter_any():
                here += len(chunk)
                counts.received += len(chunk)
                if here > MAX_UPLOAD_BYTES:
                    raise web.HTTPRequestEntityTooLarge(MAX_UPLOAD_BYTES, here)
        except ConnectionError:  # the test was long enough
            return web.Response(status=499)
        return web.Response(text=f"size={here}")

    async def _counts(self, request: web.Request) -> web.Response:
        counts = self.counts(request.match_info["run"])
        if counts is None:
            raise web.HTTPNotFound
        return web.json_response({"received": counts.received, "sent": counts.sent})

"""The programs of the Internet benchmark: its servers, and the agent's worker.

    python -m tests.bench.internet_subject server|worker|public [URL]

`worker` is the agent's own; `public` the same where the public service names URL as the nearest
server, and orders the pictures and uploads of its XML configuration (ratio 5).
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any

import speedtest
from aiohttp import web

from jharnet_monitor.lab.speedtest_server import SpeedtestServer, listen
from jharnet_monitor.probes.internet import worker

PORT = 8090
REFUSALS = ("401", "403", "429", "500", "503", "reset", "empty")
PUBLIC = {
    "client": {"ip": "", "lat": "0", "lon": "0", "isp": "", "country": ""},
    "ignore_servers": [],
    "threads": {"upload": 2, "download": 4},
    "length": {"upload": 10, "download": 10},
    "sizes": {
        "upload": [524288, 1048576, 7340032],
        "download": [350, 500, 750, 1000, 1500, 2000, 2500, 3000, 3500, 4000],
    },
    "counts": {"upload": 34, "download": 4},
    "upload_max": 50,
}


def servers() -> web.Application:
    """Ours, a file of any size, LibreSpeed's two scripts, and one that refuses a method."""
    app = SpeedtestServer().app()
    app.router.add_get("/file/{size}", _file)
    app.router.add_get("/backend/garbage.php", _garbage)
    app.router.add_post("/backend/empty.php", _empty)
    app.router.add_route("*", "/refuse/{how}/{wait}/{method}/{size}/{rest:.*}", _refuse)
    return app


async def _write(request: web.Request, size: int, *, sized: bool = True) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    if sized:
        response.content_length = size
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        while size > 0:
            await response.write(bytes(min(size, 1 << 16)))
            size -= 1 << 16
    return response


async def _file(request: web.Request) -> web.StreamResponse:
    return await _write(request, int(request.match_info["size"]))


async def _garbage(request: web.Request) -> web.StreamResponse:
    return await _write(request, int(request.query["ckSize"]) << 20, sized=False)


async def _empty(request: web.Request) -> web.Response:
    with contextlib.suppress(ConnectionError):
        async for _ in request.content.iter_any():
            pass
    return web.Response()


async def _refuse(request: web.Request) -> web.StreamResponse:
    match, transport = request.match_info, request.transport
    if match["rest"].endswith("latency.txt"):
        return web.Response(text="test=test\n")
    if request.method != match["method"]:
        return await (_empty(request) if request.method == "POST" else _write(request, 1 << 25))
    await asyncio.sleep(int(match["wait"]) / 1000)
    if match["how"] == "reset" and transport is not None:
        transport.abort()
    if match["how"] in ("reset", "empty"):
        return web.Response(body=b"", content_type="image/jpeg")
    return web.Response(status=int(match["how"]), text="x" * int(match["size"]))


def _be_public(url: str) -> None:
    """Let the service order these pictures and uploads, and name this server as the nearest."""

    def get_config(client: Any) -> Any:
        client.config.update(PUBLIC)
        return client.config

    def get_best_server(client: Any) -> Any:
        client._best.update(url=url, latency=20.0)
        return client._best

    speedtest.Speedtest.get_config = get_config
    speedtest.Speedtest.get_servers = lambda _: None
    speedtest.Speedtest.get_best_server = get_best_server


def main() -> None:
    """Run one of the programs."""
    if sys.argv[1] == "server":
        loop = asyncio.new_event_loop()
        runner = web.AppRunner(servers(), shutdown_timeout=0.2)
        loop.run_until_complete(runner.setup())
        sock = listen("0.0.0.0", PORT)  # noqa: S104 - in a namespace
        loop.run_until_complete(web.SockSite(runner, sock).start())
        print("listening", flush=True)
        loop.run_forever()
    if sys.argv[1] == "public":
        _be_public(sys.argv[2])
    worker.main()


if __name__ == "__main__":
    main()

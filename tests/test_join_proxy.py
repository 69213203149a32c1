"""The join page behind a real reverse proxy that removes a path from every address."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from playwright.async_api import Browser, Request

from jharnet_monitor.model import Measurement, Outcome
from tests.busy_host import undisturbed
from tests.join_support import TOKEN, browser, free_port, join, open_link, opened_door

__all__ = ["browser"]

PATH = "/jharnet"
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "content-encoding",
              "content-length", "host"}  # fmt: skip


PIECE = 8_192
RATE = 4e6
"""Bytes and bit/s of a transfer: on loopback a test would be over before it could be measured."""


def _small_socket(address: Any) -> socket.socket:
    """One that takes little in advance, as the hub counts what its kernel could hand over."""
    made = socket.socket(address[0], address[1], address[2])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    made.setblocking(False)
    return made


@dataclass(eq=False)
class Transfer:
    """One transfer of a speed test: what went through the proxy, each way."""

    method: str
    status: int = 0
    up: int = 0
    down: int = 0
    seconds: float = 0.0
    """From the first piece of the page's request to the last."""

    @property
    def rate_up(self) -> float:
        """bit/s of what came from the page."""
        return 8 * self.up / max(self.seconds, 0.001)

    @property
    def rate_down(self) -> float:
        """bit/s of what went to the page."""
        return 8 * self.down / max(self.seconds, 0.001)

    async def upwards(self, request: web.Request) -> AsyncIterator[bytes]:
        """The body of the page's request, counted, at the rate of the line."""
        began = time.monotonic()
        async for chunk in request.content.iter_chunked(PIECE):
            self.up += len(chunk)
            self.seconds = time.monotonic() - began
            yield chunk
            await asyncio.sleep(8 * len(chunk) / RATE)


class Proxy:
    """Passes on what is below `PATH`, and refuses the rest, as a portal with other sites does."""

    def __init__(self, behind: str) -> None:
        self._behind = behind
        self.refused: list[str] = []
        self.transfers: list[Transfer] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request, or one WebSocket."""
        if not request.path.startswith(f"{PATH}/"):
            self.refused.append(request.path)
            raise web.HTTPNotFound
        url = self._behind + request.path_qs.removeprefix(PATH)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP}
        headers |= {"X-Forwarded-For": request.remote or "", "X-Forwarded-Host": request.host,
                    "X-Forwarded-Proto": "http"}  # fmt: skip
        connector = aiohttp.TCPConnector(socket_factory=_small_socket)
        async with aiohttp.ClientSession(auto_decompress=False, connector=connector) as http:
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._socket(request, http, url, headers)
            one = Transfer(request.method)
            if "/agent/transfer/" in request.path:
                self.transfers.append(one)
            body = one.upwards(request) if request.can_read_body else None
            async with http.request(
                request.method, url, headers=headers, data=body, allow_redirects=False
            ) as answer:
                one.status = answer.status
                kept = {k: v for k, v in answer.headers.items()
                        if k.lower() not in HOP_BY_HOP - {"content-encoding"}}  # fmt: skip
                response = web.StreamResponse(status=answer.status, headers=kept)
                await response.prepare(request)
                began = time.monotonic()
                async for chunk in answer.content.iter_chunked(PIECE):
                    one.down += len(chunk)
                    one.seconds = time.monotonic() - began
                    await response.write(chunk)
                    if one in self.transfers:
                        await asyncio.sleep(8 * len(chunk) / RATE)
                return response

    async def _socket(
        self, request: web.Request, http: aiohttp.ClientSession, url: str, headers: dict[str, str]
    ) -> web.WebSocketResponse:
        offered = headers.pop("Sec-WebSocket-Protocol", "").split(", ")
        own = {k: v for k, v in headers.items() if not k.lower().startswith("sec-websocket")}
        async with http.ws_connect(url, protocols=offered, headers=own) as inner:
            outer = web.WebSocketResponse(protocols=[inner.protocol or ""])
            await outer.prepare(request)

            async def upwards() -> None:
                async for message in outer:
                    await inner.send_str(message.data)
                await inner.close()

            sending = asyncio.create_task(upwards())
            async for message in inner:
                await outer.send_str(message.data)
            await outer.close(code=inner.close_code or 1000)
            await sending
            return outer


@asynccontextmanager
async def proxy(port: int, behind: str) -> AsyncIterator[Proxy]:
    """The proxy, on a port of loopback."""
    found = Proxy(behind)
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{rest:.*}", found.handle)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield found
    finally:
        await runner.cleanup()


@pytest.mark.browser
async def test_the_join_page_works_behind_a_path(browser: Browser, tmp_path: Path) -> None:
    """Modules, workers, session, every transfer both ways, a call's signalling, manifest and the
    newest result go through the proxy; nothing goes past its path.
    """
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    behind = opened_door(tmp_path, url=f"{address}{PATH}", trusted_proxies=["127.0.0.0/8"])
    async with behind as door, proxy(port, door.base) as between:
        page = await open_link(browser, f"{address}{PATH}/join/potka#t={TOKEN}")
        requested: list[str] = []

        def note(request: Request) -> None:
            requested.append(request.url)

        page.on("request", note)
        await join(page)

        async def tested() -> Measurement:
            requested.clear()
            between.transfers.clear()
            return await door.hub.run_probe("potka", "bandwidth", {})

        result = await undisturbed(tested)
        values, conditions = result.values, result.conditions
        assert (result.outcome, result.cause) == (Outcome.OK, None), result
        assert conditions["agent_client"] == "browser"
        started = [url for url in requested if "/agent/transfer/" in url]
        streams = [conditions[f"{name}_streams"] for name in ("download", "upload")]
        methods = [one.method for one in between.transfers]
        assert [methods.count("GET"), methods.count("POST")] == streams, between.transfers
        assert len(started) == sum(streams), "no transfer goes past the proxy"
        for one in between.transfers:
            moved = one.down if one.method == "GET" else one.up
            assert moved > 100_000, one
        assert all(one.status == 200 for one in between.transfers if one.method == "GET")
        uploads = [one.rate_up for one in between.transfers if one.method == "POST"]
        assert values["upload_bits_per_second"] == pytest.approx(max(uploads), rel=0.15)
        # The hub's kernel counts what the proxy takes in advance: a quarter more.
        downloads = [one.rate_down for one in between.transfers if one.method == "GET"]
        assert values["download_bits_per_second"] == pytest.approx(max(downloads), rel=0.1)
        assert (conditions["behind_proxy"], conditions["download_counted_by"]) == (True, "page")
        call = await door.undisturbed("conference", {"profile": "audio", "seconds": 4})
        if call.outcome is Outcome.OK and call.values["grade"] == 0:
            # Chromium's sound paused, which does not go through the proxy.
            call = await door.undisturbed("conference", {"profile": "audio", "seconds": 4})
        assert (call.outcome, call.cause) == (Outcome.OK, None), call.conditions
        assert call.values["grade"] == 1, "the best grade of a call without a picture"
        manifest = await page.locator("link[rel=manifest]").get_attribute("href")
        answer = await page.request.get(f"{address}{manifest}")
        assert (await answer.json())["start_url"] == f"{PATH}/join/potka"
        service = await page.evaluate("navigator.serviceWorker.ready.then((one) => one.scope)")
        assert service == f"{address}{PATH}/join/"
        async with asyncio.timeout(30):
            while not any(re.search(r"/jharnet/join/potka$", url) for url in requested):
                await asyncio.sleep(0.2)  # the newest result is fetched after the test
    assert between.refused == []

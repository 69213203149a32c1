"""The join page behind a real reverse proxy that removes a path from every address."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from playwright.async_api import Browser, Request

from tests.test_join import TOKEN, browser, free_port, join, open_link, opened_door

__all__ = ["browser"]

PATH = "/jharnet"
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "content-encoding",
              "content-length", "host"}  # fmt: skip


class Proxy:
    """Passes on what is below `PATH`, and refuses the rest, as a portal with other sites does."""

    def __init__(self, behind: str) -> None:
        self._behind = behind
        self.refused: list[str] = []
        self.passed: list[tuple[str, str]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request, or one WebSocket."""
        if not request.path.startswith(f"{PATH}/"):
            self.refused.append(request.path)
            raise web.HTTPNotFound
        self.passed.append((request.method, request.path))
        url = self._behind + request.path_qs.removeprefix(PATH)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP}
        headers |= {"X-Forwarded-For": request.remote or "", "X-Forwarded-Host": request.host,
                    "X-Forwarded-Proto": "http"}  # fmt: skip
        async with aiohttp.ClientSession(auto_decompress=False) as http:
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._socket(request, http, url, headers)
            body = request.content.iter_any() if request.can_read_body else None
            async with http.request(
                request.method, url, headers=headers, data=body, allow_redirects=False
            ) as answer:
                kept = {k: v for k, v in answer.headers.items()
                        if k.lower() not in HOP_BY_HOP - {"content-encoding"}}  # fmt: skip
                response = web.StreamResponse(status=answer.status, headers=kept)
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
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
    """Modules, workers, session, transfers, manifest and the newest result go through the proxy;
    nothing goes past its path.
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
        result = await door.hub.run_probe("potka", "bandwidth", {})
        # The rates are not judged here: this proxy is a slow program on the same machine.
        assert result.conditions["agent_client"] == "browser"
        assert result.values["bytes_spent"] > 500_000
        transfers = {method for method, path in between.passed if "/agent/transfer/" in path}
        assert transfers, between.passed
        manifest = await page.locator("link[rel=manifest]").get_attribute("href")
        answer = await page.request.get(f"{address}{manifest}")
        assert (await answer.json())["start_url"] == f"{PATH}/join/potka"
        service = await page.evaluate("navigator.serviceWorker.ready.then((one) => one.scope)")
        assert service == f"{address}{PATH}/join/"
        async with asyncio.timeout(30):
            while not any(re.search(r"/jharnet/join/potka$", url) for url in requested):
                await asyncio.sleep(0.2)  # the newest result is fetched after the test
    assert between.refused == []

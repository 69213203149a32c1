"""The join page behind other tabs of a real Chromium, which then slows the page's own clock down.

Playwright keeps every page in sight, so this speaks Chromium's DevTools protocol itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from jharnet_monitor.model import Outcome
from tests.browser_support import QUIET
from tests.conftest import find_program
from tests.test_join import ARGUMENTS, Door, door

__all__ = ["door"]

CALL = {"profile": "360p", "seconds": 8}
TIMERS = """new Promise((resolve) => {
  let fired = 0;
  const end = performance.now() + 3000;
  const next = () => (fired += 1, performance.now() < end ? setTimeout(next, 50) : resolve(fired));
  next();
})"""


class Tab:
    """A page, asked in its own language."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._requested = 0

    async def ask(self, expression: str) -> Any:
        """The value of an expression, as after a click (sound may begin)."""
        self._requested += 1
        how = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        order = {"id": self._requested, "method": "Runtime.evaluate",
                 "params": {**how, "userGesture": True}}  # fmt: skip
        await self._socket.send_json(order)
        while (answer := await self._socket.receive_json()).get("id") != self._requested:
            pass
        assert "exceptionDetails" not in answer["result"], answer
        return answer["result"]["result"].get("value")

    async def until(self, expression: str, wanted: object) -> None:
        """Ask until the answer is this."""
        async with asyncio.timeout(20):
            while await self.ask(expression) != wanted:
                await asyncio.sleep(0.1)


Opener = Callable[[str], Coroutine[Any, Any, Tab]]


@asynccontextmanager
async def chromium(profile: Path) -> AsyncIterator[Opener]:
    """A browser with one window; gives what opens a tab in front of the others."""
    argv = [str(find_program("chromium")), "--headless=new", *QUIET, *ARGUMENTS,
            "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]  # fmt: skip
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*argv, stdout=quiet, stderr=quiet)
    try:
        note = profile / "DevToolsActivePort"
        async with asyncio.timeout(20):
            while not (note.exists() and note.read_text().count("\n")):
                await asyncio.sleep(0.1)
        base = f"http://127.0.0.1:{note.read_text().split()[0]}"
        async with aiohttp.ClientSession() as http:

            async def opened(address: str) -> Tab:
                async with http.put(f"{base}/json/new?{address}") as answer:
                    page = await answer.json()
                return Tab(await http.ws_connect(page["webSocketDebuggerUrl"]))

            yield opened
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.browser
async def test_a_page_behind_others_is_tested_as_well(door: Door, tmp_path: Path) -> None:
    """It is slowed down, reports that, and neither its pictures nor its reports suffer."""
    async with chromium(tmp_path / "profile") as opened:
        page = await opened("about:blank")
        await page.ask(f"location.href = '{door.link}'")
        await page.until("document.getElementById('join')?.dataset.state", "idle")
        await page.ask("document.getElementById('go').click()")
        await page.until("document.getElementById('join').dataset.state", "waiting")
        await opened("about:blank")
        await page.until("document.hidden", True)
        call = asyncio.create_task(door.hub.run_probe("potka", "conference", CALL))
        assert await page.ask(TIMERS) < 10, "Chromium does not slow it down: this tests nothing"
        result = await call
        assert (result.outcome, result.cause) == (Outcome.OK, None), result.conditions
        assert result.conditions["agent_page_hidden"] is True
        for way in ("up", "down"):
            assert result.values[f"{way}_height"] == 360
            assert result.values[f"{way}_frames_per_second"] > 15
            assert result.values[f"{way}_audio_loss_ratio"] < 0.05
        await page.until("document.getElementById('join').dataset.state", "waiting")

"""A hub on loopback with one office's link, and its join page in a real Chromium."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Route, expect

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config import Config
from jharnet_monitor.hub.daemon import Hub
from jharnet_monitor.model import Measurement
from jharnet_monitor.rtc.media.clips import prepare_clips
from jharnet_monitor.security import tokens
from tests import busy_host
from tests.browser_support import FAKE_DEVICES, chromium
from tests.no_schedule import plan_nothing

TOKEN = tokens.make_token()
ARGUMENTS = (*FAKE_DEVICES, "--allow-loopback-in-peer-connection")
CALL = {"seconds": 6}


@dataclass
class Door:
    """A hub that runs in this loop, and its address."""

    hub: Hub
    base: str

    @property
    def link(self) -> str:
        """What `jharnet-monitor token potka` prints."""
        return f"{self.base}/join/potka#t={TOKEN}"

    async def until(self, true: Callable[[], bool], seconds: float = 60) -> None:
        """Wait for something that the hub comes to know."""
        async with asyncio.timeout(seconds):
            while not true():
                await asyncio.sleep(0.05)

    async def undisturbed(self, probe: str, options: Mapping[str, Any]) -> Measurement:
        """Run a probe on the office, repeated where this machine was too busy for a result."""
        return await busy_host.undisturbed(lambda: self.hub.run_probe("potka", probe, options))

    def measured_by_page(self) -> list[Measurement]:
        """What the page has measured by itself, as the hub has it; the oldest first."""
        return self.hub.store.measurements(office="potka", probe="latency", path="page_hub")

    def events(self, kind: str) -> list[Any]:
        """The events of the office in the event log."""
        soon = self.hub.clock.now()
        return [
            e for e in self.hub.store.event_log.events_before("potka", soon, 50) if e.kind == kind
        ]


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    """A hub as `run` starts it, on a free port, that knows one office's token."""
    async with opened_door(tmp_path) as found:
        yield found


def free_port() -> int:
    """A TCP port of loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def opened_door(tmp_path: Path, **settings: Any) -> AsyncIterator[Door]:
    """The same, with more settings of the section `hub`."""
    port = free_port()
    tokens.write_secret(tmp_path / "potka", tokens.hash_token(TOKEN))
    data: dict[str, Any] = {
        "district": {"id": "d", "name": "East Singhbhum", "name_hi": "पूर्वी सिंहभूम"},
        "hub": {
            "listen": f"127.0.0.1:{port}",
            "database": f"sqlite:///{tmp_path}/monitor.db",
            "tls": False,
            "access_log": str(tmp_path / "access-log"),
            "udp_ports": "41000-41099",
            "uplink": {"contracted": "34 Mbit/s"},
            **settings,
        },
        "offices": [
            {
                "id": "potka",
                "name": "Potka",
                "name_hi": "पोटका",
                "pc": "127.0.0.2",
                "link": {"contracted": "4 Mbit/s"},
                "agent": {"token_hash_file": str(tmp_path / "potka")},
            }
        ],
    }
    plan_nothing(data)
    data["probes"]["conference"]["profile"] = "360p"  # also of a call by hand
    config = Config.model_validate(data)
    await asyncio.to_thread(prepare_clips)
    hub = Hub(tmp_path / "jharnet.yaml", config, SystemClock())
    running = asyncio.create_task(hub.run())
    found = Door(hub, f"http://127.0.0.1:{port}")
    await found.until(lambda: running.done() or hub.live.hub.started_at is not None)
    if running.done():
        running.result()
    try:
        yield found
    finally:
        hub.stop()
        await asyncio.wait_for(running, 60)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Chromium, without a screen, with a made-up camera and microphone."""
    async with chromium(*ARGUMENTS) as browser:
        yield browser


async def open_link(
    browser: Browser,
    link: str,
    *allowed: str,
    lang: str = "en",
    width: int = 390,
    instead: Mapping[str, str] | None = None,
) -> Page:
    """The page as it is before the click, in a fresh window; `instead` of some of its modules it
    gets others."""
    context = await browser.new_context(locale=lang, viewport={"width": width, "height": 844})
    await context.grant_permissions(list(allowed))
    page = await context.new_page()
    page.set_default_timeout(60_000)
    other = dict(instead or {})

    async def answer(route: Route) -> None:
        text = other[route.request.url.rpartition("/")[2].partition("?")[0]]
        await route.fulfill(body=text, content_type="text/javascript")

    for module in other:
        await page.route(f"**/{module}*", answer)
    await page.goto(link)
    return page


async def says(page: Page, words: str) -> None:
    """Wait until the page shows a state; the texts of the others are there, but hidden."""
    await expect(page.get_by_role("status")).to_contain_text(words, use_inner_text=True)


async def join(page: Page, state: str = "Connected") -> None:
    """The one click."""
    await page.get_by_role("button", name="Join").click()
    await says(page, state)

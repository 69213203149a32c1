"""The join page in a real Chromium against a real hub on loopback: one click, and it is tested."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from playwright.async_api import Browser, Page, Route, expect

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config import Config
from jharnet_monitor.hub.daemon import Hub
from jharnet_monitor.model import Cause, Measurement, Outcome
from jharnet_monitor.rtc.media.clips import prepare_clips
from jharnet_monitor.security import tokens
from jharnet_monitor.wire.protocol import CLOSE_NOT_NEEDED, CLOSE_WRONG_TOKEN
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


@pytest.mark.browser
@pytest.mark.parametrize("devices", [("camera", "microphone"), ()], ids=["camera", "pattern"])
async def test_a_click_and_the_office_is_tested(
    door: Door, browser: Browser, devices: tuple[str, ...]
) -> None:
    """A real call both ways with Chromium, judged by what arrived; the page shows its grade."""
    errors: list[str] = []
    page = await open_link(browser, door.link, *devices)
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: errors.append(str(e)))
    await join(page)
    call = asyncio.create_task(door.undisturbed("conference", CALL))
    await says(page, "Test is running")
    result = await call
    assert (result.outcome, result.cause) == (Outcome.OK, None), result.conditions
    values, conditions = result.values, result.conditions
    assert values["grade"] >= 3
    for way in ("up", "down"):
        assert values[f"{way}_height"] == 360
        assert values[f"{way}_frames_per_second"] > 12
        assert 250e3 < values[f"{way}_bits_per_second"] < 700e3
        assert values[f"{way}_audio_loss_ratio"] < 0.05
        assert 3 < values[f"{way}_audio_mos"] <= 4.5
    assert busy_host.was_late(conditions) or 0 < values["rtt_p95_seconds"] < 1
    assert conditions["agent_client"] == "browser"
    assert 0 < conditions["agent_loop_lag_seconds"] < 1
    assert conditions["agent_video"] == ("camera" if devices else "pattern")
    assert conditions["agent_audio"] == ("microphone" if devices else "tone")
    for unknown in ("agent_cpu_ratio", "agent_socket_drops", "down_residual_loss_ratio"):
        assert conditions[unknown] is None
    await expect(page.locator("#result")).to_contain_text("SD video")
    await says(page, "Connected")
    assert errors == []


def sound_processes() -> list[psutil.Process]:
    """The processes of our browser that record and play sound."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            if any("AudioService" in word for word in process.cmdline()):
                found.append(process)
    return found


@pytest.mark.browser
async def test_sound_that_stands_still_at_the_office_is_not_the_lines(
    door: Door, browser: Browser
) -> None:
    """Chromium records it in a process of its own: its voice is 0.4 s late from then on, while the
    page, its picture and the line are not."""
    await join(await open_link(browser, door.link, "camera", "microphone"))

    [sound] = sound_processes()

    async def stopped_once() -> Measurement:
        run = asyncio.create_task(door.hub.run_probe("potka", "conference", CALL))
        await asyncio.sleep(4)
        sound.suspend()
        try:
            await asyncio.sleep(0.4)
        finally:
            sound.resume()
        return await run

    result = await busy_host.undisturbed(stopped_once)
    assert (result.outcome, result.values["grade"]) == (Outcome.OK, 3), result
    assert result.conditions["up_pdv_seconds"] < 0.1, result
    assert result.conditions["up_concealed_ratio"] < 0.02, result
    assert result.values["up_audio_mos"] > 4, result


@pytest.mark.browser
async def test_a_question_that_nobody_answers_does_not_hold_it_up(
    door: Door, browser: Browser
) -> None:
    """The browser asks for the camera, and nobody is there: the office is connected anyway."""
    page = await open_link(browser, door.link)
    await page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = () => new Promise(() => {}); }"
    )
    await join(page)


@pytest.mark.browser
async def test_a_browser_speaks_h264_too(door: Door, browser: Browser) -> None:
    """Asked for H.264, Chromium offers it in our one form, and its frames are counted."""
    await join(await open_link(browser, door.link))
    result = await door.undisturbed("conference", {**CALL, "codec": "h264"})
    assert (result.outcome, result.cause) == (Outcome.OK, None), result.conditions
    assert result.conditions["codecs"] == "opus, h264"
    assert result.values["grade"] >= 3
    for way in ("up", "down"):
        assert result.values[f"{way}_height"] == 360
        assert result.values[f"{way}_frames_per_second"] > 12
        assert 1 < result.values[f"{way}_video_mos"] < 5


@pytest.mark.browser
async def test_a_page_proves_nothing_about_power_and_says_goodbye(
    door: Door, browser: Browser
) -> None:
    """Its boot id is noted as a browser's; what it cannot do is no fault of the line."""
    page = await open_link(browser, door.link)
    await join(page)
    [joined] = await asyncio.to_thread(door.events, "joined")
    assert joined.data["kind"] == "browser"
    trains = await door.hub.run_probe("potka", "bandwidth", {"path": "trains"})
    assert (trains.outcome, trains.cause) == (Outcome.NO_DATA, Cause.NEEDS_PROGRAM)
    await page.goto("about:blank")
    await door.until(lambda: door.hub.agents.get("potka") is None)
    assert door.hub.live.offices["potka"].agent.signed_off


@pytest.mark.browser
async def test_it_comes_back_by_itself(door: Door, browser: Browser) -> None:
    """After the session is lost the page joins again, without a click."""
    page = await open_link(browser, door.link)
    await join(page)
    first = door.hub.agents.get("potka")
    assert first is not None
    await first.socket.close(code=1001)
    await door.until(lambda: door.hub.agents.get("potka") not in (None, first))
    await says(page, "Connected")


@pytest.mark.browser
async def test_whoever_joins_last_is_in(door: Door, browser: Browser) -> None:
    """Two windows of one office do not throw each other out for ever."""
    before = await open_link(browser, door.link)
    await join(before)
    after = await open_link(browser, door.link)
    await join(after)
    await says(before, "Joined in another window")
    await expect(before.get_by_role("button", name="Join")).to_be_visible()
    for page, other in ((before, after), (after, before)):
        await join(page)
        await says(other, "Joined in another window")
    async with asyncio.timeout(60):
        while len(before.workers) != 2:
            await asyncio.sleep(0.1)


@pytest.mark.browser
async def test_joining_again_in_a_test_ends_the_old_test(door: Door, browser: Browser) -> None:
    """A second click while a call runs: it ends, its workers too, and the next call is whole."""
    page = await open_link(browser, door.link)
    await join(page)
    call = asyncio.create_task(door.hub.run_probe("potka", "conference", {**CALL, "seconds": 30}))
    await says(page, "Test is running")
    await page.evaluate("document.getElementById('go').click()")
    assert (await call).outcome is Outcome.NO_DATA
    await says(page, "Connected")
    async with asyncio.timeout(60):
        while len(page.workers) != 2:
            await asyncio.sleep(0.1)
    result = await door.undisturbed("conference", CALL)
    assert (result.outcome, result.cause) == (Outcome.OK, None), result.conditions


LATE_REPLY = """async (module) => {
  const { Latency } = await import(module);
  const kept = [];
  const one = new Latency({ office: "potka", bootId: "b" }, (m) => kept.push(m), () => false);
  one.reached(true);
  for (const n of [1, 2]) one.sent(n);
  one.beat({ n: 1 });
  await new Promise((resolve) => setTimeout(resolve, 2100));
  one.beat({ n: 2 });
  one.reached(false);
  return kept;
}"""


@pytest.mark.browser
async def test_a_reply_that_came_too_late_is_lost_and_no_round_trip(
    door: Door, browser: Browser
) -> None:
    """Of two heartbeats one is answered after 2.1 s: one of two received, and no such delay."""
    page = await open_link(browser, door.link)
    module = await page.locator("script[type=module]").get_attribute("src")
    assert module is not None
    [kept] = await page.evaluate(LATE_REPLY, module.replace("join.js", "join-latency.js"))
    assert (kept["values"]["sent"], kept["values"]["received"]) == (2, 1)
    assert kept["values"]["rtt_max_seconds"] < 2


@pytest.mark.browser
@pytest.mark.parametrize(
    ("fragment", "words"),
    [("#t=" + "x" * 43, "This link is not valid"), ("", "The link is incomplete")],
)
async def test_a_wrong_link_is_explained(
    door: Door, browser: Browser, fragment: str, words: str
) -> None:
    """In both languages; the language link keeps the token."""
    page = await open_link(browser, f"{door.base}/join/potka{fragment}")
    if fragment:
        await join(page, words)
    await says(page, words)
    await page.locator("a.language").click()
    await expect(page.locator("h1")).to_have_text("पोटका")
    assert page.url.endswith(f"?lang=hi{fragment}")


@pytest.mark.browser
async def test_the_page_fits_a_phone_and_a_desk(door: Door, browser: Browser) -> None:
    """In both languages."""
    for lang in ("en", "hi"):
        for width in (320, 1280):
            page = await open_link(browser, door.link, lang=lang, width=width)
            await expect(page.locator("#go")).to_be_visible()
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
            await page.context.close()


@pytest.mark.browser
async def test_an_installed_page_starts_by_itself_even_without_the_hub(
    door: Door, browser: Browser
) -> None:
    """Its link is needed once, the manifest has no token, and it opens while the line is down."""
    page = await open_link(browser, door.link)
    await join(page)
    async with aiohttp.ClientSession() as http:
        manifest = await (await http.get(f"{door.base}/join/potka/app.webmanifest")).json(
            content_type="application/manifest+json"
        )
        assert (await http.get(f"{door.base}/join/nowhere/app.webmanifest")).status == 404
    assert manifest["start_url"] == "/join/potka" and TOKEN not in str(manifest)
    await page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    await page.goto(f"{door.base}{manifest['start_url']}")
    await says(page, "Connected")
    await page.reload()  # by now the service worker has seen every file
    await says(page, "Connected")
    await page.context.set_offline(True)
    await page.reload()
    await says(page, "Not connected")


async def _upgrade(door: Door, token: str, protocols: list[str], **headers: str) -> int | None:
    """The close code of a session, or the HTTP status of a refused upgrade."""
    hello = {"type": "hello", "protocol": 1, "kind": "browser", "boot_id": "b",
             "uptime_seconds": 1, "spooled": 0}  # fmt: skip
    async with aiohttp.ClientSession() as http:
        try:
            async with http.ws_connect(
                f"{door.base}/agent?office=potka",
                protocols=[p.replace("TOKEN", token) for p in protocols],
                headers=headers,
            ) as ws:
                assert ws.protocol == "jharnet"  # the token is not said back
                with contextlib.suppress(ConnectionError):
                    await ws.send_json(hello)
                answer = await ws.receive()
                return None if answer.type is aiohttp.WSMsgType.TEXT else ws.close_code
        except aiohttp.WSServerHandshakeError as error:
            return error.status


async def test_only_our_own_page_with_the_right_token_comes_in(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    """Another site, another token and another subprotocol are refused; no token is logged."""
    ours, offer = {"Origin": door.base}, ["jharnet", "bearer.TOKEN"]
    assert await _upgrade(door, TOKEN, offer, **ours) is None
    assert await _upgrade(door, TOKEN, offer, Origin="https://elsewhere.example") == 403
    assert await _upgrade(door, "wrong", offer, **ours) == CLOSE_WRONG_TOKEN
    assert await _upgrade(door, TOKEN, ["jharnet"], **ours) == CLOSE_WRONG_TOKEN
    assert await _upgrade(door, TOKEN, ["bearer.TOKEN"], **ours) == 400
    assert TOKEN not in caplog.text


async def test_a_page_gives_way_to_a_program(door: Door) -> None:
    """Where the office's agent program is connected, a page is not needed."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    url = f"{door.base}/agent?office=potka"
    hello = {"type": "hello", "protocol": 1, "boot_id": "p", "uptime_seconds": 1, "spooled": 0}
    async with aiohttp.ClientSession() as http, http.ws_connect(url, headers=headers) as ws:
        await ws.send_json(hello)
        assert (await ws.receive_json())["type"] == "welcome"
        offer = ["jharnet", "bearer.TOKEN"]
        assert await _upgrade(door, TOKEN, offer, Origin=door.base) == CLOSE_NOT_NEEDED
        session = door.hub.agents.get("potka")
        assert session is not None and session.kind == "program"


async def test_the_page_may_use_the_camera_and_nothing_from_elsewhere(door: Door) -> None:
    """Its headers: camera and microphone for itself, scripts and workers of ours, no referrer."""
    async with aiohttp.ClientSession() as http, http.get(f"{door.base}/join/potka") as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "worker-src 'self'" in policy
        assert "unsafe" not in policy
        assert "camera=(self)" in answer.headers["Permissions-Policy"]
        assert answer.headers["Referrer-Policy"] == "no-referrer"
    async with aiohttp.ClientSession() as http, http.get(f"{door.base}/join/nowhere") as answer:
        assert answer.status == 404

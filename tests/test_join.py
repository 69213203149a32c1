"""The join page in a real Chromium against a real hub on loopback: one click, and it is in."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp
import pytest
from playwright.async_api import Browser, expect

from jharnet_monitor.model import Cause, Outcome
from jharnet_monitor.wire.protocol import CLOSE_NOT_NEEDED, CLOSE_WRONG_TOKEN
from tests.join_support import TOKEN, Door, browser, door, join, open_link, says

__all__ = ["browser", "door"]


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

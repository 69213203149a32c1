"""The pages in a real browser: no errors, no overflow, refresh, sign-in."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, expect

from jharnet_monitor.model import OfficeState
from tests import made_up_week
from tests.browser_support import chromium
from tests.made_up import NOW, latency
from tests.made_up_hub import MadeUpHub
from tests.web_support import TOKEN, Client

pytestmark = pytest.mark.browser

PAGES = (
    "/", "/office/potka", "/office/baharagora", "/reports", "/signin",
    "/help/", "/help/operator", "/help/architecture", "/help/configuration", "/help/agreement",
)  # fmt: skip


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Chromium, without a screen."""
    async with chromium() as browser:
        yield browser


async def open_page(
    browser: Browser, client: Client, errors: list[str], width: int = 1280, lang: str = "en"
) -> Page:
    """A fresh window that notes every error of a page, such as one that the CSP stops."""
    context = await browser.new_context(
        base_url=str(client.make_url("/")),
        viewport={"width": width, "height": 800},
        locale=lang,
    )
    page = await context.new_page()
    page.set_default_timeout(60_000)
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: errors.append(str(e)))
    return page


async def test_no_page_is_wider_than_the_screen_or_has_an_error(
    hub: MadeUpHub, client: Client, browser: Browser
) -> None:
    """On a small phone, a phone, a tablet and a desktop, in both languages."""
    hub.store.add([latency("potka", NOW, lost=3)])
    errors: list[str] = []

    async def look(lang: str, width: int) -> None:
        page = await open_page(browser, client, errors, width, lang)
        for path in PAGES:
            await page.goto(path)
            wide = await page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, (path, lang, width)
        await page.context.close()

    screens = [(lang, width) for lang in ("en", "hi") for width in (320, 390, 820, 1280)]
    await asyncio.gather(*(look(lang, width) for lang, width in screens))
    assert errors == []


@pytest.mark.parametrize("lang", ["en", "hi"])
async def test_drills_are_read_on_a_phone_without_scrolling_sideways(
    lang: str, hub: MadeUpHub, client: Client, browser: Browser
) -> None:
    """Each cell says what it is, and no table hides a column."""
    drill = made_up_week.drill(hub.config)
    hub.store.event_log.add_drill(drill)
    page = await open_page(browser, client, [], 360, lang)
    for path in ("/drills", f"/drills/{drill.id}"):
        await page.goto(path)
        hidden = "e => e.scrollWidth - e.clientWidth"
        assert await page.locator(".scroll").evaluate(hidden) == 0, path
        cells = page.locator(".scroll td")
        assert await cells.count() >= 5
        for cell in await cells.all():
            assert await cell.get_attribute("data-label")


async def test_the_page_refreshes_itself(hub: MadeUpHub, client: Client, browser: Browser) -> None:
    """It shows a change, keeps the focus, and says when the hub does not answer."""
    page = await open_page(browser, client, [])
    await page.goto("/")
    row = page.locator("tr", has=page.get_by_role("link", name="Potka"))
    await expect(row).to_contain_text("working")
    await page.get_by_role("link", name="Potka").focus()
    hub.live.set_state("potka", OfficeState.UNREACHABLE, NOW)
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(row).to_contain_text("unreachable")
    await expect(page.locator("h1")).to_contain_text("3 are unreachable")
    await expect(page.get_by_role("link", name="Potka")).to_be_focused()
    await expect(page.get_by_role("alert")).to_be_hidden()
    await page.evaluate("() => { window.fetch = () => new Promise(() => {}) }")  # only the stream
    hub.live.set_state("potka", OfficeState.LAN_DOWN, NOW)
    await expect(page.locator("h1")).to_contain_text("2 are unreachable")
    await expect(page).to_have_title(re.compile(r"2 are unreachable.* · JharNet monitor$"))
    await page.reload()
    await page.context.set_offline(True)
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(page.get_by_role("alert")).to_contain_text("has not answered since 25.11., 12:00")


async def test_a_person_signs_in_and_measures(
    hub: MadeUpHub, client: Client, browser: Browser
) -> None:
    """The form, the session and the button work with the headers that a browser really sends."""
    errors: list[str] = []
    page = await open_page(browser, client, errors)
    await page.goto("/office/potka")
    await page.get_by_role("link", name="Sign in to measure now").click()
    await page.get_by_label("Access token").fill(TOKEN)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("button", name="Bandwidth").click()
    await expect(page.get_by_role("status")).to_have_text(
        "Test started: Bandwidth. The result will appear here."
    )
    assert hub.requested == [("potka", "bandwidth", {})]
    assert errors == []
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("link", name="Sign in", exact=True)).to_be_visible()

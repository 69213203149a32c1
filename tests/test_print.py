"""The pages as a browser prints them: no page nearly empty, no button, no word cut off."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from pypdf import PdfReader

from tests import made_up_week
from tests.browser_support import chromium
from tests.made_up import NOW
from tests.made_up_hub import MadeUpHub
from tests.test_accessibility import past
from tests.test_readiness import by_browser, plan_conference
from tests.web_support import TOKEN, Client

__all__ = ["past"]

BUTTONS = ("Withdraw", "New link", "Check camera", "Sign in", "renews itself")
LONGEST = {"/": 2, "/office/boram": 3, "/drills/DRILL": 2, "/maintenance": 1, "/joining": 1,
           "/join/boram": 1}  # fmt: skip
"""The most pages of A4 that each page takes."""


@pytest.mark.browser
async def test_pages_are_printed_whole_and_without_buttons(
    hub: MadeUpHub, client: Client, past: str
) -> None:
    """Each begins on its first page with more than a heading."""
    await hub.plan("potka", NOW, NOW + timedelta(hours=2), "new mast")
    plan_conference(hub.live)
    by_browser(hub.live, "boram", camera="black")
    async with chromium() as browser:
        context = await browser.new_context(base_url=str(client.make_url("/")), locale="en")
        page = await context.new_page()
        page.set_default_timeout(120_000)
        await page.goto("/signin")
        await page.fill("#token", TOKEN)
        await page.click("form[action$='/signin'] button")
        for path, most in LONGEST.items():
            await page.goto(path.replace("DRILL", past))
            sheets = PdfReader(io.BytesIO(await page.pdf(format="A4"))).pages
            texts = [sheet.extract_text() for sheet in sheets]
            assert len(sheets) <= most, (path, len(sheets))
            assert len(texts[0]) > 250, (path, texts[0])
            for word in BUTTONS:
                assert word not in "\n".join(texts), (path, word)


@pytest.mark.browser
async def test_paper_is_white_and_what_failed_stands_out_without_colour(
    hub: MadeUpHub, client: Client
) -> None:
    """Also on a computer whose screen is dark."""
    drill = made_up_week.drill(hub.config)
    hub.store.event_log.add_drill(drill)
    style = "getComputedStyle(document.querySelector('{}'))"
    async with chromium() as browser:
        page = await browser.new_page(base_url=str(client.make_url("/")))
        page.set_default_timeout(120_000)
        await page.emulate_media(media="screen", color_scheme="light")
        await page.goto(f"/drills/{drill.id}")
        ink = await page.evaluate(style.format("body") + ".color")
        await page.emulate_media(media="print", color_scheme="dark")
        for part in ("body", "h1", ".outcome-failed"):
            assert await page.evaluate(style.format(part) + ".color") == ink, part
        assert await page.evaluate(style.format(".outcome-failed") + ".fontWeight") == "700"

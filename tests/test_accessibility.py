"""Every page against the rules of WCAG 2.2 (A, AA) by axe-core, in a real Chromium.

On a computer and on a phone, light and dark, in both languages; and by keyboard.
"""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from jharnet_monitor.i18n.words import LANGUAGES
from jharnet_monitor.model import OfficeState
from jharnet_monitor.report.data.summary import Summary
from jharnet_monitor.report.output.build import make
from jharnet_monitor.report.output.compose import drafts
from jharnet_monitor.report.output.drill_sheet import make_drill_sheets
from tests import made_up_week
from tests.browser_support import chromium
from tests.made_up import NOW, bandwidth, conference, latency
from tests.made_up_hub import MadeUpHub
from tests.web_support import TOKEN, Client

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[1]
AXE = ROOT / ".venv/axe/node_modules/axe-core/axe.min.js"
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
PAGES = (
    "/", "/office/potka", "/office/baharagora", "/drills", "/drills/DRILL", "/reports",
    "/maintenance", "/faults", "/joining", "/account", "/help/accessibility", "/nowhere",
)  # fmt: skip
SIGNED_OUT = ("/signin", "/join/potka")


@pytest.fixture
def past(hub: MadeUpHub) -> str:
    """A hub with something on every page; returns the id of its drill."""
    drill = made_up_week.drill(hub.config)
    hub.store.event_log.add_drill(drill)
    log = hub.store.event_log
    log.add_transition("potka", OfficeState.UP, NOW - timedelta(days=2), {})
    log.add_transition("potka", OfficeState.UNREACHABLE, NOW - timedelta(hours=5), {})
    log.add_transition("potka", OfficeState.UP, NOW - timedelta(hours=4), {})
    for hours in range(1, 20):
        at = NOW - timedelta(hours=hours)
        hub.store.add([latency("potka", at, lost=hours % 3), bandwidth("potka", at, 3e6, 2e6)])
    hub.store.add([conference("potka", NOW - timedelta(hours=2), 2)])
    directory = hub.reports_dir
    assert directory is not None
    directory.mkdir()
    (directory / "weekly-2026-W47.hi.pdf").write_bytes(b"%PDF-1.7")
    return drill.id


async def test_no_page_breaks_a_rule_of_wcag(hub: MadeUpHub, client: Client, past: str) -> None:
    """On no page, in no language, axe-core finds a violation."""
    if not AXE.exists():
        assert "CI" not in os.environ, ".ci/run installs axe-core"
        pytest.skip("axe-core is not installed: see .ci/run")
    await hub.plan("potka", NOW, NOW + timedelta(hours=2), "new mast")
    async with chromium() as browser:
        found = await asyncio.gather(
            _of_all_pages(await _open(browser, client, "en", 1280, "light"), past),
            _of_all_pages(await _open(browser, client, "hi", 390, "dark"), past),
        )
    assert [*found[0], *found[1]] == []


async def test_no_report_in_html_breaks_a_rule_of_wcag(summary: Summary, tmp_path: Path) -> None:
    """The weekly report and a drill's sheet as files, on a computer and on a phone; only tables are
    wider than the screen, and they can be scrolled by keyboard.
    """
    if not AXE.exists():
        assert "CI" not in os.environ, ".ci/run installs axe-core"
        pytest.skip("axe-core is not installed: see .ci/run")
    wrong: list[str] = []
    async with chromium() as browser:
        drill, config = summary.drills[0], summary.config
        sheets = make_drill_sheets(drill, config, LANGUAGES, ["html"], made_up_week.MADE_AT)
        for one in (*make(drafts(summary, LANGUAGES), ["html"]), *sheets):
            path = tmp_path / one.name
            path.write_bytes(one.content)
            looks = (_look(browser, path, width) for width in (1280, 360))
            wrong += [rule for found in await asyncio.gather(*looks) for rule in found]
    assert wrong == []


async def _look(browser: Browser, path: Path, width: int) -> list[str]:
    """The violations in a file on a screen of that width, which only tables may exceed."""
    page = await browser.new_page(viewport={"width": width, "height": 800})
    page.set_default_timeout(120_000)
    await page.goto(path.as_uri())
    await page.add_script_tag(path=AXE)
    wrong = await _broken_rules(page, f"{path.name} at {width} px")
    wide = await page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width, f"{path.name} is {wide} px wide on {width} px"
    await page.close()
    return wrong


async def _of_all_pages(page: Page, drill: str) -> list[str]:
    """The violations on every page, before and after signing in."""
    wrong: list[str] = []
    for path in SIGNED_OUT:
        wrong += await _violations(page, path)
    await page.goto("/signin")
    await page.fill("#token", TOKEN)
    await page.click("form[action$='/signin'] button")
    for path in PAGES:
        wrong += await _violations(page, path.replace("DRILL", drill))
    await page.context.close()
    return wrong


async def _open(browser: Browser, client: Client, lang: str, width: int, scheme: Any) -> Page:
    context = await browser.new_context(
        base_url=str(client.make_url("/")), viewport={"width": width, "height": 800},
        locale=lang, color_scheme=scheme, bypass_csp=True,
    )  # fmt: skip
    await context.add_init_script(path=AXE)
    page = await context.new_page()
    page.set_default_timeout(120_000)
    return page


async def _violations(page: Page, path: str) -> list[str]:
    answer = await page.goto(path)
    assert answer is not None
    assert answer.status == (404 if path == "/nowhere" else 200), path
    return await _broken_rules(page, path)


async def _broken_rules(page: Page, path: str) -> list[str]:
    """What axe-core finds on the open page."""
    found = await page.evaluate(
        "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})", list(RULES)
    )
    return [f"{path}: {one['id']}: {one['nodes'][0]['html'][:200]}" for one in found["violations"]]


async def test_the_pages_work_by_keyboard(client: Client, past: str) -> None:
    """The first stop leads to the content, each stop is seen, and none is a trap."""
    async with chromium() as browser:
        context = await browser.new_context(base_url=str(client.make_url("/")), locale="en")
        page = await context.new_page()
        page.set_default_timeout(120_000)
        await page.goto("/drills")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.className") == "skip"
        await page.keyboard.press("Enter")
        seen: list[str] = []
        for _ in range(40):
            await page.keyboard.press("Tab")
            stop = await page.evaluate(
                "(() => { const e = document.activeElement, s = getComputedStyle(e);"
                " return [e.tagName, e.id || e.textContent.trim().slice(0, 30),"
                " s.outlineStyle !== 'none' || s.boxShadow !== 'none']; })()"
            )
            if stop[0] == "BODY":
                break
            assert stop[2], stop
            seen.append(stop[1])
        else:
            raise AssertionError(f"the end is never reached: {seen}")
        assert {"profile", "minutes", "Show the cost"} <= set(seen)

"""The join page behind other tabs of a real Chromium, which then slows its own clock down."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from jharnet_monitor.model import Outcome
from tests.tab_support import Tab, tab
from tests.test_join import Door, door

__all__ = ["door"]

CALL = {"profile": "360p", "seconds": 8}
TIMERS = """new Promise((resolve) => {
  let fired = 0;
  const end = performance.now() + 3000;
  const next = () => (fired += 1, performance.now() < end ? setTimeout(next, 50) : resolve(fired));
  next();
})"""


async def hide(page: Tab) -> None:
    """Open another tab in front."""
    await page.another()
    await page.until("document.hidden", True)


@pytest.mark.browser
async def test_a_page_behind_others_is_tested_as_well(door: Door, tmp_path: Path) -> None:
    """It is slowed down, reports that, and neither its pictures nor its reports suffer."""
    async with tab("chromium", tmp_path / "profile") as page:
        await page.join(door.link)
        await hide(page)
        call = asyncio.create_task(door.undisturbed("conference", CALL))
        assert await page.ask(TIMERS) < 10, "Chromium does not slow it down: this tests nothing"
        result = await call
        assert (result.outcome, result.cause) == (Outcome.OK, None), result.conditions
        assert result.conditions["agent_page_hidden"] is True
        for way in ("up", "down"):
            assert result.values[f"{way}_height"] == 360
            assert result.values[f"{way}_frames_per_second"] > 15
            assert result.values[f"{way}_audio_loss_ratio"] < 0.05
        await page.until_state("waiting", 20)


@pytest.mark.browser
async def test_a_page_behind_others_comes_back_and_hands_in_once(
    door: Door, tmp_path: Path
) -> None:
    """Its session is lost, and then Chromium freezes it as it does to save energy: each time it
    joins again at once, what it measured is stored once, and the sleep is no outage."""
    async with tab("chromium", tmp_path / "profile") as page:
        await page.join(door.link)
        await hide(page)
        first = door.hub.agents.get("potka")
        assert first is not None
        await asyncio.sleep(5)  # two heartbeats
        await first.socket.close(code=1001)
        await door.until(lambda: door.hub.agents.get("potka") not in (None, first), 10)
        await page.until_state("waiting", 10)
        second = door.hub.agents.get("potka")
        await asyncio.sleep(5)
        await page.order("Page.setWebLifecycleState", state="frozen")
        await door.until(lambda: door.hub.agents.get("potka") is not second, 30)
        await page.order("Page.setWebLifecycleState", state="active")
        await door.until(lambda: door.hub.agents.get("potka") not in (None, second), 15)
        await page.until_state("waiting", 10)
        await door.until(lambda: len(door.measured_by_page()) >= 2, 15)
        rows = door.measured_by_page()
        assert len({row.id for row in rows}) == len(rows)
        assert {row.outcome for row in rows} == {Outcome.OK}, rows
        assert all(row.conditions["agent_page_hidden"] for row in rows)
        assert all(4 < row.duration < 15 for row in rows), rows

"""The join page behind other tabs of a real Chromium, which then slows the page's own clock down."""

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
ONCE_A_MINUTE = "--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/3"
"""Chromium does so after five minutes; here after three seconds."""
COUNT = "(window.fired = 0, (function next() { fired += 1; setTimeout(next, 50); })(), 0)"


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
        call = asyncio.create_task(door.hub.run_probe("potka", "conference", CALL))
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
async def test_a_page_that_may_wake_once_a_minute_is_measured_and_hands_in(
    door: Door, tmp_path: Path
) -> None:
    """As after five minutes in the background: its session, its tests and its way back keep their
    time, and what it measured is stored once."""
    async with tab("chromium", tmp_path / "profile", ONCE_A_MINUTE) as page:
        await page.join(door.link)
        await hide(page)
        await asyncio.sleep(4)
        await page.ask(COUNT)
        await asyncio.sleep(8)
        fired = await page.ask("window.fired")
        assert fired < 8, f"{fired} wake-ups in 8 s: Chromium does not slow it down"
        for probe, options in (("bandwidth", {}), ("conference", {**CALL, "seconds": 5})):
            result = await asyncio.wait_for(door.hub.run_probe("potka", probe, options), 40)
            assert result.outcome is Outcome.OK, (result.cause, result.conditions)
        session = door.hub.agents.get("potka")
        assert session is not None
        await session.socket.close(code=1001)
        await door.until(lambda: door.hub.agents.get("potka") not in (None, session), 10)
        await page.until_state("waiting", 5)
        later = await page.ask("window.fired")
        print(fired, later)

"""The join page behind other tabs of a real Chromium, which then slows its own clock down."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from jharnet_monitor.model import Outcome
from tests.join_support import Door, door
from tests.tab_support import tab

__all__ = ["door"]


@pytest.mark.browser
async def test_a_page_behind_others_comes_back_and_hands_in_once(
    door: Door, tmp_path: Path
) -> None:
    """Its session is lost, and then Chromium freezes it as it does to save energy: each time it
    joins again at once, what it measured is stored once, and the sleep is no outage."""
    async with tab("chromium", tmp_path / "profile") as page:
        await page.join(door.link)
        await page.hide()
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

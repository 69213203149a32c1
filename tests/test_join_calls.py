"""Calls of the join page in a real Chromium, judged by a real hub on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import psutil
import pytest
from playwright.async_api import Browser, expect

from jharnet_monitor.model import Measurement, Outcome
from tests import busy_host
from tests.join_support import CALL, Door, browser, door, join, open_link, says
from tests.tab_support import tab

__all__ = ["browser", "door"]


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


TIMERS = """new Promise((resolve) => {
  let fired = 0;
  const end = performance.now() + 3000;
  const next = () => (fired += 1, performance.now() < end ? setTimeout(next, 50) : resolve(fired));
  next();
})"""
"""How often a timer of 50 ms fires in 3 s: a Chromium that slows the page down lets it once a
second."""


@pytest.mark.browser
async def test_a_page_behind_others_is_tested_as_well(door: Door, tmp_path: Path) -> None:
    """It is slowed down, reports that, and neither its pictures nor its reports suffer."""
    async with tab("chromium", tmp_path / "profile") as page:
        await page.join(door.link)
        await page.hide()
        call = asyncio.create_task(door.undisturbed("conference", {**CALL, "seconds": 8}))
        assert await page.ask(TIMERS) < 10, "Chromium does not slow it down: this tests nothing"
        result = await call
        assert (result.outcome, result.cause) == (Outcome.OK, None), result.conditions
        assert result.conditions["agent_page_hidden"] is True
        for way in ("up", "down"):
            assert result.values[f"{way}_height"] == 360
            assert result.values[f"{way}_frames_per_second"] > 15
            assert result.values[f"{way}_audio_loss_ratio"] < 0.05
        await page.until_state("waiting", 20)

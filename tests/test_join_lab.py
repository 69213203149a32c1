"""The join page at an office of the lab: a browser over a narrow link, which it must not
overload."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect
from rich.console import Console

from jharnet_monitor.demo.flow import running
from jharnet_monitor.demo.places import LabPlace
from jharnet_monitor.demo.setup import PORT
from jharnet_monitor.errors import TemporaryError
from jharnet_monitor.wire.client import HubClient
from tests.browser_support import chromium, chromium_at
from tests.busy_host import undisturbed
from tests.join_support import ARGUMENTS, join
from tests.lab_support import needs_lab
from tests.no_schedule import demo_without_schedule
from tests.page_support import WATCHED, PageLab, district, until_state, way

RATE = 500_000


def _way(rate: str) -> dict[str, Any]:
    return {"delay": "20ms", "rate": rate, "queue": "400ms"}


DISTRICT = {
    "uplink": {
        "contracted": "34 Mbit/s",
        "truth": {way: {"delay": "1ms", "rate": "34 Mbit/s"} for way in ("down", "up")},
    },
    "offices": [
        {
            "id": "potka", "name": "Potka", "name_hi": "पोटका", "subdivision": "Dhalbhum",
            "contracted": "4 Mbit/s", "kind": "leased-line", "absent": True,
            "truth": {"down": _way("4 Mbit/s"), "up": _way(f"{RATE // 1000} kbit/s")},
        }
    ],
}  # fmt: skip


def _answers(hub: HubClient) -> bool:
    try:
        return bool(hub.get("/api/v1/offices"))
    except TemporaryError:
        return False


@pytest.mark.root
@pytest.mark.browser
@needs_lab
async def test_a_browser_steps_down_by_the_hubs_feedback(tmp_path: Path) -> None:
    """Told to send 720p into half a megabit, it settles below; picture and voice stay whole.

    It is told no rate: it finds that within two seconds by the hub's transport-wide feedback.
    """
    place, console = LabPlace(DISTRICT, "jhjoin"), Console(quiet=True)
    with demo_without_schedule(), running(place, DISTRICT, tmp_path, console) as (one, _):
        lab = one.place.lab
        assert lab is not None
        async with asyncio.timeout(40):
            while not await asyncio.to_thread(_answers, one.hub):
                await asyncio.sleep(0.3)
        async with chromium(*ARGUMENTS, program=chromium_at(lab, "potka", tmp_path)) as browser:
            page = await browser.new_page(ignore_https_errors=True)
            page.set_default_timeout(20_000)
            await page.add_init_script(WATCHED)
            token = one.installation.token("potka").read_text().strip()
            await page.goto(f"https://{one.place.hub_address}:{PORT}/join/potka#t={token}")
            await join(page)
            address = "/api/v1/offices/potka/probes/conference"
            options = {"profile": "720p", "seconds": 20}

            async def held() -> dict[str, Any]:
                await page.evaluate("window.watched = []")
                result: dict[str, Any] = await asyncio.to_thread(one.hub.post, address, options)
                return result

            result = await undisturbed(held)
            watched = await page.evaluate("window.watched")
        assert watched[0]["remote"].count("transport-cc") == 2
        during = [each for each in watched if each["estimate"] is not None]
        started = during[0]["seconds"]
        settled = [each["estimate"] for each in during if 2 < each["seconds"] - started < 15]
        assert len(settled) > 30
        assert 0.5 * RATE < min(settled) <= max(settled) < 1.2 * RATE, settled
        values, conditions = result["values"], result["conditions"]
        assert result["outcome"] == "ok", (result["cause"], conditions)
        assert conditions["up_stepped_down"] and conditions["worse_way"] == "up"
        assert not conditions["down_stepped_down"]
        assert 0.5 * RATE < values["up_bits_per_second"] <= 1.02 * RATE
        assert values["up_audio_loss_ratio"] < 0.03
        assert values["up_video_loss_ratio"] < 0.05
        assert values["up_height"] in (360, 540) and values["down_height"] == 720
        assert values["grade"] == 3, (values, conditions)
        assert conditions["limited_by"] == "rate"


@pytest.mark.root
@pytest.mark.browser
@needs_lab
async def test_a_page_over_plain_http_measures_speed_and_survives_the_hub(tmp_path: Path) -> None:
    """No secure context: both rates as the emulator has them, and nothing lost or stored twice."""
    data = district("4 Mbit/s", way("4 Mbit/s"), way("2 Mbit/s"))
    with PageLab.started(data, tmp_path, "http", "jhpage") as one:
        async with one.page(tmp_path) as page:
            await expect(page.locator("[data-remark=insecure]")).to_be_visible()
            result = await one.undisturbed("bandwidth")
            assert result["outcome"] == "ok", result
            conditions, values = result["conditions"], result["values"]
            assert conditions["agent_client"] == "browser"
            assert values["download_bits_per_second"] == pytest.approx(4e6, rel=0.03)
            assert values["upload_bits_per_second"] == pytest.approx(2e6, rel=0.03)
            assert values["bytes_spent"] < 2.5e6
            await asyncio.sleep(5)  # some heartbeats on a line whose queue has emptied
            before = await one.measurements("latency", "page_hub")
            await asyncio.to_thread(one.restart_hub)
            await until_state(page, "waiting")
            async with asyncio.timeout(10):
                while len(rows := await one.measurements("latency", "page_hub")) < 1 + len(before):
                    await asyncio.sleep(0.2)
        one.hold_round_trips(rows)
        assert all("loss_ratio" not in row["values"] for row in rows)
        ids = [row["id"] for row in rows]
        assert len(ids) == len(set(ids))

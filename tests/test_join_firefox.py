"""The join page in a real Firefox at an office of the lab: it measures what Chromium does."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.lab_support import needs_lab
from tests.page_support import KEEP_BUSY, LET_REST, PageLab, district, way

pytestmark = [pytest.mark.root, pytest.mark.browser("firefox-esr"), needs_lab]
REMARKS = """[...document.querySelectorAll("[data-remark]")]
  .filter((one) => !one.hidden).map((one) => one.dataset.remark)"""
RATE = 500_000
CALLS = 5
"""At most so many calls are made: Firefox's picture may stand still before it follows the advice (a
stated limit), a call for which this computer is too busy is `no_data`, and a busy computer may show
the hub's picture late."""
SIDES = ("up", "down")


async def test_firefox_over_plain_http_measures_all_and_survives_the_hub(tmp_path: Path) -> None:
    """No secure context: both rates and the delay as the emulator has them, a call at the grade of
    its profile, and after a restart of the hub every measurement stored once. While the page's
    thread is busy, no delay is given."""
    data = district("4 Mbit/s", way("4 Mbit/s"), way("2 Mbit/s"))
    with PageLab.started(data, tmp_path, "http", "jhffhttp") as one:
        async with one.tab("firefox", tmp_path) as page:
            await page.join(one.link)
            assert await page.ask("window.isSecureContext") is False
            assert "insecure" in await page.ask(REMARKS)
            speed = await one.undisturbed("bandwidth")
            values, conditions = speed["values"], speed["conditions"]
            assert (speed["outcome"], conditions["agent_client"]) == ("ok", "browser"), speed
            assert values["download_bits_per_second"] == pytest.approx(4e6, rel=0.03)
            assert values["upload_bits_per_second"] == pytest.approx(2e6, rel=0.03)
            delay = await one.undisturbed("latency", path="page")
            assert (delay["outcome"], delay["cause"]) == ("ok", None), delay
            assert delay["conditions"]["method"] == "data_channel"
            assert 0.031 < delay["values"]["rtt_p50_seconds"] < 0.044, delay
            assert 0 <= delay["conditions"]["agent_loop_lag_p75_seconds"] < 0.003, delay
            await page.ask(KEEP_BUSY)
            busy = await one.probe("latency", path="page")
            assert (busy["outcome"], busy["cause"]) == ("no_data", "host_overloaded"), busy
            assert busy["conditions"]["agent_loop_lag_p75_seconds"] > 0.02, busy
            await page.ask(LET_REST)
            call = await one.undisturbed("conference", profile="360p", seconds=6)
            assert (call["outcome"], call["values"].get("grade")) == ("ok", 3), call
            assert 0 < call["conditions"]["agent_loop_lag_seconds"] < 1, call["conditions"]
            for side in ("up", "down"):
                assert call["values"][f"{side}_frames_per_second"] > 24
            before = await one.measurements("latency", "page_hub")
            await asyncio.to_thread(one.restart_hub)
            await page.until_state("waiting")
            async with asyncio.timeout(10):
                while len(rows := await one.measurements("latency", "page_hub")) <= len(before):
                    await asyncio.sleep(0.2)
        ids = [row["id"] for row in rows]
        assert len(ids) == len(set(ids))
        one.hold_round_trips(rows)


async def test_firefox_steps_down_where_the_line_is_narrow(tmp_path: Path) -> None:
    """By https with a certificate that Firefox does not know, told to send 720p into half a
    megabit: it would not go below 1.2 Mbit/s by itself, and sends the smaller picture of the hub's
    advice, which an agent and Chromium send there too."""
    line = {"delay": "20ms", "queue": "400ms"}
    down, up = {"rate": "4 Mbit/s", **line}, {"rate": f"{RATE // 1000} kbit/s", **line}
    with PageLab.started(district("4 Mbit/s", down, up), tmp_path, "https", "jhffslim") as one:
        async with one.tab("firefox", tmp_path) as page:
            await page.join(one.link)
            assert await page.ask("window.isSecureContext") is True
            for _ in range(CALLS):
                result = await one.probe("conference", profile="720p", seconds=14)
                values, conditions = result["values"], result["conditions"]
                froze = any(values.get(f"{side}_freeze_ratio") for side in SIDES)
                if result["outcome"] == "ok" and not froze:
                    break
    assert result["outcome"] == "ok", (result["cause"], conditions)
    assert conditions["up_stepped_down"] and not conditions["down_stepped_down"], conditions
    assert 0.5 * RATE < values["up_bits_per_second"] <= 1.02 * RATE, values
    assert values["up_audio_loss_ratio"] < 0.03, values
    assert (values["up_height"], values["down_height"]) == (360, 720), values
    assert (values["grade"], conditions["limited_by"]) == (3, "rate"), values

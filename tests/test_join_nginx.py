"""The join page of an office of the lab, behind a real nginx in front of the hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab_support import needs_lab
from tests.nginx_support import BEHIND_PROXY, KEEPING, nginx
from tests.page_support import PageLab, district, way

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.root,
    pytest.mark.browser,
    pytest.mark.server("nginx"),
    needs_lab,
]
DOWN, UP = 2e6, 1e6


async def test_speed_behind_nginx_is_that_of_the_line_or_none(tmp_path: Path) -> None:
    """The hub's kernel sees a loopback connection, whose download would read a quarter too high:
    the page's count is used, and marked. Once nginx collects an upload before it passes it on, only
    nginx's own rate could be seen: then there is none."""
    data = district("2 Mbit/s", way("2 Mbit/s"), way("1 Mbit/s"))
    settings = {"budget": "5 GB", "hub": BEHIND_PROXY}
    with PageLab.started(data, tmp_path, "http", "jhnginx", settings) as one:
        async with one.tab("chromium", tmp_path) as page:
            async with nginx(one) as link:
                await page.join(link)
                streamed = await one.undisturbed("bandwidth")
            await page.until_state("lost")  # else it may still show its last session
            async with nginx(one, KEEPING):
                await page.until_state("waiting")
                kept = await one.undisturbed("bandwidth")
    assert streamed["outcome"] == "ok", streamed
    values, conditions = streamed["values"], streamed["conditions"]
    assert values["download_bits_per_second"] == pytest.approx(DOWN, rel=0.03)
    assert values["upload_bits_per_second"] == pytest.approx(UP, rel=0.03)
    assert (conditions["behind_proxy"], conditions["download_counted_by"]) == (True, "page")
    assert (kept["outcome"], kept["cause"]) == ("no_data", "held_back"), kept
    assert kept["values"]["download_bits_per_second"] == pytest.approx(DOWN, rel=0.03)
    assert "upload_bits_per_second" not in kept["values"]

"""The check of camera, microphone and loudspeaker in a real Chromium with made-up devices."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from html import unescape
from itertools import count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import pytest
from playwright.async_api import Browser, Page, expect

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.model import Cause, Outcome
from jharnet_monitor.wire.device_check import (
    DEVICE_FINDINGS,
    MOST_CHECKS,
    CheckQuota,
    read_device_check,
)
from jharnet_monitor.wire.protocol import ProtocolError
from tests import join_media
from tests.browser_support import chromium
from tests.join_support import ARGUMENTS, CALL, TOKEN, Door, browser, door, join, open_link, says
from tests.made_up import NOW
from tests.no_schedule import zone_at_noon
from tests.test_load import EVENING, Hub

__all__ = ["browser", "door"]

BOTH = ("camera", "microphone")
FINE = {"camera": "good", "microphone": "good", "loudspeaker": "heard", "echo": "not_reached",
        "processor": "in_time"}  # fmt: skip
SHORT = {
    "join-processor.js": """export const judgeProcessor = async () => "in_time";""",
}
"""For tests of the devices: the real test of the computer takes six seconds each time."""
SHOWN = """() => Object.fromEntries([...document.querySelectorAll('[data-device]')].map((part) =>
  [part.dataset.device, part.querySelector('[data-finding]:not([hidden])')?.dataset.finding]))"""


async def check(page: Page, heard: str | None = "Yes, I heard it") -> dict[str, str]:
    """Run the check on a page, answer its question, and read its findings."""
    await page.locator("#check-go").click()
    if heard is not None:
        await page.get_by_role("button", name=heard).click(timeout=90_000)
    await expect(page.locator("#check-go")).to_be_enabled(timeout=90_000)
    found: dict[str, str] = await page.evaluate(SHOWN)
    return found


CAMERAS = {"black": join_media.black, "frozen": join_media.still, "good": join_media.room}
SOUNDS = {
    "silent": (3, join_media.silence), "clipping": (3, join_media.shout),
    "good": (30, join_media.voice_then_tone),
}  # fmt: skip
"""Seconds, after which Chromium begins anew, and the sound."""


@pytest.mark.browser
@pytest.mark.parametrize(
    ("camera", "microphone", "answer", "loudspeaker", "echo", "instead"),
    [
        ("black", "silent", "No", "not_heard", "not_reached", SHORT),
        ("frozen", "clipping", "Yes, I heard it", "heard", "not_reached", SHORT),
        ("good", "good", "Yes, I heard it", "heard", "reached", None),
    ],
    ids=["black", "frozen", "good"],
)
async def test_what_the_devices_give_is_found(
    door: Door, tmp_path: Path, camera: str, microphone: str, answer: str, loudspeaker: str,
    echo: str, instead: Mapping[str, str] | None,
) -> None:  # fmt: skip
    """It is shown with its remedy, and sent to headquarters, whose page of the office shows it."""
    devices = (
        join_media.camera(tmp_path / "camera.y4m", 10, CAMERAS[camera]),
        join_media.microphone(tmp_path / "microphone.wav", *SOUNDS[microphone]),
    )
    async with chromium(*ARGUMENTS, *devices) as one:
        page = await open_link(one, door.link, *BOTH, instead=instead)
        await join(page)
        found = await check(page, answer)
        assert found["processor"] in {"in_time", "slow"}  # by what else this machine does
        assert found == {
            "camera": camera, "microphone": microphone, "loudspeaker": loudspeaker, "echo": echo,
            "processor": found["processor"],
        }  # fmt: skip
        await expect(page.get_by_text("Headquarters has received")).to_be_visible()
        shown = await page.locator("[data-finding]:visible").all_inner_texts()
    kept = door.hub.live.offices["potka"].agent.check
    assert kept is not None and dict(kept.findings) == found
    html = await _office_page(door)
    for text in shown:
        assert text in html


async def _office_page(door: Door) -> str:
    async with aiohttp.ClientSession() as http:
        answer = await http.get(f"{door.base}/office/potka?lang=en")
        return unescape(await answer.text()).replace("<b>", "").replace("</b>", "")


@pytest.mark.browser
async def test_without_permission_or_devices_it_says_so(door: Door, browser: Browser) -> None:
    """Refused, and missing. Headquarters receives the findings once the page has joined, and still
    has them after a restart of the hub.
    """
    page = await open_link(browser, door.link, instead=SHORT)
    found = await check(page)
    assert (found["camera"], found["microphone"]) == ("refused", "refused")
    assert found["loudspeaker"] == "heard"
    await expect(page.get_by_text("has not received")).to_be_visible()
    agent = door.hub.live.offices["potka"].agent
    assert agent.check is None
    await join(page)
    await expect(page.get_by_text("Headquarters has received")).to_be_visible()
    assert agent.check is not None and agent.check.findings["camera"] == "refused"
    before, agent.check = agent.check, None
    await door.hub.writer.write_later()
    await door.hub.office_monitor.restore_agents()
    assert agent.check is not None and agent.check.findings == before.findings
    assert abs(agent.check.at - before.at) < timedelta(milliseconds=1)
    async with chromium("--allow-loopback-in-peer-connection") as without:
        page = await open_link(without, door.link, *BOTH, instead=SHORT)
        found = await check(page)
        assert (found["camera"], found["microphone"]) == ("none", "none")


async def test_a_check_has_one_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page and the journal give the same, however long the hub takes from one to the other."""
    hub = Hub(tmp_path)
    times = (EVENING + timedelta(seconds=seconds) for seconds in count())
    monkeypatch.setattr(hub.clock, "now", lambda: next(times))
    await hub.office_monitor.agent_checked("potka", {"camera": "refused"})
    agent = hub.live.offices["potka"].agent
    before, agent.check = agent.check, None
    await hub.writer.write_later()
    await hub.office_monitor.restore_agents()
    assert agent.check == before is not None
    hub.store.close()


@pytest.mark.browser
async def test_over_http_the_camera_is_not_available(door: Door) -> None:
    """Without a secure context the page says so, with the remedy, and tests the rest."""
    arguments = (*ARGUMENTS, "--host-resolver-rules=MAP hub.example 127.0.0.1")
    async with chromium(*arguments) as one:
        link = door.link.replace("127.0.0.1", "hub.example")
        page = await open_link(one, link, instead=SHORT)
        assert not await page.evaluate("window.isSecureContext")
        await join(page)
        found = await check(page)
        assert (found["camera"], found["microphone"]) == ("insecure", "insecure")
        assert found["loudspeaker"] == "heard"
        camera = page.locator("[data-device=camera] [data-finding]:visible")
        await expect(camera).to_contain_text("for the https link")
        await expect(page.get_by_text("Headquarters has received")).to_be_visible()


@pytest.mark.browser
async def test_a_test_of_the_line_comes_first(door: Door, browser: Browser) -> None:
    """A call that begins during the check has the computer for itself; the check says so, and no
    check can begin during a call.
    """
    page = await open_link(browser, door.link, *BOTH)
    await join(page)
    checking = asyncio.create_task(check(page))
    await expect(page.get_by_text("The computer is being tested")).to_be_visible(timeout=90_000)
    call = asyncio.create_task(door.hub.run_probe("potka", "conference", CALL))
    await says(page, "Test is running")
    await expect(page.locator("#check-go")).to_be_disabled()
    result = await call
    overloaded = result.cause == Cause.HOST_OVERLOADED  # by other tests on this machine
    assert result.outcome is Outcome.OK or overloaded, result.conditions
    assert (await checking)["processor"] == "not_tested"


@pytest.mark.browser
async def test_half_an_hour_before_a_conference_the_tab_says_what_to_do(
    door: Door, browser: Browser
) -> None:
    """Nothing an hour before; then a banner and the tab's title, in both languages."""
    page = await open_link(browser, door.link)
    await expect(page).to_have_title("Video conference test: Potka · JharNet monitor")
    now = door.hub.clock.now()
    zone = zone_at_noon()
    local = now.astimezone(ZoneInfo(zone))
    assert local.hour == 12
    district = door.hub.config.district.model_validate({
        **door.hub.config.district.model_dump(by_alias=True), "timezone": zone,
        "conferences": [{"days": "mon-sun", "from": f"{local:%H:%M}", "to": "14:00"}],
        "office_hours": {"holidays": None},
    })  # fmt: skip
    door.hub.current.replace(door.hub.config.model_copy(update={"district": district}))
    await page.reload()
    await expect(page).to_have_title("⚠ Not ready · Video conference test: Potka · JharNet monitor")
    await expect(page.locator("#ready")).to_contain_text("open the join link")
    await page.goto(door.link.replace("#", "?lang=hi#"))
    await expect(page).to_have_title("⚠ तैयार नहीं · वीडियो कॉन्फ्रेंसिंग की जाँच: पोटका · झारनेट निगरानी")


def test_only_known_findings_are_taken() -> None:
    """A stranger's text never reaches a page."""
    assert read_device_check({"findings": FINE}) == FINE
    wrong: list[Any] = [
        None, [], {}, {**FINE, "camera": "<b>"}, {**FINE, "nose": "good"}, {**FINE, "camera": 1},
        {**FINE, "camera": []}, dict.fromkeys(DEVICE_FINDINGS, "good"),
    ]  # fmt: skip
    for findings in wrong:
        with pytest.raises(ProtocolError):
            read_device_check({"findings": findings})


async def test_the_checks_of_an_hour_are_limited() -> None:
    """The limit is per office, and keeps a page from filling the database."""
    clock = ManualClock(NOW)
    quota = CheckQuota(clock)
    assert [quota.take("potka") for _ in range(MOST_CHECKS + 1)] == [True] * MOST_CHECKS + [False]
    assert quota.take("boram")
    await clock.advance(3600)
    assert quota.take("potka")


async def test_a_wrong_check_ends_the_session_and_stores_nothing(door: Door) -> None:
    """From a page with findings that do not exist, and from a program with any."""
    hello = {"type": "hello", "protocol": 1, "boot_id": "b", "uptime_seconds": 1, "spooled": 0}
    url = f"{door.base}/agent?office=potka"
    sessions: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
        (
            {"protocols": ["jharnet", f"bearer.{TOKEN}"], "headers": {"Origin": door.base}},
            {**hello, "kind": "browser"},
            {**FINE, "camera": "<script>"},
        ),
        ({"headers": {"Authorization": f"Bearer {TOKEN}"}}, hello, FINE),
    ]
    async with aiohttp.ClientSession() as http:
        for how, hello_frame, findings in sessions:
            async with http.ws_connect(url, **how) as ws:
                await ws.send_json(hello_frame)
                assert (await ws.receive_json())["type"] == "welcome"
                await ws.send_json({"type": "device_check", "findings": findings})
                assert (await ws.receive()).type is not aiohttp.WSMsgType.TEXT
    assert door.hub.live.offices["potka"].agent.check is None

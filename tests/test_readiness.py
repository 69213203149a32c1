"""Before a planned conference the pages say "ready" or what to do."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jharnet_monitor.config.district import ConferenceTime
from jharnet_monitor.i18n.formats import Formats
from jharnet_monitor.i18n.words import words
from jharnet_monitor.live import DeviceCheck, Live
from jharnet_monitor.model import OfficeState
from jharnet_monitor.web.readiness import CHECK_HOLDS, ConferenceReadiness, check_view, readiness
from jharnet_monitor.web.status import office_row
from jharnet_monitor.wire.device_check import DEVICE_FINDINGS, FINE
from tests.made_up import NOW, district
from tests.made_up_hub import MadeUpHub
from tests.web_support import Client, page

GOOD = {"camera": "good", "microphone": "good", "loudspeaker": "heard", "echo": "reached",
        "processor": "in_time"}  # fmt: skip


def plan_conference(live: Live, begin: str = "12:30") -> None:
    """Plan a conference on Wednesdays; `NOW` is a Wednesday, 12:00 in the district."""
    planned = ConferenceTime.model_validate({"days": "wed", "from": begin, "to": "13:30"})
    config = live.config
    calendar = config.district.model_copy(update={"conferences": (planned,)})
    live._current.replace(config.model_copy(update={"district": calendar}))


def _readiness_of(live: Live, office: str, language: str = "en") -> ConferenceReadiness | None:
    formats = Formats.of(language, "Asia/Kolkata", NOW)
    configured = live.config.office(office)
    return readiness(live, configured, office_row(live, configured, formats), formats)


def by_browser(live: Live, office: str, **findings: str) -> None:
    """Let the office take part by its join page, whose check found all good but `findings`."""
    agent = live.offices[office].agent
    agent.kind, agent.check = "browser", DeviceCheck(NOW, {**GOOD, **findings})


def test_nothing_is_shown_until_half_an_hour_before() -> None:
    """None is planned, one begins in 31 minutes, and one in 30; and one that is over."""
    live = district()
    assert _readiness_of(live, "boram") is None
    for begin, expected in (("12:31", False), ("12:30", True), ("11:00", True)):
        plan_conference(live, begin)
        assert (_readiness_of(live, "boram") is not None) is expected, begin
    over = ConferenceTime.model_validate({"days": "wed", "from": "10:00", "to": "12:00"})
    calendar = live.config.district.model_copy(update={"conferences": (over,)})
    live._current.replace(live.config.model_copy(update={"district": calendar}))
    assert _readiness_of(live, "boram") is None


def test_an_office_with_all_in_order_is_ready() -> None:
    """Connected, a good last call, and a good check of today."""
    live = district()
    plan_conference(live)
    by_browser(live, "boram")
    assert _readiness_of(live, "boram") == ConferenceReadiness(
        True, "Ready", "Conference from 12:30 to 13:30", ()
    )
    live.offices["boram"].agent.check = None
    live.offices["boram"].agent.kind = "program"  # which has no devices to check
    found = _readiness_of(live, "boram")
    assert found is not None and found.ready


@pytest.mark.parametrize(
    ("office", "words_of_steps"),
    [
        ("musabani", ["cannot be reached now: unreachable"]),
        ("gurabanda", ["Nothing at the office is connected", "no valid test call"]),
        ("potka", ["test call reached only"]),
    ],
)
def test_what_to_do_is_shown(office: str, words_of_steps: list[str]) -> None:
    """The line, the page, the last test call; where the line is down, nothing else matters."""
    live = district()
    plan_conference(live)
    by_browser(live, office)
    found = _readiness_of(live, office)
    assert found is not None and not found.ready
    assert len(found.steps) == len(words_of_steps), found.steps
    for step, part in zip(found.steps, words_of_steps, strict=True):
        assert part in step


@pytest.mark.parametrize("state", [OfficeState.UPLINK_DOWN, OfficeState.MONITOR_DOWN])
def test_a_fault_at_headquarters_asks_nothing_of_the_office(state: OfficeState) -> None:
    """Nobody there is sent to the router for what headquarters has to repair."""
    live = district()
    plan_conference(live)
    by_browser(live, "boram")
    live.offices["boram"].state = state
    found = _readiness_of(live, "boram")
    assert found is not None and not found.ready
    [step] = found.steps
    assert "at headquarters" in step and "router" not in step


def test_a_check_counts_for_its_day_and_its_faults_are_named() -> None:
    """None yet, one of yesterday, and one that found a black camera."""
    live = district()
    plan_conference(live)
    by_browser(live, "boram", camera="black")
    found = _readiness_of(live, "boram")
    assert found is not None
    assert found.steps[0].startswith("Camera: The picture is black. Open the cover")
    old = DeviceCheck(NOW - CHECK_HOLDS - timedelta(minutes=1), GOOD)
    for check in (None, old):
        live.offices["boram"].agent.check = check
        found = _readiness_of(live, "boram")
        assert found is not None
        assert [step[:12] for step in found.steps] == ["Check camera"]


@pytest.mark.parametrize("language", ["hi", "en"])
def test_every_finding_has_its_phrase_and_every_fault_its_remedy(language: str) -> None:
    """In both languages."""
    text = words(language)
    for device, findings in DEVICE_FINDINGS.items():
        assert text(f"join.check.{device}.name")
        for finding in findings:
            phrase = f"join.check.{device}.{finding}"
            assert text(f"{phrase}.says")
            assert finding in FINE or text(f"{phrase}.do")


def test_a_finding_of_another_version_is_left_out() -> None:
    """A hub that was set back reads the events of a newer one."""
    live = district()
    by_browser(live, "boram", camera="upside_down")
    view = check_view(live.offices["boram"].agent, Formats.of("en", "Asia/Kolkata", NOW))
    assert view is not None
    assert [line.device for line in view.lines] == ["Microphone", "Loudspeaker", "Echo", "Computer"]


@pytest.mark.parametrize("path", ["/office/boram", "/join/boram"])
async def test_both_pages_and_their_titles_say_it(
    client: Client, hub: MadeUpHub, path: str
) -> None:
    """Ready, and not ready with what to do."""
    plan_conference(hub.live)
    by_browser(hub.live, "boram")
    html = await page(client, path)
    assert "<title>✓ Ready · " in html and "Conference from 12:30 to 13:30" in html
    by_browser(hub.live, "boram", microphone="silent")
    html = await page(client, path)
    assert "<title>⚠ Not ready · " in html and "The microphone hears nothing." in html
    html = await page(client, path, "hi")
    assert "<title>⚠ तैयार नहीं · " in html


async def test_the_office_page_has_the_newest_check_with_its_time(
    client: Client, hub: MadeUpHub
) -> None:
    """Each finding and its remedy; where nobody checked, that is said."""
    assert "Nobody has checked" in await page(client, "/office/boram")
    by_browser(hub.live, "boram", camera="frozen")
    html = await page(client, "/office/boram")
    assert "Checked on 25.11., 12:00" in html
    assert "The picture does not move." in html and "Unplug the camera" in html
    assert "Works: it hears you." in html

"""The status page: the worst first, the last week at a glance, many offices, live changes."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.hub.active_tests import ActiveTest, ActiveTests
from jharnet_monitor.hub.first_tests import FIRST_AFTER_SECONDS, FirstTests
from jharnet_monitor.i18n.formats import Formats
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.live import Live
from jharnet_monitor.model import AT_LEAST, OfficeState
from jharnet_monitor.profiles import Profile
from jharnet_monitor.report.data.aggregate import conference as over_period
from jharnet_monitor.store import Store
from jharnet_monitor.web.charts import SPANS
from jharnet_monitor.web.feed import VIEW_SECONDS
from jharnet_monitor.web.glance import glance, pieces
from jharnet_monitor.web.past import BUCKET, HalfHour, OfficePast
from jharnet_monitor.web.past import _read as read_past
from jharnet_monitor.web.plot_data import read_plot
from jharnet_monitor.web.status import FINE, MOST_IN_TROUBLE, status
from tests import made_up_week
from tests.made_up import NOW, conference, config, district, full, latency
from tests.made_up_hub import MadeUpHub
from tests.web_support import Client, page, serving

ENGLISH = Formats.of("en", "Asia/Kolkata", NOW)


def test_the_worst_office_comes_first() -> None:
    """Unreachable, LAN down, below the standard, then what does not measure; good ones last."""
    rows = status(district(), ENGLISH).rows
    assert [row.id for row in rows[:2]] == ["musabani", "baharagora"]
    assert rows[2].id == "chakulia"
    assert {row.id for row in rows[3:5]} == {"potka", "dumaria"}
    ranks = [row.rank for row in rows]
    assert ranks == sorted(ranks)


def test_a_minute_that_is_stored_late_counts_once(tmp_path: Path) -> None:
    """The hub stores a minute once it is over: by then the page has read up to a later moment."""
    store = Store(f"sqlite:///{tmp_path / 'm.db'}", ManualClock(NOW))
    store.migrate()
    past = OfficePast()
    for minute in range(100):
        now = NOW + timedelta(minutes=minute)
        store.add([latency("potka", now - timedelta(seconds=70))])
        past = read_past(store, "potka", past, now)
    store.close()
    assert sum(bucket.sent for bucket in past.buckets.values()) == 100 * 60


def test_a_call_that_tried_less_is_in_no_chart_and_no_report(tmp_path: Path) -> None:
    """A call of 180p by hand shows that the line carries that, not that it carries no more."""
    store = Store(f"sqlite:///{tmp_path / 'm.db'}", ManualClock(NOW))
    store.migrate()
    begin = NOW - timedelta(hours=5)
    less = replace(conference("potka", begin, 2), conditions={AT_LEAST: True})
    held = conference("potka", begin + timedelta(hours=1), 4)
    store.add([less, held])
    expected = [(held.started_at, 4)]
    assert read_past(store, "potka", OfficePast(), NOW).grades == expected
    assert read_plot(store, "potka", SPANS["day"], NOW, ZoneInfo("Asia/Kolkata")).grades == expected
    store.close()
    found = over_period([less, held], full(1).config.district)
    assert (found.grade, found.tests) == (4, 1)


def test_who_answers_need_not_measure() -> None:
    """An office whose agent is gone is marked, and not counted among those that measure."""
    live = full(3)
    live.offices["boram"].agent.connected = False
    shown = status(live, ENGLISH)
    assert [row.measures for row in shown.every] == [True, True, False]
    assert "Connected: 3 of 3; with a measuring PC: 2." in shown.explanation
    assert [row.id for row in shown.rows][-1] == "boram"
    assert shown.every[2].rank < FINE


def test_a_strip_is_true_to_the_spans() -> None:
    """Each state has its part of the width, an outage at least one unit, unknown time none."""

    def at(hours: float) -> Any:
        return NOW - timedelta(hours=24 - hours)

    spans = [
        Span(OfficeState.UP, at(0), at(6)), Span(OfficeState.LINK_DOWN, at(6), at(12)),
        Span(OfficeState.UNKNOWN, at(12), at(18)), Span(OfficeState.UP, at(18), at(23)),
        Span(OfficeState.UNREACHABLE, at(23), at(23.01)), Span(OfficeState.UP, at(23.01), NOW),
    ]  # fmt: skip
    found = [(one.x, one.width, one.state.value) for one in pieces(spans, at(0), NOW)]
    assert found == [
        (0, 60, "up"), (60, 60, "link_down"), (180, 50, "up"), (230, 1, "unreachable"),
        (230, 10, "up"),
    ]  # fmt: skip


def test_what_headquarters_loses_is_not_charged_to_an_office() -> None:
    """Loss while headquarters' own line was down, or maintenance was planned, is left out."""
    begin = NOW - timedelta(hours=12) + BUCKET / 2 - BUCKET / 2
    past = OfficePast(
        spans=[
            Span(OfficeState.UP, NOW - timedelta(days=7), begin),
            Span(OfficeState.UPLINK_DOWN, begin, begin + BUCKET),
            Span(OfficeState.UP, begin + BUCKET, NOW),
        ],
        buckets={
            begin: HalfHour([], 60, 0),
            begin + BUCKET: HalfHour([0.04], 60, 60),
        },
    )
    shown = glance(past, 0.02, ENGLISH)
    assert shown.lost == ()
    assert "loss 0 %" in shown.spark_text
    assert shown.available == "100 % available"
    past.spans = [Span(OfficeState.UP, NOW - timedelta(days=7), NOW)]
    shown = glance(past, 0.02, ENGLISH)
    assert len(shown.lost) == 1
    assert "loss 50 %" in shown.spark_text


async def test_the_last_week_is_read_from_the_store(client: Client, hub: MadeUpHub) -> None:
    """States with the causes found later, latency and grades; what is read is not read again."""
    log = hub.store.event_log
    log.add_transition("potka", OfficeState.UP, NOW - timedelta(days=3), {})
    number = log.add_transition("potka", OfficeState.UNREACHABLE, NOW - timedelta(hours=9), {})
    log.add_transition("potka", OfficeState.UP, NOW - timedelta(hours=6), {})
    log.add_transition(
        "potka", OfficeState.POWER_DOWN, NOW - timedelta(hours=9), {},
        NOW - timedelta(hours=6), number,
    )  # fmt: skip
    hub.store.add([latency("potka", NOW - timedelta(minutes=m), lost=6) for m in (10, 20)])
    html = await page(client, "/")
    while "being read" in html:  # on a busy computer
        await asyncio.sleep(0.05)
        await hub.clock.advance(VIEW_SECONDS)
        html = await page(client, "/")
    row = re.findall(r'<tr[^>]*id="row-potka">.*?</tr>', html, re.S)[0]
    assert "power cut 3 h" in row
    assert 'class="in-power_down"' in row
    assert "loss 10 %" in row
    assert "95.83 % available" in row


def test_many_offices_are_grouped() -> None:
    """Those in trouble have rows; all have a line in their subdivision."""
    live = full(264)
    live.set_state("office-100", OfficeState.UNREACHABLE, NOW)  # its grade was 4
    shown = status(live, ENGLISH)
    assert shown.rows[0].id == "office-100"
    assert len(shown.rows) == MOST_IN_TROUBLE
    assert sum(len(group.rows) for group in shown.groups) == 264
    assert shown.groups[0].summary == (
        "264 blocks · can hold a conference: 131 · in need of attention: 133"
    )


async def test_changes_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader is sent the rows that changed and their order, and the end when the hub stops."""
    monkeypatch.setattr("jharnet_monitor.web.past.PATIENCE_SECONDS", 60.0)
    live = full(2)
    hub = MadeUpHub(live, tmp_path)
    async with serving(hub) as client:
        html = await page(client, "/")
        address = re.findall(r'data-events="([^"]+)"', html)[0].replace("&amp;", "&")
        async with client.get(address) as answer:
            assert answer.headers["Content-Type"] == "text/event-stream"
            first = await _event(answer)
            assert [name for name in first["parts"] if name.startswith("row-")] == []
            live.set_state("patamda", OfficeState.UNREACHABLE, NOW)
            changed = await _event(answer)
            assert changed["order"][0] == "row-patamda"
            rows = [name for name in changed["parts"] if name.startswith("row-")]
            assert rows == ["row-patamda"]
            assert "unreachable" in changed["parts"]["row-patamda"]
    refused = await _status_of(hub, tmp_path)
    assert refused == 400


async def test_the_newest_drill_is_sent(client: Client, hub: MadeUpHub) -> None:
    """A page that stays open does not show a drill as the last one once there was another."""
    address = re.findall(r'data-events="([^"]+)"', await page(client, "/"))[0]
    async with client.get(address.replace("&amp;", "&")) as answer:
        await _event(answer)
        drill = made_up_week.drill(hub.config)
        hub.store.event_log.add_drill(replace(drill, profile=Profile.AUDIO))
        hub.live.set_state("potka", OfficeState.UNREACHABLE, NOW)
        changed = await _event(answer)
        while "drill" not in changed["parts"]:
            changed = await _event(answer)
    assert "Last drill" in changed["parts"]["drill"]
    assert "audio only" in changed["parts"]["drill"]
    assert changed["parts"]["drill"] in await page(client, "/")


async def test_a_page_of_a_hub_whose_clock_was_ahead_is_sent_everything(client: Client) -> None:
    """Its revision is greater than those of the hub since its restart."""
    view = await page(client, "/")
    async with client.get("/events?lang=en&after=999999999999999") as answer:
        parts = (await _event(answer))["parts"]
    assert {"answer", "row-potka"} <= parts.keys()
    assert parts["answer"] in view


async def _event(answer: Any) -> dict[str, Any]:
    lines = [await answer.content.readline() for _ in range(3)]
    data: dict[str, Any] = json.loads(lines[1].removeprefix(b"data: "))
    return data


async def _status_of(hub: MadeUpHub, directory: Path) -> int:
    again = MadeUpHub(hub.live, directory)
    async with serving(again) as client:
        return (await client.get("/events?lang=fr")).status


async def test_a_new_office_is_tested_soon() -> None:
    """Once its agent is connected for a minute in which nobody tests its line, and only once."""
    live, clock, ran = Live(CurrentConfig(config(2))), ManualClock(NOW), []
    tests = ActiveTests(clock)

    async def run(office: str, probe: str, options: Any) -> None:
        ran.append((office, probe))

    first = FirstTests(live, clock, tests.was_loaded_since, run)
    live.offices["patamda"].agent.connected = True
    await first.run_due()
    clock.step(FIRST_AFTER_SECONDS)
    await first.run_due()
    await first.run_due()
    assert ran == []  # a step of the wall clock is no time that passed
    with tests.track(ActiveTest("patamda", "bandwidth", heavy=True, full=True)):
        await clock.advance(FIRST_AFTER_SECONDS)
        await first.run_due()
    await clock.advance(FIRST_AFTER_SECONDS / 2)
    await first.run_due()
    assert ran == []  # somebody is testing
    await clock.advance(FIRST_AFTER_SECONDS)
    await first.run_due()
    await first.run_due()
    assert ran == [("patamda", "bandwidth"), ("patamda", "conference")]

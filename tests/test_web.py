"""The pages: headline, reasons for missing figures, languages, security policy."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.i18n.formats import Formats
from jharnet_monitor.i18n.words import words
from jharnet_monitor.judge.conference.drill import DrillState
from jharnet_monitor.live import Live
from jharnet_monitor.model import QUANTITIES, OfficeState, parse_utc
from jharnet_monitor.web import charts
from jharnet_monitor.web.feed import VIEW_SECONDS
from jharnet_monitor.web.status import status
from tests import made_up_week
from tests.made_up import NOW, OFFICES, bandwidth, conference, config, latency, no_data
from tests.made_up_hub import MadeUpHub
from tests.web_support import Client, page


async def test_the_status_page_gives_the_answer_first(client: Client) -> None:
    """The header says how many blocks can hold a conference, in both languages."""
    english = await page(client, "/")
    assert (
        "<h1>5 of 11 blocks can hold a video conference; 2 are unreachable; 1 has its LAN down; "
        "1 is not tested.</h1>"
    ) in english
    hindi = await page(client, "/", "hi")
    assert "वीडियो कॉन्फ्रेंसिंग संभव: 11 में से 5 प्रखण्ड; 2 प्रखण्डों से संपर्क नहीं है" in hindi
    for _, name, name_hi in OFFICES:
        assert f">{name}</a>" in english
        assert f">{name_hi}</a>" in hindi


def headline(live: Live, lang: str = "en") -> tuple[str, str]:
    """The header line and its mood."""
    content = status(live, Formats.of(lang, "Asia/Kolkata", NOW))
    return content.headline, content.mood


def test_the_headline_follows_what_is_known() -> None:
    """Nothing known, uplink down, one office down, all well: each has its sentence."""
    live = Live(CurrentConfig(config(2)))
    assert headline(live)[0].startswith("Nothing has been measured yet")
    for office in live.config.offices:
        live.set_state(office.id, OfficeState.UP, NOW)
        live.update(conference(office.id, NOW - timedelta(minutes=5), 4))
    assert headline(live) == ("2 of 2 blocks can hold a video conference.", "good")
    live.set_state("patamda", OfficeState.UNREACHABLE, NOW)
    assert headline(live)[0] == "1 of 2 blocks can hold a video conference; 1 is unreachable."
    live.uplink_up = False
    assert headline(live)[0].startswith("Headquarters' own line is down")


def test_an_old_grade_is_not_shown() -> None:
    """The grade of a test two days ago does not make an office ready."""
    live = Live(CurrentConfig(config(1)))
    live.set_state(OFFICES[0][0], OfficeState.UP, NOW)
    live.update(conference(OFFICES[0][0], NOW - timedelta(days=2), 4))
    assert headline(live)[0] == "No block has a recent conference test; 1 of 1 are connected."


async def test_unknown_is_a_dash_with_its_reason(client: Client, hub: MadeUpHub) -> None:
    """What was not measured is shown as a dash with the reason, never as zero."""
    hub.live = Live(CurrentConfig(hub.config))
    hub.live.update(no_data("potka", "bandwidth", NOW, "budget_spent"))
    html = await page(client, "/")
    assert "not measured yet" in html
    assert "the day&#39;s data budget was used up" in html
    cells = re.findall(r'<span class="figure[^>]*>.*?</span>\s*(?:</td>|<small>)', html, re.S)
    assert cells
    assert not any(re.search(r">\s*0", cell) for cell in cells)


async def test_the_page_loads_nothing_from_other_sites(client: Client) -> None:
    """No external address, inline script or inline style, so it works offline and under the CSP."""
    for path in ("/", "/office/potka", "/reports", "/signin", "/nowhere"):
        answer = await client.get(path)
        html = await answer.text()
        assert not re.search(r'(?:src|href|action)="(?:[a-z]+:)?//', html)
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=", html)
        assert not re.search(r"<script(?![^>]*\ssrc=)", html)
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"


async def test_assets_are_served_and_cacheable(client: Client) -> None:
    """Style, script and icon have addresses that change with their content."""
    for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', await page(client, "/")):
        answer = await client.get(path)
        assert answer.status == 200
        assert "immutable" in answer.headers["Cache-Control"]
    assert (await client.get("/static/../app.py")).status == 404
    assert (await client.get("/static/openapi.yaml")).status == 404


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, "hi"),
        ({"headers": {"Accept-Language": "en-IN,hi;q=0.5"}}, "en"),
        ({"headers": {"Accept-Language": "fr, hi;q=0.9"}}, "hi"),
        ({"params": {"lang": "en"}}, "en"),
        ({"params": {"lang": "klingon"}}, "hi"),
        ({"cookies": {"jharnet_lang": "en"}}, "en"),
        ({"params": {"lang": "hi"}, "cookies": {"jharnet_lang": "en"}}, "hi"),
    ],
    ids=str,
)
async def test_the_language_is_the_readers(
    client: Client, request_: dict[str, Any], expected: str
) -> None:
    """A choice overrides the browser's language, and that the district's."""
    answer = await client.get("/", **request_)
    assert f'<html lang="{expected}">' in await answer.text()
    chosen = request_.get("params", {}).get("lang")
    assert ("jharnet_lang" in answer.cookies) == (chosen in ("en", "hi"))


async def test_the_page_refreshes_without_script_too(client: Client) -> None:
    """Every 15 to 30 seconds; without script the browser reloads."""
    html = await page(client, "/")
    seconds = int(re.findall(r'data-seconds="(\d+)"', html)[0])
    assert 15 <= seconds <= 30
    assert f'<noscript><meta http-equiv="refresh" content="{seconds}"></noscript>' in html


async def test_states_have_shapes_and_words(client: Client) -> None:
    """Each state has a symbol and a word; the table has headings."""
    html = await page(client, "/")
    symbols = set(re.findall(r'<symbol id="state-([a-z_]+)"', html))
    assert symbols == {str(s) for s in OfficeState}
    for word in ("unreachable", "LAN down", "measuring PC not connected", "working"):
        assert f'<span class="word">{word}</span>' in html
    assert html.count('scope="col"') == 8
    assert html.count('scope="row"') == 11


def test_colours_keep_their_contrast() -> None:
    """Text against its ground reaches WCAG AA (4.5 : 1), light and dark."""
    css = Path(charts.__file__).with_name("static").joinpath("style.css").read_text()
    light, dark, *_print = (
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", css, re.S)
    )
    for theme in (light, dark):
        for text in ("ink", "soft", "link", "bad", "good", "idle"):
            for ground in ("paper", "back"):
                assert _contrast(theme[text], theme[ground]) >= 4.5, (text, ground)


def _contrast(one: str, other: str) -> float:
    """WCAG 2.2, contrast ratio."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


async def test_an_office_has_its_page(client: Client, hub: MadeUpHub) -> None:
    """Figures with their labels, charts, tests, and the causes of outages."""
    hub.store.add([latency("potka", NOW - timedelta(minutes=n), 0.04, n % 3) for n in range(400)])
    hub.store.add([bandwidth("potka", NOW - timedelta(hours=1), 1.12e6, 0.47e6)])
    hub.store.add([no_data("potka", "conference", NOW - timedelta(hours=3), "agent_lost")])
    number = hub.store.event_log.add_transition(
        "potka", OfficeState.UNREACHABLE, NOW - timedelta(hours=9), {}
    )
    hub.store.event_log.add_transition("potka", OfficeState.UP, NOW - timedelta(hours=8), {})
    hub.store.event_log.add_transition(
        "potka", OfficeState.POWER_DOWN, NOW - timedelta(hours=9), {},
        until=NOW - timedelta(hours=8), supersedes=number,
    )  # fmt: skip
    english = await page(client, "/office/potka")
    for quantity in QUANTITIES:
        newest = hub.live.offices["potka"].latest.get(
            quantity.probe
        )  # of services: none by that key
        if newest is not None and quantity.name in newest.values:
            assert f'<th scope="row">{quantity.label.en}</th>' in english
    assert "<polyline" in english
    assert "median 40 ms" in english
    assert "↓ 1.12 Mbps" in english
    assert "not measured: contact with the office&#39;s agent was lost during the test" in english
    assert "power cut</span> <small>25.11., 03:00 · 1 h · at first: unreachable" in english
    hindi = await page(client, "/office/potka", "hi")
    assert "<h1>पोटका</h1>" in hindi
    assert "बिजली बाधित" in hindi


async def test_an_outage_with_two_causes_is_shown_in_two_parts(
    client: Client, hub: MadeUpHub
) -> None:
    """A power cut followed by a line fault is shown as both."""

    def ago(minutes: float) -> datetime:
        return NOW - timedelta(minutes=minutes)

    log = hub.store.event_log
    log.add_transition("potka", OfficeState.UP, ago(600), {})
    outage = log.add_transition("potka", OfficeState.UNREACHABLE, ago(120), {})
    log.add_transition("potka", OfficeState.UP, ago(60), {})
    log.add_transition("potka", OfficeState.POWER_DOWN, ago(120), {}, ago(100), outage)
    log.add_transition("potka", OfficeState.LINK_DOWN, ago(100), {}, ago(60), outage)
    html = await page(client, "/office/potka")
    shown = re.findall(r'<span class="word">([^<]+)</span> <small>([^<]+)</small></li>', html)
    form, later = Formats.of("en", "Asia/Kolkata", NOW), " · at first: unreachable"
    expected = [
        (OfficeState.UP, ago(60), 3600, ""),
        (OfficeState.LINK_DOWN, ago(100), 2400, later),
        (OfficeState.POWER_DOWN, ago(120), 1200, later),
        (OfficeState.UP, ago(600), 28800, ""),
    ]
    assert shown == [
        (words("en")(f"state.{state}"), f"{form.date_and_time(at)} · {form.duration(long)}{note}")
        for state, at, long, note in expected
    ]


async def test_a_gap_in_the_measurements_is_a_gap_in_the_line(hub: MadeUpHub) -> None:
    """Without replies the latency line is interrupted; loss is shown as columns."""
    held = [latency("potka", NOW - timedelta(minutes=n)) for n in range(1, 100)]
    held += [latency("potka", NOW - timedelta(minutes=n), lost=60) for n in range(100, 160)]
    held += [latency("potka", NOW - timedelta(minutes=n)) for n in range(160, 300)]
    today = charts.day(held, NOW)
    assert (today.sent, today.received) == (60 * 299, 60 * 239)
    line = charts.line_chart(today, 0.3, Formats.of("en", "Asia/Kolkata", NOW).zone)
    assert len(line.lines) == 2
    columns = charts.column_chart(today, 0.02, Formats.of("en", "Asia/Kolkata", NOW).zone)
    assert 5 <= len(columns.columns) <= 7
    assert columns.clipped
    assert [tick.label for tick in line.ticks] == ["12:00", "18:00", "00:00", "06:00", "12:00"]
    hub.store.close()


def test_the_pages_phrases_exist_in_both_languages() -> None:
    """The same keys below `web`, and none is left in English by mistake."""
    english, hindi = words("en").group("web"), words("hi").group("web")
    assert english.keys() == hindi.keys()
    same = {key for key in english if english[key] == hindi[key]}
    assert same <= {"headline.join", "office.sla", "office.latest_of", "drills.live"}


async def test_the_newest_drill_is_shown_next_to_the_table(client: Client, hub: MadeUpHub) -> None:
    """It says how many offices passed; without a drill nothing is shown."""
    assert "at the same time" not in await page(client, "/")
    drill = made_up_week.drill(hub.config)
    running = replace(drill, state=DrillState.RUNNING)
    hub.store.event_log.add_drill(replace(running, started_at=parse_utc("2026-01-01T06:30:00Z")))
    hub.store.event_log.add_drill(drill)
    able, total = sum((one.grade or 0) >= 3 for one in drill.offices), len(drill.offices)
    await hub.clock.advance(VIEW_SECONDS)
    assert f", HD video (720p)): {able} of {total} held the conference." in await page(client, "/")
    assert f"{total} में से {able} में कॉन्फ्रेंसिंग सफल" in await page(client, "/", "hi")
    hub.store.event_log.add_drill(running)
    await hub.clock.advance(VIEW_SECONDS)
    assert "has been running since" in await page(client, "/")

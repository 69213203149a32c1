"""The pages for work: drills, maintenance, reports; what they show and what they do."""

from __future__ import annotations

import asyncio
import re
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from jharnet_monitor.errors import UserError
from jharnet_monitor.i18n.formats import Formats, duration
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.judge.conference.drill import DrillPhase, DrillState, LiveCall, UplinkLoad
from jharnet_monitor.judge.conference.drill import LiveCallDirection as Side
from jharnet_monitor.model import Outcome, format_utc
from jharnet_monitor.profiles import Profile
from jharnet_monitor.report.output.drill_sheet import drill_content
from jharnet_monitor.report.sections.drill_texts import name_of
from jharnet_monitor.web.drill_pages import drill_cost, drill_view
from jharnet_monitor.web.reports import ReportFile, papers
from tests import made_up_week
from tests.made_up import NOW, config
from tests.made_up_hub import MadeUpHub
from tests.web_support import BEARER, Client, error, page

ENGLISH = Formats.of("en", "Asia/Kolkata", NOW)
ZONE = ZoneInfo("Asia/Kolkata")


def test_a_drill_says_what_it_costs_before_it_starts() -> None:
    """Data of each office, headquarters' line, and why it cannot be held."""
    cost = drill_cost(config(11), Profile.P720, 5, ENGLISH)
    assert "Up to 134 MB of each office's data budget of 300 MB a day." in cost.lines
    assert any("(11 calls of 1.5" in line for line in cost.lines)
    assert cost.warning == ""
    long = drill_cost(config(11), Profile.P720, 15, ENGLISH)
    assert long.warning.startswith("It cannot be held: it needs 3")
    many = drill_cost(config(30), Profile.P720, 1, ENGLISH)
    assert "more than the 34 Mbps of headquarters' line" in many.warning


async def test_drills_are_listed_started_and_followed(client: Client, hub: MadeUpHub) -> None:
    """The list, the form with its preview, and the page of one with its result to sign."""
    drill = made_up_week.drill(hub.config)
    hub.store.event_log.add_drill(drill)
    html = await page(client, "/drills?profile=360p&minutes=2")
    assert f'href="/drills/{drill.id}"' in html
    assert "What it costs: SD video (360p), 2 min" in html
    assert "Sign in to start a drill" in html
    answer = await client.post(
        "/drills", headers=BEARER, data={"profile": "360p", "minutes": "2"}, allow_redirects=False
    )
    assert (answer.status, answer.headers["Location"]) == (303, "/drills/d1")
    assert hub.requested == [("drill", "360p", 2.0)]
    assert [act.what for act in hub.acts] == ["drill"]
    assert "must be a number" in await page(client, "/drills?minutes=many", status=400)
    await page(client, "/drills/none", status=404)
    result = await page(client, "/drills/d1")
    assert "The above test was held and its results are confirmed." in result


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_sheet_of_a_drill_in_turn_leaves_out_no_office(language: str) -> None:
    """Each office is in one sentence, also one that took part without a result; the length is that
    of a call, and nothing says that all were called at once."""
    made, t = config(11), words(language)
    drill = made_up_week.drill(made)
    busy = replace(drill.offices[0], outcome=Outcome.NO_DATA, grade=None, cause="host_overloaded")
    drill = replace(drill, offices=(busy, *drill.offices[1:]), at_once=2, uplink=UplinkLoad())
    sheet = drill_content(drill, made, made_up_week.MADE_AT, t)
    for office in drill.offices:
        name = name_of(office.office, made, t)
        assert sum(name in one for one in sheet["sentences"]) == 1, name
    name = name_of(busy.office, made, t)
    assert t("drill.without_result", names=name) in sheet["sentences"]
    assert [t("drill.length_in_turn"), duration(300, t)] in sheet["facts"]
    for text in ("title", "subtitle", "method"):
        assert sheet[text] != t(f"drill.{text}")


async def test_a_hub_that_calls_in_turn_claims_nothing_of_its_line(
    client: Client, hub: MadeUpHub
) -> None:
    """The list of drills says what such a drill tests, and does not say it of another hub's."""
    probes = hub.config.probes
    for at_once, shown in ((2, True), (11, False), (None, False)):
        drill = probes.drill.model_copy(update={"at_once": at_once})
        changed = {"probes": probes.model_copy(update={"drill": drill})}
        hub.live._current.replace(hub.config.model_copy(update=changed))
        html = await page(client, "/drills")
        assert ("This hub calls them in turn" in html) is shown
        assert ("the only test of whether" in html) is not shown


def test_a_running_drill_shows_its_calls() -> None:
    """How far it is, and the rates of each call; nothing is concluded before the end."""
    made = config(11)
    drill = made_up_week.drill(made)
    live = LiveCall(12.0, Side(360, 8e5), Side(360, 7e5))
    going = replace(
        drill, state=DrillState.RUNNING, phase=DrillPhase.CONFERENCE, minutes=5.0,
        started_at=NOW - timedelta(minutes=3),
        offices=tuple(replace(one, outcome=None, grade=None, live=live) for one in drill.offices),
    )  # fmt: skip
    view = drill_view(going, made, (), ENGLISH)
    assert view.state == "running (conference)"
    assert view.share == 0.5
    assert view.sentences == ()
    assert {row.live for row in view.rows} == {"12 s: ↓ 800 kbps ↑ 700 kbps"}
    assert {row.answer for row in view.rows} == {""}


async def test_maintenance_is_announced_seen_and_withdrawn(client: Client, hub: MadeUpHub) -> None:
    """By the form and by the API; each act is on record; what is over stays over."""
    form = {"office": "potka", "from": "2026-11-25T12:30", "to": "2026-11-25T14:00",
            "reason": "new <router>"}  # fmt: skip
    answer = await client.post("/maintenance", headers=BEARER, data=form, allow_redirects=False)
    assert answer.status == 303
    html = await page(client, "/maintenance")
    row = re.findall(r'<tr><th scope="row">Potka</th>.*?</tr>', html, re.S)[0]
    assert "ahead" in row and "new &lt;router&gt;" in row
    assert "<form" not in row  # nobody is signed in
    [listed] = await (await client.get("/api/v1/maintenance")).json()
    assert listed["from"] == "2026-11-25T07:00:00.000Z"
    address = f"/api/v1/maintenance/{listed['number']}"
    await error(client, address, 401, method="DELETE")
    answer = await client.delete(address, headers=BEARER)
    assert (await answer.json())["withdrawn"] == format_utc(NOW)
    assert "withdrawn 25.11., 12:00" in await page(client, "/maintenance")
    says = await error(client, address, 400, method="DELETE", headers=BEARER)
    assert "was withdrawn already" in says
    says = await error(client, "/api/v1/maintenance/99", 404, method="DELETE", headers=BEARER)
    assert "no maintenance `99`" in says
    assert [act.what for act in hub.acts] == ["maintenance", "maintenance withdrawn"]
    assert hub.store.event_log.windows(NOW, NOW + timedelta(days=1)) == []


async def test_maintenance_that_is_over_cannot_be_withdrawn(client: Client, hub: MadeUpHub) -> None:
    """The past cannot be made unplanned afterwards."""
    await hub.plan(None, NOW, NOW + timedelta(minutes=5), "")
    hub.clock.step(600)
    says = await error(client, "/api/v1/maintenance/1", 400, method="DELETE", headers=BEARER)
    assert "is over" in says
    bad = {"from": "soon", "to": "later"}
    answer = await client.post("/maintenance", headers=BEARER, data=bad)
    assert "`from` must be a time" in await answer.text()
    far = {"from": "2028-01-01T10:00", "to": "2028-01-01T12:00"}
    answer = await client.post("/maintenance", headers=BEARER, data=far)
    assert answer.status == 400
    assert "at most 400 days before it begins" in await answer.text()
    past = {"from": "2026-11-01T10:00", "to": "2026-11-01T12:00"}
    text = await (await client.post("/maintenance", headers=BEARER, data=past)).text()
    assert "`to` 2026-11-01T12:00:00+05:30 is in the past" in text
    assert "(now: 2026-11-25T12:10:00+05:30)" in text


def test_papers_have_the_names_of_their_periods() -> None:
    """One row a paper with all its files; unknown names stand for themselves."""
    names = (
        "weekly-2026-W47.hi.pdf", "weekly-2026-W47.en.pdf", "weekly-2026-W47-annex.hi.pdf",
        "monthly-2026-10.en.html", "report-2026-11-01_2026-11-15.en.pdf",
        "drill-20261118-103000-ab12.hi.pdf", "dossier-2026-11-01_2026-11-15.zip",
        "letter-to-department.pdf", "weekly-2026-W99.hi.pdf",
    )  # fmt: skip
    found = papers([ReportFile(name, 1000, NOW) for name in names], ENGLISH)
    shown = {group: [paper.title for paper in members] for group, members in found.items()}
    assert shown == {
        "weekly": ["Week 47 of 2026"],
        "period": ["October 2026", "01.11.–15.11.2026"],
        "drill": ["Drill, 18.11., 16:00"],
        "dossier": ["01.11.–15.11.2026"],
        "unnamed": ["letter-to-department", "weekly-2026-W99"],
    }
    files = found["weekly"][0].files
    assert [(one.language, one.annex) for one in files] == [
        ("en", False), ("hi", False), ("hi", True),
    ]  # fmt: skip


async def test_a_paper_of_any_period_is_made_with_its_progress(
    client: Client, hub: MadeUpHub
) -> None:
    """One at a time, in a process of its own; an error is told in one line."""
    from jharnet_monitor.web import report_pages

    going, orders = threading.Event(), list[tuple[str, Any]]()

    def make(module: str, function: str, *order: object) -> list[Path]:
        orders.append((function, order[1]))
        going.wait(5)
        if function == "write_dossier":
            raise UserError("nothing of this period is sealed")
        return [Path("/somewhere/weekly-2026-W47.hi.pdf")]

    app = client.app
    assert app is not None
    pages: report_pages.ReportPages = app[report_pages.REPORT_PAGES]
    pages._make = make
    form = {"kind": "report", "first": "2026-11-16", "last": "2026-11-22"}
    answer = await client.post("/reports", headers=BEARER, data=form, allow_redirects=False)
    assert answer.status == 303
    html = await page(client, "/reports")
    assert "Report, Week 47 of 2026: being made" in html
    assert "data-poll" in html
    again = await client.post("/reports", headers=BEARER, data=form)
    assert again.status == 400
    going.set()
    await _until_made(client)
    assert "Report, Week 47 of 2026: made in" in await page(client, "/reports")
    form["kind"] = "dossier"
    await client.post("/reports", headers=BEARER, data=form)
    await _until_made(client)
    assert "nothing of this period is sealed" in await page(client, "/reports")
    assert [order[0] for order in orders] == ["write_report", "write_dossier"]
    assert orders[0][1].stem == "weekly-2026-W47"


@pytest.mark.parametrize(
    ("kind", "first", "last", "says"),
    [
        ("report", "2026-12-01", "2026-12-05", "still to come"),
        ("report", "x", "2026-11-22", "the first day must be a day such as 2026-11-25"),
        ("report", "2026-11-16", "", "the last day must be a day such as 2026-11-25"),
        ("report", "2026-11-16", "9999-12-31", "the last day must be a day such as 2026-11-25"),
        ("report", "0001-01-01", "0001-01-31", "the first day must be a day such as 2026-11-25"),
        ("report", "2026-11-22", "2026-11-16", "2026-11-16 lies before the first day 2026-11-22"),
        ("dossier", "2026-11-16", "2026-11-25", "2026-11-25 is not over yet"),
        ("card", "2026-11-16", "2026-11-22", "`kind` must be one of report, dossier"),
    ],
)
async def test_a_paper_that_cannot_be_made_is_refused_at_once(
    client: Client, hub: MadeUpHub, kind: str, first: str, last: str, says: str
) -> None:
    """In the words of the form, not in those of the command line; nothing is begun."""
    form = {"kind": kind, "first": first, "last": last}
    answer = await client.post("/reports", headers=BEARER, data=form)
    text = await answer.text()
    assert answer.status == 400
    assert says in text
    assert "--" not in re.sub("<!--.*?-->", "", text, flags=re.S)
    assert hub.acts == []


async def _until_made(client: Client) -> None:
    for _ in range(100):
        if "data-poll" not in await page(client, "/reports"):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the paper is never made")

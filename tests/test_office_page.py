"""An office's page: what is wrong and what to try, plots from a day to a year, tables as CSV."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console

import jharnet_monitor
from jharnet_monitor.commands.result import render
from jharnet_monitor.i18n.formats import Formats
from jharnet_monitor.i18n.words import words
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.judge.twin.line import DirectionModel, LineModel
from jharnet_monitor.judge.twin.office_line import CallLine, office_line
from jharnet_monitor.judge.twin.prediction import GradePrediction
from jharnet_monitor.model import MADE_UP, Measurement, OfficeState
from jharnet_monitor.probes.base import Reading
from jharnet_monitor.probes.conference.twin import TwinAnswer, put
from jharnet_monitor.web.charts import HEIGHT, SPANS, Chart, speed_chart, ticks
from jharnet_monitor.web.plot_data import PlotData, read_plot
from jharnet_monitor.web.plots import plots_view
from jharnet_monitor.web.status import office_row
from jharnet_monitor.web.trouble import RUNBOOK, troubles
from tests.made_up import NOW, bandwidth, conference, district, full, latency
from tests.made_up_hub import MadeUpHub
from tests.web_support import BEARER, Client, error, page

ZONE = ZoneInfo("Asia/Kolkata")
ENGLISH = Formats.of("en", "Asia/Kolkata", NOW)


def test_trouble_is_named_with_its_beginning_and_what_to_try() -> None:
    """An office below the standard for loss: since its first bad test, and what to do about it."""
    live = district()
    office = live.config.office("potka")
    grades = [(NOW - timedelta(days=d), grade) for d, grade in ((4, 3), (3, 1), (2, 2), (1, 1))]
    plot = PlotData(read_nothing().latency, (), grades, ())
    row = office_row(live, office, ENGLISH)
    found = troubles(row, "loss", plot, live.config, ENGLISH)
    assert [one.kind for one in found] == ["grade_loss", "loss", "speed"]
    assert found[0].since == "since 22.11., 12:00 · 3 d"
    assert "more speed would not help" in found[0].cause
    assert len(found[0].steps) == 2
    assert troubles(row, "camera", plot, live.config, ENGLISH)[0].kind == "grade_unknown"
    down = live.config.office("musabani")
    found = troubles(office_row(live, down, ENGLISH), None, plot, live.config, ENGLISH)
    assert [one.kind for one in found] == ["unreachable"]


def read_nothing() -> PlotData:
    """What is plotted of an office that was never measured."""
    from jharnet_monitor.web.charts import day

    return PlotData(day((), NOW), (), (), ())


def test_each_direction_is_drawn_against_its_own_contract() -> None:
    """A line of 4 Mbit/s down and 1 Mbit/s up has two limits; one of 4 Mbit/s each way has one."""
    tests = [(NOW - timedelta(hours=1), 3.9e6, 0.95e6)]

    def drawn(contracted: tuple[float, float] | None) -> Chart:
        return speed_chart(tests, contracted, 0.8, NOW - timedelta(days=1), SPANS["day"], ZONE)

    chart = drawn((4e6, 1e6))
    assert chart.limit is not None and chart.other_limit is not None
    share_of_top = [1 - y / HEIGHT for y in (chart.limit, chart.other_limit)]
    assert share_of_top == pytest.approx([3.2e6 / chart.top, 0.8e6 / chart.top])
    assert drawn((4e6, 4e6)).other_limit is None
    assert (drawn(None).limit, drawn(None).other_limit) == (None, None)


def test_the_plot_of_an_uneven_line_has_both_limits() -> None:
    """The office's plots take each direction's rate from its contract."""
    config = district().config
    office = config.office("potka")
    assert office.link is not None
    link = office.link.model_copy(update={"contracted_up": 1e6})
    uneven = office.model_copy(update={"link": link})
    data = PlotData(read_nothing().latency, [(NOW - timedelta(hours=1), 4e6, 1e6)], (), ())
    [plot] = plots_view(config, uneven, SPANS["day"], data, ENGLISH).plots
    assert plot.chart.limit is not None and plot.chart.other_limit is not None
    assert plot.chart.other_limit > plot.chart.limit


@pytest.mark.parametrize("language", ["hi", "en"])
def test_every_trouble_has_phrases_and_a_runbook_entry(language: str) -> None:
    """Title, cause and steps; the runbook has the heading that is linked."""
    text = (Path(jharnet_monitor.__file__).parent / "help/runbook.md").read_text("utf-8")
    headings = {name.lower() for name in re.findall(r"^### (.+)$", text, re.M)}
    for kind, anchor in RUNBOOK.items():
        for part in ("title", "cause", "try"):
            assert words(language)(f"web.trouble.{kind}.{part}")
        assert anchor in headings


async def test_the_past_is_plotted_by_day_week_month_and_year(
    client: Client, hub: MadeUpHub
) -> None:
    """Each span has its own buckets and marks, and shows what lies within it alone."""
    for days, p50 in ((0.1, 0.04), (3, 0.05), (20, 0.06), (200, 0.07)):
        at = NOW - timedelta(days=days)
        hub.store.add([latency("potka", at, p50), bandwidth("potka", at, 3e6, 2e6)])
        hub.store.add([conference("potka", at, 2)])
    highest = {"day": "40", "week": "50", "month": "60", "year": "70"}
    for span, expected in highest.items():
        html = await page(client, f"/office/potka?span={span}")
        assert f"highest {expected} ms" in html, span
        assert f'href="?span={span}#past" aria-current="true"' in html
        assert html.count('<figure class="chart">') == 5
    assert await page(client, "/office/potka?span=century")


def test_loss_that_headquarters_caused_is_not_plotted(hub: MadeUpHub) -> None:
    """Packets lost while headquarters' own line was down say nothing about the office."""
    log = hub.store.event_log
    log.add_transition("potka", OfficeState.UP, NOW - timedelta(hours=9), {})
    log.add_transition("potka", OfficeState.UPLINK_DOWN, NOW - timedelta(hours=2), {})
    log.add_transition("potka", OfficeState.UP, NOW - timedelta(hours=1), {})
    hub.store.add([latency("potka", NOW - timedelta(minutes=90), lost=60)])
    hub.store.add([latency("potka", NOW - timedelta(minutes=30))])
    found = read_plot(hub.store, "potka", SPANS["day"], NOW, ZONE)
    assert (found.latency.sent, found.latency.received) == (60, 60)
    assert [span.state.value for span in found.spans] == ["up", "uplink_down", "up"]
    assert isinstance(found.spans[0], Span)
    hub.store.close()


def test_marks_stand_at_hours_of_a_day_and_at_midnights_of_longer_times() -> None:
    """In the district's zone."""
    labels = {
        name: [tick.label for tick in ticks(NOW - span.length, span, ZONE)]
        for name, span in SPANS.items()
    }
    assert labels["day"] == ["12:00", "18:00", "00:00", "06:00", "12:00"]
    assert labels["week"] == [f"{day}.11." for day in range(19, 26)]
    assert len(labels["month"]) == 6
    assert len(labels["year"]) == 6


async def test_figures_can_be_had_as_csv(client: Client, hub: MadeUpHub) -> None:
    """Every measurement once and in order, over the pages that are read; wrong queries are told."""
    at = [NOW - timedelta(minutes=n) for n in range(4500)]
    hub.store.add([latency("potka", one) for one in at])
    query = "since=2026-11-01T00:00:00Z&until=2026-11-25T06:29:30Z"
    address = "/api/v1/offices/potka/measurements.csv"
    answer = await client.get(f"{address}?probe=latency&{query}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader((await answer.text()).splitlines()))
    assert len(rows) == 4499
    assert [row["started_at"] for row in rows] == sorted({row["started_at"] for row in rows})
    assert rows[-1]["rtt_p50_seconds"] == "0.041"
    assert "made_up" not in rows[0]
    assert "`probe` must be one of" in await error(client, f"{address}?{query}", 400)
    long = f"{address}?probe=latency&since=2020-01-01T00:00:00Z&until=2026-01-01T00:00:00Z"
    assert "at most 400 days apart" in await error(client, long, 400)


async def test_a_csv_marks_what_was_made_up(client: Client, hub: MadeUpHub) -> None:
    """In the past of a made-up district each row says whether it was measured."""
    invented, measured = (latency("potka", NOW - timedelta(minutes=n)) for n in (2, 1))
    hub.store.event_log.add_event("", MADE_UP, NOW, {})
    hub.store.add([replace(invented, conditions={MADE_UP: True}), measured])
    query = "probe=latency&since=2026-11-01T00:00:00Z&until=2026-12-01T00:00:00Z"
    answer = await client.get(f"/api/v1/offices/potka/measurements.csv?{query}")
    rows = list(csv.DictReader((await answer.text()).splitlines()))
    assert [row["made_up"] for row in rows] == ["yes", "no"]


async def test_a_probe_shows_its_progress_and_its_result(client: Client, hub: MadeUpHub) -> None:
    """Waiting, running with its share of the last run's length, then the result."""
    import asyncio

    hub.live.update(bandwidth("potka", NOW - timedelta(hours=1), 3e6, 2e6))
    going = asyncio.Event()
    measured = bandwidth("potka", NOW, 3.5e6, 2e6)

    async def run(*_: object) -> object:
        await going.wait()
        return measured

    hub.run_probe = run  # type: ignore[method-assign, assignment]
    answer = await client.post(
        "/office/potka/probes/bandwidth", headers=BEARER, allow_redirects=False
    )
    assert answer.status == 303
    html = await page(client, "/office/potka")
    assert "Bandwidth: waiting for its turn" in html
    hub.live.offices["potka"].running = ("bandwidth",)
    html = await page(client, "/office/potka")
    assert re.search(r'<progress value="0\.00" aria-label="Bandwidth: running', html)
    going.set()
    await asyncio.sleep(0.05)
    html = await page(client, "/office/potka")
    assert "Bandwidth, just finished: ↓ 3.50 Mbps" in html
    assert "data-poll" not in html


def test_a_good_office_has_no_trouble() -> None:
    """Nothing is made up where nothing is wrong."""
    live = full(3)
    office = live.config.offices[2]
    row = office_row(live, office, ENGLISH)
    assert troubles(row, "none", read_nothing(), live.config, ENGLISH) == ()


def judged_call(minutes: int, *, completed: bool) -> Measurement:
    """A call with probabilities, whose line other measurements completed or not."""
    at = NOW - timedelta(minutes=minutes)
    way = DirectionModel(rate=4e6, delay=0.03, queue_doubt=1.0)
    test = bandwidth("potka", at - timedelta(hours=26), 7e6, 7e6)
    values = dict(test.values)
    for name in ("download_bits_per_second", "upload_bits_per_second"):
        values |= {f"{name}_low": 6.9e6, f"{name}_high": 7.1e6}
    trains = bandwidth("potka", at - timedelta(minutes=5), 0.0, 0.0, "trains")
    recent = {"bandwidth": replace(test, values=values), "bandwidth/trains": trains}
    line = office_line(CallLine(LineModel(way, way)), recent if completed else {}, at)
    held = conference("potka", at, 4)
    conditions = {**held.conditions, "limited_by": "none", "worse_way": "down"}
    answer = TwinAnswer(GradePrediction((0.0, 0.0, 0.0, 0.02, 0.98)), (), "v")
    reading = put(Reading(held.values, conditions), line, answer)
    return replace(held, values=reading.values, conditions=reading.conditions)


@pytest.mark.parametrize(
    ("language", "alone", "completed"),
    [
        ("en", "Measured by the call of 11:40.",
         "Measured by the call of 11:50, and by other tests of what it did not meet: Bandwidth "
         "(JharNet) 24.11., 09:50."),
        ("hi", "मापन: 11:40 की कॉल।",
         "मापन: 11:50 की कॉल, तथा जो उसमें नहीं दिखा उसके लिए अन्य जाँचें: बैंडविड्थ (झारनेट) "
         "24.11., 09:50।"),
    ],
)  # fmt: skip
async def test_what_if_says_by_what_the_line_was_measured(
    client: Client, hub: MadeUpHub, language: str, alone: str, completed: str
) -> None:
    """The call, and what gave something that it did not meet; trains that gave nothing are left
    out."""
    hub.live.update(judged_call(20, completed=False))
    assert alone in await page(client, "/office/potka", language)
    call = judged_call(10, completed=True)
    hub.live.update(call)
    assert completed in await page(client, "/office/potka", language)
    found = await client.get("/api/v1/offices/potka/whatif", headers=BEARER)
    answer = await found.json()
    (source,) = answer["completed_by"]
    assert (source["series"], source["gave"]) == ("bandwidth", ["down.rate", "up.rate"])
    assert answer["line"]["down"]["rate"] == 7e6


def test_a_calls_result_on_the_terminal_does_not_show_its_evidence() -> None:
    """It is for programs, as the line is."""
    screen = io.StringIO()
    found = judged_call(10, completed=True).to_json()
    Console(width=120, file=screen).print(render(found))
    assert "line_evidence" in found["conditions"]
    assert "graded_by" in screen.getvalue() and "line_evidence" not in screen.getvalue()

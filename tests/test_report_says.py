"""The report's text on an empty week and on a drill, and its number formats."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import timedelta

import pytest

from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.judge.calendar import period
from jharnet_monitor.judge.statistics.intervals import Interval
from jharnet_monitor.model import OfficeState
from jharnet_monitor.report.data.load import summarise
from jharnet_monitor.report.data.summary import Latency, Outage, Speed, Summary
from jharnet_monitor.report.output.build import make
from jharnet_monitor.report.output.compose import drafts
from jharnet_monitor.report.output.document import content
from jharnet_monitor.report.output.drill_sheet import drill_content
from jharnet_monitor.report.sections.details import measured_row, speed_bar, speed_text
from jharnet_monitor.report.sections.drill_texts import supported_calls_texts
from jharnet_monitor.report.sections.office_page import _outage_list
from jharnet_monitor.report.sections.phrases import interval, rests
from jharnet_monitor.web.status import status
from tests.made_up import NOW, district, latency
from tests.made_up_week import MADE_AT, ZONE, MadeWeek
from tests.pdf_text import plain, text_of
from tests.test_probe_shown import shown


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["2026-W40", "2026-W49"])
def test_page_one_of_an_empty_week_asks_no_block_for_anything(
    made: MadeWeek, name: str, language: str
) -> None:
    """Its rows name no cause and nobody to act, before any measurement as well as after the last
    one; no block has a page of its own, and the tables behind the report say the same.
    """
    empty, phrase = period.week(name, ZONE), words(language)
    summary = summarise(made.store, made.config, empty, empty.end + timedelta(hours=8))
    doc = content(summary, phrase)
    for row in doc["front"]["rows"]:
        assert (row["findings"], row["nothing"]) == ([], phrase("report.row_empty"))
        assert row["availability"] == row["speed"] == phrase("not_measured")
        assert row["grade"] is None and row["tests"] == ""
    assert doc["front"]["sentences"][2] == phrase("report.empty_ask")
    assert phrase("report.head.cause") not in doc["front"]["head"]
    assert doc["offices"]["pages"] == []
    for part in ("states", "speed", "slots", "measured"):
        assert doc[part]["rows"] == []  # no chart or table of nothing
    if name == "2026-W40":
        assert doc["lines"]["note"] == ""  # nor a conclusion "based on" weeks without data
    table = next(make(drafts(summary, ["en"]), ["csv"])).content.decode("utf-8-sig")
    assert all(not row["findings"] for row in csv.DictReader(io.StringIO(table)))


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_report_repeats_what_a_drill_measured(summary: Summary, language: str) -> None:
    """Each result is shown with what arrived each way and its loss, and above the table with what
    headquarters' line carried and could carry: the figures of the drill's own page, in its words.
    """
    phrase = words(language)
    text = text_of(next(make(drafts(summary, [language]), ["pdf"])).content)
    (drill,) = content(summary, phrase)["drills"]["drills"]
    paper = drill_content(summary.drills[0], summary.config, MADE_AT, phrase)
    for row, own in zip(drill["rows"], paper["rows"], strict=True):
        assert (row["down"], row["up"]) == (own["down"], own["up"])
    assert drill["rows"][0]["up"] == ["1.61 Mbps", phrase("drill.loss", loss="1.23 %")]
    carries = list(supported_calls_texts(summary.drills[0].uplink, phrase))
    assert paper["sentences"][-2:] == carries and drill["line"].endswith(" ".join(carries))
    assert "17.1 / 16.2 Mbps" in drill["line"]
    for figure in (*carries, "17.1 / 16.2 Mbps", phrase("drill.loss", loss="1.23 %")):
        assert plain(figure) in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_latency_below_a_millisecond_has_two_decimals_everywhere(
    summary: Summary, language: str
) -> None:
    """In the report, the dossier's sheets, the status page and the output of `probe`: 76 µs read
    `0.08 ms`, without digits that no measurement here has.
    """
    phrase = words(language)
    near = Latency(p50=76e-6, p95=934e-6, jitter=4e-6, minutes=60, sent=60, lost=0)
    row = measured_row(replace(summary.offices[0], latency=near), phrase)
    assert row[1:3] == ["0.08 ms; 0.93 ms", "< 0.01 ms"]
    found = interval(Interval(76e-6, 71e-6, 82e-6, n=60, days=9), formats.milliseconds, phrase)
    assert found in ("0.08 (0.07 to 0.08) ms", "0.08 (0.07 से 0.08) ms")
    live, measurement = district(), latency("potka", NOW, 76e-6)
    live.update(measurement)
    rows = status(live, formats.Formats.of(language, str(ZONE), NOW)).every
    [potka] = [row for row in rows if row.id == "potka"]
    assert potka.latency.text == "0.08 ms"
    assert "0.08 ms" in shown(measurement)


def test_figures_in_one_cell_have_the_same_precision() -> None:
    """A value with its interval, or the two ways of a line: as many decimals in each of them."""
    phrase = words("en")
    for figures, form, reported in (
        ((3.8e6, 3.794e6, 3.81e6), formats.rate, "3.80 (3.79 to 3.81) Mbps"),
        ((3.9e6, 3.9e6, 3.9e6), formats.rate, "3.90 (3.90 to 3.90) Mbps"),
        ((10.04e6, 9.964e6, 10.13e6), formats.rate, "10.0 (10.0 to 10.1) Mbps"),
        ((1.02e6, 0.98e6, 1.1e6), formats.rate, "1.02 Mbps (980 kbps to 1.10 Mbps)"),
        ((0.04, 0.0382, 0.0413), formats.milliseconds, "40.0 (38.2 to 41.3) ms"),
        ((0.021, 0.02, 0.0213), formats.share, "2.10 (2.00 to 2.13) %"),
        ((0.99, 0.98765, 1.0), formats.share_floor, "99.00 (98.76 to 100.00) %"),
        ((0.1, 0.05, 0.2), formats.share_ceil, "10 (5 to 20) %"),
    ):
        assert interval(Interval(*figures, n=30, days=30), form, phrase) == reported


def test_a_speed_that_the_offices_use_left_is_a_hollow_bar() -> None:
    """The chart says it by the bar, and its line of figures is short; where there is no bar, as on
    an office's page or without a contract, the words say it.
    """
    phrase = words("en")
    busy = Speed(median=3.9e6, tests=1, contracted=4e6, low=3.9e6, high=3.9e6, quiet=False)
    left = phrase("report.speed_tests_left", n=1)
    for speed, hollow in ((busy, True), (replace(busy, quiet=True), False)):
        drawn = speed_bar(speed, phrase)
        assert drawn["bar"]["left"] is hollow and left not in drawn["text"]
        assert (left in speed_text(speed, phrase)) is hollow
    unknown = speed_bar(replace(busy, contracted=None), phrase)
    assert unknown["bar"] is None and left in unknown["text"]


def test_one_day_behind_a_figure_is_a_day() -> None:
    """English has a singular: a figure from tests of one day is not from "1 days"."""
    one = Interval(3.8e6, None, None, n=1, days=1)
    assert rests(one, words("en")) == "1 test, 1 day"
    assert rests(replace(one, n=3, days=2), words("en")) == "3 tests, 2 days"


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_outage_beyond_the_period_is_not_given_its_bounds(
    summary: Summary, language: str
) -> None:
    """One that was going on at the first midnight may have begun before, and what lasted at the
    end of a finished week was going on then; in a week that is not over it still is.
    """
    phrase, start = words(language), summary.period.start
    down, state = OfficeState.LINK_DOWN, words(language)("state.link_down")
    ends = (start, start + timedelta(hours=6)), (start + timedelta(days=6), summary.period.end)
    office = replace(summary.offices[0], outages=tuple(
        Outage("potka", down, begin, end, open=end == summary.period.end) for begin, end in ends
    ))  # fmt: skip

    def line(key: str, begin: str, hours: float) -> str:
        length = formats.duration(hours * 3600, phrase)
        return phrase(f"report.office.{key}", begin=begin, state=state, length=length)

    at = formats.moment(start, ZONE, phrase), formats.moment(ends[1][0], ZONE, phrase)
    first = line("outage", phrase("report.or_before", moment=at[0]), 6)
    assert _outage_list(office, summary, phrase) == [first, line("outage_at_end", at[1], 24)]
    running = replace(summary, until=summary.period.end - timedelta(hours=1))
    assert _outage_list(office, running, phrase) == [first, line("outage_open", at[1], 24)]

"""An availability of which hardly any time is known is a figure on no page and no paper."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from jharnet_monitor.dossier.claims import AvailabilityClaims
from jharnet_monitor.dossier.sheets import states_rows
from jharnet_monitor.i18n.formats import Formats, availability, share_floor
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.judge.outages.availability import LEAST_KNOWN, state_times
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import OfficeState
from jharnet_monitor.report.data.summary import Summary
from jharnet_monitor.report.output.document import content
from jharnet_monitor.web.charts import SPANS, day
from jharnet_monitor.web.glance import glance
from jharnet_monitor.web.past import WEEK, OfficePast
from jharnet_monitor.web.plot_data import PlotData
from jharnet_monitor.web.plots import plots_view
from tests.made_up import NOW, district


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("known", "is_figure"), [(LEAST_KNOWN, True), (LEAST_KNOWN / 2, False)])
def test_the_report_shows_an_availability_from_a_tenth_of_the_time_on(
    summary: Summary, language: str, known: float, *, is_figure: bool
) -> None:
    """On page one, in the table of outages, on the office's page and in the trend."""
    period, phrase = summary.period, words(language)
    begin, cut = period.start, timedelta(minutes=6)
    last = begin + known * (period.end - begin)
    times = state_times(
        [Span(OfficeState.LINK_DOWN, begin, begin + cut), Span(OfficeState.UP, begin + cut, last)],
        begin, period.end,
    )  # fmt: skip
    offices = tuple(replace(one, state_times=times) for one in summary.offices)
    doc = content(replace(summary, offices=offices), phrase)
    shown = [row["availability"] for row in doc["front"]["rows"]]
    shown += [cell for row in doc["states"]["table"]["rows"] for cell in row[5:7]]
    for page in doc["offices"]["pages"]:
        shown += [figure for name, figure in page["figures"]
                  if name == phrase("report.states.availability")]  # fmt: skip
    figure = share_floor(1 - cut / (last - begin))
    assert len(shown) > len(offices)
    assert set(shown) == {figure if is_figure else phrase("few_data")}
    points = [row["points"][-1]["available"] for row in doc["trend"]["rows"]]
    assert all((point is not None) is is_figure for point in points)


@pytest.mark.parametrize("language", LANGUAGES)
def test_letter_and_sheets_show_none(language: str) -> None:
    """The letter's cell is `formats.availability`, and the sheets have it twice; what is known, and
    the bounds, which say how little that is, stay.
    """
    phrase = words(language)
    claims = AvailabilityClaims(1.0, 1.0, 0.0001, 0.0001, 1.0, {}, {})
    rows = [row[1] for row in states_rows(claims, phrase)]
    assert rows == [phrase("few_data"), phrase("few_data"), "0.01 %", "0.01 % / 100.00 %"]
    assert availability(1.0, 0.0001, phrase) == phrase("few_data")
    assert availability(1.0, 0.5, phrase) == "100 %"
    assert availability(None, 0.0, phrase) == phrase("not_measured")


@pytest.mark.parametrize("language", LANGUAGES)
def test_pages_show_none(language: str) -> None:
    """A hub that has run for an hour: the year says why nothing is said, the week says nothing."""
    formats = Formats.of(language, "Asia/Kolkata", NOW)
    spans = [Span(OfficeState.UP, NOW - timedelta(hours=1), NOW)]
    config = district().config
    data = PlotData(day((), NOW), (), (), spans)
    year = replace(data, latency=replace(data.latency, begin=NOW - timedelta(days=365)))
    text = plots_view(config, config.offices[0], SPANS["year"], year, formats).available
    assert text == formats.words("web.plots.hardly_known", known="0.01 %")
    assert "100 %" not in text
    assert glance(OfficePast(spans=spans), 0.02, formats).available == ""
    whole = [Span(OfficeState.UP, NOW - WEEK, NOW)]
    assert "100 %" in glance(OfficePast(spans=whole), 0.02, formats).available

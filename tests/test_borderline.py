"""A grade near a limit: where people read it, the other grade that it may as well be stands by."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from rich.console import Console

from jharnet_monitor.commands.demo import _grade
from jharnet_monitor.commands.result import render
from jharnet_monitor.hub.drills.results import with_conference
from jharnet_monitor.i18n.formats import Formats
from jharnet_monitor.i18n.words import words
from jharnet_monitor.judge.conference.drill import DrillOffice
from jharnet_monitor.judge.twin.borderline import (
    PROBABILITIES,
    borderline_grade,
    borderline_median,
)
from jharnet_monitor.judge.twin.line import LineModel
from jharnet_monitor.judge.twin.office_line import CallLine, office_line
from jharnet_monitor.judge.twin.prediction import GradePrediction
from jharnet_monitor.judge.twin.stored_whatif import ChangeAnswer, LineChange
from jharnet_monitor.model import Measurement
from jharnet_monitor.probes.base import Reading
from jharnet_monitor.probes.conference.twin import TwinAnswer, put
from jharnet_monitor.report.data.aggregate import conference as over_period
from jharnet_monitor.report.sections.drill_texts import drill_row
from jharnet_monitor.report.sections.front_page import conference_text
from jharnet_monitor.web.status import office_row
from tests.made_up import NOW, conference, district

BORDERLINE, CERTAIN = (0.0, 0.0, 0.05, 0.55, 0.4), (0.0, 0.0, 0.02, 0.95, 0.03)
ABOVE = (0.0, 0.0, 0.0, 0.04, 0.96)
"""What the twin says of calls with grade 3: HD is nearly as probable; SD is certain; HD is."""


def answer(shares: tuple[float, ...]) -> TwinAnswer:
    """The twin's answer to a call, without what if."""
    return TwinAnswer(GradePrediction(shares), (), "0-0")


def call(shares: tuple[float, ...] | None, grade: int = 3, days: int = 0) -> Measurement:
    """A call of an office, with the twin's probabilities if there are any."""
    held = conference("potka", NOW - timedelta(days=days, minutes=9), grade)
    shown = {} if shares is None else dict(zip(PROBABILITIES, shares, strict=True))
    return replace(held, values={**held.values, **shown})


@pytest.mark.parametrize(
    ("shares", "other"), [(BORDERLINE, 4), (CERTAIN, None), (ABOVE, 4), (None, None)]
)
def test_the_other_grade_is_the_most_probable_that_is_not_shown(
    shares: tuple[float, ...] | None, other: int | None
) -> None:
    """The second most probable, the most probable if another is shown, none if it is certain."""
    assert borderline_grade(call(shares).values) == other


def test_a_reading_names_the_other_grade_with_its_certainty() -> None:
    """The conditions, which programs read, agree with what people read."""
    reading = Reading({"grade": 3.0}, {"limited_by": "rate", "worse_way": "down"})
    found = put(reading, office_line(CallLine(LineModel()), {}, NOW), answer(BORDERLINE))
    assert (found.conditions["certainty"], found.conditions["borderline_grade"]) == (
        "borderline",
        4,
    )
    sure = put(reading, office_line(CallLine(LineModel()), {}, NOW), answer(CERTAIN))
    assert sure.conditions["certainty"] == "certain" and "borderline_grade" not in sure.conditions


@pytest.mark.parametrize(
    ("calls", "other"),
    [
        ([(3, None), (3, 4), (3, 4)], 4),
        ([(3, None), (3, None), (3, 4)], None),
        ([(4, 3), (4, 3), (4, None)], 3),
        ([(3, 4), (3, 4), (3, 4), (3, 2), (3, 2)], 4),
        ([(3, 2), (3, 2), (3, 2), (3, 4), (3, 4)], 2),
        ([(0, None), (4, None)], None),
        ([], None),
    ],
)
def test_a_week_is_borderline_if_its_borderline_calls_decide_it(
    calls: list[tuple[int, int | None]], other: int | None
) -> None:
    """Few borderline calls among certain ones leave the median as it is."""
    assert borderline_median(calls) == other


@pytest.mark.parametrize(
    ("language", "text"),
    [("en", "SD video (360p), borderline HD"), ("hi", "SD वीडियो (360p), HD की सीमा पर")],
)
def test_pages_and_reports_name_the_other_grade(language: str, text: str) -> None:
    """Status row and the week's grade: the same phrase, and nothing without an answer."""
    formats = Formats.of(language, "Asia/Kolkata", NOW)
    for shares, expected in ((BORDERLINE, text), (None, text.partition(",")[0])):
        live = district()
        live.update(call(shares))
        row = office_row(live, live.config.office("potka"), formats)
        assert row.grade.figure.text == expected
        held = [call(shares, days=day) for day in range(3)]
        week = over_period(held, live.config.district)
        assert conference_text(week, words(language)) == expected


@pytest.mark.parametrize(
    ("language", "text"),
    [("en", "The test call itself showed: HD video (720p)."), ("hi", "यह मिला: HD वीडियो (720p)।")],
)
def test_the_page_says_what_the_call_itself_showed(language: str, text: str) -> None:
    """Only where the grade is the twin's: grade and picture would contradict each other."""
    formats = Formats.of(language, "Asia/Kolkata", NOW)
    for by, shown in (("twin", True), ("call", False), (None, False)):
        live = district()
        one = call(BORDERLINE)
        conditions = {**one.conditions, "ladder_grade": 4, "graded_by": by}
        live.update(replace(one, conditions=conditions))
        row = office_row(live, live.config.office("potka"), formats)
        assert (text in row.grade.advice) is shown


def test_commands_name_the_other_grade() -> None:
    """`probe` says it in its first sentence, the table of `demo` beside the number."""
    screen = io.StringIO()
    Console(width=80, file=screen).print(render(call(BORDERLINE).to_json()))
    assert screen.getvalue().startswith("SD video (360p), borderline HD. The line holds SD video")
    faster = ChangeAnswer(LineChange(rate=4e6), GradePrediction(ABOVE)).to_json()
    screen = io.StringIO()
    measured = call(BORDERLINE).to_json()
    measured["conditions"] |= {"whatif": [faster], "line": {"down": {}, "up": {}}}
    Console(width=80, file=screen).print(render(measured))
    assert "  with 4 Mbps: HD video (720p), 96 %\n" in screen.getvalue()
    assert "probabilities" not in screen.getvalue()
    shown: dict[str, Any] = call(BORDERLINE).to_json()
    assert _grade(shown) == "3, borderline HD"
    assert _grade(call(None).to_json()) == "3"


def test_a_drill_names_the_other_grade() -> None:
    """Its record keeps it over JSON; sheet and page, which share a row, and the command say it."""
    office = with_conference(DrillOffice(office="potka", joined=True), call(BORDERLINE))
    again = DrillOffice.from_json(office.to_json())
    assert again.borderline == 4
    row = drill_row(again, district().config, words("en"))
    assert row["answer"] == "SD video (360p), borderline HD"
    without = with_conference(office, call(None))
    assert without.borderline is None and "borderline_grade" not in without.to_json()

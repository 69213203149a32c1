"""Page one and the conclusions say a thing once, and nothing that another sentence denies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.formats import duration, moment
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.judge.calendar.period import day
from jharnet_monitor.judge.conference.drill import Drill, DrillState
from jharnet_monitor.judge.outages.availability import state_times
from jharnet_monitor.judge.outages.shared import SharedFault
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import OfficeState
from jharnet_monitor.report.data.load import summarise
from jharnet_monitor.report.data.summary import OfficeSummary, Summary
from jharnet_monitor.report.output.document import content
from jharnet_monitor.report.sections.details import MOST_ROWS
from jharnet_monitor.report.sections.drill_texts import profile_name
from jharnet_monitor.report.sections.drills import drills
from jharnet_monitor.web.drill_line import drill_line
from tests import made_up_week
from tests.bench.papers import GOOD, shared_fault
from tests.made_up_week import MADE_AT, WEEK, ZONE

OFTEN = 2
"""Of so many offices the same may be said in their rows; of more it is said once."""


@dataclass(frozen=True, slots=True)
class Weeks:
    """A week without a fault, and the same with one that all offices had at once."""

    good: Summary
    shared: Summary


@pytest.fixture(scope="module")
def weeks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weeks]:
    """Eleven good lines."""
    made = made_up_week.make(tmp_path_factory.mktemp("good"), troubles=GOOD, drilled=False)
    good = summarise(made.store, made.config, WEEK, MADE_AT)
    shared_fault(made)
    yield Weeks(good, summarise(made.store, made.config, WEEK, MADE_AT))
    made.store.close()


def _prose(doc: dict[str, Any]) -> Iterator[str]:
    """What the rows say besides figures; what changed is a result of each office."""
    front = doc["front"]
    for row in front["rows"]:
        yield row["covers"]
        yield row["since"]
        if front["acting"] and not row["findings"]:
            yield row["nothing"]
    for row in doc["lines"]["rows"]:
        yield from (row["other"], row["reason"], row["also"], *row["basis"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_all_eleven_offices_share_is_written_once(weeks: Weeks, language: str) -> None:
    """What is the same of all stands once below the table, with no list of all the names."""
    phrase = words(language)
    doc = content(weeks.good, phrase)
    often = {text: n for text, n in Counter(_prose(doc)).items() if text and n > OFTEN}
    assert often == {}
    assert phrase("report.head.cause") not in doc["front"]["head"]
    known = phrase("report.covers_all", coverage="99 %")
    assert known in doc["front"]["speed_key"]
    everywhere = phrase("report.lines.all", total=11)
    assert any(everywhere in text for text in doc["lines"]["common"])
    assert phrase("report.all_blocks", total=11) in doc["states"]["table"]["quiet"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_differs_stays_in_the_rows(summary: Summary, language: str) -> None:
    """Offices with different troubles: each row has its own finding. The known time is the same
    wherever it was measured: it is said once, and not of the office that never was.
    """
    doc = content(summary, words(language))
    assert words(language)("report.head.cause") in doc["front"]["head"]
    assert {row["covers"] for row in doc["front"]["rows"]} == {""}
    [unmeasured] = [row for row in doc["front"]["rows"] if not row["known"]]
    assert unmeasured["tests"] == ""
    known = words(language)("report.covers_measured", coverage="99 %")
    assert known in doc["front"]["speed_key"]
    first = summary.offices[0]
    begin, end = WEEK.start, WEEK.end
    half = state_times([Span(OfficeState.UP, begin, begin + (end - begin) / 2)], begin, end)
    differ = (replace(first, state_times=half), *summary.offices[1:])
    rows = content(replace(summary, offices=differ), words(language))["front"]["rows"]
    assert sum(bool(row["covers"]) for row in rows) == 10


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_was_measured_in_no_direction_is_stated_once(summary: Summary, language: str) -> None:
    """Of a line that was never tested, and of the days on which it was not."""
    phrase = words(language)
    rows = content(summary, phrase)["lines"]["rows"]
    unmeasured = [row for row in rows if phrase("not_measured") in row["delivered"]]
    assert [row["delivered"] for row in unmeasured] == [[phrase("not_measured")]] * 2
    wanted = summary.config.capacity.days
    none = phrase("capacity.doubt.no_few_days", wanted=wanted)
    assert none in unmeasured[-1]["reason"]
    assert phrase("capacity.doubt.few_days", days=0, wanted=wanted) not in unmeasured[-1]["reason"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_fault_of_all_offices_is_no_week_without_action(weeks: Weeks, language: str) -> None:
    """Page one does not say that there was no fault, and asks the engineer for its cause."""
    phrase = words(language)
    assert len(weeks.shared.shared) == 1
    doc = content(weeks.shared, phrase)
    sentences = doc["front"]["sentences"]
    every = phrase("report.all_blocks", total=11)
    assert doc["states"]["table"]["quiet"] == phrase("report.states.quiet_shared", names=every)
    assert sentences[1] == phrase("report.why_none_shared")
    assert phrase("report.ask_shared") in sentences[2]
    assert phrase("report.asked_none") not in sentences
    assert phrase("report.asked_none") in content(weeks.good, phrase)["front"]["sentences"]


def test_a_fault_of_all_offices_over_midnight_is_in_both_reports(tmp_path: Path) -> None:
    """From 20:00 of one day to 16:00 of the next: each report has its part, and that of the second
    does not name midnight as the beginning.
    """
    made = made_up_week.make(tmp_path, weeks=1, troubles=GOOD, drilled=False)
    first, second = (day(f"2026-11-{number}", ZONE) for number in (17, 18))
    begin, edge = first.start + timedelta(hours=20), timedelta(seconds=10)
    shared_fault(made, begin, hours=20)
    before, after = (summarise(made.store, made.config, one, MADE_AT) for one in (first, second))
    made.store.close()
    assert before.shared == (SharedFault(begin + edge, first.end),)
    assert after.shared == (SharedFault(second.start, begin + timedelta(hours=20)),)
    for language in LANGUAGES:
        phrase = words(language)
        at_start = phrase("report.or_before", moment=moment(second.start, ZONE, phrase))
        for summary, begins in ((before, moment(begin, ZONE, phrase)), (after, at_start)):
            doc = content(summary, phrase)
            length = duration((summary.shared[0].end - summary.shared[0].start).total_seconds(),
                              phrase)  # fmt: skip
            sentence = phrase("report.shared", n=1, length=length, moments=begins)
            assert sentence in doc["front"]["sentences"]
            every = phrase("report.all_blocks", total=11)
            quiet = phrase("report.states.quiet_shared", names=every)
            assert doc["states"]["table"]["quiet"] == quiet


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_reason_is_what_the_row_and_the_request_say(summary: Summary, language: str) -> None:
    """An office whose latency is too high: a doubt on its line does not take the reason's place."""
    phrase = words(language)
    far = summary.config.offices[8]
    name = far.name_in(language)
    doc = content(summary, phrase)
    assert phrase("reason.delay", names=name) in doc["front"]["sentences"][1]
    assert phrase("ask.delay", names=name) in doc["front"]["sentences"][2]


@pytest.mark.parametrize("language", LANGUAGES)
def test_one_office_is_not_spoken_of_as_many(weeks: Weeks, language: str) -> None:
    """The directive's result in a configuration of a single office."""
    one = replace(weeks.good, offices=weeks.good.offices[:1])
    phrase = words(language)
    status = content(one, phrase)["directive"]["status"]
    assert status[0].startswith(phrase("report.directive.tested_one"))
    nothing = replace(
        one, offices=tuple(replace(o, conference=type(o.conference)()) for o in one.offices)
    )
    status = content(nothing, phrase)["directive"]["status"]
    assert status[0].startswith(phrase("report.directive.untested_one"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_downtime_of_earlier_weeks_is_not_that_of_this_week(
    summary: Summary, language: str
) -> None:
    """An office whose line was down in earlier weeks and not in this one: its availability of the
    week is whole, so the finding beside it says that it was before.
    """
    phrase = words(language)
    number = made_up_week.TROUBLES.index("line")
    office = summary.offices[number]
    assert office.outages
    name = office.office.name_in(language)

    def cause(offices: tuple[OfficeSummary, ...]) -> str:
        rows = content(replace(summary, offices=offices), phrase)["front"]["rows"]
        return str(next(row for row in rows if row["office"] == name)["findings"][0]["cause"])

    down = phrase("finding.line")
    assert cause(summary.offices) == down
    quiet = [replace(one, outages=()) if one is office else one for one in summary.offices]
    assert cause(tuple(quiet)) == phrase("report.earlier", cause=down)


def test_the_annex_repeats_no_drill_that_the_report_shows_whole(summary: Summary) -> None:
    """It has the drills before the last one, and that one only where the report shortens it."""
    phrase = words("en")
    [drill] = summary.drills
    before = replace(drill, id="before", started_at=drill.started_at - timedelta(days=1))
    of_many = replace(drill, offices=drill.offices * 2)
    for held, shown in (((drill,), 0), ((before, drill), 1), ((before, of_many), 2)):
        section = drills(replace(summary, drills=held), phrase)
        assert len(section["further"]) == shown
        assert section["further"] == section["drills"][:shown]
        assert (len(section["last"]["rows"]) < len(held[-1].offices)) is (shown == 2)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_directive_rests_on_a_drill_held_to_its_end(summary: Summary, language: str) -> None:
    """A later drill that was stopped says nothing; one alone is named as not ended. Offices called
    in turn are not said to have been called at once.
    """
    phrase = words(language)
    [drill] = summary.drills
    late = drill.started_at + timedelta(days=1)
    stopped = replace(drill, id="stopped", started_at=late, state=DrillState.STOPPED)
    in_turn = replace(drill, at_once=1)

    def status(*held: Drill) -> str:
        return str(content(replace(summary, drills=held), phrase)["directive"]["status"][0])

    assert status(drill, stopped) == status(drill)
    day = formats.day(late.astimezone(summary.zone).date(), phrase)
    assert status(stopped).endswith(phrase("report.directive.drill_not_ended", day=day))
    at_once, by_turn = ("at once", "in turn") if language == "en" else ("एक साथ", "बारी-बारी")
    assert at_once in status(drill)
    assert at_once not in status(in_turn) and by_turn in status(in_turn)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_section_says_that_a_drill_was_stopped(summary: Summary, language: str) -> None:
    """The report has the drill that was held to its end and leaves a later stopped one to the
    annex; a stopped one says so before its rates, one in turn after them.
    """
    phrase = words(language)
    [drill] = summary.drills
    late = drill.started_at + timedelta(days=1)
    stopped = replace(drill, id="stopped", started_at=late, state=DrillState.STOPPED)
    in_turn = replace(drill, at_once=1)

    def section(*held: Drill) -> dict[str, Any]:
        return drills(replace(summary, drills=held), phrase)

    both = section(drill, stopped)
    assert both["last"] == section(drill)["last"]
    assert [one["line"] for one in both["further"]] == [section(stopped)["last"]["line"]]
    why = phrase("report.drill.stopped")
    assert section(stopped)["last"]["line"].startswith(why)
    assert why not in section(drill)["last"]["line"]
    by_turn = phrase("drill.at_once", n=1, total=len(drill.offices))
    assert section(in_turn)["last"]["line"].endswith(by_turn)
    assert by_turn not in section(drill)["last"]["line"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_status_page_counts_no_result_of_a_stopped_drill(
    summary: Summary, language: str
) -> None:
    """Its line says that the drill was stopped, and of one in turn that it was in turn."""
    [drill] = summary.drills
    page = formats.Formats(words(language), summary.zone, MADE_AT)
    at_once, in_turn = (page.words(f"web.drill.{one}") for one in ("at_once", "in_turn"))
    assert at_once in drill_line(drill, 3, page)
    assert in_turn in drill_line(replace(drill, at_once=1), 3, page)
    stopped = drill_line(replace(drill, state=DrillState.STOPPED), 3, page)
    assert stopped == page.words(
        "web.drill.stopped",
        name=at_once,
        time=page.date_and_time(drill.started_at),
        profile=profile_name(drill, page.words),
    )


def test_of_many_offices_only_the_worst_are_detailed(weeks: Weeks) -> None:
    """The annex of 264 offices had 140 pages, which took Typst 550 MB and which nobody reads. Of
    more offices than the report lists, the worst have their details; tables and files have all.
    """
    one, many = weeks.good.offices[0], []
    for number in range(MOST_ROWS + 6):
        office = one.office.model_copy(update={"id": f"o{number}", "name": f"Block {number}"})
        grade = 0 if number >= MOST_ROWS else 4
        call = replace(one.conference, grade=grade)
        many.append(replace(one, office=office, conference=call))
    config = weeks.good.config.model_copy(update={"offices": tuple(o.office for o in many)})
    doc = content(replace(weeks.good, offices=tuple(many), config=config), words("en"))
    detailed = [row["office"] for row in doc["speed"]["rows"]]
    assert len(detailed) == MOST_ROWS
    assert {f"Block {number}" for number in range(MOST_ROWS, MOST_ROWS + 6)} <= set(detailed)
    assert len(doc["slots"]["rows"]) == 2 * MOST_ROWS
    assert {page["office"] for page in doc["offices"]["pages"]} <= set(detailed)
    everywhere = (doc["front"]["every_row"], doc["lines"]["every_row"], doc["measured"]["rows"])
    assert [len(rows) for rows in everywhere] == [MOST_ROWS + 6] * 3
    for phrase in (doc["annex"]["told"], doc["annex"]["limited"]):
        assert f"the {MOST_ROWS} " in phrase
    few = content(weeks.good, words("en"))
    assert few["annex"]["limited"] == ""
    assert len(few["speed"]["rows"]) == len(weeks.good.offices)

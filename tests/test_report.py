"""The report: its figures are those measured, and what was not measured is never shown as 0."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from statistics import median, median_low

import pytest

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.errors import UserError
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.judge.calendar import period
from jharnet_monitor.judge.latency import percentile
from jharnet_monitor.judge.line.verdict import LineVerdict
from jharnet_monitor.model import OfficeState
from jharnet_monitor.probes import PRUNABLE
from jharnet_monitor.report.data.findings import FindingKind, findings
from jharnet_monitor.report.data.load import summarise
from jharnet_monitor.report.data.state_spans import spans
from jharnet_monitor.report.data.summary import Summary
from jharnet_monitor.report.output.build import FORMATS, make
from jharnet_monitor.report.output.compose import drafts
from jharnet_monitor.report.output.document import content
from jharnet_monitor.report.sections import sentences
from jharnet_monitor.report.sections.rating import judge
from jharnet_monitor.store import Transition
from tests import made_up_week
from tests.made_up_week import MADE_AT, WEEK, ZONE, MadeWeek
from tests.pdf_text import pages_of, plain, text_of


@pytest.fixture(scope="module")
def papers(summary: Summary) -> dict[str, bytes]:
    """The report's four pages in each language, and its annex as `annex.hi` and `annex.en`."""
    return {
        f"annex.{one.language}" if "-annex." in one.name else one.language: one.content
        for one in make(drafts(summary, LANGUAGES), ["pdf"])
    }


def test_the_figures_of_the_pdf_are_those_measured(
    made: MadeWeek, papers: dict[str, bytes]
) -> None:
    """Speed, latency and loss of every office, computed in another way, are in both reports or in
    their annexes."""
    read = {
        language: text_of(papers[language]) + text_of(papers[f"annex.{language}"])
        for language in LANGUAGES
    }
    seen = 0
    for office in made.config.offices:
        down = made.values(office.id, "bandwidth", "download_bits_per_second")
        up = made.values(office.id, "bandwidth", "upload_bits_per_second")
        rtt = sorted(made.values(office.id, "latency", "rtt_p50_seconds"))
        sent = sum(made.values(office.id, "latency", "sent"))
        received = sum(made.values(office.id, "latency", "received"))
        figures = []
        if down:
            figures.append(formats.both_rates(median(down), median(up)))
        if rtt:
            both = [median(rtt), percentile(rtt, 0.95)]
            figures.append("; ".join(formats.milliseconds(one, both) for one in both))
            figures.append(formats.share((sent - received) / sent))
        for figure in figures:
            seen += 1
            assert all(plain(figure) in text for text in read.values()), (office.id, figure)
    assert seen >= 25


def test_the_answer_is_the_grade_that_more_than_half_of_the_tests_reached(
    made: MadeWeek, summary: Summary
) -> None:
    """The grade of every office follows from its tests; without a test there is none."""
    for office in summary.offices:
        calls = [m for m in made.of(office.office.id, "conference") if m.outcome != "no_data"]
        grades = [int(m.values["grade"]) for m in calls]
        assert office.conference.tests == len(grades)
        assert office.conference.grade == (median_low(grades) if grades else None)


def test_every_office_is_named_in_both_languages(made: MadeWeek, papers: dict[str, bytes]) -> None:
    """The PDFs' text contains all names, with ड़ in either spelling."""
    hindi, english = text_of(papers["hi"]), text_of(papers["en"])
    for office in made.config.offices:
        assert plain(office.name_hi) in hindi
        assert plain(office.name) in english


def test_availability_counts_causes_found_afterwards(summary: Summary) -> None:
    """Two hours a day were unreachable at first, and later attributed to power or line."""
    by_trouble = dict(zip(made_up_week.TROUBLES, summary.offices, strict=True))
    power, line = by_trouble["power"].state_times, by_trouble["line"].state_times
    assert power.of(OfficeState.POWER_DOWN) == line.of(OfficeState.LINK_DOWN) == timedelta(hours=14)
    assert not power.of(OfficeState.UNREACHABLE)
    assert power.availability == pytest.approx(22 / 24, abs=1e-3)
    assert power.availability_without_power == 1.0
    assert line.availability_without_power == line.availability
    for office in summary.offices:
        assert sum(office.state_times.times.values(), timedelta()) == WEEK.end - WEEK.start


def test_every_fault_is_found(summary: Summary) -> None:
    """Each simulated fault leads to its finding, and a good office has none."""
    wanted = {
        "good": None,
        "narrow": FindingKind.UPGRADE,
        "slow": FindingKind.REPAIR,
        "lossy": FindingKind.LOSS,
        "power": FindingKind.POWER,
        "line": FindingKind.LINE,
        "absent": FindingKind.NOT_TESTED,
        "call": FindingKind.CALL,
        "far": FindingKind.DELAY,
        "": FindingKind.NOT_TESTED,
    }
    for trouble, office in zip(made_up_week.TROUBLES, summary.offices, strict=True):
        found = findings(office, summary.config)
        assert (found[0].kind if found else None) == wanted[trouble], (trouble, found)


def test_few_days_support_no_claim(made: MadeWeek) -> None:
    """In the first weeks the tests are shown, but there is no verdict on the line."""
    second = WEEK.before().before()
    summary = summarise(made.store, made.config, second, MADE_AT)
    by_trouble = dict(zip(made_up_week.TROUBLES, summary.offices, strict=True))
    for trouble in ("narrow", "slow", "lossy", "power"):
        office = by_trouble[trouble]
        assert office.assessment.line.days == 14
        assert office.assessment.verdicts == (LineVerdict.NOT_ENOUGH_EVIDENCE,)
        reported = [finding.kind for finding in findings(office, summary.config)]
        wanted = (
            [FindingKind.EVIDENCE]
            if trouble == "power"
            else [FindingKind.LIMITED, FindingKind.EVIDENCE]
        )
        assert reported == wanted


def test_only_certain_and_large_changes_are_called_changes(summary: Summary) -> None:
    """A week is compared with the differences among earlier weeks, of which it needs enough."""
    office = summary.offices[0]
    now = office.conference
    assert now.grade == 4 and len(now.grades) > 5
    before = office.before
    assert before is not None

    def against(weeks: Sequence[tuple[int, ...]]) -> str:
        points = []
        for grades in weeks:
            held = tuple((at, grades[n % len(grades)]) for n, (at, _) in enumerate(now.grades))
            point = replace(now, grade=min(grades), grades=held)
            points.append(replace(before, conference=point))
        changed = replace(office, history=tuple(points))
        row = content(replace(summary, offices=(changed,)), words("en"))["front"]["rows"][0]
        return str(row["change"])

    phrase = words("en")
    assert against([(1,)] * 8) == phrase("report.change.better")
    assert against([(1,)] * 4) == phrase("report.change.few")
    assert against([(4, 4, 4, 3, 4, 4)] * 8) == phrase("report.change.none")  # too small to matter
    restless = [(1,), (4,), (2,), (4,), (1,), (3,), (4,), (1,)]
    assert against(restless) == phrase("report.change.none")


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_was_not_measured_is_never_shown_as_0(summary: Summary, language: str) -> None:
    """An office without measurements shows no figures, and says so."""
    data = content(summary, words(language))
    name = formats.office_name(summary.offices[-1].office, words(language))
    missing = words(language)("not_measured")
    row = next(row for row in data["front"]["rows"] if row["office"] == name)
    assert row["grade"] is None
    assert row["answer"] == words(language)("grade.none")
    assert (row["availability"], row["speed"], row["covers"]) == (missing, missing, "")
    measured = next(row for row in data["measured"]["rows"] if row[0] == name)
    assert measured[1:4] == [missing] * 3
    assert measured[5] == missing
    table = next(csv.DictReader(io.StringIO(_csv(summary)), delimiter=","), None)
    assert table is not None
    last = list(csv.DictReader(io.StringIO(_csv(summary))))[-1]
    for column in ("conference grade (0-4)", "availability (ratio)", "packet loss (ratio)",
                   "latency, median (s)", "median towards office (bit/s)"):  # fmt: skip
        assert last[column] == "", column


def _csv(summary: Summary) -> str:
    return next(make(drafts(summary, ["en"]), ["csv"])).content.decode("utf-8-sig")


def test_an_empty_week_says_so(made: MadeWeek) -> None:
    """A period without measurements gives a complete report without claims."""
    empty = period.week("2026-W40", ZONE)
    summary = summarise(made.store, made.config, empty, MADE_AT)
    for one in make(drafts(summary, LANGUAGES), list(FORMATS)):
        if one.format == "pdf" and "-annex." not in one.name:
            text = text_of(one.content)
            assert plain(words(one.language)("report.answer.empty")) in text
            assert plain(words(one.language)("report.method_text.extent_none")) in text


def test_a_future_period_is_an_error(made: MadeWeek) -> None:
    """The message names the period and its first day."""
    with pytest.raises(UserError, match="2027-W01 has not begun yet; it begins on 2027-01-04"):
        summarise(made.store, made.config, period.week("2027-W01", ZONE), MADE_AT)


def test_a_running_week_says_until_when_it_counts(made: MadeWeek) -> None:
    """A report in mid-week counts no future time."""
    now = WEEK.start + timedelta(days=3)
    summary = summarise(made.store, made.config, WEEK, now)
    assert summary.offices[0].state_times.period == timedelta(days=3)
    assert content(summary, words("en"))["running"] is not None


def test_one_office_only(made: MadeWeek) -> None:
    """The sentences are in the singular for a district of one office."""
    one = made.config.model_copy(update={"offices": made.config.offices[:1]})
    summary = summarise(made.store, one, WEEK, MADE_AT)
    sentence = content(summary, words("en"))["front"]["sentences"][0]
    assert sentence.startswith(words("en")("report.answer.only") + ". Basis: ")
    assert next(make(drafts(summary, ["en"]), ["pdf"])).content.startswith(b"%PDF")


def _change(
    number: int, state: str, hour: float, until: float = 0, supersedes: int | None = None
) -> Transition:
    at, end = WEEK.start + timedelta(hours=hour), WEEK.start + timedelta(hours=until)
    return Transition(
        number, "potka", OfficeState(state), at, end if until else None, {}, at, supersedes
    )


def test_spans_follow_transitions_and_corrections() -> None:
    """A correction's edges count, even outside the live ones; the last correction wins."""
    changes = [
        _change(1, "up", 0),
        _change(2, "unreachable", 2),
        _change(3, "up", 5),
        _change(4, "up", 6),
        _change(5, "link_down", 1.5, 4.5, 2),
        _change(6, "power_down", 1.5, 3, 2),
    ]
    held = spans(changes, WEEK.start + timedelta(hours=8))
    assert [
        (span.state.value, (span.end - span.start).total_seconds() / 3600) for span in held
    ] == [("up", 1.5), ("power_down", 1.5), ("link_down", 1.5), ("up", 3.5)]
    assert spans([], WEEK.end) == []


def test_page_one_answers_in_four_sentences(summary: Summary) -> None:
    """The counts of the first sentence are those of the table, and it says on how many tests it
    rests and what a success is; the worst office comes first.
    """
    data = content(summary, words("en"))
    groups = [one.group for one in judge(summary)]
    assert groups == sorted(groups, key=["unable", "partly", "untested", "able"].index)
    front = data["front"]
    assert len(front["sentences"]) == 4
    able = sum(row["able"] for row in front["rows"])
    tests = sum(office.conference.tests for office in summary.offices)
    reported = front["sentences"][0]
    assert reported.startswith(f"A video conference succeeded at {able} of 11 block offices")
    assert f"Basis: {tests} tests, 6 days; “succeeded” means SD video (360p) or better" in reported
    assert [tile["value"] for tile in front["tiles"]] == [
        str(groups.count(group)) for group in ("able", "partly", "unable", "untested")
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_page_one_is_one_page(summary: Summary, papers: dict[str, bytes], language: str) -> None:
    """The order and its status, the three sentences, every block's answer: all on the first page,
    and the judgement begins the second.
    """
    data = content(summary, words(language))
    first, second = pages_of(papers[language])[:2]
    wanted = [*data["directive"]["status"], *data["front"]["sentences"], data["front"]["speed_key"]]
    wanted += [row["answer"] for row in data["front"]["rows"]]
    for office in summary.config.offices:
        wanted.append(formats.office_name(office, words(language)))
    assert [text for text in wanted if plain(text) not in first] == []
    assert second.startswith(plain(data["lines"]["title"]))
    assert len(pages_of(papers[language])) == 4


def test_each_actor_is_named_once(summary: Summary) -> None:
    """The third sentence groups the requests by actor, the department first."""
    requested = content(summary, words("en"))["front"]["sentences"][2]
    for name in (
        "Department of IT",
        "JharNet operator",
        "Block Development Officers",
        "network engineer",
    ):
        assert requested.count(name) == 1
    assert requested.index("Department") < requested.index("operator") < requested.index("BDO")
    kinds = [kind for kinds in sentences.ACTORS.values() for kind in kinds]
    assert sorted(kinds) == sorted(FindingKind)


def test_pruned_weeks_are_reported_from_daily_summaries(tmp_path: Path) -> None:
    """Speed tests are complete; latency comes from daily distributions, without any loss."""
    week = made_up_week.make(tmp_path, weeks=1)
    before = summarise(week.store, week.config, WEEK, MADE_AT)
    clock = week.store._clock
    assert isinstance(clock, ManualClock)
    clock.step(2 * 86400)
    week.store.chain.seal()
    assert week.store.retention.prune(MADE_AT + timedelta(days=1), ZONE, PRUNABLE) > 0
    after = summarise(week.store, week.config, WEEK, MADE_AT)
    was, found = before.offices[0], after.offices[0]
    assert found.down == was.down and found.conference == was.conference
    assert found.latency.pruned == 7 and found.latency.loss is None
    assert found.latency.p50 == pytest.approx(was.latency.p50, rel=0.2)
    assert [day for day, _ in found.days] == [day for day, _ in was.days]
    text = plain(words("en")("report.method_text.pruned", n=7))
    assert text in text_of(list(make(drafts(after, ["en"]), ["pdf"]))[-1].content)
    week.store.close()

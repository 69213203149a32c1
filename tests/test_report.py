"""The report: its figures are those measured, and what was not measured never reads as zero."""

from __future__ import annotations

import csv
import doctest
import io
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from statistics import median, median_low
from typing import Any

import pytest
from pypdf import PdfReader
from typer.testing import CliRunner

from jharnet_monitor.commands import report as command
from jharnet_monitor.config import Config
from jharnet_monitor.errors import UserError
from jharnet_monitor.judge import signs
from jharnet_monitor.judge.latency import percentile
from jharnet_monitor.model import OfficeState
from jharnet_monitor.report import charts, fold, pdf, period, texts
from jharnet_monitor.report.build import FORMATS, make
from jharnet_monitor.report.content import content
from jharnet_monitor.report.drill_paper import keep_drill, make_drill
from jharnet_monitor.report.files import write_whole
from jharnet_monitor.report.finding import Kind, findings
from jharnet_monitor.report.page_one import judge
from jharnet_monitor.report.pdf import SettingError, set_pdf
from jharnet_monitor.report.source import summarise
from jharnet_monitor.report.states import spans
from jharnet_monitor.report.summary import Summary
from jharnet_monitor.report.words import LANGUAGES, words
from jharnet_monitor.store import Transition
from tests import made_up_week
from tests.made_up_week import MADE_AT, WEEK, ZONE, Made
from tests.pdf_text import plain, text_of


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """A store with two weeks in it."""
    week = made_up_week.make(tmp_path_factory.mktemp("week"))
    yield week
    week.store.close()


@pytest.fixture(scope="module")
def summary(made: Made) -> Summary:
    """The summary of the second week."""
    return summarise(made.store, made.config, WEEK, MADE_AT)


@pytest.fixture(scope="module")
def papers(summary: Summary) -> dict[str, bytes]:
    """The PDF in each language."""
    return {one.language: one.content for one in make(summary, LANGUAGES, ["pdf"])}


@pytest.mark.parametrize("module", [period, texts, fold, charts, signs])
def test_examples_in_docstrings_hold(module: Any) -> None:
    """Every `>>>` example gives what it says."""
    assert doctest.testmod(module).failed == 0


def test_the_papers_figures_are_those_measured(made: Made, papers: dict[str, bytes]) -> None:
    """Speed, latency and loss of every office, computed here anew, stand in both PDFs."""
    read = {language: text_of(paper) for language, paper in papers.items()}
    seen = 0
    for office in made.config.offices:
        down = made.values(office.id, "bandwidth", "download_bits_per_second")
        up = made.values(office.id, "bandwidth", "upload_bits_per_second")
        rtt = sorted(made.values(office.id, "latency", "rtt_p50_seconds"))
        sent = sum(made.values(office.id, "latency", "sent"))
        received = sum(made.values(office.id, "latency", "received"))
        figures = []
        if down:
            figures.append(texts.both_rates(median(down), median(up)))
        if rtt:
            p95 = texts.milliseconds(percentile(rtt, 0.95))
            figures.append(f"{texts.milliseconds(median(rtt))}; {p95}")
            figures.append(texts.loss((sent - received) / sent))
        for figure in figures:
            seen += 1
            assert all(plain(figure) in text for text in read.values()), (office.id, figure)
    assert seen >= 25


def test_the_answer_is_the_grade_that_more_than_half_of_the_tests_reached(
    made: Made, summary: Summary
) -> None:
    """The conference answer of every office follows from its tests; no test gives no grade."""
    for office in summary.offices:
        calls = [m for m in made.of(office.office.id, "conference") if m.outcome != "no_data"]
        grades = [int(m.values["grade"]) for m in calls]
        assert office.conference.tests == len(grades)
        assert office.conference.grade == (median_low(grades) if grades else None)


def test_every_office_is_named_in_both_languages(made: Made, papers: dict[str, bytes]) -> None:
    """Text extraction finds all names, whichever way ड़ is spelled."""
    hindi, english = text_of(papers["hi"]), text_of(papers["en"])
    for office in made.config.offices:
        assert plain(office.name_hi) in hindi
        assert plain(office.name) in english


def test_availability_counts_what_was_learnt_afterwards(summary: Summary) -> None:
    """Two hours a day were first unreachable, then known as power or line."""
    by_trouble = dict(zip(made_up_week.TROUBLES, summary.offices, strict=True))
    power, line = by_trouble["power"].account, by_trouble["line"].account
    assert power.of(OfficeState.POWER_DOWN) == line.of(OfficeState.LINK_DOWN) == timedelta(hours=14)
    assert not power.of(OfficeState.UNREACHABLE)
    assert power.availability == pytest.approx(22 / 24, abs=1e-3)
    assert power.availability_without_power == 1.0
    assert line.availability_without_power == line.availability
    for office in summary.offices:
        assert sum(office.account.times.values(), timedelta()) == WEEK.end - WEEK.start


def test_the_troubles_are_found(summary: Summary) -> None:
    """Each made-up trouble leads to its own finding, and none where there is none."""
    wanted = {
        "good": None, "narrow": Kind.UPGRADE, "slow": Kind.REPAIR, "lossy": Kind.LOSS,
        "power": Kind.POWER, "line": Kind.LINE, "absent": Kind.NOT_TESTED, "call": Kind.CALL,
        "far": Kind.DELAY, "": Kind.NOT_TESTED,
    }  # fmt: skip
    for trouble, office in zip(made_up_week.TROUBLES, summary.offices, strict=True):
        found = findings(office, summary.config.thresholds)
        assert (found[0].kind if found else None) == wanted[trouble], (trouble, found)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_was_not_measured_is_never_a_zero(summary: Summary, language: str) -> None:
    """The office without any measurement shows no figure at all, and says so."""
    data = content(summary, words(language))
    name = texts.office_name(summary.offices[-1].office, words(language))
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
    return next(make(summary, ["en"], ["csv"])).content.decode("utf-8-sig")


def test_an_empty_week_says_so(made: Made) -> None:
    """A period without a measurement gives a whole report that claims nothing."""
    empty = period.week("2026-W40", ZONE)
    summary = summarise(made.store, made.config, empty, MADE_AT)
    for one in make(summary, LANGUAGES, list(FORMATS)):
        if one.format == "pdf":
            text = text_of(one.content)
            assert plain(words(one.language)("report.answer.empty")) in text
            assert plain(words(one.language)("report.method_text.extent_none")) in text


def test_a_period_that_has_not_begun_is_refused(made: Made) -> None:
    """The error names the period and when it begins."""
    with pytest.raises(UserError, match="2027-W01 has not begun yet; it begins on 2027-01-04"):
        summarise(made.store, made.config, period.week("2027-W01", ZONE), MADE_AT)


def test_a_running_week_says_how_far_it_reaches(made: Made) -> None:
    """A report in mid-week counts no time that has not come."""
    now = WEEK.start + timedelta(days=3)
    summary = summarise(made.store, made.config, WEEK, now)
    assert summary.offices[0].account.period == timedelta(days=3)
    assert content(summary, words("en"))["running"] is not None


def test_one_office_only(made: Made) -> None:
    """A district of a single office gets its answer in the singular."""
    one = made.config.model_copy(update={"offices": made.config.offices[:1]})
    summary = summarise(made.store, one, WEEK, MADE_AT)
    sentence = content(summary, words("en"))["front"]["sentences"][0]
    assert sentence == "The block office can hold a video conference."
    assert next(make(summary, ["en"], ["pdf"])).content.startswith(b"%PDF")


def test_the_pdf_is_an_archive_with_its_figures_inside(
    summary: Summary, papers: dict[str, bytes]
) -> None:
    """PDF/A-3b; the attached tables are those that are also written as files."""
    for language, paper in papers.items():
        reader = PdfReader(io.BytesIO(paper))
        metadata: Any = reader.xmp_metadata
        assert (metadata.pdfaid_part, metadata.pdfaid_conformance) == ("3", "B")
        table = next(make(summary, [language], ["csv"])).content
        assert reader.attachments["offices.csv"] == [table]
        assert {"conference-tests.csv", "speed-tests.csv", "outages.csv", "days.csv",
                "drills.csv"} <= set(reader.attachments)  # fmt: skip


def test_the_same_summary_gives_the_same_bytes(summary: Summary, papers: dict[str, bytes]) -> None:
    """A report made twice is one report."""
    assert next(make(summary, ["hi"], ["pdf"])).content == papers["hi"]


def _renamed(config: Config, name: str) -> Config:
    office = config.offices[0].model_copy(update={"name": name, "name_hi": name})
    return config.model_copy(update={"offices": (office, *config.offices[1:])})


def test_names_cannot_act_as_markup(summary: Summary) -> None:
    """A name of angle brackets, Typst code or a formula stays a name in every form."""
    name = '=#panic("x")<script>alert(1)</script>'
    first = replace(summary.offices[0], office=_renamed(summary.config, name).offices[0])
    odd = replace(summary, offices=(first, *summary.offices[1:]))
    files = {one.format: one.content for one in make(odd, ["en"], list(FORMATS))}
    assert plain(name) in text_of(files["pdf"])
    page = files["html"].decode()
    assert "<script" not in page and "&lt;script&gt;" in page
    with zipfile.ZipFile(io.BytesIO(files["xlsx"])) as book:
        assert not any(b"<f>" in book.read(entry) for entry in book.namelist())


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_needs_nothing_from_outside(summary: Summary, language: str) -> None:
    """The HTML names no other file and no address, and holds page one's sentences."""
    page = next(make(summary, [language], ["html"])).content.decode()
    assert not re.findall(r"""(?:src|href)\s*=|@import|url\((?!#)|https?://""", page)
    for office in summary.config.offices:
        assert texts.office_name(office, words(language)) in page


def test_a_broken_template_is_told_by_its_place(
    summary: Summary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File, line and column stand before what Typst says."""
    shutil.copytree(str(pdf._TEMPLATES), tmp_path / "t")
    broken = tmp_path / "t/weekly.typ"
    broken.write_text(broken.read_text("utf-8") + "\n#no-such-thing\n", "utf-8")
    monkeypatch.setattr(pdf, "_TEMPLATES", tmp_path / "t")
    with pytest.raises(SettingError, match=r"weekly\.typ:\d+:\d+: unknown variable"):
        next(make(summary, ["en"], ["pdf"]))


def test_a_missing_font_is_an_error(
    summary: Summary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typst only warns of it, and would set the paper in another font."""
    monkeypatch.setattr("fontpkg_noto_sans_devanagari.ROOT", tmp_path)
    with pytest.raises(SettingError, match="noto sans devanagari"):
        next(make(summary, ["hi"], ["pdf"]))


def test_a_glyph_that_no_font_has_costs_only_the_archive_form(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A name in another script is set all the same, and the log says what was lost."""
    drill = {"id": "d", "state": "done", "profile": "720p",
             "started_at": "2026-11-18T05:30:00Z", "offices": []}  # fmt: skip
    config = made_up_week.config("sqlite:///x.db", directive="পটমদা")
    made = next(make_drill(drill, config, ["en"], ["pdf"], MADE_AT))
    assert made.content.startswith(b"%PDF")
    assert "not as PDF/A-3b" in caplog.text


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """Where the directory cannot be made, one clear line; an older file is replaced at a stroke."""
    write_whole(tmp_path / "a.pdf", b"old")
    write_whole(tmp_path / "a.pdf", b"new")
    assert (tmp_path / "a.pdf").read_bytes() == b"new"
    with pytest.raises(UserError, match=r"a\.pdf/b\.pdf: cannot be written"):
        write_whole(tmp_path / "a.pdf" / "b.pdf", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pdf"]


def test_a_full_disk_leaves_no_half_file(tmp_path: Path) -> None:
    """Under a limit on the size of files the write fails whole, with the system's reason."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(UserError, match="File too large"):
            write_whole(tmp_path / "big.pdf", b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def _change(
    number: int, state: str, hour: float, until: float = 0, supersedes: int | None = None
) -> Transition:
    at, end = WEEK.start + timedelta(hours=hour), WEEK.start + timedelta(hours=until)
    return Transition(
        number, "potka", OfficeState(state), at, end if until else None, {}, at, supersedes
    )


def test_spans_follow_the_changes_and_what_was_learnt_later() -> None:
    """The sharper edges of a correction count, also beyond those seen; the last word holds."""
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


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_drills_paper_is_one_page_to_be_signed(made: Made, language: str) -> None:
    """It names every block, who did not take part, the cause, and has room to sign."""
    drill = made_up_week.drill(made.config)
    paper = next(make_drill(drill, made.config, [language], ["pdf"], MADE_AT))
    said = words(language)
    text = text_of(paper.content)
    assert paper.name == f"drill-20261118-053000-a1b2.{language}.pdf"
    assert len(PdfReader(io.BytesIO(paper.content)).pages) == 1
    absent = [made.config.offices[n] for n in (6, 10)]
    names = texts.listed([texts.office_name(office, said) for office in absent], said)
    for phrase in (
        said("drill.absent", names=names), said("drill.signatory.dio"), said("cause.no_agent"),
        said("drill.way", rate="1.61 Mbit/s", loss="1.23 %"), "17.1 / 16.2 Mbit/s",
        *(texts.office_name(office, said) for office in made.config.offices),
    ):  # fmt: skip
        assert plain(phrase) in text, phrase


def test_a_drills_papers_lie_among_the_reports(
    made: Made, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The hub puts them there after each drill; where it cannot, the drill itself is kept."""
    drill = made_up_week.drill(made.config)
    config = made_up_week.config(made.database, directory=tmp_path / "reports")
    keep_drill(drill, config, MADE_AT)
    names = {path.name for path in (tmp_path / "reports").iterdir()}
    assert names == {f"drill-20261118-053000-a1b2.{lang}.pdf" for lang in LANGUAGES}
    keep_drill(drill, made_up_week.config(made.database, directory=Path("/proc/none")), MADE_AT)
    assert "the paper of drill 20261118-053000-a1b2 could not be made" in caplog.text


def test_page_one_answers_in_three_sentences(summary: Summary) -> None:
    """The counts of the first sentence are those of the table; the worst stands first."""
    data = content(summary, words("en"))
    groups = [one.group for one in judge(summary)]
    assert groups == sorted(groups, key=["unable", "partly", "untested", "able"].index)
    front = data["front"]
    assert len(front["sentences"]) == 3
    able = sum(row["able"] for row in front["rows"])
    assert front["sentences"][0].startswith(f"{able} of 11 block offices can hold")
    assert [tile["value"] for tile in front["tiles"]] == [
        str(groups.count(group)) for group in ("able", "partly", "unable", "untested")
    ]


@pytest.fixture
def config_file(made: Made, tmp_path: Path) -> Path:
    """The week's configuration as a file."""
    offices = [
        {"id": o.id, "name": o.name, "name_hi": o.name_hi, "router": o.router}
        for o in made.config.offices
    ]
    text = {
        "district": {"id": "east-singhbhum", "name": "East Singhbhum", "name_hi": "पूर्वी सिंहभूम"},
        "hub": {"tls": False, "database": made.database, "uplink": {"contracted": "34 Mbit/s"}},
        "offices": offices,
    }
    path = tmp_path / "jharnet.yaml"
    path.write_text(json.dumps(text, ensure_ascii=False), "utf-8")
    return path


def test_the_command_writes_what_it_says(config_file: Path, tmp_path: Path) -> None:
    """One file a language and format, by the names of the contract; `--json` lists them."""
    arguments = ["--week", "2026-W47", "--lang", "hi,en", "--format", "pdf,html,xlsx,csv"]
    arguments += ["--out", str(tmp_path / "out"), "--config", str(config_file), "--json"]
    result = CliRunner().invoke(command.app, arguments, catch_exceptions=False)
    files = {Path(name).name for name in json.loads(result.stdout)["files"]}
    assert files == {f"weekly-2026-W47.{lang}.{ending}" for lang in LANGUAGES for ending in FORMATS}
    assert files == {path.name for path in (tmp_path / "out").iterdir()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--week", "2026-W54"], "--week 2026-W54: 2026 has the weeks W01 to W53"),
        (["--week", "47"], "--week 47: must be an ISO week such as 2026-W47"),
        (["--day", "2026-02-30"], "--day 2026-02-30: there is no such day"),
        (["--month", "2026-13"], "--month 2026-13: must be a month such as 2026-11"),
        (["--quarter", "2026-5"], "--quarter 2026-5: must be a quarter such as 2026-Q4"),
        (["--from", "2026-11-02"], "--from and --to go together; give both"),
        (["--from", "2026-11-02", "--to", "2026-11-01"], "--to 2026-11-01: lies before --from"),
        (["--week", "2026-W47", "--day", "2026-11-20"], "give one of --week, --day, --month"),
        (["--lang", "fr"], "--lang fr: `fr` is none of hi, en"),
        (["--format", "doc"], "--format doc: `doc` is none of pdf, html, xlsx, csv"),
        (["drill", "nothing"], "no drill `nothing` in the database"),
    ],
)
def test_wrong_usage_is_one_clear_line(
    config_file: Path, arguments: list[str], message: str
) -> None:
    """Every mistake names the option and what would be right."""
    result = CliRunner().invoke(command.app, [*arguments, "--config", str(config_file)])
    assert isinstance(result.exception, UserError), result.output
    assert str(result.exception).startswith(message)


def test_a_report_makes_no_database(tmp_path: Path) -> None:
    """Where the hub has never run, the report says so and leaves nothing behind."""
    config = made_up_week.config(f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(UserError, match=r"none\.db: there is no database yet"):
        command._open(config)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_template_is_an_error() -> None:
    """The name of the file stands in the message."""
    with pytest.raises(SettingError, match=r"nothing\.typ: cannot be read"):
        set_pdf("nothing.typ", {}, MADE_AT)

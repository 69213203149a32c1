"""The files of a report: PDF, HTML, tables and the drill's sheet; and what happens on errors."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader
from typer.testing import CliRunner

from jharnet_monitor.commands import report as command
from jharnet_monitor.config import Config
from jharnet_monitor.errors import StoreError, UserError
from jharnet_monitor.hub.drills.sheets import write_sheets
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.judge.conference.drill import Drill, DrillState
from jharnet_monitor.profiles import Profile
from jharnet_monitor.report.data.summary import Summary
from jharnet_monitor.report.output import build, pdf
from jharnet_monitor.report.output.annex import tables
from jharnet_monitor.report.output.build import FORMATS, make
from jharnet_monitor.report.output.compose import drafts, read_drafts
from jharnet_monitor.report.output.draft import PackedDraft
from jharnet_monitor.report.output.drill_sheet import make_drill_sheets
from jharnet_monitor.report.output.files import TypesettingError, write_whole
from jharnet_monitor.report.output.pdf import render_pdf
from jharnet_monitor.report.output.worker import WorkerError, in_own_process
from jharnet_monitor.report.sections.drill_texts import supported_calls_texts
from tests import made_up_week
from tests.made_up_week import MADE_AT, WEEK, MadeWeek
from tests.pdf_text import plain, text_of


@pytest.fixture(scope="module")
def papers(summary: Summary) -> dict[str, bytes]:
    """The report's four pages in each language."""
    made = make(drafts(summary, LANGUAGES), ["pdf"])
    return {one.language: one.content for one in made if "-annex." not in one.name}


def test_the_pdf_is_pdf_a_with_its_tables_attached(
    summary: Summary, papers: dict[str, bytes]
) -> None:
    """PDF/A-3b; the attached tables are the same as the files."""
    for language, paper in papers.items():
        reader = PdfReader(io.BytesIO(paper))
        metadata: Any = reader.xmp_metadata
        assert (metadata.pdfaid_part, metadata.pdfaid_conformance) == ("3", "B")
        table = next(make(drafts(summary, [language]), ["csv"])).content
        assert reader.attachments["offices.csv"] == [table]
        names = ("conference-tests", "speed-tests", "delivered", "outages", "days", "drills")
        assert {f"{name}.csv" for name in names} <= set(reader.attachments)


def test_the_speed_by_time_slot_is_a_table(summary: Summary) -> None:
    """Every test is in office hours or outside them, and those of the busy hour are also in office
    hours; the cells of the 5 % quantile are empty if there are too few tests."""
    [table] = [one for one in tables(summary) if one.name == "delivered"]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    for office in summary.offices:
        for way in ("down", "up"):
            mine = {
                r["slot"]: r for r in rows if (r["office"], r["way"]) == (office.office.id, way)
            }
            made = sum(getattr(test, way) is not None for test in office.speed_tests)
            tests = {slot: int(str(row["tests"])) for slot, row in mine.items()}
            assert tests.get("office_hours", 0) + tests.get("off_hours", 0) == made
            assert tests.get("busy_hour", 0) <= tests.get("office_hours", 0)
    assert any(row["median"] and row["below"] is not None for row in rows)
    assert {row["p5"] for row in rows} == {None}, "a week has too few days for it"


def test_the_same_summary_gives_the_same_bytes(summary: Summary, papers: dict[str, bytes]) -> None:
    """A report made twice is equal byte for byte."""
    assert next(make(drafts(summary, ["hi"]), ["pdf"])).content == papers["hi"]


def _renamed(config: Config, name: str) -> Config:
    office = config.offices[0].model_copy(update={"name": name, "name_hi": name})
    return config.model_copy(update={"offices": (office, *config.offices[1:])})


def test_names_cannot_act_as_markup(summary: Summary) -> None:
    """Angle brackets, Typst code or a formula in a name stay text in every format."""
    name = '=#panic("x")<script>alert(1)</script>'
    first = replace(summary.offices[0], office=_renamed(summary.config, name).offices[0])
    odd = replace(summary, offices=(first, *summary.offices[1:]))
    made = make(drafts(odd, ["en"]), list(FORMATS))
    files = {one.format: one.content for one in made if "-annex." not in one.name}
    assert plain(name) in text_of(files["pdf"])
    page = files["html"].decode()
    assert "<script" not in page and "&lt;script&gt;" in page
    with zipfile.ZipFile(io.BytesIO(files["xlsx"])) as book:
        assert not any(b"<f>" in book.read(entry) for entry in book.namelist())


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_needs_nothing_from_outside(summary: Summary, language: str) -> None:
    """The HTML refers to no other file or address, and contains the front page's sentences."""
    page = next(make(drafts(summary, [language]), ["html"])).content.decode()
    assert not re.findall(r"""(?:src|href)\s*=|@import|url\((?!#)|https?://""", page)
    for office in summary.config.offices:
        assert formats.office_name(office, words(language)) in page


def test_an_error_in_a_template_names_its_place(
    summary: Summary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File, line and column come before Typst's message."""
    shutil.copytree(str(pdf._TEMPLATES), tmp_path / "t")
    broken = tmp_path / "t/weekly.typ"
    broken.write_text(broken.read_text("utf-8") + "\n#no-such-thing\n", "utf-8")
    monkeypatch.setattr(pdf, "_TEMPLATES", tmp_path / "t")
    with pytest.raises(TypesettingError, match=r"weekly\.typ:\d+:\d+: unknown variable"):
        next(make(drafts(summary, ["en"]), ["pdf"]))


def test_a_missing_font_is_an_error(
    summary: Summary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typst only warns about it, and would typeset with another font."""
    monkeypatch.setattr("fontpkg_noto_sans_devanagari.ROOT", tmp_path)
    with pytest.raises(TypesettingError, match="noto sans devanagari"):
        next(make(drafts(summary, ["hi"]), ["pdf"]))


def test_a_missing_glyph_costs_only_pdf_a_conformance(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A name in another script is typeset as plain PDF, with a warning in the log."""
    drill = Drill("d", DrillState.DONE, Profile.P720, WEEK.start, ())
    config = made_up_week.config("sqlite:///x.db", directive="পটমদা")
    made = next(make_drill_sheets(drill, config, ["en"], ["pdf"], MADE_AT))
    assert made.content.startswith(b"%PDF")
    assert "not as PDF/A-3b" in caplog.text


def test_files_are_written_atomically(tmp_path: Path) -> None:
    """A directory that cannot be created is a clear error; an older file is replaced."""
    write_whole(tmp_path / "a.pdf", b"old")
    write_whole(tmp_path / "a.pdf", b"new")
    assert (tmp_path / "a.pdf").read_bytes() == b"new"
    with pytest.raises(UserError, match=r"a\.pdf/b\.pdf: cannot be written"):
        write_whole(tmp_path / "a.pdf" / "b.pdf", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pdf"]


def test_a_full_disk_leaves_no_partial_file(tmp_path: Path) -> None:
    """Under a limit on the size of files the error gives the system's reason."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(UserError, match="File too large"):
            write_whole(tmp_path / "big.pdf", b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_drills_paper_is_one_page_to_be_signed(made: MadeWeek, language: str) -> None:
    """It names every block, who did not take part, the cause, and has room to sign."""
    drill = made_up_week.drill(made.config)
    paper = next(make_drill_sheets(drill, made.config, [language], ["pdf"], MADE_AT))
    phrase = words(language)
    text = text_of(paper.content)
    assert paper.name == f"drill-20261118-053000-a1b2.{language}.pdf"
    assert len(PdfReader(io.BytesIO(paper.content)).pages) == 1
    absent = [made.config.offices[n] for n in (6, 10)]
    names = formats.list_of([formats.office_name(office, phrase) for office in absent], phrase)
    for part in (
        phrase("drill.absent", names=names), phrase("drill.signatory.dio"),
        phrase("cause.no_agent"),
        "1.61 Mbps", phrase("drill.loss", loss="1.23 %"), "17.1 / 16.2 Mbps",
        *supported_calls_texts(drill.uplink, phrase),
        *(formats.office_name(office, phrase) for office in made.config.offices),
    ):  # fmt: skip
        assert plain(part) in text, part


def test_a_drills_papers_lie_among_the_reports(
    made: MadeWeek, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The hub puts them there after each drill; where it cannot, it is told why."""
    drill = made_up_week.drill(made.config)
    config = made_up_week.config(made.database, directory=tmp_path / "reports")
    with caplog.at_level("INFO"):
        write_sheets(drill, config, MADE_AT)
    assert caplog.text.count("wrote") == len(LANGUAGES)
    names = {path.name for path in (tmp_path / "reports").iterdir()}
    assert names == {f"drill-20261118-053000-a1b2.{lang}.pdf" for lang in LANGUAGES}
    nowhere = made_up_week.config(made.database, directory=Path("/proc/none"))
    with pytest.raises(UserError, match="/proc/none"):
        write_sheets(drill, nowhere, MADE_AT)


@pytest.fixture
def config_file(made: MadeWeek, tmp_path: Path) -> Path:
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
    """One file per language and format, with the documented names; `--json` lists them."""
    arguments = ["--week", "2026-W47", "--lang", "hi,en", "--format", "pdf,html,xlsx,csv,form.csv"]
    arguments += ["--out", str(tmp_path / "out"), "--config", str(config_file), "--json"]
    result = CliRunner().invoke(command.app, arguments, catch_exceptions=False)
    files = {Path(name).name for name in json.loads(result.stdout)["files"]}
    wanted = {f"weekly-2026-W47.{lang}.{ending}" for lang in LANGUAGES for ending in FORMATS}
    assert files == wanted | {f"weekly-2026-W47-annex.{lang}.pdf" for lang in LANGUAGES}
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
        (["--lang", "fr"], "--lang fr: `fr` is not one of hi, en"),
        (["--lang", ""], "--lang : `` is not one of hi, en"),
        (["--format", ""], "--format : `` is not one of pdf, html, xlsx, csv"),
        (["--format", "doc"], "--format doc: `doc` is not one of pdf, html, xlsx, csv"),
        (["drill", "nothing"], "no drill `nothing` in the database"),
        (["--week", "2026-W47", "send"], "--week: no option of `report` has an effect on"),
        (["--json", "drill", "nothing"], "--json: no option of `report` has an effect on"),
    ],
)
def test_wrong_usage_is_one_clear_line(
    config_file: Path, arguments: list[str], message: str
) -> None:
    """Every message names the option and what is right."""
    result = CliRunner().invoke(command.app, [*arguments, "--config", str(config_file)])
    assert isinstance(result.exception, UserError), result.output
    assert str(result.exception).startswith(message)


def test_a_report_makes_no_database(tmp_path: Path) -> None:
    """If the hub has never run, the report is an error and creates no file."""
    config = made_up_week.config(f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(StoreError, match=r"none\.db: there is no database yet"):
        read_drafts(config, WEEK, ["en"], MADE_AT)
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_is_killed_is_an_error() -> None:
    """If the system kills the process, for lack of memory, the caller gets one line."""
    with pytest.raises(WorkerError, match="its process ended with exit code 9"):
        in_own_process("os", "_exit", 9)


def test_a_worker_raises_the_error_of_its_function(made: MadeWeek) -> None:
    """An error in the other process is raised here, with the same type."""
    config = made_up_week.config("sqlite:////nowhere/none.db")
    with pytest.raises((UserError, StoreError), match=r"none\.db"):
        in_own_process(read_drafts.__module__, "read_drafts", config, WEEK, ["en"], MADE_AT)


def test_the_typesetting_process_loads_no_database() -> None:
    """The report's command loads neither the database's nor numeric libraries."""
    heavy = "{'sqlalchemy', 'numpy', 'jinja2', 'xlsxwriter', 'aiohttp', 'av'}"
    code = f"import sys, jharnet_monitor.commands.report; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("size", [6.0, 7.2, 8.4])
def test_a_trial_of_the_trend_is_as_high_as_the_trend(summary: Summary, size: float) -> None:
    """The size of the type of a page is found by trials; a wrong height would spoil the page."""
    [draft] = drafts(summary, ["hi"])
    assert draft.content["trend"]["rows"]
    sources = pdf._sources("weekly.typ", draft.content, ())
    sources["main.typ"] = f"""
        #import "tables.typ": *
        #let doc = json("report.json")
        #context {{
          let height(trial) = measure(
            trend-table(doc, doc.trend.rows, {size}pt, trial: trial), width: 17.6cm,
          ).height
          assert(height(false) > 3cm)
          assert.eq(height(true), height(false))
        }}""".encode()
    assert pdf._compile(sources, MADE_AT, None).startswith(b"%PDF")


@pytest.mark.parametrize("name", ["कार्यालय 7", "गोलमुरी-सह-जुगसलाई का उप-कार्यालय"])
def test_a_row_of_a_long_trend_is_as_high_as_one_of_a_short(summary: Summary, name: str) -> None:
    """The rows of a long table have a cell for all periods, and a given height where a name has
    one line; what is on a page must not depend on that."""
    [draft] = drafts(summary, ["hi"])
    sources = pdf._sources("weekly.typ", draft.content, ())
    sources["main.typ"] = f"""
        #import "tables.typ": *
        #let doc = json("report.json")
        #context {{
          let row = doc.trend.rows.first() + (office: "{name}")
          let height(n) = measure(trend-table(doc, (row,) * n, 8.2pt), width: 17.6cm).height
          let (one, short, long) = (height(23), height(24), height(25))
          assert(short - one > 14pt)
          assert(calc.abs((long - short) - (short - one)) < 0.01pt)
        }}""".encode()
    assert pdf._compile(sources, MADE_AT, None).startswith(b"%PDF")


def test_what_is_drawn_does_not_depend_on_the_alignment_around_it(summary: Summary) -> None:
    """In a cell whose text is centred, bars and sectors stand where they do elsewhere."""
    [draft] = drafts(summary, ["en"])
    sources = pdf._sources("weekly.typ", draft.content, ())

    def drawn(alignment: str) -> bytes:
        sources["main.typ"] = f"""
            #import "charts.typ": *
            #set page(width: 20pt, height: trend-height, margin: 0pt)
            #set align({alignment})
            #block(trend-drawing(((grade: 1, speed: 0.3),), 0.8, 20pt))""".encode()
        return pdf._compile(sources, MADE_AT, None, "png")

    assert drawn("right + horizon") == drawn("top + left") == drawn("bottom")


def test_papers_of_many_offices_are_made_in_processes_of_their_own(summary: Summary) -> None:
    """They are the same files, byte for byte; a draft that is passed on packed is as well."""
    [draft] = drafts(summary, ["hi"])
    assert not draft.many
    annex = draft.annexes[0]
    many = replace(draft, annexes=(replace(annex, rows=annex.rows * 3), *draft.annexes[1:]))
    assert many.many
    formats = ["pdf", "csv"]
    here = list(build._in_this_process(many, formats))
    assert len(here) == 3
    assert list(make([many], formats)) == here
    packed = PackedDraft.of(many)
    assert (packed.many, packed.unpacked()) == (True, many)
    assert list(make([packed], formats)) == here


def test_a_paper_whose_process_is_killed_is_an_error(
    summary: Summary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the system kills the process that sets a paper, the command says so and ends."""
    [draft] = drafts(summary, ["hi"])

    def killed(*_: object) -> bytes:
        raise WorkerError("its process ended with exit code -9")

    monkeypatch.setattr(build, "in_own_process", killed)
    with pytest.raises(TypesettingError, match=r"weekly-2026-W47\.hi: its process ended .* -9"):
        list(make([replace(PackedDraft.of(draft), many=True)], ["pdf"]))


def test_a_missing_template_is_an_error() -> None:
    """The message names the file."""
    with pytest.raises(TypesettingError, match=r"nothing\.typ: cannot be read"):
        render_pdf("nothing.typ", {}, MADE_AT)

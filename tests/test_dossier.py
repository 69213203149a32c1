"""The dossier: built from a real store, verified by deriving it again, and tamper-evident."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import resource
import sqlite3
import zipfile
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from docx import Document
from typer.testing import CliRunner

import jharnet_monitor
from jharnet_monitor.commands.dossier import app
from jharnet_monitor.dossier import form, papers
from jharnet_monitor.dossier.archive import csv_bytes, json_bytes
from jharnet_monitor.dossier.case import Case
from jharnet_monitor.dossier.claims import Claims
from jharnet_monitor.dossier.evidence import DossierEvidence
from jharnet_monitor.dossier.form import FormError
from jharnet_monitor.dossier.letter import letter
from jharnet_monitor.dossier.sealed import from_jsonl
from jharnet_monitor.dossier.settings import read_settings, settings
from jharnet_monitor.dossier.verify import verify
from jharnet_monitor.errors import UserError
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.judge.calendar.hours import in_office_hours
from jharnet_monitor.judge.calendar.period import date_range
from jharnet_monitor.model import OfficeState, format_utc
from jharnet_monitor.report.data.summary import Outage
from jharnet_monitor.store.export import ExportRow
from jharnet_monitor.store.tables import to_ms
from tests import made_up
from tests.dossier_support import MADE_AT, Filed, Forger, check, filed
from tests.made_up_week import WEEK, ZONE
from tests.made_up_week import drill as made_up_drill
from tests.pdf_text import pages_of, plain, text_of


def test_a_true_dossier_verifies(dossier: Path) -> None:
    """Hashes, chain, figures and documents are as claimed, and mailed roots are found."""
    with zipfile.ZipFile(dossier) as file:
        mailed = json.loads(file.read("chain/mailed-roots.json"))
    assert mailed
    found = verify(dossier, mailed[0]["root"], lambda _: None)
    assert found.problems == []
    assert found.records > 12_000 and found.figures > 100 and found.papers >= 11


def test_a_dossier_is_the_same_each_time(place: Filed, dossier: Path, tmp_path: Path) -> None:
    """Only `made_at` depends on when it was built."""
    place.build(tmp_path / "again.zip")
    first, again = Forger.of(dossier).files, Forger.of(tmp_path / "again.zip").files
    differing = {name for name in first if first[name] != again[name]}
    assert {name for name in differing if not name.startswith("working-copy/")} <= {"manifest.json"}


def test_claims_are_written_as_they_were_read(true: Forger) -> None:
    """Papers are set from the file alone: every figure in it is read, and no other."""
    written = true.json("claims.json")
    claims = Claims.from_json(written)
    assert json_bytes(claims.to_json()) == true.files["claims.json"]
    assert Claims.from_json(claims.to_json()) == claims
    assert claims.assessments.keys() == written["offices"].keys()


def test_the_form_of_the_claims_stays(true: Forger) -> None:
    """A dossier is verified for years, by programs later than the one that built it."""
    claims = true.json("claims.json")
    assert claims.keys() == {"offices", "district", "drills"}
    interval = {"value", "low", "high", "n", "days"}
    way = {"down", "up"}
    for office in claims["offices"].values():
        assert office.keys() == {
            "measurements", "conference", "latency", "availability", "retests", "days",
            "calls_suffice", "delivered", "loss", "outages", "by_day", "other", "need", "verdict",
            "verdicts", "doubts", "notes", "grounds", "slab", "holds",
        }  # fmt: skip
        assert office["conference"].keys() == {
            "grade", "tests", "missed", "outside_hours", "limited_by", "cause", "able",
        }  # fmt: skip
        assert office["latency"].keys() == {"p50", "p95", "jitter"}
        assert office["availability"].keys() == {
            "ratio", "without_power", "coverage", "worst", "best", "seconds", "outages",
        }  # fmt: skip
        assert office["outages"].keys() == {
            "total", "office", "incident", "nights", "off_seconds", "shared", "shared_seconds",
        }  # fmt: skip
        for time in ("total", "office"):
            assert office["outages"][time].keys() == {
                "known", "link", "power", "lan", "unexplained",
            }  # fmt: skip
        assert office["loss"].keys() == {
            "office", "night", "idle", "busy", "calls", "trains", "trains_night", "worst_day",
        }  # fmt: skip
        assert office["by_day"].keys() == {"full", "left", "carried", "capacity"}
        assert office["delivered"].keys() == office["other"].keys() == office["need"].keys() == way
        assert office["retests"].keys() == {"repeated", "first", "counted"}
        delivered, need = office["delivered"]["down"], office["need"]["down"]
        assert delivered.keys() == interval | {
            "basis", "contracted", "p5", "since", "short", "policed", "by_loss",
        }  # fmt: skip
        assert need.keys() == {"value", "low", "high", "measured", "at_least"}
        for figure in (office["loss"]["night"], office["latency"]["p50"], delivered["p5"]):
            assert figure.keys() == interval
    assert claims["district"].keys() == {
        "offices", "tested", "able", "measurements", "first", "last", "until", "verdicts",
    }  # fmt: skip


def test_a_drill_is_claimed_and_has_its_sheet(place: Filed, true: Forger) -> None:
    """How many took part and passed, as the record in the raw data says."""
    drill = made_up_drill(made_up.config(11))
    [claimed] = true.json("claims.json")["drills"]
    able = sum((office.grade or 0) >= 3 for office in drill.joined)
    assert claimed.pop("share")["value"] == pytest.approx(able / len(drill.joined))
    assert claimed == {
        "id": drill.id, "started_at": format_utc(drill.started_at), "offices": len(drill.offices),
        "joined": len(drill.joined), "able": able,
    }  # fmt: skip
    assert {f"drills/drill-{drill.id}.{language}.pdf" for language in LANGUAGES} <= set(true.files)


def test_a_record_that_is_no_drill_is_a_problem(place: Filed) -> None:
    """The raw data of a dossier may hold anything."""
    begin = to_ms(place.period.start)
    for body in ("[]", "{}", "null", '{"id": 1}', "{"):
        table = pa.table({"id": ["d"], "started_at": [begin], "body": [body]})
        with pytest.raises(FormError, match="a record of `drills` cannot be read"):
            DossierEvidence(place.config, place.period).add("drills", table)


def test_the_figures_are_those_of_the_measurements(place: Filed, true: Forger) -> None:
    """Counts and losses equal those computed from the database in another way."""
    claims = true.json("claims.json")
    office = place.config.offices[0].id
    calls = place.store.measurements(office=office, probe="conference")
    assert claims["offices"][office]["measurements"] == 22 * 288 + 22 * 12 + len(calls)
    sent, received = {True: 0.0, False: 0.0}, {True: 0.0, False: 0.0}
    for one in place.store.measurements(office=office, probe="latency"):
        minute = one.started_at.astimezone(ZONE)
        if minute.hour == 12 and minute.minute < 20:
            continue  # the outage of every day: what was lost then belongs to it
        inside = in_office_hours(place.config.district, one.started_at)
        sent[inside] += one.values["sent"]
        received[inside] += one.values["received"]
    for name, inside in (("office", True), ("night", False)):
        lost = 1 - received[inside] / sent[inside]
        assert claims["offices"][office]["loss"][name]["value"] == pytest.approx(lost)
    seconds = claims["offices"][office]["availability"]["seconds"]
    assert seconds["unreachable"] == 22 * 1200
    assert sum(seconds.values()) == pytest.approx(22 * 86400)


def test_letter_and_sheets_name_every_office(place: Filed, true: Forger) -> None:
    """The PDFs' text contains all names, in the order of a letter."""
    letter, sheets = (text_of(true.files[f"{name}.hi.pdf"]) for name in ("letter", "sheets"))
    for office in place.config.offices:
        assert plain(office.name_hi) in letter and plain(office.name_hi) in sheets
    order = ("कार्यालय,", "पत्रांक", "प्रेषक", "सेवामें", "विषय", "महाशय", "अनुलग्नक", "ज्ञापांक",
             "प्रतिलिपि")  # fmt: skip
    places = [letter.index(plain(word)) for word in order]
    assert places == sorted(places)
    english = text_of(true.files["letter.en.pdf"])
    assert all(plain(office.name) in english for office in place.config.offices)


def test_the_word_file_is_as_complete_as_the_letter(true: Forger) -> None:
    """The working copy has every line of the paper, in its order, signed at both places."""
    for language in LANGUAGES:
        document = Document(io.BytesIO(true.files[f"working-copy/letter.{language}.docx"]))
        letter_text = "\n".join(paragraph.text for paragraph in document.paragraphs)
        phrase = words(language)
        order = [phrase(f"dossier.letter.{name}") for name in
                 ("salutation", "basis", "evidence", "enclosures_head", "closing", "memo",
                  "copies_head")]  # fmt: skip
        places = [letter_text.index(text) for text in order]
        assert places == sorted(places)
        signatory = phrase("dossier.letter.signatory", place="…").split("|")[0]
        assert letter_text.count(f"\n{signatory}\n") == 2
        assert (phrase("dossier.letter.courtesy") in letter_text) is (language == "en")
        cells = [cell.text for row in document.tables[0].rows[1:] for cell in row.cells]
        paper = text_of(true.files[f"letter.{language}.pdf"])
        assert [
            text for cell in cells for text in cell.split("\n") if plain(text) not in paper
        ] == []


def test_a_table_of_a_made_up_district_says_so_in_each_row() -> None:
    """The lists of outages and faults are papers, too."""
    assert csv_bytes(("office",), [["potka"]], made_up=True) == b"office,made_up\npotka,yes\n"
    assert csv_bytes(("office",), [["potka"]]) == b"office\npotka\n"


def test_an_outage_from_before_the_period_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list has only what the period has of it, from its midnight on."""
    start, hour = WEEK.start, timedelta(hours=1)
    moments = [(start, start + hour), (start + 2 * hour, start + 3 * hour)]
    listed = [Outage("potka", OfficeState.LINK_DOWN, *each) for each in moments]
    monkeypatch.setattr(papers, "every_outage", lambda *_: listed)
    case: Any = SimpleNamespace(period=WEEK, zone=ZONE, until=WEEK.end,
                                evidence=SimpleNamespace(made_up=False))  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(papers._outages(case).decode())))
    assert [(row["seconds"], row["began_before"]) for row in rows] == [
        ("3600.000", "yes"), ("3600.000", "no"),
    ]  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_word_file_is_laid_out_as_the_letter(true: Forger, language: str) -> None:
    """The table fits between the margins with columns of their own widths, its head stands on every
    page, no row is cut, and what is bold is so in Devanagari, too. Dates stand at the right margin,
    and the request on the page of the signature.
    """
    document = Document(io.BytesIO(true.files[f"working-copy/letter.{language}.docx"]))
    [table], page = document.tables, document.sections[0]
    assert page.page_width and page.left_margin and page.right_margin
    between = page.page_width - page.left_margin - page.right_margin
    widths = [column.width or 0 for column in table.columns]
    assert sum(widths) == pytest.approx(between, rel=0.001) and len(set(widths)) > 3
    rows = [row._tr.xml for row in table.rows]
    assert ["w:tblHeader" in xml for xml in rows] == [True, *[False] * (len(rows) - 1)]
    assert all("w:cantSplit" in xml for xml in rows)
    runs = [run for paragraph in document.paragraphs for run in paragraph.runs]
    runs += [run for cell in table.rows[0].cells for run in cell.paragraphs[0].runs]
    assert any(run.bold for run in runs)
    assert all(bool(run.bold) is bool(run.font.cs_bold) for run in runs)
    dated = [one for one in document.paragraphs if "\t" in one.text]
    stops = [stop.position for one in dated for stop in one.paragraph_format.tab_stops]
    assert stops == [pytest.approx(between, rel=0.001)] * 2
    kept = [one.text for one in document.paragraphs if one.paragraph_format.keep_with_next]
    phrase = words(language)
    requests = {phrase(f"dossier.letter.{name}") for name in ("request", "for_information")}
    assert kept[0] in requests and phrase("dossier.letter.closing") in kept
    assert phrase("dossier.letter.copies_head") in kept


def test_the_raw_data_can_be_read_by_other_programs(true: Forger) -> None:
    """CSV by the standard library, Parquet with timestamps, both with every record."""
    rows = list(csv.DictReader(io.StringIO(true.files["data/bandwidth-01.csv"].decode())))
    table = pq.read_table(io.BytesIO(true.files["data/bandwidth-01.parquet"]))
    assert len(rows) == table.num_rows == 2 * 22 * 12
    assert table.schema.field("started_at").type.tz == "UTC"
    sums = true.files["SHA256SUMS"].decode()
    assert all(f"  {name}\n" in sums for name in true.files if name.startswith("data/"))


@pytest.mark.parametrize(
    ("name", "message"),
    [("data/latency-01.csv", "SHA-256"), ("letter.hi.pdf", "SHA-256"), ("claims.json", "SHA-256")],
)
def test_a_changed_byte_is_named(true: Forger, tmp_path: Path, name: str, message: str) -> None:
    """The first file that differs from the manifest is named."""
    content = bytearray(true.files[name])
    content[len(content) // 2] ^= 1
    true.files[name] = bytes(content)
    found = check(true, tmp_path)
    assert found.problems[0].startswith(name) and message in found.problems[0]


def test_a_changed_figure_is_named_even_with_new_hashes(true: Forger, tmp_path: Path) -> None:
    """The claim is derived again from the raw data, and reported with both figures."""
    claims = true.json("claims.json")
    office = next(iter(claims["offices"]))
    claims["offices"][office]["delivered"]["down"]["value"] *= 0.9
    true.set_json("claims.json", claims)
    true.rehash()
    found = check(true, tmp_path)
    assert found.problems[0].startswith(f"claims.json: offices.{office}.delivered.down.value:")


def test_a_changed_document_is_named(true: Forger, tmp_path: Path) -> None:
    """Another letter, with matching hashes, does not follow from the claims."""
    true.files["letter.hi.pdf"], true.files["sheets.hi.pdf"] = (
        true.files["letter.en.pdf"], true.files["sheets.hi.pdf"],
    )  # fmt: skip
    true.rehash()
    found = check(true, tmp_path)
    assert found.problems[0].startswith("letter.hi.pdf: says")


def test_changed_measurements_with_a_new_chain_contradict_the_claims(
    true: Forger, tmp_path: Path
) -> None:
    """Raw data, Parquet, chain and hashes are consistent; the figures are not."""
    claims = true.json("claims.json")
    office = next(iter(claims["offices"]))
    name = "data/bandwidth-01.csv"
    true.change_cells(
        name, "download_bits_per_second",
        lambda of, cell: repr(float(cell) / 2) if of == office else cell,
    )  # fmt: skip
    true.rechain(name)
    true.rehash()
    found = check(true, tmp_path)
    assert found.problems[0].startswith(f"claims.json: offices.{office}.")


def test_changed_measurements_without_a_new_chain_are_not_those_sealed(
    true: Forger, tmp_path: Path
) -> None:
    """Manifest and hashes are consistent; the chain is not."""
    true.change_cells("data/conference-01.csv", "grade", lambda _, cell: "0.0")
    true.rehash()
    found = check(true, tmp_path)
    assert "not those that were sealed" in found.problems[0]


def test_missing_measurements_are_detected(true: Forger, tmp_path: Path) -> None:
    """The chain shows that a file is missing even if its entry was removed, too."""
    manifest = true.json("manifest.json")
    manifest["data"] = [e for e in manifest["data"] if e["kind"] != "conference"]
    del true.files["data/conference-01.csv"], true.files["data/conference-01.parquet"]
    true.set_json("manifest.json", manifest)
    true.rehash()
    found = check(true, tmp_path)
    assert found.problems and "is not enclosed" in found.problems[0]


def test_a_chain_rebuilt_as_a_whole_is_caught_by_a_root_from_outside(
    tmp_path: Path, true: Forger
) -> None:
    """After changing the database and rebuilding all, only a mailed root does not fit."""
    mailed = true.json("chain/mailed-roots.json")[-1]["root"]
    place = filed(tmp_path, 2, 22)
    with sqlite3.connect(tmp_path / "2-22.db") as connection:
        connection.execute("delete from chunks")
        connection.execute("delete from mails")
        connection.execute("update measurements set duration = 31 where probe = 'conference'")
    place.build(tmp_path / "rebuilt.zip")
    place.store.close()
    assert verify(tmp_path / "rebuilt.zip", None, lambda _: None).problems == []
    problems = verify(tmp_path / "rebuilt.zip", mailed, lambda _: None).problems
    assert problems and problems[0].startswith("--root")


def test_a_root_protects_only_what_was_sealed_up_to_it(dossier: Path, true: Forger) -> None:
    """Verified with an early root, a dossier names the root's hour and warns, also in JSON; with
    the last root it does neither. The method paper gives none, for it must come from outside.
    """
    links = true.links()
    early, last = links[len(links) // 2], links[-1].root
    result = json.loads(_verified(dossier, early.root, "--json"))
    [note] = (
        one for one in result["notes"] if one.startswith("the given root is that of the hour")
    )
    assert f"{early.begin:%Y-%m-%d %H:%M} UTC" in note and result["ok"]
    warning = "a chain rebuilt after that hour cannot be ruled out"
    printed = _verified(dossier, early.root)
    assert note in printed and warning in printed
    printed = _verified(dossier, last)
    assert "the given root" not in printed and warning not in printed
    for language in LANGUAGES:
        assert plain("verify FILE.zip --root ROOT") in plain(
            text_of(true.files[f"method.{language}.pdf"])
        )


def _verified(dossier: Path, root: str, *options: str) -> str:
    """What the command prints of a dossier that verifies with a root."""
    run = CliRunner().invoke(app, ["verify", str(dossier), "--root", root, *options])
    assert run.exit_code == 0, run.output
    return run.stdout


def test_the_working_copy_is_not_verified(true: Forger, tmp_path: Path) -> None:
    """The DOCX may be edited."""
    true.files["working-copy/letter.hi.docx"] += b"edited"
    assert check(true, tmp_path).problems == []


def test_what_does_not_belong_is_rejected(true: Forger, tmp_path: Path) -> None:
    """An additional file, a name outside the directory, and a file that is not a ZIP archive."""
    more = true.copy()
    more.files["note.txt"] = b"?"
    more.rehash()
    assert check(more, tmp_path).problems == ["note.txt: does not belong in a dossier"]
    out = true.copy()
    out.files["../evil"] = b""
    assert "not a valid name of a file" in check(out, tmp_path).problems[0]
    data = true.copy()
    data.files["data/whatever.csv"] = b"a,b\n"
    data.rehash()
    assert check(data, tmp_path).problems == ["data/whatever.csv: does not belong in a dossier"]
    less = true.copy()
    del less.files["working-copy/letter.hi.docx"]
    less.rehash()
    assert check(less, tmp_path).problems == ["working-copy/letter.hi.docx: is missing"]
    (tmp_path / "no.zip").write_bytes(b"PK nothing")
    [problem] = verify(tmp_path / "no.zip", None, lambda _: None).problems
    assert problem == "no.zip: is not a ZIP archive, so not a dossier"


@pytest.mark.parametrize("name", ["manifest.json", "settings.json", "chain/links.jsonl"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"[" * 100_000, b"\xff\xfe", b'{"a":1}'])
def test_broken_parts_are_problems_not_crashes(
    true: Forger, tmp_path: Path, name: str, content: bytes
) -> None:
    """A dossier is untrusted input: it may contain anything."""
    true.files[name] = content
    if name != "manifest.json":
        true.rehash()
    assert check(true, tmp_path).problems


def test_settings_are_the_same_when_read_again() -> None:
    """The verifier uses exactly the thresholds and contracts of the hub."""
    config = made_up.config(11)
    again = read_settings(json.loads(json.dumps(settings(config))))
    assert again.capacity == config.capacity and again.thresholds == config.thresholds
    assert [o.link for o in again.offices] == [o.link for o in config.offices]
    assert again.district == config.district
    assert "token" not in json.dumps(settings(config))
    assert not {"agent", "snmp"} & set(settings(config)["offices"][0])


def test_any_text_survives_a_csv_cell() -> None:
    """Quotes, commas, line ends, empty texts and nulls give the sealed line again."""
    odd = ('a"b', "c,d", "e\nf", "", None, "कार्यालय", "g\\h")
    for text in odd:
        row = ExportRow((text, 1, 2, "x", 3))
        content = form.csv_head("windows", ()) + "".join(form.csv_lines([row], ()))
        line = form.lines(form.read(content.encode(), "windows"), "windows").to_pylist()[0]
        assert json.loads(line) == [text, 1, 2, "x", 3]


def test_a_period_without_sealed_records_is_an_error(place: Filed, tmp_path: Path) -> None:
    """Nothing is written, and the message gives the reason."""
    out = tmp_path / "none.zip"
    early = Filed(place.store, place.config, date_range("2020-01-01", "2020-01-31", ZONE))
    with pytest.raises(UserError, match="nothing of this period is sealed"):
        early.build(out)
    assert list(tmp_path.iterdir()) == []


def test_a_period_that_is_not_over_is_an_error(place: Filed, tmp_path: Path) -> None:
    """The message names the last possible day."""
    today = MADE_AT.astimezone(ZONE).date()
    over, far = today - timedelta(days=1), today + timedelta(days=30)
    for first, last, message in (
        (over, today, f"--to {today}: is not over yet"),
        (over, far, f"--to {far}: is not over yet"),
        (today, far, f"--from {today}: is not over yet"),
    ):
        early = Filed(place.store, place.config, date_range(str(first), str(last), ZONE))
        with pytest.raises(UserError, match=f"^{message}; .* the last is {over}$"):
            early.build(tmp_path / "none.zip")
    assert list(tmp_path.iterdir()) == []
    assert place.period.days[-1] == over


def test_a_full_disk_leaves_no_partial_dossier(place: Filed, tmp_path: Path) -> None:
    """The error gives the system's reason, and no file remains."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, before[1]))
    try:
        with pytest.raises(UserError, match=r"d\.zip: cannot be written: File too large"):
            place.build(tmp_path / "d.zip")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("limit", "paragraph"),
    [("delay", "short"), ("host", "short"), ("loss", "unproven"), (None, "unproven")],
)
def test_the_letter_if_only_the_conference_falls_short(
    place: Filed, true: Forger, limit: str | None, paragraph: str
) -> None:
    """It asks for no more speed, does not call the block well served, and says that the cause lies
    elsewhere only if something else limited the calls.
    """
    config = read_settings(true.json("settings.json"))
    claims = true.json("claims.json")
    names = list(claims["offices"])
    claims["district"]["verdicts"] = {
        verdict: names if verdict == "nothing" else [] for verdict in claims["district"]["verdicts"]
    }
    claims["offices"][names[0]]["conference"] |= {"grade": 0, "cause": None}
    claims["offices"][names[0]]["conference"]["limited_by"] = limit
    claims["offices"][names[1]]["conference"]["grade"] = 4
    evidence = DossierEvidence(config, place.period)
    links = from_jsonl(true.files["chain/links.jsonl"])
    case = Case(
        config, place.period, MADE_AT, MADE_AT, Claims.from_json(claims), evidence, links, [], ""
    )
    for language in LANGUAGES:
        phrase = words(language)
        body = letter(case, phrase)["body"]
        of = {office.id: formats.office_name(office, phrase) for office in config.offices}
        assert phrase(f"dossier.letter.nothing_{paragraph}", names=of[names[0]]) in body
        assert phrase("dossier.letter.nothing", names=of[names[1]]) in body


def test_the_letter_blames_by_reason_and_time(place: Filed, true: Forger) -> None:
    """Speed, the operator's core, loss by day and a contract that is kept have each their own
    paragraph, and only a broken contract is called one.
    """
    config = read_settings(true.json("settings.json"))
    grounds = (
        ("repair", "speed", "always", "repair"),
        ("repair", "down", "always", "repair_down"),
        ("repair", "core", "office_hours", "repair_core"),
        ("line_quality", "loss", "office_hours", "line_quality_office_hours_only"),
        ("need_not_met", "speed", "always", "need_not_met"),
    )
    for verdict, reason, condition, paragraph in grounds:
        claims = true.json("claims.json")
        names = list(claims["offices"])
        claims["district"]["verdicts"] = {
            name: names if name == verdict else [] for name in claims["district"]["verdicts"]
        }
        for office in claims["offices"].values():
            ground = {"verdict": verdict, "reason": reason, "condition": condition}
            office |= {"verdict": verdict, "verdicts": [verdict], "grounds": [ground]}
        evidence = DossierEvidence(config, place.period)
        links = from_jsonl(true.files["chain/links.jsonl"])
        case = Case(
            config, place.period, MADE_AT, MADE_AT, Claims.from_json(claims), evidence, links, [],
            "",
        )  # fmt: skip
        for language in LANGUAGES:
            phrase = words(language)
            offices = (formats.office_name(office, phrase) for office in config.offices)
            text = phrase(f"dossier.letter.{paragraph}", names=formats.list_of(offices, phrase))
            assert text in letter(case, phrase)["body"]


def test_the_command_line_builds_and_verifies(place: Filed, tmp_path: Path, dossier: Path) -> None:
    """Exit code 0 for a true dossier, 1 for a forged one, and one line for wrong usage."""
    run = CliRunner().invoke(app, ["verify", str(dossier), "--json"])
    result: dict[str, Any] = json.loads(run.stdout)
    assert (run.exit_code, result["ok"], result["exact"]) == (0, True, True)
    forged = Forger.of(dossier)
    forged.files["outages.csv"] = b""
    forged.write(tmp_path / "forged.zip")
    run = CliRunner().invoke(app, ["verify", str(tmp_path / "forged.zip")])
    assert run.exit_code == 1 and "outages.csv" in run.stdout
    run = CliRunner().invoke(app, ["verify", str(dossier), "--root", "abc"])
    assert isinstance(run.exception, UserError)
    assert MADE_AT - place.period.end == timedelta(hours=8)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_certificate_has_every_phrase_of_the_schedule(true: Forger, language: str) -> None:
    """Each phrase, box and line of the form in the help stands in its part of the paper, in the
    order of the form; the hash value is that of the hash report, by the ticked algorithm.
    """
    first, second = pages_of(true.files[f"certificate.{language}.pdf"])
    form_ = (Path(jharnet_monitor.__file__).parent / "help/certificate.md").read_text("utf-8")
    rows = [line.strip("| ").split(" | ") for line in form_.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if row[0] in ("A", "B", "A, B")]
    assert len(rows) == 34
    value = hashlib.sha256(true.files["SHA256SUMS"]).hexdigest()
    for part, text in (("A", first), ("B", second)):
        at = 0
        for parts, english, hindi in rows:
            phrase = english if language == "en" else hindi
            pieces = [plain(piece) for piece in phrase.split("____")]
            if part not in parts:
                assert max(pieces, key=len) not in text, (part, phrase)
                continue
            for piece in filter(None, pieces):
                assert piece in text[at:], (part, piece)
                at = text.index(piece, at) + len(piece)
        assert value in text and "XSHA256:" in text

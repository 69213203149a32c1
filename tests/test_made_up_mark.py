"""Every file of a made-up district says so, and the verifier misses a mark that is gone."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pyarrow.parquet as pq
import pytest
from docx import Document
from pypdf import PdfReader

from jharnet_monitor.i18n.words import LANGUAGES, words
from tests.dossier_support import Forger, check
from tests.made_up_past import Past
from tests.pdf_text import pages_of, plain

NOTICES = {language: words(language)("made_up.told") for language in LANGUAGES}
COLUMNS = {"made_up", *(words(language)("made_up.column") for language in LANGUAGES)}
SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
YES = {"yes", *(words(language)("made_up.yes") for language in LANGUAGES)}


def test_every_file_says_that_it_is_made_up(past: Past) -> None:
    """Each page in its language, each row, each sheet, each file attached to a paper; a kind of
    file of which it is not known where the mark is counts as unmarked.
    """
    kinds = {Path(name).suffix for name in past.files}
    assert kinds >= {".pdf", ".html", ".csv", ".xlsx", ".parquet", ".json", ".jsonl", ".docx", ""}
    assert sum(name.startswith("dossier/data/") for name in past.files) >= 12
    unmarked = [
        f"{name}: {part}"
        for name, content in past.files.items()
        for part in _unmarked(name, content)
    ]
    assert unmarked == []


def _unmarked(name: str, content: bytes) -> Iterable[str]:
    """The parts of a file without the mark."""
    kind = Path(name).suffix if name != "dossier/SHA256SUMS" else "sums"
    reads: dict[str, Callable[[bytes], Iterable[str]]] = {
        ".pdf": partial(_pdf, _notice(name)), ".html": _html, ".csv": _csv, ".xlsx": _xlsx,
        ".parquet": _parquet, ".json": _json, ".jsonl": _jsonl, ".docx": _docx, "sums": _sums,
    }  # fmt: skip
    return reads[kind](content) if kind in reads else ["an unknown kind of file"]


def _notice(name: str) -> str:
    """The mark in the language of a file such as `letter.hi.pdf`."""
    return next((NOTICES[one] for one in LANGUAGES if f".{one}." in name), "")


def _pdf(notice: str, content: bytes) -> Iterator[str]:
    for number, page in enumerate(pages_of(content), 1):
        if not notice or plain(notice) not in page:
            yield f"page {number}"
    for name, [attached] in PdfReader(io.BytesIO(content)).attachments.items():
        yield from (f"{name}: {part}" for part in _unmarked(name, attached))


def _html(content: bytes) -> list[str]:
    return [] if any(notice in content.decode() for notice in NOTICES.values()) else ["the page"]


def _csv(content: bytes) -> Iterator[str]:
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
    return _table(rows[0], rows[1:])


def _parquet(content: bytes) -> Iterator[str]:
    table = pq.read_table(io.BytesIO(content))
    return _table(table.column_names, [list(row.values()) for row in table.to_pylist()])


def _xlsx(content: bytes) -> Iterator[str]:
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        texts = [
            "".join(text.text or "" for text in one.iter(f"{SHEET}t"))
            for one in _xml(book, "xl/sharedStrings.xml")
        ]
        sheets = [name for name in book.namelist() if name.startswith("xl/worksheets/")]
        for name in sheets:
            head, *rows = (
                {_column(cell): _value(cell, texts) for cell in row}
                for row in _xml(book, name).iter(f"{SHEET}row")
            )
            filled = [[row.get(column) for column in head] for row in rows]
            yield from (f"{name}: {part}" for part in _table(list(head.values()), filled))


def _xml(book: zipfile.ZipFile, name: str) -> Element:
    return ElementTree.fromstring(book.read(name))  # noqa: S314 - this program's own file


def _column(cell: Element) -> str:
    """Its letters; a row of the file leaves empty cells out."""
    return cell.attrib["r"].rstrip("0123456789")


def _value(cell: Element, texts: list[str]) -> str | None:
    value = cell.findtext(f"{SHEET}v")
    return texts[int(value)] if value is not None and cell.get("t") == "s" else value


def _table(head: list[Any], rows: list[list[Any]]) -> Iterator[str]:
    """A column of its own, or an object among the cells that says it; without rows, the column."""
    place = next((number for number, name in enumerate(head) if name in COLUMNS), None)
    if place is None and not rows:
        yield "the head"
    for number, row in enumerate(rows, 1):
        marked = row[place] in YES if place is not None else any(map(_says, row))
        if not marked:
            yield f"row {number}"


def _says(cell: Any) -> bool:
    if not isinstance(cell, str) or not cell.startswith("{"):
        return False
    return json.loads(cell).get("made_up") is True


def _json(content: bytes) -> list[str]:
    data = json.loads(content)
    return [] if isinstance(data, dict) and data.get("made_up") is True else ["the object"]


def _jsonl(content: bytes) -> Iterator[str]:
    for number, line in enumerate(content.splitlines(), 1):
        yield from (f"line {number}" for _ in _json(line))


def _docx(content: bytes) -> list[str]:
    sections = Document(io.BytesIO(content)).sections
    heads = ["".join(p.text for p in section.header.paragraphs) for section in sections]
    return [
        f"section {n}"
        for n, head in enumerate(heads, 1)
        if not any(t in head for t in NOTICES.values())
    ]


def _sums(content: bytes) -> list[str]:
    first = content.decode().partition("\n")[0]
    return [] if first in {f"# {notice}" for notice in NOTICES.values()} else ["the first line"]


def test_a_made_up_dossier_verifies(past: Past, tmp_path: Path) -> None:
    """With the mark everywhere, nothing differs from what the verifier makes again."""
    assert check(Forger.of(past.dossier), tmp_path).problems == []


def _without_key(name: str) -> Callable[[Forger], None]:
    def take_off(at: Forger) -> None:
        data = at.json(name)
        del data["made_up"]
        at.set_json(name, data)

    return take_off


def _bare_mails(at: Forger) -> None:
    at.set_json("chain/mailed-roots.json", at.json("chain/mailed-roots.json")["mails"])


def _bare_links(at: Forger) -> None:
    rows = at.files["chain/links.jsonl"].replace(b', "made_up": true', b"")
    at.files["chain/links.jsonl"] = rows


def _bare_roots(at: Forger) -> None:
    rows = at.files["chain/daily-roots.csv"].decode().splitlines()
    bare = [row.rpartition(",")[0] for row in rows]
    at.files["chain/daily-roots.csv"] = ("\n".join(bare) + "\n").encode()


def _bare_states(at: Forger) -> None:
    name = "data/transitions-01.csv"
    at.set_rows(name, [row.replace('"{""made_up"":true}"', "{}") for row in at.rows(name)])


@pytest.mark.parametrize(
    ("take_off", "named"),
    [
        (_without_key("manifest.json"), "manifest.json: does not say"),
        (_without_key("settings.json"), "settings.json: does not say"),
        (_without_key("claims.json"), "claims.json: made_up: is not claimed"),
        (_bare_mails, "chain/mailed-roots.json: does not say"),
        (_bare_links, "chain/links.jsonl: does not say"),
        (_bare_roots, "chain/daily-roots.csv: "),
        (_bare_states, "data/transitions-01.csv: records 1 to "),
    ],
)
def test_a_mark_that_is_taken_off_is_missed(
    past: Past, tmp_path: Path, take_off: Callable[[Forger], None], named: str
) -> None:
    """Although all hashes of the file are made to fit again."""
    forger = Forger.of(past.dossier)
    before = dict(forger.files)
    take_off(forger)
    assert forger.files != before
    forger.rehash()
    assert check(forger, tmp_path).problems[0].startswith(named)


def test_measured_data_are_not_called_made_up(true: Forger, tmp_path: Path) -> None:
    """Nor can a dossier be disowned by a mark that its records do not have."""
    true.rehash()
    manifest = true.json("manifest.json")
    true.set_json("manifest.json", manifest | {"made_up": True})
    found = check(true, tmp_path)
    assert found.problems[0].startswith("manifest.json: says that the data are made up")

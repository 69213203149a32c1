"""Checks the state's table, and a report against the signed weeks that are attached to it."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pypdf
from pypdf.errors import PyPdfError

from jharnet_monitor.config.state_file import StateFile
from jharnet_monitor.errors import UserError
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.judge.calendar.period import week as week_named
from jharnet_monitor.model import parse_utc
from jharnet_monitor.security.signing import fingerprint
from jharnet_monitor.state.paper import ABOUT, WEEKS, ReportBasis, basis_of, make_report
from jharnet_monitor.state.table import HeldWeek
from jharnet_monitor.state.week import MOST_BYTES, ZONE, SignedWeek

MOST_REPORT_BYTES = 100_000_000
_DAMAGED = (PyPdfError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
            RecursionError, OSError)  # fmt: skip
"""What pypdf raises that reads a file which no program wrote."""
_TABLES = tuple(f"{name}.csv" for name in ("districts", "offices"))


def check_rows(state: StateFile, rows: Iterator[HeldWeek]) -> tuple[int, list[str]]:
    """Check rows of the table; returns their number and the problems found."""
    count, problems = 0, list[str]()
    for row in rows:
        count += 1
        problems += [f"number {row.number}: {text}" for text in _problems_of(state, row)]
    return count, problems


def _problems_of(state: StateFile, row: HeldWeek) -> Iterator[str]:
    key = row.signed.key_among(state.keys_of(row.district))
    if key is None:
        yield f"is not signed with a registered key of {row.district}"
    elif fingerprint(key) != row.key:
        yield f"is signed with another key than {row.key}"
    if row.signed.sha256 != row.sha256:
        yield "its hash does not match its text"
    try:
        week = row.signed.read()
    except UserError as error:
        yield str(error)
        return
    signed = (week.district, week.week, week.made)
    if signed != (row.district, row.week, row.made_at):
        yield "its district, week or time differs from the signed text"


def check_report(state: StateFile, file: Path) -> tuple[ReportBasis, list[str]]:
    """Make a report again from the signed weeks attached to it, and compare.

    Returns the report's basis and the problems found. Raises `UserError` for a file that is no
    report of the state.
    """
    data = _read(file)
    reader = _reader(file, data)
    attachments = _attachments(file, reader)
    csv.field_size_limit(min(sys.maxsize, 4 * MOST_BYTES))
    basis, language = _basis(file, attachments)
    problems = list(_unsigned(state, basis))
    try:
        again = make_report(state, basis, words(language)).content
    except UserError as error:
        return basis, [*problems, f"it cannot be made again: {error}"]
    if again == data:
        return basis, problems
    other = _reader(file, again)
    made = _attachments(file, other)
    problems += [f"{name}: differs from the signed weeks" for name in _TABLES
                 if attachments.get(name) != made[name]]  # fmt: skip
    try:
        problems += list(_different_pages(reader, other))
    except _DAMAGED as error:
        problems.append(f"its pages cannot be read: {error}")
    return basis, problems


def _different_pages(report: pypdf.PdfReader, again: pypdf.PdfReader) -> Iterator[str]:
    if len(report.pages) != len(again.pages):
        yield f"has {len(report.pages)} pages, and {len(again.pages)} follow from the signed weeks"
    for number, (one, other) in enumerate(zip(report.pages, again.pages, strict=False), 1):
        if one.extract_text() != other.extract_text():
            yield f"page {number}: differs from what follows from the signed weeks"


def _unsigned(state: StateFile, basis: ReportBasis) -> Iterator[str]:
    before = week_named(basis.week, ZONE).before().name
    for name, weeks in ((basis.week, basis.weeks), (before, basis.before)):
        for district, one in weeks.items():
            if one.key_among(state.keys_of(district)) is None:
                yield f"{district}: no registered key of the district signed its week"
                continue
            signed = one.read()
            if (signed.district, signed.week) != (district, name):
                yield f"{district}: the signed week is {signed.week} of {signed.district}"


def _basis(file: Path, attachments: dict[str, bytes]) -> tuple[ReportBasis, str]:
    try:
        [about] = csv.DictReader(io.StringIO(attachments[ABOUT].decode()))
        made_at: datetime = parse_utc(about["made_at"])
        language = about["language"]
        if language not in LANGUAGES:
            raise UserError(f"{file}: is in an unknown language: {language[:20]}")
        rows = [
            (row["district"], row["week"],
             SignedWeek(body=row["body"], signature=row["signature"]))
            for row in csv.DictReader(io.StringIO(attachments[WEEKS].decode()))
        ]  # fmt: skip
        return basis_of(about["week"], made_at, rows), language
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise UserError(
            f"{file}: is no report of the state: its attachments are invalid"
        ) from error


def _read(file: Path) -> bytes:
    try:
        if file.stat().st_size > MOST_REPORT_BYTES:
            raise UserError(f"{file}: is too large for a report")
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from error


def _reader(file: Path, data: bytes) -> pypdf.PdfReader:
    try:
        return pypdf.PdfReader(io.BytesIO(data))
    except _DAMAGED as error:
        raise UserError(f"{file}: is no PDF") from error


def _attachments(file: Path, reader: pypdf.PdfReader) -> dict[str, bytes]:
    try:
        return {name.rsplit("/", 1)[-1]: parts[0] for name, parts in reader.attachments.items()}
    except _DAMAGED as error:
        raise UserError(f"{file}: its attachments cannot be read") from error

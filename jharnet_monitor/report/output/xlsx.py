"""The annexes as one XLSX workbook, one sheet per table."""

from __future__ import annotations

import io
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from jharnet_monitor.report.output.draft import Annex

if TYPE_CHECKING:
    import xlsxwriter

_MAX_WIDTH = 34
"""Widest column, in characters."""


def workbook(annexes: Iterable[Annex], title: str, made_at: datetime) -> bytes:
    """A workbook of the annexes; texts never become formulas or links."""
    import xlsxwriter  # noqa: PLC0415 - slow to load, and only needed here

    buffer = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    book = xlsxwriter.Workbook(buffer, options)
    book.set_properties(
        {"title": title, "author": "jharnet-monitor", "created": made_at.replace(tzinfo=None)}
    )
    bold = book.add_format({"bold": True, "bottom": 1, "text_wrap": True, "valign": "top"})
    for annex in annexes:
        _sheet(book, annex, bold)
    book.close()
    return buffer.getvalue()


def _sheet(book: xlsxwriter.Workbook, annex: Annex, bold: xlsxwriter.workbook.Format) -> None:
    sheet = book.add_worksheet(annex.title)
    sheet.write_row(0, 0, annex.headings, bold)
    for number, row in enumerate(annex.rows, start=1):
        sheet.write_row(number, 0, row)
    for column in range(len(annex.headings)):
        longest = max((len(str(row[column])) for row in annex.rows), default=0)
        sheet.set_column(column, column, min(max(longest + 2, 11), _MAX_WIDTH))
    sheet.freeze_panes(1, 1)
    if annex.rows:
        sheet.autofilter(0, 0, len(annex.rows), len(annex.headings) - 1)

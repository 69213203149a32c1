"""The annexes as one XLSX workbook, a sheet a table."""

from __future__ import annotations

import io
from datetime import datetime
from typing import TYPE_CHECKING

from jharnet_monitor.report.annex import Table, headings
from jharnet_monitor.report.words import Words

if TYPE_CHECKING:
    import xlsxwriter

_WIDEST = 34


def workbook(tables: list[Table], title: str, made_at: datetime, words: Words) -> bytes:
    """A workbook of the tables. Text stays text: nothing in it can act as a formula or a link."""
    import xlsxwriter  # noqa: PLC0415 - slow to load, and only needed here

    buffer = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    book = xlsxwriter.Workbook(buffer, options)
    book.set_properties(
        {"title": title, "author": "jharnet-monitor", "created": made_at.replace(tzinfo=None)}
    )
    bold = book.add_format({"bold": True, "bottom": 1, "text_wrap": True, "valign": "top"})
    for table in tables:
        _sheet(book, table, bold, words)
    book.close()
    return buffer.getvalue()


def _sheet(
    book: xlsxwriter.Workbook, table: Table, bold: xlsxwriter.workbook.Format, words: Words
) -> None:
    sheet = book.add_worksheet(words(f"annex.sheet.{table.name}"))
    sheet.write_row(0, 0, headings(table, words), bold)
    for number, row in enumerate(table.rows, start=1):
        sheet.write_row(number, 0, row)
    for column in range(len(table.columns)):
        longest = max((len(str(row[column])) for row in table.rows), default=0)
        sheet.set_column(column, column, min(max(longest + 2, 11), _WIDEST))
    sheet.freeze_panes(1, 1)
    if table.rows:
        sheet.autofilter(0, 0, len(table.rows), len(table.columns) - 1)

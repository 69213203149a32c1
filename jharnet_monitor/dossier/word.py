"""The letter as DOCX: a working copy for editing, which is not verified."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from docx import Document
from docx.enum.text import WD_ALIGN_PARAGRAPH, WD_TAB_ALIGNMENT
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Cm, Pt

from jharnet_monitor.dossier.case import Case
from jharnet_monitor.dossier.letter import letter
from jharnet_monitor.i18n.words import LANGUAGES, words

FONT = "Noto Sans Devanagari"
_WIDTHS = (1.0, 2.4, 1.7, 3.6, 1.9, 2.2, 2.2, 2.2)
"""Of the table's columns, in cm: together the width between the margins."""
_MARGIN = 1.9


def working_copies(case: Case) -> list[tuple[str, bytes]]:
    """File name and content of the letter in each language."""
    return [
        (f"letter.{language}.docx", document(letter(case, words(language)), case))
        for language in LANGUAGES
    ]


def document(doc: Mapping[str, Any], case: Case) -> bytes:
    """The letter's content (`letter.letter`) as a Word file."""
    file = Document()
    _style(file)
    file.core_properties.title = doc["title"]
    file.core_properties.author = doc["author"]
    file.core_properties.created = case.made_at.replace(tzinfo=None)
    if doc["made_up"]:
        for section in file.sections:
            _bold(section.header.paragraphs[0].add_run(doc["made_up"][1]), bold=True)
    if doc["courtesy"]:
        _line(file, doc["courtesy"], align=WD_ALIGN_PARAGRAPH.RIGHT)
    for line in doc["office"]:
        _line(file, line, bold=True, align=WD_ALIGN_PARAGRAPH.CENTER)
    _number(file, doc["number"], doc["date"])
    _line(file, doc["from"])
    _lines(file, doc["sender"], indent=1)
    _line(file, doc["to_head"])
    _lines(file, doc["to"], indent=1)
    _line(file, " ".join(doc["subject"]), bold=True)
    if doc["references"]:
        _line(file, doc["reference_head"])
        for number, text in enumerate(doc["references"], 1):
            _line(file, f"({number}) {text}", indent=1)
    _line(file, doc["salutation"])
    table = doc["table"]
    for text in filter(None, (*doc["opening"], table["text"])):
        _paragraph(file, text)
    if table["rows"] and not table["after"]:
        _table(file, table)
    for text in doc["body"]:
        _paragraph(file, text)
    before = len(file.paragraphs)
    _paragraph(file, doc["request"])
    _line(file, doc["enclosures_head"])
    for number, text in enumerate(doc["enclosures"], 1):
        _line(file, f"{number}. {text}", indent=1)
    _signature(file, [doc["closing"], ""], doc["signatory"])
    _keep_together(file, before)  # nobody signs a page without the request
    before = len(file.paragraphs)
    _number(file, doc["memo"], doc["date"])
    _line(file, doc["copies_head"])
    _lines(file, doc["copies"], indent=1)
    _signature(file, [""], doc["signatory"])
    _keep_together(file, before)  # nor one without the copies
    if table["after"]:
        _table_after(file, table)
    out = io.BytesIO()
    file.save(out)
    return out.getvalue()


def _style(file: Any) -> None:
    """Set the font for both scripts, and A4."""
    style = file.styles["Normal"]
    style.font.name = FONT
    _size(style, 10.5)
    fonts = style.element.get_or_add_rPr().get_or_add_rFonts()
    for script in ("w:ascii", "w:hAnsi", "w:cs", "w:eastAsia"):
        fonts.set(qn(script), FONT)
    page = file.sections[0]
    page.page_width, page.page_height = Cm(21), Cm(29.7)
    page.left_margin = page.right_margin = Cm(_MARGIN)


def _line(
    file: Any, text: str, *, bold: bool = False, indent: float = 0, align: Any = None
) -> None:
    paragraph = file.add_paragraph()
    paragraph.paragraph_format.space_after = Pt(2)
    paragraph.paragraph_format.left_indent = Cm(indent)
    if align is not None:
        paragraph.alignment = align
    _bold(paragraph.add_run(text), bold=bold)


def _bold(run: Any, *, bold: bool) -> None:
    """Bold in both scripts: Word keeps a setting of its own for Devanagari."""
    run.bold = run.font.cs_bold = bold


def _size(styled: Any, points: float) -> None:
    """The size in both scripts."""
    styled.font.size = Pt(points)
    element = OxmlElement("w:szCs")
    element.set(qn("w:val"), str(round(2 * points)))
    size = styled._element.get_or_add_rPr().find(qn("w:sz"))
    size.addnext(element)


def _lines(file: Any, lines: Sequence[str], indent: float) -> None:
    for line in lines:
        _line(file, line, indent=indent)


def _signature(file: Any, above: Sequence[str], signatory: Sequence[str]) -> None:
    """Room to sign, at the right, with the designation below."""
    for line in (*above, "", *signatory):
        _line(file, line, align=WD_ALIGN_PARAGRAPH.RIGHT)


def _keep_together(file: Any, first: int) -> None:
    """Keep the paragraphs from this one to the last on one page."""
    for paragraph in file.paragraphs[first:-1]:
        paragraph.paragraph_format.keep_with_next = True


def _paragraph(file: Any, text: str) -> None:
    paragraph = file.add_paragraph(text)
    paragraph.paragraph_format.first_line_indent = Cm(1)
    paragraph.alignment = WD_ALIGN_PARAGRAPH.JUSTIFY


def _number(file: Any, number: Sequence[str], date: Sequence[str]) -> None:
    _line(file, f"{number[0]} {number[1]}\t{date[0]} {date[1]}")
    stops = file.paragraphs[-1].paragraph_format.tab_stops
    stops.add_tab_stop(Cm(sum(_WIDTHS)), WD_TAB_ALIGNMENT.RIGHT)


def _table(file: Any, table: Mapping[str, Any]) -> None:
    grid = file.add_table(rows=1, cols=len(table["head"]), style="Table Grid")
    grid.autofit = False
    for cell, head in zip(grid.rows[0].cells, table["head"], strict=True):
        _cell(cell, head, bold=True)
    _row_rule(grid.rows[0], "w:tblHeader")  # on every page
    for number, entry in enumerate(table["rows"], 1):
        texts = (
            [str(number)], [entry["office"]], [entry["contracted"]],
            [*entry["delivered"], *entry["rests"]], [entry["need"], entry["other"]],
            [entry["conference"], entry["tests"]], [entry["availability"], entry["covers"]],
            [entry["verdict"]],
        )  # fmt: skip
        for cell, lines in zip(grid.add_row().cells, texts, strict=True):
            _cell(cell, "\n".join(line for line in lines if line), bold=lines is texts[-1])
    for row in grid.rows:
        _row_rule(row, "w:cantSplit")
        for cell, width in zip(row.cells, _WIDTHS, strict=True):
            cell.width = Cm(width)
    for column, width in zip(grid.columns, _WIDTHS, strict=True):
        column.width = Cm(width)
    file.add_paragraph().paragraph_format.space_after = Pt(0)


def _table_after(file: Any, table: Mapping[str, Any]) -> None:
    """The table on pages of its own, below its title."""
    file.add_page_break()
    _line(file, table["title"], bold=True)
    _table(file, table)


def _row_rule(row: Any, name: str) -> None:
    row._tr.get_or_add_trPr().append(OxmlElement(name))


def _cell(cell: Any, text: str, *, bold: bool = False) -> None:
    paragraph = cell.paragraphs[0]
    # Vowel signs stand above the line; they must not touch the border.
    paragraph.paragraph_format.space_before, paragraph.paragraph_format.space_after = Pt(2), Pt(1)
    run = paragraph.add_run(text)
    _bold(run, bold=bold)
    _size(run, 7.5)

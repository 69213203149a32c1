"""Makes the files of a report from its drafts: one per language and format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from jharnet_monitor.report.output.draft import FORM, Draft
from jharnet_monitor.report.output.files import OutputFile
from jharnet_monitor.report.output.html import render_html
from jharnet_monitor.report.output.pdf import Attachment, render_pdf
from jharnet_monitor.report.output.xlsx import workbook


def _pdf(draft: Draft) -> bytes:
    """The PDF, with the annexes attached as CSV files."""
    attached = [Attachment(f"{each.name}.csv", each.title, each.csv) for each in draft.annexes]
    return render_pdf("weekly.typ", draft.content, draft.made_at, attached)


def _html(draft: Draft) -> bytes:
    return render_html("weekly.html.j2", draft.content)


def _xlsx(draft: Draft) -> bytes:
    return workbook(draft.annexes, draft.content["title"], draft.made_at)


def _csv(draft: Draft) -> bytes:
    """The first annex: one row per office."""
    return draft.annexes[0].csv


def _form(draft: Draft) -> bytes:
    """The table of the state's e-Office assessment."""
    return next(each.csv for each in draft.annexes if each.name == FORM)


FORMATS: dict[str, Callable[[Draft], bytes]] = {
    "pdf": _pdf,
    "html": _html,
    "xlsx": _xlsx,
    "csv": _csv,
    "form.csv": _form,
}
"""Renders a draft, by the extension of the file."""


def make(drafts: Iterable[Draft], formats: Sequence[str]) -> Iterator[OutputFile]:
    """Render every file of a report, one after the other; raises `TypesettingError`."""
    for draft in drafts:
        for ending in formats:
            name = f"{draft.stem}.{draft.language}.{ending}"
            yield OutputFile(name, draft.language, ending, FORMATS[ending](draft))

"""Makes the files of a report from its drafts: one per language and format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from jharnet_monitor.report.output.draft import FORM, Draft, annex_name
from jharnet_monitor.report.output.files import OutputFile
from jharnet_monitor.report.output.html import render_html
from jharnet_monitor.report.output.pdf import Attachment, render_pdf
from jharnet_monitor.report.output.xlsx import workbook


def _pdf(draft: Draft) -> bytes:
    """The report's four pages, with its tables attached as CSV files."""
    attached = [Attachment(f"{each.name}.csv", each.title, each.csv) for each in draft.annexes]
    return render_pdf("weekly.typ", draft.content, draft.made_at, attached)


def _annex(draft: Draft) -> bytes:
    return render_pdf("annex.typ", draft.content, draft.made_at)


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
    """Render every file of a report; raises `TypesettingError`. Typst sets the annex on a second
    core while it sets the report.
    """
    for draft in drafts:
        for ending in formats:
            name = f"{draft.stem}.{draft.language}.{ending}"
            if ending != "pdf":
                yield OutputFile(name, draft.language, ending, FORMATS[ending](draft))
                continue
            with ThreadPoolExecutor(1) as pool:
                annex = pool.submit(_annex, draft)
                yield OutputFile(name, draft.language, ending, _pdf(draft))
                name = annex_name(draft.stem, draft.language)
                yield OutputFile(name, draft.language, ending, annex.result())

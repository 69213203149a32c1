"""Makes the files of a report from its drafts: one per language and format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from jharnet_monitor.report.output.draft import FORM, Draft, PackedDraft, annex_name
from jharnet_monitor.report.output.files import OutputFile, TypesettingError
from jharnet_monitor.report.output.html import render_html
from jharnet_monitor.report.output.pdf import Attachment, render_pdf
from jharnet_monitor.report.output.worker import WorkerError, in_own_process
from jharnet_monitor.report.output.xlsx import workbook


def _pdf(draft: Draft) -> bytes:
    """The report's four pages, with its tables attached as CSV files."""
    attached = [Attachment(f"{each.name}.csv", each.title, each.csv) for each in draft.annexes]
    return render_pdf("weekly.typ", draft.content, draft.made_at, attached)


def _annex(draft: Draft) -> bytes:
    """Every figure, in a PDF of its own."""
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


def make(drafts: Iterable[Draft | PackedDraft], formats: Sequence[str]) -> Iterator[OutputFile]:
    """Render every file of a report; raises `TypesettingError`.

    Typst sets the annex on a second core while it sets the report. With many offices each file is
    made in a process of its own, one after the other: Typst keeps all memory that it took.
    """
    for draft in drafts:
        if draft.many:
            yield from _one_by_one(draft, formats)
        else:
            yield from _in_this_process(draft.unpacked(), formats)


def _in_this_process(draft: Draft, formats: Sequence[str]) -> Iterator[OutputFile]:
    with ThreadPoolExecutor(1) as pool:
        annex = pool.submit(_annex, draft) if "pdf" in formats else None
        for ending in formats:
            yield _file(draft, ending, FORMATS[ending](draft))
            if ending == "pdf" and annex is not None:
                yield _annex_file(draft, annex.result())


def _one_by_one(draft: Draft | PackedDraft, formats: Sequence[str]) -> Iterator[OutputFile]:
    try:
        for ending in formats:
            yield _file(draft, ending, in_own_process(__name__, "render", draft, ending))
            if ending == "pdf":
                yield _annex_file(draft, in_own_process(__name__, "render_annex", draft))
    except WorkerError as error:
        raise TypesettingError(f"{draft.stem}.{draft.language}: {error}") from None


def render(draft: Draft | PackedDraft, ending: str) -> bytes:
    """Render a draft, by the extension of the file; raises `TypesettingError`."""
    return FORMATS[ending](draft.unpacked())


def render_annex(draft: Draft | PackedDraft) -> bytes:
    """Render the annex of a draft as PDF; raises `TypesettingError`."""
    return _annex(draft.without_annexes())


def _file(draft: Draft | PackedDraft, ending: str, content: bytes) -> OutputFile:
    return OutputFile(f"{draft.stem}.{draft.language}.{ending}", draft.language, ending, content)


def _annex_file(draft: Draft | PackedDraft, content: bytes) -> OutputFile:
    return OutputFile(annex_name(draft.stem, draft.language), draft.language, "pdf", content)

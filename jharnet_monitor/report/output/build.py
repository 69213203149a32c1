"""Makes the files of a report: one a language and a format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from jharnet_monitor.report.output.draft import Draft
from jharnet_monitor.report.output.files import OutputFile
from jharnet_monitor.report.output.html import set_html
from jharnet_monitor.report.output.pdf import Attachment, set_pdf
from jharnet_monitor.report.output.xlsx import workbook


def _pdf(draft: Draft) -> bytes:
    """The paper, with the tables behind it attached."""
    attached = [Attachment(f"{one.name}.csv", one.title, one.csv) for one in draft.annexes]
    return set_pdf("weekly.typ", draft.content, draft.made_at, attached)


def _html(draft: Draft) -> bytes:
    return set_html("weekly.html.j2", draft.content)


def _xlsx(draft: Draft) -> bytes:
    return workbook(draft.annexes, draft.content["title"], draft.made_at)


def _csv(draft: Draft) -> bytes:
    """The figures of page one and more: a row an office."""
    return draft.annexes[0].csv


FORMATS: dict[str, Callable[[Draft], bytes]] = {
    "pdf": _pdf,
    "html": _html,
    "xlsx": _xlsx,
    "csv": _csv,
}
"""How a report is written, by the ending of its file."""


def make(drafts: Iterable[Draft], formats: Sequence[str]) -> Iterator[OutputFile]:
    """Every file of a report, one after the other; raises `TypesettingError`."""
    for draft in drafts:
        for ending in formats:
            name = f"{draft.stem}.{draft.language}.{ending}"
            yield OutputFile(name, draft.language, ending, FORMATS[ending](draft))

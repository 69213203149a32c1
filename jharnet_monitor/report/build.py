"""Makes the files of a report: one a language and a format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from jharnet_monitor.report.annex import as_csv, tables
from jharnet_monitor.report.content import content
from jharnet_monitor.report.files import Made
from jharnet_monitor.report.html import set_html
from jharnet_monitor.report.pdf import Attachment, set_pdf
from jharnet_monitor.report.summary import Summary
from jharnet_monitor.report.words import Words, words
from jharnet_monitor.report.xlsx import workbook


def _pdf(summary: Summary, language: Words) -> bytes:
    """The paper, with the tables behind it attached."""
    attached = [
        Attachment(f"{t.name}.csv", language(f"annex.sheet.{t.name}"), as_csv(t, language))
        for t in tables(summary)
    ]
    return set_pdf("weekly.typ", content(summary, language), summary.made_at, attached)


def _html(summary: Summary, language: Words) -> bytes:
    return set_html("weekly.html.j2", content(summary, language))


def _xlsx(summary: Summary, language: Words) -> bytes:
    title = language(f"period.title_{summary.period.kind}")
    return workbook(tables(summary), title, summary.made_at, language)


def _csv(summary: Summary, language: Words) -> bytes:
    """The figures of page one and more: a row an office."""
    return as_csv(tables(summary)[0], language)


FORMATS: dict[str, Callable[[Summary, Words], bytes]] = {
    "pdf": _pdf,
    "html": _html,
    "xlsx": _xlsx,
    "csv": _csv,
}
"""How a report is written, by the ending of its file."""


def make(summary: Summary, languages: Sequence[str], formats: Sequence[str]) -> Iterator[Made]:
    """Every file of a report, one after the other; raises `SettingError`."""
    for language in languages:
        for ending in formats:
            yield Made(
                f"{summary.period.stem}.{language}.{ending}",
                language,
                ending,
                FORMATS[ending](summary, words(language)),
            )

"""From what was measured to a report's drafts, one a language."""

from __future__ import annotations

from collections.abc import Sequence

from jharnet_monitor.report.annex import tables
from jharnet_monitor.report.content import content
from jharnet_monitor.report.draft import Annex, Draft
from jharnet_monitor.report.summary import Summary
from jharnet_monitor.report.words import Words, words


def drafts(summary: Summary, languages: Sequence[str]) -> list[Draft]:
    """The report in each language."""
    return [
        Draft(
            stem=summary.period.stem,
            language=language,
            made_at=summary.made_at,
            content=content(summary, words(language)),
            annexes=_annexes(summary, words(language)),
        )
        for language in languages
    ]


def _annexes(summary: Summary, said: Words) -> tuple[Annex, ...]:
    return tuple(
        Annex(
            name=table.name,
            title=said(f"annex.sheet.{table.name}"),
            headings=tuple(said(f"annex.column.{column}") for column in table.columns),
            rows=table.rows,
        )
        for table in tables(summary)
    )

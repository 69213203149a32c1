"""From what was measured to a report's drafts, one a language."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config import Config
from jharnet_monitor.i18n.words import Words, words
from jharnet_monitor.judge.calendar.period import Period
from jharnet_monitor.report.data.load import summarise
from jharnet_monitor.report.data.summary import Summary
from jharnet_monitor.report.output.annex import tables
from jharnet_monitor.report.output.document import content
from jharnet_monitor.report.output.draft import Annex, Draft, PackedDraft
from jharnet_monitor.store import Store

_YEAR = timedelta(days=366)


def read_drafts(
    config: Config, period: Period, languages: Sequence[str], now: datetime, processes: int = 1
) -> list[Draft]:
    """The report of a period in each language, read from the configuration's own database.

    Raises `UserError`, `StoreError`. It needs the libraries of the database and of the figures,
    none of those that set papers: `worker` gives it a process of its own.
    """
    store = Store(config.hub.database, SystemClock())
    try:
        store.require_schema()  # a report makes no database
        period = _without_empty_years(period, store, now)
        summary = summarise(store, config, period, now, processes)
    finally:
        store.close()
    return drafts(summary, languages)


def _without_empty_years(period: Period, store: Store, now: datetime) -> Period:
    """A range without its years before the first measurement, and those to come."""
    zone = period.start.tzinfo
    first, last = period.start.date(), period.days[-1]
    began, today = store.first_start() or now, now.astimezone(zone).date()
    if period.start < began - _YEAR:
        first = began.astimezone(zone).date()
    if period.end > now + _YEAR:
        last = today
    return period.within(first, last)


def read_packed(
    config: Config, period: Period, languages: Sequence[str], now: datetime, processes: int
) -> list[PackedDraft]:
    """What `read_drafts` returns, for a process that passes it on to those that set papers."""
    return [PackedDraft.of(one) for one in read_drafts(config, period, languages, now, processes)]


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


def _annexes(summary: Summary, words: Words) -> tuple[Annex, ...]:
    mark = (words("made_up.column"),) if summary.made_up else ()
    yes = (words("made_up.yes"),) if summary.made_up else ()
    return tuple(
        Annex(
            name=table.name,
            title=words(f"annex.sheet.{table.name}"),
            headings=(
                *(words(f"annex.column.{column}") for column in table.columns),
                *mark,
            ),
            rows=tuple((*row, *yes) for row in table.rows),
        )
        for table in tables(summary)
    )

"""The report that was ordered: the conference test of all blocks on one page, to be signed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jharnet_monitor.config import Config
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words, words
from jharnet_monitor.judge.conference.drill import Drill, DrillOffice, DrillState
from jharnet_monitor.report.output.files import OutputFile, write
from jharnet_monitor.report.output.html import render_html
from jharnet_monitor.report.output.pdf import render_pdf
from jharnet_monitor.report.sections.drill_texts import (
    by_its_order,
    drill_facts,
    drill_row,
    drill_sentences,
)
from jharnet_monitor.report.sections.phrases import made_up_texts

SIGNATORIES = ("engineer", "manager", "dio")


def make_drill_sheets(
    drill: Drill,
    config: Config,
    languages: Sequence[str],
    formats: Sequence[str],
    made_at: datetime,
    *,
    made_up: bool = False,
) -> Iterator[OutputFile]:
    """The sheet of one drill, a file for each language and format (`pdf`, `html`).

    Raises `TypesettingError`.
    """
    for language in languages:
        data = drill_content(drill, config, made_at, words(language), made_up=made_up)
        for ending in formats:
            if ending == "pdf":
                made = render_pdf("drill.typ", data, made_at)
            else:
                made = render_html("drill.html.j2", data)
            yield OutputFile(f"drill-{drill.id}.{language}.{ending}", language, ending, made)


def write_drill_sheets(
    drill: Mapping[str, Any], config: Config, made_at: datetime, made_up: bool
) -> list[Path]:
    """Write a drill's sheets next to the reports, from the drill's JSON; gives their paths.

    Raises `TypesettingError`, `UserError`.
    """
    sheets = make_drill_sheets(
        Drill.from_json(drill), config, config.report.languages, ["pdf"], made_at, made_up=made_up
    )
    return [write(made, config.report.directory) for made in sheets]


def drill_content(
    drill: Drill, config: Config, made_at: datetime, words: Words, *, made_up: bool = False
) -> dict[str, Any]:
    """Everything on the sheet in one language: plain JSON."""
    zone = ZoneInfo(config.district.timezone)
    district = config.district.name_in(words.language)
    directive = config.report.directive_in(words.language)
    started = drill.started_at
    done = drill.state is DrillState.DONE
    return {
        "language": words.language,
        "title": by_its_order("title", drill, words),
        "subtitle": by_its_order("subtitle", drill, words),
        "author": "jharnet-monitor",
        "district": words("report.district", name=district),
        "period": formats.day(started.astimezone(zone).date(), words),
        "days": words("drill.at", moment=formats.moment(started, zone, words)),
        "made": words("report.made", moment=formats.moment(made_at, zone, words)),
        "running": None if done else words(f"drill.state.{drill.state}"),
        "page": words.phrases["report.page"],
        "made_up": made_up_texts(words) if made_up else None,
        "directive": directive,
        "order": words("drill.order"),
        "facts": drill_facts(drill, words),
        "sentences": drill_sentences(drill, config, words),
        "head": [words(f"drill.head.{name}") for name in _HEADS],
        "rows": [_row(office, config, words) for office in drill.offices],
        "key": {"title": words("report.key"), "text": words("report.key_text")},
        "method": by_its_order("method", drill, words),
        "signed": {
            "title": words("drill.signed"),
            "name": words("drill.name"),
            "date": words("drill.date"),
            "people": [words(f"drill.signatory.{name}") for name in SIGNATORIES],
        },
    }


_HEADS = ("number", "block", "joined", "result", "down", "up", "cause")


def _row(office: DrillOffice, config: Config, words: Words) -> dict[str, Any]:
    return drill_row(office, config, words) | {
        "took_part": words("drill.yes" if office.joined else "drill.no"),
    }

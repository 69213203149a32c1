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
from jharnet_monitor.judge.conference.drill import (
    LIMITED_BY_UPLINK,
    Drill,
    DrillOffice,
    DrillState,
    passed,
    required_grade,
)
from jharnet_monitor.report.output.files import OutputFile, write
from jharnet_monitor.report.output.html import render_html
from jharnet_monitor.report.output.pdf import render_pdf
from jharnet_monitor.report.sections.drills import (
    drill_row,
    name_of,
    profile_name,
    supported_calls_texts,
    uplink_rates,
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
        "title": words("drill.title"),
        "subtitle": words("drill.subtitle"),
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
        "facts": _facts(drill, words),
        "sentences": _sentences(drill, config, words),
        "head": [words(f"drill.head.{name}") for name in _HEADS],
        "rows": [_row(office, config, words) for office in drill.offices],
        "key": {"title": words("report.key"), "text": words("report.key_text")},
        "method": words("drill.method"),
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


def _facts(drill: Drill, words: Words) -> list[list[str]]:
    """Label and value: profile, length, headquarters' line, the drill's id."""
    facts = [[words("drill.profile"), profile_name(drill, words)]]
    if drill.minutes is not None:
        facts.append([words("drill.length"), formats.duration(60 * drill.minutes, words)])
    facts += uplink_rates(drill, words)
    facts.append([words("drill.id"), drill.id])
    return facts


def _sentences(drill: Drill, config: Config, words: Words) -> list[str]:
    """Who took part and who did not; who passed and who did not; and headquarters' line."""
    required = required_grade(drill.profile, config.thresholds.grade)
    offices = drill.offices
    groups = {
        "absent": [one for one in offices if not one.joined],
        "able": [one for one in offices if passed(one, required)],
        "short": [
            one
            for one in offices
            if one.joined and one.grade is not None and not passed(one, required)
        ],
        "held_back": [one for one in offices if one.limited_by == LIMITED_BY_UPLINK],
    }
    return [
        words("report.drill.joined", joined=len(drill.joined), total=len(offices)),
        *(
            words(f"drill.{group}", names=_names(members, config, words))
            for group, members in groups.items()
            if members
        ),
        *supported_calls_texts(drill.uplink, words),
    ]


def _names(offices: Sequence[DrillOffice], config: Config, words: Words) -> str:
    return formats.list_of([name_of(one.office, config, words) for one in offices], words)

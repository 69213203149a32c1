"""The report that was ordered: the conference test of all blocks on one page, to be signed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jharnet_monitor.config import Config
from jharnet_monitor.i18n import format as texts
from jharnet_monitor.i18n.words import Words, words
from jharnet_monitor.judge.conference.drill import UPLINK, held, mark
from jharnet_monitor.model import parse_utc
from jharnet_monitor.report.output.files import OutputFile, write
from jharnet_monitor.report.output.html import render_html
from jharnet_monitor.report.output.pdf import render_pdf
from jharnet_monitor.report.sections.drills import borne, carried, drill_row

SIGNATORIES = ("engineer", "manager", "dio")


def make_drill(
    drill: Mapping[str, Any],
    config: Config,
    languages: Sequence[str],
    formats: Sequence[str],
    made_at: datetime,
) -> Iterator[OutputFile]:
    """The paper of one drill (in the contract's form), one file a language and format.

    Formats are `pdf` and `html`. Raises `TypesettingError`.
    """
    for language in languages:
        data = drill_content(drill, config, made_at, words(language))
        for ending in formats:
            if ending == "pdf":
                made = render_pdf("drill.typ", data, made_at)
            else:
                made = render_html("drill.html.j2", data)
            yield OutputFile(f"drill-{drill['id']}.{language}.{ending}", language, ending, made)


def write_drill(drill: Mapping[str, Any], config: Config, made_at: datetime) -> list[Path]:
    """Write a drill's papers beside the reports; raises `TypesettingError`, `UserError`."""
    papers = make_drill(drill, config, config.report.languages, ["pdf"], made_at)
    return [write(made, config.report.directory) for made in papers]


def drill_content(
    drill: Mapping[str, Any], config: Config, made_at: datetime, words: Words
) -> dict[str, Any]:
    """Everything on the page in one language: plain JSON."""
    zone = ZoneInfo(config.district.timezone)
    district = config.district.name_hi if words.language == "hi" else config.district.name
    directive = config.report.directive_hi if words.language == "hi" else config.report.directive
    started = parse_utc(drill["started_at"])
    rows = [_row(row, config, words) for row in drill["offices"]]
    return {
        "language": words.language,
        "title": words("drill.title"),
        "subtitle": words("drill.subtitle"),
        "author": "jharnet-monitor",
        "district": words("report.district", name=district),
        "period": texts.day(started.astimezone(zone).date(), words),
        "days": words("drill.at", moment=texts.clock_moment(started, zone, words)),
        "made": words("report.made", moment=texts.clock_moment(made_at, zone, words)),
        "running": None if drill["state"] == "done" else words(f"drill.state.{drill['state']}"),
        "page": words.phrases["report.page"],
        "directive": directive,
        "order": words("drill.order"),
        "facts": _facts(drill, words),
        "sentences": _sentences(rows, drill, config, words),
        "head": [words(f"drill.head.{name}") for name in _HEADS],
        "rows": rows,
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


def _row(row: Mapping[str, Any], config: Config, words: Words) -> dict[str, Any]:
    return drill_row(row, config, words) | {
        "took_part": words("drill.yes" if row["joined"] else "drill.no"),
    }


def _facts(drill: Mapping[str, Any], words: Words) -> list[list[str]]:
    """Label and value: profile, length, headquarters' line, the drill's id."""
    profile = words.either(f"profile.{drill['profile']}", str(drill["profile"]))
    facts = [[words("drill.profile"), profile]]
    if "minutes" in drill:
        facts.append([words("drill.length"), texts.length(60 * float(drill["minutes"]), words)])
    facts += carried(drill.get("uplink") or {}, words)
    facts.append([words("drill.id"), str(drill["id"])])
    return facts


def _sentences(
    rows: Sequence[Mapping[str, Any]], drill: Mapping[str, Any], config: Config, words: Words
) -> list[str]:
    """Who took part and who did not; who held the conference and who did not; and the line."""
    least = mark(str(drill["profile"]), config.thresholds.grade)
    absent = [row["office"] for row in rows if not row["joined"]]
    pairs = list(zip(rows, drill["offices"], strict=True))
    able = [row["office"] for row, own in pairs if held(own, least)]
    short = [
        row["office"]
        for row, own in pairs
        if row["joined"] and row["grade"] is not None and not held(own, least)
    ]
    back = [row["office"] for row, own in pairs if own.get("limited_by") == UPLINK]
    joined = words("report.drill.joined", joined=len(rows) - len(absent), total=len(rows))
    sentences = [joined]
    if absent:
        sentences.append(words("drill.absent", names=texts.listed(absent, words)))
    if able:
        sentences.append(words("drill.able", names=texts.listed(able, words)))
    if short:
        sentences.append(words("drill.short", names=texts.listed(short, words)))
    if back:
        sentences.append(words("drill.held_back", names=texts.listed(back, words)))
    return [*sentences, *borne(drill.get("uplink") or {}, words)]

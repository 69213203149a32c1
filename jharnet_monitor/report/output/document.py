"""The content of a report in one language, the same for every output format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

from jharnet_monitor.config.case import LetterSettings
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.conference.drill import DrillState, last_held, passed, required_grade
from jharnet_monitor.judge.line.verdict import LineVerdict
from jharnet_monitor.report.data.changes import changes
from jharnet_monitor.report.data.summary import Summary
from jharnet_monitor.report.output.draft import annex_name
from jharnet_monitor.report.sections.details import (
    MOST_ROWS,
    measured,
    speed_chart,
    states,
    trend,
)
from jharnet_monitor.report.sections.drills import drills
from jharnet_monitor.report.sections.faults import faults
from jharnet_monitor.report.sections.front_page import page_one
from jharnet_monitor.report.sections.lines import lines
from jharnet_monitor.report.sections.office_page import office_page
from jharnet_monitor.report.sections.phrases import made_up_texts, slabs_text, thresholds_text
from jharnet_monitor.report.sections.rating import RatedOffice, judge
from jharnet_monitor.report.sections.speed_by_time import slots
from jharnet_monitor.report.sections.use import use

_OFFICE_HEADS = ("states", "grades", "speeds", "speed_key", "outages")


def content(summary: Summary, words: Words) -> dict[str, Any]:
    """The whole report in one language, ready for the templates, as plain JSON."""
    district = summary.config.district
    zone = summary.zone
    judged = judge(summary)
    period, days = (
        formats.period_name(summary.period, words),
        formats.day_range(summary.period, words),
    )
    name = district.name_in(words.language)
    detailed = judged[:MOST_ROWS]  # the worst come first
    closer = _of(summary, detailed)
    return {
        "language": words.language,
        "title": words(f"period.title_{summary.period.kind}"),
        "subtitle": words("report.subtitle"),
        "author": "jharnet-monitor",
        "district": words("report.district", name=name),
        "period": period,
        "days": "" if days == period else days,
        "made": words("report.made", moment=formats.moment(summary.made_at, zone, words)),
        "running": None
        if summary.complete
        else words("report.running", moment=formats.moment(summary.until, zone, words)),
        "page": words.phrases["report.page"],
        "made_up": made_up_texts(words) if summary.made_up else None,
        "stop": words("full_stop"),
        "front": page_one(summary, judged, words),
        "key": {"title": words("report.key"), "text": words("report.key_text")},
        "directive": _directive(summary, judged, words),
        "lines": lines(summary, words),
        "drills": drills(summary, words),
        "faults": faults(summary, words),
        "trend": trend(summary, words),
        "changes": changes(summary, words),
        "speed": _without_blanks(speed_chart(closer, words), words),
        "use": use(summary, words),
        "slots": _without_blanks(slots(closer, words), words),
        "states": states(summary, words),
        "measured": _without_blanks(measured(summary, words), words),
        "offices": {
            "title": words("report.offices"),
            "pages": [office_page(one, summary, words) for one in detailed if one.found],
        },
        "office": {name: words(f"report.office.{name}") for name in _OFFICE_HEADS},
        "integrity": words("report.integrity.none")
        if summary.root is None
        else words("report.integrity.root", root=summary.root),
        "annexes": words.phrases["report.annexes"],
        "annex": {
            "title": words(
                "report.annex.title", title=words(f"period.title_{summary.period.kind}")
            ),
            "told": words(
                "report.annex.told" if closer is summary else "report.annex.told_of_many",
                name=annex_name(summary.period.stem, words.language),
                n=len(detailed),
            ),
            "limited": "" if closer is summary else words("report.annex.limited", n=len(detailed)),
        },
        "method": {
            "title": words("report.method"),
            "texts": _method(summary, zone, words),
            "short": _short_method(summary, zone, words),
        },
    }


def _of(summary: Summary, detailed: Sequence[RatedOffice]) -> Summary:
    """The summary with these offices only, in the order of the configuration.

    A paper with the details of 264 offices has 140 pages, which nobody reads and which take Typst
    half a gigabyte; the attached tables have them.
    """
    if len(detailed) == len(summary.offices):
        return summary
    chosen = {one.summary.office.id for one in detailed}
    return replace(summary, offices=tuple(o for o in summary.offices if o.office.id in chosen))


def _without_blanks(section: dict[str, Any], words: Words) -> dict[str, Any]:
    """A chart or table; without its rows if nothing in any of them was measured."""
    missing = words("not_measured")
    figures = [_figures(row) - {missing, "", "0"} for row in section["rows"]]
    return section if any(figures) else section | {"rows": []}


def _figures(row: Any) -> set[str]:
    """The texts of a row beside the office's name and the direction."""
    if isinstance(row, list):
        return set(row[1:])
    if "cells" in row:
        return {text for cell in row["cells"] for text in cell}
    return {row["down"]["text"], row["up"]["text"]}


def _directive(
    summary: Summary, judged: Sequence[RatedOffice], words: Words
) -> dict[str, Any] | None:
    """The configured directive and its compliance; None if none is configured."""
    settings = summary.config.report
    text = settings.directive_in(words.language)
    if text is None:
        return None
    tested = sum(one.group != "untested" for one in judged)
    wanting = {
        one.summary.office.id: one.summary.assessment
        for one in judged
        if LineVerdict.UPGRADE in one.summary.assessment.verdicts
    }
    speed = words("report.directive.no_upgrade") + " " if summary.measurements else ""
    if wanting:
        slabs = slabs_text(summary.config, wanting, words)
        speed = words("report.directive.upgrade", slabs=slabs) + " "
    return {
        "title": words("report.directive.title"),
        "text": text,
        "status": [
            (
                words("report.directive.tested", tested=tested, total=len(judged))
                if len(judged) > 1
                else words(f"report.directive.{'tested_one' if tested else 'untested_one'}")
            )
            + " "
            + _drills(summary, words),
            speed + _letter(summary.config.letter, words),
        ],
    }


def _drills(summary: Summary, words: Words) -> str:
    """The result of the newest drill that was held to its end; nothing follows from another."""
    if not summary.drills:
        return words("report.directive.no_drill")
    newest = last_held(summary.drills)
    day = formats.day(newest.started_at.astimezone(summary.zone).date(), words)
    if newest.state is not DrillState.DONE:
        return words("report.directive.drill_not_ended", day=day)
    required = required_grade(newest.profile, summary.config.thresholds.grade)
    return words(
        f"report.directive.drill{'' if newest.at_once is None else '_in_turn'}",
        day=day,
        joined=len(newest.joined),
        able=sum(passed(office, required) for office in newest.offices),
        total=len(newest.offices),
    )


def _letter(letter: LetterSettings, words: Words) -> str:
    """Number and date of the letter, if the configuration has them."""
    if letter.number is None:
        return words("report.directive.no_letter")
    date = letter.date or words("unknown")
    return words("report.directive.letter", number=letter.number, date=date)


def _short_method(summary: Summary, zone: ZoneInfo, words: Words) -> list[str]:
    """What a reader of the four pages must know: what it rests on, and the standards."""
    return [
        _extent(summary, zone, words),
        words("report.method_text.conference"),
        words("report.method_text.unknown"),
        thresholds_text(summary.config.thresholds, words),
    ]


def _extent(summary: Summary, zone: ZoneInfo, words: Words) -> str:
    if summary.extent is None:
        return words("report.method_text.extent_none")
    return words(
        "report.method_text.extent",
        n=summary.measurements,
        first=formats.moment(summary.extent[0], zone, words),
        last=formats.moment(summary.extent[1], zone, words),
    )


def _method(summary: Summary, zone: ZoneInfo, words: Words) -> list[str]:
    return [
        _extent(summary, zone, words),
        *(
            words(f"report.method_text.{part}")
            for part in ("conference", "availability", "speed", "slots", "latency", "unknown")
        ),
        words(
            "report.method_text.judgement",
            first=formats.day(summary.judged_from, words),
            last=formats.day(summary.period.days[-1], words),
            wanted=summary.config.capacity.days,
        ),
        *_pruned(summary, words),
        thresholds_text(summary.config.thresholds, words),
    ]


def _pruned(summary: Summary, words: Words) -> list[str]:
    """A note on days of which only daily summaries are kept; empty if there are none."""
    days = max((office.latency.pruned for office in summary.offices), default=0)
    return [words("report.method_text.pruned", n=days)] if days else []

"""The page of an office with findings: why it falls short, and its measurements."""

from __future__ import annotations

from typing import Any

from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.calendar.period import Period
from jharnet_monitor.report.data.summary import OfficeSummary, Summary
from jharnet_monitor.report.sections import charts
from jharnet_monitor.report.sections.details import availability, measured_row, speed_text
from jharnet_monitor.report.sections.front_page import (
    conference_text,
    finding_texts,
    tests_text,
)
from jharnet_monitor.report.sections.rating import RatedOffice
from jharnet_monitor.report.sections.sentences import beginning

LISTED_OUTAGES = 8


def office_page(judged: RatedOffice, summary: Summary, words: Words) -> dict[str, Any]:
    """The content of the page of one office."""
    office = judged.summary
    limited = office.conference.limited_by
    return {
        "office": formats.office_name(office.office, words),
        "grade": office.conference.grade,
        "answer": conference_text(office.conference, words),
        "tests": tests_text(office.conference, words),
        "limited": None
        if limited is None or office.conference.grade == 4
        else words("report.office.limited", what=words.get(f"limited_by.{limited}", limited)),
        "findings": [
            finding_texts(finding, office, summary.config, words) for finding in judged.found
        ],
        "pieces": charts.timeline(office.spans, summary.period),
        "grades": charts.grade_dots(office.conference, summary.period),
        "speeds": _speeds(office, summary.period),
        "outages": _outage_list(office, summary, words),
        "figures": _figures(office, words),
    }


def _speeds(office: OfficeSummary, period: Period) -> dict[str, Any] | None:
    dots = charts.speed_dots(office, period)
    if dots is None:
        return None
    return dots | {"top": formats.rate(dots["top"])}


def _figures(office: OfficeSummary, words: Words) -> list[list[str]]:
    """Label and value of each figure."""
    row = measured_row(office, words)
    before = office.before
    was = (
        words("report.change.new") if before is None else conference_text(before.conference, words)
    )
    ratio, without, between = availability(office, words)
    return [
        [words("report.head.latency"), row[1]],
        [words("report.head.loss"), row[3]],
        [words("report.office.down"), speed_text(office.down, words)],
        [words("report.office.up"), speed_text(office.up, words)],
        *_sustained(office, words),
        [words("report.states.availability"), ratio],
        [words("report.states.without"), without],
        [words("report.states.between"), between],
        [words("report.office.before"), was],
    ]


def _sustained(office: OfficeSummary, words: Words) -> list[list[str]]:
    """The sustained rates, where there was a long test."""
    found = (("down", office.sustained_down), ("up", office.sustained_up))
    return [
        [
            words(f"report.office.sustained_{way}"),
            formats.rate_with_interval(one.value, one.low, one.high),
        ]
        for way, one in found
        if one is not None
    ]


def _outage_list(office: OfficeSummary, summary: Summary, words: Words) -> list[str]:
    """The longest outages, ordered by start."""
    longest = sorted(office.outages, key=lambda outage: -outage.seconds)[:LISTED_OUTAGES]
    lasting = "outage_open" if summary.until < summary.period.end else "outage_at_end"
    lines = [
        words(
            f"report.office.{lasting if outage.open else 'outage'}",
            state=words(f"state.{outage.state}"),
            begin=beginning(outage.start, summary, words),
            length=formats.duration(outage.seconds, words),
        )
        for outage in sorted(longest, key=lambda outage: outage.start)
    ]
    more = len(office.outages) - len(longest)
    return [*lines, words("report.office.more_outages", n=more)] if more else lines

"""Puts a report together as plain text and figures, once for every form it is written in."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from jharnet_monitor.report import texts
from jharnet_monitor.report.page_one import grade_text, judge, page_one
from jharnet_monitor.report.summary import Summary
from jharnet_monitor.report.words import Words


def content(summary: Summary, words: Words) -> dict[str, Any]:
    """The whole report in one language, ready to be set: plain JSON."""
    district = summary.config.district
    zone = ZoneInfo(district.timezone)
    judged = judge(summary)
    name = district.name_hi if words.language == "hi" else district.name
    return {
        "language": words.language,
        "title": words(f"period.title_{summary.period.kind}"),
        "subtitle": words("report.subtitle"),
        "author": "jharnet-monitor",
        "district": words("report.district", name=name),
        "period": texts.period_name(summary.period, words),
        "days": texts.days_of(summary.period, words),
        "made": words("report.made", moment=texts.clock_moment(summary.made_at, zone, words)),
        "running": None
        if summary.complete
        else words("report.running", moment=texts.clock_moment(summary.until, zone, words)),
        "page": words.phrases["report.page"],
        "front": page_one(summary, judged, words),
        "key": {"title": words("report.key"), "text": words("report.key_text")},
        "method": {"title": words("report.method"), "texts": _method(summary, zone, words)},
    }


def _method(summary: Summary, zone: ZoneInfo, words: Words) -> list[str]:
    marks = summary.config.thresholds
    if summary.first is None or summary.last is None:
        extent = words("report.method_text.extent_none")
    else:
        extent = words(
            "report.method_text.extent",
            n=summary.measurements,
            first=texts.clock_moment(summary.first, zone, words),
            last=texts.clock_moment(summary.last, zone, words),
        )
    return [
        extent,
        *(
            words(f"report.method_text.{part}")
            for part in ("conference", "availability", "speed", "latency", "unknown")
        ),
        words(
            "report.method_text.marks",
            grade=grade_text(marks.grade, words),
            loss=texts.loss(marks.loss),
            rtt=texts.milliseconds(marks.rtt),
            delivered=texts.percent(marks.delivered),
            availability=texts.share_down(marks.availability),
        ),
    ]

"""Delivered compared with contracted speed: in office hours, in the busy hour, outside them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.line.by_time_of_day import SlotRates, TimeSlot
from jharnet_monitor.judge.statistics.intervals import MIN_P5_DAYS, MIN_P5_SAMPLES
from jharnet_monitor.model import Direction
from jharnet_monitor.report.data.summary import OfficeSummary, Summary
from jharnet_monitor.report.sections.phrases import interval


def slots(summary: Summary, words: Words) -> dict[str, Any]:
    """The table: two rows per office, one column per time slot."""
    marks, hours = summary.config.thresholds, summary.config.district.office_hours
    begin = datetime.strptime(hours.busy_hour, "%H:%M")  # noqa: DTZ007 - a time of day
    return {
        "title": words("report.slots.title"),
        "note": words(
            "report.slots.note",
            delivered=formats.share_whole(marks.delivered),
            samples=MIN_P5_SAMPLES,
            days=MIN_P5_DAYS,
        ),
        "head": [
            words("report.head.block"),
            words("report.slots.way"),
            words("report.slots.office_hours", begin=hours.from_, end=hours.to),
            words(
                "report.slots.busy_hour",
                begin=hours.busy_hour,
                end=f"{begin + timedelta(hours=1):%H:%M}",
            ),
            words("report.slots.off_hours"),
        ],
        "rows": [
            row for office in summary.offices for row in _rows(office, words)
        ],
    }  # fmt: skip


def _rows(office: OfficeSummary, words: Words) -> list[dict[str, Any]]:
    return [
        {
            "office": formats.office_name(office.office, words),
            "way": words(f"report.way.{way}"),
            "cells": [_cell(office.slots[way].get(slot), words) for slot in TimeSlot],
        }
        for way in Direction
    ]


def _cell(one: SlotRates | None, words: Words) -> list[str]:
    """Median, 5 % quantile if there are enough tests, and share below the threshold."""
    if one is None:
        return [words("not_measured")]
    few = one.median.low is None
    rate = formats.rate(one.median.value)
    lines = [rate if few else interval(one.median, formats.rate, words)]
    if one.p5 is not None:
        lines.append(words("report.slots.p5", rate=interval(one.p5, formats.rate, words)))
    if one.below is not None:
        share = interval(one.below, formats.share_ceil, words)
        lines.append(words("report.slots.below", share=share))
    days = words("report.days", n=one.days)
    lines.append(words("dossier.rests", n=one.tests, days=days))
    return lines

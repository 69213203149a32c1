"""Significant changes since the period before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.statistics import intervals
from jharnet_monitor.judge.statistics.intervals import DailySamples, Interval
from jharnet_monitor.report.data.aggregate import by_day
from jharnet_monitor.report.data.summary import Conference, OfficeSummary, Summary


def changes(summary: Summary, words: Words) -> dict[str, Any] | None:
    """The table of changes; None if there is no earlier period."""
    if not any(office.before for office in summary.offices):
        return None
    before = words(f"period.before_{summary.period.kind}")
    heads = ("block", "conference", "conference_change", "speed", "speed_change")
    return {
        "title": words("report.changes.title", before=before),
        "note": words("report.changes.note"),
        "head": [words(f"report.changes.head.{name}") for name in heads],
        "rows": [_row(office, summary.zone, words) for office in summary.offices],
    }


def _row(office: OfficeSummary, zone: ZoneInfo, words: Words) -> list[str]:
    grade, speed = grade_change(office, zone), speed_change(office)
    return [
        formats.office_name(office.office, words),
        _from_to(*_grade_means(office), formats.mean_grade, words),
        said(grade, formats.grade_changes, words),
        _from_to(*_speed_means(office), formats.rate, words),
        said(speed, formats.rate_changes, words),
    ]


def grade_change(office: OfficeSummary, zone: ZoneInfo) -> Interval | None:
    """Change of the mean grade of the conference tests; None without tests."""
    if office.before is None:
        return None
    then, now = (_grades(one, zone) for one in (office.before.conference, office.conference))
    return intervals.change(then, now)


def speed_change(office: OfficeSummary) -> Interval | None:
    """Change of the mean rate towards the office, in bit/s; None without comparable tests."""
    if office.before is None or office.before.down.quiet is not office.down.quiet:
        return None  # a rate of the line cannot be compared with one beside the office's traffic
    return intervals.change(_days(office.before.down.days), _days(office.down.days))


def verdict(change: Interval | None) -> str:
    """The verdict on a change: `better`, `worse`, `none`, `few` or `new`.

    `none` means no significant change, `few` too few days, `new` nothing to compare with.
    """
    if change is None:
        return "new"
    if change.low is None:
        return "few"
    if change.above(0):
        return "better"
    return "worse" if change.below(0) else "none"


def said(change: Interval | None, form: formats.ChangeFormat, words: Words) -> str:
    """The change in words, with its interval: `better: +0.5 (+0.2 to +0.8)`."""
    word = words(f"report.changes.{verdict(change)}")
    if change is None or change.low is None or change.high is None or change.low == change.high:
        return word  # if all tests are alike, resampling shows no spread
    (value, low, high), unit = form((change.value, change.low, change.high))
    return words("report.changes.said", word=word, value=value, low=low, high=high, unit=unit)


def _grades(conference: Conference, zone: ZoneInfo) -> DailySamples:
    return _days(by_day(conference.grades, zone))


def _days(days: Iterable[Sequence[float]]) -> DailySamples:
    return DailySamples(tuple(np.asarray(day, dtype=np.float64) for day in days if day))


def _grade_means(office: OfficeSummary) -> tuple[float | None, float | None]:
    before = office.before.conference.grades if office.before else ()
    return _mean([g for _, g in before]), _mean([g for _, g in office.conference.grades])


def _speed_means(office: OfficeSummary) -> tuple[float | None, float | None]:
    before = office.before.down.days if office.before else ()
    then, now = ([rate for day in days for rate in day] for days in (before, office.down.days))
    return _mean(then), _mean(now)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _from_to(
    then: float | None, now: float | None, form: formats.FigureFormat, words: Words
) -> str:
    if then is None and now is None:
        return words("not_measured")
    return formats.from_to(then, now, form)

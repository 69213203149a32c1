"""Changes since the period before that are certain and large enough to matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.statistics.changes import Comparison, Course, courses
from jharnet_monitor.model import Direction
from jharnet_monitor.report.data.summary import Conference, OfficeSummary, Speed, Summary


@dataclass(frozen=True, slots=True)
class OfficeChanges:
    """What became of an office's conference grade and speed, with the changes themselves."""

    grade: Course
    speed: Course
    grade_by: float | None
    speed_by: float | None
    """bit/s."""


def office_changes(summary: Summary) -> Mapping[str, OfficeChanges]:
    """The changes of every office, by its id; all comparisons of the report are judged together."""
    limits = summary.config.thresholds.change
    grades = [_grades(office, limits.grade) for office in summary.offices]
    speeds = [_speeds(office, limits.speed) for office in summary.offices]
    found = courses([*grades, *speeds])
    return {
        office.office.id: OfficeChanges(
            found[n], found[n + len(grades)], grades[n].change, speeds[n].change
        )
        for n, office in enumerate(summary.offices)
    }


def changes(summary: Summary, words: Words) -> dict[str, Any] | None:
    """The table of changes; None if there is no earlier period."""
    if not any(office.before for office in summary.offices):
        return None
    before = words(f"period.before_{summary.period.kind}")
    heads = ("block", "conference", "conference_change", "speed", "speed_change")
    limits, found = summary.config.thresholds.change, office_changes(summary)
    return {
        "title": words("report.changes.title", before=before),
        "note": words(
            "report.changes.note",
            grade=formats.mean_grade(limits.grade),
            speed=formats.share_whole(limits.speed),
        ),
        "head": [words(f"report.changes.head.{name}") for name in heads],
        "rows": [_row(office, found[office.office.id], words) for office in summary.offices],
    }


def _row(office: OfficeSummary, found: OfficeChanges, words: Words) -> list[str]:
    before = office.before
    grades = (before.conference if before else None, office.conference)
    speeds = (before.down if before else None, office.down)
    return [
        formats.office_name(office.office, words),
        _from_to([_mean_grade(one) for one in grades], formats.mean_grade, words),
        describe_change(found.grade, found.grade_by, formats.grade_changes, words),
        _from_to([_mean_speed(one) for one in speeds], formats.rate, words),
        describe_change(found.speed, found.speed_by, formats.rate_changes, words),
    ]


def describe_change(
    course: Course, change: float | None, form: formats.ChangeFormat, words: Words
) -> str:
    """A change in words, with its size where one is claimed: `better: +0.5`."""
    word = words(f"report.changes.{course}")
    if change is None or course not in (Course.BETTER, Course.WORSE):
        return word
    (value,), unit = form((change,))
    return words("report.changes.said", word=word, value=value, unit=unit)


def _grades(office: OfficeSummary, smallest: float) -> Comparison:
    earlier = [_mean_grade(point.conference) for point in office.history]
    return Comparison(earlier, _mean_grade(office.conference), smallest)


def _speeds(office: OfficeSummary, smallest: float) -> Comparison:
    """Speeds towards the office; only those of the same kind as now are comparable.

    A rate of the line cannot be compared with one during the office's traffic.
    """
    earlier = [
        _mean_speed(point.down) if point.down.quiet is office.down.quiet else None
        for point in office.history
    ]
    now = _mean_speed(office.down)
    link = office.office.link
    scale = now or 0.0 if link is None else link.rate(Direction.DOWN)
    return Comparison(earlier, now, smallest * scale)


def _mean_grade(conference: Conference | None) -> float | None:
    return None if conference is None else _mean([grade for _, grade in conference.grades])


def _mean_speed(speed: Speed | None) -> float | None:
    return None if speed is None else _mean([rate for day in speed.days for rate in day])


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _from_to(figures: Sequence[float | None], form: formats.FigureFormat, words: Words) -> str:
    then, now = figures
    if then is None and now is None:
        return words("not_measured")
    return formats.from_to(then, now, form)

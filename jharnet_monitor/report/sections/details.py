"""The pages after the front page: figures of every office, states and trend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.calendar.period import Period
from jharnet_monitor.judge.outages.availability import known_well_enough
from jharnet_monitor.model import OfficeState
from jharnet_monitor.report.data.aggregate import OUT
from jharnet_monitor.report.data.summary import OfficeSummary, Speed, Summary, TrendPoint
from jharnet_monitor.report.sections import charts
from jharnet_monitor.report.sections.rating import names_of

NAMED_DAYS = 8
MOST_ROWS = 24
"""The largest number of offices that the report's own pages list; the annex has all."""
ROWS_OF_MANY = 12
"""Rows in the report where there are more offices: its sentences are longer then."""


def rows_shown(total: int) -> int:
    """How many of so many rows the report itself shows.

    >>> rows_shown(11), rows_shown(264)
    (11, 12)
    """
    return total if total <= MOST_ROWS else ROWS_OF_MANY


def measured(summary: Summary, words: Words) -> dict[str, Any]:
    """The table of latency, jitter, loss and Internet speed."""
    heads = ("block", "latency", "jitter", "loss", "minutes", "internet")
    return {
        "title": words("report.details"),
        "head": [words(f"report.head.{name}") for name in heads],
        "rows": [measured_row(office, words) for office in summary.offices],
    }


def measured_row(office: OfficeSummary, words: Words) -> list[str]:
    """Name, latency, jitter, loss, minutes and Internet speed of one office."""
    latency = office.latency
    missing = words("not_measured")
    rtt = missing
    if latency.p50 is not None:
        figures = [latency.p50] if latency.p95 is None else [latency.p50, latency.p95]
        rtt = "; ".join(formats.milliseconds(figure, figures) for figure in figures)
    loss = missing
    if latency.loss is not None:
        loss = words(
            "report.loss_of",
            loss=formats.share(latency.loss),
            lost=latency.lost,
            sent=latency.sent,
        )
    internet = missing
    if office.internet_down.tests or office.internet_up.tests:
        tests = max(office.internet_down.tests, office.internet_up.tests)
        rates = formats.both_rates(office.internet_down.median, office.internet_up.median)
        internet = f"{rates} ({words('report.tests', n=tests)})"
    return [
        formats.office_name(office.office, words),
        rtt,
        missing if latency.jitter is None else formats.milliseconds(latency.jitter),
        loss,
        formats.number(latency.minutes)
        if not latency.pruned
        else words("report.minutes_pruned", minutes=latency.minutes, n=latency.pruned),
        internet,
    ]


def speed_chart(summary: Summary, words: Words) -> dict[str, Any]:
    """The chart of the delivered speed compared with the contract, in both directions."""
    marks = summary.config.thresholds
    return {
        "title": words("report.speed.title"),
        "note": words("report.speed.note", delivered=formats.share_whole(marks.delivered)),
        "mark": round(marks.delivered / charts.FULL_SPEED, 5),
        "full": round(1 / charts.FULL_SPEED, 5),
        "ways": [words("report.way.down"), words("report.way.up")],
        "axis": {"mark": formats.share_whole(marks.delivered), "full": formats.share_whole(1.0)},
        "rows": [
            {
                "office": formats.office_name(office.office, words),
                "down": speed_bar(office.down, words),
                "up": speed_bar(office.up, words),
            }
            for office in summary.offices
        ],
    }


def speed_bar(speed: Speed, words: Words) -> dict[str, Any]:
    """A bar of the speed chart, and its figures as text. A hollow bar says without words that the
    speed is what the office's use left.
    """
    bar = charts.speed_bar(speed)
    return {"bar": bar, "text": speed_text(speed, words, marked=bar is not None)}


def speed_text(speed: Speed, words: Words, *, marked: bool = False) -> str:
    """The speed and its tests; what the office's use left is named unless it is `marked`."""
    if speed.median is None:
        return words("not_measured")
    plain = speed.quiet or marked
    tests = words("report.tests" if plain else "report.speed_tests_left", n=speed.tests)
    if speed.ratio is None:
        return f"{formats.rate(speed.median)}, {words('report.contract_unknown')}; {tests}"
    return f"{formats.rate(speed.median)}; {tests}, {words('report.speed.below', n=speed.below)}"


def states(summary: Summary, words: Words) -> dict[str, Any]:
    """The timelines of all offices, and the table of outages; of many, the longest out first.
    There is no row if the state of no office was known at any time.
    """
    rows = [
        {
            "office": formats.office_name(office.office, words),
            "pieces": charts.timeline(office.spans, summary.period),
        }
        for office in _longest_out_first(summary)
    ]
    if not any(office.state_times.coverage for office in summary.offices):
        rows = []
    return {
        "title": words("report.states.title"),
        "none": words("report.states.none"),
        "note": words(
            "report.states.note", step=formats.duration(summary.period.seconds / charts.BINS, words)
        ),
        "ticks": ticks(summary.period, words),
        "legend": legend(words),
        **_rows(rows),
        "more": more_rows(len(rows), words),
        "table": _outage_table(summary, words),
    }


def _rows(rows: list[Any]) -> dict[str, list[Any]]:
    """The rows for the report; all of them for the annex, if those are not all."""
    shown = rows_shown(len(rows))
    return {"rows": rows[:shown], "every_row": rows if len(rows) > shown else []}


def more_rows(total: int, words: Words) -> str:
    """How many rows stand in the annex alone; empty if none do."""
    missing = total - rows_shown(total)
    return words("report.more_rows", n=missing) if missing else ""


def _longest_out_first(summary: Summary) -> Sequence[OfficeSummary]:
    """The offices; where not all fit, those first that were out for longest."""
    if len(summary.offices) <= MOST_ROWS:
        return summary.offices
    return sorted(summary.offices, key=lambda o: -sum(outage.seconds for outage in o.outages))


def legend(words: Words) -> list[dict[str, str]]:
    """The legend of the timelines."""
    marks = ("up", "line", "power", "out", "lan", "planned", "shared", "none")
    return [{"mark": mark, "text": words(f"report.mark.{mark}")} for mark in marks]


def ticks(period: Period, words: Words) -> list[dict[str, Any]]:
    """The days under a timeline; if there are many, only their numbers."""
    every = charts.day_ticks(period)
    crowded = len(every) > NAMED_DAYS
    return [
        {
            "x": tick["x"],
            "label": str(tick["day"].day)
            if crowded
            else formats.day(tick["day"], words, year=False),
            "number": str(tick["day"].day),
        }
        for tick in every
    ]


def _outage_table(summary: Summary, words: Words) -> dict[str, Any]:
    """Outages by office and cause (number, total, longest), and the availability."""
    hit = [office for office in _longest_out_first(summary) if office.outages]
    rows = [
        [
            formats.office_name(office.office, words),
            *(_outage_cell(office, state, words) for state in OUT),
            *availability(office, words),
        ]
        for office in hit
    ]
    quiet = [
        formats.office_name(office.office, words)
        for office in summary.offices
        if not office.outages and office.state_times.availability is not None
    ]
    return {
        "head": [
            words("report.head.block"),
            *(words(f"state.{state}") for state in OUT),
            *(words(f"report.states.{name}") for name in ("availability", "without", "between")),
        ],
        **_rows(rows),
        "note": words("report.states.table_note"),
        "quiet": words(
            "report.states.quiet_shared" if summary.shared else "report.states.quiet",
            names=names_of(quiet, len(summary.offices), "report.all_blocks", words),
        )
        if quiet
        else None,
    }


def _outage_cell(office: OfficeSummary, state: OfficeState, words: Words) -> str:
    found = [outage for outage in office.outages if outage.state is state]
    if not found:
        return words("report.states.never")
    total = formats.duration(sum(outage.seconds for outage in found), words)
    if len(found) == 1:
        return words("report.states.once", total=total)
    longest = formats.duration(max(outage.seconds for outage in found), words)
    return words("report.states.times", n=len(found), total=total, longest=longest)


def availability(office: OfficeSummary, words: Words) -> list[str]:
    """The availability, the availability without power failures, and its bounds."""
    account = office.state_times
    without = account.availability_without_power
    if account.availability is None or without is None or account.bounds is None:
        return [words("not_measured")] * 3
    low, high = account.bounds
    return [
        formats.availability(account.availability, account.coverage, words),
        formats.availability(without, account.coverage, words),
        f"{formats.share_floor(low, [high])} – {formats.share_floor(high, [low])}",
    ]


def trend(summary: Summary, words: Words) -> dict[str, Any] | None:
    """The trend over earlier periods and this one; None without earlier periods."""
    names = [(point.name, point.start) for point in summary.offices[0].history]
    if not names:
        return None
    columns = [*names, (summary.period.name, summary.period.start)]
    rows = [
        {
            "office": formats.office_name(office.office, words),
            "points": [*(_point(p) for p in office.history), _point(_now(office, summary))],
        }
        for office in summary.offices
    ]
    return {
        "title": words(
            "report.trend.title", span=words(f"period.spans.{summary.period.kind}", n=len(columns))
        ),
        "note": words("report.trend.note"),
        "head": [
            formats.short_period_name(summary.period.kind, name, start, words)
            for name, start in columns
        ],
        "mark": summary.config.thresholds.delivered,
        "first": words("report.head.block"),
        **_rows(rows),
    }


def _now(office: OfficeSummary, summary: Summary) -> TrendPoint:
    period = summary.period
    return TrendPoint(period.name, period.start, office.conference, office.state_times, office.down)


def _point(point: TrendPoint) -> dict[str, Any]:
    ratio, times = point.down.ratio, point.state_times
    available = known_well_enough(times.availability, times.coverage)
    return {
        "grade": point.conference.grade,
        "speed": None if ratio is None else round(min(ratio, 1.0), 4),
        "available": None if available is None else formats.share_narrow(available),
    }

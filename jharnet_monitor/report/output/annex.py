"""The figures of a report as tables: for CSV, XLSX, and as attachments of the PDF.

Values are as measured, in SI base units and unrounded; an empty cell was not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from math import isfinite

from jharnet_monitor.i18n import formats
from jharnet_monitor.judge.statistics.intervals import Interval
from jharnet_monitor.model import Direction, OfficeState
from jharnet_monitor.report.data.findings import every_finding
from jharnet_monitor.report.data.summary import OfficeSummary, Speed, Summary
from jharnet_monitor.report.output.draft import FORM, Cell


@dataclass(frozen=True, slots=True)
class Table:
    """One table: `name` is for its file, `columns` are untranslated names."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def tables(summary: Summary) -> list[Table]:
    """All tables of a report, the same in each language except for the headings."""
    kinds = (_offices, _calls, _speeds, _delivered, _services, _outages, _days, _drills, _form)
    return [build(summary) for build in kinds]


_Getter = Callable[[OfficeSummary], Cell]


def _speed_columns(name: str, of: Callable[[OfficeSummary], Speed]) -> dict[str, _Getter]:
    return {
        f"{name}_contracted": lambda office: of(office).contracted,
        f"{name}_median": lambda office: of(office).median,
        f"{name}_low": lambda office: of(office).low,
        f"{name}_high": lambda office: of(office).high,
        f"{name}_tests": lambda office: of(office).tests,
        f"{name}_below": lambda office: None if of(office).ratio is None else of(office).below,
    }


def _seconds_in(state: OfficeState) -> _Getter:
    return lambda office: office.state_times.of(state).total_seconds()


_OFFICE: dict[str, _Getter] = {
    "office": lambda office: office.office.id,
    "name": lambda office: office.office.name,
    "name_hi": lambda office: office.office.name_hi,
    "grade": lambda office: office.conference.grade,
    "conference_tests": lambda office: office.conference.tests,
    "conference_missed": lambda office: office.conference.missed,
    "outside_hours": lambda office: office.conference.outside_hours,
    "limited_by": lambda office: office.conference.limited_by,
    "cause": lambda office: office.conference.cause,
    "grade_before": lambda office: office.before.conference.grade if office.before else None,
    "availability": lambda office: office.state_times.availability,
    "availability_without_power": lambda office: office.state_times.availability_without_power,
    "coverage": lambda office: office.state_times.coverage,
    **{f"seconds_{state}": _seconds_in(state) for state in OfficeState},
    **_speed_columns("down", lambda office: office.down),
    **_speed_columns("up", lambda office: office.up),
    "speed_outside_hours": lambda office: office.down.quiet if office.down.tests else None,
    "internet_down_median": lambda office: office.internet_down.median,
    "internet_up_median": lambda office: office.internet_up.median,
    "internet_tests": lambda office: max(office.internet_down.tests, office.internet_up.tests),
    "rtt_p50": lambda office: office.latency.p50,
    "rtt_p95": lambda office: office.latency.p95,
    "jitter": lambda office: office.latency.jitter,
    "minutes": lambda office: office.latency.minutes,
    "sent": lambda office: office.latency.sent,
    "lost": lambda office: office.latency.lost,
    "loss": lambda office: office.latency.loss,
}
"""The columns of the first table, and how each is computed from an office."""


def _offices(summary: Summary) -> Table:
    rows = (
        (
            *(get(office) for get in _OFFICE.values()),
            " ".join(finding.kind.value for finding in found),
        )
        for office, found in zip(summary.offices, every_finding(summary), strict=True)
    )
    return Table("offices", (*_OFFICE, "findings"), tuple(rows))


def _calls(summary: Summary) -> Table:
    rows = (
        (office.office.id, _moment(at, summary), grade)
        for office in summary.offices
        for at, grade in office.conference.grades
    )
    return Table("conference-tests", ("office", "at", "grade"), tuple(rows))


def _speeds(summary: Summary) -> Table:
    rows = (
        (office.office.id, _moment(test.at, summary), test.down, test.up)
        for office in summary.offices
        for test in office.speed_tests
    )
    return Table("speed-tests", ("office", "at", "down", "up"), tuple(rows))


def _delivered(summary: Summary) -> Table:
    """The delivered rates by direction and time slot, with 95 % intervals."""
    columns = ("office", "way", "slot", "tests", "test_days", "median", "median_low", "median_high",
               "p5", "p5_low", "p5_high", "below", "below_low", "below_high")  # fmt: skip
    rows = (
        (office.office.id, way, slot.value, one.tests, one.days, *_interval(one.median),
         *_interval(one.p5), *_interval(one.below))
        for office in summary.offices
        for way, by_slot in office.slots.items()
        for slot, one in by_slot.items()
    )  # fmt: skip
    return Table("delivered", columns, tuple(rows))


def _interval(one: Interval | None) -> tuple[Cell, Cell, Cell]:
    """A value and its interval; an unknown end is an empty cell."""
    if one is None:
        return None, None, None
    low, high = (end if end is not None and isfinite(end) else None for end in (one.low, one.high))
    return one.value, low, high


def _services(summary: Summary) -> Table:
    """The visits of every office to every service, by the rule of application readiness."""
    columns = ("office", "service", "visits", "in_time", "in_time_share", "left_out", "ready")
    wanted = summary.config.probes.service.ready
    rows = (
        (office.office.id, use.service, use.counted, use.in_time, use.share, use.left_out,
         use.readiness(wanted).value)
        for office in summary.offices
        for use in office.services
    )  # fmt: skip
    return Table("services", columns, tuple(rows))


def _form(summary: Summary) -> Table:
    """The table of the state's e-Office assessment, form NIC-EOF-AF-6.0.

    Utilisation is of the contracted rate, in office hours, of the direction that is used more.
    """
    columns = ("location", "location_hi", "connectivity", "bandwidth", "use_lowest", "use_highest",
               "use_mean", "use_p95", "busy_hour", "failover", "readings")  # fmt: skip
    return Table(FORM, columns, tuple(_form_row(one) for one in summary.offices))


def _form_row(one: OfficeSummary) -> tuple[Cell, ...]:
    office, link = one.office, one.office.link
    known = [
        (use, link.rate(direction))
        for use, direction in zip(one.use, Direction, strict=True)
        if use is not None and link is not None
    ]
    figures: tuple[Cell, ...] = (None,) * 6
    if known:
        use, rate = max(known, key=lambda pair: pair[0].mean / pair[1])
        shares = [x / rate for x in (use.lowest, use.highest, use.mean, use.p95)]
        figures = (*shares, use.busy_hour, use.readings)
    *used, readings = figures
    failover = None if link is None or link.failover is None else link.failover
    return (
        office.name, office.name_hi, None if link is None else link.kind,
        None if link is None else link.contracted, *used, failover, readings,
    )  # fmt: skip


def _outages(summary: Summary) -> Table:
    rows = (
        (
            office.office.id,
            outage.state.value,
            _moment(outage.start, summary),
            _moment(outage.end, summary),
            outage.seconds,
            outage.open,
        )
        for office in summary.offices
        for outage in office.outages
    )
    return Table("outages", ("office", "state", "begin", "end", "seconds", "open"), tuple(rows))


def _days(summary: Summary) -> Table:
    columns = ("office", "day", "rtt_p50", "rtt_p95", "jitter", "minutes", "sent", "lost", "loss")
    rows = (
        (office.office.id, day.isoformat(), latency.p50, latency.p95, latency.jitter,
         latency.minutes, latency.sent, latency.lost, latency.loss)
        for office in summary.offices
        for day, latency in office.days
    )  # fmt: skip
    return Table("days", columns, tuple(rows))


def _drills(summary: Summary) -> Table:
    columns = ("drill", "begin", "profile", "office", "joined", "outcome", "grade", "limited_by",
               "cause")  # fmt: skip
    return Table("drills", columns, tuple(_drill_rows(summary)))


def _drill_rows(summary: Summary) -> Iterable[tuple[Cell, ...]]:
    for drill in summary.drills:
        begin = _moment(drill.started_at, summary)
        for one in drill.offices:
            outcome = None if one.outcome is None else one.outcome.value
            yield (
                drill.id, begin, drill.profile.value, one.office, one.joined, outcome, one.grade,
                one.limited_by, one.cause,
            )  # fmt: skip


def _moment(at: datetime, summary: Summary) -> str:
    return formats.iso_moment(at, summary.zone)

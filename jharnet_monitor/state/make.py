"""Makes a hub's weekly results for the state from its judgements of the week."""

from __future__ import annotations

from datetime import datetime

from jharnet_monitor import __version__
from jharnet_monitor.config import Config
from jharnet_monitor.judge.calendar.period import Period
from jharnet_monitor.judge.line.contract import promised_availability
from jharnet_monitor.model import Direction, format_utc
from jharnet_monitor.report.data.load import summarise
from jharnet_monitor.report.data.summary import OfficeSummary, Summary
from jharnet_monitor.report.sections.rating import group_of
from jharnet_monitor.state.week import DistrictWeek, OfficeWeek
from jharnet_monitor.store import Store

DIGITS = 6
"""Decimals of ratios and seconds; rates are rounded to whole bit/s."""


def make_week(store: Store, config: Config, period: Period, now: datetime) -> DistrictWeek:
    """The judgements of a week that has ended, the same as in its report.

    Raises `UserError`, `StoreError`.
    """
    return week_of(summarise(store, config, period, now))


def week_of(summary: Summary) -> DistrictWeek:
    """Convert a summary to the form that the state takes."""
    return DistrictWeek(
        district=summary.config.district.id,
        week=summary.period.name,
        made_at=format_utc(summary.made_at.replace(microsecond=0)),
        version=__version__,
        root=summary.root,
        faults_open=sum(fault.is_open for fault in summary.faults),
        made_up=summary.made_up,
        offices=tuple(_office(one, summary.config) for one in summary.offices),
    )


def _office(one: OfficeSummary, config: Config) -> OfficeWeek:
    times, office, assessment = one.state_times, one.office, one.assessment
    link = office.link
    promised = promised_availability(config, office)
    known = (times.coverage or 0) >= config.capacity.coverage
    delivered = one.down.median if one.down.quiet else None
    return OfficeWeek(
        id=office.id,
        name=office.name,
        name_hi=office.name_hi,
        subdivision=office.subdivision,
        group=group_of(one.conference, config.thresholds.grade),
        grade=one.conference.grade,
        calls=one.conference.tests,
        availability=_rounded(times.availability),
        coverage=_rounded(times.coverage),
        promised=promised,
        kept=times.keeps(promised) if known else None,
        outages=len(one.outages),
        down_seconds=round(times.down.total_seconds(), 1),
        contracted=None if link is None else float(round(link.rate(Direction.DOWN))),
        delivered=None if delivered is None else float(round(delivered)),
        tests=one.down.tests,
        rtt_seconds=_rounded(one.latency.p50),
        loss=_rounded(one.latency.loss),
        verdict=assessment.verdict,
        slab=None if assessment.slab is None else float(round(assessment.slab)),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)

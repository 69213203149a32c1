"""Reads what a report needs from the store, and no more than one office at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from jharnet_monitor.config import Config, Office
from jharnet_monitor.errors import UserError
from jharnet_monitor.report.collect import Collector, OfficeTally, add_speed
from jharnet_monitor.report.fold import account, clipped, conference, speed
from jharnet_monitor.report.period import Period
from jharnet_monitor.report.states import spans
from jharnet_monitor.report.summary import OfficeSummary, Point, Span, Summary
from jharnet_monitor.store import Store

TREND = 12
"""Periods in the trend, this one included."""


def summarise(store: Store, config: Config, period: Period, now: datetime) -> Summary:
    """The summary of a period, as far as it has come; raises `UserError` for a future one."""
    if now <= period.start:
        raise UserError(f"{period.name} has not begun yet; it begins on {period.start:%Y-%m-%d}")
    until = min(now, period.end)
    collector = Collector(config, period, until)
    earlier = _earlier(store, period)
    known_until = _known_until(store, config, until)
    offices = [_office(store, collector, office, earlier, known_until) for office in config.offices]
    links = store.chain.links(period.start, period.end)
    return replace(
        collector.summary(now, offices),
        drills=tuple(store.diary.drills(period.start, period.end)),
        root=links[-1].root if links else None,
    )


def _office(
    store: Store,
    collector: Collector,
    office: Office,
    earlier: list[Period],
    known_until: datetime,
) -> OfficeSummary:
    period = collector.period
    _read_latency(store, collector, office.id)
    for probe in ("bandwidth", "conference"):
        for measurement in store.measurements(
            office=office.id, probe=probe, since=period.start, until=period.end
        ):
            collector.add(measurement)
    begin = earlier[0].start if earlier else period.start
    states = spans(store.diary.transitions(office.id, begin, period.end), known_until)
    history = [_point(store, collector.config, office, one, states) for one in earlier]
    return collector.office(office, states, history)


def _read_latency(store: Store, collector: Collector, office: str) -> None:
    """The minutes of an office: ten thousand a week, so no `Measurement` is made of them."""
    for number, (start, end) in enumerate(collector.days()):
        for block in store.figures.blocks(office, "latency", start, end):
            collector.seen(block.first, block.last, block.count)
            if not block.conditions.get("under_load"):
                collector.add_minutes(office, number, block.values)


def _earlier(store: Store, period: Period) -> list[Period]:
    """The periods before, back to the first measurement, at most so many as the trend shows."""
    oldest = next((m.started_at for m in store.measurements(limit=1)), None)
    periods: list[Period] = []
    one = period
    while len(periods) < TREND - 1 and oldest is not None and one.start > oldest:
        one = one.before()
        periods.append(one)
    return periods[::-1]


def _point(
    store: Store, config: Config, office: Office, period: Period, states: list[Span]
) -> Point:
    tally = OfficeTally()
    within = {"office": office.id, "since": period.start, "until": period.end}
    for measurement in store.measurements(probe="bandwidth", **within):  # type: ignore[arg-type]
        add_speed(tally, measurement)
    calls = store.measurements(probe="conference", **within)  # type: ignore[arg-type]
    contracted = office.link.contracted if office.link else None
    rates = (test.down for test in tally.tests)
    held = clipped(states, period.start, period.end)
    return Point(
        name=period.name,
        start=period.start,
        conference=conference(calls, config.district),
        availability=account(held, period.seconds),
        down=speed(rates, contracted, config.thresholds.delivered),
    )


def _known_until(store: Store, config: Config, until: datetime) -> datetime:
    """How far the states can be trusted: a hub that stopped tells no further change."""
    newest = store.measurements(limit=1, newest_first=True)
    if not newest:
        return until
    return min(until, newest[0].started_at + timedelta(seconds=3 * config.probes.latency.every))

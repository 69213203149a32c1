"""Reads what a report needs from the store, and no more than one office at a time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from jharnet_monitor.config import Config, Office
from jharnet_monitor.errors import UserError
from jharnet_monitor.judge.availability import account
from jharnet_monitor.judge.timeline import Span
from jharnet_monitor.model import Outcome, parse_utc
from jharnet_monitor.report.collect import DOWN, Collector
from jharnet_monitor.report.fold import clipped, conference, speed
from jharnet_monitor.report.period import Period
from jharnet_monitor.report.states import spans
from jharnet_monitor.report.summary import OfficeSummary, Point, Summary
from jharnet_monitor.store import Store

TREND = 12
"""Periods in the trend, this one included."""
DAY = timedelta(days=1)
READERS = 2
"""Offices read at once: while the database works for one, another is added up."""


def summarise(store: Store, config: Config, period: Period, now: datetime) -> Summary:
    """The summary of a period, as far as it has come; raises `UserError` for a future one."""
    if now <= period.start:
        raise UserError(f"{period.name} has not begun yet; it begins on {period.start:%Y-%m-%d}")
    until = min(now, period.end)
    earlier = _earlier(store, period)
    known_until = _known_until(store, config, until)

    def read(office: Office) -> OfficeSummary:
        collector = Collector(config, office, period, until)
        return _office(store, collector, earlier, known_until)

    with ThreadPoolExecutor(READERS) as pool:
        offices = tuple(pool.map(read, config.offices))
    links = store.chain.links(period.start, period.end)
    return Summary(
        config=config,
        period=period,
        until=until,
        made_at=now,
        offices=offices,
        drills=tuple(store.diary.drills(period.start, period.end)),
        root=links[-1].root if links else None,
    )


def _office(
    store: Store, collector: Collector, earlier: list[Period], known_until: datetime
) -> OfficeSummary:
    office, period = collector.office, collector.period
    for block in store.figures.blocks(office.id, "latency", period.start, period.end, DAY):
        collector.add_minutes(block)
    for probe in ("bandwidth", "conference"):
        for measurement in store.measurements(
            office=office.id, probe=probe, since=period.start, until=period.end
        ):
            collector.add(measurement)
    begin = earlier[0].start if earlier else period.start
    states = spans(store.diary.transitions(office.id, begin, period.end), known_until)
    history = _history(store, collector.config, office, earlier, states)
    return collector.summary(states, list(history))


def _earlier(store: Store, period: Period) -> list[Period]:
    """The periods before, back to the first measurement, at most so many as the trend shows."""
    oldest = next((m.started_at for m in store.measurements(limit=1)), None)
    periods: list[Period] = []
    one = period
    while len(periods) < TREND - 1 and oldest is not None and one.start > oldest:
        one = one.before()
        periods.append(one)
    return periods[::-1]


def _history(
    store: Store, config: Config, office: Office, earlier: list[Period], states: list[Span]
) -> Iterator[Point]:
    """The earlier periods of an office, the oldest first."""
    if not earlier:
        return
    calls = store.measurements(
        office=office.id, probe="conference", since=earlier[0].start, until=earlier[-1].end
    )
    starts = [call.started_at for call in calls]
    contracted = office.link.contracted if office.link else None
    for period in earlier:
        first, after = bisect_left(starts, period.start), bisect_left(starts, period.end)
        held = clipped(states, period.start, period.end)
        yield Point(
            name=period.name,
            start=period.start,
            conference=conference(calls[first:after], config.district),
            account=account(held, period.start, period.end),
            down=speed(_rates(store, office, period), contracted, config.thresholds.delivered),
        )


def _rates(store: Store, office: Office, period: Period) -> Iterable[Sequence[float]]:
    """The rates of each day that were measured towards the office over JharNet."""
    days: dict[int, list[float]] = {}
    for block in store.figures.blocks(office.id, "bandwidth", period.start, period.end, DAY):
        if block.path == "jharnet" and block.outcome is Outcome.OK:
            days.setdefault(block.piece, []).extend(block.values.get(DOWN, ()))
    return days.values()


def _known_until(store: Store, config: Config, until: datetime) -> datetime:
    """How far the states can be trusted: a hub that stopped tells no further change."""
    beat = store.recall("beat")
    if beat is not None:
        return min(until, parse_utc(beat))
    newest = store.measurements(limit=1, newest_first=True)
    if not newest:
        return until
    return min(until, newest[0].started_at + timedelta(seconds=3 * config.probes.latency.every))

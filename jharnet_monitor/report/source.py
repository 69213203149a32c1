"""Reads what a report needs from the store, and no more than one office at a time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, time, timedelta
from math import ceil

from jharnet_monitor.config import Config, Office
from jharnet_monitor.errors import UserError
from jharnet_monitor.judge.assess import enough_off_hours
from jharnet_monitor.judge.availability import account
from jharnet_monitor.judge.timeline import Span
from jharnet_monitor.model import RETEST, Measurement, Outcome, parse_utc
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
    judged_from = judged_over(period, config)
    earlier = _earlier(store, period)
    known_until = _known_until(store, config, until)

    kept = store.retention.days(period.days[0], period.days[-1] + DAY, probe="latency")

    def read(office: Office) -> OfficeSummary:
        collector = Collector(config, office, period, judged_from, until)
        for day in kept:
            if day.office == office.id:
                collector.add_kept(day)
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
        judged_from=judged_from,
        drills=tuple(store.diary.drills(period.start, period.end)),
        root=links[-1].root if links else None,
    )


def judged_over(period: Period, config: Config) -> date:
    """The first day of what a report judges the lines by: its period, or longer.

    A week alone never holds the days without which nothing is concluded (`capacity.days`); whole
    weeks up to the period's end do, and one more for days that are missing.
    """
    weeks = ceil(config.capacity.days / 7) + 1
    return min(period.days[0], period.days[-1] - timedelta(days=7 * weeks - 1))


def _office(
    store: Store, collector: Collector, earlier: list[Period], known_until: datetime
) -> OfficeSummary:
    office, period = collector.office, collector.period
    midnights = _midnights(collector.judged_from, period)
    days = (moment.date() for moment in midnights)
    for day, packets in zip(days, store.figures.packets(office.id, midnights), strict=False):
        collector.add_packets(day, packets)
    for block in store.figures.blocks(office.id, "latency", period.start, period.end, DAY):
        collector.add_minutes(block)
    for probe in ("bandwidth", "conference"):
        for extent in store.figures.extents(office.id, probe, (period.start, period.end)):
            collector.see(extent)
    for test in _tests(store, collector, midnights[0]):
        collector.add_test(test)
    calls = store.measurements(
        office=office.id, probe="conference", since=midnights[0], until=period.end
    )
    for call in calls:
        collector.add_call(call)
    begin = min(midnights[0], earlier[0].start) if earlier else midnights[0]
    states = spans(store.diary.transitions(office.id, begin, period.end), known_until)
    history = _history(store, collector.config, office, earlier, states)
    return collector.summary(states, list(history))


def _midnights(first: date, period: Period) -> list[datetime]:
    """From the beginning of the stretch that is judged to the beginning of the period."""
    zone = period.start.tzinfo
    days = (period.days[0] - first).days
    return [datetime.combine(first + timedelta(days=n), time(), zone) for n in range(days + 1)]


def _tests(store: Store, collector: Collector, since: datetime) -> Iterator[Measurement]:
    """Speed tests of the stretch that is judged, and of the period those to the Internet.

    Packet trains, which are many, only where the judgement may have to rest on them.
    """
    office, period = collector.office.id, collector.period

    def of(path: str, begin: datetime) -> list[Measurement]:
        return store.measurements(
            office=office, probe="bandwidth", path=path, since=begin, until=period.end
        )

    tests = of("jharnet", since)
    yield from tests
    yield from of("internet", period.start)
    if not enough_off_hours(collector.config, tests):
        yield from of("trains", since)


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
        office=office.id,
        probe="conference",
        path="jharnet",
        since=earlier[0].start,
        until=earlier[-1].end,
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
        counts = block.path == "jharnet" and block.outcome is Outcome.OK
        if counts and block.conditions.get(RETEST) != "due":
            days.setdefault(block.piece, []).extend(block.values.get(DOWN, ()))
    return [days[day] for day in sorted(days)]


def _known_until(store: Store, config: Config, until: datetime) -> datetime:
    """How far the states can be trusted: a hub that stopped tells no further change."""
    beat = store.recall("beat")
    if beat is not None:
        return min(until, parse_utc(beat))
    newest = store.measurements(limit=1, newest_first=True)
    if not newest:
        return until
    return min(until, newest[0].started_at + timedelta(seconds=3 * config.probes.latency.every))

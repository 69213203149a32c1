"""Reads the data of a report from the store, keeping only what its figures need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, time, timedelta
from math import ceil

from jharnet_monitor.config import Config
from jharnet_monitor.errors import UserError
from jharnet_monitor.judge.calendar.period import Period
from jharnet_monitor.judge.line.assess import enough_off_hours
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import Measurement, Route, parse_utc
from jharnet_monitor.probes import PROBES
from jharnet_monitor.report.data.collect import Collector
from jharnet_monitor.report.data.history import earlier_periods, history
from jharnet_monitor.report.data.state_spans import spans
from jharnet_monitor.report.data.summary import OfficeSummary, Summary, TrendPoint
from jharnet_monitor.store import Store
from jharnet_monitor.store.bulk_reader import Packets

DAY = timedelta(days=1)
MINUTES = "latency"
"""The probe that measures all the time: read by the day, for all offices at once."""
AT_ONCE = 16
"""Number of offices whose tests are held in memory at a time."""


def summarise(store: Store, config: Config, period: Period, now: datetime) -> Summary:
    """The summary of a period up to `now`; raises `UserError` for a future period."""
    if now <= period.start:
        raise UserError(f"{period.name} has not begun yet; it begins on {period.start:%Y-%m-%d}")
    until = min(now, period.end)
    judged_from = judged_over(period, config)
    earlier = earlier_periods(store, period)
    known_until = _known_until(store, config, until)

    collectors = [
        Collector(config, office, period, judged_from, until) for office in config.offices
    ]
    midnights = _midnights(judged_from, period)
    offices: list[OfficeSummary] = []
    with ThreadPoolExecutor(1) as aside:  # the database adds up packets meanwhile
        packets = aside.submit(list, store.bulk_reader.packets(midnights))
        _read_minutes(store, _by_office(collectors), period)
        while collectors:
            some, collectors[:AT_ONCE] = collectors[:AT_ONCE], []
            rest = [_read_office(store, one, earlier, known_until) for one in some]
            if not offices:
                _add_packets(_by_office([*some, *collectors]), midnights, packets.result())
            offices += [one.summary(*held) for one, held in zip(some, rest, strict=True)]
    links = store.chain.links(period.start, period.end)
    return Summary(
        config=config,
        period=period,
        until=until,
        made_at=now,
        offices=tuple(offices),
        judged_from=judged_from,
        drills=tuple(store.event_log.drills(period.start, period.end)),
        root=links[-1].root if links else None,
    )


def judged_over(period: Period, config: Config) -> date:
    """The first day of the assessment of the lines: that of the period, or earlier.

    A week has fewer days than a verdict requires (`capacity.days`). The assessment covers as many
    whole weeks up to the end of the period as are required, plus one for missing days.
    """
    weeks = ceil(config.capacity.days / 7) + 1
    return min(period.days[0], period.days[-1] - timedelta(days=7 * weeks - 1))


def _by_office(collectors: Iterable[Collector]) -> dict[str, Collector]:
    return {collector.office.id: collector for collector in collectors}


def _add_packets(
    collectors: Mapping[str, Collector],
    midnights: Sequence[datetime],
    found: Sequence[Sequence[Packets]],
) -> None:
    """Add the packets of each day before the period."""
    for midnight, every in zip(midnights, found, strict=False):
        for packets in every:
            if packets.office in collectors:
                collectors[packets.office].add_packets(midnight.date(), packets)


def _read_minutes(store: Store, collectors: Mapping[str, Collector], period: Period) -> None:
    """Read the latency minutes of all offices in the period, day by day, as they are stored on
    disk.
    """
    zone = period.start.tzinfo
    for day in period.days:
        begin, end = (datetime.combine(d, time(), zone) for d in (day, day + DAY))
        for block in store.bulk_reader.blocks(None, MINUTES, begin, end):
            if block.office in collectors:
                collectors[block.office].add_minutes(day, block)
    for kept in store.retention.days(period.days[0], period.days[-1] + DAY, probe=MINUTES):
        if kept.office in collectors:
            collectors[kept.office].add_kept(kept)


def _read_tests(store: Store, collector: Collector, since: datetime) -> None:
    """Read the tests of one office since the start of the assessment."""
    office, period = collector.office, collector.period
    for probe in PROBES.keys() - {MINUTES}:
        for extent in store.bulk_reader.extents(office.id, probe, (period.start, period.end)):
            collector.count(extent)
    for test in _tests(store, collector, since):
        collector.add_test(test)
    calls = store.measurements(office=office.id, probe="conference", since=since, until=period.end)
    for call in calls:
        collector.add_call(call)
    readings = store.bulk_reader.blocks(office.id, "utilisation", since, period.end, starts=True)
    for block in readings:
        collector.add_traffic(block)


def _read_office(
    store: Store, collector: Collector, earlier: list[Period], known_until: datetime
) -> tuple[list[Span], list[TrendPoint]]:
    """Read one office into its collector; returns its states and its earlier periods."""
    office, period = collector.office, collector.period
    begin = datetime.combine(collector.judged_from, time(), period.start.tzinfo)
    _read_tests(store, collector, begin)
    if earlier:
        begin = min(begin, earlier[0].start)
    states = spans(store.event_log.transitions(office.id, begin, period.end), known_until)
    return states, list(history(store, collector.config, office, earlier, states))


def _midnights(first: date, period: Period) -> list[datetime]:
    """The midnights from the first day of the assessment to the start of the period."""
    zone = period.start.tzinfo
    days = (period.days[0] - first).days
    return [datetime.combine(first + timedelta(days=n), time(), zone) for n in range(days + 1)]


def _tests(store: Store, collector: Collector, since: datetime) -> Iterator[Measurement]:
    """The speed tests of the assessment, and those to the Internet of the period.

    Packet trains, of which there are many, are read only if the assessment may need them.
    """
    office, period = collector.office.id, collector.period

    def of(route: Route, begin: datetime) -> list[Measurement]:
        return store.measurements(
            office=office, probe="bandwidth", path=route, since=begin, until=period.end
        )

    tests = of(Route.JHARNET, since)
    yield from tests
    yield from of(Route.INTERNET, period.start)
    if not enough_off_hours(collector.config, tests):
        yield from of(Route.TRAINS, since)


def _known_until(store: Store, config: Config, until: datetime) -> datetime:
    """Until when the states are known: a hub that stopped records no further change."""
    beat = store.get_value("beat")
    if beat is not None:
        return min(until, parse_utc(beat))
    newest = store.measurements(limit=1, newest_first=True)
    if not newest:
        return until
    return min(until, newest[0].started_at + timedelta(seconds=3 * config.probes.latency.every))

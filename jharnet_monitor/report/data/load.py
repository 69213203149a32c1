"""Reads the data of a report from the store, keeping only what its figures need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from math import ceil

from jharnet_monitor.config import Config
from jharnet_monitor.errors import UserError
from jharnet_monitor.judge.applications import Visit
from jharnet_monitor.judge.calendar.hours import office_windows
from jharnet_monitor.judge.calendar.period import Period
from jharnet_monitor.judge.line.assess import needs_trains
from jharnet_monitor.judge.line.contract import under_contract
from jharnet_monitor.judge.outages.shared import JudgedSpans, SharedFault, judge_spans
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import HEADQUARTERS, Measurement, Route, parse_utc
from jharnet_monitor.probes import PROBES
from jharnet_monitor.report.data.collect import Collector, visits_of
from jharnet_monitor.report.data.faults import faults_in
from jharnet_monitor.report.data.history import earlier_periods, history
from jharnet_monitor.report.data.in_force import SealedContracts, in_force
from jharnet_monitor.report.data.parallel import in_parallel
from jharnet_monitor.report.data.state_spans import clipped, spans
from jharnet_monitor.report.data.summary import OfficeSummary, Summary
from jharnet_monitor.store import Store

DAY = timedelta(days=1)
MINUTES = "latency"
"""The probe that measures all the time: read by the week, for many offices at once."""
PACKETS = ("received", "sent")
"""What the assessment reads of a minute."""
LATENCY = (*PACKETS, "rtt_p50_seconds", "jitter_seconds")
"""What a report reads of a minute of its period."""
BATCH = 16
"""Number of offices whose measurements are held in memory at a time."""
DAYS_AT_ONCE = 7
"""Number of days whose minutes are read at once: their columns are unpacked together."""


def summarise(
    store: Store, config: Config, period: Period, now: datetime, processes: int = 1
) -> Summary:
    """The summary of a period up to `now`; raises `UserError` for a future period.

    The offices are divided among so many `processes`. All but one are forks of this one, which then
    must have no other thread, and connections to no other database.
    """
    if now <= period.start:
        raise UserError(f"{period.name} has not begun yet; it begins on {period.start:%Y-%m-%d}")
    until = min(now, period.end)
    config = in_force(store, config, until)
    judged_from = judged_over(period, config)
    earlier = earlier_periods(store, period)
    known_until = _known_until(store, config, until)

    contracts = SealedContracts.read(store)
    collectors = [
        Collector(config, office, period, judged_from, until, contracts.changed(office, until))
        for office in config.offices
    ]
    states = _every_state(store, collectors, earlier, known_until, processes)
    reading = _Reading(
        store=store,
        earlier=earlier,
        judged=(judged := _judged(collectors, states, until)),
        before=[_judged_in(collectors, states, one) for one in earlier],
        visits=_visits(store, config, period),
        contracts=contracts,
    )
    parts = _divided(collectors, processes)
    collectors.clear()  # each part forgets an office once its summary is made
    if len(parts) > 1:
        store.disconnect()
    offices = [one for part in in_parallel(reading.summaries, parts) for one in part]
    faults, missing = faults_in(store, config, states, judged, (period.start, until))
    return Summary(
        config=config,
        period=period,
        until=until,
        made_at=now,
        offices=tuple(offices),
        judged_from=judged_from,
        shared=_shared(judged, period, until),
        drills=tuple(store.event_log.drills(period.start, period.end)),
        root=store.chain.root_within(period.start, period.end),
        faults=faults,
        unbooked=missing,
        made_up=store.made_up(),
    )


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the summary of an office needs of all offices, and the store to read the rest from."""

    store: Store
    earlier: list[Period]
    judged: Mapping[str, JudgedSpans]
    before: Sequence[Mapping[str, Sequence[Span]]]
    """The states of each office in the earlier periods."""
    visits: Mapping[str, Sequence[Visit]]
    contracts: SealedContracts

    def summaries(self, collectors: list[Collector]) -> list[OfficeSummary]:
        """The summaries of these offices, which are taken from the list some at a time, so that
        what was read of them does not stay in memory.
        """
        found: list[OfficeSummary] = []
        while collectors:
            batch, collectors[:BATCH] = collectors[:BATCH], []
            by_office = {one.office.id: one for one in batch}
            _read_minutes(self.store, by_office)
            _count_tests(self.store, by_office, batch[0].period)
            for one in batch:
                states = [spans[one.office.id] for spans in self.before]
                _read_tests(self.store, one, one.judged_since)
                trend = list(
                    history(
                        self.store, one.config, one.office, self.earlier, states, self.contracts
                    )
                )
                found.append(one.summary(self.judged[one.office.id], trend, self.visits))
        return found


def _divided(collectors: Sequence[Collector], processes: int) -> list[list[Collector]]:
    """The offices in as many equal parts as there are processes."""
    count = len(collectors)
    number = max(1, min(processes, count))
    ends = [count * part // number for part in range(number + 1)]
    return [list(collectors[begin:end]) for begin, end in pairwise(ends)]


def judged_over(period: Period, config: Config) -> date:
    """The first day of the assessment of the lines: that of the period, or earlier.

    A week has fewer days than a verdict requires (`capacity.days`). The assessment covers as many
    whole weeks up to the end of the period as are required, plus one for missing days.
    """
    weeks = ceil(config.capacity.days / 7) + 1
    return min(period.days[0], period.days[-1] - timedelta(days=7 * weeks - 1))


def _read_minutes(store: Store, collectors: Mapping[str, Collector]) -> None:
    """Read the latency minutes of these offices since the start of the assessment, some days at a
    time, as they are stored on disk. The agents' own minutes only show on which days there was
    evidence.
    """
    period = (first := next(iter(collectors.values()))).period

    def midnight(day: date) -> datetime:
        return datetime.combine(day, time(), period.start.tzinfo)

    for days in _stretches(first):
        blocks = store.bulk_reader.blocks(
            list(collectors), MINUTES, midnight(days[0]), midnight(days[-1] + DAY),
            path=Route.JHARNET, starts=True,
            names=PACKETS if days[0] < period.days[0] else LATENCY,
        )  # fmt: skip
        missing = {office: set(days) for office in collectors}
        for block in blocks:
            missing[block.office] -= collectors[block.office].add_minutes(days, block)
        for office, without in missing.items():
            for day in without:
                bounds = midnight(day), midnight(day + DAY)
                if any(store.bulk_reader.extents(office, MINUTES, bounds)):
                    collectors[office].note_day(day)
    for pruned in store.retention.days(period.days[0], period.days[-1] + DAY, probe=MINUTES):
        if pruned.office in collectors:
            collectors[pruned.office].add_pruned_day(pruned)


def _stretches(collector: Collector) -> Iterator[list[date]]:
    """The days of the assessment, at most `DAYS_AT_ONCE` each, those of the period apart."""
    first = collector.period.days[0]
    before = [day for day in collector.stretch if day < first]
    for days in (before, [day for day in collector.stretch if day >= first]):
        yield from (days[at : at + DAYS_AT_ONCE] for at in range(0, len(days), DAYS_AT_ONCE))


def _count_tests(store: Store, collectors: Mapping[str, Collector], period: Period) -> None:
    """Count the tests of these offices in the period."""
    for probe in PROBES.keys() - {MINUTES}:
        extents = store.bulk_reader.extents_by_office(
            list(collectors), probe, period.start, period.end
        )
        for office, extent in extents.items():
            collectors[office].count(extent)


def _read_tests(store: Store, collector: Collector, since: datetime) -> None:
    """Read the tests of one office since the start of the assessment."""
    office, period = collector.office, collector.period
    for test in _tests(store, collector, since):
        collector.add_test(test)
    calls = store.measurements(office=office.id, probe="conference", since=since, until=period.end)
    for call in calls:
        collector.add_call(call)
    for block in store.bulk_reader.blocks(
        office.id, "service", period.start, period.end, starts=True
    ):
        collector.add_visits(block)
    readings = store.bulk_reader.blocks(office.id, "utilisation", since, period.end, starts=True)
    for block in readings:
        collector.add_traffic(block)


def _visits(store: Store, config: Config, period: Period) -> dict[str, list[Visit]]:
    """Headquarters' visits of the period by service, in order."""
    found: dict[str, list[Visit]] = {}
    if config.probes.service.services:
        for block in store.bulk_reader.blocks(
            HEADQUARTERS, "service", period.start, period.end, starts=True
        ):
            service = str(block.conditions.get("service"))
            found.setdefault(service, []).extend(visits_of(config, block))
    return {service: sorted(visits) for service, visits in found.items()}


def _every_state(
    store: Store,
    collectors: Sequence[Collector],
    earlier: list[Period],
    known_until: datetime,
    processes: int,
) -> dict[str, list[Span]]:
    """The states of every office over the assessment, and over those of the earlier periods."""
    if not collectors:
        return {}
    one = collectors[0]
    first = judged_over(earlier[0], one.config) if earlier else one.judged_from
    begin = datetime.combine(first, time(), one.period.start.tzinfo)

    def states(part: list[Collector]) -> list[list[Span]]:
        offices = [each.office.id for each in part]
        changes = store.event_log.recorded_states(offices, begin, one.period.end)
        return [spans(found, known_until) for found in changes]

    parts = _divided(collectors, processes)
    if len(parts) > 1:
        store.disconnect()
    found = [office for part in in_parallel(states, parts) for office in part]
    return {each.office.id: found for each, found in zip(collectors, found, strict=True)}


def _judged(
    collectors: Sequence[Collector], states: Mapping[str, list[Span]], until: datetime
) -> dict[str, JudgedSpans]:
    """The states of every office as they are judged, over the assessment."""
    if not collectors:
        return {}
    first = collectors[0]
    windows = office_windows(first.config.district, first.stretch)
    measured = [states[one.office.id] for one in collectors]
    office_spans = [clipped(spans, first.judged_since, until) for spans in measured]
    found = judge_spans(office_spans, windows, measured)
    return {one.office.id: judged for one, judged in zip(collectors, found, strict=True)}


def _judged_in(
    collectors: Sequence[Collector], states: Mapping[str, list[Span]], period: Period
) -> dict[str, list[Span]]:
    """The states of every office in an earlier period, judged as in the report of that period."""
    if not collectors:
        return {}
    config = collectors[0].config
    first = judged_over(period, config)
    begin = datetime.combine(first, time(), period.start.tzinfo)
    days = [first + timedelta(days=n) for n in range((period.days[-1] - first).days + 1)]
    measured = [states[one.office.id] for one in collectors]
    office_spans = [clipped(spans, begin, period.end) for spans in measured]
    found = judge_spans(office_spans, office_windows(config.district, days), measured)
    return {
        one.office.id: clipped(judged.spans, period.start, period.end)
        for one, judged in zip(collectors, found, strict=True)
    }


def _shared(
    judged: Mapping[str, JudgedSpans], period: Period, until: datetime
) -> tuple[SharedFault, ...]:
    """What the period has of the faults that all offices had at once; one of them may have begun
    before it.
    """
    faults = next((one.shared for one in judged.values()), ())
    return tuple(
        replace(one, start=max(one.start, period.start), end=min(one.end, until))
        for one in faults
        if one.start < until and one.end > period.start
    )


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
    held = under_contract(tests, collector.contract_since)
    if needs_trains(collector.config, collector.office, held):
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

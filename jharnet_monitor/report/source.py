"""Reads what a report needs from the store, and no more than one office at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from jharnet_monitor.config import Config
from jharnet_monitor.errors import UserError
from jharnet_monitor.report.collect import Collector, Span, conference
from jharnet_monitor.report.period import Period
from jharnet_monitor.report.states import spans
from jharnet_monitor.report.summary import Summary
from jharnet_monitor.store import Store
from jharnet_monitor.store.tables import from_ms


def summarise(store: Store, config: Config, period: Period, now: datetime) -> Summary:
    """The summary of a period, as far as it has come; raises `UserError` for a future one."""
    if now <= period.start:
        raise UserError(f"{period.name} has not begun yet; it begins on {period.start:%Y-%m-%d}")
    until = min(now, period.end)
    collector = Collector(config, period, until)
    known_until = _known_until(store, config, until)
    states: dict[str, Sequence[Span]] = {}
    before: dict[str, int | None] = {}
    earlier = period.before()
    for office in config.offices:
        _read_office(store, collector, office.id, period)
        states[office.id] = spans(
            store.diary.transitions(office.id, period.start, period.end), known_until
        )
        calls = store.measurements(
            office=office.id, probe="conference", since=earlier.start, until=earlier.end
        )
        before[office.id] = conference(calls, config.district).grade
    return collector.summary(now, states, before)


def _read_office(store: Store, collector: Collector, office: str, period: Period) -> None:
    tally = collector.tallies[office]
    first = last = None
    count = 0
    for row in store.figures.raw(office, "latency", period.start, period.end):
        first, last, count = first or row.started_at, row.started_at, count + 1
        if "under_load" in row.conditions and json.loads(row.conditions).get("under_load"):
            continue
        values = json.loads(row.values)
        if "received" in values:
            p50, jitter = values.get("rtt_p50_seconds"), values.get("jitter_seconds")
            tally.latency.add(values["sent"], values["received"], p50, jitter)
    if first is not None and last is not None:
        collector.seen(from_ms(first), from_ms(last), count)
    for probe in ("bandwidth", "conference"):
        for measurement in store.measurements(
            office=office, probe=probe, since=period.start, until=period.end
        ):
            collector.add(measurement)


def _known_until(store: Store, config: Config, until: datetime) -> datetime:
    """How far the states can be trusted: a hub that stopped tells no further change."""
    last = store.figures.last_start()
    if last is None:
        return until
    return min(until, last + timedelta(seconds=3 * config.probes.latency.every))

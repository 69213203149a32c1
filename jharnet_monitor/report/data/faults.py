"""The fault ledger of a period, read from the store, with the measured outages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from jharnet_monitor.config import Config
from jharnet_monitor.errors import StoreError
from jharnet_monitor.judge.faults import (
    FAULT,
    Fault,
    JudgedFault,
    Unbooked,
    judge_faults,
    ledger,
    unbooked,
)
from jharnet_monitor.judge.outages.shared import JudgedSpans
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.report.data.state_spans import after_earlier
from jharnet_monitor.store import Store


def read_ledger(store: Store) -> list[Fault]:
    """All faults, by their report; raises `StoreError` for an entry that cannot be read."""
    events = store.event_log.events_of_kind(FAULT)
    try:
        return ledger((event.office, event.data) for event in events)
    except ValueError as error:
        raise StoreError(str(error)) from error


def faults_in(
    store: Store,
    config: Config,
    states: Mapping[str, Sequence[Span]],
    judged: Mapping[str, JudgedSpans],
    bounds: tuple[datetime, datetime],
) -> tuple[tuple[JudgedFault, ...], tuple[Unbooked, ...]]:
    """The faults within the bounds, as they stood at their end, and the outages that are booked
    nowhere. `states` are as measured and may begin before those that are `judged`.
    """
    return within(config, as_of(read_ledger(store), bounds[1]), states, judged, bounds)


def as_of(faults: Sequence[Fault], until: datetime) -> list[Fault]:
    """The faults that were reported before a moment, as they stood then: what was restored later
    was open, and a stop of the clock that ended later lasted.
    """
    return [
        replace(
            one,
            restored_at=_before(one.restored_at, until),
            stops=tuple(
                replace(stop, end=_before(stop.end, until))
                for stop in one.stops
                if stop.begin < until
            ),
        )
        for one in faults
        if one.reported_at < until
    ]


def _before(at: datetime | None, until: datetime) -> datetime | None:
    """The moment, if it was before the other."""
    return None if at is None or at >= until else at


def within(
    config: Config,
    faults: Sequence[Fault],
    states: Mapping[str, Sequence[Span]],
    judged: Mapping[str, JudgedSpans],
    bounds: tuple[datetime, datetime],
) -> tuple[tuple[JudgedFault, ...], tuple[Unbooked, ...]]:
    """The same of faults as they stood then."""
    start, until = bounds

    def over_time(judged_spans: Mapping[str, Sequence[Span]]) -> dict[str, list[Span]]:
        return {
            office: _until(after_earlier(states[office], spans), until)
            for office, spans in judged_spans.items()
        }

    measured = over_time({office: one.with_shared for office, one in judged.items()})
    own = over_time({office: one.spans for office, one in judged.items()})
    found = judge_faults(config, faults, measured, until)
    shown = (
        one for one in found if one.fault.restored_at is None or one.fault.restored_at >= start
    )
    missing = (one for one in unbooked(config, faults, measured, own) if one.outage.end > start)
    return tuple(shown), tuple(missing)


def _until(spans: Sequence[Span], until: datetime) -> list[Span]:
    """The spans as far as they were known then."""
    return [
        span if span.end <= until else replace(span, end=until)
        for span in spans
        if span.start < until
    ]

"""Reads an office's past for its plots, from a day to a year. Blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import RETEST, Direction, Outcome, Route
from jharnet_monitor.report.data.state_spans import spans
from jharnet_monitor.store import Store
from jharnet_monitor.store.tables import from_ms
from jharnet_monitor.web.charts import EchoSummary, LatencyPast, PlotSpan, in_buckets
from jharnet_monitor.web.glance import is_excused

MOST_TESTS = 5000


@dataclass(frozen=True, slots=True)
class PlotData:
    """What is plotted of one office; rates in bit/s, oldest first."""

    latency: LatencyPast
    speeds: Sequence[tuple[datetime, float | None, float | None]]
    """Start, rate towards the office and rate from it of each speed test that counts."""
    grades: Sequence[tuple[datetime, int]]
    spans: Sequence[Span]
    """The states, with the causes found later."""


def read_plot(store: Store, office: str, span: PlotSpan, now: datetime, zone: ZoneInfo) -> PlotData:
    """The past of one office up to now; loss that says nothing about it is left out."""
    begin = now - span.length
    states = spans(store.event_log.transitions(office, begin), now)
    echoes = [
        *_echoes(store, office, begin, now),
        *_daily_summaries(store, office, begin, now, zone),
    ]
    counted = (one for one in echoes if not is_excused(states, one.at))
    tests = store.measurements(
        office=office, probe="bandwidth", path=Route.JHARNET, since=begin, limit=MOST_TESTS,
        newest_first=True,
    )  # fmt: skip
    names = [f"{direction.transfer}_bits_per_second" for direction in Direction]
    calls = store.measurements(
        office=office, probe="conference", path=Route.JHARNET, since=begin, limit=MOST_TESTS,
        newest_first=True,
    )  # fmt: skip
    return PlotData(
        in_buckets(counted, now, span),
        [
            (test.started_at, test.values.get(names[0]), test.values.get(names[1]))
            for test in reversed(tests)
            if test.outcome is Outcome.OK and test.conditions.get(RETEST) != "due"
        ],
        [
            (call.started_at, int(call.values["grade"]))
            for call in reversed(calls)
            if "grade" in call.values and call.is_conclusive
        ],
        states,
    )


def _echoes(store: Store, office: str, begin: datetime, now: datetime) -> Iterator[EchoSummary]:
    names = ("sent", "received", "rtt_p50_seconds")
    for block in store.bulk_reader.blocks(
        office, "latency", begin, now, path=Route.JHARNET, names=names, starts=True
    ):
        nothing: Sequence[float] = [0.0] * block.count
        medians = block.values.get("rtt_p50_seconds")
        columns = (block.values.get(name, nothing) for name in ("sent", "received"))
        for number, (at, sent, received) in enumerate(zip(block.starts, *columns, strict=True)):
            yield EchoSummary(
                from_ms(at), None if medians is None else medians[number], int(sent), int(received)
            )


def _daily_summaries(
    store: Store, office: str, begin: datetime, now: datetime, zone: ZoneInfo
) -> Iterator[EchoSummary]:
    """The daily summaries of pruned days, each at noon."""
    first = begin.astimezone(zone).date()
    last = now.astimezone(zone).date() + timedelta(days=1)
    for day in store.retention.days(first, last, office, "latency"):
        if day.path == Route.JHARNET:
            noon = datetime.combine(day.day, time(12), zone).astimezone(UTC)
            sums = [int(day.values.get(name, {}).get("sum", 0)) for name in ("sent", "received")]
            yield EchoSummary(noon, day.values.get("rtt_p50_seconds", {}).get("p50"), *sums)

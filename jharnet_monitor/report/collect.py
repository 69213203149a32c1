"""Folds the measurements of a period into the summary, one pass, without keeping them."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median, median_low

from jharnet_monitor.config import Config, Office
from jharnet_monitor.config.schema import District
from jharnet_monitor.judge.hours import in_office_hours
from jharnet_monitor.judge.latency import percentile
from jharnet_monitor.model import Measurement, OfficeState, Outcome
from jharnet_monitor.report.period import Period
from jharnet_monitor.report.summary import (
    Availability,
    Conference,
    Latency,
    OfficeSummary,
    Outage,
    Speed,
    Summary,
)

OUT = (OfficeState.LINK_DOWN, OfficeState.POWER_DOWN, OfficeState.UNREACHABLE, OfficeState.LAN_DOWN)
"""The states that are listed as outages."""


@dataclass(frozen=True, slots=True)
class Span:
    """An office was in one state from `start` to just before `end`."""

    state: OfficeState
    start: datetime
    end: datetime


@dataclass(slots=True)
class LatencyTally:
    """The always-on measurement, folded: a row a minute."""

    sent: int = 0
    received: int = 0
    p50: array[float] = field(default_factory=lambda: array("d"))
    jitter: array[float] = field(default_factory=lambda: array("d"))

    def add(self, sent: float, received: float, p50: float | None, jitter: float | None) -> None:
        """Count one minute; one without any reply is the availability's affair."""
        if not received:
            return
        self.sent += int(sent)
        self.received += int(received)
        if p50 is not None:
            self.p50.append(p50)
        if jitter is not None:
            self.jitter.append(jitter)

    def result(self) -> Latency:
        """The figures of the period."""
        ordered = sorted(self.p50)
        return Latency(
            p50=percentile(ordered, 0.5) if ordered else None,
            p95=percentile(ordered, 0.95) if ordered else None,
            jitter=median(self.jitter) if self.jitter else None,
            minutes=len(ordered),
            sent=self.sent,
            lost=self.sent - self.received,
        )


@dataclass(slots=True)
class OfficeTally:
    """What has been seen of one office so far."""

    latency: LatencyTally = field(default_factory=LatencyTally)
    calls: list[Measurement] = field(default_factory=list)
    speeds: dict[str, list[float]] = field(default_factory=dict)
    """Rates in bit/s by `path/quantity`."""


class Collector:
    """Takes the measurements of a period in any order, and gives its summary."""

    def __init__(self, config: Config, period: Period, until: datetime) -> None:
        self.config = config
        self.period = period
        self.until = until
        self.tallies = {office.id: OfficeTally() for office in config.offices}
        self.count = 0
        self.first: datetime | None = None
        self.last: datetime | None = None

    def add(self, measurement: Measurement) -> None:
        """Count one measurement; one of an office no longer configured is left out."""
        tally = self.tallies.get(measurement.office)
        if tally is None or not self.period.start <= measurement.started_at < self.period.end:
            return
        self.seen(measurement.started_at, measurement.started_at, 1)
        values = measurement.values
        if measurement.probe == "latency":
            if not measurement.conditions.get("under_load") and "received" in values:
                p50, jitter = values.get("rtt_p50_seconds"), values.get("jitter_seconds")
                tally.latency.add(values["sent"], values["received"], p50, jitter)
        elif measurement.probe == "bandwidth" and measurement.outcome is Outcome.OK:
            path = measurement.conditions.get("path", "jharnet")
            for name in ("download_bits_per_second", "upload_bits_per_second"):
                if name in values:
                    tally.speeds.setdefault(f"{path}/{name}", []).append(values[name])
        elif measurement.probe == "conference":
            tally.calls.append(measurement)

    def seen(self, first: datetime, last: datetime, count: int) -> None:
        """Widen the stretch in which something was measured."""
        self.count += count
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)

    def summary(
        self,
        made_at: datetime,
        spans: Mapping[str, Sequence[Span]] | None = None,
        before: Mapping[str, int | None] | None = None,
    ) -> Summary:
        """The summary; `before` holds each office's grade of the period before."""
        return Summary(
            config=self.config,
            period=self.period,
            until=self.until,
            made_at=made_at,
            offices=tuple(
                self._office(office, (spans or {}).get(office.id, ()), before or {})
                for office in self.config.offices
            ),
            first=self.first,
            last=self.last,
            measurements=self.count,
        )

    def _office(
        self,
        office: Office,
        spans: Sequence[Span],
        before: Mapping[str, int | None],
    ) -> OfficeSummary:
        tally = self.tallies[office.id]
        down = office.link.contracted if office.link else None
        up = (office.link.contracted_up or down) if office.link else None
        share = self.config.thresholds.delivered
        rates = tally.speeds
        return OfficeSummary(
            office=office,
            conference=conference(tally.calls, self.config.district),
            availability=account(spans, self.period, self.until),
            outages=tuple(outages(office.id, spans, self.period.start, self.until)),
            down=speed(rates.get("jharnet/download_bits_per_second", []), down, share),
            up=speed(rates.get("jharnet/upload_bits_per_second", []), up, share),
            internet_down=speed(rates.get("internet/download_bits_per_second", []), None, share),
            internet_up=speed(rates.get("internet/upload_bits_per_second", []), None, share),
            latency=tally.latency.result(),
            before=before.get(office.id),
        )


def conference(calls: Iterable[Measurement], district: District) -> Conference:
    """What conference the line held, by the rule that `Conference` states."""
    every = sorted(calls, key=lambda call: call.started_at)
    inside = [call for call in every if in_office_hours(district, call.started_at)]
    outside = not any(_grade(call) is not None for call in inside)
    counted = every if outside else inside
    graded = [(call, grade) for call in counted if (grade := _grade(call)) is not None]
    missed = [call for call in counted if call.outcome is Outcome.NO_DATA]
    if not graded:
        return Conference(missed=len(missed), cause=_most(call.cause for call in missed))
    grade = median_low(grade for _, grade in graded)
    limits = (call.conditions.get("limited_by") for call, reached in graded if reached <= grade)
    failed = (call.cause for call, _ in graded if call.outcome is Outcome.FAILED)
    return Conference(
        grade=grade,
        tests=len(graded),
        missed=len(missed),
        outside_hours=outside,
        limited_by=_most(limits),
        cause=_most(failed) if grade == 0 else None,
        grades=tuple((call.started_at, reached) for call, reached in graded),
    )


def _grade(call: Measurement) -> int | None:
    """The grade of one call: 0 where the network made it impossible, None where not tested."""
    if call.outcome is Outcome.NO_DATA:
        return None
    grade = call.values.get("grade")
    if grade is None:
        return 0 if call.outcome is Outcome.FAILED else None
    return int(grade)


def _most(names: Iterable[str | None]) -> str | None:
    """The most frequent name; None where there is none."""
    found = Counter(name for name in names if name and name != "none")
    return found.most_common(1)[0][0] if found else None


def speed(rates: Sequence[float], contracted: float | None, share: float) -> Speed:
    """Median rate and how many tests fell short of `share` of the contracted one."""
    below = 0 if contracted is None else sum(rate < share * contracted for rate in rates)
    return Speed(median(rates) if rates else None, len(rates), contracted, below)


def account(spans: Iterable[Span], period: Period, until: datetime) -> Availability:
    """Seconds by state within the period; what no span covers is unknown."""
    seconds: Counter[OfficeState] = Counter()
    for span in spans:
        length = (min(span.end, until) - max(span.start, period.start)).total_seconds()
        if length > 0:
            seconds[span.state] += length  # type: ignore[assignment]
    total = (until - period.start).total_seconds()
    seconds[OfficeState.UNKNOWN] += total - sum(seconds.values())  # type: ignore[assignment]
    return Availability(dict(seconds))


def outages(
    office: str, spans: Iterable[Span], start: datetime, until: datetime
) -> Iterable[Outage]:
    """Every outage that touches the period, cut to it."""
    for span in spans:
        if span.state in OUT and span.end > start and span.start < until:
            yield Outage(office, span.state, max(span.start, start), min(span.end, until),
                         open=span.end >= until)  # fmt: skip

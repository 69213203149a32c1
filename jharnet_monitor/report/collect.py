"""Folds the measurements of a period into the summary, one pass, without keeping them."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from itertools import pairwise
from statistics import median

from jharnet_monitor.config import Config, Office
from jharnet_monitor.judge.latency import percentile
from jharnet_monitor.model import Measurement, Outcome
from jharnet_monitor.report.fold import account, clipped, conference, outages, speed
from jharnet_monitor.report.period import Period
from jharnet_monitor.report.summary import (
    Latency,
    OfficeSummary,
    Point,
    Span,
    SpeedTest,
    Summary,
)

DOWN, UP = "download_bits_per_second", "upload_bits_per_second"


@dataclass(slots=True)
class LatencyTally:
    """The always-on measurement, folded: a row a minute."""

    sent: int = 0
    received: int = 0
    p50: array[float] = field(default_factory=lambda: array("d"))
    jitter: array[float] = field(default_factory=lambda: array("d"))

    def add(self, columns: Mapping[str, Sequence[float]]) -> None:
        """Count minutes, a column a quantity; those without a reply are the availability's."""
        received = columns.get("received", ())
        self.received += int(sum(received))
        sent = zip(columns.get("sent", ()), received, strict=bool(received))
        self.sent += int(sum(packets for packets, replies in sent if replies))
        self.p50.extend(columns.get("rtt_p50_seconds", ()))
        self.jitter.extend(columns.get("jitter_seconds", ()))

    def join(self, other: LatencyTally) -> None:
        """Count what another tally holds, too."""
        self.sent += other.sent
        self.received += other.received
        self.p50.extend(other.p50)
        self.jitter.extend(other.jitter)

    def result(self) -> Latency:
        """The figures."""
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

    latency: dict[int, LatencyTally] = field(default_factory=dict)
    """By the number of the day in the period."""
    calls: list[Measurement] = field(default_factory=list)
    tests: list[SpeedTest] = field(default_factory=list)
    internet: list[SpeedTest] = field(default_factory=list)


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
        self._midnights = [start for start, _ in self.days()]

    def add(self, measurement: Measurement) -> None:
        """Count one measurement; one of an office no longer configured is left out."""
        tally = self.tallies.get(measurement.office)
        if tally is None or not self.period.start <= measurement.started_at < self.period.end:
            return
        self.seen(measurement.started_at, measurement.started_at, 1)
        if measurement.probe == "latency":
            if not measurement.conditions.get("under_load"):
                day = bisect_right(self._midnights, measurement.started_at) - 1
                columns = {name: (value,) for name, value in measurement.values.items()}
                self.add_minutes(measurement.office, day, columns)
        elif measurement.probe == "bandwidth":
            add_speed(tally, measurement)
        elif measurement.probe == "conference":
            tally.calls.append(measurement)

    def add_minutes(self, office: str, day: int, columns: Mapping[str, Sequence[float]]) -> None:
        """Count minutes of latency of the period's day with that number."""
        self.tallies[office].latency.setdefault(day, LatencyTally()).add(columns)

    def days(self) -> list[tuple[datetime, datetime]]:
        """Beginning and end of every day of the period."""
        zone = self.period.start.tzinfo
        starts = [datetime.combine(day, time(), zone) for day in self.period.days]
        return list(pairwise([*starts, self.period.end]))

    def seen(self, first: datetime, last: datetime, count: int) -> None:
        """Widen the stretch in which something was measured."""
        self.count += count
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)

    def office(
        self, office: Office, spans: Sequence[Span] = (), history: Sequence[Point] = ()
    ) -> OfficeSummary:
        """The summary of one office; `spans` are its states, `history` earlier periods."""
        tally = self.tallies[office.id]
        share = self.config.thresholds.delivered
        down = office.link.contracted if office.link else None
        up = (office.link.contracted_up or down) if office.link else None
        tests = sorted(tally.tests, key=lambda test: test.at)
        held = clipped(spans, self.period.start, self.until)
        return OfficeSummary(
            office=office,
            conference=conference(tally.calls, self.config.district),
            availability=account(held, (self.until - self.period.start).total_seconds()),
            outages=tuple(outages(office.id, held, self.until)),
            down=speed((test.down for test in tests), down, share),
            up=speed((test.up for test in tests), up, share),
            internet_down=speed((test.down for test in tally.internet), None, share),
            internet_up=speed((test.up for test in tally.internet), None, share),
            latency=_joined(tally.latency.values()),
            days=tuple(self._days(tally)),
            spans=tuple(held),
            speed_tests=tuple(tests),
            history=tuple(history),
        )

    def _days(self, tally: OfficeTally) -> Iterable[tuple[date, Latency]]:
        for number, day in enumerate(self.period.days):
            if number in tally.latency:
                yield day, tally.latency[number].result()

    def summary(self, made_at: datetime, offices: Sequence[OfficeSummary]) -> Summary:
        """The summary of the district."""
        return Summary(
            config=self.config,
            period=self.period,
            until=self.until,
            made_at=made_at,
            offices=tuple(offices),
            first=self.first,
            last=self.last,
            measurements=self.count,
        )


def add_speed(tally: OfficeTally, measurement: Measurement) -> None:
    """Count a speed test that gave a figure."""
    down, up = measurement.values.get(DOWN), measurement.values.get(UP)
    if measurement.outcome is not Outcome.OK or (down is None and up is None):
        return
    tests = tally.tests if measurement.path == "jharnet" else tally.internet
    tests.append(SpeedTest(measurement.started_at, down, up))


def _joined(days: Iterable[LatencyTally]) -> Latency:
    whole = LatencyTally()
    for day in days:
        whole.join(day)
    return whole.result()

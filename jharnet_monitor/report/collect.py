"""Folds what was measured of an office in a period into its summary, without keeping it all."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from statistics import median
from zoneinfo import ZoneInfo

from jharnet_monitor.config import Config, Office
from jharnet_monitor.judge.availability import account
from jharnet_monitor.judge.latency import percentile
from jharnet_monitor.judge.timeline import Span
from jharnet_monitor.model import Measurement, Outcome
from jharnet_monitor.report.fold import by_day, clipped, conference, outages, speed
from jharnet_monitor.report.period import Period
from jharnet_monitor.report.summary import Latency, OfficeSummary, Point, SpeedTest
from jharnet_monitor.store.figures import Block

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


class Collector:
    """Takes what was measured of one office in a period, in any order, and gives its summary."""

    def __init__(self, config: Config, office: Office, period: Period, until: datetime) -> None:
        self.config = config
        self.office = office
        self.period = period
        self.until = until
        self.count = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self._latency: dict[int, LatencyTally] = {}  # by the number of the day in the period
        self._calls: list[Measurement] = []
        self._tests: list[SpeedTest] = []
        self._internet: list[SpeedTest] = []

    def add(self, measurement: Measurement) -> None:
        """Count a speed test or a conference; minutes of latency come by `add_minutes`."""
        self._see(measurement.started_at, measurement.started_at, 1)
        if measurement.probe == "bandwidth":
            self._add_speed(measurement)
        elif measurement.probe == "conference":
            self._calls.append(measurement)

    def add_minutes(self, block: Block) -> None:
        """Count minutes of latency; the block's piece is the number of its day."""
        if block.path != "jharnet":  # an agent's own view of its gateway is another matter
            return
        self._see(block.first, block.last, block.count)
        if not block.conditions.get("under_load"):
            self._latency.setdefault(block.piece, LatencyTally()).add(block.values)

    def _add_speed(self, measurement: Measurement) -> None:
        down, up = measurement.values.get(DOWN), measurement.values.get(UP)
        if measurement.outcome is not Outcome.OK or (down is None and up is None):
            return
        tests = {"jharnet": self._tests, "internet": self._internet}.get(measurement.path)
        if tests is None:  # a packet train is an estimate, no test of what is delivered
            return
        tests.append(SpeedTest(measurement.started_at, down, up))

    def _see(self, first: datetime, last: datetime, count: int) -> None:
        self.count += count
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)

    def summary(self, spans: Sequence[Span], history: Sequence[Point]) -> OfficeSummary:
        """The office over the period; `spans` are its states, `history` earlier periods."""
        share = self.config.thresholds.delivered
        link = self.office.link
        down = link.contracted if link else None
        up = (link.contracted_up or down) if link else None
        tests = sorted(self._tests, key=lambda test: test.at)
        held = clipped(spans, self.period.start, self.until)
        return OfficeSummary(
            office=self.office,
            conference=conference(self._calls, self.config.district),
            account=account(held, self.period.start, self.until),
            outages=tuple(outages(self.office.id, held, self.until)),
            down=speed(self._by_day(tests, "down"), down, share),
            up=speed(self._by_day(tests, "up"), up, share),
            internet_down=speed(self._by_day(self._internet, "down"), None, share),
            internet_up=speed(self._by_day(self._internet, "up"), None, share),
            latency=_joined(self._latency.values()),
            days=tuple(self._days()),
            spans=tuple(held),
            speed_tests=tuple(tests),
            history=tuple(history),
            measurements=self.count,
            first=self.first,
            last=self.last,
        )

    def _by_day(self, tests: Iterable[SpeedTest], way: str) -> list[list[float]]:
        zone = ZoneInfo(self.config.district.timezone)
        return by_day(((test.at, getattr(test, way)) for test in tests), zone)

    def _days(self) -> Iterable[tuple[date, Latency]]:
        for number, day in enumerate(self.period.days):
            if number in self._latency:
                yield day, self._latency[number].result()


def _joined(days: Iterable[LatencyTally]) -> Latency:
    whole = LatencyTally()
    for day in days:
        whole.join(day)
    return whole.result()

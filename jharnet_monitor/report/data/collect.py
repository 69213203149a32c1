"""Reduces the measurements of an office to its summary while they are read."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from statistics import median
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from jharnet_monitor.config import Config, Office
from jharnet_monitor.judge.applications import ServiceUse, Visit, service_use
from jharnet_monitor.judge.calendar.period import Period
from jharnet_monitor.judge.line.assess import Assessment, LineEvidence, assess
from jharnet_monitor.judge.line.contract import (
    contracted_rates,
    lasting_rate,
    lasting_tests,
    limit_of,
)
from jharnet_monitor.judge.line.interface_faults import LanReadings
from jharnet_monitor.judge.line.loss import PacketCounts
from jharnet_monitor.judge.line.reading import Limit
from jharnet_monitor.judge.line.traffic import TrafficReadings
from jharnet_monitor.judge.line.use import TrafficReading, line_use
from jharnet_monitor.judge.outages.availability import state_times
from jharnet_monitor.judge.outages.shared import JudgedSpans
from jharnet_monitor.judge.statistics import intervals
from jharnet_monitor.judge.statistics.intervals import DailySamples, Interval
from jharnet_monitor.model import Direction, Measurement, Outcome, Route
from jharnet_monitor.report.data.aggregate import (
    by_day,
    by_time_of_day,
    conference,
    of_the_line,
    outages,
    speed,
)
from jharnet_monitor.report.data.state_spans import clipped
from jharnet_monitor.report.data.summary import (
    Latency,
    OfficeSummary,
    Speed,
    SpeedTest,
    TrendPoint,
)
from jharnet_monitor.store.bulk_reader import Block, Extent
from jharnet_monitor.store.retention import PrunedDay
from jharnet_monitor.store.tables import from_ms, to_ms

DOWN, UP = (f"{direction.transfer}_bits_per_second" for direction in Direction)
LINE = (Route.JHARNET, Route.TRAINS)
"""Routes of the tests of the JharNet line; `TRAINS` are estimates by packet trains."""


@dataclass(slots=True)
class LatencyTally:
    """Latency minutes, added up."""

    answered: int = 0
    sent: int = 0
    received: int = 0
    p50: array[float] = field(default_factory=lambda: array("d"))
    jitter: array[float] = field(default_factory=lambda: array("d"))

    def add(self, columns: Mapping[str, Sequence[float] | NDArray[np.float64]]) -> None:
        """Add minutes, one column per quantity; minutes without a reply count as downtime only."""
        received = np.asarray(columns.get("received", ()), dtype=np.float64)
        answered = received > 0
        self.received += int(received.sum())
        self.answered += int(answered.sum())
        if len(received):
            self.sent += int(np.asarray(columns["sent"], dtype=np.float64)[answered].sum())
        for kept, name in ((self.p50, "rtt_p50_seconds"), (self.jitter, "jitter_seconds")):
            kept.frombytes(np.asarray(columns.get(name, ()), dtype=np.float64).tobytes())

    def join(self, other: LatencyTally) -> None:
        """Add another tally."""
        self.answered += other.answered
        self.sent += other.sent
        self.received += other.received
        self.p50.extend(other.p50)
        self.jitter.extend(other.jitter)

    def result(self) -> Latency:
        """The figures."""
        ordered = np.asarray(self.p50)
        return Latency(
            p50=float(np.quantile(ordered, 0.5)) if len(ordered) else None,
            p95=float(np.quantile(ordered, 0.95)) if len(ordered) else None,
            jitter=float(np.median(np.asarray(self.jitter))) if self.jitter else None,
            minutes=len(ordered),
            sent=self.sent,
            lost=self.sent - self.received,
        )


class Collector:
    """Collects the measurements of one office in a period, in any order, and gives its summary.

    The line is assessed from `judged_from` on, which may be before the period; no speed from before
    `contract_since` is held against its contract.
    """

    def __init__(
        self,
        config: Config,
        office: Office,
        period: Period,
        judged_from: date,
        until: datetime,
        contract_since: datetime | None = None,
    ) -> None:
        self.config = config
        self.office = office
        self.period = period
        self.judged_from = judged_from
        self.until = until
        self.contract_since = contract_since
        self.runs = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self._zone = ZoneInfo(config.district.timezone)
        self._latency: dict[date, LatencyTally] = {}
        self._pruned_days: dict[date, Mapping[str, Mapping[str, float]]] = {}
        self._days: set[date] = set()
        self._calls: list[Measurement] = []
        self._packets = PacketCounts()
        self._tests: list[Measurement] = []
        self._internet: list[SpeedTest] = []
        self._traffic = TrafficReadings()
        self._lan = LanReadings()
        self._readings: list[TrafficReading] = []
        self._visits: dict[str, list[Visit]] = {}

    @property
    def judged_since(self) -> datetime:
        """The start of the assessment."""
        return datetime.combine(self.judged_from, time(), self._zone)

    @property
    def stretch(self) -> list[date]:
        """The days over which the line is assessed."""
        days = (self.period.days[-1] - self.judged_from).days + 1
        return [self.judged_from + timedelta(days=n) for n in range(days)]

    def count(self, extent: Extent | None) -> None:
        """Count runs of the period that are not read individually."""
        if extent is None:
            return
        self.runs += extent.count
        self.first = extent.first if self.first is None else min(self.first, extent.first)
        self.last = extent.last if self.last is None else max(self.last, extent.last)

    def add_call(self, measurement: Measurement) -> None:
        """Add a conference test; its grade counts in the report if it is in the period.

        The gallery of a drill is left out: its office sends a small picture only.
        """
        if measurement.route is not Route.JHARNET:
            return
        self._days.add(measurement.started_at.astimezone(self._zone).date())
        self._calls.append(measurement)

    def add_test(self, measurement: Measurement) -> None:
        """Add a speed test of any path."""
        self._days.add(measurement.started_at.astimezone(self._zone).date())
        down, up = measurement.values.get(DOWN), measurement.values.get(UP)
        if measurement.outcome is not Outcome.OK or not measurement.is_conclusive:
            return
        if measurement.route in LINE:
            self._tests.append(measurement)
        elif measurement.route is Route.INTERNET and measurement.started_at >= self.period.start:
            self._internet.append(SpeedTest(measurement.started_at, down, up))

    def note_day(self, day: date) -> None:
        """Note that something was measured on a day."""
        self._days.add(day)

    def add_minutes(self, days: Sequence[date], block: Block) -> set[date]:
        """Add the hub's latency minutes of days that lie all before the period or all in it;
        returns the days that have any. Before the period only their packets count.
        """
        midnights = [to_ms(datetime.combine(day, time(), self._zone)) for day in days]
        place = np.searchsorted(midnights, np.asarray(block.starts), side="right") - 1
        found = {days[number] for number in np.unique(place).tolist()}
        self._days |= found
        idle = not block.conditions.get("under_load")
        if idle and "received" in block.values and "sent" in block.values:
            self._packets.add_minutes(block.starts, block.values["sent"], block.values["received"])
        if days[0] < self.period.days[0]:
            return found
        self.count(Extent(block.count, block.first, block.last))
        if idle:
            columns = {name: np.asarray(column) for name, column in block.values.items()}
            for day in found:
                own = place == days.index(day)
                tally = self._latency.setdefault(day, LatencyTally())
                tally.add({name: column[own] for name, column in columns.items()})
        return found

    def add_traffic(self, block: Block) -> None:
        """Add readings of the router's interface, except those during our own tests."""
        self._lan.add(block.conditions, block.count)
        if "window_seconds" in block.values and not block.conditions.get("under_load"):
            seconds, down, up = (block.values[name] for name in ("window_seconds", DOWN, UP))
            self._traffic.add(block.starts, seconds, down, up)
            for at, *figures in zip(block.starts, seconds, down, up, strict=True):
                if self.period.start <= (end := from_ms(at)):
                    self._readings.append(TrafficReading(end, *figures))

    def add_visits(self, block: Block) -> None:
        """Add visits to a service in the period."""
        service = str(block.conditions.get("service"))
        self._visits.setdefault(service, []).extend(visits_of(self.config, block))

    def _services(self, headquarters: Mapping[str, Sequence[Visit]]) -> Iterator[ServiceUse]:
        settings = self.config.probes.service
        for service in settings.services:
            yield service_use(
                service.name, self._visits.get(service.name, ()),
                headquarters.get(service.name, ()), self.config.district,
                timedelta(seconds=settings.every),
            )  # fmt: skip

    def add_pruned_day(self, day: PrunedDay) -> None:
        """Add a day whose minutes were pruned: only its distribution is kept."""
        if day.path == Route.JHARNET:
            self._pruned_days[day.day] = day.values

    def summary(
        self,
        states: JudgedSpans,
        history: Sequence[TrendPoint],
        headquarters: Mapping[str, Sequence[Visit]] | None = None,
    ) -> OfficeSummary:
        """The summary of the office; `states` are those of the assessment, `history` earlier
        periods, `headquarters` its visits by service.
        """
        share = self.config.thresholds.delivered
        tests = self._speed_tests()
        held = [test for test in tests if self._is_held(test.at)]
        down, up = (
            self._speed(held, direction, contracted)
            for direction, contracted in zip(Direction, contracted_rates(self.office), strict=True)
        )
        clipped_spans = clipped(states.spans, self.period.start, self.until)
        calls = [call for call in self._calls if call.started_at >= self.period.start]
        return OfficeSummary(
            office=self.office,
            conference=conference(calls, self.config.district),
            state_times=state_times(clipped_spans, self.period.start, self.until),
            outages=tuple(outages(self.office.id, clipped_spans, self.until)),
            down=down,
            up=up,
            internet_down=speed(self._by_day(self._internet, Direction.DOWN), None, share),
            internet_up=speed(self._by_day(self._internet, Direction.UP), None, share),
            latency=self._whole_latency(),
            days=tuple(sorted(self._daily().items())),
            spans=tuple(clipped_spans),
            speed_tests=tuple(tests),
            sustained_down=self._sustained(Direction.DOWN),
            sustained_up=self._sustained(Direction.UP),
            history=tuple(history),
            assessment=self._assessment(states),
            use=line_use(self._readings, self.config.district),
            services=tuple(self._services(headquarters or {})),
            measurements=self.runs,
            first=self.first,
            last=self.last,
            slots=by_time_of_day(held, self.config, self.office),
        )

    def _assessment(self, states: JudgedSpans) -> Assessment:
        """The assessment of the line, made as in the dossier."""
        evidence = LineEvidence(
            start=self.judged_since,
            end=self.until,
            stretch=self.stretch,
            states=states,
            tests=sorted(self._tests, key=lambda test: test.started_at),
            calls=self._calls,
            packets=self._packets,
            traffic=self._traffic,
            lan=self._lan,
            days=len(self._days),
            contract_since=self.contract_since,
        )
        return assess(self.config, self.office, evidence)

    def _speed_tests(self) -> list[SpeedTest]:
        """The speed tests of the period, ordered by start."""
        counted = {direction: self._counted(direction) for direction in Direction}
        tests = (
            SpeedTest(
                test.started_at,
                *(
                    _rate_of_line(test, direction) if test.id in counted[direction] else None
                    for direction in Direction
                ),
            )
            for test in self._tests
            if test.route is Route.JHARNET and test.started_at >= self.period.start
        )
        return sorted(tests, key=lambda test: test.at)

    def _counted(self, direction: Direction) -> set[str]:
        """The tests whose rates count: where the assessment's tests met a policer, only those that
        measured a sustained rate. Under an earlier contract it may have been another line.
        """
        parts = [
            [test for test in self._tests if self._is_held(test.started_at) is held]
            for held in (False, True)
        ]
        return {test.id for part in parts for test in lasting_tests(part, direction)}

    def _is_held(self, at: datetime) -> bool:
        """Whether what was measured then is held against the contract."""
        return self.contract_since is None or at >= self.contract_since

    def _speed(
        self, tests: Sequence[SpeedTest], direction: Direction, contracted: float | None
    ) -> Speed:
        """What the tests with a rate in a direction say of the line."""
        measured = [test for test in tests if test.rate(direction) is not None]
        line, quiet = of_the_line(measured, self.config.district)
        share = self.config.thresholds.delivered
        return speed(self._by_day(line, direction), contracted, share, quiet=quiet)

    def _sustained(self, direction: Direction) -> Interval | None:
        """The sustained rate by the newest long test of the period."""
        name = f"{direction.transfer}_sustained_bits_per_second"
        tests = [
            test
            for test in self._tests
            if name in test.values and test.started_at >= self.period.start
        ]
        if not tests:
            return None
        values = max(tests, key=lambda test: test.started_at).values
        low, high = (values.get(f"{name}_{end}") for end in ("low", "high"))
        return Interval(values[name], low, high, 1, 1)

    def _whole_latency(self) -> Latency:
        """The latency of the whole period; with an interval only if the median is above the
        threshold.
        """
        days = [tally for _, tally in self._inside()]
        found = _joined(days)
        if self._pruned_days.keys() - self._latency.keys():
            return _of_days(found, list(self._daily().values()))
        if found.p50 is None or found.p50 <= self.config.thresholds.rtt:
            return found
        samples = DailySamples(tuple(np.asarray(tally.p50) for tally in days if tally.p50))
        return replace(found, median=intervals.median(samples))

    def _by_day(self, tests: Iterable[SpeedTest], direction: Direction) -> list[list[float]]:
        return by_day(((test.at, test.rate(direction)) for test in tests), self._zone)

    def _daily(self) -> dict[date, Latency]:
        """The latency of each day of the period."""
        pruned = {day: _spread(values) for day, values in self._pruned_days.items()}
        return pruned | {day: tally.result() for day, tally in self._inside()}

    def _inside(self) -> list[tuple[date, LatencyTally]]:
        """The days of the period with minutes, in order."""
        first = self.period.days[0]
        return sorted((day, tally) for day, tally in self._latency.items() if day >= first)


def visits_of(config: Config, block: Block) -> list[Visit]:
    """The visits in a block, of one service and outcome; a page of which only a part was read
    counts as in time if that part was."""
    slow, loaded = config.probes.service.slow, bool(block.conditions.get("under_load"))
    if block.outcome is Outcome.NO_DATA:
        return []
    totals = block.values.get("total_seconds")
    found = []
    for number, at in enumerate(block.starts):
        total = None if totals is None else totals[number]
        fine = block.outcome is Outcome.OK and (total is None or total <= slow)
        found.append(Visit(from_ms(at), fine, loaded))
    return found


def _spread(values: Mapping[str, Mapping[str, float]]) -> Latency:
    """A pruned day, from its distribution. Its packets include minutes without a reply, so they
    give no loss.
    """
    rtt, jitter = values.get("rtt_p50_seconds", {}), values.get("jitter_seconds", {})
    return Latency(
        rtt.get("p50"), rtt.get("p95"), jitter.get("p50"), int(rtt.get("n", 0)), pruned=1
    )


def _of_days(found: Latency, days: Sequence[Latency]) -> Latency:
    """A period with pruned days: the median of daily medians, and packets of the other days."""

    def middle(figures: Iterable[float | None]) -> float | None:
        known = [figure for figure in figures if figure is not None]
        return median(known) if known else None

    return Latency(
        p50=middle(day.p50 for day in days),
        jitter=middle(day.jitter for day in days),
        minutes=sum(day.minutes for day in days),
        sent=found.sent,
        lost=found.lost,
        pruned=sum(day.pruned for day in days),
    )


def _joined(days: Iterable[LatencyTally]) -> Latency:
    whole = LatencyTally()
    for day in days:
        whole.join(day)
    return whole.result()


def _rate_of_line(test: Measurement, direction: Direction) -> float | None:
    """The rate of a direction in bit/s that is held against the contract; None where there is none,
    or where the office's computer limited it, so that it says nothing of the line.
    """
    return None if limit_of(test, direction) == Limit.HOST else lasting_rate(test, direction)

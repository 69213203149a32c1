"""The figures of a period for every office, without any wording.

Every figure comes with the number of runs behind it. What was not measured is None, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from zoneinfo import ZoneInfo

from jharnet_monitor.config import Config, Office
from jharnet_monitor.judge.applications import ServiceUse
from jharnet_monitor.judge.calendar.period import Period
from jharnet_monitor.judge.conference.drill import Drill
from jharnet_monitor.judge.faults import JudgedFault, Unbooked
from jharnet_monitor.judge.line.assess import Assessment
from jharnet_monitor.judge.line.by_time_of_day import SlotRates, TimeSlot
from jharnet_monitor.judge.line.use import LineUse
from jharnet_monitor.judge.outages.availability import StateTimes
from jharnet_monitor.judge.outages.shared import SharedFault
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.judge.statistics.intervals import Interval
from jharnet_monitor.model import Direction, OfficeState


@dataclass(frozen=True, slots=True)
class Conference:
    """The conference quality of an office.

    `grade` is the highest one that more than half of the `tests` reached (the low median); a call
    that the network made impossible counts as 0. It is None if no test gave a result.
    """

    grade: int | None = None
    tests: int = 0
    missed: int = 0
    """Tests that could not be run (`no_data`)."""
    outside_hours: bool = False
    """There was no result in office hours, so tests outside them are used."""
    limited_by: str | None = None
    """The most frequent limit of the calls: rate, loss, delay or host."""
    cause: str | None = None
    """The most frequent cause of failed calls or, without any result, of calls not run."""
    grades: tuple[tuple[datetime, int], ...] = ()
    """Start (UTC) and grade of every test with a result."""
    borderline: int | None = None
    """The grade that it may as well be by the twin's answers (`borderline_median`)."""


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


@dataclass(frozen=True, slots=True)
class Outage:
    """One continuous time in a state of outage; `open` if it had not ended."""

    office: str
    state: OfficeState
    start: datetime
    end: datetime
    open: bool = False

    @property
    def seconds(self) -> float:
        """Its length within the period, in seconds."""
        return (self.end - self.start).total_seconds()


@dataclass(frozen=True, slots=True)
class Speed:
    """The speed tests of one direction of the JharNet line; rates in bit/s.

    A test during the office's own traffic measures only what that leaves. Therefore only tests
    outside office hours are used if there are any (`quiet`); otherwise all tests are. On a policed
    line only sustained rates count, as in the assessment.
    """

    median: float | None = None
    tests: int = 0
    contracted: float | None = None
    below: int = 0
    """Tests under the configured share of the contracted rate."""
    low: float | None = None
    high: float | None = None
    days: tuple[tuple[float, ...], ...] = ()
    """The rates of each day with tests."""
    quiet: bool = False
    """Only tests outside office hours are included."""

    @property
    def ratio(self) -> float | None:
        """The median as a share of the contracted rate; None if either is unknown."""
        if self.median is None or self.contracted is None:
            return None
        return self.median / self.contracted


@dataclass(frozen=True, slots=True)
class SpeedTest:
    """One speed test of the JharNet line, in bit/s; None for a direction without a result that
    counts.
    """

    at: datetime
    down: float | None
    up: float | None

    def rate(self, direction: Direction) -> float | None:
        """The rate in that direction, in bit/s."""
        return self.down if direction is Direction.DOWN else self.up


@dataclass(frozen=True, slots=True)
class Latency:
    """Round-trip times in seconds and packet loss, over the minutes with a reply.

    Minutes without a reply count as downtime only; minutes during our own tests (`under_load`) are
    left out.
    """

    p50: float | None = None
    """Median of the minutes' median RTT."""
    p95: float | None = None
    """95th percentile of the minutes' median RTT."""
    jitter: float | None = None
    """Median of the minutes' jitter (RFC 3550)."""
    minutes: int = 0
    sent: int = 0
    lost: int = 0
    median: Interval | None = None
    """`p50` with its 95 % interval, if it was computed."""
    pruned: int = 0
    """Number of days of which only the distribution is kept."""

    @property
    def loss(self) -> float | None:
        """Lost / sent; None when nothing was sent."""
        return _share(self.lost, self.sent)


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """One office in one period of the trend."""

    name: str
    start: datetime
    conference: Conference
    state_times: StateTimes
    down: Speed


@dataclass(frozen=True, slots=True)
class OfficeSummary:
    """One office over the period."""

    office: Office
    state_times: StateTimes
    assessment: Assessment
    """The judgement on the line, over the stretch from `Summary.judged_from` on."""
    conference: Conference = Conference()
    outages: tuple[Outage, ...] = ()
    down: Speed = Speed()
    up: Speed = Speed()
    internet_down: Speed = Speed()
    internet_up: Speed = Speed()
    latency: Latency = Latency()
    days: tuple[tuple[date, Latency], ...] = ()
    """Latency and loss day by day."""
    spans: tuple[Span, ...] = ()
    """The states within the period as they are judged, in order: without nights on which the office
    is switched off, and with what all offices had at once as `uplink_down`."""
    speed_tests: tuple[SpeedTest, ...] = ()
    sustained_down: Interval | None = None
    """The sustained rate by the period's newest long test, with that test's interval; `high` is
    None where nothing bounds it."""
    sustained_up: Interval | None = None
    history: tuple[TrendPoint, ...] = ()
    """Earlier periods, the oldest first."""
    use: tuple[LineUse | None, ...] = (None, None)
    """What the office uses of its line in office hours, towards it and from it."""
    services: tuple[ServiceUse, ...] = ()
    """Its visits to each configured service."""
    measurements: int = 0
    """Number of runs of all probes behind the figures."""
    first: datetime | None = None
    """Start of the first run."""
    last: datetime | None = None
    slots: Mapping[Direction, Mapping[TimeSlot, SlotRates]] = field(
        default_factory=lambda: {direction: {} for direction in Direction}
    )
    """The rates of the period by direction and time of day."""

    @property
    def before(self) -> TrendPoint | None:
        """The preceding period; None if there is none."""
        return self.history[-1] if self.history else None

    @property
    def measured(self) -> bool:
        """Whether anything was measured."""
        known = self.state_times.availability is not None
        return known or self.latency.minutes > 0 or self.conference.tests + self.down.tests > 0


@dataclass(frozen=True, slots=True)
class Summary:
    """The district over a period, up to `until` if the period is not over."""

    config: Config
    period: Period
    until: datetime
    made_at: datetime
    offices: tuple[OfficeSummary, ...]
    judged_from: date
    """First day of the assessment of the lines, which ends with the period."""
    shared: tuple[SharedFault, ...] = ()
    """Faults that all offices had at once; they are charged to no office."""
    drills: tuple[Drill, ...] = ()
    """The drills of the period, by their beginning."""
    root: str | None = None
    """The hash chain's root after the period's last sealed hour."""
    faults: tuple[JudgedFault, ...] = ()
    """The faults that were open in the period or reported in it, by their report."""
    made_up: bool = False
    """Nothing of it was measured: the past of a demo."""
    unbooked: tuple[Unbooked, ...] = ()
    """Outages beyond the operator's time of which no fault is booked."""

    @property
    def measurements(self) -> int:
        """Number of runs of all probes behind the report."""
        return sum(office.measurements for office in self.offices)

    @property
    def extent(self) -> tuple[datetime, datetime] | None:
        """Start of the first and the last run; None without any run."""
        firsts = [office.first for office in self.offices if office.first is not None]
        lasts = [office.last for office in self.offices if office.last is not None]
        return (min(firsts), max(lasts)) if firsts and lasts else None

    @property
    def zone(self) -> ZoneInfo:
        """The district's time zone."""
        return ZoneInfo(self.config.district.timezone)

    @property
    def complete(self) -> bool:
        """Whether the period was over when the report was made."""
        return self.until >= self.period.end

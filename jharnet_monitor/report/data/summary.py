"""What the measurements of a period say of every office. Facts only; words come later.

Every figure stands with the number of runs behind it. What was not measured is None, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from jharnet_monitor.config import Config, Office
from jharnet_monitor.judge.calendar.period import Period
from jharnet_monitor.judge.conference.drill import Drill
from jharnet_monitor.judge.line.assess import Assessment
from jharnet_monitor.judge.outages.availability import StateTimes
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.judge.statistics.intervals import Interval
from jharnet_monitor.model import Direction, OfficeState


@dataclass(frozen=True, slots=True)
class Conference:
    """What conference the office's line held.

    `grade` is the highest that more than half of the `tests` reached (the low median); a call
    that the network made impossible counts as 0. None: no test gave a result.
    """

    grade: int | None = None
    tests: int = 0
    missed: int = 0
    """Tests that could not be made (`no_data`)."""
    outside_hours: bool = False
    """No test fell into office hours, so those outside speak."""
    limited_by: str | None = None
    """What most often kept a call from more: rate, loss, delay, host."""
    cause: str | None = None
    """Most frequent cause of the calls that failed or, without a result, were not made."""
    grades: tuple[tuple[datetime, int], ...] = ()
    """Every test with a result: when it began (UTC) and its grade."""


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


@dataclass(frozen=True, slots=True)
class Outage:
    """One unbroken stretch in a state that is not up; `open` when it had not ended."""

    office: str
    state: OfficeState
    start: datetime
    end: datetime
    open: bool = False

    @property
    def seconds(self) -> float:
        """How long, within the period."""
        return (self.end - self.start).total_seconds()


@dataclass(frozen=True, slots=True)
class Speed:
    """One direction of the JharNet line: rates in bit/s.

    A test beside the office's own traffic measures only what that leaves. So tests outside office
    hours speak for the line, if there is any (`quiet`); else all tests stand, as what was left.
    """

    median: float | None = None
    tests: int = 0
    contracted: float | None = None
    below: int = 0
    """Tests under the configured share of the contracted rate."""
    low: float | None = None
    high: float | None = None
    days: tuple[tuple[float, ...], ...] = ()
    """The rates of each day that has any."""
    quiet: bool = False
    """Only tests outside office hours are in here."""

    @property
    def ratio(self) -> float | None:
        """Median of what was delivered, as a share of what was contracted."""
        if self.median is None or self.contracted is None:
            return None
        return self.median / self.contracted


@dataclass(frozen=True, slots=True)
class SpeedTest:
    """One test of the JharNet line; None for a direction that gave no figure."""

    at: datetime
    down: float | None
    up: float | None

    def rate(self, direction: Direction) -> float | None:
        """The rate in that direction, in bit/s."""
        return self.down if direction is Direction.DOWN else self.up


@dataclass(frozen=True, slots=True)
class Latency:
    """Round-trip times in seconds and packet loss, over the minutes that had a reply.

    Minutes without any reply belong to the availability, those beside a test of our own (marked
    `under_load`) to nobody.
    """

    p50: float | None = None
    """Median of the minutes' medians."""
    p95: float | None = None
    """95 % of the minutes had a median of at most this."""
    jitter: float | None = None
    """Median of the minutes' jitter (RFC 3550)."""
    minutes: int = 0
    sent: int = 0
    lost: int = 0
    median: Interval | None = None
    """The same as `p50` with its 95 % interval, for a period of days."""
    pruned: int = 0
    """Days of which the store has kept only how they were spread; they are not in here."""

    @property
    def loss(self) -> float | None:
        """Lost / sent; None when nothing was sent."""
        return _share(self.lost, self.sent)


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """One office in one period of the trend; None where nothing was measured."""

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
    """The states, one after the other, cut to the period."""
    speed_tests: tuple[SpeedTest, ...] = ()
    history: tuple[TrendPoint, ...] = ()
    """Earlier periods, the oldest first; the last is the one just before."""
    measurements: int = 0
    """How many runs of all probes the figures rest on."""
    first: datetime | None = None
    """When the first of them began."""
    last: datetime | None = None

    @property
    def before(self) -> TrendPoint | None:
        """The period just before."""
        return self.history[-1] if self.history else None

    @property
    def measured(self) -> bool:
        """Whether anything at all was measured."""
        known = self.state_times.availability is not None
        return known or self.latency.minutes > 0 or self.conference.tests + self.down.tests > 0


@dataclass(frozen=True, slots=True)
class Summary:
    """The district over a period, up to `until` where the period is not over."""

    config: Config
    period: Period
    until: datetime
    made_at: datetime
    offices: tuple[OfficeSummary, ...]
    judged_from: date
    """First day of the stretch, up to the period's end, over which the lines are judged."""
    drills: tuple[Drill, ...] = ()
    """The drills of the period, by their beginning."""
    root: str | None = None
    """The hash chain's root after the period's last sealed hour."""

    @property
    def measurements(self) -> int:
        """How many runs of all probes the report rests on."""
        return sum(office.measurements for office in self.offices)

    @property
    def extent(self) -> tuple[datetime, datetime] | None:
        """When the first and the last of them began; None for an empty period."""
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

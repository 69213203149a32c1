"""Assessment of an office's line from its measurements. Pure.

The weekly report and the dossier both use it, so that they reach the same verdict from the same
measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from math import inf
from zoneinfo import ZoneInfo

from jharnet_monitor.config.district import District
from jharnet_monitor.config.schema import Config, Office
from jharnet_monitor.judge.calendar.hours import in_office_hours
from jharnet_monitor.judge.line.contract import contracted_rates, promised_availability
from jharnet_monitor.judge.line.need import Need, NeedPolicy
from jharnet_monitor.judge.line.traffic import IntervalPair, is_sufficient
from jharnet_monitor.judge.line.verdict import Doubt, Line, LineThresholds, LineVerdict, judge_line
from jharnet_monitor.judge.outages.availability import StateTimes
from jharnet_monitor.judge.statistics import intervals
from jharnet_monitor.judge.statistics.intervals import DailySamples, Interval
from jharnet_monitor.judge.statistics.rounding import to_digits
from jharnet_monitor.model import Direction, Measurement, OfficeState, Outcome


class Basis(StrEnum):
    """Which tests give the rate of the line itself.

    A test beside the office's own traffic measures only what that leaves.
    """

    OFF_HOURS = "off_hours"
    """Speed tests outside office hours, when the office has no traffic of its own."""
    TRAINS = "trains"
    """Packet trains, if there are too few such tests."""


@dataclass(frozen=True, slots=True)
class LineEvidence:
    """What was measured at one office over the period of the assessment."""

    state_times: StateTimes
    tests: Sequence[Measurement] = ()
    """Speed tests of the JharNet line that gave a result, ordered by start."""
    lost: Sequence[float] = ()
    """Packets lost per day, in minutes with at least one reply."""
    sent: Sequence[float] = ()
    """Packets sent per day, in the same minutes."""
    minutes: int = 0
    """Number of those minutes."""
    days: int = 0
    """Days with any measurement."""
    other: IntervalPair = (None, None)
    """95th percentile of all other traffic in bit/s (`traffic.other_traffic`)."""


@dataclass(frozen=True, slots=True)
class DeliveredRate:
    """The rate of the line itself in one direction, in bit/s; None without tests."""

    median: Interval | None = None
    p5: Interval | None = None
    """The rate that 19 of 20 tests reached."""
    basis: Basis | None = None


@dataclass(frozen=True, slots=True)
class LineDirection:
    """One direction of a line: what was contracted, what it delivers, and what it has to carry."""

    contracted: float | None
    """bit/s; None where the contract is not known."""
    delivered: DeliveredRate
    need: Need
    other: Interval | None
    """95th percentile of all other traffic, where enough was measured to plan by it."""

    def falls_short(self, share: float) -> bool:
        """Whether it certainly delivers less than this share of the contract."""
        median = self.delivered.median
        if median is None or self.contracted is None:
            return False
        return median.below(share * self.contracted)

    @property
    def withheld(self) -> bool:
        """Whether the contract covers the need, but certainly less is delivered."""
        median = self.delivered.median
        if median is None or self.contracted is None:
            return False
        return median.below(self.need.low) and self.contracted >= self.need.high

    def not_delivered(self, share: float) -> bool:
        """Whether it certainly delivers too little, by `falls_short` or `withheld`."""
        return self.falls_short(share) or self.withheld


@dataclass(frozen=True, slots=True)
class Assessment:
    """The judgement on an office's line and the figures behind it, as report and dossier state
    them: to nine digits, so that they are the same on every machine.

    Downtimes are shares of the time that is known; `loss` is the share of packets lost while the
    office answered. `slab` is the speed to order in an upgrade, where the tariff has one.
    """

    days: int
    """Days on which anything was measured."""
    down: LineDirection
    """Towards the office."""
    up: LineDirection
    """From the office."""
    loss: Interval | None
    link_down: float
    power_down: float
    lan_down: float
    unreachable: float
    """Out of reach, and whether line or power failed is not known."""
    verdicts: tuple[LineVerdict, ...]
    """The main one first."""
    doubts: tuple[Doubt, ...] = ()
    """Why the evidence does not suffice, where it does not."""
    slab: float | None = None

    @property
    def verdict(self) -> LineVerdict:
        """The verdict that the letter acts on."""
        return self.verdicts[0]

    @property
    def directions(self) -> tuple[LineDirection, LineDirection]:
        """Towards the office, and from it, in the order of `Direction`."""
        return self.down, self.up


def assess(config: Config, office: Office, evidence: LineEvidence) -> Assessment:
    """Assess one office's line."""
    tests = [test for test in evidence.tests if test.is_conclusive]
    delivered = [_delivered(config, tests, direction) for direction in Direction]
    line = _line(office, evidence, (delivered[0].median, delivered[1].median))
    policy = need_policy(config, office)
    found = judge_line(line, policy, thresholds_for(config, office), config.capacity.tariff)
    down, up = map(_direction, line.contracted, delivered, found.needs, line.other)
    return Assessment(
        days=line.days,
        down=down,
        up=up,
        loss=_rounded(line.loss),
        link_down=to_digits(line.link_down),
        power_down=to_digits(line.power_down),
        lan_down=to_digits(line.lan_down),
        unreachable=to_digits(line.unexplained),
        verdicts=found.verdicts,
        doubts=found.doubts,
        slab=found.slab,
    )


def _direction(
    contracted: float | None, delivered: DeliveredRate, need: Need, other: Interval | None
) -> LineDirection:
    """One direction as it is stated."""
    value, low, high = (to_digits(figure) for figure in (need.value, need.low, need.high))
    median, p5 = _rounded(delivered.median), _rounded(delivered.p5)
    return LineDirection(
        contracted=contracted,
        delivered=DeliveredRate(median, p5, delivered.basis),
        need=replace(need, value=value, low=low, high=high),
        other=_rounded(other) if is_sufficient(other) else None,
    )


def _rounded(found: Interval | None) -> Interval | None:
    """An interval as it is stated."""
    if found is None:
        return None
    low, high = (None if end is None else to_digits(end) for end in (found.low, found.high))
    return Interval(to_digits(found.value), low, high, found.n, found.days)


def enough_off_hours(config: Config, tests: Sequence[Measurement]) -> bool:
    """Whether each direction has tests outside office hours on as many days as a verdict requires.

    Packet trains are then not needed.
    """
    district = config.district
    days: dict[Direction, set[date]] = {direction: set() for direction in Direction}
    for test in tests:
        good = test.outcome is Outcome.OK and test.is_conclusive
        if good and not in_office_hours(district, test.started_at):
            for direction in Direction:
                if f"{direction.transfer}_bits_per_second" in test.values:
                    days[direction].add(_day(test.started_at, district))
    return all(len(held) >= config.capacity.days for held in days.values())


def need_policy(config: Config, office: Office) -> NeedPolicy:
    """The district's policy for the need of this office."""
    policy = config.capacity
    return NeedPolicy(
        conferences=policy.conferences,
        video=policy.video,
        audio=policy.audio,
        overhead=policy.overhead,
        other=policy.other,
        seats=policy.seats if office.seats is None else office.seats,
        per_seat=policy.per_seat,
        services=policy.services,
        utilisation=policy.utilisation,
    )


def thresholds_for(config: Config, office: Office) -> LineThresholds:
    """The thresholds of a good line for this office."""
    return LineThresholds(
        delivered=config.thresholds.delivered,
        loss=config.thresholds.loss,
        available=promised_availability(config, office),
        days=config.capacity.days,
    )


def _line(
    office: Office, evidence: LineEvidence, delivered: tuple[Interval | None, Interval | None]
) -> Line:
    times = evidence.state_times
    known = times.up + times.down

    def share(state: OfficeState) -> float:
        return times.of(state) / known if known else 0.0

    return Line(
        delivered=delivered,
        contracted=contracted_rates(office),
        loss=intervals.proportion(evidence.lost, evidence.sent, n=evidence.minutes),
        link_down=share(OfficeState.LINK_DOWN),
        power_down=share(OfficeState.POWER_DOWN),
        lan_down=share(OfficeState.LAN_DOWN),
        unexplained=share(OfficeState.UNREACHABLE),
        days=evidence.days,
        other=evidence.other,
    )


def _delivered(config: Config, tests: Sequence[Measurement], direction: Direction) -> DeliveredRate:
    district, name = config.district, direction.transfer
    quiet = [test for test in tests if not in_office_hours(district, test.started_at)]
    found = {
        Basis.OFF_HOURS: _RateBounds.of(
            quiet, f"{name}_bits_per_second", f"{name}_at_least", district
        ),
        Basis.TRAINS: _RateBounds.of(
            tests, f"{name}_capacity_bits_per_second", f"{name}_capacity_at_least", district
        ),
    }
    required = config.capacity.days
    basis = max(
        found, key=lambda b: (min(len(found[b].lower.by_day), required), b is Basis.OFF_HOURS)
    )
    if not found[basis].lower.n:
        return DeliveredRate()
    rates = found[basis]
    return DeliveredRate(
        rates.bounded(intervals.median), rates.bounded(intervals.fifth_percentile), basis
    )


@dataclass(frozen=True, slots=True)
class _RateBounds:
    """Rates by day: as measured (`lower`), and as large as they may be in truth (`upper`).

    A test that was limited by its own pace gives only a lower bound; its upper bound is infinite.
    """

    lower: DailySamples
    upper: DailySamples

    @classmethod
    def of(
        cls, tests: Sequence[Measurement], quantity: str, at_least: str, district: District
    ) -> _RateBounds:
        """The rates of the tests that have `quantity`; `at_least` is the condition that marks a
        lower bound.
        """
        with_rate = [test for test in tests if quantity in test.values]
        days = [_day(test.started_at, district) for test in with_rate]
        rates = [test.values[quantity] for test in with_rate]
        unbounded = [bool(test.conditions.get(at_least)) for test in with_rate]
        lower = intervals.group_by_day(days, rates)
        if not any(unbounded):
            return cls(lower, lower)
        upper = [inf if open_ else rate for rate, open_ in zip(rates, unbounded, strict=True)]
        return cls(lower, intervals.group_by_day(days, upper))

    def bounded(self, figure: Callable[[DailySamples], Interval | None]) -> Interval | None:
        """A figure of the lower rates, with the upper end of its interval from the upper rates."""
        found = figure(self.lower)
        if self.upper is self.lower or found is None or found.low is None:
            return found
        of_upper = figure(self.upper)
        high = None if of_upper is None else of_upper.high
        return Interval(found.value, found.low, high, found.n, found.days)


def _day(moment: datetime, district: District) -> date:
    return moment.astimezone(ZoneInfo(district.timezone)).date()

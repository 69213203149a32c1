"""From what was seen of an office's line to the judgement: the one way to it, for the weekly
report and for the dossier, so that both say the same of the same measurements. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from jharnet_monitor.config.district import District
from jharnet_monitor.config.schema import Config, Office
from jharnet_monitor.judge.calendar.hours import in_office_hours
from jharnet_monitor.judge.line import capacity
from jharnet_monitor.judge.line.traffic import Ways, proven
from jharnet_monitor.judge.outages.availability import Account
from jharnet_monitor.judge.statistics import intervals as stats
from jharnet_monitor.judge.statistics.intervals import Days, Interval
from jharnet_monitor.judge.statistics.rounding import to_digits
from jharnet_monitor.model import Measurement, OfficeState, Outcome

WAYS = ("down", "up")
NAMES = {"down": "download", "up": "upload"}
"""How the speed test's quantities name the ways."""


class Basis(StrEnum):
    """Which tests speak for the line itself (DESIGN.md, rule 8)."""

    OFF_HOURS = "off_hours"
    """Speed tests outside office hours, when the office itself is quiet."""
    TRAINS = "trains"
    """Packet trains, where there are too few such tests."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was measured of one office over the stretch that is judged."""

    account: Account
    tests: Sequence[Measurement] = ()
    """Speed tests of the JharNet line that gave a result, by their beginning."""
    lost: Sequence[float] = ()
    """Packets lost by day, in minutes that had a reply."""
    sent: Sequence[float] = ()
    """Packets sent by day, in the same minutes."""
    minutes: int = 0
    days: int = 0
    """Days on which anything was measured."""
    other: Ways = (None, None)
    """95th percentile of all other traffic (`traffic.other`)."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """What the line itself carries one way: its median, what 19 of 20 tests reached, and which
    tests say so; None where there was none.
    """

    median: Interval | None = None
    p5: Interval | None = None
    basis: Basis | None = None


@dataclass(frozen=True, slots=True)
class LineDirection:
    """One direction of a line: what was contracted, what it delivers, and what it has to carry."""

    contracted: float | None
    """bit/s; None where the contract is not known."""
    delivered: Delivered
    need: capacity.Need
    other: Interval | None
    """95th percentile of all other traffic, where enough was measured to plan by it."""

    def falls_short(self, share: float) -> bool:
        """Whether it certainly delivers less than that share of the contract."""
        median = self.delivered.median
        if median is None or self.contracted is None:
            return False
        return median.below(share * self.contracted)

    @property
    def withheld(self) -> bool:
        """Whether the contract would meet the need, and it certainly delivers less than that."""
        median = self.delivered.median
        if median is None or self.contracted is None:
            return False
        return median.below(self.need.low) and self.contracted >= self.need.high

    def not_delivered(self, share: float) -> bool:
        """Whether it certainly delivers less than the contract has to give."""
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
    verdicts: tuple[capacity.Verdict, ...]
    """The main one first."""
    doubts: tuple[capacity.Doubt, ...] = ()
    """Why the evidence does not suffice, where it does not."""
    slab: float | None = None

    @property
    def verdict(self) -> capacity.Verdict:
        """The verdict that the letter acts on."""
        return self.verdicts[0]

    @property
    def directions(self) -> tuple[LineDirection, LineDirection]:
        """Towards the office, and from it, in the order of `WAYS`."""
        return self.down, self.up


def assess(config: Config, office: Office, seen: Seen) -> Assessment:
    """The judgement on one office's line."""
    tests = [test for test in seen.tests if test.counts]
    delivered = [_delivered(config, tests, way) for way in WAYS]
    line = _line(office, seen, (delivered[0].median, delivered[1].median))
    policy = policy_of(config, office)
    found = capacity.judge(line, policy, marks_of(config, office), config.capacity.tariff)
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
    contracted: float | None, delivered: Delivered, need: capacity.Need, other: Interval | None
) -> LineDirection:
    """One direction as it is stated."""
    value, low, high = (to_digits(figure) for figure in (need.value, need.low, need.high))
    median, p5 = _rounded(delivered.median), _rounded(delivered.p5)
    return LineDirection(
        contracted=contracted,
        delivered=Delivered(median, p5, delivered.basis),
        need=replace(need, value=value, low=low, high=high),
        other=_rounded(other) if proven(other) else None,
    )


def _rounded(found: Interval | None) -> Interval | None:
    """An interval as it is stated."""
    if found is None:
        return None
    low, high = (None if end is None else to_digits(end) for end in (found.low, found.high))
    return Interval(to_digits(found.value), low, high, found.n, found.days)


def enough_off_hours(config: Config, tests: Sequence[Measurement]) -> bool:
    """Whether each way has tests outside office hours on as many days as a judgement asks for;
    then packet trains are not needed for it.
    """
    district = config.district
    days: dict[str, set[date]] = {way: set() for way in WAYS}
    for test in tests:
        good = test.outcome is Outcome.OK and test.counts
        if good and not in_office_hours(district, test.started_at):
            for way in WAYS:
                if f"{NAMES[way]}_bits_per_second" in test.values:
                    days[way].add(_day(test.started_at, district))
    return all(len(held) >= config.capacity.days for held in days.values())


def policy_of(config: Config, office: Office) -> capacity.Policy:
    """What the district's policy asks of this office's line."""
    policy = config.capacity
    return capacity.Policy(
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


def marks_of(config: Config, office: Office) -> capacity.Marks:
    """Where good ends for this office."""
    return capacity.Marks(
        delivered=config.thresholds.delivered,
        loss=config.thresholds.loss,
        available=promised(config, office),
        days=config.capacity.days,
    )


def promised(config: Config, office: Office) -> float:
    """The availability that the office's contract promises, else the district's own mark."""
    link = office.link
    return link.sla if link and link.sla is not None else config.thresholds.availability


def contracts(office: Office) -> tuple[float | None, float | None]:
    """The contracted rates in bit/s, towards the office and from it."""
    link = office.link
    down = link.contracted if link else None
    return down, (link.contracted_up or down) if link else None


def _line(
    office: Office, seen: Seen, delivered: tuple[Interval | None, Interval | None]
) -> capacity.Line:
    known = seen.account.up + seen.account.down

    def part(state: OfficeState) -> float:
        return seen.account.of(state) / known if known else 0.0

    return capacity.Line(
        delivered=delivered,
        contracted=contracts(office),
        loss=stats.proportion(seen.lost, seen.sent, n=seen.minutes),
        link_down=part(OfficeState.LINK_DOWN),
        power_down=part(OfficeState.POWER_DOWN),
        lan_down=part(OfficeState.LAN_DOWN),
        unexplained=part(OfficeState.UNREACHABLE),
        days=seen.days,
        other=seen.other,
    )


def _delivered(config: Config, tests: Sequence[Measurement], way: str) -> Delivered:
    district, name = config.district, NAMES[way]
    quiet = [test for test in tests if not in_office_hours(district, test.started_at)]
    found = {
        Basis.OFF_HOURS: _Rates.of(quiet, f"{name}_bits_per_second", f"{name}_at_least", district),
        Basis.TRAINS: _Rates.of(
            tests, f"{name}_capacity_bits_per_second", f"{name}_capacity_at_least", district
        ),
    }
    wanted = config.capacity.days
    basis = max(
        found, key=lambda b: (min(len(found[b].least.by_day), wanted), b is Basis.OFF_HOURS)
    )
    if not found[basis].least.n:
        return Delivered()
    rates = found[basis]
    return Delivered(rates.bounded(stats.median), rates.bounded(stats.fifth_percentile), basis)


@dataclass(frozen=True, slots=True)
class _Rates:
    """Rates by day: as they were measured, and as large as they may have been.

    A test whose own pace held it back tells only what the line carries at least.
    """

    least: Days
    most: Days

    @classmethod
    def of(
        cls, tests: Sequence[Measurement], quantity: str, at_least: str, district: District
    ) -> _Rates:
        held = [test for test in tests if quantity in test.values]
        days = [_day(test.started_at, district) for test in held]
        rates = [test.values[quantity] for test in held]
        open_ = [bool(test.conditions.get(at_least)) for test in held]
        least = stats.grouped(days, rates)
        if not any(open_):
            return cls(least, least)
        most = [float("inf") if held else rate for rate, held in zip(rates, open_, strict=True)]
        return cls(least, stats.grouped(days, most))

    def bounded(self, figure: Callable[[Days], Interval | None]) -> Interval | None:
        """A quantile between its lower bound at least and its upper bound at most."""
        found = figure(self.least)
        if self.most is self.least or found is None or found.low is None:
            return found
        above = figure(self.most)
        high = None if above is None else above.high
        return Interval(found.value, found.low, high, found.n, found.days)


def _day(moment: datetime, district: District) -> date:
    return moment.astimezone(ZoneInfo(district.timezone)).date()

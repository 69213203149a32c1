"""Assessment of an office's line from its measurements. Pure.

The weekly report and the dossier both use it, so that they reach the same verdict from the same
measurements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

from jharnet_monitor.config.schema import Config, Office
from jharnet_monitor.judge.calendar.hours import in_office_hours
from jharnet_monitor.judge.calendar.windows import office_windows
from jharnet_monitor.judge.line.contract import contracted_rates, promised_availability
from jharnet_monitor.judge.line.delivered import (
    Basis,
    DeliveredRate,
    capacity_by_trains,
    carried_by_day,
    delivered_rate,
    enough_by_tests,
    left_by_day,
)
from jharnet_monitor.judge.line.grounds import Doubt, Ground, LineVerdict, NeedRange, Note
from jharnet_monitor.judge.line.interface_faults import LanReadings
from jharnet_monitor.judge.line.loss import LossRates, PacketCounts, loss_rates, utilisation
from jharnet_monitor.judge.line.need import Need, NeedPolicy
from jharnet_monitor.judge.line.traffic import TrafficReadings, is_sufficient, other_traffic
from jharnet_monitor.judge.line.verdict import Line, LineThresholds, judge_line
from jharnet_monitor.judge.outages.downtime import Downtime, Outages, outages_of
from jharnet_monitor.judge.outages.shared import JudgedSpans
from jharnet_monitor.judge.statistics.intervals import Interval
from jharnet_monitor.judge.statistics.rounding import to_digits
from jharnet_monitor.model import Direction, Measurement

__all__ = [
    "Assessment", "Basis", "DeliveredRate", "LineDirection", "LineEvidence", "assess",
    "need_policy", "thresholds_for", "trains_needed",
]  # fmt: skip

FEWEST_CALLS = 10
"""With fewer conference tests it is not said that they sufficed."""


@dataclass(frozen=True, slots=True)
class LineEvidence:
    """What was measured at one office from `start` to `end`, on the days `stretch`."""

    start: datetime
    end: datetime
    stretch: Sequence[date]
    states: JudgedSpans
    """The states, without habitual nights and shared faults."""
    tests: Sequence[Measurement] = ()
    """Speed tests of the JharNet line that gave a result, ordered by start."""
    calls: Sequence[Measurement] = ()
    """Conference tests over the line."""
    packets: PacketCounts = field(default_factory=PacketCounts)
    traffic: TrafficReadings = field(default_factory=TrafficReadings)
    lan: LanReadings = field(default_factory=LanReadings)
    """What the router says of the office's own network."""
    days: int = 0
    """Days with any measurement."""


@dataclass(frozen=True, slots=True)
class LineDirection:
    """One direction of a line: what was contracted, what it delivers, and what it has to carry."""

    contracted: float | None
    """bit/s; None where the contract is not known."""
    delivered: DeliveredRate
    need: Need
    other: Interval | None
    """95th percentile of all other traffic, where enough was measured to plan by it."""
    full: Interval | None = None
    """Share of office hours in which the line was full."""
    left: Interval | None = None
    """Median rate that speed tests got in office hours."""
    carried: Interval | None = None
    """That rate together with the traffic that the router counted beside it."""
    capacity: Interval | None = None
    """Median capacity by packet trains, where speed tests fall short."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """The judgement on an office's line and the figures behind it, as report and dossier state
    them: to nine digits, so that they are the same on every machine.

    `slab` is the speed to order in an upgrade, where the tariff has one; `holds` are the needs for
    which the main verdict stays the same.
    """

    days: int
    """Days on which anything was measured."""
    down: LineDirection
    """Towards the office."""
    up: LineDirection
    """From the office."""
    loss: LossRates
    outages: Outages
    verdicts: tuple[LineVerdict, ...]
    """The main one first."""
    doubts: tuple[Doubt, ...] = ()
    """Why the evidence does not suffice, where it does not."""
    notes: tuple[Note, ...] = ()
    """What is told beside the verdicts and asks for nothing."""
    grounds: tuple[Ground, ...] = ()
    """What each verdict rests on."""
    slab: float | None = None
    holds: NeedRange | None = None

    @property
    def verdict(self) -> LineVerdict:
        """The verdict that the letter acts on."""
        return self.verdicts[0]

    @property
    def ground(self) -> Ground:
        """What the main verdict rests on."""
        return self.grounds[0] if self.grounds else Ground(self.verdict)

    @property
    def directions(self) -> tuple[LineDirection, LineDirection]:
        """Towards the office, and from it, in the order of `Direction`."""
        return self.down, self.up


def assess(config: Config, office: Office, evidence: LineEvidence) -> Assessment:
    """Assess one office's line."""
    tests = [test for test in evidence.tests if test.is_conclusive]
    delivered = [delivered_rate(config, tests, direction) for direction in Direction]
    line, sides = _line(config, office, evidence, tests, delivered)
    policy = need_policy(config, office)
    found = judge_line(line, policy, thresholds_for(config, office), config.capacity.tariff)
    down, up = (
        replace(side, need=_stated_need(need))
        for side, need in zip(sides, found.needs, strict=True)
    )
    return Assessment(
        days=line.days,
        down=down,
        up=up,
        loss=_stated(line.loss),
        outages=_stated(line.outages),
        verdicts=found.verdicts,
        doubts=found.doubts,
        notes=found.notes,
        grounds=found.grounds,
        slab=found.slab,
        holds=None if found.holds is None else _stated(found.holds),
    )


def trains_needed(config: Config, office: Office, tests: Sequence[Measurement]) -> bool:
    """Whether the assessment may need packet trains beside these speed tests."""
    limits = thresholds_for(config, office)
    marks = [limits.mark(rate or 0.0) for rate in contracted_rates(office)]
    return not enough_by_tests(config, tests, marks)


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
        framing=config.thresholds.framing,
        required=config.thresholds.availability,
        coverage=config.capacity.coverage,
        margin=config.capacity.margin,
    )


def _line(
    config: Config,
    office: Office,
    evidence: LineEvidence,
    tests: Sequence[Measurement],
    delivered: Sequence[DeliveredRate],
) -> tuple[Line, list[LineDirection]]:
    """What is known about the line, and its directions as they are stated (still without need)."""
    district, contracted = config.district, contracted_rates(office)
    rates = [
        contract if rate.median is None else rate.median.value
        for rate, contract in zip(delivered, contracted, strict=True)
    ]
    pair = (rates[0], rates[1])
    other = other_traffic(evidence.traffic, district, evidence.stretch, pair)
    limits = thresholds_for(config, office)
    sides = []
    for number, direction in enumerate(Direction):
        median, contract = delivered[number].median, contracted[number]
        short = median is not None and median.value <= limits.mark(contract or 0.0)
        planned = other.p95[number]
        sides.append(
            LineDirection(
                contracted=contract,
                delivered=_stated(delivered[number]),
                need=Need(0.0, 0.0, 0.0),
                other=_stated(planned) if is_sufficient(planned) else None,
                full=_stated(other.full[number]),
                left=_stated(left_by_day(config, tests, direction)),
                carried=_stated(carried_by_day(config, tests, direction, evidence.traffic)),
                capacity=_stated(capacity_by_trains(config, tests, direction)) if short else None,
            )
        )
    down, up = sides
    line = Line(
        delivered=(delivered[0].median, delivered[1].median),
        contracted=contracted,
        loss=loss_rates(
            evidence.packets, evidence.states.spans, district, evidence.stretch,
            utilisation(evidence.traffic, pair), evidence.calls,
        ),
        outages=outages_of(
            evidence.states, office_windows(district, evidence.stretch),
            evidence.start, evidence.end,
        ),
        days=evidence.days,
        other=other.p95,
        full=other.full,
        left=(down.left, up.left),
        carried=(down.carried, up.carried),
        capacity=(down.capacity, up.capacity),
        lan_faulty=evidence.lan.is_faulty,
        calls_suffice=_calls_suffice(config, evidence.calls),
    )  # fmt: skip
    return line, sides


def _calls_suffice(config: Config, calls: Sequence[Measurement]) -> bool:
    """Whether every conference test of office hours reached the grade that is required."""
    inside = [call for call in calls if in_office_hours(config.district, call.started_at)]
    grades = [call.values["grade"] for call in inside if "grade" in call.values]
    return len(grades) >= FEWEST_CALLS and min(grades) >= config.thresholds.grade


def _stated_need(need: Need) -> Need:
    return replace(
        need, value=to_digits(need.value), low=to_digits(need.low), high=to_digits(need.high)
    )


def _stated(found: Any) -> Any:
    """Figures as they are stated: every number of a dataclass to nine digits."""
    if isinstance(found, float):
        return to_digits(found)
    if isinstance(found, Interval | DeliveredRate | LossRates | Downtime | Outages | NeedRange):
        names = found.__dataclass_fields__
        return replace(found, **{name: _stated(getattr(found, name)) for name in names})
    return found

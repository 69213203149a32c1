"""Assessment of an office's line from its measurements. Pure.

The weekly report and the dossier both use it, so that they reach the same verdict from the same
measurements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import date, datetime
from typing import TypeVar, cast

from jharnet_monitor.config.schema import Config, Office
from jharnet_monitor.judge.calendar.hours import in_office_hours, office_windows
from jharnet_monitor.judge.conference.grade import grade_of
from jharnet_monitor.judge.line.contract import (
    contracted_rates,
    promised_availability,
    under_contract,
)
from jharnet_monitor.judge.line.cures import cures_of
from jharnet_monitor.judge.line.delivered import (
    Basis,
    DeliveredRate,
    capacity_by_trains,
    carried_by_day,
    day_of,
    delivered_rate,
    has_enough_tests,
    left_by_day,
)
from jharnet_monitor.judge.line.facts import Line, LineDirection
from jharnet_monitor.judge.line.interface_faults import LanReadings
from jharnet_monitor.judge.line.loss import PacketCounts, loss_rates, utilisation
from jharnet_monitor.judge.line.need import NeedPolicy
from jharnet_monitor.judge.line.traffic import TrafficReadings, is_sufficient, other_traffic
from jharnet_monitor.judge.line.verdict import Assessment, LineThresholds, judge_line
from jharnet_monitor.judge.outages.downtime import outages_of
from jharnet_monitor.judge.outages.shared import JudgedSpans
from jharnet_monitor.judge.statistics.rounding import to_digits
from jharnet_monitor.model import Direction, Measurement

__all__ = [
    "Assessment", "Basis", "DeliveredRate", "LineDirection", "LineEvidence", "assess",
    "need_policy", "needs_trains", "thresholds_for",
]  # fmt: skip

T = TypeVar("T")
FEWEST_CALLS = 10
"""With fewer conference tests it is not claimed that calls suffice."""


@dataclass(frozen=True, slots=True)
class LineEvidence:
    """The measurements of one office from `start` to `end`, on the days `stretch`."""

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
    """What the router reports about the office's own network."""
    days: int = 0
    """Days with any measurement."""
    contract_since: datetime | None = None
    """When the contract's rates were last changed (`rates_changed`): no speed from before is held
    against it."""


def assess(config: Config, office: Office, evidence: LineEvidence) -> Assessment:
    """Assess one office's line. Figures are rounded to nine digits, as report and dossier state
    them, so that they are the same on every machine.
    """
    tests = [test for test in evidence.tests if test.is_conclusive]
    limits = thresholds_for(config, office)
    line = _line(config, office, evidence, tests, limits)
    found = judge_line(line, need_policy(config, office), limits, config.capacity.tariff)
    return _stated(replace(found, line=replace(
        found.line, down=_planned(found.line.down), up=_planned(found.line.up)
    )))  # fmt: skip


def needs_trains(config: Config, office: Office, tests: Sequence[Measurement]) -> bool:
    """Whether the assessment may need packet trains in addition to these speed tests."""
    limits = thresholds_for(config, office)
    marks = [limits.mark(rate or 0.0) for rate in contracted_rates(office)]
    return not has_enough_tests(config, tests, marks)


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
    limits: LineThresholds,
) -> Line:
    """What is known about the line."""
    district = config.district
    held = under_contract(tests, evidence.contract_since)
    traffic = evidence.traffic.since(evidence.contract_since)
    sides = [
        _direction(config, evidence, held, direction, contract, limits.mark(contract or 0.0))
        for direction, contract in zip(Direction, contracted_rates(office), strict=True)
    ]
    rates = [
        side.contracted if side.delivered.median is None else side.delivered.median.value
        for side in sides
    ]
    pair = (rates[0], rates[1])
    other = other_traffic(traffic, district, evidence.stretch, pair)
    down, up = (
        replace(side, other=p95, full=full)
        for side, p95, full in zip(sides, other.p95, other.full, strict=True)
    )
    return Line(
        down=down,
        up=up,
        loss=loss_rates(
            evidence.packets, evidence.states.spans, district, evidence.stretch,
            utilisation(traffic, pair), evidence.calls, tests,
        ),
        outages=outages_of(
            evidence.states, office_windows(district, evidence.stretch),
            evidence.start, evidence.end,
        ),
        days=evidence.days,
        lan_faulty=evidence.lan.is_faulty,
        calls_suffice=_calls_suffice(config, evidence.calls),
        cures=cures_of(evidence.calls, config.thresholds.grade),
    )  # fmt: skip


def _direction(
    config: Config,
    evidence: LineEvidence,
    tests: Sequence[Measurement],
    direction: Direction,
    contracted: float | None,
    mark: float,
) -> LineDirection:
    delivered = delivered_rate(config, tests, direction, contracted, mark)
    since = evidence.contract_since
    if since is not None and evidence.start < since < evidence.end:
        first = day_of(since, config.district)
        delivered = replace(delivered, since=max(first, delivered.since or first))
    short = delivered.median is not None and delivered.median.value <= mark
    return LineDirection(
        contracted=contracted,
        delivered=delivered,
        left=left_by_day(config, tests, direction),
        carried=carried_by_day(config, tests, direction, evidence.traffic),
        capacity=capacity_by_trains(config, tests, direction) if short else None,
    )


def _calls_suffice(config: Config, calls: Sequence[Measurement]) -> bool:
    """Whether every conference test of office hours reached the grade that is required."""
    inside = [call for call in calls if in_office_hours(config.district, call.started_at)]
    grades = [grade for call in inside if (grade := grade_of(call)) is not None]
    return len(grades) >= FEWEST_CALLS and min(grades) >= config.thresholds.grade


def _planned(side: LineDirection) -> LineDirection:
    """The direction; its other traffic is dropped unless enough was measured for planning."""
    return side if is_sufficient(side.other) else replace(side, other=None)


def _stated(found: T) -> T:
    """Round every number in nested dataclasses to nine digits."""
    if isinstance(found, float):
        return cast(T, to_digits(found))
    if is_dataclass(found) and not isinstance(found, type):
        rounded = {one.name: _stated(getattr(found, one.name)) for one in fields(found)}
        return replace(found, **rounded)
    return found

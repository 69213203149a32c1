"""What a line needs, what was contracted, what it delivers; and so what would help. Pure.

A reviewer asks first whether the contracted speed arrives at all: contracted but not delivered is
a case of repair or service level, delivered as contracted but short of the need is a case for an
upgrade, and loss, power cuts and faults of the office's own network are neither. A verdict is given
only where the whole 95 % interval supports it; otherwise it is `not_enough_evidence`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from jharnet_monitor.judge.line.traffic import Ways, proven
from jharnet_monitor.judge.statistics.intervals import Interval

CENSORED = 0.95
"""Demand that fills the line to this share of what it delivers was held back by it: the need is
then called "at least"."""


class Verdict(StrEnum):
    """What would help an office; words for people stand under `capacity`."""

    REPAIR = "repair"
    """Contracted but not delivered (below the contract's mark, or below a need that the contract
    would meet), or the line down for longer than promised."""
    LINE_QUALITY = "line_quality"
    """It loses more packets than is allowed."""
    UPGRADE = "upgrade"
    """It delivers what was contracted, and that is less than is needed."""
    POWER = "power"
    LAN = "lan"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"
    NOTHING = "nothing"
    """It delivers more than is needed."""


class Doubt(StrEnum):
    """Why there is not enough evidence."""

    FEW_DAYS = "few_days"
    NO_CONTRACT = "no_contract"
    NO_RATE = "no_rate"
    """No test speaks for the line itself (`judge.line.by_time_of_day`)."""
    CONTRACT_UNDECIDED = "contract_undecided"
    """The interval holds the mark below which the contract is not kept."""
    NEED_UNDECIDED = "need_undecided"
    """The interval holds the need."""
    LOSS_UNDECIDED = "loss_undecided"
    OUTAGES_UNEXPLAINED = "outages_unexplained"
    """It was out of reach for longer than promised, and whether line or power failed is not known.
    """


@dataclass(frozen=True, slots=True)
class Policy:
    """What a block needs by the district's policy; rates in bit/s, each way.

    `other` is the assumed 95th percentile of all other traffic, for where no counter tells it.
    """

    conferences: int
    video: float
    audio: float
    overhead: float
    other: float
    seats: int
    per_seat: float
    services: float
    utilisation: float

    @property
    def media(self) -> float:
        """What the conferences take."""
        return self.conferences * (self.video + self.audio) * (1 + self.overhead)

    def need(self, other: float | None = None) -> float:
        """What the line has to carry, over how full it may be planned.

        >>> round(Policy(1, 1.5e6, 80e3, 0.15, 500e3, 10, 50e3, 100e3, 0.7).need())
        4167143
        """
        beside = self.other if other is None else other
        load = self.media + beside + self.seats * self.per_seat + self.services
        return load / self.utilisation


@dataclass(frozen=True, slots=True)
class Need:
    """What one way of a line has to carry, in bit/s: the value, and its 95 % interval where other
    traffic was measured (`measured`). An assumption has no interval.
    """

    value: float
    low: float
    high: float
    measured: bool = False
    at_least: bool = False
    """The traffic filled the line, which held the rest of it back: the need may be larger still."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Where good ends: ratios, and the fewest days that prove anything."""

    delivered: float
    loss: float
    available: float
    """The availability that the contract promises, or the district's own mark."""
    days: int


@dataclass(frozen=True, slots=True)
class Line:
    """What is known of one office's line.

    `delivered` are medians of what the line carried towards the office and from it, by rule 8;
    `contracted` the same ways. Downtimes are shares of the time that is known (up and down);
    `loss` is the share of packets lost while the office answered.
    """

    delivered: tuple[Interval | None, Interval | None]
    contracted: tuple[float | None, float | None]
    loss: Interval | None = None
    link_down: float = 0.0
    power_down: float = 0.0
    lan_down: float = 0.0
    unexplained: float = 0.0
    """Out of reach, and whether line or power failed is not known."""
    days: int = 0
    """Days on which anything was measured."""
    other: Ways = (None, None)
    """95th percentile of all other traffic, the same ways."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What would help, the main verdict first; `doubts` where the evidence does not suffice.

    `needs` are towards the office and from it. `slab` is the speed to order in an upgrade, None
    where the tariff has none that large; it is None for every other verdict, too.
    """

    verdicts: tuple[Verdict, ...]
    needs: tuple[Need, Need]
    doubts: tuple[Doubt, ...] = ()
    slab: float | None = None

    @property
    def main(self) -> Verdict:
        """The verdict that the letter acts on."""
        return self.verdicts[0]


def judge(line: Line, policy: Policy, marks: Marks, tariff: Sequence[float]) -> Judgement:
    """What would help this office.

    Faults come before capacity: more speed on a line that breaks the contract or loses packets
    helps nobody. Power, LAN and outages that nobody can explain stand beside an upgrade, since
    they keep no packet slow.
    """
    needs = needs_of(line, policy)
    if line.days < marks.days:
        return Judgement((Verdict.NOT_ENOUGH_EVIDENCE,), needs, (Doubt.FEW_DAYS,))
    doubts = tuple(dict.fromkeys(_doubts(line, needs, marks)))
    faults = list(dict.fromkeys(_faults(line, needs, marks)))
    others = [
        verdict
        for verdict, down in ((Verdict.POWER, line.power_down), (Verdict.LAN, line.lan_down))
        if down > 1 - marks.available
    ]
    outages = (Doubt.OUTAGES_UNEXPLAINED,) if line.unexplained > 1 - marks.available else ()
    if not faults and not doubts and any(_short(*way) for way in _ways(line, needs)):
        slab = next_slab(max(need.value for need in needs), tariff)
        return Judgement((Verdict.UPGRADE, *others), needs, outages, slab)
    doubts = (*doubts, *outages)
    found = (*faults, *others)
    if doubts:
        return Judgement((*found, Verdict.NOT_ENOUGH_EVIDENCE), needs, doubts)
    return Judgement(found or (Verdict.NOTHING,), needs)


def needs_of(line: Line, policy: Policy) -> tuple[Need, Need]:
    """What each way has to carry: by what its other traffic was measured to be, else by the
    assumption.
    """
    down, up = (
        _need(other, delivered, policy)
        for other, delivered in zip(line.other, line.delivered, strict=True)
    )
    return down, up


def _need(other: Interval | None, delivered: Interval | None, policy: Policy) -> Need:
    if other is None or other.low is None or other.high is None or not proven(other):
        assumed = policy.need()
        return Need(assumed, assumed, assumed)
    censored = delivered is not None and other.value >= CENSORED * delivered.value
    return Need(
        value=policy.need(other.value),
        low=policy.need(other.low),
        high=math.inf if censored else policy.need(other.high),
        measured=True,
        at_least=censored,
    )


def next_slab(need: float, tariff: Sequence[float]) -> float | None:
    """The smallest speed of the tariff that meets the need.

    >>> next_slab(4.2e6, (2e6, 4e6, 8e6)), next_slab(9e6, (2e6, 4e6, 8e6))
    (8000000.0, None)
    """
    return min((slab for slab in tariff if slab >= need), default=None)


def _faults(line: Line, needs: tuple[Need, Need], marks: Marks) -> Iterator[Verdict]:
    """What is wrong with the line: more speed ordered would not cure it."""
    for delivered, contracted, need in _ways(line, needs):
        if delivered and contracted and delivered.below(marks.delivered * contracted):
            yield Verdict.REPAIR
        if _withheld(delivered, contracted, need):
            yield Verdict.REPAIR
    if line.link_down > 1 - marks.available:
        yield Verdict.REPAIR
    if line.loss is not None and line.loss.above(marks.loss):
        yield Verdict.LINE_QUALITY


def _ways(
    line: Line, needs: tuple[Need, Need]
) -> Iterator[tuple[Interval | None, float | None, Need]]:
    """What is delivered, contracted and needed, a way each."""
    return zip(line.delivered, line.contracted, needs, strict=True)


def _short(delivered: Interval | None, contracted: float | None, need: Need) -> bool:
    """Whether a way is contracted for less than is needed, and does not carry the need either."""
    return (
        delivered is not None
        and contracted is not None
        and contracted < need.low
        and delivered.below(need.low)
    )


def _withheld(delivered: Interval | None, contracted: float | None, need: Need) -> bool:
    """Whether a way is contracted for what is needed, and certainly does not carry it."""
    return (
        delivered is not None
        and contracted is not None
        and contracted >= need.high
        and delivered.below(need.low)
    )


def _doubts(line: Line, needs: tuple[Need, Need], marks: Marks) -> Iterator[Doubt]:
    """What cannot be told, of what the verdict rests on."""
    for delivered, contracted, need in _ways(line, needs):
        if contracted is None:
            yield Doubt.NO_CONTRACT
        elif delivered is None or delivered.low is None:
            yield Doubt.NO_RATE
        else:
            if _withheld(delivered, contracted, need):
                continue  # a repair, whichever side of the contract's mark it lies on
            mark = marks.delivered * contracted
            if not delivered.above(mark) and not delivered.below(mark):
                yield Doubt.CONTRACT_UNDECIDED
            if not delivered.above(need.high) and not _short(delivered, contracted, need):
                yield Doubt.NEED_UNDECIDED
    if line.loss is None or line.loss.low is None or not _decided(line.loss, marks.loss):
        yield Doubt.LOSS_UNDECIDED


def _decided(loss: Interval, mark: float) -> bool:
    return loss.above(mark) or loss.below(mark)

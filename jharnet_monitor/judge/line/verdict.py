"""The verdict on a line: what would help, from what it needs, what was contracted and what it
delivers. Pure.

The first question is whether the contracted speed is delivered at all. A line that does not deliver
it is a case for repair or the service level; a line that delivers it but not what is needed is a
case for an upgrade. Packet loss, power failures and faults of the office's own network are neither.
A verdict is given only if the whole 95 % interval supports it; otherwise it is
`not_enough_evidence`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from jharnet_monitor.judge.line.need import Need, NeedPolicy, needs_of, next_slab
from jharnet_monitor.judge.line.traffic import IntervalPair
from jharnet_monitor.judge.statistics.intervals import Interval


class LineVerdict(StrEnum):
    """What would help an office; the texts for people are under `capacity`."""

    REPAIR = "repair"
    """Contracted but not delivered (below the contract's threshold, or below a need that the
    contract covers), or the line was down for longer than promised."""
    LINE_QUALITY = "line_quality"
    """It loses more packets than allowed."""
    UPGRADE = "upgrade"
    """It delivers what was contracted, and that is less than needed."""
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
    """No test measured the line itself (see `assess.Basis`)."""
    CONTRACT_UNDECIDED = "contract_undecided"
    """The interval contains the threshold below which the contract is not kept."""
    NEED_UNDECIDED = "need_undecided"
    """The interval contains the need."""
    LOSS_UNDECIDED = "loss_undecided"
    OUTAGES_UNEXPLAINED = "outages_unexplained"
    """It was unreachable for longer than promised, and it is not known whether line or power
    failed.
    """


@dataclass(frozen=True, slots=True)
class LineThresholds:
    """The limits of a good line: ratios, and the number of days that a verdict requires."""

    delivered: float
    """Share of the contracted rate that must be delivered."""
    loss: float
    available: float
    """The availability that the contract promises, or else the district's own requirement."""
    days: int


@dataclass(frozen=True, slots=True)
class Line:
    """What is known about one office's line.

    Pairs are towards the office and from it. `delivered` are the median rates in bit/s that the
    line itself delivers. Downtimes are shares of the known time (up and down); `loss` is the share
    of packets lost while the office answered.
    """

    delivered: IntervalPair
    contracted: tuple[float | None, float | None]
    loss: Interval | None = None
    link_down: float = 0.0
    power_down: float = 0.0
    lan_down: float = 0.0
    unexplained: float = 0.0
    """Unreachable, and it is not known whether line or power failed."""
    days: int = 0
    """Days with any measurement."""
    other: IntervalPair = (None, None)
    """95th percentile of all other traffic in bit/s."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What would help, the main verdict first; `doubts` if the evidence is not sufficient.

    `needs` are towards the office and from it. `slab` is the speed to order in an upgrade; None for
    any other verdict, and if the tariff has none that is large enough.
    """

    verdicts: tuple[LineVerdict, ...]
    needs: tuple[Need, Need]
    doubts: tuple[Doubt, ...] = ()
    slab: float | None = None

    @property
    def main(self) -> LineVerdict:
        """The verdict on which the letter acts."""
        return self.verdicts[0]


def judge_line(
    line: Line, policy: NeedPolicy, thresholds: LineThresholds, tariff: Sequence[float]
) -> Judgement:
    """What would help this office; `tariff` are the speeds on offer in bit/s.

    Faults come before capacity: more speed does not help on a line that breaks the contract or
    loses packets. Power, LAN and unexplained outages are named in addition to an upgrade, since
    they do not make the line slow.
    """
    needs = needs_of(line.other, line.delivered, policy)
    if line.days < thresholds.days:
        return Judgement((LineVerdict.NOT_ENOUGH_EVIDENCE,), needs, (Doubt.FEW_DAYS,))
    doubts = tuple(dict.fromkeys(_doubts(line, needs, thresholds)))
    faults = list(dict.fromkeys(_faults(line, needs, thresholds)))
    downtime = {LineVerdict.POWER: line.power_down, LineVerdict.LAN: line.lan_down}
    others = [verdict for verdict, down in downtime.items() if down > 1 - thresholds.available]
    unexplained = line.unexplained > 1 - thresholds.available
    outages = (Doubt.OUTAGES_UNEXPLAINED,) if unexplained else ()
    if not faults and not doubts and any(_short(*each) for each in _directions(line, needs)):
        slab = next_slab(max(need.value for need in needs), tariff)
        return Judgement((LineVerdict.UPGRADE, *others), needs, outages, slab)
    doubts = (*doubts, *outages)
    found = (*faults, *others)
    if doubts:
        return Judgement((*found, LineVerdict.NOT_ENOUGH_EVIDENCE), needs, doubts)
    return Judgement(found or (LineVerdict.NOTHING,), needs)


def _faults(
    line: Line, needs: tuple[Need, Need], thresholds: LineThresholds
) -> Iterator[LineVerdict]:
    """Faults of the line, which more speed would not cure."""
    for delivered, contracted, need in _directions(line, needs):
        if delivered and contracted and delivered.below(thresholds.delivered * contracted):
            yield LineVerdict.REPAIR
        if _withheld(delivered, contracted, need):
            yield LineVerdict.REPAIR
    if line.link_down > 1 - thresholds.available:
        yield LineVerdict.REPAIR
    if line.loss is not None and line.loss.above(thresholds.loss):
        yield LineVerdict.LINE_QUALITY


def _directions(
    line: Line, needs: tuple[Need, Need]
) -> Iterator[tuple[Interval | None, float | None, Need]]:
    """What is delivered, contracted and needed in each direction."""
    return zip(line.delivered, line.contracted, needs, strict=True)


def _short(delivered: Interval | None, contracted: float | None, need: Need) -> bool:
    """Whether a direction is contracted for less than the need and does not deliver it either."""
    return (
        delivered is not None
        and contracted is not None
        and contracted < need.low
        and delivered.below(need.low)
    )


def _withheld(delivered: Interval | None, contracted: float | None, need: Need) -> bool:
    """Whether a direction is contracted for the need but certainly does not deliver it."""
    return (
        delivered is not None
        and contracted is not None
        and contracted >= need.high
        and delivered.below(need.low)
    )


def _doubts(line: Line, needs: tuple[Need, Need], thresholds: LineThresholds) -> Iterator[Doubt]:
    """The questions that the measurements do not decide."""
    for delivered, contracted, need in _directions(line, needs):
        if contracted is None:
            yield Doubt.NO_CONTRACT
        elif delivered is None or delivered.low is None:
            yield Doubt.NO_RATE
        else:
            if _withheld(delivered, contracted, need):
                continue  # a repair, on whichever side of the contract's threshold it is
            threshold = thresholds.delivered * contracted
            if not delivered.above(threshold) and not delivered.below(threshold):
                yield Doubt.CONTRACT_UNDECIDED
            if not delivered.above(need.high) and not _short(delivered, contracted, need):
                yield Doubt.NEED_UNDECIDED
    if line.loss is None or line.loss.low is None or not _decided(line.loss, thresholds.loss):
        yield Doubt.LOSS_UNDECIDED


def _decided(loss: Interval, threshold: float) -> bool:
    return loss.above(threshold) or loss.below(threshold)

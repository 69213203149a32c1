"""The verdict on a line: what would help, from what it needs, what was contracted and what it
delivers. Pure.

The first question is whether the contract is kept: a line below the contract's own mark is a case
for repair or the service level. A line that keeps the contract but delivers less than needed is a
case for an upgrade if the contract is too small, else for neither. More speed does not cure packet
loss, power failures or faults of the office's own network, except loss caused by the office filling
its line. Where enough calls below HD were simulated with the speed to be ordered, an upgrade is
asked for only if it cures them (`judge.line.cures`); they decide nothing else. A verdict is given
only if the whole 95 % interval supports it; otherwise it is `not_enough_evidence`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jharnet_monitor.judge.line.cures import REPAIRED, Cures
from jharnet_monitor.judge.line.facts import Line, LineDirection
from jharnet_monitor.judge.line.grounds import (
    Condition,
    Doubt,
    Ground,
    LineVerdict,
    NeedRange,
    Note,
    VerdictReason,
)
from jharnet_monitor.judge.line.need import NeedPolicy, next_slab
from jharnet_monitor.judge.line.traffic import MIN_WORKING_DAYS
from jharnet_monitor.judge.outages.downtime import Downtime
from jharnet_monitor.judge.statistics.intervals import Interval
from jharnet_monitor.judge.twin.stored_whatif import LineChange

__all__ = [
    "Assessment", "Condition", "Doubt", "Ground", "Line", "LineDirection", "LineThresholds",
    "LineVerdict", "NeedRange", "Note", "VerdictReason", "judge_line",
]  # fmt: skip

MUCH_SLOWER = 0.25
"""If one direction is below this share of the contract and the other is fine, a duplex fault is
likely enough to be named."""
MUCH_POWER = 0.1
"""Without power for this share of office hours, power comes before speed."""
ONE_INCIDENT = 0.5
OFTEN = 0.2
"""If more of the tests are below the mark, a median above it is misleading."""
_QUALITY = LineVerdict.LINE_QUALITY


@dataclass(frozen=True, slots=True)
class LineThresholds:
    """The limits of a good line: ratios, and the number of days that a verdict requires."""

    delivered: float
    """Share of the contracted rate that must be delivered."""
    loss: float
    available: float
    """The availability that the contract promises, or else the district's own requirement."""
    days: int
    framing: float = 0.03
    """Share of the contracted rate that framing and tunnels may take."""
    required: float | None = None
    """The availability in office hours that the district requires; default `available`."""
    coverage: float = 0.5
    """Share of the time that must be known to judge the availability."""
    margin: float = 0.05
    """How much larger than the contract a need must be for an upgrade."""

    def mark(self, contracted: float) -> float:
        """The rate in bit/s below which the contract is not kept."""
        return self.delivered * (1 - self.framing) * contracted


@dataclass(frozen=True, slots=True)
class Assessment:
    """The judgement on a line, and the facts behind it."""

    line: Line
    """With the need of each direction."""
    verdicts: tuple[LineVerdict, ...]
    """The main one first."""
    doubts: tuple[Doubt, ...] = ()
    """Why the evidence does not suffice, where it does not."""
    notes: tuple[Note, ...] = ()
    """Information stated with the verdicts that requires no action."""
    grounds: tuple[Ground, ...] = ()
    """The reason of each verdict except `not_enough_evidence`."""
    slab: float | None = None
    """The speed in bit/s to order in an upgrade; None if the tariff has none that is large enough,
    and for any other verdict."""
    holds: NeedRange | None = None
    """The range of needs for which the main verdict stays the same; None if it does not depend on
    them."""

    @property
    def verdict(self) -> LineVerdict:
        """The verdict that the letter acts on."""
        return self.verdicts[0]

    @property
    def ground(self) -> Ground:
        """The reason of the main verdict."""
        return self.grounds[0] if self.grounds else Ground(self.verdict)

    @property
    def directions(self) -> tuple[LineDirection, LineDirection]:
        """Towards the office, and from it, in the order of `Direction`."""
        return self.line.directions


def judge_line(
    line: Line, policy: NeedPolicy, thresholds: LineThresholds, tariff: Sequence[float]
) -> Assessment:
    """What would help this office; `tariff` are the speeds on offer in bit/s.

    Faults come before capacity: more speed does not help on a line that breaks the contract or
    loses packets. Power, LAN and outages are named in addition to an upgrade, since they do not
    make the line slow.
    """
    line = line.needing(policy)
    if line.days < thresholds.days:
        return Assessment(line, (LineVerdict.NOT_ENOUGH_EVIDENCE,), (Doubt.FEW_DAYS,))
    judge = _Judge(line, policy, thresholds)
    faults = [*judge.loss_faults(), *judge.speed_faults()]
    outages = list(judge.outage_grounds())
    blocking = tuple(dict.fromkeys(judge.doubts()))
    other_doubts = tuple(dict.fromkeys([*judge.loss_doubts(), *judge.outage_doubts()]))
    breaks = [*faults, *(one for one in outages if one.verdict is LineVerdict.REPAIR)]
    capacity: list[Ground] = []
    slab = next_slab(max(side.need.value for side in line.directions), tariff)
    if not breaks and not blocking and judge.too_small:
        blocking = _not_cured_by(slab, line.cures)
    if not breaks and not blocking and judge.too_small:
        capacity = [Ground(LineVerdict.UPGRADE, VerdictReason.SPEED)]
    elif not faults and not blocking and judge.need_not_met and not judge.too_small:
        capacity = [Ground(LineVerdict.NEED_NOT_MET, VerdictReason.SPEED)]
    upgrade = bool(capacity) and capacity[0].verdict is LineVerdict.UPGRADE
    ordered_grounds = (
        [*capacity, *outages] if upgrade else _by_weight([*faults, *outages, *capacity])
    )
    doubts = (*blocking, *other_doubts)
    verdicts = [one.verdict for one in ordered_grounds]
    if doubts and not upgrade:
        verdicts.append(LineVerdict.NOT_ENOUGH_EVIDENCE)
    verdicts = list(dict.fromkeys(verdicts)) or [LineVerdict.NOTHING]
    return Assessment(
        line=line,
        verdicts=tuple(verdicts),
        doubts=doubts,
        notes=tuple(judge.notes(ordered_grounds)),
        grounds=tuple(ordered_grounds),
        slab=slab if upgrade else None,
        holds=judge.holds(verdicts[0], ordered_grounds, doubts),
    )


def _not_cured_by(slab: float | None, cures: Cures) -> tuple[Doubt, ...]:
    """The doubt that keeps an upgrade from being asked for, if simulated calls leave one."""
    if slab is None or cures.cured_by(LineChange(rate=slab)) is not False:
        return ()
    repaired = (REPAIRED, LineChange(rate=slab, loss=0.0))
    return (Doubt.LOSS_FIRST if any(map(cures.cured_by, repaired)) else Doubt.NOT_CURED,)


_WEIGHT = (
    LineVerdict.LINE_QUALITY, LineVerdict.REPAIR, LineVerdict.NEED_NOT_MET, LineVerdict.OUTAGES,
    LineVerdict.POWER, LineVerdict.LAN,
)  # fmt: skip


def _by_weight(grounds: Sequence[Ground]) -> list[Ground]:
    return sorted(grounds, key=lambda one: _WEIGHT.index(one.verdict))


@dataclass(frozen=True, slots=True)
class _Side:
    """One direction compared with the thresholds."""

    at: LineDirection
    thresholds: LineThresholds

    @property
    def rate(self) -> Interval | None:
        """The delivered rate, if measured on enough days."""
        found = self.at.delivered.median
        enough = found is not None and found.low is not None and found.days >= self.thresholds.days
        return found if enough else None

    @property
    def mark(self) -> float:
        return self.thresholds.mark(self.at.contracted or 0.0)

    @property
    def below_mark(self) -> bool:
        return self.rate is not None and self.rate.below(self.mark)

    @property
    def carries(self) -> bool:
        """Whether packet trains reach the mark although speed tests do not."""
        return self.at.capacity is not None and self.at.capacity.above(self.mark)

    @property
    def often_short(self) -> bool:
        """Whether the median keeps the contract and many tests do not."""
        short = self.at.delivered.short
        return self.keeps_contract and short is not None and short.value > OFTEN

    @property
    def keeps_contract(self) -> bool:
        return self.rate is not None and self.rate.above(self.mark) and bool(self.at.contracted)

    @property
    def below_need(self) -> bool:
        return self.rate is not None and self.rate.below(self.at.need.low)

    @property
    def ceiling(self) -> float:
        """The need above which the contract is certainly too small."""
        return (self.at.contracted or 0.0) * (1 + self.thresholds.margin)

    @property
    def too_small(self) -> bool:
        """Whether the contract is kept and certainly smaller than the need."""
        return self.keeps_contract and self.below_need and self.at.need.low > self.ceiling


class _Judge:
    """The individual questions of a judgement."""

    def __init__(self, line: Line, policy: NeedPolicy, thresholds: LineThresholds) -> None:
        self._line = line
        self._policy = policy
        self._limits = thresholds
        self._sides = [_Side(direction, thresholds) for direction in line.directions]
        self.too_small = any(side.too_small for side in self._sides)
        self.need_not_met = any(side.keeps_contract and side.below_need for side in self._sides)

    # Loss

    def _is_above_limit(self, seen: Interval | None) -> bool:
        """Whether the loss is certainly above the limit."""
        return seen is not None and seen.above(self._limits.loss)

    def _is_below_limit(self, seen: Interval | None) -> bool:
        """Whether the loss is certainly below the limit."""
        return seen is not None and seen.below(self._limits.loss)

    @property
    def _is_contradicted(self) -> bool:
        """Whether calls or packet trains of office hours lost less than the limit."""
        loss = self._line.loss
        return self._is_below_limit(loss.calls) or (
            loss.calls is None and self._is_below_limit(loss.trains)
        )

    @property
    def _is_contradicted_at_night(self) -> bool:
        return self._is_below_limit(self._line.loss.trains_night)

    @property
    def _is_own_load(self) -> bool:
        """Whether the loss of office hours comes from the office's own full line."""
        return self._is_below_limit(self._line.loss.idle) and self._is_above_limit(
            self._line.loss.busy
        )

    def loss_faults(self) -> Iterator[Ground]:
        """Loss for which the operator is responsible."""
        loss = self._line.loss
        night = self._is_above_limit(loss.night) and self._enough_loss_days
        office = self._is_above_limit(loss.office)
        if night and office:
            if not self._is_contradicted and not self._is_contradicted_at_night:
                yield Ground(_QUALITY, VerdictReason.LOSS, Condition.ALWAYS)
        elif night:
            if not self._is_contradicted_at_night:
                yield Ground(_QUALITY, VerdictReason.LOSS, Condition.OFF_HOURS)
        elif office and not self._is_contradicted and not self._is_own_load:
            idle = self._is_above_limit(loss.idle)
            if idle and self._is_below_limit(loss.night) and self._enough_loss_days:
                yield Ground(_QUALITY, VerdictReason.CORE, Condition.OFFICE_HOURS)
            elif idle or (loss.idle is None and not self.too_small):
                yield Ground(_QUALITY, VerdictReason.LOSS, Condition.OFFICE_HOURS)

    def loss_doubts(self) -> Iterator[Doubt]:
        """Doubts about the loss that do not affect the speed."""
        loss = self._line.loss
        office, night = self._is_above_limit(loss.office), self._is_above_limit(loss.night)
        if (office and self._is_contradicted) or (night and self._is_contradicted_at_night):
            yield Doubt.PING_ONLY
        elif office and not night and loss.idle is None and not self.too_small:
            yield Doubt.LOAD_UNKNOWN

    def _loss_open(self) -> Iterator[Doubt]:
        """Doubts about the loss because of which the line cannot be judged."""
        loss, mark = self._line.loss, self._limits.loss
        if loss.night is None or not _decided(loss.night, mark):
            yield Doubt.LOSS_UNDECIDED
        elif not self._enough_loss_days:
            yield Doubt.FEW_LOSS_DAYS
        elif loss.office is not None and loss.office.low is not None and self._office_open(mark):
            yield Doubt.LOSS_UNDECIDED
        if (
            self._is_above_limit(loss.calls)
            and self._is_below_limit(loss.office)
            and not self.too_small
        ):
            yield Doubt.CALLS_ONLY

    def _office_open(self, mark: float) -> bool:
        """Whether the loss of office hours is undecided and not explained by too little speed."""
        loss = self._line.loss
        seen = loss.office if loss.idle is None or self._is_own_load else loss.idle
        if _decided(seen, mark) or self._is_below_limit(loss.office):
            return False  # the idle time of a line that is hardly ever idle proves little by itself
        return not self.too_small or (loss.office is not None and loss.office.above(mark))

    @property
    def _enough_loss_days(self) -> bool:
        night = self._line.loss.night
        return night is not None and night.days >= self._limits.days

    # Speed

    def speed_faults(self) -> Iterator[Ground]:
        """Speed that is contracted but not delivered."""
        lossy = any(one.verdict is LineVerdict.LINE_QUALITY for one in self.loss_faults())
        for side in self._sides:
            if side.at.contracted is None:
                continue
            excused = side.carries and (lossy or side.at.delivered.by_loss)
            if side.below_mark and not excused and not self._line.lan_faulty:
                yield Ground(LineVerdict.REPAIR, VerdictReason.SPEED, Condition.ALWAYS)
                return
        if any(self._is_core_fault(side) for side in self._sides):
            yield Ground(LineVerdict.REPAIR, VerdictReason.CORE, Condition.OFFICE_HOURS)

    @staticmethod
    def _is_core_fault(side: _Side) -> bool:
        """Whether the line carries too little in office hours, including the office's own
        traffic."""
        carried = side.at.carried
        if carried is None or carried.days < MIN_WORKING_DAYS:
            return False
        return side.keeps_contract and carried.below(side.mark)

    def doubts(self) -> Iterator[Doubt]:
        """Doubts that must be resolved before speed can be judged."""
        for side in self._sides:
            if side.at.contracted is None:
                yield Doubt.NO_CONTRACT
            elif side.at.delivered.median is None:
                yield Doubt.NO_RATE
            elif side.at.delivered.median.days < self._limits.days:
                yield Doubt.FEW_RATE_DAYS
            elif side.at.delivered.median.low is None:
                yield Doubt.NO_RATE
            elif side.below_mark:
                if self._line.lan_faulty:
                    yield Doubt.LAN_FAULT
                elif self._is_one_way_slow(side):
                    yield Doubt.ONE_WAY
                if side.carries and side.at.delivered.by_loss:
                    yield Doubt.TCP_LOSS
            else:
                yield from self._undecided(side)
        yield from self._loss_open()

    def _undecided(self, side: _Side) -> Iterator[Doubt]:
        rate = side.rate
        if rate is None:
            return
        if not rate.above(side.mark):
            yield Doubt.CONTRACT_UNDECIDED
        if side.often_short:
            yield Doubt.OFTEN_SHORT
        open_need = not rate.above(side.at.need.high) and not side.below_need
        if open_need and not self.too_small:  # the other way is too small for certain
            yield Doubt.LINE_FULL if side.at.need.at_least else Doubt.NEED_UNDECIDED
        if side.at.carried is None and not side.below_need and self._unexplained_by_day(side):
            yield Doubt.LOAD_UNKNOWN

    def _unexplained_by_day(self, side: _Side) -> bool:
        """Whether the assumed traffic cannot explain how little tests in office hours get.

        The assumption may be wrong by a factor of two. So the tests must lack more than twice as
        much: of the mark, or of the line's own rate. In the second case, a need that includes the
        missing traffic must also exceed that rate.
        """
        left, rate = side.at.left, side.rate
        if left is None or left.days < MIN_WORKING_DAYS or rate is None or left.high is None:
            return False
        twice = 2 * self._policy.assumed
        if left.below(side.mark - twice):
            return True
        lacking = rate.value - left.high
        return lacking > twice and self._policy.need(lacking) > rate.value

    def _is_one_way_slow(self, side: _Side) -> bool:
        down, up = (one.contracted for one in self._line.directions)
        rate, fine = side.rate, any(one.keeps_contract for one in self._sides)
        much = rate is not None and rate.below(MUCH_SLOWER * (side.at.contracted or 0.0))
        return down == up and fine and much

    # Outages

    @property
    def _allowed(self) -> tuple[float, float]:
        """The downtime allowed by the contract, and by the district (in office hours)."""
        limits = self._limits
        required = limits.available if limits.required is None else limits.required
        return 1 - limits.available, 1 - required

    def outage_grounds(self) -> Iterator[Ground]:
        """Causes of downtime that exceed what is allowed, or all of them together."""
        total, office = self._line.outages.total, self._line.outages.office
        allowed, required = self._allowed
        single = []
        if total.link > allowed:
            single.append(Ground(LineVerdict.REPAIR, VerdictReason.DOWN, Condition.ALWAYS))
        elif office.link > required:
            single.append(
                Ground(LineVerdict.NEED_NOT_MET, VerdictReason.DOWN, Condition.OFFICE_HOURS)
            )
        if office.power > required:
            single.append(Ground(LineVerdict.POWER, VerdictReason.DOWN, Condition.OFFICE_HOURS))
        yield from single
        if not single and self._exceeds_together and not self._unexplained_exceeds:
            yield Ground(LineVerdict.OUTAGES, VerdictReason.DOWN)
        if office.lan > required:
            yield Ground(LineVerdict.LAN, VerdictReason.DOWN, Condition.OFFICE_HOURS)

    @property
    def _exceeds_together(self) -> bool:
        total, office = self._line.outages.total, self._line.outages.office
        allowed, required = self._allowed
        by_day = office.link + office.power + office.unexplained
        return total.link + total.unexplained > allowed or by_day > required

    @property
    def _unexplained_exceeds(self) -> bool:
        total, office = self._line.outages.total, self._line.outages.office
        allowed, required = self._allowed
        return total.unexplained > allowed or office.unexplained > required

    def outage_doubts(self) -> Iterator[Doubt]:
        """Doubts about the outages."""
        total, office = self._line.outages.total, self._line.outages.office
        allowed, required = self._allowed
        open_ = self._exceeds_together and total.unexplained > 0 and total.link <= allowed
        if self._unexplained_exceeds or open_:
            yield Doubt.OUTAGES_UNEXPLAINED
        unsure = (
            _unsure(total, allowed, total.link),
            _unsure(office, required, office.power),
            _unsure(office, required, office.lan),
        )
        if total.known < self._limits.coverage or any(unsure):
            yield Doubt.AVAILABILITY_UNDECIDED

    # Beside

    def notes(self, grounds: Sequence[Ground]) -> Iterator[Note]:
        """Notes stated with the verdicts."""
        verdicts = {one.verdict for one in grounds}
        outages, upgrade = self._line.outages, LineVerdict.UPGRADE in verdicts
        if any(side.at.delivered.since is not None for side in self._sides):
            yield Note.CHANGED
        if any(side.at.delivered.policed for side in self._sides):
            yield Note.POLICED
        if outages.nights:
            yield Note.HABIT
        if outages.shared:
            yield Note.SHARED
        if self._is_single_incident(grounds):
            yield Note.INCIDENT
        if self._is_own_load and not self._is_contradicted:
            yield Note.OWN_LOAD
        if upgrade and outages.office.power > MUCH_POWER:
            yield Note.POWER_FIRST
        if upgrade and self._line.calls_suffice:
            yield Note.CALLS_SUFFICE
        allowed, _ = self._allowed
        for name, verdict in (("power", LineVerdict.POWER), ("lan", LineVerdict.LAN)):
            if getattr(outages.total, name) > allowed and verdict not in verdicts:
                yield Note.OFF_HOURS_ONLY
                return

    def _is_single_incident(self, grounds: Sequence[Ground]) -> bool:
        down = any(
            one.verdict is LineVerdict.REPAIR and one.reason is VerdictReason.DOWN
            for one in grounds
        )
        loss = self._line.loss
        lossy = any(
            one is not None and not one.below(self._limits.loss) and one.low is not None
            for one in (loss.office, loss.night)
        )
        return (down and self._line.outages.incident > ONE_INCIDENT) or (
            lossy and loss.worst_day > ONE_INCIDENT
        )

    def holds(
        self, main: LineVerdict, grounds: Sequence[Ground], doubts: Sequence[Doubt]
    ) -> NeedRange | None:
        """The range of needs for which the main verdict stays the same."""
        rates = [side.rate for side in self._sides]
        ends = [(one.low, one.high) for one in rates if one is not None]
        lows = [low for low, _ in ends if low is not None]
        highs = [high for _, high in ends if high is not None]
        if len(lows) < len(rates) or len(highs) < len(rates):
            return None
        ceilings = [side.ceiling for side in self._sides]
        found = None
        if main is LineVerdict.NOTHING:
            found = NeedRange(0.0, min(lows))
        elif main is LineVerdict.UPGRADE:
            needed = [max(high, top) for high, top in zip(highs, ceilings, strict=True)]
            found = NeedRange(min(needed), None)
        elif main is LineVerdict.NEED_NOT_MET and grounds[0].reason is VerdictReason.SPEED:
            found = NeedRange(min(highs), max(min(ceilings), min(highs)))
        elif doubts and doubts[0] is Doubt.NEED_UNDECIDED:
            found = NeedRange(min(lows), min(highs))
        return found


def _decided(loss: Interval | None, threshold: float) -> bool:
    return loss is not None and (loss.above(threshold) or loss.below(threshold))


def _unsure(time: Downtime, allowed: float, share: float) -> bool:
    """Whether a share exceeds what is allowed of the known time, but not of all time."""
    return time.of_known(share) > allowed >= share

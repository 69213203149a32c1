"""What is known about a line: its contract, what it delivers and what it has to carry. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from jharnet_monitor.judge.line.cures import Cures
from jharnet_monitor.judge.line.delivered import DeliveredRate
from jharnet_monitor.judge.line.loss import LossRates
from jharnet_monitor.judge.line.need import Need, NeedPolicy, needs_of
from jharnet_monitor.judge.outages.downtime import Outages
from jharnet_monitor.judge.statistics.intervals import Interval

_UNKNOWN = Need(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class LineDirection:
    """One direction of a line; rates are in bit/s."""

    contracted: float | None
    """None where the contract is not known."""
    delivered: DeliveredRate
    """What the line itself delivers."""
    need: Need = _UNKNOWN
    """What the policy requires, once `Line.needing` has set it."""
    other: Interval | None = None
    """95th percentile of all other traffic."""
    full: Interval | None = None
    """Share of office hours in which the line was full."""
    left: Interval | None = None
    """Median rate that speed tests got in office hours."""
    carried: Interval | None = None
    """That rate together with the traffic that the router counted during the test."""
    capacity: Interval | None = None
    """Median capacity by packet trains, where speed tests fall short."""


@dataclass(frozen=True, slots=True)
class Line:
    """What is known about one office's line."""

    down: LineDirection
    """Towards the office."""
    up: LineDirection
    """From the office."""
    loss: LossRates = field(default_factory=LossRates)
    outages: Outages = field(default_factory=Outages)
    days: int = 0
    """Days on which anything was measured."""
    lan_faulty: bool = False
    """The router reports a fault of the office's network that slows tests down."""
    calls_suffice: bool = False
    """All conference tests of office hours reached the required grade."""
    cures: Cures = field(default_factory=Cures)
    """What simulated calls say would cure the calls."""

    @property
    def directions(self) -> tuple[LineDirection, LineDirection]:
        """Towards the office, and from it, in the order of `Direction`."""
        return self.down, self.up

    def needing(self, policy: NeedPolicy) -> Line:
        """The line with what each direction needs by the policy and its measured traffic."""
        down, up = self.directions
        needs = needs_of((down.other, up.other), (down.full, up.full), policy)
        return replace(self, down=replace(down, need=needs[0]), up=replace(up, need=needs[1]))

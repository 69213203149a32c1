"""The rate that an office needs, by the district's policy and its measured traffic. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jharnet_monitor.judge.line.traffic import MIN_WORKING_DAYS, IntervalPair, is_sufficient
from jharnet_monitor.judge.statistics.intervals import Interval

FULL_SHARE = 0.05
"""If the line was full in more than this share of office hours, the need is a lower bound ("at
least")."""


@dataclass(frozen=True, slots=True)
class NeedPolicy:
    """What an office needs by the district's policy; rates in bit/s in each direction.

    `other` is the assumed 95th percentile of all other traffic, used if no counter measured it.
    """

    conferences: int
    video: float
    audio: float
    overhead: float
    """Share added to video and audio for packet headers."""
    other: float
    seats: int
    per_seat: float
    services: float
    utilisation: float
    """Highest planned utilisation of the line, as a ratio."""

    @property
    def media(self) -> float:
        """The rate that the conferences need."""
        return self.conferences * (self.video + self.audio) * (1 + self.overhead)

    def need(self, other: float | None = None) -> float:
        """The rate that the line must have: all traffic, divided by the planned utilisation.

        `other` is the measured other traffic in bit/s, which already includes e-Office and other
        services. If None, the assumption is used and they are added.

        >>> policy = NeedPolicy(1, 1.5e6, 80e3, 0.15, 500e3, 10, 50e3, 100e3, 0.7)
        >>> round(policy.need()), round(policy.need(500e3))
        (4167143, 3310000)
        """
        return (self.media + (self.assumed if other is None else other)) / self.utilisation

    @property
    def assumed(self) -> float:
        """The assumed traffic other than conferences."""
        return self.other + self.seats * self.per_seat + self.services


@dataclass(frozen=True, slots=True)
class Need:
    """What one direction of a line must carry, in bit/s.

    If other traffic was measured (`measured`), `low` and `high` are the 95 % interval; otherwise
    the need is an assumption without an interval.
    """

    value: float
    low: float
    high: float
    measured: bool = False
    at_least: bool = False
    """The traffic filled the line and was limited by it: the need may be larger."""


def needs_of(other: IntervalPair, full: IntervalPair, policy: NeedPolicy) -> tuple[Need, Need]:
    """The need towards the office and from it.

    It follows from the measured `other` traffic if that is sufficient, else from the policy's
    assumption. `full` is the share of office hours in which the line was full. Elastic traffic
    (updates, backups) fills any line, so those readings do not show a need, and what people would
    have used in addition is unknown.
    """
    down, up = (_need(traffic, share, policy) for traffic, share in zip(other, full, strict=True))
    return down, up


def _need(other: Interval | None, full: Interval | None, policy: NeedPolicy) -> Need:
    if other is None or other.days < MIN_WORKING_DAYS:
        assumed = policy.need()
        return Need(assumed, assumed, assumed)
    if other.low is None or other.high is None or not is_sufficient(other):
        # Measured on enough days, but they are too correlated for an upper bound.
        return Need(
            policy.need(other.value), policy.need(other.low or 0.0), math.inf, measured=True
        )
    at_least = full is not None and full.value > FULL_SHARE
    return Need(
        value=policy.need(other.value),
        low=policy.need(other.low),
        high=math.inf if at_least else policy.need(other.high),
        measured=True,
        at_least=at_least,
    )


def next_slab(need: float, tariff: Sequence[float]) -> float | None:
    """The smallest speed of the tariff that meets the need; None if there is none.

    >>> next_slab(4.2e6, (2e6, 4e6, 8e6)), next_slab(9e6, (2e6, 4e6, 8e6))
    (8000000.0, None)
    """
    return min((slab for slab in tariff if slab >= need), default=None)

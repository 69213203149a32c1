"""What a metric family is, and what its readers are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from jharnet_monitor.config import Config, Office
from jharnet_monitor.live import Live, OfficeLive
from jharnet_monitor.model import Measurement

PREFIX = "jharnet_"

Point = tuple[tuple[str, ...], float]
"""Values of the labels (without `office`), and the value in a base unit."""
Kind = Literal["gauge", "counter", "info", "histogram"]


@dataclass(frozen=True, slots=True)
class DistrictView:
    """The whole live state at one moment."""

    live: Live
    now: datetime

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self.live.config


@dataclass(frozen=True, slots=True)
class OfficeView:
    """One office at one moment. `current` holds the runs that still speak for now."""

    office: Office
    live: OfficeLive
    config: Config
    current: dict[str, Measurement]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name without the prefix, and how it is read from the whole district.

    A histogram's reader gives the points of its buckets, then `(), sum`; the count is the last
    bucket's.
    """

    name: str
    kind: Kind
    help: str
    read: Callable[[DistrictView], Iterable[Point]]
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """As Prometheus stores it."""
        return PREFIX + self.name


@dataclass(frozen=True, slots=True)
class OfficeFamily:
    """One metric of every office: as `Family`, with `office` as its first label."""

    name: str
    kind: Kind
    help: str
    read: Callable[[OfficeView], Iterable[Point]]
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """As Prometheus stores it."""
        return PREFIX + self.name

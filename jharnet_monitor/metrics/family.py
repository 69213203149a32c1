"""Metric families, and the views of the live state that their readers get."""

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
    """One office at one moment. `current` holds the results that are not yet out of date."""

    office: Office
    live: OfficeLive
    config: Config
    current: dict[str, Measurement]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name without the prefix, and its reader over the whole district.

    The reader of a histogram yields the points of its buckets, then `((), sum)`; the count is that
    of the last bucket.
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
    """One metric of every office: like `Family`, with `office` as its first label."""

    name: str
    kind: Kind
    help: str
    read: Callable[[OfficeView], Iterable[Point]]
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """As Prometheus stores it."""
        return PREFIX + self.name

"""Metric families, what their readers receive, and families made from quantities.

Each probe declares the families of what it measures; `metrics` collects them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from jharnet_monitor.live import Live, OfficeLive
from jharnet_monitor.model import (
    QUANTITIES,
    Direction,
    Measurement,
    Quantity,
    Route,
    quantity,
    series_key,
)

if TYPE_CHECKING:
    from jharnet_monitor.config import Config, Office

PREFIX = "jharnet_"

Point = tuple[tuple[str, ...], float]
"""The values of the labels (without `office`), and the sample in a base unit."""
Kind = Literal["gauge", "counter", "info", "histogram"]


@dataclass(frozen=True, slots=True)
class DistrictView:
    """The whole live state at one moment."""

    live: Live
    now: datetime
    current: Mapping[str, Measurement]
    """Headquarters' own fresh runs, by series."""

    def newest_at_headquarters(
        self, probe: str, route: Route = Route.JHARNET
    ) -> Measurement | None:
        """Headquarters' newest conclusive run of a series, as long as it is fresh."""
        return self.current.get(series_key(probe, route))

    def last_at_headquarters(self, probe: str, route: Route = Route.JHARNET) -> Measurement | None:
        """Headquarters' last run of a series, with any outcome and of any age."""
        return self.live.headquarters.latest.get(series_key(probe, route))

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self.live.config


@dataclass(frozen=True, slots=True)
class OfficeView:
    """One office at one moment. `current` holds its fresh runs, by series."""

    office: Office
    live: OfficeLive
    config: Config
    current: Mapping[str, Measurement]

    def newest(self, probe: str, route: Route = Route.JHARNET) -> Measurement | None:
        """The newest conclusive run of a series, as long as it is fresh."""
        return self.current.get(series_key(probe, route))


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name without the prefix, and how it is read from the whole district.

    The reader of a histogram yields the points of its buckets, then `((), sum)`; its count is that
    of the last bucket.
    """

    name: str
    kind: Kind
    help: str
    read: Callable[[DistrictView], Iterable[Point]]
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """The name in Prometheus."""
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
        """The name in Prometheus."""
        return PREFIX + self.name


def of_quantity(probe: str, name: str) -> OfficeFamily:
    """The gauge of one quantity, with the name and help text of the table of quantities."""
    one = quantity(probe, name)

    def read(view: OfficeView) -> Iterator[Point]:
        measurement = view.newest(probe)
        if measurement is not None and name in measurement.values:
            yield (), measurement.values[name] * one.metric_scale

    return OfficeFamily(one.metric, "gauge", one.help, read)


def by_direction(probe: str, stem: str, help_: str, routes: tuple[Route, ...] = ()) -> OfficeFamily:
    """The gauge of a quantity that exists for each direction, and over each of `routes`.

    `stem` is the name without the direction, such as `freeze_ratio`.
    """
    pairs = _directions(probe, stem)

    def read(view: OfficeView) -> Iterator[Point]:
        for route in routes or (Route.JHARNET,):
            measurement = view.newest(probe, route)
            for labels, value in _values(measurement, pairs):
                yield ((route, *labels) if routes else labels), value

    labels = ("path", "direction") if routes else ("direction",)
    return OfficeFamily(pairs[Direction.DOWN].metric, "gauge", help_, read, labels)


def values_by_direction(measurement: Measurement | None, probe: str, stem: str) -> Iterator[Point]:
    """The values of a quantity in each direction, in base units, labelled by direction."""
    return _values(measurement, _directions(probe, stem))


def _values(
    measurement: Measurement | None, pairs: Mapping[Direction, Quantity]
) -> Iterator[Point]:
    for direction, one in pairs.items():
        if measurement is not None and one.name in measurement.values:
            yield (direction,), measurement.values[one.name] * one.metric_scale


def _directions(probe: str, stem: str) -> dict[Direction, Quantity]:
    """The quantities of a probe that differ only by their direction."""
    found = {q.direction: q for q in QUANTITIES if q.probe == probe and q.stem == stem}
    return {direction: found[direction] for direction in Direction}

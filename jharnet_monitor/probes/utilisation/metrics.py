"""The metric families of the utilisation probe: of every office, and of headquarters' uplink."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from jharnet_monitor.judge.line.interface_faults import HALF, LAN_DUPLEX
from jharnet_monitor.model import Direction, Measurement, quantity
from jharnet_monitor.probes.families import (
    DistrictView,
    Family,
    OfficeFamily,
    OfficeView,
    Point,
    by_direction,
    of_quantity,
    values_by_direction,
)

if TYPE_CHECKING:
    from jharnet_monitor.config import Office

_UPTIME = quantity("utilisation", "router_uptime_seconds")


def _rates(reading: Measurement | None) -> Iterator[Point]:
    """Bytes per second in each direction; nothing if two readings gave no rate."""
    return values_by_direction(reading, "utilisation", "bits_per_second")


def _shares(reading: Measurement | None, contracts: Mapping[Direction, float]) -> Iterator[Point]:
    """The rates as a share of the contracted rate of their direction, in bit/s."""
    for (direction,), rate in _rates(reading):
        contracted = contracts.get(Direction(direction))
        if contracted is not None:
            yield (direction,), rate * 8 / contracted


def _contracts(office: Office) -> dict[Direction, float]:
    link = office.link
    return {} if link is None else {direction: link.rate(direction) for direction in Direction}


def _uplink(view: DistrictView) -> Measurement | None:
    return view.newest_at_headquarters("utilisation")


def _uplink_contracts(view: DistrictView) -> dict[Direction, float]:
    return dict.fromkeys(Direction, view.config.hub.uplink.contracted)


def _uptime(view: OfficeView) -> Iterator[Point]:
    reading = view.newest("utilisation")
    if reading is not None and _UPTIME.name in reading.values:
        yield (), reading.values[_UPTIME.name]


def _half_duplex(view: OfficeView) -> Iterator[Point]:
    reading = view.newest("utilisation")
    if reading is not None and LAN_DUPLEX in reading.conditions:
        yield (), float(reading.conditions[LAN_DUPLEX] == HALF)


FAMILIES = (
    by_direction("utilisation", "bits_per_second",
                 "Mean IP rate of all traffic on the router's interface since the last reading"),
    OfficeFamily("utilisation_ratio", "gauge",
                 "The same as a share of the contracted rate; absent without a contract",
                 lambda view: _shares(view.newest("utilisation"), _contracts(view.office)),
                 ("direction",)),
    by_direction("utilisation", "error_ratio",
                 "Share of packets that were damaged on the router's interface to the line"),
    by_direction("utilisation", "discard_ratio",
                 "Share of packets for which the router's interface to the line had no room"),
    of_quantity("utilisation", "lan_error_ratio"),
    OfficeFamily("lan_half_duplex", "gauge",
                 "1 if the router's interface to the office's network runs half duplex, 0 if full; "
                 "absent if it does not say", _half_duplex),
    OfficeFamily(_UPTIME.name, "gauge", f"{_UPTIME.help}, at the last reading", _uptime),
)  # fmt: skip
DISTRICT_FAMILIES = (
    Family("uplink_utilisation_bytes_per_second", "gauge",
           "Mean IP rate of all traffic on headquarters' uplink; down is towards headquarters",
           lambda view: _rates(_uplink(view)), ("direction",)),
    Family("uplink_utilisation_ratio", "gauge", "The same as a share of the contracted uplink",
           lambda view: _shares(_uplink(view), _uplink_contracts(view)), ("direction",)),
)  # fmt: skip

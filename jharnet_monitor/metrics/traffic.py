"""What a line carries, by its router's counters: of every office, and of headquarters' uplink."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from jharnet_monitor.config import Office
from jharnet_monitor.live import fresh
from jharnet_monitor.metrics.family import DistrictView, Family, OfficeFamily, OfficeView, Point
from jharnet_monitor.model import Direction, Measurement, quantity

_UPTIME = quantity("utilisation", "router_uptime_seconds")


def _bytes(reading: Measurement | None) -> Iterator[Point]:
    """Bytes a second each way; nothing where two readings gave no rate."""
    for direction in Direction:
        name = f"{direction.transfer}_bits_per_second"
        if reading is not None and name in reading.values:
            yield (direction,), reading.values[name] / 8


def _shares(reading: Measurement | None, contracts: Mapping[str, float]) -> Iterator[Point]:
    """The same as a share of what the line is contracted for in that direction, in bit/s."""
    for (direction,), rate in _bytes(reading):
        if direction in contracts:
            yield (direction,), rate * 8 / contracts[direction]


def _contracts(office: Office) -> Mapping[str, float]:
    link = office.link
    return {} if link is None else {direction: link.rate(direction) for direction in Direction}


def _office(view: OfficeView) -> Measurement | None:
    return view.current.get("utilisation")


def _uplink(view: DistrictView) -> Measurement | None:
    newest = view.live.headquarters.measured.get("utilisation")
    return newest if newest and fresh(view.config, "utilisation", newest, view.now) else None


def _uptime(view: OfficeView) -> Iterator[Point]:
    reading = _office(view)
    if reading is not None and _UPTIME.name in reading.values:
        yield (), reading.values[_UPTIME.name]


TRAFFIC_OFFICE_FAMILIES = (
    OfficeFamily("utilisation_bytes_per_second", "gauge",
                 "Mean IP rate of all traffic on the router's interface since the reading before",
                 lambda view: _bytes(_office(view)), ("direction",)),
    OfficeFamily("utilisation_ratio", "gauge",
                 "The same as a share of the contracted rate; absent without a contract",
                 lambda view: _shares(_office(view), _contracts(view.office)), ("direction",)),
    OfficeFamily("router_uptime_seconds", "gauge", f"{_UPTIME.help}, when it was last asked",
                 _uptime),
)  # fmt: skip
TRAFFIC_DISTRICT_FAMILIES = (
    Family("uplink_utilisation_bytes_per_second", "gauge",
           "Mean IP rate of all traffic on headquarters' uplink; down is towards headquarters",
           lambda view: _bytes(_uplink(view)), ("direction",)),
    Family("uplink_utilisation_ratio", "gauge", "The same as a share of the contracted uplink",
           lambda view: _shares(
               _uplink(view), dict.fromkeys(Direction, view.config.hub.uplink.contracted)
           ), ("direction",)),
)  # fmt: skip

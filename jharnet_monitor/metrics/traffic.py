"""Metrics of the traffic on a line by its router's counters, of offices and of the uplink."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from jharnet_monitor.config import Office
from jharnet_monitor.live import fresh
from jharnet_monitor.metrics.family import DistrictView, Family, OfficeFamily, OfficeView, Point
from jharnet_monitor.model import Measurement, quantity

_RATES = {"down": "download_bits_per_second", "up": "upload_bits_per_second"}
_UPTIME = quantity("utilisation", "router_uptime_seconds")


def _bytes(reading: Measurement | None) -> Iterator[Point]:
    """Bytes a second each way; nothing where two readings gave no rate."""
    for way, name in _RATES.items():
        if reading is not None and name in reading.values:
            yield (way,), reading.values[name] / 8


def _shares(reading: Measurement | None, contracts: Mapping[str, float]) -> Iterator[Point]:
    """The same as a share of what the line is contracted for that way, in bit/s."""
    for (way,), rate in _bytes(reading):
        if way in contracts:
            yield (way,), rate * 8 / contracts[way]


def _contracts(office: Office) -> dict[str, float]:
    link = office.link
    if link is None:
        return {}
    return {"down": link.contracted, "up": link.contracted_up or link.contracted}


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
               _uplink(view), dict.fromkeys(_RATES, view.config.hub.uplink.contracted)
           ), ("direction",)),
)  # fmt: skip

"""From the measurements of a drill's calls to the drill's record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from jharnet_monitor.hub.drills.gallery import TILE_RATE
from jharnet_monitor.hub.drills.peak_rate import WAYS
from jharnet_monitor.judge.conference.drill import (
    Drill,
    DrillDirection,
    DrillGallery,
    DrillOffice,
    UplinkDirection,
    limit_on_shared_line,
)
from jharnet_monitor.judge.conference.shared_line import Share, shared_line
from jharnet_monitor.model import Measurement, Outcome
from jharnet_monitor.rtc.profiles import AUDIO_LINE_RATE, rung

SpeedAlone = Callable[[str], tuple[float | None, float | None]]
"""What an office's line carried when it was last tested by itself: bit/s towards it, from it."""


def with_conference(office: DrillOffice, measurement: Measurement) -> DrillOffice:
    """The office's record with the result of its conference call."""
    return replace(office, grade=measurement.values.get("grade"), **_result(measurement))


def gallery_result(measurement: Measurement, pictures: int) -> DrillGallery:
    """The result of a gallery call with so many small pictures."""
    result = DrillGallery(**_result(measurement))
    return replace(result, pictures=_carried_pictures(result, pictures))


def _result(measurement: Measurement) -> dict[str, Any]:
    """The fields of a `DrillCall`."""
    conditions = measurement.conditions
    return {
        "outcome": measurement.outcome,
        "cause": measurement.cause,
        "limited_by": conditions.get("limited_by"),
        "worse_way": conditions.get("worse_way"),
        "measurement": measurement.id,
        **{way: _direction(measurement, way) for way in WAYS},
    }


def _direction(measurement: Measurement, way: str) -> DrillDirection:
    values = {
        name.removeprefix(f"{way}_"): value
        for name, value in measurement.values.items()
        if name.startswith(f"{way}_")
    }
    capacity = measurement.conditions.get(f"{way}_capacity_bits_per_second")
    if capacity is not None:
        values["capacity_bits_per_second"] = capacity
    return DrillDirection(values)


def _carried_pictures(call: DrillGallery, pictures: int) -> int | None:
    """All pictures, unless the call had to step down: then as many as arrived before it did."""
    if call.outcome is not Outcome.OK:
        return None
    capacity = call.down.capacity_bits_per_second
    if capacity is None:
        return pictures
    arrived = max(capacity, call.down.bits_per_second or 0.0) - AUDIO_LINE_RATE
    return min(pictures, max(0, int(arrived / TILE_RATE)))


def summed_up(drill: Drill, alone: SpeedAlone, peaks: Mapping[str, float | None]) -> Drill:
    """The drill with who was absent, what headquarters' line carried, and whom it held back.

    `peaks` is the most that all calls together carried within the same second, by direction.
    A call that broke off says nothing of headquarters' line.
    """
    speeds = {
        way: {office.office: alone(office.office)[number] for office in drill.offices}
        for number, way in enumerate(WAYS)
    }
    found = {way: _uplink_direction(drill, way, speeds[way], peaks[way]) for way in WAYS}
    wanted = rung(drill.profile).line_rate
    return replace(
        drill,
        offices=tuple(_with_limit(office, found, speeds) for office in drill.offices),
        uplink=replace(drill.uplink, wanted=wanted, down=found["down"], up=found["up"]),
        absent=tuple(office.office for office in drill.offices if not office.joined),
    )


Speeds = Mapping[str, float | None]
"""bit/s that each office's line carried by itself, in one direction."""


def _uplink_direction(
    drill: Drill, way: str, speeds: Speeds, peak_rate: float | None
) -> UplinkDirection:
    """What headquarters' line carried in one direction."""
    held = [(one.office, one.direction(way)) for one in drill.offices if one.outcome is Outcome.OK]
    calls = [
        Share(name, call.bits_per_second, call.capacity_bits_per_second, speeds[name])
        for name, call in held
        if call.bits_per_second is not None
    ]
    wanted, contracted = rung(drill.profile).line_rate, drill.uplink.contracted
    found = shared_line(calls, peak_rate, wanted, contracted)
    return replace(found, gallery_rate=_gallery_rate(drill, way))


def _with_limit(
    office: DrillOffice, found: Mapping[str, UplinkDirection], speeds: Mapping[str, Speeds]
) -> DrillOffice:
    """The office's record, whose limit is headquarters' line where that held its call back."""
    way = office.worse_way
    if office.outcome is not Outcome.OK or way is None or way not in found:
        return office
    limit = limit_on_shared_line(office, found[way], speeds[way][office.office])
    return replace(office, limited_by=limit)


def _gallery_rate(drill: Drill, way: str) -> float | None:
    """bit/s of all gallery calls together; None where none was held."""
    galleries = [office.gallery.direction(way) for office in drill.offices if office.gallery]
    rates = [held.bits_per_second for held in galleries if held.bits_per_second is not None]
    return sum(rates) if rates else None

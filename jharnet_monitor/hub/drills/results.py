"""Turns the measurements of a drill's calls into the drill's record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from jharnet_monitor.judge.conference.common_cause import stepped_down_together
from jharnet_monitor.judge.conference.drill import (
    Drill,
    DrillDirection,
    DrillGallery,
    DrillOffice,
    UplinkDirection,
    limit_on_shared_line,
)
from jharnet_monitor.judge.conference.grade import GradeLimit
from jharnet_monitor.judge.conference.shared_line import FULL_SHARE, Share, shared_line
from jharnet_monitor.judge.twin.borderline import borderline_grade
from jharnet_monitor.model import Cause, Direction, Measurement, Outcome
from jharnet_monitor.probes.conference.gallery import TILE_RATE
from jharnet_monitor.profiles import AUDIO_LINE_RATE

STAGGER_SECONDS = 0.1
"""Interval between the starts of two calls, so that their handshakes do not affect the results."""
SpeedAlone = Callable[[str], tuple[float | None, float | None]]
"""What an office's line carried in its last speed test: bit/s towards the office, and from it."""


def with_conference(office: DrillOffice, measurement: Measurement) -> DrillOffice:
    """The office's record with the result of its conference call."""
    values = measurement.values
    return replace(
        office,
        grade=values.get("grade"),
        borderline=borderline_grade(values),
        **_result(measurement),
    )


def gallery_result(measurement: Measurement, pictures: int) -> DrillGallery:
    """The result of a gallery call with `pictures` small pictures."""
    result = DrillGallery(**_result(measurement))
    return replace(result, pictures=_carried_pictures(result, pictures))


def _result(measurement: Measurement) -> dict[str, Any]:
    """The fields of a `DrillCall`."""
    conditions, worse_way = measurement.conditions, measurement.conditions.get("worse_way")
    return {
        "outcome": measurement.outcome,
        "cause": measurement.cause,
        "limited_by": conditions.get("limited_by"),
        "worse_way": None if worse_way is None else Direction(worse_way),
        "measurement": measurement.id,
        **{direction.value: _direction(measurement, direction) for direction in Direction},
    }


def _direction(measurement: Measurement, direction: Direction) -> DrillDirection:
    values = {
        name.removeprefix(f"{direction}_"): value
        for name, value in measurement.values.items()
        if name.startswith(f"{direction}_")
    }
    for name in ("capacity_bits_per_second", "stepped_after_seconds"):
        if (value := measurement.conditions.get(f"{direction}_{name}")) is not None:
            values[name] = value
    return DrillDirection(values)


def _carried_pictures(call: DrillGallery, pictures: int) -> int | None:
    """All pictures, or if the call stepped down, as many as arrived before that."""
    if call.outcome is not Outcome.OK:
        return None
    capacity = call.down.capacity_bits_per_second
    if capacity is None:
        return pictures
    arrived = max(capacity, call.down.bits_per_second or 0.0) - AUDIO_LINE_RATE
    return min(pictures, max(0, int(arrived / TILE_RATE)))


def summarise_drill(
    drill: Drill, alone: SpeedAlone, peaks: Mapping[Direction, float | None]
) -> Drill:
    """Complete a drill with the absent offices, what headquarters' line carried, and whom it held
    back.

    `peaks` is the most that all calls together carried within a second, by direction. A call that
    broke off is no evidence about headquarters' line. Where the offices were called one after
    another, no more than that is known of it.
    """
    absent = tuple(office.office for office in drill.offices if not office.joined)
    if drill.at_once is not None:
        down, up = (UplinkDirection(peak_rate=peaks[direction]) for direction in Direction)
        wanted = drill.profile.rung.line_rate
        uplink = replace(drill.uplink, wanted=wanted, down=down, up=up)
        return replace(drill, uplink=uplink, absent=absent)
    speeds = {
        direction: {office.office: alone(office.office)[number] for office in drill.offices}
        for number, direction in enumerate(Direction)
    }
    found = {
        direction: _uplink_direction(drill, direction, speeds[direction], peaks[direction])
        for direction in Direction
    }
    wanted = drill.profile.rung.line_rate
    together = {
        direction: _held_back_by_us(drill, direction, found[direction].peak_rate)
        for direction in Direction
    }
    for direction, offices in together.items():
        if offices:  # headquarters' line was not tested either
            found[direction] = replace(
                found[direction], full=None, supported_calls=None, held_back=None
            )
    ours = frozenset().union(*together.values())
    return replace(
        drill,
        offices=tuple(
            _without_verdict(office)
            if office.office in ours
            else _with_limit(office, found, speeds)
            for office in drill.offices
        ),
        uplink=replace(
            drill.uplink, wanted=wanted, down=found[Direction.DOWN], up=found[Direction.UP]
        ),
        absent=absent,
    )


def _held_back_by_us(drill: Drill, direction: Direction, peak: float | None) -> frozenset[str]:
    """Offices whose calls stepped down at the same moment although headquarters' line had room."""
    contracted = drill.uplink.contracted
    if contracted is not None and peak is not None and peak >= FULL_SHARE * contracted:
        return frozenset()
    completed = [
        (number * STAGGER_SECONDS, office)
        for number, office in enumerate(drill.offices)
        if office.outcome is Outcome.OK
    ]
    moments = {
        office.office: began + at
        for began, office in completed
        if (at := office.direction(direction).stepped_after_seconds) is not None
    }
    return stepped_down_together(moments, len(completed))


def _without_verdict(office: DrillOffice) -> DrillOffice:
    """The record without a verdict: headquarters caused the step down, not the office's line."""
    return replace(
        office,
        outcome=Outcome.NO_DATA,
        cause=Cause.HOST_OVERLOADED.value,
        limited_by=GradeLimit.HOST.value,
        grade=None,
    )


Speeds = Mapping[str, float | None]
"""bit/s that each office's line carried in its own speed test, in one direction."""


def _uplink_direction(
    drill: Drill, direction: Direction, speeds: Speeds, peak_rate: float | None
) -> UplinkDirection:
    """What headquarters' line carried in one direction."""
    completed = [
        (one.office, one.direction(direction)) for one in drill.offices if one.outcome is Outcome.OK
    ]
    calls = [
        Share(name, call.bits_per_second, call.capacity_bits_per_second, speeds[name])
        for name, call in completed
        if call.bits_per_second is not None
    ]
    wanted, contracted = drill.profile.rung.line_rate, drill.uplink.contracted
    found = shared_line(calls, peak_rate, wanted, contracted)
    return replace(found, gallery_rate=_gallery_rate(drill, direction))


def _with_limit(
    office: DrillOffice,
    found: Mapping[Direction, UplinkDirection],
    speeds: Mapping[Direction, Speeds],
) -> DrillOffice:
    """The office's record; its limit is headquarters' line if that held its call back."""
    direction = office.worse_way
    if office.outcome is not Outcome.OK or direction is None:
        return office
    limit = limit_on_shared_line(office, found[direction], speeds[direction][office.office])
    return replace(office, limited_by=limit)


def _gallery_rate(drill: Drill, direction: Direction) -> float | None:
    """bit/s of all gallery calls together; None where none was held."""
    galleries = [office.gallery.direction(direction) for office in drill.offices if office.gallery]
    rates = [
        completed.bits_per_second
        for completed in galleries
        if completed.bits_per_second is not None
    ]
    return sum(rates) if rates else None

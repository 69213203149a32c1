"""What is kept of a drill: a row an office, who was absent, and what headquarters' line bore."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jharnet_monitor.judge.conference.drill import limit
from jharnet_monitor.judge.conference.shared_line import Share, SharedLine, shared_line
from jharnet_monitor.model import Direction, Measurement
from jharnet_monitor.profiles import AUDIO_LINE_RATE, Profile, rungs_below

TILE_RATE = 130_000
"""bit/s of one small picture (180 lines) with its headers. Chromium shows 180p from about 85 kbit/s
of video on; the WebRTC library aims at 150 where nothing holds it back."""
OWN_TILE = Profile.P360.value
"""What an office sends in the gallery: enough to be shown larger when its turn to speak comes."""


def new_row(office: str) -> dict[str, Any]:
    """An office of which nothing is known yet."""
    return {
        "office": office,
        "joined": False,
        "outcome": None,
        "cause": None,
        "grade": None,
        "limited_by": None,
        "worse_way": None,
        Direction.UP: {},
        Direction.DOWN: {},
        "gallery": None,
    }


def gallery(joined: int) -> dict[str, Any] | None:
    """The options of a gallery call when so many offices are there; None for fewer than two.

    An office is sent the tiles of headquarters and of all other offices, as one stream of the
    same rate: the least demanding rung that carries them, 720p at most.

    >>> gallery(11), gallery(4), gallery(1)
    ({'profile': '720p', 'up': '360p'}, {'profile': '540p', 'up': '360p'}, None)
    """
    if joined < 2:
        return None
    needed = joined * TILE_RATE + AUDIO_LINE_RATE
    wide = [step for step in rungs_below(Profile.P720.rung) if step.name in _FULL]
    fitting = [step for step in wide if step.line_rate >= 0.99 * needed]
    return {"profile": (fitting or wide[-1:])[0].name, "up": OWN_TILE}


_FULL = (Profile.P360.value, Profile.P540, Profile.P720)


def outcome(measurement: Measurement) -> dict[str, Any]:
    """What came of one call, each way's figures without the way's name."""
    values, conditions = measurement.values, measurement.conditions
    return {
        "outcome": measurement.outcome.value,
        "cause": measurement.cause,
        "grade": values.get("grade"),
        "limited_by": conditions.get("limited_by"),
        "worse_way": conditions.get("worse_way"),
        "measurement": measurement.id,
        **{
            direction: {
                name.removeprefix(f"{direction}_"): value
                for name, value in values.items()
                if name.startswith(f"{direction}_")
            }
            | _stepped(conditions, direction)
            for direction in Direction
        },
    }


def gallery_outcome(measurement: Measurement, pictures: int) -> dict[str, Any]:
    """What came of a gallery call: how many of so many small pictures the office's line carried.

    It has no grade: what an office sends in a gallery is never HD.
    """
    result = outcome(measurement)
    del result["grade"]
    return result | {"pictures": _carried(result, pictures)}


def _carried(result: Mapping[str, Any], pictures: int) -> int | None:
    """All, unless the call had to step down: then as many as came through before."""
    down = result[Direction.DOWN]
    if result["outcome"] != "ok":
        return None
    capacity = down.get("capacity_bits_per_second")
    if capacity is None:
        return pictures
    came = max(capacity, down.get("bits_per_second", 0.0)) - AUDIO_LINE_RATE
    return min(pictures, max(0, int(came / TILE_RATE)))


def _stepped(conditions: Mapping[str, Any], direction: Direction) -> dict[str, Any]:
    capacity = conditions.get(f"{direction}_capacity_bits_per_second")
    return {} if capacity is None else {"capacity_bits_per_second": capacity}


def summed_up(
    drill: dict[str, Any],
    alone: Callable[[str], tuple[float | None, float | None]],
    most: Mapping[Direction, float | None],
) -> None:
    """Add who did not take part, what headquarters' line bore, and whom it held back.

    `down` is towards the offices, so it is what headquarters sent. A call that broke says nothing
    of that line, and where no call was held, nothing is known of it: None. `most` is what all calls
    together carried in the same seconds, each way.
    """
    rows = drill["offices"]
    drill["absent"] = [row["office"] for row in rows if not row["joined"]]
    uplink, wanted = drill["uplink"], Profile(drill["profile"]).rung.line_rate
    uplink["wanted_bits_per_second"] = wanted
    held = [row for row in rows if row["outcome"] == "ok"]
    for number, way in enumerate(Direction):
        shares = [
            Share(
                row["office"],
                row[way]["bits_per_second"],
                row[way].get("capacity_bits_per_second"),
                alone(row["office"])[number],
            )
            for row in held
            if row[way].get("bits_per_second") is not None
        ]
        line = None
        if shares:
            line = shared_line(shares, most[way], wanted, uplink["contracted_bits_per_second"])
        for row in held:
            if row["worse_way"] == way:
                row["limited_by"] = limit(row, line, alone(row["office"])[number])
        uplink.update(_told(way, line, most[way]))
        uplink[f"{way}_gallery_bits_per_second"] = _gallery_rate(rows, way)


def _gallery_rate(rows: Sequence[Mapping[str, Any]], way: Direction) -> float | None:
    """bit/s of all gallery calls together; None where none was held."""
    ways = [(row["gallery"] or {}).get(way) or {} for row in rows]
    rates = [each["bits_per_second"] for each in ways if each.get("bits_per_second") is not None]
    return sum(rates) if rates else None


def _told(way: Direction, line: SharedLine | None, most: float | None) -> dict[str, Any]:
    """One way of the line; without a call that was held only what passed at most is known."""
    if line is None:
        keys = ("bits_per_second", "full", "calls", "held_back")
        return {f"{way}_most_bits_per_second": most, **{f"{way}_{key}": None for key in keys}}
    return {
        f"{way}_bits_per_second": line.carried,
        f"{way}_most_bits_per_second": line.bore,
        f"{way}_full": line.full,
        f"{way}_calls": line.pictures,
        f"{way}_held_back": list(line.held_back),
    }

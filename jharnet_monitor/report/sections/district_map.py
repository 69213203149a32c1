"""A small map of the blocks for page one: where each lies, its grade, and room for its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.report.sections.rating import RatedOffice

MAPPED = range(3, 31)
"""How many offices a small map can show."""
WIDTH, HEIGHT = 110.0, 96.0
"""The inner size in points, as the template has it."""
DISC = 6.5
LETTER, LINE = 3.3, 7.0
"""The size of a letter of a name, in points."""
_SIDES = ("right", "left", "below", "above")

Box = tuple[float, float, float, float]


def district_map(judged: Sequence[RatedOffice], words: Words) -> dict[str, Any] | None:
    """The offices by place, each from 0 to 1 from the west and from the north, with the side of its
    disc on which its name overlaps no other; None unless all have coordinates.
    """
    offices = [one.summary.office for one in judged]
    places = [
        (o.longitude, o.latitude)
        for o in offices
        if o.longitude is not None and o.latitude is not None
    ]
    if len(places) < len(offices) or len(places) not in MAPPED:
        return None
    (west, south), (east, north) = (
        tuple(edge(place[axis] for place in places) for axis in (0, 1)) for edge in (min, max)
    )
    if west == east or south == north:
        return None
    points = [((x - west) / (east - west), (north - y) / (north - south)) for x, y in places]
    names = [formats.office_name(office, words) for office in offices]
    return {
        "title": words("report.map"),
        "points": [
            {"x": round(x, 4), "y": round(y, 4), "side": side, "name": name,
             "grade": one.summary.conference.grade}
            for one, (x, y), name, side in zip(
                judged, points, names, _sides(points, names), strict=True
            )
        ],
    }  # fmt: skip


def _sides(points: Sequence[tuple[float, float]], names: Sequence[str]) -> list[str]:
    """For each point the first side on which its name overlaps neither a disc nor a name."""
    discs = [_disc(x * WIDTH, y * HEIGHT) for x, y in points]
    taken: list[Box] = []
    sides = []
    for (x, y), name in zip(points, names, strict=True):
        boxes = {side: _name(x * WIDTH, y * HEIGHT, name, side) for side in _SIDES}
        free = (s for s in _SIDES if not any(_meet(boxes[s], box) for box in (*discs, *taken)))
        side = next(free, _SIDES[0])
        taken.append(boxes[side])
        sides.append(side)
    return sides


def _disc(x: float, y: float) -> Box:
    return x, y, x + DISC, y + DISC


def _name(x: float, y: float, name: str, side: str) -> Box:
    long = LETTER * len(name)
    left = {"right": x + DISC + 1, "left": x - long - 1}.get(side, x + DISC / 2 - long / 2)
    top = {"below": y + DISC, "above": y - LINE}.get(side, y)
    return left, top, left + long, top + LINE


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]

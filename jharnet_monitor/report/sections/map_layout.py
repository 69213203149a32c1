"""Where blocks and their names stand on a small map. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from jharnet_monitor.config import Office

WIDTH, HEIGHT = 110.0, 96.0
"""The inner size in points, as the template has it."""
DISC = 6.5
LETTER, LINE = 3.3, 7.0
"""The size of a letter of a name, in points."""
_SIDES = ("right", "left", "below", "above")

Point = tuple[float, float]
Box = tuple[float, float, float, float]


def positions(offices: Sequence[Office]) -> list[Point] | None:
    """Where each office lies, from 0 to 1 from the west and from the north; None unless all have
    coordinates that span an area.
    """
    places = [
        (o.longitude, o.latitude)
        for o in offices
        if o.longitude is not None and o.latitude is not None
    ]
    if len(places) < len(offices) or not places:
        return None
    (west, south), (east, north) = (
        tuple(edge(place[axis] for place in places) for axis in (0, 1)) for edge in (min, max)
    )
    if west == east or south == north:
        return None
    return [((x - west) / (east - west), (north - y) / (north - south)) for x, y in places]


def label_sides(points: Sequence[Point], names: Sequence[str]) -> list[str]:
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

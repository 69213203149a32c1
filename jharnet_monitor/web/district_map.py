"""The schematic map of the district: the position and the state of each block. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jharnet_monitor.config import Config
from jharnet_monitor.report.sections.map_layout import (
    DISC,
    HEIGHT,
    WIDTH,
    label_sides,
    positions,
)
from jharnet_monitor.web.status import BELOW, OfficeRow

MOST_NAMED = 30
"""With more blocks names would cover each other; each disc still has its title."""
_ANCHORS = {"right": "start", "left": "end", "below": "middle", "above": "middle"}
_OFFSETS = {"right": (6.0, 2.0), "left": (-6.0, 2.0), "below": (0.0, 10.0), "above": (0.0, -5.5)}


@dataclass(frozen=True, slots=True)
class Disc:
    """One block: its centre, the position of its name, and whether it is in trouble."""

    row: OfficeRow
    x: float
    y: float
    name_x: float
    name_y: float
    anchor: str

    @property
    def mood(self) -> str:
        """`bad` without a connection, `below` the standard, `fine`, or `unsure`."""
        if self.row.rank < BELOW:
            return "bad"
        if self.row.rank == BELOW:
            return "below"
        return "unsure" if self.row.grade.level is None else "fine"


@dataclass(frozen=True, slots=True)
class MapView:
    """The map; names are shown where there is room."""

    discs: tuple[Disc, ...]
    named: bool
    radius: float = DISC / 2


def map_view(config: Config, rows: Sequence[OfficeRow]) -> MapView | None:
    """The map; None unless all blocks have coordinates."""
    by_id = {row.id: row for row in rows}
    points = positions(config.offices)
    if points is None:
        return None
    named = len(points) <= MOST_NAMED
    names = [by_id[office.id].name for office in config.offices]
    sides = label_sides(points, names) if named else ["right"] * len(points)
    discs = []
    for office, (x, y), side in zip(config.offices, points, sides, strict=True):
        across, down = x * WIDTH, y * HEIGHT
        right, below = _OFFSETS[side]
        discs.append(
            Disc(by_id[office.id], round(across, 1), round(down, 1), round(across + right, 1),
                 round(down + below, 1), _ANCHORS[side])
        )  # fmt: skip
    return MapView(tuple(discs), named, DISC / 2 if named else DISC / 4)

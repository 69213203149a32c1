"""A small map of the blocks for page one: where each lies, its grade, and room for its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.report.sections.map_layout import label_sides, positions
from jharnet_monitor.report.sections.rating import RatedOffice

MAPPED = range(3, 31)
"""How many offices a small map can show."""


def district_map(judged: Sequence[RatedOffice], words: Words) -> dict[str, Any] | None:
    """The offices by place, with the side of each disc on which its name overlaps no other; None
    unless all have coordinates.
    """
    offices = [one.summary.office for one in judged]
    points = positions(offices)
    if points is None or len(points) not in MAPPED:
        return None
    names = [formats.office_name(office, words) for office in offices]
    return {
        "title": words("report.map"),
        "points": [
            {"x": round(x, 4), "y": round(y, 4), "side": side, "name": name,
             "grade": one.summary.conference.grade}
            for one, (x, y), name, side in zip(
                judged, points, names, label_sides(points, names), strict=True
            )
        ],
    }  # fmt: skip

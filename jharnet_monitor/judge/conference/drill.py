"""How a drill is judged, once for the screen, the signed page, the report and the dossier. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from jharnet_monitor.judge.conference.shared_line import SharedLine
from jharnet_monitor.model import Direction
from jharnet_monitor.profiles import Profile

UPLINK = "uplink"
"""What limited a call that headquarters' own line held back."""

Bears = tuple[Literal["about", "at_least", "none"], int]


def mark(profile: str, wanted: int) -> int:
    """The grade that counts as held: the district's own, as far as the profile can show it.

    >>> mark("180p", 3), mark("720p", 3)
    (2, 3)
    """
    return min(wanted, Profile(profile).best_grade)


def held(row: Mapping[str, Any], least: int) -> bool:
    """Whether an office held the drill's conference with `least` (see `mark`) as its grade."""
    grade = row.get("grade")
    return row.get("outcome") == "ok" and grade is not None and bool(grade >= least)


def limit(row: Mapping[str, Any], line: SharedLine | None, alone: float | None) -> str | None:
    """What limited a call whose worse way went over the shared `line`.

    A line that was full is not laid at an office's door: `uplink` where the office's own line
    carries more `alone` (bit/s), `unknown` where that was never tested.
    """
    limited: str | None = row["limited_by"]
    if limited != "rate" or line is None or not line.full:
        return limited
    if row["office"] in line.held_back:
        return UPLINK
    return "unknown" if alone is None else limited


def bears(uplink: Mapping[str, Any], way: Direction) -> Bears | None:
    """How many calls of the drill's rate headquarters' line bears one way; None: not known.

    >>> bears({"up_calls": 0, "up_full": True}, Direction.UP)
    ('none', 0)
    >>> bears({"up_calls": 0, "up_full": False}, Direction.UP) is None
    True
    """
    calls = uplink.get(f"{way}_calls")
    if calls is None:
        return None
    if uplink.get(f"{way}_full"):
        return ("about", calls) if calls else ("none", 0)
    return ("at_least", calls) if calls else None

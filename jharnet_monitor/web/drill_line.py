"""The status page's line on the newest drill: its time, and how many offices passed it.

A drill does not grade single lines, so its result is shown beside the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jharnet_monitor.i18n.formats import Formats
from jharnet_monitor.judge.conference.drill import held, mark
from jharnet_monitor.model import parse_utc


def drill_line(drill: Mapping[str, Any] | None, wanted: int, formats: Formats) -> str:
    """One sentence; empty if there was no drill. `wanted` is the district's required grade."""
    if drill is None:
        return ""
    time = formats.date_and_time(parse_utc(str(drill["started_at"])))
    if drill["state"] == "running":
        return formats.words("web.drill.running", time=time)
    least, rows = mark(str(drill["profile"]), wanted), drill["offices"]
    return formats.words(
        "web.drill.over",
        time=time,
        profile=drill["profile"],
        held=sum(held(row, least) for row in rows),
        total=len(rows),
    )

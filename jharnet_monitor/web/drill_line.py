"""The status page's line on the newest drill: when it was, and how many offices passed. Pure.

A drill does not grade single lines, so its result is shown next to the table.
"""

from __future__ import annotations

from jharnet_monitor.i18n.formats import Formats
from jharnet_monitor.judge.conference.drill import Drill, passed, required_grade
from jharnet_monitor.report.sections.drill_texts import profile_name


def drill_line(drill: Drill | None, wanted: int, formats: Formats) -> str:
    """One sentence; empty where there was no drill yet. `wanted` is the district's own grade."""
    if drill is None:
        return ""
    time = formats.date_and_time(drill.started_at)
    if drill.running:
        return formats.words("web.drill.running", time=time)
    required = required_grade(drill.profile, wanted)
    return formats.words(
        "web.drill.over",
        time=time,
        profile=profile_name(drill, formats.words),
        held=sum(passed(office, required) for office in drill.offices),
        total=len(drill.offices),
    )

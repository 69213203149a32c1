"""The status page's line on the newest drill: when it was, and how many offices passed. Pure.

A drill does not grade single lines, so its result is shown next to the table.
"""

from __future__ import annotations

from jharnet_monitor.i18n.formats import Formats
from jharnet_monitor.judge.conference.drill import Drill, DrillState, passed, required_grade
from jharnet_monitor.report.sections.drill_texts import profile_name


def drill_line(drill: Drill | None, wanted: int, formats: Formats) -> str:
    """One sentence; empty where there was no drill yet. `wanted` is the district's own grade."""
    if drill is None:
        return ""
    words, time = formats.words, formats.date_and_time(drill.started_at)
    name = words("web.drill.at_once" if drill.at_once is None else "web.drill.in_turn")
    if drill.running:
        return words("web.drill.running", name=name, time=time)
    profile = profile_name(drill, words)
    if drill.state is DrillState.STOPPED:
        return words("web.drill.stopped", name=name, time=time, profile=profile)
    required = required_grade(drill.profile, wanted)
    return words(
        "web.drill.over",
        name=name,
        time=time,
        profile=profile,
        held=sum(passed(office, required) for office in drill.offices),
        total=len(drill.offices),
    )

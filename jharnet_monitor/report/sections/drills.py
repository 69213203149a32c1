"""The section on the drills of a period: each a conference of all blocks at once, a row a block."""

from __future__ import annotations

from typing import Any

from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.conference.drill import Drill, DrillState, last_held
from jharnet_monitor.report.data.summary import Summary
from jharnet_monitor.report.sections.drill_texts import (
    drill_row,
    few_at_once,
    profile_name,
    supported_calls_texts,
    uplink_rates,
)

MOST_ROWS = 13
_HEADS = ("block", "result", "down", "up", "cause")


def drills(summary: Summary, words: Words) -> dict[str, Any]:
    """The section; in a period without a drill it says so. The last drill held to its end stands in
    the report, of many offices those that fell short. The annex has the other drills, and that one,
    too, where the report leaves offices out.
    """
    found = [_drill(drill, summary, words) for drill in summary.drills]
    last, rows, others = None, [], found
    if found:
        shown = found[summary.drills.index(last_held(summary.drills))]
        rows = sorted(shown["rows"], key=lambda row: 5 if row["grade"] is None else row["grade"])
        shown_rows = shown["rows"] if len(rows) <= MOST_ROWS else rows[:MOST_ROWS]
        last = shown | {"rows": shown_rows}
        others = [drill for drill in found if drill is not shown]
    return {
        "title": words("report.drill.title"),
        "none": words("report.drill.none"),
        "head": [words(f"drill.head.{name}") for name in _HEADS],
        "drills": found,
        "further": found if len(rows) > MOST_ROWS else others,
        "last": last,
        "more": words("report.more_rows", n=len(rows) - MOST_ROWS) if len(rows) > MOST_ROWS else "",
    }


def _drill(drill: Drill, summary: Summary, words: Words) -> dict[str, Any]:
    rates = (
        f"{label} {rate_text}{words('full_stop')}"
        for label, rate_text in uplink_rates(drill, words)
    )
    calls = supported_calls_texts(drill.uplink, words)
    state = () if drill.state is DrillState.DONE else (words(f"report.drill.{drill.state}"),)
    return {
        "title": words(
            "report.drill.held",
            moment=formats.moment(drill.started_at, summary.zone, words),
            profile=profile_name(drill, words),
        ),
        "joined": words("report.drill.joined", joined=len(drill.joined), total=len(drill.offices)),
        "line": " ".join((*state, *rates, *calls, *few_at_once(drill, words))),
        "rows": [drill_row(office, summary.config, words) for office in drill.offices],
    }

"""The section on the drills of a period: each a conference of all blocks at once, a row a block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jharnet_monitor.config import Config
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.conference.drill import (
    Drill,
    DrillDirection,
    DrillOffice,
    UplinkLoad,
    supported_calls,
)
from jharnet_monitor.model import Direction
from jharnet_monitor.report.data.summary import Summary
from jharnet_monitor.report.sections.front_page import grade_text

MOST_ROWS = 13
_HEADS = ("block", "result", "down", "up", "cause")


def drills(summary: Summary, words: Words) -> dict[str, Any]:
    """The section; in a period without a drill it says so. The last drill stands in the report, of
    many offices those that fell short; the annex has all.
    """
    found = [_drill(drill, summary, words) for drill in summary.drills]
    last = None
    if found:
        rows = sorted(
            found[-1]["rows"], key=lambda row: 5 if row["grade"] is None else row["grade"]
        )
        shown_rows = found[-1]["rows"] if len(rows) <= MOST_ROWS else rows[:MOST_ROWS]
        last = found[-1] | {"rows": shown_rows}
    return {
        "title": words("report.drill.title"),
        "none": words("report.drill.none"),
        "head": [words(f"drill.head.{name}") for name in _HEADS],
        "drills": found,
        "last": last,
    }


def _drill(drill: Drill, summary: Summary, words: Words) -> dict[str, Any]:
    rates = (
        f"{label} {rate_text}{words('full_stop')}"
        for label, rate_text in uplink_rates(drill, words)
    )
    return {
        "title": words(
            "report.drill.held",
            moment=formats.moment(drill.started_at, summary.zone, words),
            profile=profile_name(drill, words),
        ),
        "joined": words("report.drill.joined", joined=len(drill.joined), total=len(drill.offices)),
        "line": " ".join((*rates, *supported_calls_texts(drill.uplink, words))),
        "rows": [drill_row(office, summary.config, words) for office in drill.offices],
    }


def drill_row(office: DrillOffice, config: Config, words: Words) -> dict[str, Any]:
    """One office in a drill: its grade, and what limited it or why there is none."""
    grade = None if office.grade is None else int(office.grade)
    return {
        "office": name_of(office.office, config, words),
        "grade": grade,
        "answer": grade_text(grade, words),
        "joined": office.joined,
        "down": _direction(office.down, words),
        "up": _direction(office.up, words),
        "cause": cause_of(office, words),
    }


def _direction(side: DrillDirection, words: Words) -> list[str]:
    """What arrived in one direction: the rate, and the loss of its picture."""
    if side.bits_per_second is None:
        return [words("not_measured")]
    rate = formats.rate(side.bits_per_second)
    if side.video_loss_ratio is None:
        return [rate]
    return [rate, words("drill.loss", loss=formats.share(side.video_loss_ratio))]


def profile_name(drill: Drill, words: Words) -> str:
    """The drill's profile in words."""
    return words.get(f"profile.{drill.profile}", drill.profile)


def uplink_rates(drill: Drill, words: Words) -> list[list[str]]:
    """Label and rates of what headquarters' own line carried; empty where that is not known."""
    down, up = drill.uplink.down, drill.uplink.up
    if down is None or down.rate is None:
        return []
    rates = formats.both_rates(down.rate, None if up is None else up.rate)
    return [[words("drill.uplink"), rates]]


def supported_calls_texts(uplink: UplinkLoad, words: Words) -> Iterator[str]:
    """How many calls headquarters' own line supports, a sentence for each direction in which that
    is known.
    """
    for direction in Direction:
        found = supported_calls(uplink.direction(direction))
        if found is not None:
            calls = words(f"drill.calls.{found.bound}", n=found.calls)
            yield words(f"drill.bears.{direction}", calls=calls)


def name_of(office: str, config: Config, words: Words) -> str:
    """The office's name; of one that is no longer configured its id."""
    for one in config.offices:
        if one.id == office:
            return formats.office_name(one, words)
    return office


def cause_of(office: DrillOffice, words: Words) -> str:
    """Why a call failed or was not made, else what limited it; empty where nothing did."""
    cause, limit = office.cause, office.limited_by
    if cause is not None:
        return words.get(f"cause.{cause}", cause)
    if limit is None or limit == "none":
        return ""
    return words("report.office.limited", what=words.get(f"limited_by.{limit}", limit))

"""The drills of a period: the conference of all blocks at once, a row a block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jharnet_monitor.config import Config
from jharnet_monitor.model import parse_utc
from jharnet_monitor.report import texts
from jharnet_monitor.report.page_one import grade_text
from jharnet_monitor.report.summary import Summary
from jharnet_monitor.report.words import Words


def drills(summary: Summary, words: Words) -> dict[str, Any]:
    """The section on drills; without one it says so."""
    return {
        "title": words("report.drill.title"),
        "none": words("report.drill.none"),
        "head": [words(f"report.drill.head.{name}") for name in ("block", "result", "cause")],
        "drills": [_drill(drill, summary, words) for drill in summary.drills],
    }


def _drill(drill: Mapping[str, Any], summary: Summary, words: Words) -> dict[str, Any]:
    started = parse_utc(drill["started_at"])
    rows = drill["offices"]
    return {
        "title": words(
            "report.drill.held",
            moment=texts.clock_moment(started, summary.zone, words),
            profile=words.either(f"profile.{drill['profile']}", str(drill["profile"])),
        ),
        "joined": words(
            "report.drill.joined", joined=sum(bool(row["joined"]) for row in rows), total=len(rows)
        ),
        "rows": [drill_row(row, summary.config, words) for row in rows],
    }


def drill_row(row: Mapping[str, Any], config: Config, words: Words) -> dict[str, Any]:
    """One office in a drill: its grade, and what limited it or why there is none."""
    grade = row.get("grade")
    return {
        "office": name_of(row["office"], config, words),
        "grade": None if grade is None else int(grade),
        "answer": grade_text(None if grade is None else int(grade), words),
        "joined": bool(row["joined"]),
        "cause": cause_of(row, words),
    }


def name_of(office: str, config: Config, words: Words) -> str:
    """The office's name; of one that is no longer configured its id."""
    for one in config.offices:
        if one.id == office:
            return texts.office_name(one, words)
    return office


def cause_of(row: Mapping[str, Any], words: Words) -> str:
    """Why a call failed or was not made, else what limited it; empty where nothing did."""
    if row.get("cause"):
        return words.either(f"cause.{row['cause']}", str(row["cause"]))
    limit = row.get("limited_by")
    if not limit or limit == "none":
        return ""
    return words("report.office.limited", what=words.either(f"limited_by.{limit}", str(limit)))

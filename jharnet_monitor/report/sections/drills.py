"""The drills of a period: the conference of all blocks at once, a row a block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jharnet_monitor.config import Config
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.conference.drill import bears
from jharnet_monitor.model import Direction, parse_utc
from jharnet_monitor.report.data.summary import Summary
from jharnet_monitor.report.sections.front_page import grade_text

_HEADS = ("block", "result", "down", "up", "cause")


def drills(summary: Summary, words: Words) -> dict[str, Any]:
    """The section on drills; without one it says so."""
    return {
        "title": words("report.drill.title"),
        "none": words("report.drill.none"),
        "head": [words(f"drill.head.{name}") for name in _HEADS],
        "drills": [_drill(drill, summary, words) for drill in summary.drills],
    }


def _drill(drill: Mapping[str, Any], summary: Summary, words: Words) -> dict[str, Any]:
    started = parse_utc(drill["started_at"])
    rows, uplink = drill["offices"], drill.get("uplink") or {}
    return {
        "title": words(
            "report.drill.held",
            moment=formats.moment(started, summary.zone, words),
            profile=words.get(f"profile.{drill['profile']}", str(drill["profile"])),
        ),
        "joined": words(
            "report.drill.joined", joined=sum(bool(row["joined"]) for row in rows), total=len(rows)
        ),
        "line": " ".join((*_carried_in_words(uplink, words), *borne(uplink, words))),
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
        **{way: _way(row.get(way) or {}, words) for way in Direction},
        "cause": cause_of(row, words),
    }


def _way(values: Mapping[str, float], words: Words) -> list[str]:
    """What arrived in one direction: rate, and the loss of its picture."""
    if "bits_per_second" not in values:
        return [words("not_measured")]
    rate = formats.rate(values["bits_per_second"])
    if "video_loss_ratio" not in values:
        return [rate]
    return [rate, words("drill.loss", loss=formats.share(values["video_loss_ratio"]))]


def carried(uplink: Mapping[str, Any], words: Words) -> list[list[str]]:
    """Label and rates of what headquarters' own line carried; empty where it is not known."""
    if uplink.get("down_bits_per_second") is None:
        return []
    rates = formats.both_rates(uplink["down_bits_per_second"], uplink.get("up_bits_per_second"))
    return [[words("drill.uplink"), rates]]


def _carried_in_words(uplink: Mapping[str, Any], words: Words) -> Iterator[str]:
    for label, rates in carried(uplink, words):
        yield f"{label} {rates}{words('full_stop')}"


def borne(uplink: Mapping[str, Any], words: Words) -> Iterator[str]:
    """What headquarters' own line could bear each way; nothing where that is not known."""
    for way in Direction:
        found = bears(uplink, way)
        if found is not None:
            key, calls = found
            yield words(f"drill.bears.{way}", calls=words(f"drill.calls.{key}", n=calls))


def name_of(office: str, config: Config, words: Words) -> str:
    """The office's name; of one that is no longer configured its id."""
    for one in config.offices:
        if one.id == office:
            return formats.office_name(one, words)
    return office


def cause_of(row: Mapping[str, Any], words: Words) -> str:
    """Why a call failed or was not made, else what limited it; empty where nothing did."""
    if row.get("cause"):
        return words.get(f"cause.{row['cause']}", str(row["cause"]))
    limit = row.get("limited_by")
    if not limit or limit == "none":
        return ""
    return words("report.office.limited", what=words.get(f"limited_by.{limit}", str(limit)))

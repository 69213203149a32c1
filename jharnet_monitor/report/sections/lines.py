"""The verdict on every line and its reason, as in the dossier."""

from __future__ import annotations

from typing import Any

from jharnet_monitor.i18n import format as texts
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.report.data.summary import OfficeSummary, Summary
from jharnet_monitor.report.sections.phrases import (
    contract,
    interval,
    need,
    need_text,
    other_basis,
    reason,
    verdict_name,
)

_HEADS = ("block", "contracted", "delivered", "need", "verdict")


def lines(summary: Summary, words: Words) -> dict[str, Any]:
    """The table of verdicts."""
    return {
        "title": words("report.lines.title"),
        "note": words(
            "report.lines.note",
            first=texts.day(summary.judged_from, words),
            last=texts.day(summary.period.days[-1], words),
        ),
        "policy": need_text(
            summary.config, {one.office.id: one.judged for one in summary.offices}, words
        ),
        "head": [words(f"report.lines.head.{name}") for name in _HEADS],
        "rows": [_row(office, summary, words) for office in summary.offices],
    }


def _row(office: OfficeSummary, summary: Summary, words: Words) -> dict[str, Any]:
    found = office.judged
    ways = (found["delivered"]["down"], found["delivered"]["up"])
    others = [verdict_name(name, words) for name in found["verdicts"][1:]]
    return {
        "office": texts.office_name(office.office, words),
        "contracted": contract(found, words),
        "delivered": [interval(way, texts.rate, words) for way in ways],
        "basis": [words(f"dossier.basis.{name}") for name in _bases(ways)],
        "need": need(found, words),
        "other": other_basis(found, words),
        "verdict": verdict_name(found["verdict"], words),
        "also": words("report.lines.also", names=texts.listed(others, words)) if others else "",
        "reason": reason(found, summary.config, office.office, words),
    }


def _bases(ways: tuple[dict[str, Any], dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(way["basis"] for way in ways if way["basis"]))

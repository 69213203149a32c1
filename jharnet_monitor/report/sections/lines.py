"""The verdict on every line and its reason, as in the dossier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.line.grounds import LineVerdict
from jharnet_monitor.report.data.summary import OfficeSummary, Summary
from jharnet_monitor.report.sections.phrases import (
    contract,
    delivered_rates,
    estimate_trust,
    need,
    need_text,
    notes,
    other_basis,
    reason,
    verdict_name,
)
from jharnet_monitor.report.sections.rating import names_of

MOST_ROWS = 13
"""Rows of the table in the report itself; the annex has all."""
MAX_REPEATED = 2
"""Lines for which the same reason stands in each row; for more it is stated once below."""
FEW = "*"
"""Beside a figure without an interval: a footnote says why, once."""
_ORDER = tuple(LineVerdict)
_HEADS = ("block", "contracted", "delivered", "need", "verdict")


def lines(summary: Summary, words: Words) -> dict[str, Any]:
    """The table of verdicts; of many lines, those come first on which something is to be done."""
    offices: Sequence[OfficeSummary] = summary.offices
    if len(offices) > MOST_ROWS:
        offices = sorted(offices, key=lambda one: _ORDER.index(one.assessment.verdict))
    rows = [_row(office, summary, words) for office in offices]
    common = [*_enough(rows, words), *_common_reasons(rows, words)]
    if all(row["empty"] for row in rows):  # the common reason says it all
        rows = []
    common += _common_basis(rows, words)
    return {
        "title": words("report.lines.title"),
        "note": words(
            "report.lines.note",
            first=formats.day(summary.judged_from, words),
            last=formats.day(summary.period.days[-1], words),
        )
        if any(office.assessment.line.days for office in offices)
        else "",
        "policy": need_text(
            summary.config, {one.office.id: one.assessment for one in summary.offices}, words
        ),
        "head": [words(f"report.lines.head.{name}") for name in _HEADS],
        "rows": rows[:MOST_ROWS],
        "every_row": rows if len(rows) > MOST_ROWS else [],
        "more": words("report.lines.more", n=len(rows) - MOST_ROWS)
        if len(rows) > MOST_ROWS
        else "",
        "common": common,
        "footnote": " ".join(_footnotes(summary, rows, words)),
    }


def _footnotes(summary: Summary, rows: Sequence[dict[str, Any]], words: Words) -> Iterator[str]:
    """What a figure without an interval means, and how far the estimates can be trusted."""
    if any(FEW in text for row in rows for text in row["delivered"]):
        yield words("report.footnote_interval")
    if trust := estimate_trust([one.assessment for one in summary.offices], words):
        yield trust


def _enough(rows: Sequence[dict[str, Any]], words: Words) -> list[str]:
    """One sentence on the lines that suffice, if they are many; it leaves their rows."""
    sufficing = [row for row in rows if row["enough"]]
    if len(sufficing) <= MAX_REPEATED:
        return []
    for row in sufficing:
        row["reason"] = ""
    return [words("report.lines.enough", names=_names(sufficing, rows, words))]


def _names(some: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]], words: Words) -> str:
    """The offices of some rows, or that it is all of them."""
    return names_of([row["office"] for row in some], len(rows), "report.lines.all", words)


def _common_basis(rows: Sequence[dict[str, Any]], words: Words) -> list[str]:
    """On what speed and need are based, where that is the same of all; it leaves the rows."""
    found: list[str] = []
    for name in ("basis", "other"):
        held = [row for row in rows if row[name]]
        texts = {"; ".join(row[name]) if name == "basis" else row[name] for row in held}
        if len(held) > MAX_REPEATED and len(texts) == 1:
            found += texts
            for row in held:
                row[name] = type(row[name])()
    return [words("report.lines.basis", texts="; ".join(found))] if found else []


def _common_reasons(rows: Sequence[dict[str, Any]], words: Words) -> list[str]:
    """The reasons that several lines share, each once with their names; they leave the rows."""
    counts = Counter(row["reason"] for row in rows if row["reason"])
    sentences = []
    for reason_, count in counts.items():
        if count > MAX_REPEATED:
            sharing = [row for row in rows if row["reason"] == reason_]
            names = _names(sharing, rows, words)
            sentences.append(f"{names}: {reason_}")
            for row in sharing:
                row["reason"] = ""
    return sentences


def _row(office: OfficeSummary, summary: Summary, words: Words) -> dict[str, Any]:
    found = office.assessment
    delivered = [side.delivered for side in found.directions]
    bases = dict.fromkeys(one.basis for one in delivered if one.basis is not None)
    others = [verdict_name(verdict, words) for verdict in found.verdicts[1:]]
    return {
        "office": formats.office_name(office.office, words),
        "contracted": contract(found, words),
        "delivered": delivered_rates(found, words, few=FEW),
        "basis": [words(f"dossier.basis.{basis}") for basis in bases],
        "need": need(found, words),
        "other": other_basis(found, words),
        "verdict": verdict_name(found.verdict, words),
        "also": words("report.lines.also", names=formats.list_of(others, words)) if others else "",
        "reason": reason(found, summary.config, office.office, words),
        "enough": found.verdict is LineVerdict.NOTHING
        and not (found.doubts or notes(found, words)),
        "empty": found.verdict is LineVerdict.NOT_ENOUGH_EVIDENCE
        and not any(one.basis for one in delivered),
    }

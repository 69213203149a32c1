"""The evidence sheets: one page per office, every figure with its basis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jharnet_monitor.config import Office
from jharnet_monitor.dossier.case import Case
from jharnet_monitor.dossier.claims import (
    AvailabilityClaims,
    ConferenceClaims,
    OfficeClaims,
    RetestClaims,
)
from jharnet_monitor.dossier.statements import head
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.line.assess import Assessment
from jharnet_monitor.judge.outages.downtime import Outages
from jharnet_monitor.judge.statistics.intervals import MIN_P5_DAYS, MIN_P5_SAMPLES
from jharnet_monitor.model import Direction
from jharnet_monitor.report.sections.front_page import grade_text
from jharnet_monitor.report.sections.phrases import (
    contract,
    estimate_trust,
    interval,
    need,
    other_basis,
    reason,
    rests,
    verdict_name,
)

Row = list[str]
_IN_PACKETS = ("calls", "trains", "trains_night")
"""Kinds of loss that are counted in packets; the others in blocks of five minutes."""


def sheets(case: Case, words: Words) -> dict[str, Any]:
    """The content of all sheets in one language, as plain JSON."""
    made = [_sheet(case, office, words) for office in case.config.offices]
    for sheet, office in zip(made, case.config.offices, strict=True):
        if trust := estimate_trust([case.of(office).assessment], words):
            sheet["reason"] += f" {trust}"
            break  # the sheets of a dossier say it once
    return head(case, words, "sheet") | {"sheets": made}


def _sheet(case: Case, office: Office, words: Words) -> dict[str, Any]:
    claims = case.of(office)
    found = claims.assessment
    others = [verdict_name(verdict, words) for verdict in found.verdicts[1:]]
    return {
        "office": formats.office_name(office, words),
        "verdict": [words("dossier.sheet.verdict"), verdict_name(found.verdict, words)],
        "also": [words("dossier.sheet.also"), formats.list_of(others, words)] if others else None,
        "reason": reason(found, case.config, office, words),
        "parts": [
            {
                "title": words("dossier.sheet.speed"),
                "rows": [*_speed(found, words), *_retests(claims.retests, words)],
            },
            {
                "title": words("dossier.sheet.conference"),
                "rows": list(_calls(claims.conference, words)),
            },
            {"title": words("dossier.sheet.network"), "rows": list(_network(claims, words))},
            {
                "title": words("dossier.sheet.availability"),
                "rows": [
                    *states_rows(claims.availability, words),
                    *_down(found.line.outages, words),
                ],
            },
            {"title": words("dossier.sheet.measurements"), "rows": [_count(claims, words)]},
        ],
    }


def _speed(found: Assessment, words: Words) -> Iterator[Row]:
    sides = dict(zip(Direction, found.directions, strict=True))
    yield [words("dossier.sheet.contracted"), contract(found, words), ""]
    yield [words("dossier.sheet.need"), need(found, words), other_basis(found, words)]
    for direction, side in sides.items():
        if side.other is not None:
            shown = interval(side.other, formats.rate, words)
            shown_by = rests(side.other, words, "rests_readings")
            yield [words(f"dossier.sheet.other_{direction}"), shown, shown_by]
    for direction, side in sides.items():
        one = side.delivered.median
        yield [
            words(f"dossier.sheet.{direction}"),
            interval(one, formats.rate, words),
            rests(one, words),
        ]
    for direction, side in sides.items():
        for name in ("left", "carried", "capacity"):
            one = getattr(side, name)
            if one is not None:
                shown = interval(one, formats.rate, words)
                yield [words(f"dossier.sheet.{name}_{direction}"), shown, rests(one, words)]
    for direction, side in sides.items():
        one = side.delivered.p5
        if one is None and side.delivered.median is not None:
            value = words("dossier.sheet.p5_none", samples=MIN_P5_SAMPLES, days=MIN_P5_DAYS)
        else:
            value = interval(one, formats.rate, words)
        yield [words(f"dossier.sheet.p5_{direction}"), value, rests(one, words)]
    bases = dict.fromkeys(side.delivered.basis for side in found.directions)
    named = [words(f"dossier.basis.{basis}") for basis in bases if basis]
    yield [words("dossier.sheet.basis"), "; ".join(named) or words("dossier.none"), ""]


def _retests(found: RetestClaims, words: Words) -> Iterator[Row]:
    """How many tests were repeated, and the medians with the first tests and with those counted."""
    shown = words("dossier.sheet.retests_value", n=found.repeated)
    yield [words("dossier.sheet.retests"), shown, ""]
    if not found.repeated:
        return
    for direction in Direction:
        for kind, one in (("first", found.first), ("counted", found.counted)):
            median = one[direction]
            yield [
                words(f"dossier.sheet.{kind}_{direction}"),
                interval(median, formats.rate, words),
                rests(median, words),
            ]


def _calls(calls: ConferenceClaims, words: Words) -> Iterator[Row]:
    outside = words("dossier.sheet.outside") if calls.outside_hours and calls.tests else ""
    yield [words("dossier.sheet.grade"), grade_text(calls.grade, words), outside]
    able = calls.able
    yield [
        words("dossier.sheet.able"), interval(able, formats.share_floor, words), rests(able, words)
    ]  # fmt: skip
    shown = words("dossier.sheet.tests_value", n=calls.tests, missed=calls.missed)
    yield [words("dossier.sheet.tests"), shown, ""]
    if calls.cause:
        yield [words("dossier.sheet.limited"), words.get(f"cause.{calls.cause}", ""), ""]
    elif calls.limited_by:
        limit = words.get(f"limited_by.{calls.limited_by}", calls.limited_by)
        yield [words("dossier.sheet.limited"), limit, ""]


def _network(claims: OfficeClaims, words: Words) -> Iterator[Row]:
    latency = claims.latency
    for name, one in (("p50", latency.p50), ("p95", latency.p95), ("jitter", latency.jitter)):
        yield [
            words(f"dossier.sheet.{name}"),
            interval(one, formats.milliseconds, words),
            rests(one, words, "rests_minutes"),
        ]
    loss = claims.assessment.line.loss
    for name in ("office", "night", "idle", "busy", *_IN_PACKETS):
        one = getattr(loss, name)
        if one is None and name not in ("office", "night"):
            continue
        yield [
            words(f"dossier.sheet.loss_{name}"),
            interval(one, formats.share, words),
            rests(one, words, "rests_packets" if name in _IN_PACKETS else "rests_blocks"),
        ]


def states_rows(one: AvailabilityClaims, words: Words) -> Iterator[Row]:
    """The availability, how much of the time is known, its bounds, and the outages by state."""
    for name, ratio in (("ratio", one.ratio), ("without_power", one.without_power)):
        value = formats.availability(ratio, one.coverage, words)
        yield [words(f"dossier.sheet.{name}"), value, ""]
    known = words("not_measured") if one.coverage is None else formats.share_floor(one.coverage)
    yield [words("dossier.sheet.coverage"), known, ""]
    if one.worst is not None and one.best is not None:
        bounds = (one.worst, one.best)
        shown = " / ".join(formats.share_floor(bound, bounds) for bound in bounds)
        yield [words("dossier.sheet.bounds"), shown, ""]
    for state, times in one.outages.items():
        if times:
            spent = formats.duration(one.seconds[state], words)
            yield [
                words("dossier.sheet.outages", state=words(f"state.{state}")),
                words("dossier.sheet.outages_value", n=times, length=spent),
                "",
            ]


def _down(found: Outages, words: Words) -> Iterator[Row]:
    """The downtime by cause, over all hours and in office hours, and what is not charged."""
    for name in ("link", "power", "lan", "unexplained"):
        both = [getattr(time, name) for time in (found.total, found.office)]
        if any(both):
            shown = " / ".join(formats.share(share) for share in both)
            yield [words(f"dossier.sheet.down_{name}"), shown, ""]
    if found.nights:
        length = formats.duration(found.off_seconds, words)
        shown = words("dossier.sheet.outages_value", n=found.nights, length=length)
        yield [words("dossier.sheet.habit"), shown, ""]
    if found.shared:
        length = formats.duration(found.shared_seconds, words)
        shown = words("dossier.sheet.outages_value", n=found.shared, length=length)
        yield [words("dossier.sheet.shared"), shown, ""]


def _count(claims: OfficeClaims, words: Words) -> Row:
    shown = words(
        "dossier.sheet.measurements_value",
        n=claims.measurements,
        days=claims.assessment.line.days,
    )
    return [words("dossier.sheet.measurements_count"), shown, ""]

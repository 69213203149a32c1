"""The evidence sheets: one page per office, every figure with its basis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jharnet_monitor.config import Office
from jharnet_monitor.dossier.case import Case
from jharnet_monitor.i18n import format as texts
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.line.assess import WAYS
from jharnet_monitor.judge.statistics.intervals import MIN_P5_DAYS, MIN_P5_SAMPLES
from jharnet_monitor.report.sections.front_page import grade_text
from jharnet_monitor.report.sections.phrases import (
    Claim,
    contract,
    interval,
    need,
    other_basis,
    reason,
    rests,
    verdict_name,
)

Row = list[str]


def sheets(case: Case, words: Words) -> dict[str, Any]:
    """The content of all sheets in one language, as plain JSON."""
    return {
        "language": words.language,
        "title": words("dossier.sheet.title"),
        "subtitle": words("dossier.sheet.subtitle"),
        "author": "jharnet-monitor",
        "district": words("report.district", name=case.district(words)),
        "period": texts.period_name(case.period, words),
        "days": None,
        "made": words("report.made", moment=texts.clock_moment(case.made_at, case.zone, words)),
        "running": None,
        "page": words.phrases["dossier.page"],
        "sheets": [_sheet(case, office, words) for office in case.config.offices],
    }


def _sheet(case: Case, office: Office, words: Words) -> dict[str, Any]:
    found = case.of(office)
    others = [verdict_name(name, words) for name in found["verdicts"][1:]]
    return {
        "office": texts.office_name(office, words),
        "verdict": [words("dossier.sheet.verdict"), verdict_name(found["verdict"], words)],
        "also": [words("dossier.sheet.also"), texts.listed(others, words)] if others else None,
        "reason": reason(found, case.config, office, words),
        "parts": [
            {"title": words("dossier.sheet.speed"), "rows": list(_speed(found, words))},
            {"title": words("dossier.sheet.conference"), "rows": list(_calls(found, words))},
            {"title": words("dossier.sheet.network"), "rows": list(_network(found, words))},
            {"title": words("dossier.sheet.availability"), "rows": list(_states(found, words))},
            {"title": words("dossier.sheet.measurements"), "rows": [_count(found, words)]},
        ],
    }


def _speed(found: Claim, words: Words) -> Iterator[Row]:
    delivered = found["delivered"]
    yield [words("dossier.sheet.contracted"), contract(found, words), ""]
    yield [words("dossier.sheet.need"), need(found, words), other_basis(found, words)]
    for way in WAYS:
        one = found["other"][way]
        if one["value"] is not None:
            told = interval(one, texts.rate, words)
            yield [words(f"dossier.sheet.other_{way}"), told, rests(one, words, "rests_readings")]
    for way in WAYS:
        one = delivered[way]
        yield [
            words(f"dossier.sheet.{way}"), interval(one, texts.rate, words), rests(one, words)
        ]  # fmt: skip
    for way in WAYS:
        one = delivered[way]["p5"]
        value = words("dossier.sheet.p5_none", samples=MIN_P5_SAMPLES, days=MIN_P5_DAYS)
        if one["value"] is not None:
            value = interval(one, texts.rate, words)
        yield [words(f"dossier.sheet.p5_{way}"), value, rests(one, words)]
    bases = dict.fromkeys(delivered[way]["basis"] for way in WAYS)
    named = [words(f"dossier.basis.{basis}") for basis in bases if basis]
    yield [words("dossier.sheet.basis"), "; ".join(named) or words("dossier.none"), ""]


def _calls(found: Claim, words: Words) -> Iterator[Row]:
    calls = found["conference"]
    outside = words("dossier.sheet.outside") if calls["outside_hours"] and calls["tests"] else ""
    yield [words("dossier.sheet.grade"), grade_text(calls["grade"], words), outside]
    able = calls["able"]
    yield [
        words("dossier.sheet.able"), interval(able, texts.share_down, words), rests(able, words)
    ]  # fmt: skip
    told = words("dossier.sheet.tests_value", n=calls["tests"], missed=calls["missed"])
    yield [words("dossier.sheet.tests"), told, ""]
    if calls["cause"]:
        yield [words("dossier.sheet.limited"), words.either(f"cause.{calls['cause']}", ""), ""]
    elif calls["limited_by"]:
        limit = words.either(f"limited_by.{calls['limited_by']}", calls["limited_by"])
        yield [words("dossier.sheet.limited"), limit, ""]


def _network(found: Claim, words: Words) -> Iterator[Row]:
    for name in ("p50", "p95", "jitter"):
        one = found["latency"][name]
        yield [
            words(f"dossier.sheet.{name}"),
            interval(one, texts.milliseconds, words),
            rests(one, words, "rests_minutes"),
        ]
    loss = found["loss"]
    yield [
        words("dossier.sheet.loss"),
        interval(loss, texts.loss, words),
        rests(loss, words, "rests_minutes"),
    ]


def _states(found: Claim, words: Words) -> Iterator[Row]:
    one = found["availability"]
    missing = words("not_measured")
    for name in ("ratio", "without_power", "coverage"):
        value = missing if one[name] is None else texts.share_down(one[name])
        yield [words(f"dossier.sheet.{name}"), value, ""]
    if one["worst"] is not None:
        bounds = (one["worst"], one["best"])
        told = " / ".join(texts.share_down(bound, bounds) for bound in bounds)
        yield [words("dossier.sheet.bounds"), told, ""]
    for state, times in one["outages"].items():
        if times:
            spent = texts.length(one["seconds"][state], words)
            yield [
                words("dossier.sheet.outages", state=words(f"state.{state}")),
                words("dossier.sheet.outages_value", n=times, length=spent),
                "",
            ]


def _count(found: Claim, words: Words) -> Row:
    told = words(
        "dossier.sheet.measurements_value",
        n=texts.number(found["measurements"]),
        days=found["days"],
    )
    return [words("dossier.sheet.measurements"), told, ""]

"""The state's report of a week: two to four pages in one language, with one row per district.

The report is made only from the signed weeks that are attached to it, so that `verify` can make it
again from them and compare.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jharnet_monitor.config.state_file import StateFile
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.calendar.period import week as week_named
from jharnet_monitor.judge.line.grounds import LineVerdict
from jharnet_monitor.model import format_utc
from jharnet_monitor.report.output.files import OutputFile
from jharnet_monitor.report.output.pdf import Attachment, render_pdf
from jharnet_monitor.report.sections.phrases import made_up_texts
from jharnet_monitor.security.signing import fingerprint
from jharnet_monitor.state.figures import DistrictFigures, StateFigures, figures_of, tables
from jharnet_monitor.state.week import ZONE, DistrictWeek, OfficeWeek, SignedWeek

MOST_TROUBLES = 50
"""How many offices in trouble the report lists by name."""
WEEKS, ABOUT = "signed-weeks.csv", "about.csv"
_WEEK_COLUMNS = ("district", "week", "signature", "body")
_HEADS = {
    "districts": ("rank", "district", "able", "change", "availability", "kept", "delivered",
                  "upgrades", "repairs", "faults"),
    "troubles": ("district", "office", "answer", "availability", "speed", "verdict"),
    "slabs": ("slab", "count", "where"),
    "evidence": ("district", "made", "key", "sha256", "root"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReportBasis:
    """All data from which a report is made, besides the state's file."""

    week: str
    made_at: datetime
    weeks: Mapping[str, SignedWeek]
    """By district."""
    before: Mapping[str, SignedWeek]
    """The signed weeks of the preceding week, by district."""


def make_report(state: StateFile, basis: ReportBasis, words: Words) -> OutputFile:
    """Make the PDF in one language; raises `UserError` and `TypesettingError`."""
    weeks = {district: one.read() for district, one in basis.weeks.items()}
    before = {district: one.read() for district, one in basis.before.items()}
    figures = figures_of(basis.week, state.districts, weeks, before)
    attachments = [
        *(Attachment(f"{each.name}.csv", each.title, each.csv) for each in tables(figures)),
        Attachment(WEEKS, "Signed weeks", _weeks_csv([basis.before, basis.weeks])),
        Attachment(ABOUT, "About", _about_csv(basis, words.language)),
    ]
    data = content(state, basis, figures, words)
    pdf = render_pdf("state.typ", data, basis.made_at, attachments)
    name = f"state-{basis.week}.{words.language}.pdf"
    return OutputFile(name, words.language, "pdf", pdf)


def _weeks_csv(parts: Iterable[Mapping[str, SignedWeek]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_WEEK_COLUMNS)
    for weeks in parts:
        for district, one in sorted(weeks.items()):
            writer.writerow((district, one.read().week, one.signature, one.body))
    return text.getvalue().encode()


def _about_csv(basis: ReportBasis, language: str) -> bytes:
    return f"week,made_at,language\n{basis.week},{format_utc(basis.made_at)},{language}\n".encode()


def content(
    state: StateFile, basis: ReportBasis, figures: StateFigures, words: Words
) -> dict[str, Any]:
    """The report as plain JSON."""
    period = week_named(basis.week, ZONE)
    listed = figures.in_trouble[:MOST_TROUBLES]
    return {
        "language": words.language,
        "title": words("statewide.title"),
        "subtitle": words("statewide.subtitle"),
        "author": "jharnet-monitor",
        "district": words("statewide.state", name=state.name_in(words.language)),
        "period": formats.period_name(period, words),
        "days": formats.day_range(period, words),
        "made": words("report.made", moment=formats.moment(basis.made_at, ZONE, words)),
        "running": None,
        "page": words.phrases["report.page"],
        "made_up": made_up_texts(words) if figures.made_up else None,
        "tiles": _tiles(figures, words),
        "silent": _silent(figures, words),
        "heads": {
            table: [words(f"statewide.head.{name}") for name in names]
            for table, names in _HEADS.items()
        },
        "titles": {name: words(f"statewide.part.{name}") for name in (*_HEADS, "method")},
        "districts": [_district(n, one, words) for n, one in enumerate(figures.districts, 1)],
        "troubles": [_trouble(one, office, words) for one, office in listed],
        "more": _more(len(figures.in_trouble) - len(listed), words),
        "no_trouble": words("statewide.no_trouble"),
        "slabs": [_slab(slab, where, state, words) for slab, where in figures.slabs],
        "no_upgrade": words("statewide.no_upgrade"),
        "evidence": [_evidence(one, basis, state, words) for one in figures.reported],
        "method": [words(f"statewide.method.{name}") for name in ("figures", "rank", "proof")],
    }


def _tiles(figures: StateFigures, words: Words) -> list[dict[str, str]]:
    upgrades = sum(sum(where.values()) for _, where in figures.slabs)
    missed = sum(one.kept(False) for one in figures.districts)
    offices = figures.offices
    tiles = (
        ("reported", len(figures.reported), len(figures.districts)),
        ("able", figures.count("able"), offices),
        ("unable", figures.count("unable"), offices),
        ("missed", missed, offices),
        ("upgrade", upgrades, offices),
    )
    return [
        {"name": name, "value": formats.number(value), "of": words("report.of", total=total),
         "label": words(f"statewide.tile.{name}")}
        for name, value, total in tiles
    ]  # fmt: skip


def _silent(figures: StateFigures, words: Words) -> str:
    if not figures.silent:
        return ""
    names = [one.district.name_in(words.language) for one in figures.silent]
    return words("statewide.silent", n=len(names), names=formats.list_of(names, words, 40))


def _district(rank: int, one: DistrictFigures, words: Words) -> dict[str, Any]:
    name = one.district.name_in(words.language)
    if one.week is None:
        return {"district": name, "nothing": words("statewide.nothing")}
    total, met = len(one.offices), one.kept(True)
    return {
        "district": name,
        "nothing": None,
        "cells": [
            formats.number(rank),
            words("statewide.part_of", part=one.count("able"), total=total),
            _change(one),
            formats.share_floor(one.availability),
            words("statewide.part_of", part=met, total=met + one.kept(False)),
            formats.share_whole(one.delivered),
            formats.number(one.wanting(LineVerdict.UPGRADE)),
            formats.number(one.wanting(LineVerdict.REPAIR)),
            formats.number(one.week.faults_open),
        ],
        "share": one.count("able") / total if total else 0.0,
    }


def _change(one: DistrictFigures) -> str:
    if one.able_before is None:
        return "–"
    difference = one.count("able") - one.able_before
    return f"{difference:+d}".replace("-", "−") if difference else "0"


def _trouble(one: DistrictFigures, office: OfficeWeek, words: Words) -> dict[str, Any]:
    answer = words("report.tile.untested" if office.grade is None else f"grade.{office.grade}")
    promised = words("statewide.promised", share=formats.share(office.promised))
    return {
        "district": one.district.name_in(words.language),
        "office": office.name_hi if words.language == "hi" else office.name,
        "grade": office.grade,
        "answer": answer,
        "availability": formats.availability(office.availability, office.coverage, words),
        "promised": promised if office.kept is False else "",
        "speed": formats.rate(office.delivered),
        "contracted": "" if office.contracted is None
        else words("statewide.of_contracted", rate=formats.rate(office.contracted)),
        "verdict": words(f"capacity.verdict.{office.verdict}"),
    }  # fmt: skip


def _more(count: int, words: Words) -> str:
    return words("statewide.more", n=count) if count > 0 else ""


def _slab(
    slab: float | None, where: Mapping[str, int], state: StateFile, words: Words
) -> dict[str, str]:
    names = [
        words("statewide.in_district", district=one.name_in(words.language), count=where[one.id])
        for one in state.districts
        if one.id in where
    ]
    return {
        "slab": words("statewide.beyond") if slab is None else formats.rate(slab),
        "count": formats.number(sum(where.values())),
        "where": formats.list_of(names, words, 40),
    }


def _evidence(
    one: DistrictFigures, basis: ReportBasis, state: StateFile, words: Words
) -> dict[str, str]:
    signed = basis.weeks[one.district.id]
    key = signed.key_among(state.keys_of(one.district.id))
    week: DistrictWeek = signed.read()
    return {
        "district": one.district.name_in(words.language),
        "made": formats.moment(week.made, ZONE, words),
        "key": words("unknown") if key is None else fingerprint(key),
        "sha256": signed.sha256[:16],
        "root": "–" if week.root is None else week.root[:16],
    }


def basis_of(
    week: str, made_at: datetime, rows: Sequence[tuple[str, str, SignedWeek]]
) -> ReportBasis:
    """A report's basis, from rows of district, week and signed week."""
    before = week_named(week, ZONE).before().name
    return ReportBasis(
        week, made_at,
        {district: one for district, name, one in rows if name == week},
        {district: one for district, name, one in rows if name == before},
    )  # fmt: skip

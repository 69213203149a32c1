"""All documents of a dossier that are derived from its claims; the same bytes each time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version

from jharnet_monitor import __version__
from jharnet_monitor.dossier.archive import csv_bytes
from jharnet_monitor.dossier.case import Case
from jharnet_monitor.dossier.derive import every_outage, ordered_drills
from jharnet_monitor.dossier.faults import fault_csv, fault_paper
from jharnet_monitor.dossier.letter import letter
from jharnet_monitor.dossier.sealed import daily_roots
from jharnet_monitor.dossier.sheets import sheets
from jharnet_monitor.dossier.statements import certificate, method
from jharnet_monitor.i18n.formats import iso_moment
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.report.output.drill_sheet import drill_content
from jharnet_monitor.report.output.pdf import render_pdf

PAPERS = {
    "letter": ("letter.typ", letter),
    "sheets": ("sheets.typ", sheets),
    "method": ("method.typ", method),
    "certificate": ("certificate.typ", certificate),
    "faults": ("faults.typ", fault_paper),
}


def tools() -> dict[str, str]:
    """The tools that typeset the documents; with the same tools every byte is equal."""
    return {
        "jharnet-monitor": __version__,
        "typst": version("typst"),
        "font": version("fontpkg-noto-sans-devanagari"),
    }


def papers(case: Case) -> Iterator[tuple[str, bytes]]:
    """Name and content of each document; raises `TypesettingError`."""
    yield "SHA256SUMS", case.sums.encode()
    yield "outages.csv", _outages(case)
    yield "faults.csv", fault_csv(case)
    yield "chain/daily-roots.csv", _roots(case)
    for language in LANGUAGES:
        phrases = words(language)
        for name, (template, content) in PAPERS.items():
            yield (
                f"{name}.{language}.pdf",
                render_pdf(template, content(case, phrases), case.made_at),
            )
        for drill in ordered_drills(case.evidence):
            if not re.fullmatch(r"[\w-]{1,64}", drill.id):
                raise ValueError(f"drill {drill.id!r}")
            data = drill_content(
                drill, case.config, case.made_at, phrases, made_up=case.evidence.made_up
            )
            name = f"drills/drill-{drill.id}.{language}.pdf"
            yield name, render_pdf("drill.typ", data, case.made_at)


def _outages(case: Case) -> bytes:
    """What the period has of each outage, which may have begun before it."""
    head = ("office", "state", "begin", "end", "seconds", "open", "began_before")
    rows = (
        (one.office, one.state.value, iso_moment(one.start, case.zone),
         iso_moment(one.end, case.zone), f"{one.seconds:.3f}", "yes" if one.open else "no",
         "yes" if one.start <= case.period.start else "no")
        for one in every_outage(case.evidence, case.until)
    )  # fmt: skip
    return csv_bytes(head, rows, made_up=case.evidence.made_up)


def _roots(case: Case) -> bytes:
    found = daily_roots(case.chain, case.period.days, case.zone)
    rows = ((str(day), root) for day, root in found.items())
    return csv_bytes(("day", "root"), rows, made_up=case.evidence.made_up)

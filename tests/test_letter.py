"""The letter: its subject is its request, and nobody signs a page without a word of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jharnet_monitor.dossier.case import Case
from jharnet_monitor.dossier.letter import letter
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.judge.line.verdict import LineVerdict
from jharnet_monitor.report.output.pdf import render_pdf
from tests.dossier_support import Forger
from tests.pdf_text import pages_of, plain


@pytest.fixture(scope="module")
def case(dossier: Path) -> Case:
    """The dossier of two offices."""
    return Forger.of(dossier).case()


def _with(case: Case, *verdicts: LineVerdict, offices: int = 2) -> Case:
    names = tuple(case.claims.offices)
    given = {verdict: names if verdict in verdicts else () for verdict in LineVerdict}
    district = replace(case.claims.district, verdicts=given, offices=offices)
    return replace(case, claims=replace(case.claims, district=district))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("verdicts", "key"),
    [
        ((LineVerdict.NOTHING, LineVerdict.POWER), "subject"),
        ((LineVerdict.UPGRADE, LineVerdict.NOTHING), "subject_upgrade"),
        ((LineVerdict.REPAIR,), "subject_repair"),
        ((LineVerdict.UPGRADE, LineVerdict.LINE_QUALITY), "subject_both"),
    ],
)
def test_the_subject_is_the_request(
    case: Case, language: str, verdicts: tuple[LineVerdict, ...], key: str
) -> None:
    """More speed, mending, both, or nothing."""
    phrase = words(language)
    _, subject = letter(_with(case, *verdicts), phrase)["subject"]
    assert subject == phrase(f"dossier.letter.{key}", district=case.district(phrase))


@pytest.mark.parametrize(
    ("language", "one", "two"),
    [("en", "JharNet line from", "JharNet lines from"), ("hi", "लाइन का", "लाइनों का")],
)
def test_one_office_has_one_line(case: Case, language: str, one: str, two: str) -> None:
    """The opening counts lines as it counts offices."""
    for offices, text in ((1, one), (2, two)):
        opening = letter(_with(case, LineVerdict.NOTHING, offices=offices), words(language))
        assert text in opening["opening"][0]


def test_the_signature_stands_below_the_request(case: Case) -> None:
    """Wherever the table ends, the page to sign has the letter's last sentence."""
    phrase = words("hi")
    doc: dict[str, Any] = letter(_with(case, LineVerdict.NOTHING), phrase)
    signed = set()
    for length in (2, *range(8, 14)):
        table = doc["table"] | {"rows": [doc["table"]["rows"][0]] * length}
        pages = pages_of(render_pdf("letter.typ", doc | {"table": table}, case.made_at))
        [number] = [n for n, page in enumerate(pages) if plain(doc["closing"]) in page]
        assert plain(doc["request"]) in pages[number], length
        signed.add(number)
    assert signed == {0, 1}

"""The phrases: complete in both languages, all used, and one for every name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import jharnet_monitor
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.judge.conference.grade import GradeLimit
from jharnet_monitor.model import Cause, Direction, OfficeState, Outcome
from jharnet_monitor.report.data.findings import FindingKind

PACKAGE = Path(jharnet_monitor.__file__).parent
COMPOSED = (
    "state", "state_help", "cause", "outcome", "probe", "grade", "limited_by", "weekday", "month",
    "finding", "act", "reason", "ask", "way", "profile",
)  # fmt: skip
"""Groups whose keys come from an enumeration or from data: all of them are used."""


def test_both_languages_have_the_same_phrases_with_the_same_parameters() -> None:
    """A phrase in one language exists in the other, with the same parameters."""
    hindi, english = words("hi").phrases, words("en").phrases
    assert set(hindi) == set(english)
    for key, phrase in english.items():
        wanted = set(re.findall(r"\{(\w+)\}", phrase))
        given = set(re.findall(r"\{(\w+)\}", hindi[key]))
        assert given == wanted, key


def test_hindi_phrases_are_in_hindi() -> None:
    """No phrase was left in English; those without Devanagari letters are units and names."""
    for key, phrase in words("hi").phrases.items():
        bare = re.sub(r"\{\w+\}", "", phrase)
        if re.search(r"[A-Za-z]{3}", bare):
            assert re.search(r"[\u0900-\u097f]", bare) or len(bare.split()) == 1, (key, phrase)
        assert not re.search(r"[०-९]", phrase), f"{key}: digits are 0-9 in both languages"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_state_cause_and_finding_has_phrases(language: str) -> None:
    """Each state, cause, outcome, limit and finding has its phrases."""
    text = words(language)
    for group, names in (
        ("state", OfficeState), ("state_help", OfficeState), ("cause", Cause),
        ("outcome", Outcome), ("limited_by", GradeLimit), ("act", FindingKind),
        ("finding", FindingKind), ("reason", FindingKind), ("ask", FindingKind),
    ):  # fmt: skip
        for name in names:
            assert text(f"{group}.{name.value}", names="A", detail="B")
    for grade in ("0", "1", "2", "3", "4", "none"):
        assert text(f"grade.{grade}")


@pytest.mark.parametrize("language", LANGUAGES)
def test_limits_of_a_call_name_their_direction(language: str) -> None:
    """Every limit of a call has a sentence; the limits of one direction name it."""
    text = words(language)
    directions = {direction: text(f"way.{direction}") for direction in Direction}
    for limit in set(GradeLimit) - {GradeLimit.NONE}:
        for direction, phrase in directions.items():
            sentence = text(f"call.limit.{limit}", way=phrase)
            assert sentence.endswith((".", "।")) and "{" not in sentence
            assert (phrase in sentence) is (limit in {GradeLimit.RATE, GradeLimit.LOSS})
            assert text(f"report.way.{direction}") not in directions.values()


def test_every_phrase_is_used() -> None:
    """No phrase is left that nothing uses."""
    sources = "\n".join(
        path.read_text("utf-8")
        for path in PACKAGE.rglob("*")
        if path.suffix in {".py", ".html", ".j2", ".typ", ".js"}
    )
    unused = [
        key
        for key in words("en").phrases
        if key.split(".")[0] not in COMPOSED and not _mentioned(key, sources)
    ]
    assert unused == []


def _mentioned(key: str, sources: str) -> bool:
    """The key itself, or a beginning of it that is completed by a name (`report.tile.{group}`)."""
    if re.search(rf"""["']{re.escape(key)}["']""", sources):
        return True
    parts = key.split(".")
    heads = [".".join(parts[:n]) for n in range(1, len(parts))]
    return any(
        re.search(rf"""["']{re.escape(head)}(?:["']|\.\w*\{{|\.["'] ?(?:\+|~))""", sources)
        for head in heads[1:] or heads
    )

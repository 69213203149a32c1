"""The phrases: complete in both languages, all used, and one for every name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import jharnet_monitor
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.judge.conference.grade import GradeLimit
from jharnet_monitor.model import Cause, Direction, OfficeState, Outcome
from jharnet_monitor.quantities import QUANTITIES
from jharnet_monitor.report.data.findings import FindingKind

PACKAGE = Path(jharnet_monitor.__file__).parent
COMPOSED = (
    "state", "state_help", "cause", "outcome", "probe", "grade", "limited_by", "month",
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
    quoted = set(re.findall(r"""["']([\w.-]+)["']""", sources))
    started = set(re.findall(r"""["']([\w.-]+?)(?=["']|\.\w*\{|\.["'] ?(?:\+|~))""", sources))
    unused = [
        key
        for key in words("en").phrases
        if key.split(".")[0] not in COMPOSED and not _mentioned(key, quoted, started)
    ]
    assert unused == []


def _mentioned(key: str, quoted: set[str], started: set[str]) -> bool:
    """The key itself, that of its plural forms, or a beginning of it that is completed by a name
    (`report.tile.{group}`).
    """
    singular = re.sub(r"\.(one|other)$", "", key)
    if key in quoted or singular in quoted:
        return True
    parts = singular.split(".")
    heads = [".".join(parts[:n]) for n in range(1, len(parts))]
    return any(head in started for head in heads[1:] or heads)


NASALS = ("सम्पर्क", "आरम्भ", "अन्तराल", "अन्त ", "बन्द", "लम्ब", "सम्भव", "नियन्त्रित", "पन्द्रह", "हिन्दि")
"""The nasal written as a letter of its own, where the papers write an anusvara."""
NUKTA = ("फ़", "ज़िल", "फ\u093c")
TERMS = {
    "परीक्षण": "जाँच", "माप ": "मापन", "मापों": "मापनों", "डेटाबेस": "डाटाबेस",
    "संचालक": "सेवा-प्रदाता", "अपलिंक": "मुख्यालय की लाइन", "डाटा-बजट": "दैनिक डाटा-सीमा",
    "मॉनिटर": "निगरानी प्रणाली", "व्याप्ति": "ज्ञात समय", "प्रति आसन": "प्रति कार्यस्थल",
    "पूर्व-निर्धारित": "पूर्व-सूचित", "प्रयोक्ता": "उपयोगकर्ता", "JharNet": "झारनेट",
    "प्रमाण-संचिका": "साक्ष्य-संचिका", "क्र॰": "क्र.सं.", "(से.)": "(सेकंड)",
    "अभिगम": "एक्सेस", "सूचना-विज्ञान": "सूचना विज्ञान", "निम्न गुणवत्ता": "निम्न-गुणवत्ता",
}  # fmt: skip
"""One word for one thing: what is not written, and what is."""
ENGLISH_TERMS = {
    "Mbit/s": "Mbps", "bears ": "can carry", "delay is": "latency is",
    "planned work": "planned maintenance", "below the mark": "below the standard", "seat": "desk",
    "proof value": "hash value", "are asked": "action needed",
}  # fmt: skip
AS_MEASURED = ("annex.",)
"""Tables for programs name base units."""


def test_hindi_keeps_to_the_rules_of_spelling() -> None:
    """The anusvara for a nasal, no nukta under फ, and one word for one thing."""
    for key, phrase in words("hi").phrases.items():
        filled = f"{phrase} "
        wrong = [part for part in (*NASALS, *NUKTA, *TERMS) if part in filled]
        assert wrong == [], f"{key}: {phrase!r}: {[TERMS.get(part, part) for part in wrong]}"
        assert not re.search(r"(?<![\u0900-\u097f])अंक(ों)?(?![\u0900-\u097f])", phrase), (
            f"{key}: a figure is आँकड़ा"
        )


def test_labels_of_quantities_keep_to_the_same_rules() -> None:
    """So do the Hindi labels of everything that is measured."""
    for one in QUANTITIES:
        wrong = [part for part in (*NASALS, *NUKTA, *TERMS, "लिंक") if part in f"{one.label.hi} "]
        assert wrong == [], f"{one.probe}.{one.name}: {one.label.hi!r}"


def test_english_keeps_one_word_for_one_thing() -> None:
    """The English phrases name each thing by one word."""
    for key, phrase in words("en").phrases.items():
        if not key.startswith(AS_MEASURED):
            filled = re.sub(r"\{\w+\}", "", phrase)
            wrong = [part for part in ENGLISH_TERMS if part.lower() in filled.lower()]
            assert wrong == [], f"{key}: {phrase!r}: {[ENGLISH_TERMS[part] for part in wrong]}"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("count", [0, 1, 2, 11, 12_345_678])
def test_every_count_reads_right(language: str, count: int) -> None:
    """Each phrase with plural forms takes the one that the CLDR gives for 0, 1, 2, 11 and many;
    in English 1 is singular and all others plural, in Hindi 0 and 1 are alike.
    """
    text = words(language)
    plurals = {k.removesuffix(".one") for k in text.phrases if k.endswith(".one")}
    assert len(plurals) > 20
    single = count == 1 or (language == "hi" and count == 0)
    for key in sorted(plurals):
        forms = text.phrases[f"{key}.one"] + text.phrases[f"{key}.other"]
        names = dict.fromkeys(re.findall(r"\{(\w+)\}", forms), "…")
        filled = text(key, **{**names, "n": count})
        wanted = text.phrases[f"{key}.{'one' if single else 'other'}"]
        assert filled == wanted.format_map({**names, "n": formats.number(count)}), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_is_whole_with_extreme_values(language: str) -> None:
    """With nothing, one letter or 300 letters in its places a sentence keeps its blanks and full
    stops: no double blank, no blank before a stop, no bracket left open, no `{`.
    """
    text = words(language)
    for key, phrase in text.phrases.items():
        for value in ("A", "Ghatshila and 99,99,999 more" * 11, "< 0.01 %"):
            names = dict.fromkeys(re.findall(r"\{(\w+)\}", phrase), value)
            filled = phrase.format_map(names) if names else phrase
            assert not re.search(r"[{}]", filled), key
            assert "  " not in filled.strip() or "certificate" in key, key
            assert not re.search(r" [,.;:।](?!\S)", filled), key
            assert filled.count("(") == filled.count(")"), key
            assert filled.count("“") == filled.count("”"), key

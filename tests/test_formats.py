"""How figures, moments and lists are written for people, in both languages."""

from __future__ import annotations

import doctest
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from types import ModuleType
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jharnet_monitor.i18n import cldr, formats
from jharnet_monitor.i18n import words as words_module
from jharnet_monitor.i18n.formats import UNKNOWN, Formats
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.judge.calendar import period
from jharnet_monitor.model import QUANTITIES

IST = ZoneInfo("Asia/Kolkata")
NOON = datetime(2026, 11, 25, 6, 30, tzinfo=UTC)
Figure = Callable[[float | None], str]


@pytest.mark.parametrize("module", [cldr, formats, words_module], ids=lambda m: m.__name__)
def test_examples_in_docstrings_hold(module: ModuleType) -> None:
    """Every `>>>` example gives what it says."""
    assert doctest.testmod(module).failed == 0


FIGURES: tuple[tuple[Figure, dict[float | None, str]], ...] = (
    (formats.number, {
        None: "—", 0: "0", 999: "999", 1000: "1,000", 99_999: "99,999", 100_000: "1,00,000",
        12_34_567: "12,34,567", 10**12: "10,00,00,00,00,000",
    }),
    (formats.rate, {
        None: "—", 0: "0 bps", 0.3: "< 1 bps", 999.4: "999 bps", 999.6: "1.00 kbps",
        512_000: "512 kbps", 999_600: "1.00 Mbps", 3_921_000: "3.92 Mbps", 34e6: "34 Mbps",
        1e9: "1 Gbps", 1.234567e15: "12,34,567 Gbps",
    }),
    (formats.milliseconds, {
        None: "—", 0: "0 ms", 1e-12: "< 0.01 ms", 76e-6: "0.08 ms", 995e-6: "1.00 ms",
        0.0414: "41.4 ms", 0.9999: "1,000 ms", 12.345: "12,345 ms", 1234.5: "12,34,500 ms",
    }),
    (formats.size, {
        None: "—", 0: "0 B", 999: "999 B", 1240: "1.24 kB", 300e6: "300 MB", 999.7e6: "1.00 GB",
        1.5e15: "15,00,000 GB",
    }),
    (formats.share, {
        None: "—", 0: "0 %", 1e-12: "0 %", 1e-7: "< 0.01 %", 0.0001: "0.01 %", 0.0213: "2.13 %",
        0.1 + 0.2: "30 %", 0.99999: "> 99.99 %", 1: "100 %", 1.5: "150 %",
    }),
    (formats.share_floor, {
        None: "—", 0: "0 %", 0.00001: "< 0.01 %", 0.57: "57 %", 0.98769: "98.76 %",
        0.99999: "99.99 %", 1 - 1e-15: "100 %", 1: "100 %",
    }),
    (formats.share_ceil, {
        None: "—", 0: "0 %", 0.00001: "1 %", 0.57: "57 %", 0.571: "58 %", 0.995: "> 99 %",
        1: "100 %",
    }),
    (formats.share_whole, {
        None: "—", 0: "0 %", 0.004: "< 1 %", 0.978: "98 %", 0.994: "99 %", 0.996: "> 99 %",
        1: "100 %", 1.02: "102 %", 25: "2,500 %",
    }),
    (formats.mos, {None: "—", 1: "1.00", 4.409: "4.41", 4.5: "4.50"}),
)  # fmt: skip


@pytest.mark.parametrize(
    ("written", "cases"), FIGURES, ids=lambda one: getattr(one, "__name__", "")
)
def test_figures(written: Figure, cases: dict[float | None, str]) -> None:
    """Nothing, a little, the limits of units, nearly all, all, and absurdly much."""
    for value, text in cases.items():
        assert written(value) == text, value
    assert len(written(1e300)) > 300


@given(st.floats(0, 1))
def test_no_share_reads_as_none_or_all_unless_it_is(ratio: float) -> None:
    """Except for differences in the last digits of a computation."""
    for written in (formats.share, formats.share_floor, formats.share_ceil, formats.share_whole):
        text = written(ratio)
        assert (text == "0 %") is (ratio < 5e-11) or text not in ("0 %", "100 %")
        assert (text == "100 %") is (ratio > 1 - 5e-11) or text not in ("0 %", "100 %")


@given(st.floats(1e-3, 1e12), st.floats(1e-3, 1e12))
def test_no_figure_reads_as_nothing(value: float, other: float) -> None:
    """However small it is, also next to a large one."""
    for written in (formats.rate, formats.milliseconds):
        for text in (written(value), written(value, [value, other])):
            assert any(digit in text for digit in "123456789"), text


@pytest.mark.parametrize(
    ("form", "values", "shown"),
    [
        (formats.rate, (3.8e6, 3.81e6, 3.9996e6, 4e6), "3.80 3.81 4.00 4"),
        (formats.share, (0.025, 0.0251, 0.02, 0.02003, 1.0), "2.50 2.51 2 2.00 100"),
        (formats.share_floor, (0.999, 0.9988, 0.5), "99.90 99.88 50"),
        (formats.milliseconds, (0.0384, 0.03801, 0.056, 0.0017), "38.4 38.0 56 1.70"),
    ],
)
def test_a_column_has_one_rule_of_digits(
    form: formats.FigureFormat, values: Sequence[float], shown: str
) -> None:
    """Measured figures that are written one by one have the same decimals; a whole one has none."""
    assert " ".join(form(value).rpartition(" ")[0] for value in values) == shown


def test_changes_keep_their_sign() -> None:
    """A negative change has a minus; what is 0 to the last digit shown has no sign of its own."""
    assert formats.rate_changes([-1.5e6, 2e5, -20.0]) == (["−1.50", "+0.20", "±0.00"], " Mbps")
    assert formats.rate_changes([-1.2e15, 0]) == (["−12,00,000", "±0"], " Gbps")
    assert formats.grade_changes([-0.004, -4.0]) == (["±0", "−4"], "")
    assert formats.both_rates(None, None) == "— / —"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_quantity_is_written(language: str) -> None:
    """By the units of the table, and none of their names is left; None is a dash."""
    phrase = words(language)
    for unit in {entry.unit for entry in QUANTITIES}:
        assert formats.value(None, unit, phrase) == UNKNOWN
        for value in (0.0, 1.0, 4.0):
            assert "_" not in formats.value(value, unit, phrase)
    assert formats.value(12.34, "seconds", phrase) == "12.3 s"
    assert formats.value(123_456, "packets", phrase) == "1,23,456"
    assert formats.value(29.97, "frames_per_second", phrase) == "30.0 fps"


DURATIONS = {
    0: ("0 s", "0 सेकंड"), 0.4: ("< 1 s", "< 1 सेकंड"), 59.4: ("59 s", "59 सेकंड"),
    59.6: ("1 min", "1 मिनट"), 3569: ("59 min", "59 मिनट"), 3571: ("1 h", "1 घं."),
    3900: ("1 h 5 min", "1 घं. 5 मि."), 172_740: ("47 h 59 min", "47 घं. 59 मि."),
    172_771: ("2 d", "2 दिन"), 180_000: ("2 d 2 h", "2 दिन 2 घं."),
    1e8: ("1,157 d 10 h", "1,157 दिन 10 घं."),
}  # fmt: skip


@pytest.mark.parametrize(("seconds", "texts"), DURATIONS.items(), ids=str)
def test_durations(seconds: float, texts: tuple[str, str]) -> None:
    """Their two largest units, without one that is 0."""
    assert (
        formats.duration(seconds, words("en")), formats.duration(seconds, words("hi"))
    ) == texts  # fmt: skip


def test_lists() -> None:
    """Of none to four, and of more than a sentence holds."""
    for language, last in (("en", " and "), ("hi", " एवं ")):
        phrase = words(language)
        every = ["A", "B", "C", "D"]
        assert [formats.list_of(every[:count], phrase) for count in range(5)] == [
            "", "A", f"A{last}B", f"A, B{last}C", f"A, B, C{last}D"
        ]  # fmt: skip
    names = [str(number) for number in range(1013)]
    assert formats.list_of(names, words("en")).endswith("9, 10 and 1,002 more")
    assert formats.list_of(names[:12], words("en")).endswith("10 and 11"), "one more is named"


def test_plurals() -> None:
    """By the rules of the CLDR: Hindi counts 0 as one. The number is grouped."""
    found = {
        language: [words(language)("report.office.more_outages", n=n) for n in (0, 1, 2, 11, 1234)]
        for language in LANGUAGES
    }
    assert found["en"] == [
        "and 0 shorter ones", "and 1 shorter one", "and 2 shorter ones", "and 11 shorter ones",
        "and 1,234 shorter ones",
    ]  # fmt: skip
    assert found["hi"] == [
        "तथा 0 छोटी बाधा", "तथा 1 छोटी बाधा", "तथा 2 छोटी बाधाएँ", "तथा 11 छोटी बाधाएँ",
        "तथा 1,234 छोटी बाधाएँ",
    ]  # fmt: skip


ZONES = {
    "Asia/Kolkata": ("25.11.2026, 12:00 IST", "25.11.2026, 12:00 बजे (IST)"),
    "Asia/Kathmandu": ("25.11.2026, 12:15 UTC+0545", "25.11.2026, 12:15 बजे (UTC+0545)"),
    "Europe/Berlin": ("25.11.2026, 07:30 CET", "25.11.2026, 07:30 बजे (CET)"),
    "UTC": ("25.11.2026, 06:30 UTC", "25.11.2026, 06:30 बजे (UTC)"),
}


@pytest.mark.parametrize(("zone", "texts"), ZONES.items(), ids=str)
def test_moments_name_their_zone(zone: str, texts: tuple[str, str]) -> None:
    """The district's own, whatever it is; on live pages, too."""
    for language, text in zip(("en", "hi"), texts, strict=True):
        assert formats.moment(NOON, ZoneInfo(zone), words(language)) == text
        assert Formats.of(language, zone, NOON).as_of() == text


def test_days_and_periods() -> None:
    """A year stands with its four digits, a day by the name of its month."""
    en, hi = words("en"), words("hi")
    assert formats.day(date(2026, 2, 1), en) == "01.02.2026"
    assert formats.day(date(2026, 2, 1), hi) == "01.02.2026"
    for made, texts in {
        period.week("2026-W53", IST): ("Week 53 of 2026", "28.12.2026–03.01.2027"),
        period.month("2026-11", IST): ("November 2026", "01.11.–30.11.2026"),
        period.quarter("2026-Q4", IST): ("Quarter 4 of 2026", "01.10.–31.12.2026"),
        period.day("2026-11-25", IST): ("25.11.2026", "25.11.2026"),
    }.items():
        assert (formats.period_name(made, en), formats.day_range(made, en)) == texts
    assert formats.period_name(period.week("2026-W47", IST), hi) == "वर्ष 2026 का सप्ताह 47"


def test_a_live_page_says_how_long_ago() -> None:
    """The time of day today, else with the day, and with the year of another year."""
    reader = Formats.of("en", "Asia/Kolkata", NOON)
    for ago, age, moment in (
        (timedelta(seconds=-5), "just now", "12:00"),
        (timedelta(seconds=9), "just now", "11:59"),
        (timedelta(seconds=10), "10 s ago", "11:59"),
        (timedelta(hours=12), "12 h ago", "00:00"),
        (timedelta(hours=13, minutes=7), "13 h 7 min ago", "24.11., 22:53"),
        (timedelta(days=400), "400 d ago", "21.10.2025, 12:00"),
    ):
        assert (reader.age(NOON - ago), reader.moment(NOON - ago)) == (age, moment)


def test_the_machines_locale_changes_nothing() -> None:
    """A dossier's papers are the same wherever they are set again."""
    code = (
        "import json; from jharnet_monitor.i18n import formats; "
        "from jharnet_monitor.i18n.words import words; "
        "print(json.dumps([formats.number(1234567), formats.rate(1.5e6),"
        " words('hi')('report.tests', n=0), words('en')('report.tests', n=0)]))"
    )
    spoken = {
        tuple(json.loads(subprocess.run(
            [sys.executable, "-X", "utf8", "-c", code], env=os.environ | {"LC_ALL": locale,
            "LANG": locale, "LANGUAGE": locale}, capture_output=True, check=True,
        ).stdout))
        for locale in ("C", "de_DE.UTF-8", "ar_EG.UTF-8")
    }  # fmt: skip
    assert len(spoken) == 1
    assert next(iter(spoken))[:2] == ("12,34,567", "1.50 Mbps")

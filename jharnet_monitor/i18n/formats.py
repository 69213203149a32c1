"""Figures, dates, durations and lists as people read them, in Hindi and English.

Reports, dossier, web pages, mails and terminal output use this module. Output for programs (CSV,
XLSX, JSON, metrics) does not: its numbers are plain.

Digits are 0-9 in both languages, grouped as in India; every figure has its unit; an unknown value
is a dash. Rounding never makes a line look better or worse than it is:

- Figures have three significant digits, rounded half to even: 3.80 as well as 3.81. A whole one has
  no decimals, such as a contract of 4 Mbps; what is measured hardly ever is whole. Figures that
  stand together (`compared`) have the same number of decimals.
- A round-trip time has two decimals at most: `0.08 ms`.
- A value above zero never reads as 0, but as `< 0.01 %` or `< 1 s`.
- Less than the whole never reads as 100 %, but as `> 99.99 %`.
- `share_floor` rounds down, for shares of which more is better (availability). `share_ceil` rounds
  up, for shares of which less is better (tests below the mark).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from typing import Protocol
from zoneinfo import ZoneInfo

from jharnet_monitor.config import Office
from jharnet_monitor.i18n.cldr import MOST_DIGITS, grouped
from jharnet_monitor.i18n.words import Words, words
from jharnet_monitor.judge.calendar.period import Period
from jharnet_monitor.judge.outages.availability import known_well_enough

UNKNOWN = "—"
NAMES_IN_A_SENTENCE = 11
MOST_DECIMALS = 4
_RATES = ((1e9, "Gbps"), (1e6, "Mbps"), (1e3, "kbps"), (1.0, "bps"))
_SIZES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))
_EXACT = Context(prec=MOST_DIGITS)
_NEXT = 0.9995
"""From this share of a power of ten on, three digits are rounded to the next one."""
_ERROR = Decimal("1e-9")
"""A figure so near to a whole one is whole: 0.056 s are 56.00000000000001 ms to a computer."""
_STEPS = tuple(Decimal(1).scaleb(-decimals) for decimals in range(MOST_DECIMALS + 1))


class FigureFormat(Protocol):
    """A function that writes figures of one kind."""

    def __call__(self, value: float | None, /, compared: Sequence[float] = ()) -> str:
        """The figure with its unit; a dash for None. It has the same number of decimals as the
        values `compared` it that have the same unit.
        """


ChangeFormat = Callable[[Sequence[float]], tuple[list[str], str]]


# Figures: they are the same in every language.


def number(count: float | None) -> str:
    """A count, with its digits grouped as India groups them.

    >>> number(479_820), number(12_345_678), number(999), number(0), number(None)
    ('4,79,820', '1,23,45,678', '999', '0', '—')
    """
    return UNKNOWN if count is None else _fixed(count, 0)


def rate(bits_per_second: float | None, /, compared: Sequence[float] = ()) -> str:
    """A rate to three digits.

    >>> rate(3_921_000), rate(640_300), rate(34e6), rate(4e6), rate(3.8e6)
    ('3.92 Mbps', '640 kbps', '34 Mbps', '4 Mbps', '3.80 Mbps')
    """
    return _scaled(bits_per_second, _RATES, compared)


def rate_in_unit_of(bits_per_second: float, whole: float) -> str:
    """A rate without its unit, in the unit in which `rate` writes the whole next to it.

    >>> rate_in_unit_of(310e3, 4e6), rate_in_unit_of(3.91e6, 4e6), rate_in_unit_of(90e3, 512e3)
    ('0.31', '3.91', '90')
    """
    return _three_digits(bits_per_second / _unit(whole, _RATES)[0], most=2)


def rate_with_interval(value: float, low: float | None, high: float | None) -> str:
    """A rate with its interval; without an upper end it is a lower bound.

    >>> rate_with_interval(3.92e6, 3.88e6, 3.96e6), rate_with_interval(5e6, 4.96e6, None)
    ('3.92 (3.88–3.96) Mbps', '≥ 4.96 Mbps')
    >>> rate_with_interval(640e3, None, None)
    '640 kbps'
    """
    if low is None:
        return rate(value)
    if high is None:
        return f"≥ {rate(low)}"
    size, unit = _unit(value, _RATES)
    ends = "–".join(_three_digits(end / size, most=2) for end in (low, high))
    return f"{_three_digits(value / size, most=2)} ({ends}) {unit}"


def both_rates(down: float | None, up: float | None) -> str:
    """Two rates, with their unit once where it is the same.

    >>> both_rates(3.9e6, 3.81e6), both_rates(4e6, 0.512e6), both_rates(None, 2e6)
    ('3.90 / 3.81 Mbps', '4 Mbps / 512 kbps', '— / 2 Mbps')
    """
    return _pair(down, up, " / ", rate)


def from_to(then: float | None, now: float | None, form: FigureFormat) -> str:
    """A figure before and now, with its unit once where it is the same.

    >>> from_to(3.9e6, 3.81e6, rate), from_to(None, 3.5, mean_grade)
    ('3.90 → 3.81 Mbps', '— → 3.50')
    """
    return _pair(then, now, " → ", form)


def rate_changes(changes: Sequence[float]) -> tuple[list[str], str]:
    """Changes of a rate in bit/s with their sign, and the unit of them all.

    >>> rate_changes([-20_000, -1.5e6, 0.0])
    (['−0.02', '−1.50', '±0.00'], ' Mbps')
    """
    size, unit = _unit(max(abs(change) for change in changes), _RATES)
    return _signed([change / size for change in changes]), f" {unit}"


def grade_changes(changes: Sequence[float]) -> tuple[list[str], str]:
    """Changes of the mean grade with their sign.

    >>> grade_changes([0.5, -1.333])
    (['+0.50', '−1.33'], '')
    """
    return _signed(changes), ""


def mean_grade(grade: float | None, /, compared: Sequence[float] = ()) -> str:
    """The mean of conference grades, to two decimals.

    >>> mean_grade(3.4567), mean_grade(4)
    ('3.46', '4.00')
    """
    return UNKNOWN if grade is None else _fixed(grade, 2)


def with_borderline(text: str, other: int | None, words: Words) -> str:
    """A grade's text, with the other grade that the call may as well have; None for none.

    >>> with_borderline("SD video (360p)", 4, words("en"))
    'SD video (360p), borderline HD'
    """
    if other is None:
        return text
    return words("call.borderline", text=text, other=words(f"call.other.{other}"))


def mos(score: float | None) -> str:
    """A mean opinion score (ITU-T P.800.1), to two decimals.

    >>> mos(4.409), mos(None)
    ('4.41', '—')
    """
    return mean_grade(score)


def milliseconds(seconds: float | None, /, compared: Sequence[float] = ()) -> str:
    """A time on the network; below 1 ms to two decimals, as it is not measured more finely.

    >>> milliseconds(0.0414), milliseconds(0.00173), milliseconds(1.2), milliseconds(0.04, [0.0414])
    ('41.4 ms', '1.73 ms', '1,200 ms', '40.0 ms')
    >>> milliseconds(0.0), milliseconds(76e-6), milliseconds(734e-6), milliseconds(1e-6)
    ('0 ms', '0.08 ms', '0.73 ms', '< 0.01 ms')
    """
    if seconds is None:
        return UNKNOWN
    return f"{_three_digits(seconds * 1000, [one * 1000 for one in compared], most=2)} ms"


def size(count: float | None) -> str:
    """Bytes by powers of ten, to three digits.

    >>> size(999), size(41_000), size(1_240_000), size(300e6), size(0)
    ('999 B', '41 kB', '1.24 MB', '300 MB', '0 B')
    """
    return _scaled(count, _SIZES)


def share(ratio: float | None, /, compared: Sequence[float] = ()) -> str:
    """A share of a whole, such as packet loss, rounded to two decimals.

    >>> share(0.0213), share(0.0), share(0.00001), share(0.02, [0.0213]), share(0.99999), share(1)
    ('2.13 %', '0 %', '< 0.01 %', '2.00 %', '> 99.99 %', '100 %')
    """
    return _percent(ratio, 2, ROUND_HALF_EVEN, compared)


def share_floor(ratio: float | None, /, compared: Sequence[float] = ()) -> str:
    """A share rounded down to two decimals, for availability and the like.

    >>> share_floor(0.99998), share_floor(1.0), share_floor(0.5), share_floor(0.5, [0.50123])
    ('99.99 %', '100 %', '50 %', '50.00 %')
    """
    return _percent(ratio, 2, ROUND_FLOOR, compared)


def share_ceil(ratio: float | None, /, compared: Sequence[float] = ()) -> str:
    """A share rounded up to the whole per cent, for shares of bad results.

    >>> share_ceil(0.0), share_ceil(0.031), share_ceil(0.995), share_ceil(1.0)
    ('0 %', '4 %', '> 99 %', '100 %')
    """
    return _percent(ratio, 0, ROUND_CEILING)


def share_whole(ratio: float | None) -> str:
    """A share rounded to the whole per cent, such as that of a contract.

    >>> share_whole(0.978), share_whole(0.9996), share_whole(1.02), share_whole(0.004)
    ('98 %', '> 99 %', '102 %', '< 1 %')
    """
    return _percent(ratio, 0, ROUND_HALF_EVEN)


def share_narrow(ratio: float) -> str:
    """`share_floor` for a narrow column: at most four characters, without its unit.

    >>> share_narrow(0.99998), share_narrow(1.0), share_narrow(0.0921)
    ('99.9', '100', '9.2')
    """
    return _percent(ratio, 1, ROUND_FLOOR).removesuffix(" %")


def availability(
    ratio: float | None, coverage: float | None, words: Words, form: FigureFormat = share_floor
) -> str:
    """An availability, where enough of the time is known to show it as a figure.

    >>> availability(0.9991, 0.98, words("en")), availability(None, 0.0, words("en"))
    ('99.91 %', 'not measured')
    >>> availability(1.0, 0.0001, words("en"))
    'not known (too few data)'
    """
    if ratio is None:
        return words("not_measured")
    shown = known_well_enough(ratio, coverage)
    return words("few_data") if shown is None else form(shown)


def value(value: float | None, unit: str, words: Words) -> str:
    """A value with a unit of `quantities.QUANTITIES`.

    >>> value(6.12555e-05, "seconds", words("en")), value(75, "seconds", words("en"))
    ('0.06 ms', '1 min')
    >>> value(12_345_678, "bytes", words("en")), value(720, "pixels", words("en"))
    ('12.3 MB', '720p')
    >>> value(4, "grade", words("en")), value(123456.7, "widgets", words("en"))
    ('HD video (720p)', '1,23,457 widgets')
    >>> value(-75, "seconds", words("en")), value(-0.5, "seconds", words("en"))
    ('−1 min', '−500 ms')
    """
    if value is None:
        return UNKNOWN
    if value < 0:
        return f"−{_quantity(-value, unit, words)}"
    return _quantity(value, unit, words)


def _quantity(value: float, unit: str, words: Words) -> str:
    if unit == "seconds" and value >= 60:
        return duration(value, words)
    if unit == "grade":
        return words(f"grade.{value:.0f}")
    form = _BY_UNIT.get(unit)
    return f"{_three_digits(value)} {unit.replace('_', ' ')}" if form is None else form(value)


def _time(seconds: float) -> str:
    return milliseconds(seconds) if seconds < 10 else f"{_three_digits(seconds)} s"


_BY_UNIT: dict[str, Callable[[float], str]] = {
    "seconds": _time,
    "ratio": share,
    "bits_per_second": rate,
    "bytes": size,
    "packets": number,
    "count": number,
    "frames_per_second": lambda frames: f"{_three_digits(frames)} fps",
    "mos": mos,
    "pixels": lambda height: f"{height:.0f}p",
    "status": lambda code: f"{code:.0f}",
}


# Dates, durations and lists: they depend on the language.


def duration(seconds: float, words: Words) -> str:
    """A length of time in its two largest units, rounded to a minute, from two days on to an hour.

    >>> [duration(s, words("en")) for s in (0, 0.2, 59, 90, 3600, 7500, 172_800, 190_000)]
    ['0 s', '< 1 s', '59 s', '2 min', '1 h', '2 h 5 min', '2 d', '2 d 5 h']
    """
    whole = round(seconds)
    if whole == 0 < seconds:
        return f"< {words('span.seconds', s=1)}"
    if whole < 60:
        return words("span.seconds", s=max(whole, 0))
    minutes = round(whole / 60)
    if minutes < 60:
        return words("span.minutes", m=minutes)
    hours, rest = divmod(minutes, 60)
    if hours < 48:
        return words("span.hours" if rest else "span.whole_hours", h=hours, m=rest)
    days, rest = divmod(round(minutes / 60), 24)
    return words("span.days" if rest else "span.whole_days", d=days, h=rest)


def day(day: date, words: Words, *, year: bool = True) -> str:
    """A day in figures, as offices write it.

    >>> day(date(2026, 11, 6), words("en")), day(date(2026, 11, 16), words("hi"), year=False)
    ('06.11.2026', '16.11.')
    """
    parts = {"day": f"{day:%d}", "month": f"{day:%m}"}
    return words("date.day" if year else "date.short", year=str(day.year), **parts)


def moment(at: datetime, zone: tzinfo | None, words: Words) -> str:
    """Day and time of day in a zone, with the zone's name.

    >>> from datetime import UTC
    >>> at = datetime(2026, 11, 16, 9, 5, tzinfo=UTC)
    >>> moment(at, ZoneInfo("Asia/Kolkata"), words("en"))
    '16.11.2026, 14:35 IST'
    """
    local = at.astimezone(zone)
    return words(
        "date.moment", date=day(local.date(), words), time=f"{local:%H:%M}", zone=zone_name(local)
    )


def zone_name(local: datetime) -> str:
    """The abbreviation of a local time's zone, such as IST; its UTC offset if it has none.

    >>> [zone_name(datetime(2026, 11, 16, tzinfo=ZoneInfo(f"Asia/{city}")))
    ...  for city in ("Kolkata", "Dubai", "Kathmandu")]
    ['IST', 'UTC+04', 'UTC+0545']
    """
    name = local.tzname() or "UTC"
    return f"UTC{name}" if name.startswith(("+", "-")) else name


def iso_moment(at: datetime, zone: ZoneInfo) -> str:
    """ISO 8601 with the zone's offset, to the second, for tables that programs read, too."""
    return at.astimezone(zone).isoformat(timespec="seconds")


def day_range(period: Period, words: Words) -> str:
    """The first and the last day of a period."""
    first, last = period.days[0], period.days[-1]
    if first == last:
        return day(first, words)
    begin = day(first, words, year=first.year != last.year)
    return words("date.span", first=begin, last=day(last, words))


def period_name(period: Period, words: Words) -> str:
    """`Week 47 of 2026`, in words."""
    first = period.days[0]
    if period.kind == "week":
        return words("period.week", number=int(period.name[-2:]), year=period.name[:4])
    if period.kind == "month":
        return words("period.month", month=words(f"month.{first.month}"), year=str(first.year))
    if period.kind == "quarter":
        return words("period.quarter", number=int(period.name[-1]), year=str(first.year))
    return day_range(period, words)


def short_period_name(kind: str, name: str, start: datetime, words: Words) -> str:
    """A period over a narrow column.

    >>> [short_period_name(kind, name, datetime(2026, 11, 16), words("hi"))
    ...  for kind, name in (("week", "2026-W47"), ("quarter", "2026-Q4"), ("month", "2026-11"))]
    ['सप्ताह 47', 'तिमाही 4', '11.2026']
    """
    if kind in ("week", "quarter"):
        return words(f"period.short_{kind}", number=str(int(name.rpartition("-")[2][1:])))
    return f"{start:%m.%Y}" if kind == "month" else f"{start:%d.%m.}"


def office_name(office: Office, words: Words) -> str:
    """The office's name in the language of the words."""
    return office.name_in(words.language)


def list_of(items: Iterable[str], words: Words, most: int = NAMES_IN_A_SENTENCE) -> str:
    """`A, B and C`; items beyond the first `most` are counted, unless there is only one.

    >>> [list_of("ABC"[:count], words("en")) for count in range(4)]
    ['', 'A', 'A and B', 'A, B and C']
    >>> list_of("ABCDE", words("en"), most=2)
    'A, B and 3 more'
    """
    every = list(items)
    if len(every) > most + 1:
        return words("list_more", names=", ".join(every[:most]), n=len(every) - most)
    if len(every) < 2:
        return "".join(every)
    return ", ".join(every[:-1]) + words.phrases["list_and"] + every[-1]


@dataclass(frozen=True, slots=True)
class Formats:
    """The formats of one reader of a live page: language, time zone, and the current time."""

    words: Words
    zone: ZoneInfo
    now: datetime

    @classmethod
    def of(cls, language: str, zone: str, now: datetime) -> Formats:
        """`language` is `en` or `hi`, `zone` a name such as Asia/Kolkata."""
        return cls(words(language), ZoneInfo(zone), now)

    def moment(self, at: datetime) -> str:
        """The time of day, with the date when it was not today."""
        local, today = at.astimezone(self.zone), self.now.astimezone(self.zone)
        return f"{local:%H:%M}" if local.date() == today.date() else self.date_and_time(at)

    def date_and_time(self, at: datetime) -> str:
        """Day, month and time of day; with the year when it is another."""
        local = at.astimezone(self.zone)
        year = local.year != self.now.astimezone(self.zone).year
        return f"{day(local.date(), self.words, year=year)}, {local:%H:%M}"

    def as_of(self) -> str:
        """Now, with date and zone."""
        return moment(self.now, self.zone, self.words)

    def age(self, at: datetime) -> str:
        """How long ago."""
        seconds = (self.now - at).total_seconds()
        if seconds < 10:
            return self.words("web.just_now")
        return self.words("web.ago", age=self.duration(seconds))

    def duration(self, seconds: float) -> str:
        """A length of time in its two largest units."""
        return duration(seconds, self.words)

    def value(self, number: float, unit: str) -> str:
        """A quantity's value, by the unit that its table gives."""
        return value(number, unit, self.words)


# Rounding.


def _three_digits(value: float, compared: Sequence[float] = (), most: int = MOST_DECIMALS) -> str:
    """Three significant digits, and all digits before the point. Figures that stand together have
    the decimals that the largest of them needs, but at least one if a smaller one needs it.
    """
    sizes = (abs(one) / _NEXT for one in (value, *compared) if one)
    decimals = [max(0, 2 - math.floor(math.log10(size))) for size in sizes]
    wanted = min(max(decimals, default=0), max(1, min(decimals, default=0)), most)
    return _figure(_exact(value), wanted, compared=[_exact(one) for one in compared])


def _fixed(value: float, decimals: int) -> str:
    return grouped(_rounded(_exact(value), decimals))


def _percent(
    ratio: float | None, decimals: int, rounding: str, compared: Sequence[float] = ()
) -> str:
    if ratio is None:
        return UNKNOWN
    percents = [_hundredfold(one) for one in (ratio, *compared)]
    text = _figure(percents[0], decimals, rounding, percents[1:])
    if percents[0] < 100 and text.startswith("100"):
        text = f"> {100 - _STEPS[decimals]}"
    return f"{text} %"


def _hundredfold(ratio: float) -> Decimal:
    """A ratio in per cent, without the rounding errors of the computation that it comes from."""
    return _exact(ratio).scaleb(2, _EXACT).quantize(Decimal("1e-8"), ROUND_HALF_EVEN, _EXACT)


def _scaled(
    value: float | None, units: Sequence[tuple[float, str]], compared: Sequence[float] = ()
) -> str:
    """Three significant digits in the largest suitable unit; the smallest unit has no decimals."""
    if value is None:
        return UNKNOWN
    scale, unit = _unit(value, units)
    if scale == 1:
        return f"{_figure(_exact(value), 0)} {unit}"
    others = [one / scale for one in compared if _unit(one, units)[0] == scale]
    return f"{_three_digits(value / scale, others)} {unit}"


def _unit(value: float, units: Sequence[tuple[float, str]]) -> tuple[float, str]:
    """The largest unit in which the value, rounded, is at least 1; else the smallest."""
    found = ((scale, unit) for scale, unit in units if value >= scale * _NEXT)
    return next(found, units[-1])


def _pair(first: float | None, second: float | None, between: str, form: FigureFormat) -> str:
    known = [one for one in (first, second) if one is not None]
    one, other = (form(part, known) for part in (first, second))
    figure, _, unit = one.rpartition(" ")
    return f"{figure if figure and other.endswith(f' {unit}') else one}{between}{other}"


def _signed(changes: Sequence[float]) -> list[str]:
    """Each with its sign, and `±` if it is 0 after rounding."""
    rounded = [float(_rounded(_exact(change), 2)) for change in changes]
    sizes = [abs(change) for change in rounded]
    return [f"{_sign(c)}{_three_digits(s, sizes)}" for c, s in zip(rounded, sizes, strict=True)]


def _sign(value: float) -> str:
    return "±" if value == 0 else "+" if value > 0 else "−"


def _figure(
    value: Decimal,
    decimals: int,
    rounding: str = ROUND_HALF_EVEN,
    compared: Sequence[Decimal] = (),
) -> str:
    """A figure with `decimals` decimals; without, if it and all figures next to it are whole."""
    text = _rounded(value, decimals, rounding)
    if value > 0 and not text.strip("0."):
        return f"< {_STEPS[decimals]}"
    if all(abs(one - one.to_integral_value()) < _ERROR for one in (value, *compared)):
        text = _rounded(value, 0)
    return grouped(text)


def _rounded(value: Decimal, decimals: int, rounding: str = ROUND_HALF_EVEN) -> str:
    return f"{value.quantize(_STEPS[decimals], rounding, _EXACT):f}"


def _exact(value: float) -> Decimal:
    """The shortest decimal that identifies a float; it is the same on every machine."""
    return Decimal(repr(float(value)))

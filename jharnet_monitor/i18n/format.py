"""How figures and moments are written for people. Nothing is rounded in a line's favour.

Digits are 0-9 in both languages, and units stand with every figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from jharnet_monitor.config import Office
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.calendar.period import Period

NAMES_IN_A_SENTENCE = 11


class Form(Protocol):
    """How a figure of one kind is written: by itself, or to the same precision as those `beside`
    it, where their unit is the same.
    """

    def __call__(self, value: float, /, beside: Sequence[float] = ()) -> str:
        """The figure with its unit."""


ChangeForm = Callable[[Sequence[float]], tuple[list[str], str]]
_UNITS = ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s"))


def rate(bits_per_second: float, /, beside: Sequence[float] = ()) -> str:
    """A rate to three digits.

    >>> rate(3_921_000), rate(640_300), rate(34e6), rate(4e6), rate(3.8e6, [3.8e6, 3.794e6])
    ('3.92 Mbit/s', '640 kbit/s', '34 Mbit/s', '4 Mbit/s', '3.80 Mbit/s')
    """
    size, unit = _unit(bits_per_second)
    if size == 1:
        return f"{bits_per_second:.0f} bit/s"
    others = [one / size for one in beside if _unit(one)[0] == size]
    return f"{_three(bits_per_second / size, others)} {unit}"


def _unit(bits_per_second: float) -> tuple[float, str]:
    return next(
        ((size, unit) for size, unit in _UNITS if bits_per_second >= size * 0.9995), (1.0, "bit/s")
    )


def rate_changes(changes: Sequence[float]) -> tuple[list[str], str]:
    """Changes of a rate in bit/s with their sign, and the unit of them all.

    >>> rate_changes([-20_000, -1.5e6, 0.0])
    (['−0.02', '−1.50', '±0.00'], ' Mbit/s')
    """
    size, unit = _unit(max(abs(change) for change in changes))
    return _signed([change / size for change in changes]), f" {unit}"


def grade_changes(changes: Sequence[float]) -> tuple[list[str], str]:
    """Changes of the mean grade with their sign.

    >>> grade_changes([0.5, -1.333])
    (['+0.50', '−1.33'], '')
    """
    return _signed(changes), ""


def _signed(changes: Sequence[float]) -> list[str]:
    sizes = [round(abs(change), 2) for change in changes]
    return [f"{_sign(c)}{_three(s, sizes)}" for c, s in zip(changes, sizes, strict=True)]


def _sign(value: float) -> str:
    return "±" if value == 0 else "+" if value > 0 else "−"


def number(count: int) -> str:
    """A count with its digits grouped as India groups them.

    >>> number(479_820), number(12_345_678), number(999)
    ('4,79,820', '1,23,45,678', '999')
    """
    head, tail = divmod(count, 1000)
    if not head:
        return str(count)
    groups = [f"{tail:03}"]
    while head:
        head, pair = divmod(head, 100)
        groups.append(f"{pair:02}" if head else str(pair))
    return ",".join(reversed(groups))


def both_rates(down: float | None, up: float | None) -> str:
    """Two rates, with their unit once where it is the same.

    >>> both_rates(3.9e6, 3.81e6), both_rates(4e6, 0.512e6), both_rates(None, 2e6)
    ('3.90 / 3.81 Mbit/s', '4 Mbit/s / 512 kbit/s', '– / 2 Mbit/s')
    """
    known = [way for way in (down, up) if way is not None]
    first, second = ("–" if way is None else rate(way, known) for way in (down, up))
    number, _, unit = first.partition(" ")
    return f"{number if second.endswith(f' {unit}') else first} / {second}"


def milliseconds(seconds: float, /, beside: Sequence[float] = ()) -> str:
    """A time on the network.

    >>> milliseconds(0.0414), milliseconds(0.00173), milliseconds(1.2), milliseconds(0.04, [0.0414])
    ('41.4 ms', '1.73 ms', '1200 ms', '40.0 ms')
    """
    return f"{_three(seconds * 1000, [one * 1000 for one in beside])} ms"


def _three(value: float, beside: Sequence[float] = ()) -> str:
    """Three digits that count, and all of those before the point; beside others to as many
    decimals as the largest of them has, and to one where a smaller one would vanish.
    """
    every = (value, *beside)
    decimals = [max(0, 2 - math.floor(math.log10(abs(one)))) for one in every if one]
    most = min(max(decimals, default=0), max(1, min(decimals, default=0)))
    return _cut(value, every, most)


def _cut(value: float, every: Sequence[float], most: int) -> str:
    """A figure to `most` decimals, less those that are 0 in every one."""
    while most and all(f"{one:.{most}f}".endswith("0") for one in every):
        most -= 1
    return f"{value:.{most}f}"


def share_down(ratio: float, /, beside: Sequence[float] = ()) -> str:
    """A share that must not look better than it is: cut, not rounded, at two decimals.

    >>> share_down(0.99998), share_down(1.0), share_down(0.5), share_down(0.5, [0.50123])
    ('99.99 %', '100 %', '50 %', '50.00 %')
    """
    cut = [math.floor(round(one * 1e4, 6)) / 100 for one in (ratio, *beside)]
    return f"{_cut(cut[0], cut, 2)} %"


def share_up(ratio: float, /, beside: Sequence[float] = ()) -> str:
    """A share that must not look smaller than it is: to the next whole per cent above.

    >>> share_up(0.0), share_up(0.031), share_up(1.0)
    ('0 %', '4 %', '100 %')
    """
    return f"{math.ceil(round(ratio * 100, 6))} %"


def share_short(ratio: float) -> str:
    """The same for a narrow column: at most four signs, without its unit.

    >>> share_short(0.99998), share_short(1.0), share_short(0.0921)
    ('99.9', '100', '9.2')
    """
    return f"{math.floor(round(ratio * 1e3, 6)) / 10:g}"


def loss(ratio: float, /, beside: Sequence[float] = ()) -> str:
    """A packet loss: what is not nothing never reads as 0.

    >>> loss(0.0213), loss(0.0), loss(0.00001), loss(0.02, [0.0213])
    ('2.13 %', '0 %', '< 0.01 %', '2.00 %')
    """
    if 0 < ratio < 0.0001:
        return "< 0.01 %"
    return f"{_cut(ratio * 100, [one * 100 for one in (ratio, *beside)], 2)} %"


def percent(ratio: float) -> str:
    """A share to the whole per cent, as of a contract; only the exact whole is 100 %.

    >>> percent(0.978), percent(0.9996), percent(1.02)
    ('98 %', '99 %', '102 %')
    """
    rounded = round(ratio * 100)
    if rounded == 100 and ratio < 0.9995:
        rounded = 99
    return f"{math.floor(ratio * 100) if 0.99 < ratio < 1 else rounded} %"


def length(seconds: float, words: Words) -> str:
    """A stretch of time in its two largest units."""
    whole = round(seconds)
    if whole < 60:
        return words("span.seconds", s=whole)
    minutes = round(whole / 60)
    if minutes < 60:
        return words("span.minutes", m=minutes)
    hours, rest = divmod(minutes, 60)
    if hours < 48:
        key = "span.hours" if rest else "span.whole_hours"
        return words(key, h=hours, m=rest)
    return words("span.days", d=hours // 24, h=hours % 24)


def day(moment: date, words: Words, *, short: bool = False) -> str:
    """`16 November 2026`, or without its year."""
    form = "date.short" if short else "date.day"
    return words(form, day=moment.day, month=words(f"month.{moment.month}"), year=moment.year)


def clock_moment(moment: datetime, zone: ZoneInfo, words: Words) -> str:
    """Day and time of day in the district's zone."""
    local = moment.astimezone(zone)
    return words("date.moment", date=day(local.date(), words), time=f"{local:%H:%M}")


def iso_moment(moment: datetime, zone: ZoneInfo) -> str:
    """For tables and programs: ISO 8601 with the district's offset, to the second."""
    return moment.astimezone(zone).isoformat(timespec="seconds")


def days_of(period: Period, words: Words) -> str:
    """The first and the last day of a period."""
    first, last = period.days[0], period.days[-1]
    if first == last:
        return day(first, words)
    short = first.year == last.year
    return words("date.span", first=day(first, words, short=short), last=day(last, words))


def period_name(period: Period, words: Words) -> str:
    """`Week 47 of 2026`, in words."""
    first = period.days[0]
    if period.kind == "week":
        return words("period.week", number=int(period.name[-2:]), year=int(period.name[:4]))
    if period.kind == "month":
        return words("period.month", month=words(f"month.{first.month}"), year=first.year)
    if period.kind == "quarter":
        return words("period.quarter", number=int(period.name[-1]), year=first.year)
    return days_of(period, words)


def office_name(office: Office, words: Words) -> str:
    """The office's name in the language of the words."""
    return office.name_in(words.language)


def listed(names: Iterable[str], words: Words, most: int = NAMES_IN_A_SENTENCE) -> str:
    """`A, B and C`; beyond `most` names the rest is counted."""
    every: Sequence[str] = list(names)
    if len(every) > most + 1:
        shown = ", ".join(every[:most])
        return words("list_more", names=shown, n=len(every) - most)
    if len(every) < 2:
        return "".join(every)
    return ", ".join(every[:-1]) + words.phrases["list_and"] + every[-1]

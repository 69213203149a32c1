"""Figures and moments as people read them, in both languages; unknown is a dash, never 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from jharnet_monitor.i18n.words import Words, words

UNKNOWN = "—"


@dataclass(frozen=True, slots=True)
class Formats:
    """How one reader reads: language, time zone, and the moment of now."""

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
        month = self.words("web.months").split()[local.month - 1]
        year = "" if local.year == self.now.astimezone(self.zone).year else f" {local.year}"
        return f"{local.day} {month}{year}, {local:%H:%M}"

    def zone_name(self) -> str:
        """Such as IST."""
        return self.now.astimezone(self.zone).tzname() or str(self.zone)

    def age(self, at: datetime) -> str:
        """How long ago, in the largest whole unit."""
        seconds = (self.now - at).total_seconds()
        if seconds < 10:
            return self.words("web.just_now")
        return self.words("web.ago", age=self.duration(seconds))

    def duration(self, seconds: float) -> str:
        """A length of time in its largest whole unit."""
        for limit, unit, name in (
            (90, 1, "seconds"),
            (5400, 60, "minutes"),
            (172800, 3600, "hours"),
        ):
            if seconds < limit:
                return self.words(f"web.age.{name}", n=int(seconds // unit))
        return self.words("web.age.days", n=int(seconds // 86400))

    def value(self, value: float, unit: str) -> str:
        """A quantity's value, by the unit that its table gives."""
        if unit == "grade":
            return self.words(f"grade.{int(value)}")
        return _BY_UNIT.get(unit, "{:,.0f}".format)(value)


def milliseconds(seconds: float) -> str:
    """Three digits are enough for a person; a little is never rounded to nothing.

    >>> milliseconds(0.0412), milliseconds(0.00342), milliseconds(1.25), milliseconds(0.00004)
    ('41 ms', '3.4 ms', '1250 ms', '< 0.1 ms')
    """
    value = seconds * 1000
    if 0 < value < 0.1:
        return "< 0.1 ms"
    return f"{value:.1f} ms" if value < 9.95 else f"{value:.0f} ms"


def percent(ratio: float) -> str:
    """A share; a little is never rounded to nothing, nor nearly all to all.

    >>> percent(0), percent(0.0004), percent(0.0167), percent(0.25), percent(0.999), percent(1)
    ('0 %', '< 0.1 %', '1.7 %', '25 %', '99.9 %', '100 %')
    """
    value = ratio * 100
    if 0 < value < 0.1:
        return "< 0.1 %"
    if 99.9 < value < 100:
        return "> 99.9 %"
    return f"{value:.0f} %" if value in (0, 100) or 10 <= value <= 99 else f"{value:.1f} %"


def rate(bits_per_second: float) -> str:
    """A rate in Mbit/s or kbit/s.

    >>> rate(3.82e6), rate(34e6), rate(220e3), rate(4e6)
    ('3.82 Mbit/s', '34 Mbit/s', '220 kbit/s', '4 Mbit/s')
    """
    if bits_per_second < 1e6:
        return f"{bits_per_second / 1e3:.0f} kbit/s"
    digits = 2 if bits_per_second < 1e7 else 1
    return f"{bits_per_second / 1e6:.{digits}f}".rstrip("0").rstrip(".") + " Mbit/s"


def rate_beside(bits_per_second: float, whole: float) -> str:
    """A rate without its unit, in the unit in which `rate` writes the whole beside it.

    >>> rate_beside(310e3, 4e6), rate_beside(3.91e6, 4e6), rate_beside(90e3, 512e3)
    ('0.31', '3.91', '90')
    """
    if whole < 1e6:
        return f"{bits_per_second / 1e3:.0f}"
    digits = 2 if bits_per_second < 1e7 else 1
    return f"{bits_per_second / 1e6:.{digits}f}"


def size(count: float) -> str:
    """Bytes by powers of ten.

    >>> size(999), size(41_000), size(1_240_000), size(300_000_000)
    ('999 B', '41 kB', '1.2 MB', '300 MB')
    """
    for limit, unit, name in ((1e3, 1.0, "B"), (1e6, 1e3, "kB"), (1e9, 1e6, "MB")):
        if count < limit:
            return _short(count / unit, name)
    return _short(count / 1e9, "GB")


def _short(value: float, unit: str) -> str:
    return f"{value:.1f} {unit}" if value < 9.95 and value % 1 else f"{value:.0f} {unit}"


def _time(seconds: float) -> str:
    return milliseconds(seconds) if seconds < 10 else f"{seconds:.1f} s"


_BY_UNIT: dict[str, Callable[[float], str]] = {
    "seconds": _time,
    "ratio": percent,
    "bits_per_second": rate,
    "bytes": size,
    "frames_per_second": "{:.1f}".format,
    "mos": "{:.1f}".format,
    "pixels": "{:.0f}p".format,
}

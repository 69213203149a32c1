"""The period of a report: an ISO week, a day, a month, a quarter or a range of days.

Start and end are midnights in the district's time zone; the end is exclusive.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from jharnet_monitor.errors import UserError

PeriodKind = Literal["week", "day", "month", "quarter", "range"]
_PREFIX: dict[PeriodKind, str] = {
    "week": "weekly", "day": "daily", "month": "monthly", "quarter": "quarterly", "range": "report",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Period:
    """A period [start, end) with its name, such as `2026-W47`."""

    kind: PeriodKind
    name: str
    start: datetime
    end: datetime

    @property
    def stem(self) -> str:
        """The stem of the report's file names: `weekly-2026-W47`."""
        return f"{_PREFIX[self.kind]}-{self.name}"

    @property
    def seconds(self) -> float:
        """Its whole length in seconds, even if part of it is in the future."""
        return (self.end - self.start).total_seconds()

    @property
    def days(self) -> list[date]:
        """Every calendar day in it."""
        last = (self.end - timedelta(microseconds=1)).date()
        first = self.start.date()
        return [first + timedelta(days=i) for i in range((last - first).days + 1)]

    def before(self) -> Period:
        """The preceding period of the same kind; for a range, one of the same length."""
        first = self.start.date()
        zone = self.start.tzinfo
        if not isinstance(zone, ZoneInfo):
            raise TypeError("the bounds of a period must be in the district's time zone (ZoneInfo)")
        last = first - _DAY
        if self.kind == "week":
            return week_of(last, zone)
        if self.kind == "day":
            return _bounds("day", str(last), last, first, zone)
        if self.kind == "month":
            return _bounds("month", f"{last:%Y-%m}", last.replace(day=1), first, zone)
        if self.kind == "quarter":
            number = (last.month + 2) // 3
            begin = last.replace(month=3 * number - 2, day=1)
            return _bounds("quarter", f"{last.year}-Q{number}", begin, first, zone)
        begin = first - timedelta(days=len(self.days))
        return _bounds("range", f"{begin}_{last}", begin, first, zone)

    def within(self, first: date, last: date) -> Period:
        """A range's days from `first` to `last`; itself if it has none outside, or none of them."""
        zone = self.start.tzinfo
        begin, end = max(self.start.date(), first), min(self.days[-1], last)
        if self.kind != "range" or not isinstance(zone, ZoneInfo) or end < begin:
            return self
        return _bounds("range", f"{begin}_{end}", begin, end + _DAY, zone)


_DAY = timedelta(days=1)
_YEARS = range(2000, 2101)
"""Years in which a period may be asked for: there are no measurements of others."""


def _bounds(kind: PeriodKind, name: str, first: date, after: date, zone: ZoneInfo) -> Period:
    return Period(kind, name, datetime.combine(first, time(), zone),
                  datetime.combine(after, time(), zone))  # fmt: skip


def week(text: str, zone: ZoneInfo) -> Period:
    """An ISO 8601 week, Monday to Sunday.

    >>> week("2026-W47", ZoneInfo("Asia/Kolkata")).start.isoformat()
    '2026-11-16T00:00:00+05:30'
    """
    match = re.fullmatch(r"(\d{4})-?W(\d{1,2})", text.strip(), re.IGNORECASE)
    if match is None:
        raise UserError(f"--week {text}: must be an ISO week such as 2026-W47")
    year, number = int(match[1]), int(match[2])
    _check_year(year, f"--week {text}")
    try:
        first = date.fromisocalendar(year, number, 1)
        after = first + timedelta(days=7)
    except ValueError:
        last = date(year, 12, 28).isocalendar().week  # 28 December is in the last week
        raise UserError(f"--week {text}: {year} has the weeks W01 to W{last}") from None
    return _bounds("week", f"{year:04}-W{number:02}", first, after, zone)


def week_of(moment: date, zone: ZoneInfo) -> Period:
    """The ISO week of a day."""
    year, number, _ = moment.isocalendar()
    first = date.fromisocalendar(year, number, 1)
    return _bounds("week", f"{year:04}-W{number:02}", first, first + 7 * _DAY, zone)


def day(text: str, zone: ZoneInfo) -> Period:
    """A single day, such as 2026-11-25."""
    first = _date(text, "--day")
    return _bounds("day", text, first, first + _DAY, zone)


def month(text: str, zone: ZoneInfo) -> Period:
    """A calendar month, such as 2026-11."""
    if re.fullmatch(r"\d{4}-\d{2}", text) is None or not 1 <= int(text[5:]) <= 12:
        raise UserError(f"--month {text}: must be a month such as 2026-11")
    first = _date(f"{text}-01", "--month")
    return _bounds("month", text, first, (first + timedelta(days=31)).replace(day=1), zone)


def quarter(text: str, zone: ZoneInfo) -> Period:
    """A quarter of the calendar year, such as 2026-Q4."""
    if re.fullmatch(r"\d{4}-Q[1-4]", text) is None:
        raise UserError(f"--quarter {text}: must be a quarter such as 2026-Q4")
    first = _date(f"{text[:4]}-{3 * int(text[-1]) - 2:02}-01", "--quarter")
    return _bounds("quarter", text, first, (first + timedelta(days=92)).replace(day=1), zone)


def date_range(first: str, last: str, zone: ZoneInfo) -> Period:
    """The days from `first` to `last`, both included."""
    begin, end = _date(first, "--from"), _date(last, "--to")
    if end < begin:
        raise UserError(f"--to {last}: lies before --from {first}")
    return _bounds("range", f"{first}_{last}", begin, end + _DAY, zone)


def _date(text: str, option: str) -> date:
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) is None:
        raise UserError(f"{option} {text}: must be a day such as 2026-11-25")
    _check_year(int(text[:4]), f"{option} {text}")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UserError(f"{option} {text}: there is no such day") from None


def _check_year(year: int, given: str) -> None:
    if year not in _YEARS:
        raise UserError(f"{given}: must be in the years {_YEARS[0]} to {_YEARS[-1]}")

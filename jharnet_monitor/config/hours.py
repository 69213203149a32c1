"""When people are at work in the district: days of the week, hours, public holidays."""

from __future__ import annotations

from datetime import date, datetime, time
from functools import lru_cache
from zoneinfo import ZoneInfo

from jharnet_monitor.config.schema import District


class OfficeCalendar:
    """The office hours of a district, by its own calendar and clock."""

    def __init__(self, district: District) -> None:
        hours = district.office_hours
        self.zone = ZoneInfo(district.timezone)
        self._opens = time.fromisoformat(hours.from_)
        self._closes = time.fromisoformat(hours.to)
        self._weekdays = hours.weekdays
        self._holidays = hours.holidays

    def is_open(self, moment: datetime) -> bool:
        """Whether people are at work at a moment."""
        local = moment.astimezone(self.zone)
        return self._opens <= local.time() < self._closes and self.works_on(local.date())

    def works_on(self, day: date) -> bool:
        """Whether a day is a working day."""
        if day.weekday() not in self._weekdays:
            return False
        return self._holidays is None or day not in _public(self._holidays, day.year)


@lru_cache(maxsize=64)
def _public(calendar: str, year: int) -> frozenset[date]:
    from holidays import country_holidays  # noqa: PLC0415 - slow, and only needed here

    country, _, state = calendar.partition("-")
    return frozenset(country_holidays(country, subdiv=state or None, years=year))

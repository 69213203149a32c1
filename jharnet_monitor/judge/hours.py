"""When people are at work, by the district's week and its public holidays. Pure."""

from __future__ import annotations

from datetime import date, datetime, time
from functools import lru_cache
from zoneinfo import ZoneInfo

import holidays

from jharnet_monitor.config.schema import District, OfficeHours


@lru_cache(maxsize=16)
def _calendar(name: str) -> holidays.HolidayBase:
    country, _, state = name.partition("-")
    return holidays.country_holidays(country, subdiv=state or None)


def is_working_day(hours: OfficeHours, day: date) -> bool:
    """Whether offices are open on a day.

    >>> is_working_day(OfficeHours(), date(2026, 11, 25))
    True
    >>> is_working_day(OfficeHours(), date(2026, 11, 22))  # a Sunday
    False
    >>> is_working_day(OfficeHours(), date(2027, 1, 26))  # Republic Day
    False
    """
    if day.weekday() not in hours.weekdays:
        return False
    return hours.holidays is None or day not in _calendar(hours.holidays)


def in_office_hours(district: District, moment: datetime) -> bool:
    """Whether a moment (with its zone) lies in the district's office hours."""
    local = moment.astimezone(ZoneInfo(district.timezone))
    hours = district.office_hours
    inside = time.fromisoformat(hours.from_) <= local.time() < time.fromisoformat(hours.to)
    return inside and is_working_day(hours, local.date())

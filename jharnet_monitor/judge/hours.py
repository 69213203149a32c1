"""When people are at work, by the district's week and its public holidays. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from jharnet_monitor.config.calendars import calendar
from jharnet_monitor.config.district import ConferenceTime, District, OfficeHours


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
    return hours.holidays is None or day not in calendar(hours.holidays)


def in_office_hours(district: District, moment: datetime) -> bool:
    """Whether a moment (with its zone) lies in the district's office hours."""
    local = moment.astimezone(ZoneInfo(district.timezone))
    hours = district.office_hours
    inside = time.fromisoformat(hours.from_) <= local.time() < time.fromisoformat(hours.to)
    return inside and is_working_day(hours, local.date())


def office_windows(district: District, days: Iterable[date]) -> list[tuple[datetime, datetime]]:
    """The office hours of those of the days on which offices are open, in their order.

    >>> district = District(id="d", name="D", name_hi="द")
    >>> found = office_windows(district, [date(2026, 11, 21), date(2026, 11, 22)])
    >>> [(begin.isoformat(), end.hour) for begin, end in found]  # the second is a Sunday
    [('2026-11-21T10:00:00+05:30', 17)]
    """
    zone, hours = ZoneInfo(district.timezone), district.office_hours
    begin, end = time.fromisoformat(hours.from_), time.fromisoformat(hours.to)
    return [
        (datetime.combine(day, begin, zone), datetime.combine(day, end, zone))
        for day in days
        if is_working_day(hours, day)
    ]


def placed(
    moments: Sequence[int] | NDArray[np.int64], windows: Sequence[tuple[datetime, datetime]]
) -> NDArray[np.int64]:
    """For many moments, in milliseconds since 1970, the number of the window in which each lies;
    -1 for none. The windows follow each other and do not overlap.

    >>> noon = datetime(1970, 1, 1, 12, tzinfo=ZoneInfo("UTC"))
    >>> placed([43_200_000, 43_199_999], [(noon, noon + timedelta(hours=1))]).tolist()
    [0, -1]
    """
    at = np.asarray(moments, dtype=np.int64)
    if not windows:
        return np.full(len(at), -1, dtype=np.int64)
    begins, ends = (
        np.array([round(moment.timestamp() * 1000) for moment in side], dtype=np.int64)
        for side in zip(*windows, strict=True)
    )
    place = np.searchsorted(begins, at, side="right") - 1
    return np.where((place >= 0) & (at < ends[place]), place, -1)


def in_busy_hour(district: District, moment: datetime) -> bool:
    """Whether a moment lies in the hour in which most people work, which is part of office hours.

    >>> district = District(id="d", name="D", name_hi="द")
    >>> in_busy_hour(district, datetime(2026, 11, 25, 12, 59, tzinfo=ZoneInfo("Asia/Kolkata")))
    True
    >>> in_busy_hour(district, datetime(2026, 11, 25, 13, 0, tzinfo=ZoneInfo("Asia/Kolkata")))
    False
    """
    local = moment.astimezone(ZoneInfo(district.timezone)).replace(tzinfo=None)
    begin = datetime.combine(local, time.fromisoformat(district.office_hours.busy_hour))
    return begin <= local < begin + timedelta(hours=1) and in_office_hours(district, moment)


def in_conference(district: District, moment: datetime) -> bool:
    """Whether one of the district's own video conferences is planned for a moment."""
    local = moment.astimezone(ZoneInfo(district.timezone))
    named = district.office_hours.holidays
    if named is not None and local.date() in calendar(named):
        return False
    return any(
        local.weekday() in planned.weekdays
        and time.fromisoformat(planned.from_) <= local.time() < time.fromisoformat(planned.to)
        for planned in district.conferences
    )


def conference_windows(
    planned: ConferenceTime, hours: OfficeHours, zone: ZoneInfo, days: Iterable[date]
) -> list[tuple[datetime, datetime]]:
    """One of the district's own video conferences on those of the days on which it is planned."""
    begin, end = time.fromisoformat(planned.from_), time.fromisoformat(planned.to)
    return [
        (datetime.combine(day, begin, zone), datetime.combine(day, end, zone))
        for day in days
        if day.weekday() in planned.weekdays
        and (hours.holidays is None or day not in calendar(hours.holidays))
    ]

"""Whether a moment lies in office hours, the busy hour or a planned conference. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from jharnet_monitor.config.calendars import is_holiday
from jharnet_monitor.config.district import District, OfficeHours
from jharnet_monitor.config.fields import parse_weekdays


def is_working_day(hours: OfficeHours, day: date) -> bool:
    """Whether offices are open on a day: a working day of the week that is no public holiday.

    >>> is_working_day(OfficeHours(), date(2026, 11, 25))
    True
    >>> is_working_day(OfficeHours(), date(2026, 11, 22))  # a Sunday
    False
    >>> is_working_day(OfficeHours(), date(2027, 1, 26))  # Republic Day
    False
    """
    return _is_working_day(hours.days, hours.holidays, day)


@lru_cache(maxsize=1024)
def _is_working_day(days: str, holidays: str | None, day: date) -> bool:
    """The same, looked up once: a report asks for the day of each of thousands of tests."""
    return day.weekday() in parse_weekdays(days) and not (holidays and is_holiday(holidays, day))


def office_windows(district: District, days: Iterable[date]) -> list[tuple[datetime, datetime]]:
    """The office hours, start and end, of each of the days on which offices are open, in order.

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


def in_office_hours(district: District, moment: datetime) -> bool:
    """Whether `moment`, a datetime with a time zone, lies in the district's office hours."""
    local = moment.astimezone(ZoneInfo(district.timezone))
    hours = district.office_hours
    opens, closes = _opening(hours.from_, hours.to)
    return opens <= local.time() < closes and is_working_day(hours, local.date())


@lru_cache(maxsize=16)
def _opening(opens: str, closes: str) -> tuple[time, time]:
    """Both times, read once: a report asks for each of thousands of tests."""
    return time.fromisoformat(opens), time.fromisoformat(closes)


def in_busy_hour(district: District, moment: datetime) -> bool:
    """Whether a moment lies in the configured busy hour, which is part of office hours.

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
    """Whether one of the district's own video conferences is planned for this moment."""
    local = moment.astimezone(ZoneInfo(district.timezone))
    holidays = district.office_hours.holidays
    if holidays is not None and is_holiday(holidays, local.date()):
        return False
    return any(
        local.weekday() in planned.weekdays
        and time.fromisoformat(planned.from_) <= local.time() < time.fromisoformat(planned.to)
        for planned in district.conferences
    )


def conference_near(
    district: District, moment: datetime, ahead: timedelta
) -> tuple[datetime, datetime] | None:
    """Start and end of the planned conference that is held now, or starts within `ahead`.

    >>> district = District.model_validate({"id": "d", "name": "D", "name_hi": "द",
    ...     "conferences": [{"days": "wed", "from": "11:00", "to": "13:00"}]})
    >>> at = datetime(2026, 11, 25, 10, 30, tzinfo=ZoneInfo("Asia/Kolkata"))
    >>> [each.hour for each in conference_near(district, at, timedelta(minutes=30))]
    [11, 13]
    >>> conference_near(district, at, timedelta(minutes=29))
    """
    zone, holidays = ZoneInfo(district.timezone), district.office_hours.holidays
    days = {at.astimezone(zone).date() for at in (moment, moment + ahead)}
    found = sorted(
        (
            datetime.combine(day, time.fromisoformat(planned.from_), zone),
            datetime.combine(day, time.fromisoformat(planned.to), zone),
        )
        for day in days
        for planned in district.conferences
        if day.weekday() in planned.weekdays and (holidays is None or not is_holiday(holidays, day))
    )
    return next(((begin, end) for begin, end in found if begin - ahead <= moment < end), None)

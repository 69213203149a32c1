"""When an office's speed tests are due. Pure.

The times depend on the clock alone, not on the start of the hub, so that every time slot is tested.
Each day has a test in the busy hour, and the others follow at the configured interval, through
the rest of office hours, evening and night. Tests less frequent than two a day alternate: one in
the busy hour of a working day, the next twelve hours away from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from math import ceil
from zoneinfo import ZoneInfo

from jharnet_monitor.config.district import District, OfficeHours
from jharnet_monitor.judge.calendar.hours import is_working_day

DAY, HALF_DAY, HOUR = timedelta(days=1), timedelta(hours=12), timedelta(hours=1)
EPOCH = date(2000, 1, 3)
"""A Monday, from which infrequent tests are counted."""
MAX_CLOSED_DAYS = 14
"""Longest run of days on which offices may be closed."""


def next_test(district: District, every: float, spread: float, moment: datetime) -> datetime:
    """The time of an office's first speed test at or after `moment`.

    `every` is the interval in seconds. `spread` (0 to 1) distributes the offices over the busy
    hour, or over the interval if that is shorter.

    >>> district = District(id="d", name="D", name_hi="द")
    >>> begin = datetime(2026, 11, 25, 9, 30, tzinfo=ZoneInfo("Asia/Kolkata"))
    >>> next_test(district, 7200, 0.25, begin).isoformat()
    '2026-11-25T10:15:00+05:30'
    """
    zone, interval = ZoneInfo(district.timezone), timedelta(seconds=every)
    local = moment.astimezone(zone).replace(tzinfo=None)
    offset = spread * min(HOUR, interval)
    times = _frequent if interval <= HALF_DAY else _infrequent
    first = min(at for at in times(district.office_hours, interval, offset, local) if at >= local)
    return first.replace(tzinfo=zone)


def _busy_hour_test(hours: OfficeHours, day: date, offset: timedelta) -> datetime:
    """The time of the office's test in the busy hour of a day, in local time."""
    return datetime.combine(day, time.fromisoformat(hours.busy_hour)) + offset


def _frequent(
    hours: OfficeHours, interval: timedelta, offset: timedelta, local: datetime
) -> Iterator[datetime]:
    """Tests around `local`: each day starts in its busy hour and continues at the interval."""
    for shift in (-1, 0, 1):
        begin = _busy_hour_test(hours, local.date() + shift * DAY, offset)
        yield begin
        following = begin + max(1, ceil((local - begin) / interval)) * interval
        if begin < local and following < begin + DAY:
            yield following


def _infrequent(
    hours: OfficeHours, interval: timedelta, offset: timedelta, local: datetime
) -> Iterator[datetime]:
    """Tests around `local`: alternately in a busy hour and twelve hours after the busy hour."""
    passed = int((local.date() - EPOCH) / interval)
    for number in range(passed - MAX_CLOSED_DAYS, passed + 3):
        day = EPOCH + timedelta(days=int(number * interval / DAY))
        if number % 2:
            yield _busy_hour_test(hours, day, offset) + HALF_DAY
        else:
            yield _busy_hour_test(hours, _next_working_day(hours, day), offset)


def _next_working_day(hours: OfficeHours, day: date) -> date:
    days = (day + number * DAY for number in range(MAX_CLOSED_DAYS))
    return next((candidate for candidate in days if is_working_day(hours, candidate)), day)

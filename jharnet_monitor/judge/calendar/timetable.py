"""When an office's speed tests are due: by the clock, so that every slot gets its evidence. Pure.

Tests that followed a start of the hub might never fall into the hour in which people work. Here
each day has a fixed test in the busy hour, and the others follow it every so often, through the
rest of office hours, evening and night. Tests rarer than two a day take turns: one in the busy hour
of a working day, the next twelve hours off it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from math import ceil
from zoneinfo import ZoneInfo

from jharnet_monitor.config.district import District, OfficeHours
from jharnet_monitor.judge.calendar.hours import is_working_day

DAY, HALF_DAY, HOUR = timedelta(days=1), timedelta(hours=12), timedelta(hours=1)
FIRST = date(2000, 1, 3)
"""A Monday from which tests rarer than two a day are counted, whenever the hub was started."""
LONGEST_CLOSURE = 14
"""Days in a row on which offices may be closed."""


def due(district: District, every: float, part: float, moment: datetime) -> datetime:
    """The first test at or after a moment, of one office out of many.

    `every` is in seconds; `part` (0..1) spreads the offices over the busy hour, or over `every`
    where that is shorter.

    >>> district = District(id="d", name="D", name_hi="द")
    >>> begin = datetime(2026, 11, 25, 9, 30, tzinfo=ZoneInfo("Asia/Kolkata"))
    >>> due(district, 7200, 0.25, begin).isoformat()
    '2026-11-25T10:15:00+05:30'
    """
    zone, interval = ZoneInfo(district.timezone), timedelta(seconds=every)
    local = moment.astimezone(zone).replace(tzinfo=None)
    offset = part * min(HOUR, interval)
    days = _often if interval <= HALF_DAY else _rarely
    found = min(at for at in days(district.office_hours, interval, offset, local) if at >= local)
    return found.replace(tzinfo=zone)


def _anchor(hours: OfficeHours, day: date, offset: timedelta) -> datetime:
    """The office's place in the busy hour of a day, in local time."""
    return datetime.combine(day, time.fromisoformat(hours.busy_hour)) + offset


def _often(
    hours: OfficeHours, interval: timedelta, offset: timedelta, local: datetime
) -> Iterator[datetime]:
    """Around a moment: every day begins anew in its busy hour."""
    for shift in (-1, 0, 1):
        begin = _anchor(hours, local.date() + shift * DAY, offset)
        yield begin
        following = begin + max(1, ceil((local - begin) / interval)) * interval
        if begin < local and following < begin + DAY:
            yield following


def _rarely(
    hours: OfficeHours, interval: timedelta, offset: timedelta, local: datetime
) -> Iterator[datetime]:
    """Around a moment: by turns in the busy hour of a working day and twelve hours off it."""
    passed = int((local.date() - FIRST) / interval)
    for number in range(passed - LONGEST_CLOSURE, passed + 3):
        day = FIRST + timedelta(days=int(number * interval / DAY))
        if number % 2:
            yield _anchor(hours, day, offset) + HALF_DAY
        else:
            yield _anchor(hours, _next_working_day(hours, day), offset)


def _next_working_day(hours: OfficeHours, day: date) -> date:
    days = (day + number * DAY for number in range(LONGEST_CLOSURE))
    return next((one for one in days if is_working_day(hours, one)), day)

"""When a week's report is due."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from jharnet_monitor.config import Config
from jharnet_monitor.config.fields import WEEKDAYS
from jharnet_monitor.judge.calendar.period import Period, week_of

CATCH_UP_WEEKS = 4
"""So many weeks back a report is made that was due while the hub was off."""


def due_at(period: Period, config: Config) -> datetime:
    """The moment at which a week's report is due: a day and time of the week after."""
    settings = config.report
    day = period.end.date() + timedelta(days=WEEKDAYS.index(settings.day))
    return datetime.combine(day, time.fromisoformat(settings.at), period.end.tzinfo)


def due_weeks(config: Config, since: datetime, now: datetime) -> list[Period]:
    """The weeks whose report became due within [since, now], oldest first."""
    zone = ZoneInfo(config.district.timezone)
    period = week_of(now.astimezone(zone).date(), zone)
    weeks: list[Period] = []
    for _ in range(CATCH_UP_WEEKS):
        period = period.before()
        if since <= due_at(period, config) <= now:
            weeks.append(period)
    return weeks[::-1]

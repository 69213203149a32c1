"""Planned conferences as time windows, and lookup of many moments in windows. Pure.

Separate from `hours`, which the hub uses for single moments, so that the hub does not load NumPy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from jharnet_monitor.config.calendars import is_holiday
from jharnet_monitor.config.district import ConferenceTime, OfficeHours


def conference_windows(
    planned: ConferenceTime, hours: OfficeHours, zone: ZoneInfo, days: Iterable[date]
) -> list[tuple[datetime, datetime]]:
    """The times of one planned conference on those of the days on which it takes place."""
    begin, end = time.fromisoformat(planned.from_), time.fromisoformat(planned.to)
    return [
        (datetime.combine(day, begin, zone), datetime.combine(day, end, zone))
        for day in days
        if day.weekday() in planned.weekdays
        and (hours.holidays is None or not is_holiday(hours.holidays, day))
    ]


def window_indices(
    moments: Sequence[int] | NDArray[np.int64], windows: Sequence[tuple[datetime, datetime]]
) -> NDArray[np.int64]:
    """For each moment (milliseconds since 1970) the index of the window in which it lies, or -1.

    The windows must be ordered and must not overlap.

    >>> from datetime import timedelta
    >>> noon = datetime(1970, 1, 1, 12, tzinfo=ZoneInfo("UTC"))
    >>> window_indices([43_200_000, 43_199_999], [(noon, noon + timedelta(hours=1))]).tolist()
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

"""Whether an office can work with its applications, such as e-Office: a rule over visits. Pure.

A visit counts if it was made in office hours, not during the monitor's own tests, and if
headquarters' visit at about the same time was good or is unknown: a fault that affects the whole
district is not charged to one office.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from jharnet_monitor.config.district import District
from jharnet_monitor.judge.calendar.hours import in_office_hours

FEWEST_VISITS = 20
"""Fewer visits are no evidence."""


class AppReadiness(StrEnum):
    """Whether the pages of a service come in time."""

    READY = "ready"
    NOT_READY = "not_ready"
    UNKNOWN = "unknown"
    """Too few visits."""


class Visit(NamedTuple):
    """One visit: when, and whether the whole page came within the time that counts as slow."""

    at: datetime
    in_time: bool
    under_load: bool = False


@dataclass(frozen=True, slots=True)
class ServiceUse:
    """The visits of an office to one service: those that count, in time, and left out."""

    service: str
    counted: int
    in_time: int
    left_out: int

    @property
    def share(self) -> float | None:
        """The share of counted visits that were in time; None without any."""
        return self.in_time / self.counted if self.counted else None

    def readiness(self, required: float) -> AppReadiness:
        """Ready if at least the share `required` of enough visits was in time.

        >>> ServiceUse("e-office", 40, 39, 0).readiness(0.95).value
        'ready'
        """
        if self.share is None or self.counted < FEWEST_VISITS:
            return AppReadiness.UNKNOWN
        return AppReadiness.READY if self.share >= required else AppReadiness.NOT_READY


def service_use(
    service: str,
    visits: Iterable[Visit],
    headquarters: Sequence[Visit],
    district: District,
    near: timedelta,
) -> ServiceUse:
    """Count an office's visits; each visit of `headquarters`, in order, is evidence for `near`
    around it."""
    times = [one.at for one in headquarters]
    counted = in_time = left_out = 0
    for visit in visits:
        if not in_office_hours(district, visit.at):
            continue
        if visit.under_load or _is_bad(headquarters, times, visit.at, near):
            left_out += 1
            continue
        counted += 1
        in_time += visit.in_time
    return ServiceUse(service, counted, in_time, left_out)


def _is_bad(
    visits: Sequence[Visit], times: Sequence[datetime], at: datetime, near: timedelta
) -> bool:
    """Whether the nearest visit, if any was near, was not in time."""
    place = bisect_left(times, at)
    close = [one for one in visits[max(0, place - 1) : place + 1] if abs(one.at - at) <= near]
    return bool(close) and not min(close, key=lambda one: abs(one.at - at)).in_time


def overall(uses: Iterable[ServiceUse], required: float) -> AppReadiness:
    """An office is ready if it is ready for every service with enough visits."""
    found = {use.readiness(required) for use in uses}
    if AppReadiness.NOT_READY in found:
        return AppReadiness.NOT_READY
    return AppReadiness.READY if AppReadiness.READY in found else AppReadiness.UNKNOWN

"""Delivered rates compared with the contract, by time of day. Pure.

A test in office hours measures what the office's own traffic leaves; only a test outside office
hours measures the line itself. The time slots are therefore evaluated separately.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from jharnet_monitor.config.district import District
from jharnet_monitor.judge.calendar.hours import in_busy_hour, in_office_hours
from jharnet_monitor.judge.statistics import intervals
from jharnet_monitor.judge.statistics.intervals import Interval


class TimeSlot(StrEnum):
    """When a test was made. The busy hour is part of the office hours and counts in both."""

    OFFICE_HOURS = "office_hours"
    BUSY_HOUR = "busy_hour"
    OFF_HOURS = "off_hours"


@dataclass(frozen=True, slots=True)
class RateTest:
    """A rate in bit/s, measured at `at`, a datetime with a time zone."""

    at: datetime
    rate: float


@dataclass(frozen=True, slots=True)
class SlotRates:
    """The rates of one time slot in one direction, in bit/s with 95 % intervals.

    `p5` is the rate that 19 of 20 tests reached; None with fewer than 72 tests or 20 days, when
    only the median may be quoted. `below` is the share of tests below the contract's threshold;
    None without a contract.
    """

    tests: int
    days: int
    median: Interval
    p5: Interval | None
    below: Interval | None


def by_slot(
    tests: Sequence[RateTest], district: District, contracted: float | None, share: float
) -> dict[TimeSlot, SlotRates]:
    """The rates of each time slot that has a test; `share` of the contract must be delivered.

    `tests` are the valid ones of one direction; of a repeated test, only the repetition. The busy
    hour is the configured one: the slowest of many hours, picked afterwards, would be slow by
    chance alone.
    """
    zone = ZoneInfo(district.timezone)
    inside = [test for test in tests if in_office_hours(district, test.at)]
    slots = {
        TimeSlot.OFFICE_HOURS: inside,
        TimeSlot.BUSY_HOUR: [test for test in inside if in_busy_hour(district, test.at)],
        TimeSlot.OFF_HOURS: [test for test in tests if not in_office_hours(district, test.at)],
    }
    threshold = None if contracted is None else share * contracted
    found = {slot: _rates(tests, zone, threshold) for slot, tests in slots.items()}
    return {slot: rates for slot, rates in found.items() if rates is not None}


def _rates(tests: Sequence[RateTest], zone: ZoneInfo, threshold: float | None) -> SlotRates | None:
    days: list[date] = [test.at.astimezone(zone).date() for test in tests]
    samples = intervals.group_by_day(days, [test.rate for test in tests])
    median = intervals.median(samples)
    if median is None:
        return None
    below = None
    if threshold is not None:
        below = intervals.share(days, [test.rate < threshold for test in tests])
    return SlotRates(
        tests=median.n,
        days=median.days,
        median=median,
        p5=intervals.fifth_percentile(samples),
        below=below,
    )

"""Contracted against delivered, in the hours in which people work and in those they do not. Pure.

A test in office hours measures what is left beside the office's own traffic; one in the quiet
hours speaks for the line itself (DESIGN.md, rule 8). So each slot is judged by itself.
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
from jharnet_monitor.judge.statistics.intervals import MIN_P5_DAYS, MIN_P5_SAMPLES, Interval

LOW = 0.05


class Slot(StrEnum):
    """When a test was made. The busy hour lies within the office hours and counts in both."""

    OFFICE_HOURS = "office_hours"
    BUSY_HOUR = "busy_hour"
    OFF_HOURS = "off_hours"


@dataclass(frozen=True, slots=True)
class RateTest:
    """A rate in bit/s, measured at a moment that carries its zone."""

    at: datetime
    rate: float


@dataclass(frozen=True, slots=True)
class Delivered:
    """What the tests of one slot and direction come to, with 95 % intervals.

    `p5` is what nineteen of twenty tests reached: None with fewer than 72 tests or 20 days, when
    only the median may be quoted. `below` is the share of tests under the mark of the contract,
    None without a contract.
    """

    tests: int
    days: int
    median: Interval
    p5: Interval | None
    below: Interval | None


def by_slot(
    tests: Sequence[RateTest], district: District, contracted: float | None, mark: float
) -> dict[Slot, Delivered]:
    """Each slot in which there was a test; `mark` is the share of the contract that must arrive.

    `tests` are those of one direction that count: of a test that was repeated only the repetition
    (`Measurement.counts`). The busy hour is the configured one, named before anything was
    measured: the slowest of many hours, picked afterwards, would be slow by chance alone.
    """
    zone = ZoneInfo(district.timezone)
    slots = {
        Slot.OFFICE_HOURS: [test for test in tests if in_office_hours(district, test.at)],
        Slot.BUSY_HOUR: [test for test in tests if in_busy_hour(district, test.at)],
        Slot.OFF_HOURS: [test for test in tests if not in_office_hours(district, test.at)],
    }
    limit = None if contracted is None else mark * contracted
    found = {slot: _delivered(held, zone, limit) for slot, held in slots.items()}
    return {slot: one for slot, one in found.items() if one is not None}


def _delivered(tests: Sequence[RateTest], zone: ZoneInfo, limit: float | None) -> Delivered | None:
    days: list[date] = [test.at.astimezone(zone).date() for test in tests]
    samples = intervals.group_by_day(days, [test.rate for test in tests])
    middle = intervals.median(samples)
    if middle is None:
        return None
    enough = middle.n >= MIN_P5_SAMPLES and middle.days >= MIN_P5_DAYS
    return Delivered(
        tests=middle.n,
        days=middle.days,
        median=middle,
        p5=intervals.quantile(samples, LOW) if enough else None,
        below=None if limit is None else intervals.share(days, [t.rate < limit for t in tests]),
    )

"""Delivered rates by time of day: the slot in which a test counts, and the figures that it may
give."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from jharnet_monitor.config.schema import Link
from jharnet_monitor.judge.line.by_time_of_day import RateTest, TimeSlot, by_slot
from jharnet_monitor.judge.line.contract import falls_short
from jharnet_monitor.model import Measurement, Outcome
from tests.support import make_config

IST = ZoneInfo("Asia/Kolkata")
DISTRICT = make_config().district
MONDAY = datetime(2026, 11, 2, tzinfo=IST)


def rates_of(days: int, hours: tuple[int, ...], *, busy: float = 1.0) -> list[RateTest]:
    """About 4 Mbit/s at each of the hours, `busy` times that at noon."""
    chance = random.Random(7)
    return [
        RateTest(
            MONDAY + timedelta(days=day, hours=hour),
            4e6 * chance.uniform(0.95, 1.0) * (busy if hour == 12 else 1.0),
        )
        for day in range(days)
        for hour in hours
    ]


def test_each_slot_is_evaluated_separately() -> None:
    """Nights show the line, noon shows what other traffic leaves of it; Sundays have no office
    hours."""
    found = by_slot(rates_of(28, (2, 11, 12, 15), busy=0.5), DISTRICT, 4e6, 0.8)
    assert found[TimeSlot.BUSY_HOUR].median.value == pytest.approx(1.95e6, rel=0.03)
    assert found[TimeSlot.OFFICE_HOURS].days == found[TimeSlot.BUSY_HOUR].days < 25
    assert found[TimeSlot.OFF_HOURS].tests == 28 + 3 * (28 - found[TimeSlot.OFFICE_HOURS].days)
    busy, office = found[TimeSlot.BUSY_HOUR].below, found[TimeSlot.OFFICE_HOURS].below
    assert busy is not None
    assert busy.value == 1.0
    assert office is not None
    assert office.value == pytest.approx(1 / 3)
    assert office.low is not None
    assert office.low > 0.2


def test_the_fifth_percentile_needs_enough_tests() -> None:
    """P5 from 72 tests on 20 days; with fewer, only the median."""
    enough = by_slot(rates_of(30, (1, 2, 3)), DISTRICT, 4e6, 0.8)[TimeSlot.OFF_HOURS]
    assert enough.p5 is not None
    assert enough.p5.value < enough.median.value
    many_in_few_days = by_slot(rates_of(10, tuple(range(9))), DISTRICT, 4e6, 0.8)[
        TimeSlot.OFF_HOURS
    ]
    assert many_in_few_days.tests >= 72
    assert many_in_few_days.p5 is None
    few = by_slot(rates_of(30, (1, 2)), DISTRICT, 4e6, 0.8)[TimeSlot.OFF_HOURS]
    assert few.p5 is None
    assert few.median.low is not None


def test_without_tests_or_contract_nothing_is_claimed() -> None:
    """Without tests there is no slot, without a contract no share below it."""
    assert by_slot([], DISTRICT, 4e6, 0.8) == {}
    found = by_slot(rates_of(6, (2,)), DISTRICT, None, 0.8)
    assert set(found) == {TimeSlot.OFF_HOURS}
    assert found[TimeSlot.OFF_HOURS].below is None


def test_the_busy_hour_is_the_configured_one() -> None:
    """A slower hour that the tests show afterwards is not used instead."""
    hours = {"busy_hour": "15:00"}
    district = make_config(district={"office_hours": hours}).district
    found = by_slot(rates_of(28, (2, 11, 12, 15), busy=0.5), district, 4e6, 0.8)
    assert found[TimeSlot.BUSY_HOUR].median.value == pytest.approx(3.9e6, rel=0.03)
    assert found[TimeSlot.BUSY_HOUR].days == found[TimeSlot.OFFICE_HOURS].days
    below = found[TimeSlot.BUSY_HOUR].below
    assert below is not None
    assert below.value == 0.0


@pytest.mark.parametrize(
    ("down", "up", "conditions", "short"),
    [
        (3.3e6, 0.9e6, {}, False),
        (3.1e6, 0.9e6, {}, True),
        (3.3e6, 0.7e6, {}, True),
        (3.1e6, 0.9e6, {"download_at_least": True}, False),
        (3.1e6, 0.7e6, {"download_at_least": True}, True),
        (3.3e6, None, {}, False),
    ],
)
def test_falls_short(
    down: float, up: float | None, conditions: dict[str, bool], short: bool
) -> None:
    """Either direction below its own contract; not one limited by the test's own pace."""
    link = Link.model_validate({"contracted": "4 Mbit/s", "contracted_up": "1 Mbit/s"})
    rates = {"download_bits_per_second": down, "upload_bits_per_second": up}
    values = {name: rate for name, rate in rates.items() if rate is not None}
    test = Measurement("potka", "bandwidth", MONDAY, 6.0, Outcome.OK, None, conditions, values)
    assert falls_short(test, link, 0.8) is short
    assert not falls_short(test, None, 0.8)

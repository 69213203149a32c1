"""Contracted against delivered: which slot a test counts in, and what may be said of it."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from jharnet_monitor.config.schema import Link
from jharnet_monitor.judge.line.by_time_of_day import RateTest, Slot, by_slot
from jharnet_monitor.judge.line.shortfall import falls_short
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


def test_each_slot_by_itself() -> None:
    """Nights speak for the line, noon for what is left of it; Sundays are no office hours."""
    found = by_slot(rates_of(28, (2, 11, 12, 15), busy=0.5), DISTRICT, 4e6, 0.8)
    assert found[Slot.BUSY_HOUR].median.value == pytest.approx(1.95e6, rel=0.03)
    assert found[Slot.OFFICE_HOURS].days == found[Slot.BUSY_HOUR].days < 25
    assert found[Slot.OFF_HOURS].tests == 28 + 3 * (28 - found[Slot.OFFICE_HOURS].days)
    busy, office = found[Slot.BUSY_HOUR].below, found[Slot.OFFICE_HOURS].below
    assert busy is not None
    assert busy.value == 1.0
    assert office is not None
    assert office.value == pytest.approx(1 / 3)
    assert office.low is not None
    assert office.low > 0.2


def test_the_low_quantile_only_where_it_can_be_known() -> None:
    """P5 from 72 tests over 20 days on: with fewer only the median is quoted."""
    enough = by_slot(rates_of(30, (1, 2, 3)), DISTRICT, 4e6, 0.8)[Slot.OFF_HOURS]
    assert enough.p5 is not None
    assert enough.p5.value < enough.median.value
    many_in_few_days = by_slot(rates_of(10, tuple(range(9))), DISTRICT, 4e6, 0.8)[Slot.OFF_HOURS]
    assert many_in_few_days.tests >= 72
    assert many_in_few_days.p5 is None
    few = by_slot(rates_of(30, (1, 2)), DISTRICT, 4e6, 0.8)[Slot.OFF_HOURS]
    assert few.p5 is None
    assert few.median.low is not None


def test_without_tests_or_contract_nothing_is_claimed() -> None:
    """No test, no slot; no contract, no share below it."""
    assert by_slot([], DISTRICT, 4e6, 0.8) == {}
    found = by_slot(rates_of(6, (2,)), DISTRICT, None, 0.8)
    assert set(found) == {Slot.OFF_HOURS}
    assert found[Slot.OFF_HOURS].below is None


def test_the_busy_hour_is_the_configured_one() -> None:
    """It is named beforehand: a slower hour that the tests show afterwards is not taken for it."""
    hours = {"busy_hour": "15:00"}
    district = make_config(district={"office_hours": hours}).district
    found = by_slot(rates_of(28, (2, 11, 12, 15), busy=0.5), district, 4e6, 0.8)
    assert found[Slot.BUSY_HOUR].median.value == pytest.approx(3.9e6, rel=0.03)
    assert found[Slot.BUSY_HOUR].days == found[Slot.OFFICE_HOURS].days
    below = found[Slot.BUSY_HOUR].below
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
def test_what_falls_short(
    down: float, up: float | None, conditions: dict[str, bool], short: bool
) -> None:
    """Either direction under the mark of its own contract; not what the test's pace held back."""
    link = Link.model_validate({"contracted": "4 Mbit/s", "contracted_up": "1 Mbit/s"})
    rates = {"download_bits_per_second": down, "upload_bits_per_second": up}
    values = {name: rate for name, rate in rates.items() if rate is not None}
    test = Measurement("potka", "bandwidth", MONDAY, 6.0, Outcome.OK, None, conditions, values)
    assert falls_short(test, link, 0.8) is short
    assert not falls_short(test, None, 0.8)

"""The other traffic of a line, from readings whose figures are known."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from jharnet_monitor.i18n.words import words
from jharnet_monitor.judge.line.traffic import (
    MIN_WORKING_DAYS,
    OtherTraffic,
    TrafficReadings,
    is_sufficient,
    other_traffic,
)
from jharnet_monitor.judge.statistics.intervals import Interval
from jharnet_monitor.model import Direction
from tests.support import make_config

HOURS = {"days": "mon-fri", "from": "10:00", "to": "18:00", "holidays": None}
DISTRICT = make_config(district={
    "office_hours": HOURS, "conferences": [{"days": "wed", "from": "11:00", "to": "12:00"}],
}).district  # fmt: skip
MONDAY = date(2026, 11, 23)
DAYS = [MONDAY + timedelta(days=number) for number in range(28)]
TEN = timedelta(hours=4, minutes=30)
"""10:00 IST in UTC."""


def _readings(down: float, up: float, seconds: float = 60.0) -> TrafficReadings:
    """The rates of every minute of the first hour of each working day; each tenth of them at twice
    the rate."""
    readings = TrafficReadings()
    for day in (day for day in DAYS if day.weekday() < 5):
        begin = datetime(day.year, day.month, day.day, tzinfo=UTC) + TEN
        ends = [begin + timedelta(minutes=number) for number in range(1, 51)]
        factor = np.where(np.arange(50) % 10 == 0, 2.0, 1.0)
        readings.add([round(end.timestamp() * 1000) for end in ends], [seconds] * 50,
                     down * factor, up * factor)  # fmt: skip
    return readings


def _values(found: OtherTraffic) -> list[float | None]:
    return [None if one is None else one.value for one in (*found.p95, *found.full)]


def test_each_way_has_its_own_95th_percentile() -> None:
    """A tenth of the readings is twice as high, so the 95th percentile is that."""
    found = other_traffic(_readings(1e6, 0.2e6), DISTRICT, DAYS)
    assert _values(found) == [pytest.approx(2e6), pytest.approx(0.4e6), None, None]
    for one in found.p95:
        assert one is not None and (one.n, one.days) == (1000, 20)
        assert is_sufficient(one)


def test_readings_of_a_full_line_are_no_demand() -> None:
    """At 95 % of what the line delivers the line limits them; they are counted instead. The sheet
    says of which readings its figure is.
    """
    assert all("not full" in words("en")(f"dossier.sheet.other_{way}") for way in Direction)
    for delivers, demand, full in ((2.0e6, 1e6, 0.1), (2.2e6, 2e6, 0.0)):
        found = other_traffic(_readings(1e6, 0.2e6), DISTRICT, DAYS, (delivers, None))
        assert _values(found) == [pytest.approx(demand), pytest.approx(0.4e6),
                                  pytest.approx(full), None]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "count"), [(600.0, 20 * 41), (601.0, 0)], ids=["ten minutes", "more"]
)
def test_long_readings_hide_the_peaks(seconds: float, count: int) -> None:
    """Up to ten minutes count, if all of it lies in office hours."""
    [found, _] = other_traffic(_readings(1e6, 1e6, seconds), DISTRICT, DAYS).p95
    assert (0 if found is None else found.n) == count


def test_planned_conferences_and_nights_are_left_out() -> None:
    """Conferences are counted by themselves; a reading that touches one is left out, too."""
    readings = TrafficReadings()
    day = datetime(2026, 11, 25, tzinfo=UTC)  # a Wednesday
    at = {"09:30": False, "10:30": True, "11:00": False, "11:30": False, "12:00": False,
          "12:02": True, "18:30": False}  # fmt: skip
    for text in at:
        hours, minutes = map(int, text.split(":"))
        end = day + timedelta(hours=hours, minutes=minutes) - timedelta(hours=5, minutes=30)
        readings.add([round(end.timestamp() * 1000)], [60.0], [1e6], [1e6])
    [found, _] = other_traffic(readings, DISTRICT, DAYS).p95
    assert found is not None and found.n == sum(at.values())


def test_without_readings_there_is_no_figure() -> None:
    """And none of fewer than ten working days is used for planning."""
    assert other_traffic(TrafficReadings(), DISTRICT, DAYS) == OtherTraffic()
    known = Interval(1e6, 0.9e6, 1.1e6, 500, MIN_WORKING_DAYS)
    assert is_sufficient(known)
    assert not is_sufficient(None)
    for low, high, days in ((None, 1.1e6, 10), (0.9e6, np.inf, 10), (0.9e6, 1.1e6, 9)):
        assert not is_sufficient(Interval(1e6, low, high, 500, days))

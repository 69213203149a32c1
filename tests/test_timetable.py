"""When speed tests are due: every time slot is tested, whatever the interval."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from jharnet_monitor.config.calendars import is_holiday
from jharnet_monitor.judge.calendar.hours import in_busy_hour, in_conference, in_office_hours
from jharnet_monitor.judge.calendar.timetable import next_test
from tests.support import make_config

IST = ZoneInfo("Asia/Kolkata")
DISTRICT = make_config().district
MONDAY = datetime(2026, 11, 2, tzinfo=IST)


def moments_of(every: float, part: float, days: int) -> Iterator[datetime]:
    """All times at which a test is due, from midnight of a Monday on."""
    moment = next_test(DISTRICT, every, part, MONDAY)
    while moment < MONDAY + timedelta(days=days):
        yield moment
        moment = next_test(DISTRICT, every, part, moment + timedelta(microseconds=1))


@pytest.mark.parametrize("every", [600, 3600, 7200, 5 * 3600, 12 * 3600])
@pytest.mark.parametrize("part", [0.0, 0.5, 0.99])
def test_every_working_day_has_a_test_in_the_busy_hour(every: float, part: float) -> None:
    """Over four weeks each working day has a test in the busy hour, each day one outside office
    hours, and the time between two tests is at most the interval."""
    moments = list(moments_of(every, part, 28))
    busy = Counter(at.date() for at in moments if in_busy_hour(DISTRICT, at))
    off = Counter(at.date() for at in moments if not in_office_hours(DISTRICT, at))
    working = {at.date() for at in moments if in_office_hours(DISTRICT, at)}
    assert set(busy) == working
    assert len(working) >= 22
    assert len(off) >= 27
    assert max(b - a for a, b in pairwise(moments)) <= timedelta(seconds=every)
    if every == 7200:
        assert set(busy.values()) == {1}
        assert len(moments) == 28 * 12


@pytest.mark.parametrize("every", [86400, 2 * 86400, 7 * 86400])
def test_infrequent_tests_alternate(every: float) -> None:
    """Half of them in the busy hour of a working day, half of them outside office hours."""
    moments = list(moments_of(every, 0.5, 140))
    busy = sum(in_busy_hour(DISTRICT, at) for at in moments)
    off = sum(not in_office_hours(DISTRICT, at) for at in moments)
    assert busy + off == len(moments)
    assert abs(busy - off) <= 2
    assert len(moments) >= 140 * 86400 / every - 8  # a long festival moves a few to one day


@pytest.mark.parametrize("hours", [12.5, 18, 23, 36])
def test_a_time_is_found_at_every_moment(hours: float) -> None:
    """Also on a day whose test is over and whose next one is two numbers later: of 18 hours, the
    busy hour of the 4th at noon is followed by the midnight after the 5th."""
    district = make_config(district={"office_hours": {"holidays": None}}).district
    for quarter in range(14 * 96):
        moment = MONDAY + timedelta(minutes=15 * quarter + 14)
        found = next_test(district, hours * 3600, 0.25, moment)
        assert timedelta(0) <= found - moment <= timedelta(hours=2 * hours + 48)
    late = datetime(2000, 1, 4, 15, tzinfo=IST)
    assert next_test(district, 18 * 3600, 0.25, late) == datetime(2000, 1, 6, 0, 15, tzinfo=IST)


def test_offices_are_spread_over_the_busy_hour() -> None:
    """Eleven offices have eleven times in the same hour, as they share headquarters' uplink."""
    starts = [next_test(DISTRICT, 7200, n / 11, MONDAY + timedelta(hours=11.5)) for n in range(11)]
    assert all(in_busy_hour(DISTRICT, at) for at in starts)
    assert min(b - a for a, b in pairwise(starts)) > timedelta(minutes=5)


def test_the_start_of_the_hub_changes_nothing() -> None:
    """The next test is one of the same times, for any moment and in any time zone."""
    moments = list(moments_of(7200, 0.25, 2))
    for number in range(100):
        requested = MONDAY + timedelta(minutes=17 * number)
        expected = min(at for at in moments if at >= requested)
        assert next_test(DISTRICT, 7200, 0.25, requested.astimezone(UTC)) == expected


def test_planned_conferences() -> None:
    """A conference takes place on its days and hours, not on a public holiday."""
    conferences = [{"days": "tue", "from": "11:00", "to": "13:00"}]
    district = make_config(district={"conferences": conferences}).district
    tuesday = MONDAY + timedelta(days=1, hours=12)
    assert in_conference(district, tuesday)
    assert not in_conference(district, tuesday + timedelta(hours=1))
    assert not in_conference(district, tuesday + timedelta(days=1))
    assert not in_conference(district, datetime(2027, 1, 26, 12, tzinfo=IST)), "Republic Day"
    assert not in_conference(DISTRICT, tuesday)


def test_years_whose_holidays_the_library_does_not_know(caplog: pytest.LogCaptureFixture) -> None:
    """Said once in the log, as a Python warning of every question would be noise; the days that
    do not follow the moon are known all the same.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert is_holiday("IN-JH", date(2041, 1, 26)), "Republic Day"
        assert not is_holiday("IN-JH", date(2041, 1, 29))
    (line,) = caplog.messages
    assert line.startswith("holidays IN-JH of 2041 may be incomplete: ") and "2035" in line

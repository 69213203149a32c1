"""Weeks, days, months, quarters and ranges: where each begins and ends, and what is none."""

from __future__ import annotations

import calendar
from collections.abc import Callable
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pytest

from jharnet_monitor.errors import UserError
from jharnet_monitor.judge.calendar.period import (
    Period,
    date_range,
    day,
    month,
    quarter,
    week,
    week_of,
)

INDIA = ZoneInfo("Asia/Kolkata")


@pytest.mark.parametrize("number", range(1, 13))
@pytest.mark.parametrize("year", [2027, 2028], ids=["common year", "leap year"])
def test_a_month_has_the_days_of_the_calendar(year: int, number: int) -> None:
    """Each of the twelve, February of a leap year and December among them."""
    found = month(f"{year}-{number:02}", INDIA)
    length = calendar.monthrange(year, number)[1]
    assert found.days == [date(year, number, one) for one in range(1, length + 1)]
    assert found.seconds == length * 86400
    assert found.stem == f"monthly-{year}-{number:02}"


def test_the_quarters_are_the_year() -> None:
    """One begins where the other ends."""
    found = [quarter(f"2028-Q{number}", INDIA) for number in (1, 2, 3, 4)]
    assert [one.start.date() for one in found] == [
        date(2028, 1, 1), date(2028, 4, 1), date(2028, 7, 1), date(2028, 10, 1),
    ]  # fmt: skip
    assert [one.end for one in found[:3]] == [one.start for one in found[1:]]
    assert found[3].end.date() == date(2029, 1, 1)


def test_a_week_is_that_of_iso_8601() -> None:
    """2026 has 53; the first of January may belong to the year before."""
    assert week("2026-W53", INDIA).days[0] == date(2026, 12, 28)
    assert week_of(date(2027, 1, 1), INDIA) == week("2026w53", INDIA)
    assert week_of(date(2027, 1, 4), INDIA).name == "2027-W01"


@pytest.mark.parametrize(
    ("period", "before"),
    [
        (week("2027-W01", INDIA), week("2026-W53", INDIA)),
        (day("2028-03-01", INDIA), day("2028-02-29", INDIA)),
        (month("2027-01", INDIA), month("2026-12", INDIA)),
        (quarter("2027-Q1", INDIA), quarter("2026-Q4", INDIA)),
        (quarter("2027-Q2", INDIA), quarter("2027-Q1", INDIA)),
        (
            date_range("2027-01-04", "2027-01-10", INDIA),
            date_range("2026-12-28", "2027-01-03", INDIA),
        ),
    ],
    ids=lambda one: one.name,
)
def test_the_one_before_ends_where_it_begins(period: Period, before: Period) -> None:
    """Of the same kind; of a range, as long."""
    assert period.before() == before
    assert before.end == period.start
    assert period.end - period.start > timedelta(0)


@pytest.mark.parametrize(
    ("make", "text", "remedy"),
    [
        (week, "2027-W53", "2027 has the weeks W01 to W52"),
        (week, "2026-W54", "2026 has the weeks W01 to W53"),
        (week, "2026-47", "must be an ISO week such as 2026-W47"),
        (month, "2026-00", "must be a month such as 2026-11"),
        (month, "2026-13", "must be a month such as 2026-11"),
        (month, "2026-1", "must be a month such as 2026-11"),
        (quarter, "2026-Q0", "must be a quarter such as 2026-Q4"),
        (quarter, "2026-Q5", "must be a quarter such as 2026-Q4"),
        (day, "2027-02-29", "there is no such day"),
        (day, "27-02-28", "must be a day such as 2026-11-25"),
    ],
)
def test_what_the_calendar_does_not_have_is_refused(
    make: Callable[[str, ZoneInfo], Period], text: str, remedy: str
) -> None:
    """With what would be right."""
    with pytest.raises(UserError, match=remedy):
        make(text, INDIA)


def test_a_range_includes_both_days() -> None:
    """One day is a range, too; the other way round it is none."""
    assert date_range("2026-11-25", "2026-11-25", INDIA).days == [date(2026, 11, 25)]
    with pytest.raises(UserError, match="lies before --from 2026-11-25"):
        date_range("2026-11-25", "2026-11-24", INDIA)

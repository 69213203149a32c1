"""The rate of the line itself: which tests count, from when on, and how far they bound it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from jharnet_monitor.judge.calendar.hours import in_office_hours
from jharnet_monitor.judge.line.delivered import (
    Basis,
    RateBounds,
    capacity_by_trains,
    carried_by_day,
    delivered_rate,
    has_enough_tests,
    left_by_day,
)
from jharnet_monitor.judge.line.traffic import TrafficReadings
from jharnet_monitor.judge.statistics import intervals
from jharnet_monitor.model import Direction, Measurement, Outcome
from tests import made_up

CONFIG = made_up.config()
DAYS = CONFIG.capacity.days
IST = ZoneInfo("Asia/Kolkata")
MONDAY = datetime(2026, 11, 2, tzinfo=IST)
DOWN, UP = Direction.DOWN, Direction.UP


def _test(day: int, hour: float, down: float, up: float = 1e6, **conditions: Any) -> Measurement:
    made = made_up.bandwidth("potka", MONDAY + timedelta(days=day, hours=hour), down, up)
    return replace(made, conditions={**made.conditions, **conditions})


def _nights(rates: list[float], **conditions: Any) -> list[Measurement]:
    return [_test(day, 2, rate, **conditions) for day, rate in enumerate(rates)]


def _train(day: int, hour: float, down: float, at_least: bool = False) -> Measurement:
    made = made_up.bandwidth("potka", MONDAY + timedelta(days=day, hours=hour), 0.0, 0.0)
    conditions = {"download_capacity_at_least": True} if at_least else {}
    values = {"download_capacity_bits_per_second": down}
    return replace(made, values=values, conditions=conditions)


def test_the_line_is_measured_at_night_or_else_by_trains() -> None:
    """On as many days as a verdict requires; where both are equal, by speed tests."""
    noon = [_test(day, 12, 1e6) for day in range(40) if day % 7 < 5]
    noon = [test for test in noon if in_office_hours(CONFIG.district, test.started_at)]
    nights, trains = _nights([3e6] * DAYS), [_train(day, 12, 4e6) for day in range(DAYS + 3)]
    found = delivered_rate(CONFIG, [*noon, *nights, *trains], DOWN, None, 3.5e6)
    assert found.basis is Basis.OFF_HOURS
    assert found.median is not None and found.median.value == 3e6
    assert found.short is not None and found.short.value == 1.0
    found = delivered_rate(CONFIG, [*noon, *nights[1:], *trains], DOWN, None, 3.5e6)
    assert found.basis is Basis.TRAINS and found.short is None
    assert found.median is not None and found.median.value == 4e6
    assert delivered_rate(CONFIG, noon, DOWN, 4e6).median is None
    assert capacity_by_trains(CONFIG, noon, DOWN) is None
    trains_median = capacity_by_trains(CONFIG, trains, DOWN)
    assert trains_median is not None and trains_median.value == 4e6
    left = left_by_day(CONFIG, [*noon, *nights], DOWN)
    assert left is not None and (left.value, left.days) == (1e6, len(noon))


def test_a_policed_line_is_measured_by_its_sustained_tests() -> None:
    """Packet trains and short tests see only its bucket."""
    short = _nights([8e6] * DAYS)
    long = [
        replace(one, values={**one.values, "download_sustained_bits_per_second": 2e6})
        for one in _nights([8e6] * 6, download_limited_by="policer")
    ]
    trains = [_train(day, 12, 9e6) for day in range(DAYS + 3)]
    found = delivered_rate(CONFIG, [*short, *long, *trains], DOWN, None)
    assert found.policed and found.basis is Basis.OFF_HOURS
    assert found.median is not None and (found.median.value, found.median.n) == (2e6, 6)


def test_a_policer_met_in_office_hours_is_there_at_night_too() -> None:
    """Short tests of the night see its bucket, and the sustained rate of the day what is left: the
    line itself was not measured, until a long test of the night."""
    nights = _nights([8e6] * DAYS)
    noon, night = (
        replace(one, values={**one.values, "download_sustained_bits_per_second": 2e6})
        for one in (_test(1, 12, 8e6, download_limited_by="policer"), _test(2, 2, 8e6))
    )
    assert delivered_rate(CONFIG, [*nights, noon], DOWN, None).median is None
    assert delivered_rate(CONFIG, [*nights, noon], UP, None).median is not None
    found = delivered_rate(CONFIG, [*nights, noon, night], DOWN, None)
    assert found.policed and found.median is not None
    assert (found.median.value, found.median.n) == (2e6, 1)


def test_more_than_half_of_the_tests_show_loss_as_the_limit() -> None:
    """Half of them do not; packet trains say nothing of it."""
    for lossy, by_loss in ((15, False), (16, True)):
        tests = _nights([3e6] * (30 - lossy))
        tests += _nights([3e6] * lossy, download_limited_by="loss", upload_limited_by=None)
        assert delivered_rate(CONFIG, tests, DOWN, None).by_loss is by_loss
        assert delivered_rate(CONFIG, tests, UP, None).by_loss is False
    few = [*tests[-4:], *(_train(day, 12, 4e6) for day in range(DAYS))]
    assert delivered_rate(CONFIG, few, DOWN, None).by_loss is False


@pytest.mark.parametrize(
    ("rates", "contracted", "since"),
    [
        # Three days on each side, a tenth of the contract apart.
        ([2e6] * 3 + [2.5e6] * 3, 5e6, 3), ([2.5e6] * 3 + [2e6] * 3, 5e6, 3),
        ([2e6] * 3 + [2.499e6] * 3, 5e6, None), ([2e6] * 3 + [2.5e6] * 3, None, None),
        ([2e6] * 2 + [4e6] * 3, 5e6, None), ([2e6] * 3 + [4e6] * 2, 5e6, None),
        ([2e6] * 3 + [4e6] * 4, 5e6, 3), ([2e6] * 4 + [4e6] * 3, 5e6, 4),
        # Days that scatter are not ordered; the last of two changes counts.
        ([2e6, 4e6] * 5, 5e6, None), ([2e6] * 3 + [3e6] * 3 + [4e6] * 3, 5e6, 6),
        # One day in ten may be an exception, two may not. It may be the first day after the change.
        ([2e6] * 5 + [3e6] * 5 + [4e6] * 5, 5e6, 11),
        ([2e6] * 4 + [4e6] + [2e6] * 5 + [4e6] * 10, 5e6, 10),
        ([2e6] * 4 + [4e6] * 2 + [2e6] * 4 + [4e6] * 10, 5e6, None),
    ],
)  # fmt: skip
def test_only_the_line_after_its_last_change_counts(
    rates: list[float], contracted: float | None, since: int | None
) -> None:
    """By the medians of days; the change has its day."""
    found = delivered_rate(CONFIG, _nights(rates), DOWN, contracted)
    day = None if since is None else (MONDAY + timedelta(days=since)).date()
    assert found.since == day
    assert found.median is not None and found.median.n == len(rates) - (since or 0)


def test_a_test_that_its_own_pace_ended_has_no_upper_bound() -> None:
    """Its rate bounds the line from below only, and it is not certainly below any mark."""
    rates = [2e6 + 1e5 * (n * 7 % 30) for n in range(30)]
    closed = RateBounds.of_tests(_nights(rates), DOWN, CONFIG.district)
    tests = [*_nights(rates[:20]), *(_test(n, 2, rates[n], download_at_least=True)
                                     for n in range(20, 30))]  # fmt: skip
    bounds = RateBounds.of_tests(tests, DOWN, CONFIG.district)
    exact = closed.bounded(intervals.median)
    found = bounds.bounded(intervals.median)
    assert closed.upper is closed.lower and bounds.upper is not bounds.lower
    assert exact is not None and found is not None
    assert (found.value, found.low, found.n, found.days) == (
        exact.value, exact.low, exact.n, exact.days,
    )  # fmt: skip
    half = [*_nights(rates[:16]), *(_test(n, 2, rates[n], download_at_least=True)
                                    for n in range(16, 30))]  # fmt: skip
    open_ = RateBounds.of_tests(half, DOWN, CONFIG.district).bounded(intervals.median)
    assert open_ is not None and (open_.low, open_.high) == (exact.low, None)
    below, all_below = bounds.share_below(2.5e6), bounds.share_below(9e6)
    assert below is not None and below.value == pytest.approx(3 / 30)  # 2.5 itself is not below it
    assert all_below is not None and all_below.value == pytest.approx(20 / 30)
    rest = bounds.since(25)
    assert [len(one.by_day) for one in (rest.lower, rest.upper)] == [5, 5]
    assert rest.upper.sorted_values.tolist() == [float("inf")] * 5
    assert rest.lower.sorted_values.tolist() == sorted(rates[25:])
    assert rest.dates[0] == (MONDAY + timedelta(days=25)).date()
    later = closed.since(25)
    assert later.upper is later.lower and later.lower.n == 5
    few = RateBounds.of_tests(tests[-2:], DOWN, CONFIG.district).bounded(intervals.median)
    assert few is not None and (few.low, few.high) == (None, None)
    trains = [_train(0, 12, 4e6), _train(1, 12, 4e6, at_least=True)]
    assert [day.tolist() for day in RateBounds.of_trains(trains, DOWN, CONFIG.district).upper.by_day
            ] == [[4e6], [float("inf")]]  # fmt: skip


def _counted(*readings: tuple[float, float, float]) -> TrafficReadings:
    """Minutes from noon of the first day, length in seconds, and rate towards the office; half of
    it from there."""
    made, noon = TrafficReadings(), MONDAY + timedelta(hours=12)
    for minutes, seconds, rate in readings:
        at = round((noon + timedelta(minutes=minutes)).timestamp() * 1000)
        made.add([at], [seconds], [rate], [rate / 2])
    return made


@pytest.mark.parametrize(
    ("readings", "carried"),
    [
        # The mean of the reading that the test lies in and its neighbours is added.
        ([(-5, 300, 1e6), (0.1, 300, 2e6), (5, 300, 3e6)], 3e6 + 2e6),
        ([(-10, 300, 7e6), (-5, 300, 1e6), (1, 300, 2e6), (5, 300, 3e6), (10, 300, 9e6)],
         3e6 + 2e6),
        ([(-5, 300, 1e6)], 4e6), ([(5, 300, 1e6)], 4e6),
        # Twenty minutes away at most, and no reading of more than ten.
        ([(-20, 300, 1e6)], 4e6), ([(-20.01, 300, 1e6)], None), ([(20.01, 300, 1e6)], None),
        ([(0, 600, 1e6)], 4e6), ([(0, 601, 1e6)], None), ([], None),
        ([(0, 601, 9e6), (5, 300, 1e6)], 4e6),
    ],
)  # fmt: skip
def test_the_line_carried_the_test_and_what_the_router_counted(
    readings: list[tuple[float, float, float]], carried: float | None
) -> None:
    """In office hours, in each direction by itself."""
    tests = [_test(0, 12, 3e6, 1e6), _test(0, 2, 9e6, 9e6)]
    found = carried_by_day(CONFIG, tests, DOWN, _counted(*readings))
    assert (None if found is None else found.value) == carried
    up = carried_by_day(CONFIG, tests, UP, _counted(*readings))
    assert (None if up is None else up.value) == (
        None if carried is None else pytest.approx(1e6 + (carried - 3e6) / 2)
    )
    assert carried_by_day(CONFIG, tests[1:], DOWN, _counted(*readings)) is None


def test_without_counted_traffic_a_test_is_taken_as_it_is() -> None:
    """Only known tests get more; each gets its own."""
    tests = [_test(0, 12, 3e6), _test(1, 12, 3e6)]
    plain = RateBounds.of_tests(tests, DOWN, CONFIG.district)
    more = RateBounds.of_tests(tests, DOWN, CONFIG.district, {tests[1].id: 1e6})
    assert [day.tolist() for day in plain.lower.by_day] == [[3e6], [3e6]]
    assert [day.tolist() for day in more.lower.by_day] == [[3e6], [4e6]]


def test_trains_are_needed_until_both_directions_have_enough_tests() -> None:
    """On the required days, at night, concluded, and with a median above the mark."""
    enough = [_test(day, 2, 4e6, 2e6) for day in range(DAYS)]
    marks = (3.9e6, 1.9e6)
    assert has_enough_tests(CONFIG, enough, marks)
    for too_high in ((4e6, 1.9e6), (3.9e6, 2e6)):
        assert not has_enough_tests(CONFIG, enough, too_high)
    with pytest.raises(ValueError, match="shorter"):
        has_enough_tests(CONFIG, enough, marks[:1])
    rest, last = enough[:-1], enough[-1]
    assert not has_enough_tests(CONFIG, rest, marks)
    for other in (
        replace(last, started_at=MONDAY + timedelta(days=DAYS - 1, hours=12)),
        replace(last, started_at=rest[-1].started_at),
        replace(last, outcome=Outcome.FAILED),
        replace(last, conditions={**last.conditions, "retest": "due"}),
        replace(last, values={"download_bits_per_second": 4e6}),
    ):
        assert not has_enough_tests(CONFIG, [*rest, other], marks)

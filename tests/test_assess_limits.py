"""The assessment of a line at its limits: whether trains are needed, and when calls suffice."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from jharnet_monitor.config import Config
from jharnet_monitor.judge.line.assess import LineEvidence, assess, need_policy, needs_trains
from jharnet_monitor.judge.line.facts import Line
from jharnet_monitor.judge.outages.shared import JudgedSpans
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import AT_LEAST, Cause, Measurement, OfficeState, Outcome
from tests import made_up

CONFIG = made_up.config()
OFFICE = CONFIG.offices[0]
DAYS = CONFIG.capacity.days
START = datetime(2026, 11, 2, tzinfo=ZoneInfo("Asia/Kolkata"))
MARK = 0.8 * 0.97 * 4e6
"""Of 4 Mbit/s, 0.8 must arrive, of which framing may take 3 %."""


def _nights(down: float, up: float = 4e6, days: int = DAYS) -> list[Measurement]:
    made = [made_up.bandwidth(OFFICE.id, START + timedelta(days=day, hours=2), down, up)
            for day in range(days)]  # fmt: skip
    return [
        replace(one, values={**one.values, "download_capacity_bits_per_second": 3.9e6})
        for one in made
    ]


def _calls(count: int, grade: int, hour: float = 12) -> list[Measurement]:
    """One on each day from the Monday on; the first ten are working days or Saturdays."""
    week = [START + timedelta(days=day, hours=hour) for day in (0, 1, 2, 3, 4)]
    return [made_up.conference(OFFICE.id, week[n % 5] + timedelta(minutes=n), grade)
            for n in range(count)]  # fmt: skip


def _line(tests: list[Measurement], calls: list[Measurement] | None = None, **more: Any) -> Line:
    end = START + timedelta(days=28)
    stretch = [(START + timedelta(days=day)).date() for day in range(28)]
    spans = JudgedSpans((Span(OfficeState.UP, START, end),))
    evidence = LineEvidence(START, end, stretch, spans, tests, calls or [], days=28, **more)
    return assess(CONFIG, OFFICE, evidence).line


def _without_contract() -> Config:
    offices = [one.model_copy(update={"link": None}) for one in CONFIG.offices]
    return CONFIG.model_copy(update={"offices": offices})


@pytest.mark.parametrize(("rate", "needed"), [(MARK, True), (MARK * 1.001, False)])
def test_trains_are_needed_where_the_median_is_not_above_the_mark(
    rate: float, needed: bool
) -> None:
    """In either direction; without a contract any rate suffices."""
    assert needs_trains(CONFIG, OFFICE, _nights(rate)) is needed
    assert needs_trains(CONFIG, OFFICE, _nights(4e6, rate)) is needed
    assert needs_trains(CONFIG, OFFICE, _nights(4e6, days=DAYS - 1))
    other = _without_contract()
    assert not needs_trains(other, other.offices[0], _nights(rate))
    assert needs_trains(other, other.offices[0], _nights(rate, days=DAYS - 1))


@pytest.mark.parametrize(("rate", "short"), [(MARK, True), (MARK * 1.001, False)])
def test_the_capacity_by_trains_counts_where_tests_fall_short(rate: float, short: bool) -> None:
    """It shows whether the line's rate or its loss is the reason."""
    line = _line(_nights(rate))
    assert (line.down.capacity is not None) is short
    assert line.down.capacity is None or line.down.capacity.value == 3.9e6
    assert line.up.capacity is None and line.down.contracted == line.up.contracted == 4e6
    assert line.down.delivered.median is not None
    assert line.down.delivered.median.value == pytest.approx(rate, rel=1e-9)
    assert _line([]).down.capacity is None


def test_a_test_that_is_to_be_repeated_does_not_count() -> None:
    """Neither for the rate nor for its share below the mark."""
    tests = _nights(4e6)
    due = [replace(one, conditions={**one.conditions, "retest": "due"}) for one in _nights(1e6)]
    line = _line([*tests, *due])
    assert line.down.delivered.median is not None and line.down.delivered.median.n == DAYS


@pytest.mark.parametrize(
    ("calls", "suffice"),
    [
        (_calls(10, 3), True), (_calls(9, 3), False), (_calls(10, 2), False),
        ([*_calls(10, 4), *_calls(1, 2)], False), ([*_calls(10, 4), *_calls(1, 2, 20)], True),
        (_calls(20, 4, 20), False), ([], False),
    ],
)  # fmt: skip
def test_ten_calls_of_office_hours_suffice_if_all_have_the_grade(
    calls: list[Measurement], suffice: bool
) -> None:
    """Grade 3 is required; calls at night, without a grade, or that tried less say nothing."""
    assert CONFIG.thresholds.grade == 3
    without = [replace(one, values={}) for one in _calls(5, 4)]
    less = [replace(one, conditions={AT_LEAST: True}) for one in _calls(2, 2)]
    assert _line(_nights(4e6), [*calls, *without, *less]).calls_suffice is suffice
    ended = replace(without[0], outcome=Outcome.FAILED, cause=Cause.TIMEOUT)
    assert not _line(_nights(4e6), [*calls, ended]).calls_suffice, "the papers count it as 0"


def test_an_offices_own_desks_replace_the_districts() -> None:
    """None of them is not the district's number."""
    for seats, expected in ((None, CONFIG.capacity.seats), (0, 0), (3, 3)):
        office = OFFICE.model_copy(update={"seats": seats})
        assert need_policy(CONFIG, office).seats == expected

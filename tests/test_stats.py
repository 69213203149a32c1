"""Intervals: textbook values, coverage over simulated histories, no claim from too few samples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, norm

from jharnet_monitor.judge.statistics import bootstrap, intervals
from jharnet_monitor.judge.statistics.changes import Comparison, Course, courses
from jharnet_monitor.judge.statistics.dependence import dependence
from jharnet_monitor.judge.statistics.intervals import DailySamples, Interval
from tests.bench.judge import SHAPES, coverage
from tests.histories import DEPENDENCES, samples


def test_intervals_cover_what_they_promise() -> None:
    """Over some simulated histories each interval contains the true value as often as stated."""
    rng = np.random.default_rng(11)
    rows = [row for s in SHAPES for d in DEPENDENCES for row in coverage(s, d, rng, 25)]
    assert [row.name for row in rows if row.ok is False] == []


def test_a_quantile_of_independent_days_is_bounded_by_the_binomial_ranks() -> None:
    """With one sample per day the bounds are the textbook's order statistics."""
    n = 199
    values = [float(i * 63 % n) for i in range(n)]
    found = intervals.quantile(intervals.group_by_day(range(n), values), 0.5)
    assert found is not None and found.low is not None and found.high is not None
    low = binom.ppf(0.025, n, 0.5) - 1  # from 0
    assert found.low == pytest.approx(low, abs=1)
    assert found.high == pytest.approx(n - 1 - low, abs=1)


def test_samples_of_the_same_day_count_for_less() -> None:
    """Twelve equal samples of one day count as one: the interval must not shrink."""
    rng = np.random.default_rng(3)
    days = rng.normal(size=40)
    once = intervals.median(DailySamples(tuple(np.array([day]) for day in days)))
    often = intervals.median(DailySamples(tuple(np.full(12, day) for day in days)))
    assert once and often and once.low is not None and once.high is not None
    assert often.low is not None and often.high is not None
    assert often.n == 12 * once.n
    assert often.high - often.low > 0.8 * (once.high - once.low)


def test_the_mean_of_normal_days_has_about_students_interval() -> None:
    """With one normal sample per day the bootstrap is close to the exact interval."""
    values = np.random.default_rng(4).normal(10, 1, 60)
    found = intervals.mean(DailySamples(tuple(np.array([v]) for v in values)))
    half = norm.ppf(0.975) * values.std(ddof=1) / np.sqrt(60)
    assert found and found.low is not None and found.high is not None
    assert found.low == pytest.approx(values.mean() - half, abs=0.05)
    assert found.high == pytest.approx(values.mean() + half, abs=0.05)


@pytest.mark.parametrize("days", range(5))
def test_few_days_have_no_interval(days: int) -> None:
    """With fewer than five days there is a figure, but no interval that could support a claim."""
    few = intervals.group_by_day([n % max(days, 1) for n in range(20 * days)], [1.0] * (20 * days))
    for found in (intervals.mean(few), intervals.median(few)):
        assert (found is None) == (days == 0)
        if found is not None:
            assert (found.low, found.high) == (None, None)
            assert not found.above(0) and not found.below(2)


def test_the_fifth_percentile_needs_72_tests_on_20_days() -> None:
    """With fewer there is none."""
    rng = np.random.default_rng(5)

    def p5(days: int, each: int) -> Interval | None:
        return intervals.fifth_percentile(DailySamples(tuple(rng.normal(size=(days, each)))))

    assert p5(19, 10) is None and p5(71, 1) is None
    assert p5(72, 1) is not None


def test_a_share_of_equal_samples_is_not_certain() -> None:
    """Thirty days without a failure do not exclude one; the interval stays within 0 and 1."""
    found = intervals.share(range(30), [False] * 30)
    assert found is not None and found.high is not None
    assert found.low == 0.0 and 0.05 < found.high < 0.2


def test_days_that_hold_together_count_for_less() -> None:
    """A bad week is one event: intervals widen with the blocks, and constants have a width."""
    rng = np.random.default_rng(8)
    alone = rng.normal(size=56)
    weeks = np.repeat(rng.normal(size=8), 7) + 0.1 * rng.normal(size=56)
    widths = []
    for values in (alone / alone.std(), weeks / weeks.std()):
        found = intervals.mean(DailySamples(tuple(np.array([value]) for value in values)))
        assert found and found.low is not None and found.high is not None
        widths.append(found.high - found.low)
    assert widths[1] > 2 * widths[0]
    assert dependence(alone).block < 2 and dependence(weeks).block > 5
    constant = intervals.mean(DailySamples((np.full(2, 4.0),) * 30), limits=(0.0, 4.0))
    assert constant and constant.low is not None and constant.low < 3.7 and constant.high == 4.0


def test_a_change_must_be_certain_and_relevant_among_all() -> None:
    """Better or worse needs more than what earlier periods differ by; noise of many is no news."""
    steady = [3.9e6, 3.92e6, 3.88e6, 3.9e6, 3.91e6, 3.89e6, 3.9e6, 3.9e6]
    slower, same, slightly = (Comparison(steady, now, 2e5) for now in (2.5e6, 3.91e6, 3.75e6))
    few, new = Comparison(steady[:4], 2.5e6, 2e5), Comparison([None], 2.5e6, 2e5)
    found = courses([slower, same, slightly, few, new])
    assert found == [Course.WORSE, Course.NONE, Course.NONE, Course.FEW, Course.NEW]
    rng = np.random.default_rng(9)
    noise = [Comparison(list(rng.normal(4e6, 3e5, 11)), rng.normal(4e6, 3e5), 2e5)
             for _ in range(500)]  # fmt: skip
    assert set(courses(noise)) == {Course.NONE}


def test_the_same_samples_give_the_same_digits() -> None:
    """A figure derived again has the same interval: the resamples never change."""
    month = samples(np.random.default_rng(7), 30).days
    assert intervals.mean(month) == intervals.mean(month)
    assert bootstrap.resample_weights(5, intervals.SEED)[:2].tolist() == FIRST_DRAWS


FIRST_DRAWS = [[0.0, 2.0, 2.0, 1.0, 0.0], [0.0, 2.0, 0.0, 1.0, 2.0]]

"""Intervals: textbook values, coverage over simulated histories, no claim from too few samples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, norm

from jharnet_monitor.judge.statistics import bootstrap, intervals
from jharnet_monitor.judge.statistics.intervals import DailySamples, Interval
from tests.bench.judge import coverage
from tests.histories import samples


def test_intervals_cover_what_they_promise() -> None:
    """Over 300 simulated histories each interval contains the true value as often as stated."""
    rows = list(coverage(np.random.default_rng(11), 300))
    assert [row for row in rows if row.ok is False] == []


def test_a_quantile_of_independent_days_is_bounded_by_the_binomial_ranks() -> None:
    """With one sample per day the bounds are the textbook's order statistics."""
    n = 200
    found = intervals.quantile(intervals.group_by_day(range(n), [float(i) for i in range(n)]), 0.5)
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


def test_a_change_is_significant_only_if_there_is_one() -> None:
    """10 % less speed over three weeks is significant; the same speed is not."""
    rng = np.random.default_rng(6)
    before = samples(rng, 18, spread=0.05).days
    slower = DailySamples(tuple(0.9 * day for day in samples(rng, 18, spread=0.05).days.by_day))
    found, none = intervals.change(before, slower), intervals.change(before, before)
    assert found is not None and found.below(0)
    assert none is not None and not none.below(0) and not none.above(0)


def test_the_same_samples_give_the_same_digits() -> None:
    """A figure derived again has the same interval: the resamples never change."""
    month = samples(np.random.default_rng(7), 30).days
    assert intervals.mean(month) == intervals.mean(month)
    assert bootstrap.resample_weights(5, intervals.SEED)[:2].tolist() == FIRST_DRAWS


FIRST_DRAWS = [[0.0, 2.0, 2.0, 1.0, 0.0], [0.0, 2.0, 0.0, 1.0, 2.0]]

"""Intervals: textbook values, coverage over made-up histories, honesty where there is little."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, norm

from jharnet_monitor.judge.statistics import bootstrap as resampling
from jharnet_monitor.judge.statistics import intervals as stats
from tests.bench.judge import coverage
from tests.histories import samples


def test_intervals_cover_what_they_promise() -> None:
    """Over 300 histories of known truth each interval holds it about as often as it says."""
    rows = list(coverage(np.random.default_rng(11), 300))
    assert [row for row in rows if row.ok is False] == []


def test_a_quantile_of_independent_days_is_bounded_by_the_binomial_ranks() -> None:
    """With one sample a day the bounds are the order statistics of the textbook."""
    n = 200
    found = stats.quantile(stats.grouped(range(n), [float(i) for i in range(n)]), 0.5)
    assert found is not None and found.low is not None and found.high is not None
    low = binom.ppf(0.025, n, 0.5) - 1  # from 0
    assert found.low == pytest.approx(low, abs=1)
    assert found.high == pytest.approx(n - 1 - low, abs=1)


def test_samples_that_share_their_day_count_for_less() -> None:
    """Twelve tests of a day that all read the same are one: the interval must not shrink."""
    rng = np.random.default_rng(3)
    days = rng.normal(size=40)
    once = stats.median(stats.Days(tuple(np.array([day]) for day in days)))
    often = stats.median(stats.Days(tuple(np.full(12, day) for day in days)))
    assert once and often and once.low is not None and once.high is not None
    assert often.low is not None and often.high is not None
    assert often.n == 12 * once.n
    assert often.high - often.low > 0.8 * (once.high - once.low)


def test_the_mean_of_normal_days_has_about_students_interval() -> None:
    """With one normal sample a day the bootstrap comes near the exact interval."""
    values = np.random.default_rng(4).normal(10, 1, 60)
    found = stats.mean(stats.Days(tuple(np.array([v]) for v in values)))
    half = norm.ppf(0.975) * values.std(ddof=1) / np.sqrt(60)
    assert found and found.low is not None and found.high is not None
    assert found.low == pytest.approx(values.mean() - half, abs=0.05)
    assert found.high == pytest.approx(values.mean() + half, abs=0.05)


@pytest.mark.parametrize("days", range(5))
def test_few_days_have_no_interval(days: int) -> None:
    """With fewer than five days there is a figure, but nothing that could support a claim."""
    held = stats.grouped([n % max(days, 1) for n in range(20 * days)], [1.0] * (20 * days))
    for found in (stats.mean(held), stats.median(held)):
        assert (found is None) == (days == 0)
        if found is not None:
            assert (found.low, found.high) == (None, None)
            assert not found.above(0) and not found.below(2)


def test_the_fifth_percentile_needs_72_tests_on_20_days() -> None:
    """With less the median is quoted instead."""
    rng = np.random.default_rng(5)

    def p5(days: int, each: int) -> stats.Interval | None:
        return stats.fifth_percentile(stats.Days(tuple(rng.normal(size=(days, each)))))

    assert p5(19, 10) is None and p5(71, 1) is None
    assert p5(72, 1) is not None


def test_a_share_where_all_are_alike_is_not_certain() -> None:
    """Thirty days without a failure leave room for some; the interval stays within 0 and 1."""
    found = stats.share(range(30), [False] * 30)
    assert found is not None and found.high is not None
    assert found.low == 0.0 and 0.05 < found.high < 0.2


def test_a_change_is_seen_where_there_is_one() -> None:
    """A tenth less speed over three weeks is significant; the same speed is not."""
    rng = np.random.default_rng(6)
    before = samples(rng, 18, spread=0.05).days
    slower = stats.Days(tuple(0.9 * day for day in samples(rng, 18, spread=0.05).days.by_day))
    found, none = stats.change(before, slower), stats.change(before, before)
    assert found is not None and found.below(0)
    assert none is not None and not none.below(0) and not none.above(0)


def test_the_same_samples_give_the_same_digits() -> None:
    """Whoever derives a figure again gets the same interval: the draws never change."""
    held = samples(np.random.default_rng(7), 30).days
    assert stats.mean(held) == stats.mean(held)
    assert resampling.weights(5, stats.SEED)[:2].tolist() == FIRST_DRAWS


FIRST_DRAWS = [[0.0, 2.0, 2.0, 1.0, 0.0], [0.0, 2.0, 0.0, 1.0, 2.0]]

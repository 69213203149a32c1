"""The statistics against SciPy's functions and textbook formulas, put together anew."""

from __future__ import annotations

from math import inf, sqrt

import numpy as np
import pytest
from scipy import stats

from jharnet_monitor.judge.statistics import intervals
from jharnet_monitor.judge.statistics.bootstrap import RESAMPLES, bca_interval, resample_weights
from jharnet_monitor.judge.statistics.changes import Comparison, Course, courses
from jharnet_monitor.judge.statistics.dependence import Dependence, dependence, ranks
from jharnet_monitor.judge.statistics.incomplete_beta import (
    beta_quantile,
    betainc,
    student_t_quantile,
    two_sided_p,
)
from jharnet_monitor.judge.statistics.intervals import DailySamples, Interval
from jharnet_monitor.judge.statistics.order_statistics import _rank, quantile_bounds


@pytest.mark.parametrize("a", [0.5, 1.0, 2.5, 30.0, 4000.0])
@pytest.mark.parametrize("b", [0.5, 1.0, 3.0, 300.0])
def test_the_beta_distribution_is_scipys(a: float, b: float) -> None:
    """On both sides of its mean, near its ends, and back again."""
    for x in (1e-9, 0.001, 0.1, 0.4, a / (a + b), 0.6, 0.9, 0.999):
        assert betainc(a, b, x) == pytest.approx(stats.beta.cdf(x, a, b), rel=1e-9, abs=1e-300)
    assert (betainc(a, b, 0.0), betainc(a, b, 1.0), betainc(a, b, -0.1)) == (0.0, 1.0, 0.0)
    for p in (1e-6, 0.025, 0.5, 0.975, 1 - 1e-6):
        assert beta_quantile(a, b, p) == pytest.approx(stats.beta.ppf(p, a, b), rel=1e-9)


@pytest.mark.parametrize("df", [1.0, 1.5, 2.0, 6.0, 29.0, 1000.0])
def test_students_t_is_scipys(df: float) -> None:
    """Quantiles and the two-sided probability."""
    for p in (0.6, 0.9, 0.975, 0.9999):
        assert student_t_quantile(df, p) == pytest.approx(stats.t.ppf(p, df), rel=1e-9)
    for t in (0.0, 0.1, 2.0, -2.0, 30.0):
        assert two_sided_p(t, df) == pytest.approx(2 * stats.t.sf(abs(t), df), rel=1e-9)


def test_the_rank_of_a_quantile_extends_the_binomial_distribution() -> None:
    """P(Binomial(n, q) <= k) = alpha, for whole n and k as in the table, and none below 0."""
    for n, q in ((60, 0.5), (99, 0.05), (400, 0.95), (37, 0.2)):
        for k in (1, 2, int(n * q / 2) + 1, int(n * q)):
            alpha = float(stats.binom.cdf(k, n, q))
            if 1e-9 < alpha < 1 - 1e-9:
                found = _rank(float(n), q, alpha)
                assert found == pytest.approx(k, abs=1e-6)
    assert _rank(71.0, 0.05, 0.025) is None  # 0.95^71 = 0.0262
    low = _rank(72.0, 0.05, 0.025)  # 0.95^72 = 0.0249
    assert low is not None and 0.0 <= low < 0.01
    assert _rank(0.9, 0.99, 0.5) is None


def test_the_bootstrap_interval_is_efrons_with_students_width() -> None:
    """Bias from the share below the value, acceleration from the jackknife."""
    values = np.random.default_rng(1).exponential(size=30)
    drawn = np.random.default_rng(2).choice(values, (4000, 30)).mean(axis=1)
    left_out = (values.sum() - values) / 29
    for stretch in (1.0, 1.3):
        low, high = bca_interval(drawn, float(values.mean()), (left_out,), stretch)
        bias = stretch * stats.norm.ppf(np.mean(drawn < values.mean()))
        # For a mean, the acceleration is a sixth of the skewness over the root of the number.
        acceleration = stretch * stats.skew(values) / 6 / sqrt(30)
        edge = sqrt(30 / 29) * stats.t.ppf(0.975, 29)
        for found, sign in ((low, -1), (high, 1)):
            moved = bias + sign * edge
            share = stats.norm.cdf(bias + moved / (1 - acceleration * moved))
            assert found == pytest.approx(np.quantile(drawn, share), rel=1e-6)
    assert bca_interval(np.full(9, 2.0), 2.0, (left_out,)) == (2.0, 2.0)
    # Two strata: the skewnesses add by their cubes; the fewest days decide the width.
    both = bca_interval(drawn, float(values.mean()), (left_out, left_out[:20]))
    assert both[0] < low + 0.2 and both[1] > both[0]
    pulls = [(one.mean() - one) * (len(one) - 1) for one in (left_out, left_out[:20])]
    cubes = sum((pull**3).sum() / len(pull) ** 3 for pull in pulls)
    squares = sum((pull**2).sum() / len(pull) ** 2 for pull in pulls)
    bias, moved = stats.norm.ppf(np.mean(drawn < values.mean())), 0.0
    moved = bias + sqrt(20 / 19) * stats.t.ppf(0.975, 19)
    share = stats.norm.cdf(bias + moved / (1 - cubes / 6 / squares**1.5 * moved))
    assert both[1] == pytest.approx(np.quantile(drawn, share), rel=1e-6)


def test_resamples_draw_every_day_equally_often() -> None:
    """2000 resamples of as many days as there are."""
    drawn = resample_weights(10, 1)
    assert drawn.shape == (RESAMPLES, 10) == (2000, 10)
    assert (drawn.sum(axis=1) == 10).all()
    assert drawn.mean(axis=0) == pytest.approx(np.ones(10), abs=0.1)
    assert drawn.var() == pytest.approx(0.9, abs=0.05)


def _alone(values: np.ndarray) -> DailySamples:
    return DailySamples(tuple(np.array([value]) for value in values))


def test_a_share_has_clopper_and_pearsons_bounds_over_its_effective_number() -> None:
    """Independent days of one sample: the effective number falls by the normal quantile over
    Student's, squared."""
    hits = np.zeros(60)
    hits[[3, 10, 14, 27, 33, 46, 47, 58]] = 1
    found = intervals.share(range(60), [bool(hit) for hit in hits])
    seen = dependence(hits - hits.mean())
    assert found is not None and found.low is not None and found.high is not None
    p = 8 / 60
    effective = 60 / max(1.0, 60 / 59 * seen.inflation)
    effective *= (stats.norm.ppf(0.975) / stats.t.ppf(0.975, seen.freedom)) ** 2
    low = stats.beta.ppf(0.025, effective * p, effective * (1 - p) + 1)
    high = stats.beta.ppf(0.975, effective * p + 1, effective * (1 - p))
    assert (found.value, found.n, found.days) == (p, 60, 60)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)


def test_a_limited_mean_has_jeffreys_bounds_on_its_scale() -> None:
    """Grades from 0 to 4."""
    grades = np.array([4.0, 3, 4, 4, 2, 3, 4, 1, 4, 3, 4, 4, 0, 4, 3, 4, 4, 2, 4, 3] * 2)
    found = intervals.mean(_alone(grades), limits=(0.0, 4.0))
    seen = dependence(grades / 4 - grades.mean() / 4)
    assert found is not None and found.low is not None and found.high is not None
    p, n = grades.mean() / 4, 40
    variance = max(np.var(grades / 4, ddof=1) / n * seen.inflation, np.var(grades / 4) / n)
    effective = p * (1 - p) / variance
    effective *= (stats.norm.ppf(0.975) / stats.t.ppf(0.975, seen.freedom)) ** 2
    shape = (effective * p + 0.5, effective * (1 - p) + 0.5)
    bounds = 4 * stats.beta.ppf([0.025, 0.975], *shape)
    assert (found.low, found.high) == pytest.approx(tuple(bounds), rel=1e-9)
    shifted = intervals.mean(_alone(grades + 1), limits=(1.0, 5.0))
    assert shifted is not None and shifted.low == pytest.approx(found.low + 1)
    assert shifted.value == pytest.approx(found.value + 1)


@pytest.mark.parametrize("days", [5, 12, 30])
def test_equal_days_exclude_what_half_as_many_independent_ones_would(days: int) -> None:
    """(1 - p)^(days / 2) = 5 %."""
    for hit in (True, False):
        found = intervals.share(range(days), [hit] * days)
        assert found is not None
        away = found.low if hit else found.high
        assert away is not None
        missed = away if hit else 1 - away
        assert missed ** (days / 2) == pytest.approx(0.05)
        assert (found.high if hit else found.low) == float(hit)


def test_a_proportion_without_losses_is_bounded_by_its_trials() -> None:
    """(1 - p)^n = 2.5 %; of fewer than five days no interval; of no trials nothing."""
    found = intervals.proportion([0.0] * 5, [100.0] * 5, n=5)
    assert found is not None and found.high is not None
    assert (1 - found.high) ** 500 == pytest.approx(0.025)
    few = intervals.proportion([0.0] * 4, [100.0] * 4, n=4)
    assert few == Interval(0.0, None, None, 4, 4)
    assert intervals.proportion([0.0], [0.0], n=0) is None
    many = intervals.proportion([120.0] * 6, [100.0] * 6, n=6)  # retransmitted, counted twice
    assert many is not None and (many.value, many.high) == (1.0, 1.0)
    assert intervals.ratio([1.0], [0.0], n=1) is None
    assert intervals.ratio([1.0] * 4, [2.0] * 4, n=4) == Interval(0.5, None, None, 4, 4)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_interval_of_a_ratio_is_that_of_its_linearisation(seed: int) -> None:
    """Cochran's variance of a ratio of sums: of its residuals, over the sum of the wholes."""
    rng = np.random.default_rng(seed)
    wholes = rng.uniform(500, 1500, 120)
    parts = wholes * rng.uniform(0.01, 0.05, 120)
    found = intervals.ratio(parts, wholes, n=120)
    assert found is not None and found.low is not None and found.high is not None
    assert found.value == pytest.approx(parts.sum() / wholes.sum())
    residuals = parts - found.value * wholes
    half = 1.96 * sqrt(120 * residuals.var(ddof=1)) / wholes.sum()
    assert found.value - found.low == pytest.approx(half, rel=0.35)
    assert found.high - found.value == pytest.approx(half, rel=0.35)


@pytest.mark.parametrize(("hits", "n"), [(0, 11), (3, 7), (9, 11), (11, 11), (40, 200)])
def test_wilsons_interval_is_scipys(hits: int, n: int) -> None:
    """Without correction for continuity."""
    found = intervals.wilson_interval(hits, n)
    known = stats.binomtest(hits, n).proportion_ci(0.95, "wilson")
    assert found is not None
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=1e-9)
    assert (found.value, found.n, found.days) == (hits / n, n, 1)
    assert intervals.wilson_interval(0, 0) is None


def test_an_interval_is_above_or_below_only_as_a_whole() -> None:
    """A bound that equals the threshold is neither."""
    found = Interval(2.0, 1.0, 3.0, 9, 9)
    assert found.above(0.9) and not found.above(1.0)
    assert found.below(3.1) and not found.below(3.0)
    unknown = Interval(2.0, None, None, 1, 1)
    assert not unknown.above(0.0) and not unknown.below(9.0)


def test_independent_days_depend_on_nothing() -> None:
    """Few or equal days show no dependence; a week of equal days is one."""
    for residuals in ([], [1.0], [1.0, -1.0], [0.0] * 30, [1e-12] * 30):
        days = len(residuals)
        found = dependence(np.array(residuals) if days else np.zeros(0) + 0.0)
        assert found == Dependence(days, 1.0, max(days - 1.0, 1.0), 1.0)


def test_a_short_series_takes_a_correlation_of_at_least_0_3() -> None:
    """(1 + 0.3) / (1 - 0.3) days; with more of it, that of the days."""
    about = np.array([3.0, -2.0, 1.0, -3.0, 2.0, -1.0, 2.5, -2.5, 0.5, -0.5, 1.5, -1.5])
    found = dependence(about)
    assert found.block == pytest.approx(1.3 / 0.7)
    assert found.freedom == pytest.approx(12 / (1.3 / 0.7) - 1)
    assert found.inflation == pytest.approx(found.block / (1 - (found.block - 1) / 12))
    rising = np.arange(12.0) - 5.5
    r = float((rising[1:] * rising[:-1]).sum() / (rising**2).sum())
    assert 0.3 < r < 0.9
    assert dependence(rising).block == pytest.approx(min((1 + r) / (1 - r), 12 / 3))
    assert dependence(rising).freedom == 2.0


def test_a_long_series_follows_its_correlations() -> None:
    """An autoregressive series of 0.6 has blocks of about 1.6 / 0.4 days; rarely different days
    count as three."""
    rng, blocks = np.random.default_rng(3), []
    for _ in range(30):
        series = [0.0]
        for draw in rng.normal(size=400):
            series.append(0.6 * series[-1] + draw)
        blocks.append(dependence(np.array(series)).block)
    assert np.mean(blocks) == pytest.approx(4.5, abs=1.0)
    rare = np.full(60, -0.1)
    rare[[5, 25, 45]] = 2.0
    assert dependence(rare - rare.mean()).block == 3.0
    rare[[10, 30, 50, 57, 15]] = [2.1, 2.2, 2.3, 2.4, 2.5]  # eight others
    assert dependence(rare - rare.mean()).block < 3.0


def test_ranks_are_scipys() -> None:
    """Equal values share the mean of their ranks."""
    values = np.array([3.0, 1.0, 3.0, 2.0, 3.0, 1.0])
    assert ranks(values).tolist() == stats.rankdata(values).tolist()


def test_the_median_of_independent_days_lies_between_its_order_statistics() -> None:
    """Interpolated ranks over the effective number; no bound below 1 %."""
    values = np.random.default_rng(4).permutation(np.arange(99.0))
    by_day = [np.array([value]) for value in values]
    seen = dependence(ranks(values) - 50)
    effect = max(1.0, 99 / 98 * seen.inflation)
    effective = 99 / effect * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, seen.freedom)) ** 2
    rank = _rank(effective, 0.5, 0.025)
    assert rank is not None
    low, high = quantile_bounds(np.arange(99.0), by_day, 0.5, 49.0)
    scale = 99 / effective
    assert (low, high) == pytest.approx((rank * scale, 98 - rank * scale), rel=0.02)


def test_a_high_quantile_of_few_days_has_a_lower_bound_only() -> None:
    """None of 60 samples lies surely above the 99 % quantile."""
    by_day = [np.array([float(n * 37 % 60)]) for n in range(60)]
    low, high = quantile_bounds(np.arange(60.0), by_day, 0.99, 59.0)
    assert low is not None and 50 < low < 59 and high == inf
    assert quantile_bounds(np.arange(60.0), by_day, 0.01, 0.0) == (None, None)


def test_the_largest_p_that_still_counts_is_holms() -> None:
    """Of two comparisons the smaller p is held against 2.5 %, the other against 5 %."""
    earlier = [4.0, 4.2, 3.9, 4.1, 3.8, 4.0]
    steps = np.diff(earlier)
    usual = sqrt(float((steps**2).mean()))

    def moved(p: float) -> Comparison:
        return Comparison(earlier, 4.0 - usual * stats.t.isf(p / 2, 2 / 3 * 5), 0.01)

    for first, second, found in (
        (0.024, 0.049, [Course.WORSE] * 2), (0.024, 0.051, [Course.WORSE, Course.NONE]),
        (0.026, 0.026, [Course.NONE] * 2), (0.026, 0.049, [Course.NONE] * 2),
    ):  # fmt: skip
        assert courses([moved(first), moved(second)]) == found
        assert courses([moved(second), moved(first)]) == found[::-1]
    assert moved(0.03).p == pytest.approx(0.03)


def test_a_change_needs_five_earlier_periods_and_its_least_size() -> None:
    """Equal periods differ by a quarter of the smallest change that matters."""
    assert Comparison([4.0] * 4, 1.0, 0.2).p is None
    equal = Comparison([4.0] * 5, 4.2, 0.2)
    assert equal.p == pytest.approx(2 * stats.t.sf(4.0, 2 / 3 * 4))
    assert Comparison([None, 4.0, 4.0, None, 4.0, 4.0, 4.0], 4.2, 0.2).p == equal.p
    assert Comparison([4.0] * 5 + [None], 4.2, 0.2).p is None
    assert Comparison([4.0] * 5, None, 0.2).p is None and Comparison([], 4.0, 0.2).change is None
    up, down, exact, small = (Comparison([4.0] * 9, now, 0.2) for now in (5.0, 3.0, 4.25, 4.19))
    assert courses([up]) == [Course.BETTER] and courses([down]) == [Course.WORSE]
    assert courses([Comparison([4.0] * 9, 4.25, 0.25)]) == [Course.BETTER]
    assert courses([exact]) == [Course.BETTER] and courses([small]) == [Course.NONE]
    assert courses([Comparison([4.0] * 4, 9.0, 0.2), Comparison([], 9.0, 0.2)]) == [
        Course.FEW, Course.NEW,
    ]  # fmt: skip

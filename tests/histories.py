"""Simulated histories of one line whose true state is known, for tests and the benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from jharnet_monitor.judge.line.delivered import DeliveredRate
from jharnet_monitor.judge.line.facts import Line, LineDirection
from jharnet_monitor.judge.line.loss import LossRates
from jharnet_monitor.judge.line.need import NeedPolicy
from jharnet_monitor.judge.line.verdict import LineThresholds, LineVerdict
from jharnet_monitor.judge.outages.downtime import Downtime, Outages
from jharnet_monitor.judge.statistics import intervals
from jharnet_monitor.judge.statistics.intervals import DailySamples, Interval

THRESHOLDS = LineThresholds(delivered=0.8, loss=0.02, available=0.99, days=20)
CONTRACT = 4e6
MARK = THRESHOLDS.mark(1.0)
"""The contract's own mark, as a share of the contract."""
TARIFF = (2e6, 4e6, 8e6, 10e6, 16e6, 34e6)
TRUTHS = (
    LineVerdict.UPGRADE, LineVerdict.REPAIR, LineVerdict.LINE_QUALITY, LineVerdict.NEED_NOT_MET,
    LineVerdict.POWER, LineVerdict.LAN, LineVerdict.NOTHING, LineVerdict.NOT_ENOUGH_EVIDENCE,
)  # fmt: skip
_MOMENTS = NormalDist()


@dataclass(frozen=True, slots=True)
class Samples:
    """Rates by day from a log-normal distribution, part of whose variance is shared by a whole day.

    `mean`, `median`, `p5` and `share` are those of the distribution: the true values.
    """

    days: DailySamples
    mean: float
    median: float
    p5: float
    mark: float
    share: float
    """The share of samples over `mark`."""


def samples(
    rng: np.random.Generator, days: int, median: float = 1.0, spread: float | None = None
) -> Samples:
    """A history of 2 to 12 tests per day; up to half of the variance is shared by a day."""
    each = int(rng.integers(2, 13))
    shared = float(rng.uniform(0, 0.5))
    sigma = float(rng.uniform(0.02, 0.3)) if spread is None else spread
    day = rng.normal(size=(days, 1)) * shared**0.5
    noise = day + rng.normal(size=(days, each)) * (1 - shared) ** 0.5
    share = float(rng.uniform(0.5, 0.9))
    return Samples(
        days=DailySamples(tuple(median * np.exp(sigma * noise))),
        mean=median * float(np.exp(sigma**2 / 2)),
        median=median,
        p5=median * float(np.exp(sigma * _MOMENTS.inv_cdf(0.05))),
        mark=median * float(np.exp(sigma * _MOMENTS.inv_cdf(1 - share))),
        share=share,
    )


@dataclass(frozen=True, slots=True)
class History:
    """A line over some weeks, what it needs, and the verdict that is true."""

    line: Line
    policy: NeedPolicy
    truth: LineVerdict


def line_of(
    delivered: Sequence[Interval | None],
    contracted: Sequence[float | None],
    loss: LossRates,
    outages: Outages,
    days: int,
    **pairs: Sequence[Interval | None],
) -> Line:
    """A line by the median rates that it delivers, its contract, and other facts for both
    directions."""
    down, up = (
        LineDirection(
            contracted=contracted[n],
            delivered=DeliveredRate(delivered[n]),
            **{name: pair[n] for name, pair in pairs.items()},  # type: ignore[arg-type]
        )
        for n in range(2)
    )
    return Line(down, up, loss, outages, days)


def histories(rng: np.random.Generator, count: int, *, marginal: bool) -> Iterator[History]:
    """Lines of every true verdict in turn.

    Without `marginal` the values are at least 8 % beyond their threshold. With it they may lie at
    the threshold itself, where no finite test can decide.
    """
    for number in range(count):
        yield _history(rng, TRUTHS[number % len(TRUTHS)], 0.0 if marginal else 0.08)


def traffic(
    rng: np.random.Generator, days: int, dependence: str = "independent"
) -> tuple[DailySamples, float]:
    """Readings of a router in office hours, 54 per day, and the true 95th percentile; up to half of
    the variance is shared by a day.
    """
    shared, sigma = float(rng.uniform(0, 0.5)), float(rng.uniform(0.2, 1.0))
    noise = dependent(rng, days, 54, dependence, shared)
    truth = float(np.exp(sigma * _MOMENTS.inv_cdf(0.95)))
    return DailySamples(tuple(np.exp(sigma * noise))), truth


def measured(rng: np.random.Generator, count: int, *, marginal: bool) -> Iterator[History]:
    """Good lines whose other traffic was measured; half of them need more than was contracted.

    Without `marginal` the need is at least 50 % above the contract, or 35 % below it.
    """
    for number in range(count):
        days = int(rng.integers(4, 13)) * 6
        truth = (LineVerdict.UPGRADE, LineVerdict.NOTHING)[number % 2]
        need = rng.uniform(1.0 if marginal else 1.5, 3)
        if truth is LineVerdict.NOTHING:
            need = rng.uniform(0.2, 1.0 if marginal else 0.65)
        held, p95 = traffic(rng, days)
        scale = need * CONTRACT * 0.7 / p95
        other = intervals.quantile(DailySamples(tuple(day * scale for day in held.by_day)), 0.95)
        delivered = rng.uniform(0.95, 1.0) * CONTRACT
        ways = [samples(rng, days, delivered, rng.uniform(0.01, 0.08)) for _ in "du"]
        line = line_of(
            [intervals.median(way.days) for way in ways],
            (CONTRACT, CONTRACT),
            loss=of_all_hours(_loss(rng, days, rng.uniform(0, 0.016))),
            outages=outages(),
            days=days,
            other=(other, other),
        )
        yield History(line, policy_of(0.5), truth)


def _history(rng: np.random.Generator, truth: LineVerdict, margin: float) -> History:
    days = int(rng.integers(4, 13)) * 6
    delivered, need = rng.uniform(0.95, 1.0), rng.uniform(0.4, 0.95 * (1 - margin))
    loss = rng.uniform(0, 0.02 * (1 - 2 * margin) if margin else 0.019)
    link = power = lan = 0.0
    if truth is LineVerdict.UPGRADE:
        need = rng.uniform(1.05 * (1 + margin), 3)
    elif truth is LineVerdict.REPAIR:
        need = rng.uniform(0.4, 3)
        kind = rng.random()
        if kind < 0.3:
            link = rng.uniform(0.011, 0.2)
        else:
            delivered = rng.uniform(0.2, MARK * (1 - margin))
    elif truth is LineVerdict.NEED_NOT_MET:
        delivered = rng.uniform(MARK * (1 + margin), 0.9)
        need = rng.uniform(delivered * (1 + margin), 1.0)
    elif truth is LineVerdict.LINE_QUALITY:
        loss, need = rng.uniform(0.02 * (1 + 4 * margin), 0.1), rng.uniform(0.4, 3)
    elif truth is LineVerdict.POWER:
        power = rng.uniform(0.011, 0.2)
    elif truth is LineVerdict.LAN:
        lan = rng.uniform(0.011, 0.2)
    elif truth is LineVerdict.NOT_ENOUGH_EVIDENCE:
        days, need = int(rng.integers(1, 20)), rng.uniform(0.4, 3)
    ways = [samples(rng, days, delivered * CONTRACT, rng.uniform(0.01, 0.08)) for _ in "du"]
    line = line_of(
        [intervals.median(way.days) for way in ways],
        (CONTRACT, CONTRACT),
        loss=of_all_hours(_loss(rng, days, loss)),
        outages=outages(link=link, power=power, lan=lan),
        days=days,
    )
    return History(line, policy_of(need * CONTRACT), truth)


def of_all_hours(loss: Interval | None) -> LossRates:
    """The same loss in office hours and outside them."""
    return LossRates(office=loss, night=loss)


def outages(
    link: float = 0.0, power: float = 0.0, lan: float = 0.0, unexplained: float = 0.0
) -> Outages:
    """Downtime as shares of the time, in office hours as outside them; everything is known."""
    time = Downtime(known=1.0, link=link, power=power, lan=lan, unexplained=unexplained)
    return Outages(total=time, office=time)


def _loss(rng: np.random.Generator, days: int, ratio: float) -> Interval | None:
    """Packet loss from one packet per second; each day's loss varies around `ratio`."""
    sent = np.full(days, 86400.0)
    daily = ratio * rng.gamma(8, 1 / 8, days)
    lost = rng.binomial(86400, np.minimum(daily, 1.0)).astype(float)
    return intervals.proportion(lost, sent, n=days)


def policy_of(need: float) -> NeedPolicy:
    """A policy whose need is this many bit/s."""
    return NeedPolicy(1, 0.0, 0.0, 0.0, need * 0.7, 0, 0.0, 0.0, 0.7)


DEPENDENCES = ("independent", "rho .3", "rho .6", "rho .8", "weeks .5")
"""How days hold together: by the correlation of neighbours, or by half of the variance a week."""


def day_effects(rng: np.random.Generator, days: int, dependence: str) -> NDArray[np.float64]:
    """Standard normal effects of days that depend on each other."""
    kind, _, size = dependence.partition(" ")
    if kind == "weeks":
        weeks = rng.normal(size=-(-days // 7)).repeat(7)[:days]
        share = float(size)
        return np.asarray(share**0.5 * weeks + (1 - share) ** 0.5 * rng.normal(size=days))
    rho = float(size or 0)
    found, shocks = np.empty(days), rng.normal(size=days)
    found[0] = shocks[0]
    for day in range(1, days):
        found[day] = rho * found[day - 1] + (1 - rho**2) ** 0.5 * shocks[day]
    return found


def dependent(
    rng: np.random.Generator, days: int, each: int, dependence: str, shared: float
) -> NDArray[np.float64]:
    """Standard normal samples, `each` a day; the share `shared` of the variance is the day's."""
    effects = day_effects(rng, days, dependence)[:, None]
    noise = rng.normal(size=(days, each))
    return np.asarray(shared**0.5 * effects + (1 - shared) ** 0.5 * noise)

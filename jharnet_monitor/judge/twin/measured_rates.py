"""What other probes say of one direction of a line: its rate, its bucket or queue, others. Pure.

The measurements are the newest ones before a call, by series. Each has an age, and the older it is,
the more uncertain is what it says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from math import exp, hypot, log, sqrt
from typing import Any

from jharnet_monitor.judge.line.reading import Limit
from jharnet_monitor.model import (
    LONG_TESTS,
    Direction,
    Measurement,
    Route,
    format_utc,
    parse_utc,
    series_key,
)

SPEED_TEST, TRAINS = series_key("bandwidth"), series_key("bandwidth", Route.TRAINS)
LATENCY, ROUTER = series_key("latency"), series_key("utilisation")

Known = Mapping[str, Measurement]
"""The newest measurements before a call, by series."""

DAY = 86400.0
_DRIFT = 0.1
"""Standard deviation of the logarithm of a rate after a day; it grows with the root of time."""
_Z = 1.96
"""Half the width of a 95 % interval, in standard deviations."""
_LEAST_DOUBT = 0.01
"""Uncertainty of one measurement, at least."""
AGREE = 2.0
"""Two rates agree within so many standard deviations."""
_BURST = (Limit.POLICER.value, Limit.SHAPER.value)
"""Limits of a test on whose line a short one may see the burst of a token bucket."""
_SMALL_BUCKET = 0.05
"""Seconds of a policer's bucket that is too small for a long test to see."""
_TRUSTED_TRAINS = 2.0
"""Trains that are faster than a speed test by a larger factor may have passed a token bucket."""
_DEPTH_DOUBT, BOUND_DOUBT = 0.25, 0.5
"""Uncertainty of a queue's depth that a long test measured, and of one that a speed test's delay
bounds from below."""
_SAME_TIME = 900.0
"""Seconds between the router's reading and a speed test that had the same others."""
_FRESHER = 3600.0
"""Seconds by which trains must be newer than a speed test to cast doubt on it."""
_BURST_SECONDS = 3.0
"""A burst that long is a tenth of a call, and so what came through in its busiest seconds."""


@dataclass(frozen=True, slots=True)
class MeasuredRate:
    """What a measurement says of the rate of one direction, in bit/s."""

    series: str
    rate: float
    doubt: float = 0.0
    """Standard deviation of its logarithm."""
    bound: bool = False
    """Whether the line carries at least that, and nobody knows how much more."""
    bucket: float = 0.0
    """Seconds of the rate that a policer lets through at once; 0 without one."""
    burst: float = 0.0
    """Bits of a token bucket, which policer or shaper let through at once."""

    def allows(self, carried: float) -> bool:
        """Whether a call can have come through with `carried` bit/s in its busiest seconds."""
        most = self.rate * exp(AGREE * self.doubt)
        return carried <= most or self.burst >= _BURST_SECONDS * (carried - self.rate)


def age(one: Measurement, at: datetime) -> float:
    """Seconds from the start of the measurement, both times as they are stored."""
    began = parse_utc(format_utc(one.started_at))
    return (parse_utc(format_utc(at)) - began).total_seconds()


def rates(way: Direction, known: Known, at: datetime, carried: float) -> Iterator[MeasuredRate]:
    """What the measurements say of a direction's rate, the most telling first; without those that
    the call disproved by what it carried, and without trains where a token bucket lets them pass.
    """
    bounds = []
    for fresh in filter(None, _candidates(way, known)):
        found = replace(fresh, doubt=_aged(fresh, known, at))
        if found.bound:
            bounds.append(found)
        elif found.allows(carried):
            yield found
    yield from sorted(bounds, key=lambda one: -one.rate)


def _aged(found: MeasuredRate, known: Known, at: datetime) -> float:
    """The uncertainty of a rate after the time that has passed since."""
    drift = _DRIFT * sqrt(age(known[found.series], at) / DAY)
    return hypot(max(found.doubt, _LEAST_DOUBT), drift)


def _candidates(way: Direction, known: Known) -> Iterator[MeasuredRate | None]:
    """What a long test of a line with a token bucket, a speed test, and trains say."""
    yield _of_long_test(known[LONG_TESTS[way]], way) if LONG_TESTS[way] in known else None
    short = _of_speed_test(known[SPEED_TEST], way) if SPEED_TEST in known else None
    trains = trains_of(way, known)
    yield short if trains is None or short is None else _doubted(short, trains, known)
    yield trains


def trains_of(way: Direction, known: Known) -> MeasuredRate | None:
    """The capacity by packet trains; None where a token bucket may have let them pass."""
    if TRAINS not in known:
        return None
    tests = [known[series] for series in (SPEED_TEST, LONG_TESTS[way]) if series in known]
    if any(_limit(test, way) in _BURST for test in tests):
        return None
    found = _of_trains(known[TRAINS], way)
    short = _of_speed_test(known[SPEED_TEST], way) if SPEED_TEST in known else None
    too_fast = found and short and found.rate > _TRUSTED_TRAINS * short.rate
    return None if too_fast else found


def _doubted(short: MeasuredRate, trains: MeasuredRate, known: Known) -> MeasuredRate:
    """A speed test that newer trains exceed: others may have disturbed it. Half of the difference
    becomes its uncertainty."""
    newer = age(known[SPEED_TEST], known[TRAINS].started_at)
    if newer < _FRESHER or short.bound or trains.bound:
        return short
    difference = log(trains.rate / short.rate)
    doubted = difference > AGREE * hypot(short.doubt, trains.doubt)
    return replace(short, doubt=hypot(short.doubt, difference / 2)) if doubted else short


def _of_long_test(test: Measurement, way: Direction) -> MeasuredRate | None:
    """The rate of a token bucket, once it is spent; None for a line without one."""
    quantity = f"{way.transfer}_sustained_bits_per_second"
    interval, limit = _interval(test, quantity), _limit(test, way)
    if interval is None or limit not in _BURST:
        return None
    rate, size = test.values[quantity], test.conditions.get(f"{way.transfer}_bucket_bytes")
    burst = 8 * size if isinstance(size, int | float) else _SMALL_BUCKET * rate
    bucket = burst / rate if limit == Limit.POLICER else 0.0
    return MeasuredRate(LONG_TESTS[way], rate, interval, bucket=bucket, burst=burst)


def _of_speed_test(test: Measurement, way: Direction) -> MeasuredRate | None:
    """The rate of a speed test, or a lower bound of it."""
    quantity = f"{way.transfer}_bits_per_second"
    limit, interval = _limit(test, way), _interval(test, quantity)
    if interval is None or limit == Limit.SHARED:
        low = test.values.get(f"{quantity}_low", 0.0)
        return MeasuredRate(SPEED_TEST, low, bound=True) if low > 0 else None
    rate, bucket = test.values[quantity], _SMALL_BUCKET if limit == Limit.POLICER else 0.0
    return MeasuredRate(SPEED_TEST, rate, interval, bucket=bucket, burst=bucket * rate)


def _of_trains(test: Measurement, way: Direction) -> MeasuredRate | None:
    """The capacity of packet trains."""
    rate = test.values.get(f"{way.transfer}_capacity_bits_per_second", 0.0)
    if rate <= 0:
        return None
    if test.conditions.get(f"{way.transfer}_capacity_at_least"):
        return MeasuredRate(TRAINS, rate, bound=True)
    uncertainty = test.conditions.get(f"{way.transfer}_capacity_uncertainty")
    if not isinstance(uncertainty, int | float):
        return None
    return MeasuredRate(TRAINS, rate, uncertainty / _Z)


def _limit(test: Measurement, way: Direction) -> Any:
    return test.conditions.get(f"{way.transfer}_limited_by")


def _interval(test: Measurement, quantity: str) -> float | None:
    """The standard deviation of the logarithm of a rate by its interval; None if nothing bounds it
    from above or below."""
    rate, low, high = (test.values.get(quantity + end, 0.0) for end in ("", "_low", "_high"))
    if min(rate, low, high) <= 0 or high < low:
        return None
    return log(high / low) / (2 * _Z)


def others_of(way: Direction, known: Known) -> float:
    """bit/s of others by the router's counters; 0 where it is not read."""
    if ROUTER not in known:
        return 0.0
    return known[ROUTER].values.get(f"{way.transfer}_bits_per_second", 0.0)


def of_whole_line(
    found: MeasuredRate, others: float, way: Direction, known: Known
) -> tuple[MeasuredRate, float]:
    """The rate of the whole line and others' traffic on it, where a speed test got what others left
    of it at that time.

    The rate is higher by their traffic as far as packet trains show. Without those it is not known
    how much others would yield: what the test got while they were there is what a call gets.
    """
    if found.bound or found.series == TRAINS or not others:
        return found, others
    trains = None if found.burst else trains_of(way, known)
    if trains is not None and not trains.bound:
        return replace(found, rate=max(found.rate, min(found.rate + others, trains.rate))), others
    between = known[ROUTER].started_at - known[found.series].started_at
    return found, 0.0 if abs(between.total_seconds()) <= _SAME_TIME else others


def depth_of(way: Direction, known: Known, at: datetime) -> tuple[str, float, float]:
    """The depth of the queue in seconds, by which measurement, and its uncertainty: of the queue
    that a long test overflowed, or at least what packets waited during a speed test."""
    if LONG_TESTS[way] in known:
        depth = known[LONG_TESTS[way]].conditions.get(f"{way.transfer}_queue_seconds")
        if isinstance(depth, int | float) and depth > 0:
            drift = _DRIFT * sqrt(age(known[LONG_TESTS[way]], at) / DAY)
            return LONG_TESTS[way], depth, hypot(_DEPTH_DOUBT, drift)
    values = known[SPEED_TEST].values if SPEED_TEST in known else {}
    loaded, idle = (
        values.get(name) for name in (f"{way.transfer}_loaded_rtt_seconds", "idle_rtt_seconds")
    )
    if loaded is None or idle is None:
        return SPEED_TEST, 0.0, BOUND_DOUBT
    return SPEED_TEST, loaded - idle, BOUND_DOUBT

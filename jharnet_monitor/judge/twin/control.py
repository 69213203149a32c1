"""The congestion control of a WebRTC sender: by delay, by loss, and at the start. Pure.

Google Congestion Control (draft-ietf-rmcat-gcc-02) with transport-wide feedback
(draft-holmer-rmcat-transport-wide-cc-extensions-01), as libwebrtc ships it: the trendline estimator
with an adaptive threshold, additive and multiplicative increase, and the loss-based estimator v2.
All constants are theirs unless said otherwise; bit/s, seconds; arrays hold one value a lane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from jharnet_monitor.judge.twin.path import Counts, Flags, Floats

START_RATE = 300e3
MIN_RATE, MAX_RATE = 30e3, 5e6
FEEDBACK_SECONDS = 0.05
"""From one transport-wide feedback to the next: libwebrtc takes 5 % of the rate for it, but sends
one every 50 to 250 ms; above 220 kbit/s it is 50 ms."""
_ACKED_REPORTS = round(1.0 / FEEDBACK_SECONDS)
"""Feedbacks over which the arriving rate is measured: a second (libwebrtc, robust throughput)."""

_WINDOW, _SMOOTHING, _GAIN = 20, 0.9, 4.0
_OVERUSE_SECONDS = 0.010
_K_UP, _K_DOWN = 0.0087, 0.039
_THRESHOLDS = (6.0, 12.5, 600.0)
"""Least, first and largest threshold of the trend, in ms."""
_MAX_ADAPT = 15.0
_MAX_DELTAS = 60
_TOGETHER, _LONGEST_GROUP = 0.005, 0.1


class DelaySlope:
    """The trendline estimator: does the one-way delay grow, packet group by packet group?"""

    def __init__(self, lanes: int) -> None:
        self._arrived = np.zeros((_WINDOW, lanes))
        self._delays = np.zeros((_WINDOW, lanes))
        self._count = np.zeros(lanes, np.int64)
        self._last_sent, self._last_arrived = np.full(lanes, np.nan), np.zeros(lanes)
        self._group_sent, self._group_arrived = np.full(lanes, np.nan), np.full(lanes, -1.0)
        self._group_began = np.full(lanes, -1.0)
        self._sum, self._smoothed = np.zeros(lanes), np.zeros(lanes)
        self._threshold = np.full(lanes, _THRESHOLDS[1])
        self._over_for, self._over_count = np.zeros(lanes), np.zeros(lanes, np.int64)
        self._trend = np.zeros(lanes)
        self._columns = np.arange(lanes)
        self.overused = np.zeros(lanes, bool)
        self.underused = np.zeros(lanes, bool)

    def add(self, sent: Floats, arrived: Floats, active: Flags) -> None:
        """Add a burst of packets, sent and received in the lanes `active`.

        Bursts that arrive together although they left apart are one group (`BelongsToBurst`).
        """
        since = arrived - self._group_arrived
        merges = active & (since <= _TOGETHER) & (since - (sent - self._group_sent) < 0)
        merges &= arrived - self._group_began <= _LONGEST_GROUP
        begins = active & ~merges
        use = begins & ~np.isnan(self._last_sent)
        since_last = self._group_arrived - self._last_arrived
        between = np.where(use, self._group_sent - self._last_sent, 0.0)
        delta = np.where(use, since_last - between, 0.0) * 1000
        known = begins & ~np.isnan(self._group_sent)
        self._last_sent = np.where(known, self._group_sent, self._last_sent)
        self._last_arrived = np.where(known, self._group_arrived, self._last_arrived)
        self._group_began = np.where(begins, arrived, self._group_began)
        self._group_sent = np.where(active, sent, self._group_sent)
        self._group_arrived = np.where(active, arrived, self._group_arrived)
        self._sum += delta
        smoothed = _SMOOTHING * self._smoothed + (1 - _SMOOTHING) * self._sum
        self._smoothed = np.where(use, smoothed, self._smoothed)
        at = (self._count % _WINDOW, self._columns)
        self._arrived[at] = np.where(use, self._last_arrived * 1000, self._arrived[at])
        self._delays[at] = np.where(use, self._smoothed, self._delays[at])
        self._count += use
        full = use & (self._count >= _WINDOW)
        x = self._arrived - self._arrived.mean(axis=0)
        y = self._delays - self._delays.mean(axis=0)
        spread = (x * x).sum(axis=0)
        slope = (x * y).sum(axis=0) / np.maximum(spread, 1e-9)
        trend = np.where(full, np.minimum(self._count, _MAX_DELTAS) * slope * _GAIN, 0.0)
        self._detect(trend, between, full)

    def _detect(self, trend: Floats, between: Floats, use: Flags) -> None:
        above = use & (trend > self._threshold)
        # Packets that complete no group leave the count as it is.
        self._over_for = np.where(use & ~above, 0.0, self._over_for + between * above)
        self._over_count = np.where(use & ~above, 0, self._over_count + above)
        over = above & (self._over_for > _OVERUSE_SECONDS) & (self._over_count > 1)
        over &= trend >= self._trend
        self._over_for = np.where(over, 0.0, self._over_for)
        self._over_count = np.where(over, 0, self._over_count)
        below = use & (trend < -self._threshold)
        # Above the threshold for too short a time, the verdict stays the same.
        self.overused = np.where(use & ~above, False, self.overused | over)
        self.underused = np.where(use & ~above, below, self.underused & ~over)
        size = np.abs(trend)
        k = np.where(size < self._threshold, _K_DOWN, _K_UP)
        step = k * (size - self._threshold) * np.minimum(between * 1000, 100.0)
        adapts = use & (size <= self._threshold + _MAX_ADAPT)
        self._threshold = np.clip(
            np.where(adapts, self._threshold + step, self._threshold),
            _THRESHOLDS[0],
            _THRESHOLDS[2],
        )
        self._trend = np.where(use, trend, self._trend)


_BACK_OFF = 0.85
_INCREASE = 1.08
"""A second, while the capacity is not known."""
_CAPACITY_SMOOTHING = 0.05
_TRIP_SECONDS = 1.0
"""Between the receiver's reports, by which the round trip is measured."""


class DelayRate:
    """The rate that the delay allows: additive or multiplicative increase, decrease by 15 %."""

    def __init__(self, lanes: int) -> None:
        self.rate = np.full(lanes, START_RATE)
        self._hold = np.zeros(lanes, bool)
        self._capacity = np.full(lanes, np.nan)
        """kbit/s, as the variance below is relative to it."""
        self._variance = np.full(lanes, 0.4)
        self._changed_at = np.full(lanes, -10.0)
        """When the rate was last raised or reduced."""
        self._trip, self._trip_at = np.full(lanes, 0.2), -1.0

    def set(self, rate: Floats, active: Flags) -> None:
        """Set the rate that a probe measured."""
        self.rate = np.where(active, rate, self.rate)

    def update(
        self, now: float, over: Flags, under: Flags, acked: Floats, trip: Floats, seconds: float
    ) -> None:
        """React to one feedback that came `seconds` after the last."""
        if now - self._trip_at >= _TRIP_SECONDS:
            self._trip, self._trip_at = trip, now
        trip = self._trip
        known = ~np.isnan(self._capacity)
        deviation = 3 * np.sqrt(self._variance * np.where(known, self._capacity, 1.0))
        kilo = acked / 1000
        reduce = over & (
            (now - self._changed_at >= np.clip(trip, 0.01, 0.2)) | (acked < 0.5 * self.rate)
        )
        normal = ~over & ~under
        increase = normal & ~self._hold
        # The capacity is forgotten if the rate is far above it, or far below at a decrease.
        forget = increase & known & (kilo > self._capacity + deviation)
        forget |= reduce & known & (kilo < self._capacity - deviation)
        self._capacity = np.where(forget, np.nan, self._capacity)
        known &= ~forget
        limit = 1.5 * acked + 10e3
        frame = self.rate / 30
        packet = frame / np.ceil(frame / (1200 * 8))
        additive = np.maximum(4000.0, packet / (2 * (trip + 0.1))) * seconds
        multiplied = np.maximum(self.rate * (_INCREASE**seconds - 1), 1000.0)
        grown = np.minimum(self.rate + np.where(known, additive, multiplied), limit)
        self.rate = np.where(increase & (self.rate < limit), grown, self.rate)
        lower = _BACK_OFF * acked
        lower = np.where(known & (lower > self.rate), _BACK_OFF * self._capacity * 1000, lower)
        self.rate = np.where(reduce, np.minimum(self.rate, lower), self.rate)
        self._learn(kilo, reduce)
        self._changed_at = np.where(reduce | normal, now, self._changed_at)
        self._hold = np.where(normal, False, self._hold | reduce | under)
        self.rate = np.clip(self.rate, MIN_RATE, MAX_RATE)

    def _learn(self, kilo: Floats, active: Flags) -> None:
        """Update the capacity with the rate that arrived while the line was overused."""
        old = np.where(np.isnan(self._capacity), kilo, self._capacity)
        a = _CAPACITY_SMOOTHING
        new = (1 - a) * old + a * kilo
        error = old - kilo
        variance = (1 - a) * self._variance + a * error * error / np.maximum(old, 1.0)
        self._capacity = np.where(active, new, self._capacity)
        self._variance = np.where(active, np.clip(variance, 0.4, 2.5), self._variance)


_OBSERVATIONS, _LEAST_OBSERVATIONS, _OBSERVATION_SECONDS = 15, 3, 0.25
_WEIGHT = 0.9
_CANDIDATES = (1.02, 1.0, 0.95)
_BIAS, _LOG_BIAS = 0.0002, 0.02
_LEAST_INHERENT, _FIRST_INHERENT = 1e-3, 0.01
_HIGH_LOSS, _HIGH_LOSS_SMOOTHING = 0.2, 0.002
_BALANCE, _OFFSET = 100e3, 0.05
"""Upper bound of the inherent loss: offset + balance / rate; of the rate likewise."""
_NEWTON_STEP = 0.75
_RAMP, _RAMP_SECONDS = 1.3, 0.3
_RAMP_ACKED, _RAMP_HELD, _HELD_BELOW = 1.5, 1.2, 1.3
"""Multiples of what arrives up to which the rate may rise while loss limits it; the second one as
long as less than the third multiple of the held rate arrives."""
_HOLD_SECONDS, _HOLD_GROWTH, _LONGEST_HOLD = 0.3, 2.0, 60.0
"""For how long the rate is held after a decrease; twice as long each time, until the loss no longer
limits it."""
_RISING_SECONDS = 2.0
"""For how long the state is `_RISING` without a new increase."""
_SPIKE = 2.0
"""Over this multiple of the median rate the observation with the most loss is no outlier."""
_ALR_SHARE = 0.65
"""A sender of less than this share of its estimate has no more to send."""
_BY_DELAY, _RISING, _FALLING = 0, 1, 2


class LossRate:
    """The loss-based estimator v2: which rate and inherent loss explain the last observations?"""

    def __init__(self, lanes: int) -> None:
        shape = (_OBSERVATIONS, lanes)
        self._sent, self._lost, self._rates = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        """Kilobytes and bit/s of each observation, the newest first."""
        self._ages = _WEIGHT ** np.arange(_OBSERVATIONS)[:, None]
        self._part_sent, self._part_acked, self._part_since = np.zeros(lanes), np.zeros(lanes), 0.0
        self._lanes = np.arange(lanes)
        self._inherent = np.full(lanes, _FIRST_INHERENT)
        self._best = np.full(lanes, np.nan)
        self._number = 0
        self._state = np.full(lanes, _BY_DELAY)
        self._window_limit, self._window_since = np.full(lanes, np.inf), np.full(lanes, -np.inf)
        self._held_until, self._hold = np.full(lanes, -np.inf), np.full(lanes, _HOLD_SECONDS)
        self._held_rate = np.full(lanes, np.inf)
        self._risen_at, self._risen_to = np.full(lanes, -np.inf), np.zeros(lanes)
        self._reported = np.zeros(lanes)
        self.rate = np.full(lanes, np.inf)

    def update(
        self, now: float, bits: Floats, arrived: Floats, by_delay: Floats, acked: Floats
    ) -> None:
        """One feedback; an observation is complete after 250 ms."""
        self._part_sent += bits
        self._part_acked += arrived
        duration = now - self._part_since
        if duration >= _OBSERVATION_SECONDS - 1e-9:
            lost = np.maximum(0.0, self._part_sent - self._part_acked)
            for array, part in (
                (self._sent, self._part_sent / 8000), (self._lost, lost / 8000),
                (self._rates, self._part_sent / duration),
            ):  # fmt: skip
                array[1:] = array[:-1]
                array[0] = part
            self._part_sent, self._part_acked = np.zeros_like(acked), np.zeros_like(acked)
            self._part_since = now
            self._number += 1
            if self._number == 1:
                self._best, self.rate = by_delay.copy(), by_delay.copy()
            self._reported = self._average_loss()
            self._bound(now, self._choose(now, by_delay, acked), by_delay, acked)
        if self._number < _LEAST_OBSERVATIONS:
            self.rate = by_delay
        self.rate = np.clip(np.minimum(self.rate, by_delay), MIN_RATE, MAX_RATE)

    def _average_loss(self) -> Floats:
        """The weighted loss without the observations that have the most and the least of it."""
        number = min(self._number, _OBSERVATIONS)
        sent, lost = self._ages * self._sent, self._ages * self._lost
        total, gone = sent.sum(axis=0), lost.sum(axis=0)
        if number > _LEAST_OBSERVATIONS:
            share = self._lost[:number] / np.maximum(self._sent[:number], 1e-9)
            most, least = (share.argmax(axis=0), self._lanes), (share.argmin(axis=0), self._lanes)
            some = share[most] > 0
            cut, cut_lost = some * sent[most] + sent[least], some * lost[most] + lost[least]
            spike = _SPIKE * np.median(self._rates[:number], axis=0) <= some * self._rates[most]
            use = ~spike & (total - cut > 1e-9)
            total = np.where(use, total - cut, total)
            gone = np.where(use, gone - cut_lost, gone)
        return np.asarray(np.maximum(0.0, gone) / np.maximum(total, 1e-9))

    def _choose(self, now: float, by_delay: Floats, acked: Floats) -> Floats:
        """The rate that explains the observations best; sets the inherent loss."""
        limited = self._state != _BY_DELAY
        idle = self._rates[0] < _ALR_SHARE * self.rate
        rates = np.stack(
            [factor * self._best for factor in _CANDIDATES]
            + [np.where(idle, self._best, acked), np.maximum(by_delay, self._best)]
        )
        upper = np.where(limited, self._window_limit, MAX_RATE)
        rates = np.minimum(rates, np.maximum(self._best, upper))
        inherent = self._feasible(np.broadcast_to(self._inherent, rates.shape), rates)
        inherent = self._newton(inherent, rates)
        pick = self._objective(inherent, rates).argmax(axis=0)
        best, self._inherent = rates[pick, self._lanes], inherent[pick, self._lanes]
        best = np.where(self._reported > self._inherent, np.minimum(best, self._best), best)
        recovering = limited & (now - self._window_since < _RAMP_SECONDS)
        best = np.where(recovering, np.minimum(best, self._window_limit), best)
        same = (best == self._best) & (self._state == _RISING)
        rises = limited & ((best > self._best) | same)
        factor = np.where(acked < _HELD_BELOW * self._held_rate, _RAMP_HELD, _RAMP_ACKED)
        factor = np.where(np.isinf(self._held_rate), _RAMP_ACKED, factor)
        bounded = np.maximum(self._best, np.minimum(best, factor * acked))
        # The least increase of a falling rate, so that its state changes.
        bounded += (self._state == _FALLING) & (bounded == self._best)
        return np.asarray(np.where(rises, bounded, best))

    def _bound(self, now: float, best: Floats, by_delay: Floats, acked: Floats) -> None:
        """Bound the rate by loss, delay and what arrives, and hold it after a decrease."""
        limit = _BALANCE / np.maximum(self._reported - _OFFSET, 1e-6)
        bounded = np.maximum(acked, np.minimum(np.minimum(best, limit), by_delay))
        self._inherent = np.where(bounded < best, 0.0, self._inherent)
        self._best = np.where(bounded < best, bounded, np.maximum(best, acked))
        below = (bounded < by_delay) & (bounded < MAX_RATE)
        held = (self._state == _FALLING) & (self._held_until > now) & below
        self._held_rate = np.where(held, np.maximum(self._held_rate, acked), self._held_rate)
        limited = self._state != _BY_DELAY
        same = (bounded == self.rate) & (self._state == _RISING)
        keeps = (self._state != _RISING) | (self._risen_at + _RISING_SECONDS >= now)
        keeps |= self._risen_to < bounded
        rising = ~held & below & limited & ((bounded > self.rate) | same) & keeps
        falling = ~held & below & ~rising
        starts = falling & (self._state != _FALLING)
        free = ~held & ~below
        higher = rising & (bounded > self._risen_to)
        self._risen_at = np.where(higher, now, self._risen_at)
        self._risen_to = np.where(higher, bounded, np.where(rising | held, self._risen_to, 0.0))
        self._held_until = np.where(starts, now + self._hold, self._held_until)
        self._held_until = np.where(free, -np.inf, self._held_until)
        self._held_rate = np.where(starts, bounded, np.where(free, np.inf, self._held_rate))
        longer = np.minimum(_LONGEST_HOLD, self._hold * _HOLD_GROWTH)
        self._hold = np.where(starts, longer, np.where(free, _HOLD_SECONDS, self._hold))
        self._state = np.where(rising, _RISING, np.where(free, _BY_DELAY, _FALLING))
        self.rate = np.where(held, np.minimum(self._held_rate, bounded), bounded)
        start = ~held & ~free & (now - self._window_since > _RAMP_SECONDS)
        self._window_limit = np.where(
            start, np.maximum(5e3, self._best * _RAMP), self._window_limit
        )
        self._window_since = np.where(start, now, self._window_since)

    @staticmethod
    def _feasible(inherent: Floats, rates: Floats) -> Floats:
        most = np.minimum(1.0, _OFFSET + _BALANCE / np.maximum(rates, 1.0))
        return np.minimum(np.maximum(inherent, _LEAST_INHERENT), most)

    def _loss_at(self, inherent: Floats, rates: Floats) -> Floats:
        """Loss of each observation if the line carried `rates` and had the loss `inherent`."""
        sent = np.maximum(self._rates[None], 1.0)
        excess = np.maximum(0.0, sent - rates[:, None]) / sent
        loss = inherent[:, None] + (1 - inherent[:, None]) * excess
        return np.clip(loss, 1e-6, 1 - 1e-6)

    def _newton(self, inherent: Floats, rates: Floats) -> Floats:
        loss = self._loss_at(inherent, rates)
        got = self._sent - self._lost
        first = (self._ages * (self._lost / loss - got / (1 - loss))).sum(axis=1)
        second = -(self._ages * (self._lost / loss**2 + got / (1 - loss) ** 2)).sum(axis=1)
        return self._feasible(inherent - _NEWTON_STEP * first / np.minimum(second, -1e-6), rates)

    def _objective(self, inherent: Floats, rates: Floats) -> Floats:
        loss = self._loss_at(inherent, rates)
        got = self._sent - self._lost
        fit: Floats = (self._ages * (self._lost * np.log(loss) + got * np.log1p(-loss))).sum(axis=1)
        gap = _HIGH_LOSS - self._reported
        lean = gap / (_HIGH_LOSS_SMOOTHING + np.abs(gap))
        kilo = rates / 1000
        bias = lean * (_BIAS * kilo + _LOG_BIAS * np.log1p(kilo))
        return np.asarray(fit + bias * (self._ages * self._sent).sum(axis=0))


@dataclass(frozen=True, slots=True)
class Report:
    """A receiver's report on one interval."""

    overused: Flags
    underused: Flags
    bits: Floats
    """Bits that were sent."""
    acked: Floats
    """Bits that arrived."""
    took: Floats
    """Seconds in which they arrived."""

    @classmethod
    def of(cls, reports: Sequence[Report], pick: Counts) -> Report:
        """For each lane the report whose number `pick` holds."""
        lanes = np.arange(len(pick))

        def taken(name: str) -> Any:
            return np.stack([getattr(each, name) for each in reports])[pick, lanes]

        return cls(**{field.name: taken(field.name) for field in fields(cls)})


class Control:
    """Both estimators, and the rate of what was acknowledged."""

    def __init__(self, lanes: int) -> None:
        self.slope, self._by_delay, self._by_loss = (
            DelaySlope(lanes),
            DelayRate(lanes),
            LossRate(lanes),
        )
        self.target = np.full(lanes, START_RATE)
        self._acked = np.full(lanes, START_RATE)
        self._arrived = np.zeros((_ACKED_REPORTS, lanes))
        self._took = np.full((_ACKED_REPORTS, lanes), FEEDBACK_SECONDS)
        self._arrived[:] = START_RATE * FEEDBACK_SECONDS
        self._slot = 0

    def probe(self, measured: Floats, active: Flags) -> None:
        """Take the result of the probes with which a call begins."""
        self._by_delay.set(measured, active)

    def feedback(self, now: float, report: Report, trip: Floats, active: Flags) -> None:
        """Process a report that arrived in the lanes `active`; `trip` is the round trip."""
        self._measure(report, active)
        self._by_delay.update(
            now, report.overused & active, report.underused | ~active, self._acked, trip,
            FEEDBACK_SECONDS,
        )  # fmt: skip
        self._by_loss.update(
            now, report.bits * active, report.acked * active, self._by_delay.rate, self._acked
        )  # fmt: skip
        self.target = np.clip(self._by_loss.rate, MIN_RATE, MAX_RATE)

    def _measure(self, report: Report, active: Flags) -> None:
        """Update the rate that arrives; it is at most the rate at which it was sent."""
        self._arrived[self._slot] = np.where(active, report.acked, 0.0)
        self._took[self._slot] = np.where(active, report.took, FEEDBACK_SECONDS)
        self._slot = (self._slot + 1) % _ACKED_REPORTS
        seconds = np.maximum(self._took.sum(axis=0), _ACKED_REPORTS * FEEDBACK_SECONDS)
        self._acked = self._arrived.sum(axis=0) / seconds

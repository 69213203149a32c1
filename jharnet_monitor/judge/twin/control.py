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
FEEDBACK_SECONDS = 0.1
"""From one transport-wide feedback to the next: libwebrtc sends it every 50 to 250 ms."""
_ACKED_SECONDS = 0.4
"""Window over which the arriving rate is averaged (libwebrtc: windows of 150 to 500 ms)."""

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
        self._over_for = np.where(above, self._over_for + between, 0.0)
        self._over_count = np.where(above, self._over_count + 1, 0)
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


class DelayRate:
    """The rate that the delay allows: additive or multiplicative increase, decrease by 15 %."""

    def __init__(self, lanes: int) -> None:
        self.rate = np.full(lanes, START_RATE)
        self._hold = np.zeros(lanes, bool)
        self._capacity = np.full(lanes, np.nan)
        """kbit/s, as the variance below is relative to it."""
        self._variance = np.full(lanes, 0.4)
        self._reduced_at = np.full(lanes, -10.0)

    def set(self, rate: Floats, active: Flags) -> None:
        """Set the rate that a probe measured."""
        self.rate = np.where(active, rate, self.rate)

    def update(
        self, now: float, over: Flags, under: Flags, acked: Floats, trip: Floats, seconds: float
    ) -> None:
        """React to one feedback that came `seconds` after the last."""
        known = ~np.isnan(self._capacity)
        deviation = 3 * np.sqrt(self._variance * np.where(known, self._capacity, 1.0))
        kilo = acked / 1000
        reduce = over & (
            (now - self._reduced_at >= np.clip(trip, 0.01, 0.2)) | (acked < 0.5 * self.rate)
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
        self._reduced_at = np.where(reduce, now, self._reduced_at)
        self._hold = np.where(normal, False, self._hold | over | under)
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


_OBSERVATIONS, _OBSERVATION_SECONDS = 20, 0.25
_WEIGHT = 0.9
_CANDIDATES = (1.02, 1.0, 0.95)
_BIAS, _LOG_BIAS = 0.0002, 0.02
_LEAST_INHERENT, _FIRST_INHERENT = 1e-3, 0.01
_HIGH_LOSS, _HIGH_LOSS_SMOOTHING = 0.15, 0.002
_BALANCE, _OFFSET = 75e3, 0.05
"""Upper bound of the inherent loss: offset + balance / rate; of the rate likewise."""
_NEWTON_STEP = 0.75
_RAMP, _RAMP_SECONDS = 1.3, 0.3


class LossRate:
    """The loss-based estimator v2: which rate and inherent loss explain the last observations?"""

    def __init__(self, lanes: int) -> None:
        shape = (_OBSERVATIONS, lanes)
        self._packets, self._lost, self._rates = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self._ages = _WEIGHT ** np.arange(_OBSERVATIONS)[:, None]
        self._part_packets, self._part_lost = np.zeros(lanes), np.zeros(lanes)
        self._part_bits, self._part_since = np.zeros(lanes), 0.0
        self._inherent = np.full(lanes, _FIRST_INHERENT)
        self._best = np.full(lanes, np.nan)
        self._number = 0
        self._limited = np.zeros(lanes, bool)
        self._window_limit, self._window_since = np.full(lanes, np.inf), np.full(lanes, -np.inf)
        self.rate = np.full(lanes, np.inf)

    def update(
        self, now: float, packets: Counts, lost: Counts, bits: Floats, by_delay: Floats,
        acked: Floats,
    ) -> None:  # fmt: skip
        """One feedback; an observation is complete after 250 ms."""
        self._part_packets += packets
        self._part_lost += lost
        self._part_bits += bits
        duration = now - self._part_since
        if duration >= _OBSERVATION_SECONDS - 1e-9:
            for array, part in (
                (self._packets, self._part_packets), (self._lost, self._part_lost),
                (self._rates, self._part_bits / duration),
            ):  # fmt: skip
                array[1:] = array[:-1]
                array[0] = part
            self._part_packets, self._part_lost = np.zeros_like(acked), np.zeros_like(acked)
            self._part_bits, self._part_since = np.zeros_like(acked), now
            self._number += 1
            self._choose(now, by_delay, acked)
        self.rate = np.minimum(self.rate, by_delay) if self._number else by_delay

    def _choose(self, now: float, by_delay: Floats, acked: Floats) -> None:
        if self._number == 1:
            self._best = by_delay.copy()
        weight = self._ages * self._packets
        reported = (self._ages * self._lost).sum(axis=0) / np.maximum(weight.sum(axis=0), 1e-9)
        upper = np.where(self._limited, self._window_limit, MAX_RATE)
        rates = np.stack(
            [factor * self._best for factor in _CANDIDATES]
            + [acked, np.maximum(by_delay, self._best)]
        )
        rates = np.minimum(rates, np.maximum(self._best, upper))
        inherent = self._feasible(np.broadcast_to(self._inherent, rates.shape), rates)
        inherent = self._newton(inherent, rates)
        value = self._objective(inherent, rates, reported)
        pick = value.argmax(axis=0)
        lanes = np.arange(len(acked))
        best, loss = rates[pick, lanes], inherent[pick, lanes]
        best = np.where((reported > loss) & (best > self._best), self._best, best)
        recovering = self._limited & (now - self._window_since < _RAMP_SECONDS)
        best = np.where(recovering, np.minimum(best, self._window_limit), best)
        self._best, self._inherent = best, loss
        bound = np.where(
            reported > _OFFSET, _BALANCE / np.maximum(reported - _OFFSET, 1e-6), MAX_RATE
        )
        result = np.minimum(np.minimum(best, bound), by_delay)
        self._limited = result < by_delay
        start = self._limited & (now - self._window_since > _RAMP_SECONDS)
        self._window_limit = np.where(start, np.maximum(5e3, best * _RAMP), self._window_limit)
        self._window_since = np.where(start, now, self._window_since)
        self.rate = np.maximum(result, MIN_RATE)

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
        got = self._packets - self._lost
        first = (self._ages * (self._lost / loss - got / (1 - loss))).sum(axis=1)
        second = -(self._ages * (self._lost / loss**2 + got / (1 - loss) ** 2)).sum(axis=1)
        return self._feasible(inherent - _NEWTON_STEP * first / np.minimum(second, -1e-6), rates)

    def _objective(self, inherent: Floats, rates: Floats, reported: Floats) -> Floats:
        loss = self._loss_at(inherent, rates)
        got = self._packets - self._lost
        fit: Floats = (self._ages * (self._lost * np.log(loss) + got * np.log1p(-loss))).sum(axis=1)
        gap = _HIGH_LOSS - reported
        lean = gap / (_HIGH_LOSS_SMOOTHING + np.abs(gap))
        kilo = rates / 1000
        bias = lean * (_BIAS * kilo + _LOG_BIAS * np.log1p(kilo))
        return np.asarray(fit + bias * (self._ages * self._packets).sum(axis=0))


@dataclass(frozen=True, slots=True)
class Report:
    """A receiver's report on one interval."""

    overused: Flags
    underused: Flags
    packets: Counts
    lost: Counts
    bits: Floats
    rate: Floats
    """bit/s at which the packets arrived."""

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

    def probe(self, measured: Floats, active: Flags) -> None:
        """Take the result of the probes with which a call begins."""
        self._by_delay.set(measured, active)
        self._acked = np.where(active, np.minimum(self._acked, measured), self._acked)

    def feedback(self, now: float, report: Report, trip: Floats, active: Flags) -> None:
        """Process a report that arrived in the lanes `active`; `trip` is the round trip."""
        share = 1 - np.exp(-FEEDBACK_SECONDS / _ACKED_SECONDS)
        self._acked = np.where(
            active, self._acked + share * (report.rate - self._acked), self._acked
        )
        self._by_delay.update(
            now, report.overused & active, report.underused | ~active, self._acked, trip,
            FEEDBACK_SECONDS,
        )  # fmt: skip
        self._by_loss.update(
            now, report.packets * active, report.lost * active, report.bits * active,
            self._by_delay.rate, self._acked,
        )  # fmt: skip
        self.target = np.clip(self._by_loss.rate, MIN_RATE, MAX_RATE)

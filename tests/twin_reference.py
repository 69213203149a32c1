"""Congestion control of libwebrtc for one sender, written a second time: plain numbers, no arrays.

From `trendline_estimator.cc`, `inter_arrival_delta.cc`, `aimd_rate_control.cc` and
`link_capacity_estimator.cc`, with the twin's simplifications: the detector rests until its window
is full, counts the first interval above the threshold in full, and takes the time between groups
as sent; the error of the capacity is that against the estimate before.
"""

from __future__ import annotations

from collections import deque

import numpy as np


class Trendline:
    """The delay-based detector of overuse; seconds in, `overusing`, `normal` or `underusing`."""

    def __init__(self) -> None:
        self.group: tuple[float, float, float] | None = None  # sent, first arrival, last arrival
        self.previous: tuple[float, float, float] | None = None
        self.points: deque[tuple[float, float]] = deque(maxlen=20)
        self.deltas = 0
        self.accumulated = self.smoothed = 0.0
        self.threshold, self.last_trend = 12.5, 0.0
        self.over_ms, self.over_count, self.state = 0.0, 0, "normal"

    def add(self, sent: float, arrived: float) -> None:
        """Add one packet, or packets sent and received together."""
        if self.group is not None:
            group_sent, first, last = self.group
            gap = arrived - last
            if gap <= 0.005 and gap < sent - group_sent and arrived - first <= 0.100:
                self.group = (sent, first, arrived)
                return
            if self.previous is not None:
                self._delta(group_sent - self.previous[0], last - self.previous[2], last)
            self.previous = self.group
        self.group = (sent, arrived, arrived)

    def _delta(self, sent: float, received: float, at: float) -> None:
        self.deltas += 1
        self.accumulated += 1000 * (received - sent)
        self.smoothed = 0.9 * self.smoothed + 0.1 * self.accumulated
        self.points.append((1000 * at, self.smoothed))
        if len(self.points) == 20:
            slope = float(np.polyfit(*zip(*self.points, strict=True), 1)[0])
            self._detect(4 * min(self.deltas, 60) * slope, 1000 * sent)

    def _detect(self, trend: float, interval_ms: float) -> None:
        if trend > self.threshold:
            self.over_ms += interval_ms
            self.over_count += 1
            if self.over_ms > 10 and self.over_count > 1 and trend >= self.last_trend:
                self.over_ms, self.over_count, self.state = 0.0, 0, "overusing"
        else:
            self.over_ms, self.over_count = 0.0, 0
            self.state = "underusing" if trend < -self.threshold else "normal"
        self.last_trend = trend
        if abs(trend) <= self.threshold + 15:
            gain = 0.039 if abs(trend) < self.threshold else 0.0087
            self.threshold += gain * (abs(trend) - self.threshold) * min(interval_ms, 100)
            self.threshold = min(600.0, max(6.0, self.threshold))


class Aimd:
    """Additive increase, multiplicative decrease; bit/s and seconds."""

    def __init__(self) -> None:
        self.rate, self.state = 300e3, "increase"
        self.capacity: float | None = None  # kbit/s
        self.variance = 0.4
        self.changed, self.trip, self.trip_at = -10.0, 0.2, -1.0

    def update(
        self, now: float, usage: str, throughput: float, trip: float, seconds: float
    ) -> None:
        """One feedback."""
        if now - self.trip_at >= 1.0:
            self.trip, self.trip_at = trip, now
        kilo = throughput / 1000
        if usage == "normal":
            if self.state == "increase":
                self._increase(kilo, seconds)
            self.state, self.changed = "increase", now
        elif usage == "underusing":
            self.state = "hold"
        else:
            waited = now - self.changed >= min(0.2, max(0.01, self.trip))
            if waited or throughput < self.rate / 2:
                self._decrease(kilo)
                self.state, self.changed = "hold", now
        self.rate = min(5e6, max(30e3, self.rate))

    def _deviation(self) -> float:
        assert self.capacity is not None
        return 3 * float(np.sqrt(self.variance * self.capacity))

    def _increase(self, kilo: float, seconds: float) -> None:
        if self.capacity is not None and kilo > self.capacity + self._deviation():
            self.capacity = None
        most = 1.5 * 1000 * kilo + 10_000
        if self.rate >= most:
            return
        if self.capacity is None:
            more = max(1000.0, self.rate * 1.08**seconds - self.rate)
        else:
            frame_bits = self.rate / 30
            packets = -(-frame_bits // 9600)
            more = seconds * max(4000.0, frame_bits / packets / (2 * (self.trip + 0.1)))
        self.rate = min(most, self.rate + more)

    def _decrease(self, kilo: float) -> None:
        if self.capacity is not None and kilo < self.capacity - self._deviation():
            self.capacity = None
        lower = 850 * kilo
        if lower > self.rate and self.capacity is not None:
            lower = 850 * self.capacity
        self.rate = min(self.rate, lower)
        old = kilo if self.capacity is None else self.capacity
        self.capacity = 0.95 * old + 0.05 * kilo
        self.variance = 0.95 * self.variance + 0.05 * (old - kilo) ** 2 / max(1.0, old)
        self.variance = min(2.5, max(0.4, self.variance))

"""Congestion control of libwebrtc for one sender, written a second time: plain numbers, no arrays.

From `trendline_estimator.cc`, `inter_arrival_delta.cc`, `aimd_rate_control.cc`,
`link_capacity_estimator.cc` and `loss_based_bwe_v2.cc`, with the twin's simplifications: the
detector rests until its window is full, counts the first interval above the threshold in full, and
takes the time between groups as sent; the error of the capacity is that against the estimate
before. `Listener` is NetEq's playout as the twin models it.
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
            times, delays = (np.array(axis) for axis in zip(*self.points, strict=True))
            slope = float(np.polyfit(times, delays, 1)[0])
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


class LossBased:
    """The loss-based estimator of `loss_based_bwe_v2.cc`; bit/s and seconds."""

    WEIGHTS = [0.9**age for age in range(15)]  # noqa: RUF012 - never written

    def __init__(self) -> None:
        self.seen: list[tuple[float, float, float]] = []  # kB sent, kB lost, bit/s; newest first
        self.sent_bits = self.got_bits = self.since = 0.0
        self.number, self.state = 0, "delay"
        self.best, self.inherent, self.rate, self.average = 0.0, 0.01, np.inf, 0.0
        self.window = (-np.inf, np.inf)  # began, limit
        self.hold_until, self.hold_rate, self.hold = -np.inf, np.inf, 0.3
        self.risen_at, self.risen_to = -np.inf, 0.0

    def update(self, now: float, bits: float, got: float, by_delay: float, acked: float) -> None:
        """One feedback."""
        self.sent_bits += bits
        self.got_bits += got
        duration = now - self.since
        if duration >= 0.25 - 1e-9:
            lost = max(0.0, self.sent_bits - self.got_bits) / 8000
            self.seen.insert(0, (self.sent_bits / 8000, lost, self.sent_bits / duration))
            del self.seen[15:]
            self.sent_bits = self.got_bits = 0.0
            self.since = now
            self.number += 1
            if self.number == 1:
                self.best = self.rate = by_delay
            self.average = self._average()
            self._bound(now, self._candidate(now, by_delay, acked), by_delay, acked)
        if self.number < 3:
            self.rate = by_delay
        self.rate = min(5e6, max(30e3, min(self.rate, by_delay)))

    def _average(self) -> float:
        weighted = [
            (weight * sent, weight * lost)
            for weight, (sent, lost, _) in zip(self.WEIGHTS, self.seen, strict=False)
        ]
        sent, lost = (sum(pair[part] for pair in weighted) for part in (0, 1))
        if len(self.seen) > 3:
            shares = [lost / max(1e-9, sent) for sent, lost, _ in self.seen]
            most, least = shares.index(max(shares)), shares.index(min(shares))
            cut = weighted[least]
            spike = 0.0
            if shares[most] > 0:
                cut = (cut[0] + weighted[most][0], cut[1] + weighted[most][1])
                spike = self.seen[most][2]
            usual = float(np.median([rate for _, _, rate in self.seen]))
            if spike < 2 * usual and sent - cut[0] > 1e-9:
                sent, lost = sent - cut[0], lost - cut[1]
        return max(0.0, lost) / max(1e-9, sent)

    def _candidate(self, now: float, by_delay: float, acked: float) -> float:
        limited = self.state != "delay"
        idle = self.seen[0][2] < 0.65 * self.rate
        rates = [1.02 * self.best, self.best, 0.95 * self.best]
        rates += [self.best if idle else acked, max(by_delay, self.best)]
        upper = max(self.best, self.window[1] if limited else 5e6)
        rates = [min(rate, upper) for rate in rates]
        tried = [(rate, self._newton(self._feasible(self.inherent, rate), rate)) for rate in rates]
        values = [self._objective(rate, inherent) for rate, inherent in tried]
        best, self.inherent = tried[values.index(max(values))]
        if self.average > self.inherent:
            best = min(best, self.best)
        if limited and now - self.window[0] < 0.3:
            best = min(best, self.window[1])
        if limited and (best > self.best or (best == self.best and self.state == "up")):
            held = np.isfinite(self.hold_rate) and acked < 1.3 * self.hold_rate
            best = max(self.best, min(best, (1.2 if held else 1.5) * acked))
            if self.state == "down" and best == self.best:
                best += 1
        return best

    def _bound(self, now: float, best: float, by_delay: float, acked: float) -> None:
        instant = 100e3 / max(1e-6, self.average - 0.05)
        bounded = max(acked, min(best, instant, by_delay))
        if bounded < best:
            self.inherent, self.best = 0.0, bounded
        else:
            self.best = max(best, acked)
        below = bounded < by_delay and bounded < 5e6
        if self.state == "down" and self.hold_until > now and below:
            self.hold_rate = max(self.hold_rate, acked)
            self.rate = min(self.hold_rate, bounded)
            return
        up = self.state != "delay" and (
            bounded > self.rate or (bounded == self.rate and self.state == "up")
        )
        keeps = self.state != "up" or self.risen_at + 2.0 >= now or self.risen_to < bounded
        if not below:
            self.state = "delay"
            self.hold_until, self.hold_rate, self.hold = -np.inf, np.inf, 0.3
            self.risen_to = 0.0
        elif up and keeps:
            self.state = "up"
            if bounded > self.risen_to:
                self.risen_at, self.risen_to = now, bounded
        else:
            if self.state != "down":
                self.hold_until, self.hold_rate = now + self.hold, bounded
                self.hold = min(60.0, 2 * self.hold)
            self.state, self.risen_to = "down", 0.0
        self.rate = bounded
        if self.state != "delay" and now - self.window[0] > 0.3:
            self.window = (now, max(5e3, 1.3 * self.best))

    @staticmethod
    def _feasible(inherent: float, rate: float) -> float:
        return min(max(inherent, 1e-3), 1.0, 0.05 + 100e3 / max(1.0, rate))

    def _losses(self, rate: float, inherent: float) -> list[float]:
        return [
            min(1 - 1e-6, max(1e-6, inherent + (1 - inherent) * max(0.0, 1 - rate / max(1.0, at))))
            for _, _, at in self.seen
        ]

    def _newton(self, inherent: float, rate: float) -> float:
        first = second = 0.0
        losses = self._losses(rate, inherent)
        for weight, p, (sent, lost, _) in zip(self.WEIGHTS, losses, self.seen, strict=False):
            first += weight * (lost / p - (sent - lost) / (1 - p))
            second -= weight * (lost / p**2 + (sent - lost) / (1 - p) ** 2)
        return self._feasible(inherent - 0.75 * first / min(second, -1e-6), rate)

    def _objective(self, rate: float, inherent: float) -> float:
        gap = 0.2 - self.average
        lean = gap / (0.002 + abs(gap))
        bias = lean * (0.0002 * rate / 1000 + 0.02 * float(np.log(1 + rate / 1000)))
        total = 0.0
        losses = self._losses(rate, inherent)
        for weight, p, (sent, lost, _) in zip(self.WEIGHTS, losses, self.seen, strict=False):
            fit = lost * np.log(p) + (sent - lost) * np.log(1 - p)
            total += weight * (float(fit) + bias * sent)
        return total


class Listener:
    """NetEq's playout of one stream, packet by packet; seconds."""

    def __init__(self) -> None:
        self.fastest = np.inf
        self.delay, self.concealed = 0.040, 0.0
        self.counts = [0.0, 1.0] + [0.0] * 98
        self.lost_before = False
        self.last: tuple[float, float | None] | None = None

    def add(self, left: float, arrival: float | None) -> None:
        """Add a packet; `arrival` is None if it was lost. The one before it is played."""
        if arrival is not None:
            self.fastest = min(self.fastest + 0.0001, arrival - left)
            late = int((arrival - left - self.fastest) / 0.020)
            self.counts = [0.983 * count for count in self.counts]
            self.counts[min(late, 99)] += 0.017
        if self.last is not None:
            self._play(*self.last)
        self.last = (left, arrival)

    def _play(self, left: float, arrival: float | None) -> None:
        turn = left + (0.0 if np.isinf(self.fastest) else self.fastest) + self.delay
        if arrival is None:
            self.concealed += 0.020 if self.lost_before else 0.72 * 0.020
            late = 0.0
        else:
            late = max(0.0, arrival - turn)
            self.concealed += late
        self.lost_before = arrival is None
        self.delay = min(2.0, self.delay + late)
        reached, frames = self.counts[0], 1
        while reached < 0.95 * sum(self.counts):
            reached += self.counts[frames]
            frames += 1
        target = min(2.0, max(0.040, 0.020 * frames))
        if self.delay - target > 0.020:
            self.delay -= 0.12 * 0.020
        elif self.delay < target:
            self.delay += 0.06 * 0.020
        self.delay = max(0.040, self.delay)

"""The counters of one direction over time, and what its connections' ends and beginnings cost.

A client that begins a new connection waits for round trips and starts slowly. A rate across short
answers is that of the server, and not that of the line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jharnet_monitor.judge.line.throughput import Estimate, Sample, estimate, is_stable
from jharnet_monitor.model import Direction
from jharnet_monitor.probes.bandwidth.counter_series import CounterSeries
from jharnet_monitor.probes.bandwidth.tcp_info import TcpInfo

ACKNOWLEDGED_SYN = 1
"""The kernel counts the SYN as a byte that was acknowledged."""
MAX_IDLE = 0.3
"""If connections delivered nothing for more than this share of the time, there is no rate."""

STOOD_STILL = 0.5
"""A connection that is slower than this share of the mean of all shows nothing of the line."""


@dataclass(slots=True)
class _Delivery:
    """When a connection's first and its newest segment were seen, in seconds, and their counts.
    `first` is None before that."""

    first: float | None = None
    last: float = 0.0
    payload: int = 0
    segments: int = 0


class TransferSeries:
    """The series of a direction that `threads` connections fill at the same time.

    Of one thread, each connection has a series of its own, since nothing arrives between two. Of
    several, the others go on; `idle` says how much was missing. `window` is the length in seconds
    of the windows that must agree.
    """

    def __init__(self, direction: Direction, threads: int, window: float) -> None:
        self._direction, self._threads, self._window = direction, threads, window
        self._series = [CounterSeries()]
        self._deliveries: list[_Delivery] = []
        self._now = 0.0
        self.changed: float | None = None
        """When a segment was last seen, on the clock of `add`; None before that."""

    def add(self, now: float, infos: Sequence[TcpInfo]) -> bool:
        """Add the counters of all connections so far; True if the rate is stable."""
        self._now = now
        if len(infos) > len(self._deliveries):
            self._deliveries += [_Delivery() for _ in range(len(infos) - len(self._deliveries))]
            if self._threads == 1:
                self._series.append(CounterSeries())
        down = self._direction is Direction.DOWN
        for delivery, info in zip(self._deliveries, infos, strict=False):
            segments = info.data_segments_in if down else info.delivered
            payload = info.bytes_received if down else info.bytes_acked - ACKNOWLEDGED_SYN
            if payload > 0 and (payload, segments) != (delivery.payload, delivery.segments):
                first = now if delivery.first is None else delivery.first
                delivery.first, delivery.last = first, now
                delivery.payload, delivery.segments = payload, segments
                self.changed = now
        newest = self._deliveries[-1:] if self._threads == 1 else self._deliveries
        if all(delivery.first is None for delivery in newest):
            return False  # a wait for an answer is no part of a transfer
        series = self._series[-1]
        added = series.add_received(now, infos, 0) if down else series.add_acknowledged(now, infos)
        return added and is_stable(series.samples(), self._window) and not self._too_short()

    @property
    def renewed(self) -> int:
        """How many connections took the place of others."""
        return max(0, len(self._deliveries) - self._threads)

    @property
    def idle(self) -> float:
        """The share of the time of all threads for which a renewed connection delivered nothing."""
        firsts = [d.first for d in self._deliveries if d.first is not None]
        if not self.renewed or not firsts or self._now <= min(firsts):
            return 0.0
        began = [self._now if d.first is None else d.first for d in self._deliveries]
        ended = sorted(d.last for d in self._deliveries if d.first is not None)[: self.renewed]
        waited = sum(sorted(began)[-len(ended) :]) - sum(ended)
        return min(1.0, max(0.0, waited) / self._threads / (self._now - min(firsts)))

    def _too_short(self) -> bool:
        """Whether the connections of several threads lasted for less than a window on average, or
        delivered nothing for too long."""
        if self._threads == 1 or not self.renewed:
            return False
        firsts = [d.first for d in self._deliveries if d.first is not None]
        seconds = self._now - min(firsts, default=self._now)
        mean = seconds * self._threads / len(self._deliveries)
        return mean < self._window or self.idle > MAX_IDLE

    def estimate(self) -> Estimate | None:
        """The rate of the series that became stable, else of the longest one. None if connections
        were too short for either, or if one of them stood still.
        """
        if self._too_short():
            return None
        found = [estimate(series.samples(), self._window) for series in reversed(self._series)]
        chosen = next((each for each in found if each is not None and each.stable), None)
        if chosen is None:
            longest = max((series.samples() for series in self._series), key=_seconds)
            if self._is_divided and _seconds(longest) < 2 * self._window:
                return None
            chosen = estimate(longest, self._window)
        if chosen is None or (self._is_divided and chosen.rate < STOOD_STILL * self._mean_rate()):
            return None
        return chosen

    @property
    def _is_divided(self) -> bool:
        """Whether there was one connection after the other."""
        return self._threads == 1 and self.renewed > 0

    def _mean_rate(self) -> float:
        """The mean of all connections in bit/s, pauses included: the line has carried that."""
        firsts = [d.first for d in self._deliveries if d.first is not None]
        seconds = self._now - min(firsts, default=self._now)
        return 8 * sum(d.payload for d in self._deliveries) / seconds if seconds > 0 else 0.0


def _seconds(samples: Sequence[Sample]) -> float:
    return samples[-1].seconds - samples[0].seconds if samples else 0.0

"""TCP transfers of others beside a call, as fluids under BBR. Pure.

BBR version 1 (draft-cardwell-iccrg-bbr-congestion-control-00; the constants are those of Linux's
`tcp_bbr.c`) sends at the largest rate that was delivered lately, keeps up to two round trips of it
in flight and does not slow down for loss. Every array holds one value a lane; bit/s, seconds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_SEGMENT = 1500 * 8.0
"""Bits of a TCP segment."""
_FIRST_WINDOW = 10 * _SEGMENT
"""RFC 6928."""
_SHORT_BURST = 1.2e6
"""bit/s of pacing below which segments leave one by one, and otherwise in pairs."""
_START_GAIN = 2.885
"""Of pacing and window until the rate has reached the line's; then its inverse of the pacing, until
the queue of the start is empty."""
_FULL_GROWTH, _FULL_ROUNDS = 1.25, 3
"""The rate has reached the line's after so many rounds without that growth."""
_GAINS = np.array([1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
"""Of the pacing afterwards, each for the least round trip."""
_MARGIN = 0.99
"""Of the pacing."""
_WINDOW_GAIN, _BURSTS, _AGGREGATED = 2.0, 3, 0.01
"""The window: round trips, bursts, and seconds for which acknowledgements are gathered."""
_RATE_ROUNDS = 10
"""Rounds over which the largest delivered rate counts."""
_TRIP_SECONDS, _PROBE_SECONDS, _LEAST_WINDOW = 10.0, 0.2, 4 * _SEGMENT
"""After 10 s without a shorter round trip, the window falls to 4 segments for 0.2 s."""
_LONG_ROUNDS, _LONG_LOSS, _LONG_ALIKE, _LONG_KEPT = 4, 0.2, 0.125, 48
"""Rounds of an interval, its loss, and the likeness of two intervals from which BBR assumes a
policer; and the rounds for which it then sends at the mean of the two."""


class TcpTransfers:
    """One transfer a lane that runs and pauses in turn; each time it is a new connection."""

    def __init__(self, columns: dict[str, Floats], rng: np.random.Generator) -> None:
        """`columns` holds the fields of `DirectionModel` for each lane."""
        self._on = columns["transfer_on"]
        lanes = len(self._on)
        self._cycle = np.where(self._on > 0, self._on + columns["transfer_off"], 1.0)
        self._phase = rng.random(lanes) * self._cycle
        self._delay = 2 * columns["delay"] + 1e-3
        self._running = np.zeros(lanes, bool)
        self._flow = _Flow(lanes, rng)

    def load(self, now: Floats, passed: Floats, backlog: Floats, rate: Floats) -> Floats:
        """What they send as a share of the bottleneck's rate."""
        running = (self._on > 0) & (np.mod(now + self._phase, self._cycle) < self._on)
        trip = self._delay + backlog
        self._flow.connect(running & ~self._running, now, trip)
        self._running = running
        self._flow.advance(now, passed, trip, backlog * rate, rate)
        return np.where(running, self._flow.sent / rate, 0.0)

    def burst(self, rate: Floats) -> Floats:
        """Seconds that a burst of their segments takes at the bottleneck."""
        return np.where(self._running, self._flow.burst() / rate, 0.0)

    def meet(self, passes: Floats, dropped: Flags) -> None:
        """Say what share of it gets through now, and whether the queue or bucket drops packets."""
        self._flow.passes, self._flow.dropped = passes, dropped


class _Flow:
    """The congestion control of each lane's connection."""

    def __init__(self, lanes: int, rng: np.random.Generator) -> None:
        def zeros() -> Floats:
            return np.zeros(lanes)

        self._lanes, self._rng = np.arange(lanes), rng
        self.sent = zeros()
        self.passes, self.dropped = np.ones(lanes), np.zeros(lanes, bool)
        self._rates = np.zeros((_RATE_ROUNDS, lanes))
        self._rounds, self._round_at = np.zeros(lanes, np.int64), zeros()
        self._delivered, self._lost = zeros(), zeros()
        """Bits in this round."""
        self._starting, self._draining = np.ones(lanes, bool), np.zeros(lanes, bool)
        self._window, self._queued = zeros(), zeros()
        """Bits: what may be in flight, and what of it waits in the queue of the bottleneck."""
        self._full, self._full_for = zeros(), np.zeros(lanes, np.int64)
        self._least, self._least_at, self._probe_until = np.full(lanes, np.inf), zeros(), zeros()
        self._gain, self._gain_at = np.zeros(lanes, np.int64), zeros()
        self._long, self._long_until = zeros(), np.zeros(lanes, np.int64)
        self._long_got, self._long_lost, self._long_since = zeros(), zeros(), zeros()
        self._long_rounds = np.zeros(lanes, np.int64)

    def connect(self, new: Flags, now: Floats, trip: Floats) -> None:
        """Begin a connection in the lanes `new`."""
        if not new.any():
            return
        self._rates[:, new] = 0.0
        self._rates[0, new] = (_FIRST_WINDOW / trip)[new] / _START_GAIN
        for array in (self._rounds, self._delivered, self._lost, self._full, self._full_for,
                      self._probe_until, self._gain, self._long, self._long_until, self._queued,
                      self._long_got, self._long_lost, self._long_rounds):  # fmt: skip
            array[new] = 0
        for array in (self._round_at, self._least_at, self._gain_at, self._long_since):
            array[new] = now[new]
        self._starting[new], self._draining[new] = True, False
        self._least[new] = np.inf
        self._window[new] = _FIRST_WINDOW
        self._set_rate(now, trip)

    def burst(self) -> Floats:
        """Bits that it sends at once."""
        return np.where(self.sent < _SHORT_BURST, 1, 2) * _SEGMENT

    def advance(
        self, now: Floats, passed: Floats, trip: Floats, queued: Floats, line: Floats
    ) -> None:
        """Let time pass; `queued` are the bits of everybody in the bottleneck's queue."""
        bits = self.sent * passed
        entered = bits * self.passes
        waiting = np.minimum(self._queued, queued) + entered
        share = waiting / np.maximum(queued + entered, 1e-9)
        left = np.where(queued > 0, np.minimum(waiting, share * line * passed), waiting)
        self._queued = waiting - left
        self._delivered += left
        self._lost += np.where(self.dropped, bits - entered, 0.0)
        self._grow(left)
        self._end_rounds(now, (now - self._round_at >= trip) & (self._delivered > 0), line)
        self._measure_trip(now, trip)
        turns = now - self._gain_at >= self._least
        self._gain = np.where(turns, (self._gain + 1) % len(_GAINS), self._gain)
        self._gain_at = np.where(turns, now, self._gain_at)
        self._set_rate(now, trip)

    def _grow(self, acknowledged: Floats) -> None:
        """Let the window grow by what was acknowledged, while the start lasts beyond its target.

        Acknowledgements take a round trip: there are none in the first round, and what leaves now
        grows exponentially, which doubles in a round trip as in the rounds of the real one.
        """
        grows = ~self._starting | (self._window < np.maximum(self._target(), 2 * _FIRST_WINDOW))
        grows &= self._rounds > 0
        self._window += np.where(grows, np.log(2) * acknowledged, 0.0)

    def _target(self) -> Floats:
        """The window that BBR aims at, in bits."""
        most = self._rates.max(axis=0)
        gain = np.where(self._starting | self._draining, _START_GAIN, _WINDOW_GAIN)
        least = np.where(np.isinf(self._least), 0.0, self._least)
        gathered = np.where(self._starting, 0.0, _AGGREGATED * most)
        return np.asarray(gain * most * least + _BURSTS * self.burst() + gathered)

    def _end_rounds(self, now: Floats, ends: Flags, line: Floats) -> None:
        if not ends.any():
            return
        seconds = np.maximum(now - self._round_at, 1e-3)
        # A round is measured from one acknowledgement to another, which differ by a burst.
        rate = (self._delivered + self.burst()) / seconds
        # Beside others, the number of its segments among those of a round varies by chance.
        left = np.clip(1 - rate / line, 0.0, 1.0)
        chance = np.sqrt(left * _SEGMENT / np.maximum(self._delivered, _SEGMENT))
        chance = chance * self._rng.standard_normal(len(rate))
        rate = np.where(self.passes < 1, np.clip(rate * (1 + chance), 0.0, line), rate)
        self._rounds += ends
        at = (self._rounds % _RATE_ROUNDS, self._lanes)
        self._rates[at] = np.where(ends, rate, self._rates[at])
        grows = ends & (rate >= _FULL_GROWTH * self._full)
        self._full = np.where(grows, rate, self._full)
        self._full_for = np.where(grows, 0, self._full_for + ends)
        reached = self._starting & (self._full_for >= _FULL_ROUNDS)
        self._starting &= ~reached
        self._draining = (self._draining | reached) & (self._queued > self.burst())
        self._seek_policer(now, ends)
        for array in (self._delivered, self._lost):
            array[ends] = 0.0
        self._round_at = np.where(ends, now, self._round_at)

    def _seek_policer(self, now: Floats, ends: Flags) -> None:
        """Take the mean rate of two intervals alike with much loss as a policer's."""
        begins = ends & (self._long_rounds == 0) & (self._lost > 0)
        self._long_since = np.where(begins, now, self._long_since)
        counts = ends & ~begins & (self._long_rounds > 0)
        self._long_rounds += begins | counts
        self._long_got += np.where(counts, self._delivered, 0.0)
        self._long_lost += np.where(counts, self._lost, 0.0)
        ready = counts & (self._long_rounds > _LONG_ROUNDS)
        ready &= self._long_lost >= _LONG_LOSS * self._long_got
        rate = self._long_got / np.maximum(now - self._long_since, 1e-3)
        alike = ready & (np.abs(rate - self._long) <= np.maximum(4e3, _LONG_ALIKE * self._long))
        self._long = np.where(alike, (rate + self._long) / 2, np.where(ready, rate, self._long))
        self._long_until = np.where(alike, self._rounds + _LONG_KEPT, self._long_until)
        over = ready | (counts & (self._long_rounds > 4 * _LONG_ROUNDS))
        for array in (self._long_got, self._long_lost, self._long_rounds):
            array[over] = 0
        done = ends & (self._rounds == self._long_until)
        self._long = np.where(done, 0.0, self._long)

    def _measure_trip(self, now: Floats, trip: Floats) -> None:
        """Follow the least round trip; look for a shorter one after 10 s without any."""
        probes = (now - self._least_at > _TRIP_SECONDS) & (self._probe_until < now)
        self._probe_until = np.where(probes, now + _PROBE_SECONDS + trip, self._probe_until)
        shorter = probes | (trip <= self._least)
        self._least = np.where(shorter, trip, self._least)
        self._least_at = np.where(shorter, now, self._least_at)

    def _set_rate(self, now: Floats, trip: Floats) -> None:
        most = self._rates.max(axis=0)
        policed = self._long_until > self._rounds
        gain = np.where(self._draining, 1 / _START_GAIN, _GAINS[self._gain])
        gain = np.where(self._starting, _START_GAIN, gain)
        most, gain = np.where(policed, self._long, most), np.where(policed, 1.0, gain)
        target = np.where(self._starting, np.inf, self._target())
        self._window = np.maximum(np.minimum(self._window, target), _LEAST_WINDOW)
        window = np.where(self._probe_until >= now, _LEAST_WINDOW, self._window)
        self.sent = np.minimum(_MARGIN * gain * most, window / trip)

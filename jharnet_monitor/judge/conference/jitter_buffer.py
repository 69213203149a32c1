"""The buffer from which a client plays the voice: NetEQ of libwebrtc, packet by packet. Pure.

Its rules, times and weights are those of libwebrtc's `decision_logic.cc`, `delay_manager.h` and
`underrun_optimizer.cc`. The three speeds are estimates, on which the result hardly depends; the
stretched share was fitted before, to loss alone. What Chromium conceals of late and lost packets is
compared with it in `tests/bench/late_voice.py`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from itertools import accumulate

PACKET_SECONDS = 0.020
_FIRST_TARGET = 0.080
"""The target delay in seconds until the first interval has ended."""
_QUANTILE, _FORGET, _FIRST_FORGET = 0.95, 0.983, 2
"""The target covers this share of the intervals' largest delays. An interval's weight is multiplied
by `_FORGET` with each later one; of the first ones, the weights are more even."""
_INTERVAL_SECONDS, _BUCKET_SECONDS, _BUCKETS = 0.5, 0.020, 100
_HISTORY_SECONDS = 2.0
"""A delay is measured from the shortest transit of so many seconds."""
_TOLERANCE_SECONDS = 0.020
_ACCELERATION, _FAST_ACCELERATION, _DECELERATION = 0.2, 0.5, 0.12
"""By how much faster or slower it plays to change its delay: 10 ms of a pitch period every 50 ms,
or 6 ms where it inserts one; the fast one is not limited in time."""
_STRETCHED = 0.28
"""Share of a gap's first lost packet that is covered by stretching what came before it."""


class JitterBuffer:
    """Plays one stream. A late packet is concealed until it arrives, and the delay grows by that.

    >>> buffer = JitterBuffer()
    >>> sum(buffer.add(number / 50, number / 50 + 0.05) for number in range(100))
    0.0
    >>> round(buffer.delay, 2)
    0.04
    >>> round(buffer.add(2.0, 2.15), 2)  # 0.1 s later than the others
    0.06
    >>> round(buffer.add(2.02, 2.15), 3), round(buffer.add(2.04, None), 4)
    (0.0, 0.0144)
    """

    def __init__(self) -> None:
        self.delay = 0.0
        """Seconds by which a packet of the shortest transit waits."""
        self._plays_after: float | None = None
        """Seconds between sending and playing."""
        self._shortest: deque[tuple[float, float]] = deque()
        self._longest: deque[tuple[float, float]] = deque()
        """Arrivals and transits, arrivals and delays: those that no later one undercuts or
        exceeds."""
        self._target = _FIRST_TARGET
        self._weights = [0.0] * _BUCKETS
        self._intervals = 0
        self._interval_end: float | None = None
        self._most = 0.0
        self._gap = False

    def add(self, left: float, arrival: float | None) -> float:
        """Add the next packet in the order of sending; seconds that are concealed for it.

        `left` is when it was sent and `arrival` when it arrived, None if it never did; both in
        seconds, of clocks that need not agree.
        """
        if arrival is None:
            first = not self._gap
            self._gap = True
            return PACKET_SECONDS * (1 - _STRETCHED if first else 1.0)
        self._gap = False
        transit = arrival - left
        shortest, longest = self._note(arrival, transit)
        plays_after = transit if self._plays_after is None else self._plays_after
        late = max(0.0, transit - plays_after)
        plays_after += late
        self.delay = plays_after - shortest
        self._plays_after = plays_after + PACKET_SECONDS * self._change(longest)
        return late

    def _change(self, longest: float) -> float:
        """By how much slower (or faster, if negative) it plays now."""
        high = self._target + longest + _TOLERANCE_SECONDS
        if self.delay >= 4 * high:
            return -_FAST_ACCELERATION
        if self.delay >= high:
            return -_ACCELERATION
        return _DECELERATION if self.delay < self._target else 0.0

    def _note(self, arrival: float, transit: float) -> tuple[float, float]:
        """Note a transit; the shortest transit and the longest delay of the history."""
        shortest, longest = self._shortest, self._longest
        while shortest and shortest[-1][1] >= transit:
            shortest.pop()
        shortest.append((arrival, transit))
        while shortest[0][0] < arrival - _HISTORY_SECONDS:
            shortest.popleft()
        delay = transit - shortest[0][1]
        while longest and longest[-1][1] <= delay:
            longest.pop()
        longest.append((arrival, delay))
        while longest[0][0] < arrival - _HISTORY_SECONDS:
            longest.popleft()
        self._most = max(self._most, delay)
        if self._interval_end is None:
            self._interval_end = arrival + _INTERVAL_SECONDS
        elif arrival > self._interval_end:
            self._end_interval()
            self._interval_end = arrival + _INTERVAL_SECONDS
        return shortest[0][1], longest[0][1]

    def _end_interval(self) -> None:
        """Take the largest delay of the interval into the histogram, and set the target."""
        self._intervals += 1
        forget = min(_FORGET, max(0.0, 1 - _FIRST_FORGET / (self._intervals + 1)))
        self._weights = [forget * weight for weight in self._weights]
        self._weights[min(_BUCKETS - 1, int(self._most / _BUCKET_SECONDS))] += 1 - forget
        self._most = 0.0
        bucket = bisect_left(list(accumulate(self._weights)), _QUANTILE * sum(self._weights))
        self._target = _BUCKET_SECONDS * (min(bucket, _BUCKETS - 1) + 1)

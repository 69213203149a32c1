"""The listener's audio: playout delay and concealment. Pure.

NetEq as libwebrtc ships it, without Opus's forward error correction. A late packet is concealed for
as long as it is late, and the delay grows accordingly; the delay shrinks by acceleration.
"""

from __future__ import annotations

import numpy as np

from jharnet_monitor.judge.twin.path import Flags, Floats

FRAME = 0.020
_LEAST_DELAY, _MOST_DELAY = 0.040, 2.0
_QUANTILE, _FORGET = 0.95, 0.983
"""Quantile of the relative delays that NetEq takes as its target, and its forget factor per
packet."""
_BINS = 100
_STRETCHED = 0.28
"""Share of a gap's first packet that is covered by stretching earlier audio. Fitted."""
_ACCELERATION, _DECELERATION = 0.12, 0.06
"""Largest share by which the playout is sped up or slowed down to reach the target. Fitted."""


class Voice:
    """The listeners of all lanes."""

    def __init__(self, lanes: int, window: tuple[float, float]) -> None:
        self._window = window
        self._base = np.full(lanes, np.inf)
        self._delay = np.full(lanes, _LEAST_DELAY)
        self._histogram = np.zeros((lanes, _BINS))
        self._histogram[:, 1] = 1.0
        self._lanes = np.arange(lanes)
        self._gap = np.zeros(lanes, bool)
        self._last: tuple[Floats, Floats, Flags] | None = None
        self.concealed, self.total = np.zeros(lanes), 0.0
        """Seconds in the window."""

    def sent(self, left: Floats, arrival: Floats, active: Flags) -> None:
        """Add a packet sent at `left`; in the lanes `active` it arrives at `arrival`."""
        transit = arrival - left
        self._base = np.where(active, np.minimum(self._base + 0.0001, transit), self._base)
        late = np.where(active, transit - self._base, 0.0)
        bins = np.clip((late / FRAME).astype(np.int64), 0, _BINS - 1)
        self._histogram *= np.where(active, _FORGET, 1.0)[:, None]
        self._histogram[self._lanes, bins] += active * (1 - _FORGET)
        if self._last is not None:
            self._play(*self._last)
        self._last = (left, arrival, active)

    def _play(self, left: Floats, arrival: Floats, active: Flags) -> None:
        """Play the packet before the one that was just sent."""
        base = np.where(np.isinf(self._base), 0.0, self._base)
        turn = left + base + self._delay
        lateness = np.where(active, np.maximum(0.0, arrival - turn), 0.0)
        first = np.where(self._gap, 1.0, 1 - _STRETCHED)
        self._gap = ~active
        concealed_time = np.where(active, lateness, first * FRAME)
        self._delay = np.minimum(self._delay + lateness, _MOST_DELAY)
        share = self._histogram.cumsum(axis=1)
        target = (share < _QUANTILE * share[:, -1:]).sum(axis=1) * FRAME + FRAME
        target = np.clip(target, _LEAST_DELAY, _MOST_DELAY)
        excess = self._delay - target
        change = np.where(
            excess > FRAME, -_ACCELERATION * FRAME, np.where(excess < 0, _DECELERATION * FRAME, 0.0)
        )
        self._delay = np.maximum(self._delay + change, _LEAST_DELAY)
        start, end = self._window
        now = float(np.mean(turn))
        if start <= now < end:
            self.concealed += concealed_time
            self.total += FRAME

"""The receiver of a video stream: retransmission, jitter buffer, freezes. Pure.

Generic NACK (RFC 4585) and retransmission (RFC 4588) as libwebrtc does them, and freezes by
webrtc-stats. Arrays hold one value a lane; the frames of a lane are in a ring.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jharnet_monitor.judge.twin.path import Counts, Flags, Floats, Path, Sent

RING = 128
"""Frames that are remembered: more than a client waits for."""
_NACK_SECONDS = 0.020
"""Interval at which the receiver requests missing packets again; the first request is immediate."""
_NACK_TRIES = 10
_REFUSED = 0.5
"""How often a repeated request is too early: the sender repeats a packet at most once a round trip
(`RtpPacketHistory`), and the receiver requests it once a round trip. Fitted."""
_GIVE_UP_SECONDS = 3.0
"""After this long without a decodable frame the receiver requests a keyframe."""
_WINDOW = 30
"""Intervals between frames over which webrtc-stats takes the mean."""
_FREEZE_FACTOR, _FREEZE_INCREASE = 3.0, 0.150
_ADVANCES = 3
"""Most frames that a lane shows at one event."""
_TRIP_FACTOR, _TRIP_CAP = 0.9, 0.2
"""Share of the round trip that the jitter buffer adds once retransmissions are needed, and its
limit."""
_NOISE_FACTOR, _BASE_DELAY = 2.33, 0.012


@dataclass(frozen=True, slots=True)
class SentFrame:
    """A frame of every lane, with the outcome of its packets."""

    captured: Floats
    key: Flags
    sent: Sent
    packet: Floats
    """Bytes of each packet."""
    height: Floats
    back: Floats
    """Current delay of the opposite direction in seconds."""


class Picture:
    """The receivers of all lanes."""

    def __init__(self, lanes: int, window: tuple[float, float], rng: np.random.Generator) -> None:
        self._window = window
        self._rng = rng
        self._lanes = np.arange(lanes)
        shape = (lanes, RING)
        self._captured, self._complete = np.zeros(shape), np.zeros(shape)
        self._missing = np.zeros(shape, np.int64)
        self._due = np.full(shape, np.inf)
        self._tries = np.zeros(shape, np.int64)
        self._size, self._height = np.zeros(shape), np.zeros(shape)
        self._key = np.zeros(shape, bool)
        self._head, self._sent = np.zeros(lanes, np.int64), np.zeros(lanes, np.int64)
        self._shown_at = np.zeros(lanes)
        self._gaps = np.full((lanes, _WINDOW), 1 / 30)
        self._gap = 0
        self._last_key = np.full(lanes, -1)
        self._requested_at = np.full(lanes, -10.0)
        self._broken = np.zeros(lanes, bool)
        self._base, self._noise = np.full(lanes, np.inf), np.zeros(lanes)
        self._nacks = np.zeros(lanes)
        self.keyframe_requested_at = np.full(lanes, np.inf)
        self.frozen, self.frames, self.bits = np.zeros(lanes), np.zeros(lanes), np.zeros(lanes)
        """In the window: seconds frozen, frames shown, bits that arrived."""
        self.lines = np.zeros(lanes)
        """Height of the last picture that was shown."""

    def sent_frame(self, frame: SentFrame) -> None:
        """Add a frame that was sent."""
        lost, arrived, back = frame.sent.lost, frame.sent.arrived, frame.back
        captured, last_arrival = frame.captured, frame.sent.last_arrival
        at = (self._lanes, self._sent % RING)
        self._captured[at], self._key[at], self._size[at] = captured, frame.key, frame.packet
        self._missing[at], self._tries[at], self._height[at] = lost, 0, frame.height
        self._complete[at] = np.where(arrived > 0, last_arrival, captured)
        # A missing packet is noticed when a later one arrives, in this frame or the next.
        seen = np.where(arrived > 0, last_arrival, captured + back + 1 / 30)
        self._due[at] = np.where(lost > 0, seen + back, np.inf)
        self._last_key = np.where(frame.key, self._sent, self._last_key)
        self._sent += 1
        self._nacks = np.where(lost > 0, 1.0, self._nacks * 0.9997)
        overrun = self._sent - self._head >= RING
        self._head = np.where(overrun, self._sent - RING + 1, self._head)
        self._broken |= overrun

    def retransmit(
        self, now: Floats, trip: Floats, path: Path, pace: Floats, allowed: Flags
    ) -> tuple[Counts, Counts, Floats]:
        """Retransmit due packets at `pace` bit/s; returns packets, lost ones, and bits per lane. In
        lanes that are not `allowed`, the receiver has to request them again.
        """
        slot = self._due.argmin(axis=1)
        at = (self._lanes, slot)
        due = self._due[at] <= now
        count = np.where(due & allowed, self._missing[at], 0)
        if not due.any():
            return count, count, np.zeros(len(now))
        sent = path.send(now, count, self._size[at], count * self._size[at] * 8 / pace)
        got = due & allowed & (sent.arrived > 0)
        self._complete[at] = np.where(
            got, np.maximum(self._complete[at], sent.last_arrival), self._complete[at]
        )
        left = np.where(allowed, sent.lost, self._missing[at])
        self._missing[at] = np.where(due, left, self._missing[at])
        self._tries[at] += due & allowed
        again = due & (left > 0) & (self._tries[at] < _NACK_TRIES)
        wait = self._rng.random(len(now)) * _NACK_SECONDS
        refused = self._rng.random(len(now)) < _REFUSED
        later = now + np.maximum(trip, 0.005) * (1 + refused) + wait
        self._due[at] = np.where(due, np.where(again, later, np.inf), self._due[at])
        return count, np.where(due & allowed, sent.lost, 0), count * self._size[at] * 8

    def show(self, now: Floats, trip: Floats, back: Floats) -> None:
        """Show the frames that are complete by `now`."""
        for _ in range(_ADVANCES):
            if not self._show_next(now, trip):
                break
        waits = (now - np.maximum(self._shown_at, self._requested_at) > _GIVE_UP_SECONDS) & (
            self._head < self._sent
        )
        self._requested_at = np.where(waits, now, self._requested_at)
        self.keyframe_requested_at = np.where(waits, now + back, self.keyframe_requested_at)
        self._broken |= waits
        jump = self._broken & (self._last_key > self._head)
        self._head = np.where(jump, self._last_key, self._head)

    def _show_next(self, now: Floats, trip: Floats) -> bool:
        at = (self._lanes, self._head % RING)
        ready = (self._head < self._sent) & (self._missing[at] == 0) & (self._complete[at] <= now)
        if not ready.any():
            return False
        complete, captured = self._complete[at], self._captured[at]
        transit = complete - captured
        self._base = np.where(ready, np.minimum(self._base + 0.0002, transit), self._base)
        excess = np.where(ready, transit - self._base, 0.0)
        self._noise += np.where(ready, 0.02 * (np.minimum(excess, 1.0) - self._noise), 0.0)
        delay = _BASE_DELAY + _NOISE_FACTOR * self._noise
        delay = np.maximum(0.04, np.minimum(delay, 1.0))
        add = np.where(self._nacks > 0.1, np.minimum(_TRIP_CAP, _TRIP_FACTOR * trip) + 0.008, 0.0)
        delay = np.maximum(delay, add)
        shown = np.maximum(np.maximum(complete, captured + self._base + delay), self._shown_at)
        useful = ready & (~self._broken | self._key[at])
        self._broken &= ~useful
        gap = np.where(useful, shown - self._shown_at, 0.0)
        self._gaps = np.where(useful[:, None], np.roll(self._gaps, 1, axis=1), self._gaps)
        self._gaps[:, 0] = np.where(useful, np.maximum(gap, 0.001), self._gaps[:, 0])
        mean = self._gaps.mean(axis=1)
        start, end = self._window
        within = useful & (shown >= start) & (shown < end)
        freeze = within & (gap >= np.maximum(_FREEZE_FACTOR * mean, mean + _FREEZE_INCREASE))
        self.frozen += np.where(freeze, gap, 0.0)
        self.frames += within
        self.lines = np.where(useful & (shown < end), self._height[at], self.lines)
        self._shown_at = np.where(useful, shown, self._shown_at)
        self._head += ready
        return True

    def arrived(self, now: float, bits: Floats) -> None:
        """Count bits that arrived."""
        if self._window[0] <= now < self._window[1]:
            self.bits += bits

    def close(self, open_gap: float) -> None:
        """Count the gap that is still open at the end, as readers of the statistics do."""
        still = self._window[1] - np.maximum(self._shown_at, self._window[0])
        self.frozen += np.where(still >= open_gap, still, 0.0)

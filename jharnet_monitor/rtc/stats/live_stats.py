"""The state of a running call, sampled once a second for display; it is never judged."""

from __future__ import annotations

import time
from dataclasses import dataclass

from jharnet_monitor.rtc.call import Call


@dataclass(frozen=True, slots=True)
class LiveDirection:
    """One direction at the moment."""

    height: int
    """Lines of the picture that is sent (`down`) or arrived last (`up`); 0 if none."""
    bits_per_second: float | None
    """Media that arrived at the receiver since the previous sample, as IP rate; None at first."""


@dataclass(frozen=True, slots=True)
class LiveSample:
    """Both directions at the moment; `down` is towards the office."""

    seconds: float
    """Since the first media packet arrived."""
    down: LiveDirection
    up: LiveDirection
    rtt_seconds: float | None
    """None before the first round trip is known."""


class LiveStats:
    """Samples a call at headquarters' end."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._previous_down: tuple[float, int] | None = None
        self._previous_up: tuple[float, int] | None = None

    def sample(self) -> LiveSample:
        """The current state, with rates since the previous sample."""
        sender, receiver = self._call.sender, self._call.receiver
        now = time.monotonic()
        heights = receiver.video.heights
        down = sender.received_bytes
        up = (now, receiver.audio.line_bytes + receiver.video.line_bytes)
        sample = LiveSample(
            seconds=now - (receiver.first_at or now),
            down=LiveDirection(sender.ladder.rung.height, _rate(self._previous_down, down)),
            up=LiveDirection(heights[max(heights)] if heights else 0, _rate(self._previous_up, up)),
            rtt_seconds=sender.round_trip if sender.round_trips else None,
        )
        self._previous_down, self._previous_up = down, up
        return sample


def _rate(before: tuple[float, int] | None, now: tuple[float, int] | None) -> float | None:
    """bit/s between two (seconds, bytes) counts; None if either is missing."""
    if before is None or now is None or now[0] <= before[0]:
        return None
    return max(0, now[1] - before[1]) * 8 / (now[0] - before[0])

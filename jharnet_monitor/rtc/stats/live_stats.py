"""How a call stands while it runs, for whoever watches: once a second, never judged."""

from __future__ import annotations

import time
from dataclasses import dataclass

from jharnet_monitor.rtc.call import Call


@dataclass(frozen=True, slots=True)
class WayNow:
    """One direction just now; None where there is no figure yet."""

    height: int
    """Lines of the picture that is sent (`down`), or came last (`up`); 0 for none."""
    bits_per_second: float | None
    """Media that arrived at the other end since the beat before, as IP packets."""


@dataclass(frozen=True, slots=True)
class LiveSample:
    """Both directions just now; `down` is towards the office."""

    seconds: float
    """Since the first media packet came in."""
    down: WayNow
    up: WayNow
    rtt_seconds: float | None


class LiveStats:
    """Looks at a call of headquarters' end."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._down: tuple[float, int] | None = None
        self._up: tuple[float, int] | None = None

    def beat(self) -> LiveSample:
        """What has changed since the beat before."""
        sender, receiver = self._call.sender, self._call.receiver
        now = time.monotonic()
        arrived = receiver.audio.line_bytes + receiver.video.line_bytes
        heights = receiver.video.heights
        down, up = sender.arrived, (now, arrived)
        beat = LiveSample(
            seconds=now - (receiver.first_at or now),
            down=WayNow(sender.ladder.rung.height, _rate(self._down, down)),
            up=WayNow(heights[max(heights)] if heights else 0, _rate(self._up, up)),
            rtt_seconds=sender.round_trip if sender.round_trips else None,
        )
        self._down, self._up = down, up
        return beat


def _rate(before: tuple[float, int] | None, now: tuple[float, int] | None) -> float | None:
    """bit/s between two counts, each with its moment."""
    if before is None or now is None or now[0] <= before[0]:
        return None
    return max(0, now[1] - before[1]) * 8 / (now[0] - before[0])

"""From the kernel's wall-clock stamp of a reply to the monotonic moment of its arrival.

Somebody may set the wall clock at any time, so its offset to the monotonic clock is taken before
the request is sent and again after the reply is read. If it did not move, it turns the stamp
into monotonic time. If it moved, the arrival was before or after that; but it lies between the
last reading of the socket and this one, which tells the two apart unless the step is smaller
than that stretch. Then the moment is not known. No step is ever in a round-trip time.
"""

from __future__ import annotations

import time
from typing import NamedTuple

TOLERANCE_NS = 200_000
"""An offset that moved by less falsifies a round trip by less than 0.2 ms; two clocks read one
after the other are themselves only good to some microseconds."""


class Timebase:
    """The two clocks between which kernel stamps are translated."""

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC."""
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        """CLOCK_REALTIME, which people and NTP set."""
        return time.time_ns()

    def stamp_ns(self, stamp: int) -> int:
        """A stamp of the kernel, on the clock that `wall_ns` reads."""
        return stamp

    def offset_ns(self) -> int:
        """Wall minus monotonic clock, read as closely together as the scheduler lets us."""
        best, offset = 1 << 62, 0
        for _ in range(8):
            before = self.monotonic_ns()
            wall = self.wall_ns()
            after = self.monotonic_ns()
            if after - before < best:
                best, offset = after - before, wall - (before + after) // 2
            if best < 20_000:
                break
        return offset


class ClockBracket(NamedTuple):
    """What is known of the time between a request and the reading of its reply.

    Moments are monotonic ns: when the request was sent, when the socket was last found empty,
    and when the reply had been read; then the offset before the request and after the reading.
    """

    sent: int
    emptied: int
    read: int
    offset_before: int
    offset_after: int

    @property
    def stepped(self) -> bool:
        """Whether the wall clock was set in between."""
        return abs(self.offset_after - self.offset_before) > TOLERANCE_NS

    def arrival(self, wall: int) -> int | None:
        """The monotonic moment of a wall-clock stamp; None where it cannot be told.

        >>> ClockBracket(1000, 0, 9_000_000, 50, 50).arrival(5050)
        5000
        >>> hour = 3_600_000_000_000
        >>> ClockBracket(1000, 0, 9_000_000, 50, 50 + hour).arrival(5050 + hour)
        5000
        """
        found = [wall - self.offset_after]
        earliest = self.sent
        if self.stepped:
            found.append(wall - self.offset_before)
            earliest = max(self.sent, self.emptied)
        begin, end = earliest - TOLERANCE_NS, self.read + TOLERANCE_NS
        possible = [moment for moment in found if begin <= moment <= end]
        return max(possible[0], self.sent + 1) if len(possible) == 1 else None

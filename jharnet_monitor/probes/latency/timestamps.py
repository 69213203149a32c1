"""Converts the kernel's wall-clock timestamp of a reply to monotonic time.

The wall clock may be set at any time, so its offset to the monotonic clock is read before the
request is sent and again after the reply is read. If the offset did not change, it converts the
timestamp. If it changed, the reply arrived either before or after the change; but it arrived
between the previous reading of the socket and this one, which rules out one of the two unless the
clock was changed by less than that interval. In that case the arrival time is unknown. No
round-trip time ever contains a change of the clock.
"""

from __future__ import annotations

import time
from typing import NamedTuple

TOLERANCE_NS = 200_000
"""A smaller change of the offset is ignored: it puts a round-trip time off by less than 0.2 ms. Two
clocks read one after the other are themselves only accurate to some microseconds."""


class Timebase:
    """The two clocks between which kernel timestamps are converted."""

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC."""
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        """CLOCK_REALTIME, which NTP and users set."""
        return time.time_ns()

    def timestamp_ns(self, timestamp: int) -> int:
        """A timestamp of the kernel, on the clock that `wall_ns` reads."""
        return timestamp

    def offset_ns(self) -> int:
        """Wall-clock minus monotonic time, from the closest pair of readings in a few tries."""
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
    """What is known about the time between sending a request and reading its reply.

    `sent`, `last_read` (when the socket was last found empty) and `read` (after the reply was read)
    are in monotonic ns; `offset_before` was read before the request, `offset_after` after the
    reply.
    """

    sent: int
    last_read: int
    read: int
    offset_before: int
    offset_after: int

    @property
    def clock_was_set(self) -> bool:
        """Whether the wall clock was set in between."""
        return abs(self.offset_after - self.offset_before) > TOLERANCE_NS

    def arrival(self, timestamp: int) -> int | None:
        """The monotonic time of a wall-clock timestamp in ns; None if it is not certain.

        >>> ClockBracket(1000, 0, 9_000_000, 50, 50).arrival(5050)
        5000
        >>> hour = 3_600_000_000_000
        >>> ClockBracket(1000, 0, 9_000_000, 50, 50 + hour).arrival(5050 + hour)
        5000
        """
        candidates = [timestamp - self.offset_after]
        earliest = self.sent
        if self.clock_was_set:
            candidates.append(timestamp - self.offset_before)
            earliest = max(self.sent, self.last_read)
        begin, end = earliest - TOLERANCE_NS, self.read + TOLERANCE_NS
        possible = [moment for moment in candidates if begin <= moment <= end]
        return max(possible[0], self.sent + 1) if len(possible) == 1 else None

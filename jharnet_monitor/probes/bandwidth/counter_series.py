"""The counters of one end of a bulk transfer over time, and their JSON form.

Data segments are counted, in order or not, so a gap in the sequence numbers, which takes round
trips to recover, does not hide what the line has already delivered. Where the kernel does not count
segments, the bytes that the application has read are used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from jharnet_monitor.judge.line.throughput import MSS, MTU, Sample
from jharnet_monitor.probes.bandwidth.tcp_info import TcpInfo

MIN_SPACING_SECONDS = 0.008
"""Samples closer together than this would add size but no information."""
MAX_POINTS = 1000
REPORT_POINTS = 250
"""Points of a report: about 6 kB, which a slow line carries in time."""
MIN_SEGMENTS = 10
MIN_FILL, MAX_FILL = 0.97, 1.01
"""If segments are filled less than this share of `mss` on average, or more than this, bytes are
used instead of segments: connections that are counted together may differ in it."""


class CounterSeriesError(ValueError):
    """A series that no correct receiver would have sent."""


@dataclass(frozen=True, slots=True)
class CounterReading:
    """Cumulative counts at a time of the counting end's monotonic clock, in seconds."""

    seconds: float
    segments: int
    payload: int


@dataclass(slots=True)
class CounterSeries:
    """Points in time order; `mss` and `header` are the bytes of a full segment."""

    mss: int = MSS
    header: int = MTU - MSS
    points: list[CounterReading] = field(default_factory=list)

    def add_received(self, now: float, infos: Sequence[TcpInfo], payload: int) -> bool:
        """Add what the receiving end of one or more connections has; True if a point was added.

        `payload` is what the application has read, used where the kernel does not count.
        """
        if not infos:
            return self.add(now, 0, payload)
        largest = max(infos, key=lambda info: info.bytes_received)
        self.mss, self.header = max(1, largest.receive_mss), largest.header
        segments = sum(info.data_segments_in for info in infos)
        return self.add(now, segments, sum(info.bytes_received for info in infos))

    def add_acknowledged(self, now: float, infos: Sequence[TcpInfo]) -> bool:
        """Add what the other end has acknowledged, by ACK or SACK; True if a point was added."""
        if not infos:
            return False
        largest = max(infos, key=lambda info: info.bytes_acked)
        self.mss, self.header = max(1, largest.send_mss), largest.header
        segments = sum(info.delivered for info in infos)
        return self.add(now, segments, sum(info.bytes_acked for info in infos))

    def add(self, now: float, segments: int, payload: int) -> bool:
        """Add cumulative counts; True if a point was added."""
        last = self.points[-1] if self.points else None
        if last is not None and (
            now - last.seconds < MIN_SPACING_SECONDS
            or (segments, payload) == (last.segments, last.payload)
            or len(self.points) >= MAX_POINTS
        ):
            return False
        self.points.append(CounterReading(now, segments, payload))
        return True

    def samples(self) -> list[Sample]:
        """Cumulative IP bytes over time, in the form that `judge.line.throughput` takes."""
        if not self.points:
            return []
        if self._segments_are_full():
            size = self.mss + self.header
            return [Sample(p.seconds, float(p.segments * size)) for p in self.points]
        share = (self.mss + self.header) / self.mss
        return [Sample(p.seconds, p.payload * share) for p in self.points]

    def _segments_are_full(self) -> bool:
        """Whether segments are full, judged at a point where no gap hides any payload.

        No point has more payload than its segments hold, unless some are larger than `mss`.
        """
        first, last = self.points[0], self.points[-1]
        if last.payload > MAX_FILL * last.segments * self.mss:
            return False
        fills = (
            (p.payload - first.payload) / ((p.segments - first.segments) * self.mss)
            for p in self.points
            if p.segments - first.segments >= MIN_SEGMENTS
        )
        return max(fills, default=0.0) >= MIN_FILL

    def to_json(self) -> dict[str, Any]:
        """Milliseconds since the first point, segments and payload bytes of each point."""
        start = self.points[0].seconds if self.points else 0.0
        step = max(1, len(self.points) // REPORT_POINTS)
        chosen = [*self.points[:-1:step], *self.points[-1:]]
        return {
            "mss": self.mss,
            "header": self.header,
            "points": [
                [round((p.seconds - start) * 1000, 2), p.segments, p.payload] for p in chosen
            ],
        }

    @classmethod
    def from_json(cls, data: Any) -> CounterSeries:
        """Parse the report of an agent; raises `CounterSeriesError` with the reason."""
        if not isinstance(data, Mapping) or not isinstance(data.get("points"), list):
            raise CounterSeriesError("a series needs points")
        rows: list[Any] = data["points"]
        mss, header = _count(data.get("mss")), _count(data.get("header"))
        if not 64 <= mss <= 65535 or header not in (40, 52, 60, 72):
            raise CounterSeriesError("a series needs mss and header")
        if len(rows) > MAX_POINTS:
            raise CounterSeriesError(f"a series has at most {MAX_POINTS} points")
        points = [_point(row) for row in rows]
        for before, after in pairwise(points):
            if (
                after.seconds < before.seconds
                or after.segments < before.segments
                or after.payload < before.payload
            ):
                raise CounterSeriesError("the counts of a series must not decrease")
        return cls(mss, header, points)


def _count(value: Any) -> int:
    """The value if it is a count; raises `CounterSeriesError` otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 50:
        raise CounterSeriesError(f"not a count: {str(value)[:40]}")
    return value


def _point(row: Any) -> CounterReading:
    if not isinstance(row, list) or len(row) != 3:
        raise CounterSeriesError("a point needs a time and two counts")
    milliseconds = row[0]
    if (
        not isinstance(milliseconds, int | float)
        or not math.isfinite(milliseconds)
        or not 0 <= milliseconds < 1e6
    ):
        raise CounterSeriesError("a point needs a valid time")
    return CounterReading(milliseconds / 1000, _count(row[1]), _count(row[2]))

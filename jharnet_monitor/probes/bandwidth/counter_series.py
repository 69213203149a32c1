"""What one end of a bulk transfer counted, moment by moment, and how it travels as JSON.

Counted are data segments, in order or not: a hole in the sequence, which recovery takes round
trips to fill, hides nothing of what the line has already delivered. Where the kernel does not
count segments, the bytes that the application read stand in for them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from jharnet_monitor.judge.line.throughput import MSS, MTU, Sample
from jharnet_monitor.probes.bandwidth.tcp_info import TcpInfo

SPACING_SECONDS = 0.008
"""Samples closer than this add length and no knowledge."""
MAX_POINTS = 1000
ENOUGH_SEGMENTS = 10
FULL_SEGMENTS = 0.97
"""Below this mean fill of its segments a transfer is judged by its bytes instead."""


class CounterSeriesError(ValueError):
    """A series that no honest receiver would have written."""


@dataclass(frozen=True, slots=True)
class CounterReading:
    """Cumulative counts at a moment of the counting end's monotonic clock."""

    seconds: float
    segments: int
    payload: int


@dataclass(slots=True)
class CounterSeries:
    """Points in time order; `mss` and `header` in bytes are the kernel's for full segments."""

    mss: int = MSS
    header: int = MTU - MSS
    points: list[CounterReading] = field(default_factory=list)

    def arrived(self, moment: float, infos: Sequence[TcpInfo], payload: int) -> bool:
        """The receiving end of one or more connections; True when a point was added.

        `payload` is what the application has read, for where the kernel does not count.
        """
        if not infos:
            return self.add(moment, 0, payload)
        most = max(infos, key=lambda info: info.bytes_received)
        self.mss, self.header = max(1, most.receive_mss), most.header
        segments = sum(info.data_segments_in for info in infos)
        return self.add(moment, segments, sum(info.bytes_received for info in infos))

    def acknowledged(self, moment: float, infos: Sequence[TcpInfo]) -> bool:
        """The sending end: what the other end has acknowledged, by ACK or SACK."""
        if not infos:
            return False
        most = max(infos, key=lambda info: info.bytes_acked)
        self.mss, self.header = max(1, most.send_mss), most.header
        segments = sum(info.delivered for info in infos)
        return self.add(moment, segments, sum(info.bytes_acked for info in infos))

    def add(self, moment: float, segments: int, payload: int) -> bool:
        """Cumulative counts at a moment; True when they were worth keeping."""
        last = self.points[-1] if self.points else None
        if last is not None and (
            moment - last.seconds < SPACING_SECONDS
            or (segments, payload) == (last.segments, last.payload)
            or len(self.points) >= MAX_POINTS
        ):
            return False
        self.points.append(CounterReading(moment, segments, payload))
        return True

    def samples(self) -> list[Sample]:
        """Cumulative IP bytes over time, in the form that `judge.line.throughput` takes."""
        if not self.points:
            return []
        if self._full_segments():
            size = self.mss + self.header
            return [Sample(p.seconds, float(p.segments * size)) for p in self.points]
        share = (self.mss + self.header) / self.mss
        return [Sample(p.seconds, p.payload * share) for p in self.points]

    def _full_segments(self) -> bool:
        """Whether a segment stands for `mss` bytes, seen where no hole hides any of them."""
        first = self.points[0]
        fills = (
            (p.payload - first.payload) / ((p.segments - first.segments) * self.mss)
            for p in self.points
            if p.segments - first.segments >= ENOUGH_SEGMENTS
        )
        return max(fills, default=0.0) >= FULL_SEGMENTS

    def to_json(self) -> dict[str, Any]:
        """Compact: milliseconds since the first point, and counts."""
        start = self.points[0].seconds if self.points else 0.0
        return {
            "mss": self.mss,
            "header": self.header,
            "points": [
                [round((p.seconds - start) * 1000, 2), p.segments, p.payload] for p in self.points
            ],
        }

    @classmethod
    def from_json(cls, data: Any) -> CounterSeries:
        """Read what an agent reports; raises `CounterSeriesError` with what is wrong."""
        if not isinstance(data, Mapping) or not isinstance(data.get("points"), list):
            raise CounterSeriesError("a series needs points")
        rows: list[Any] = data["points"]
        mss, header = _count(data.get("mss")), _count(data.get("header"))
        if not 64 <= mss <= 65535 or header not in (40, 52, 60, 72):
            raise CounterSeriesError("a series needs its segment size")
        if len(rows) > MAX_POINTS:
            raise CounterSeriesError(f"a series has at most {MAX_POINTS} points")
        points = [_point(row) for row in rows]
        for before, after in pairwise(points):
            if (
                after.seconds < before.seconds
                or after.segments < before.segments
                or after.payload < before.payload
            ):
                raise CounterSeriesError("a series cannot run backwards")
        return cls(mss, header, points)


def _count(value: Any) -> int:
    """The value as a count; raises `CounterSeriesError` for what is none."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 50:
        raise CounterSeriesError(f"not a count: {str(value)[:40]}")
    return value


def _point(row: Any) -> CounterReading:
    if not isinstance(row, list) or len(row) != 3:
        raise CounterSeriesError("a point has a time and two counts")
    moment = row[0]
    if not isinstance(moment, int | float) or not math.isfinite(moment) or not 0 <= moment < 1e6:
        raise CounterSeriesError("a point needs its time")
    return CounterReading(moment / 1000, _count(row[1]), _count(row[2]))

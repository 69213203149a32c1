"""A paced stream of datagrams: the sender, the receiver's count, and its JSON form.

Both ends use it. A stream has phases, each with a rate and a duration; each datagram has its number
and the time at which it was sent.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from jharnet_monitor.judge.line.paced_stream import StreamRow
from jharnet_monitor.probes.bandwidth.udp_socket import (
    FULL_IP_BYTES,
    SMALL_IP_BYTES,
    Datagram,
    DatagramKind,
    DatagramSocket,
)

MAX_ROWS = 600
TURN_SECONDS = 0.002
"""Interval in which the datagrams that are due are sent."""
LATE_SECONDS = 0.05
"""A sender that wakes up later than this did not keep up; datagrams due meanwhile are skipped, so
that they do not leave in one burst."""
MAX_STREAM_SECONDS, MAX_STREAM_BYTES = 20.0, 400_000_000
"""The most that an agent sends, whatever the hub requests."""


MIN_IP_BYTES, PACKETS_A_SECOND = 256, 60
"""On a slow line datagrams are smaller, so that there are enough of them and they fit a short
queue."""


def datagram_bytes(rate: float) -> int:
    """IP bytes of each datagram on a line of about `rate` bit/s."""
    return int(min(FULL_IP_BYTES, max(MIN_IP_BYTES, rate / 8 / PACKETS_A_SECOND)))


@dataclass(frozen=True, slots=True)
class StreamPhase:
    """A part of a stream: bit/s (IP), and seconds."""

    rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """The phases of a stream, and the IP bytes of each datagram."""

    phases: tuple[StreamPhase, ...]
    ip_bytes: int = FULL_IP_BYTES

    @property
    def seconds(self) -> float:
        """Duration of the sending."""
        return sum(phase.seconds for phase in self.phases)

    @property
    def bytes(self) -> int:
        """The most IP bytes that it sends."""
        return int(sum(phase.rate * phase.seconds for phase in self.phases) / 8) + self.ip_bytes

    def within(self, max_bytes: int) -> StreamPlan:
        """The same plan, with shorter phases if it would send more than `max_bytes`."""
        share = min(1.0, max(0.05, max_bytes / self.bytes))
        phases = tuple(StreamPhase(phase.rate, phase.seconds * share) for phase in self.phases)
        return StreamPlan(phases, self.ip_bytes)

    @property
    def spacing(self) -> float:
        """Seconds between two rows of the receiver, so that they fit into a report."""
        return max(0.004, 1.5 * self.seconds / MAX_ROWS)

    def to_json(self) -> dict[str, Any]:
        """The form in which the hub requests a stream from an agent."""
        phases = [[phase.rate, phase.seconds] for phase in self.phases]
        return {"phases": phases, "bytes": self.ip_bytes, "spacing": self.spacing}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StreamPlan:
        """Parse a hub's request; raises `ValueError` if it exceeds what an agent sends."""
        rows, size = data.get("phases"), data.get("bytes")
        if not isinstance(rows, list) or not 0 < len(rows) <= 4 or type(size) is not int:
            raise ValueError("a stream needs phases and the bytes of a datagram")
        if not SMALL_IP_BYTES < size <= FULL_IP_BYTES:
            raise ValueError("a datagram has 49 to 1500 bytes")
        plan = cls(tuple(_phase(row) for row in rows), size)
        if plan.seconds > MAX_STREAM_SECONDS or plan.bytes > MAX_STREAM_BYTES:
            raise ValueError("the stream is too long")
        return plan


def _phase(row: Any) -> StreamPhase:
    if not isinstance(row, list) or len(row) != 2:
        raise ValueError("a phase needs a rate and a duration")
    for value in row:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e11:
            raise ValueError("a phase needs a rate and a duration")
    return StreamPhase(float(row[0]), float(row[1]))


@dataclass(slots=True)
class SentStream:
    """What was sent, and the share of the time in which the sender did not keep up."""

    datagrams: int
    late: float


async def send_stream(sock: DatagramSocket, plan: StreamPlan) -> SentStream:
    """Send a stream, phase by phase."""
    started = time.monotonic()
    number, late, due = 0, 0.0, started
    for phase in plan.phases:
        spacing, end = plan.ip_bytes * 8 / phase.rate, due + phase.seconds
        while due < end:
            now = time.monotonic()
            while due <= now and due < end:
                sent = round((time.monotonic() - started) * 1e6)
                sock.send(DatagramKind.STREAM, number, sent, plan.ip_bytes)
                number, due = number + 1, due + spacing
            await asyncio.sleep(max(TURN_SECONDS, due - time.monotonic()))
            behind = time.monotonic() - due
            if behind > LATE_SECONDS:
                late, due = late + behind, due + behind
                end = max(end, due)
    return SentStream(number, late / max(plan.seconds, 1e-9))


@dataclass(slots=True)
class StreamCount:
    """Counts the datagrams of a stream at its receiver.

    Those that reached this computer, and that it was too busy to read, have arrived as well: the
    line carried them.
    """

    spacing: float = 0.004
    rows: list[StreamRow] = field(default_factory=list)
    received: int = 0
    highest: int = -1
    dropped: int | None = None
    last: StreamRow | None = None

    def add(self, datagram: Datagram) -> None:
        """Count a datagram."""
        before = datagram.dropped if self.dropped is None else self.dropped
        self.dropped = datagram.dropped
        self.highest = max(self.highest, datagram.number)
        unread = min(max(0, datagram.dropped - before), self.highest - self.received)
        self.received += 1 + max(0, unread)  # others' datagrams may have been dropped as well
        row = StreamRow(datagram.received, self.received, self.highest, datagram.delay / 1e6)
        self.last = row
        if len(self.rows) < MAX_ROWS and (
            not self.rows or row.seconds - self.rows[-1].seconds >= self.spacing
        ):
            self.rows.append(row)

    def all_rows(self) -> list[StreamRow]:
        """The rows, up to the last datagram."""
        ended = self.last is not None and self.rows and self.rows[-1] is not self.last
        return [*self.rows, self.last] if ended and self.last else list(self.rows)

    def to_json(self) -> list[list[float]]:
        """Rows: milliseconds since the first, received, highest, milliseconds of the sending."""
        rows = self.all_rows()
        start = rows[0].seconds if rows else 0.0
        return [
            [
                round((row.seconds - start) * 1000, 2),
                row.received,
                row.highest,
                round(row.sent * 1000, 2),
            ]
            for row in rows
        ]


def rows_from_json(data: Any, sent: int) -> list[StreamRow]:
    """Parse the rows of an agent's report of `sent` datagrams; raises `ValueError`."""
    if not isinstance(data, list) or len(data) > MAX_ROWS + 1:
        raise ValueError("a stream's report needs rows")
    rows = [_row(each, sent) for each in data]
    for before, after in pairwise(rows):
        if after.received < before.received or after.highest < before.highest:
            raise ValueError("the counts of a stream must not decrease")
    return _in_order(rows)


def _in_order(rows: Sequence[StreamRow]) -> list[StreamRow]:
    return sorted(rows, key=lambda row: (row.seconds, row.received))


def _row(row: Any, sent: int) -> StreamRow:
    if not isinstance(row, list) or len(row) != 4:
        raise ValueError("a row needs two times and two counts")
    for value in row:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise ValueError("a row needs numbers")
    seconds, received, highest, sent_at = row
    if type(received) is not int or type(highest) is not int:
        raise ValueError("a row needs counts")
    if (
        not 0 < received <= highest + 1 <= sent
        or not -1e6 < seconds < 1e6
        or not 0 <= sent_at < 1e6
    ):
        raise ValueError("more arrived than was sent")
    return StreamRow(seconds / 1000, received, highest, sent_at / 1000)

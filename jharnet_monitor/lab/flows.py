"""Counters and sojourn times of each flow of packets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jharnet_monitor.lab.packets import flow_name

MAX_FLOWS = 20_000
"""Flows that are kept. The oldest are removed first, and their number is counted."""

FLOWS_PER_PAGE = 256

BUCKETS_PER_SECOND = 20_000
"""Sojourn times are counted in buckets of 50 µs."""


class LabFlow:
    """Packets with the same protocol, addresses and ports (or echo identifier), in one direction.

    Times are in monotonic seconds.
    """

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "dropped_cut",
        "dropped_loss",
        "dropped_queue",
        "first_in",
        "first_out",
        "last_in",
        "last_out",
        "packets_in",
        "packets_out",
        "sojourn",
        "sojourn_sum",
    )

    def __init__(self, now: float) -> None:
        self.packets_in = self.bytes_in = self.packets_out = self.bytes_out = 0
        self.dropped_loss = self.dropped_queue = self.dropped_cut = 0
        self.first_in = self.last_in = now
        self.first_out = self.last_out = 0.0
        self.sojourn: dict[int, int] = {}
        self.sojourn_sum = 0.0

    def count_delivered(self, size: int, arrived_at: float, now: float) -> None:
        """Count a packet of `size` bytes that arrived at `arrived_at` and leaves `now`."""
        if not self.packets_out:
            self.first_out = now
        self.packets_out += 1
        self.bytes_out += size
        self.last_out = now
        sojourn = now - arrived_at
        self.sojourn_sum += sojourn
        bucket = int(sojourn * BUCKETS_PER_SECOND)
        self.sojourn[bucket] = self.sojourn.get(bucket, 0) + 1

    def raw(self) -> tuple[Any, ...]:
        """All fields, in the order that `describe_flow` expects."""
        return (
            self.packets_in,
            self.bytes_in,
            self.packets_out,
            self.bytes_out,
            self.dropped_loss,
            self.dropped_queue,
            self.dropped_cut,
            self.first_in,
            self.last_in,
            self.first_out,
            self.last_out,
            self.sojourn_sum,
            self.sojourn,
        )


class FlowTable:
    """The flows, by the key of their packets (`packets.flow_key`)."""

    def __init__(self) -> None:
        self._flows: dict[bytes, LabFlow] = {}
        self.forgotten = 0
        """Flows that were removed because of `MAX_FLOWS`."""

    def __len__(self) -> int:
        return len(self._flows)

    def find(self, key: bytes, now: float) -> LabFlow:
        """The flow of a packet; creates it for the first packet."""
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = LabFlow(now)
            if len(self._flows) > MAX_FLOWS:
                del self._flows[next(iter(self._flows))]
                self.forgotten += 1
        return flow

    def page(self, start: int) -> tuple[list[tuple[bytes, tuple[Any, ...]]], int | None]:
        """A page of (key, raw flow) from number `start` on, and the next page's first number.

        A page is small enough not to delay packets; the next number is None at the end.
        """
        end = start + FLOWS_PER_PAGE
        page = [(key, self._flows[key].raw()) for key in list(self._flows)[start:end]]
        return page, end if end < len(self._flows) else None


_COUNTERS = (
    "packets_in",
    "bytes_in",
    "packets_out",
    "bytes_out",
    "dropped_loss",
    "dropped_queue",
    "dropped_cut",
)


def describe_flow(key: bytes, raw: tuple[Any, ...]) -> dict[str, Any]:
    """A flow as JSON: the fields of `FlowName`, counters, times, and sojourn times in ms.

    The sojourn time is from a packet's arrival in the emulator to its departure: queueing,
    transmission and delay on every link of its route. Times are in monotonic seconds. What has no
    packets is None.
    """
    first_in, last_in, first_out, last_out, total, sojourn = raw[7:]
    packets_out = raw[2]
    return {
        **flow_name(key)._asdict(),
        **dict(zip(_COUNTERS, raw, strict=False)),
        "first_in": first_in,
        "last_in": last_in,
        "first_out": first_out if packets_out else None,
        "last_out": last_out if packets_out else None,
        "sojourn_mean_ms": total / packets_out * 1000 if packets_out else None,
        "sojourn_p50_ms": histogram_percentile(sojourn, 0.5),
        "sojourn_p95_ms": histogram_percentile(sojourn, 0.95),
    }


def histogram_percentile(
    buckets: Mapping[int, int], share: float, per_second: int = BUCKETS_PER_SECOND
) -> float | None:
    """The duration in ms that `share` of the counted durations do not exceed; None if none.

    `buckets` maps bucket numbers to counts; the result is the middle of a bucket.
    """
    total = sum(buckets.values())
    rank, count = share * total, 0
    for bucket in sorted(buckets):
        count += buckets[bucket]
        if count >= rank:
            return (bucket + 0.5) * 1000 / per_second
    return None

"""What became of the packets of each flow, and how long they took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jharnet_monitor.lab.packets import flow_name

MAX_FLOWS = 20_000
"""Flows remembered at once; the oldest are forgotten first, and counted."""

FLOWS_PER_PAGE = 256

BUCKETS_PER_SECOND = 20_000
"""Durations are counted in buckets of 50 µs."""


class Flow:
    """Packets with the same protocol, addresses and ports (or echo identifier), one way."""

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

    def delivered(self, size: int, since: float, now: float) -> None:
        """Count a packet that took from `since` to `now`."""
        if not self.packets_out:
            self.first_out = now
        self.packets_out += 1
        self.bytes_out += size
        self.last_out = now
        took = now - since
        self.sojourn_sum += took
        bucket = int(took * BUCKETS_PER_SECOND)
        self.sojourn[bucket] = self.sojourn.get(bucket, 0) + 1

    def raw(self) -> tuple[Any, ...]:
        """Everything, in an order that `describe` knows; quick, since the emulator calls it."""
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
    """The flows seen so far, by the key of their packets."""

    def __init__(self) -> None:
        self._flows: dict[bytes, Flow] = {}
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._flows)

    def find(self, key: bytes, now: float) -> Flow:
        """The flow of a packet, which begins now if it is the first."""
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = Flow(now)
            if len(self._flows) > MAX_FLOWS:
                del self._flows[next(iter(self._flows))]
                self.forgotten += 1
        return flow

    def page(self, start: int) -> tuple[list[tuple[bytes, tuple[Any, ...]]], int | None]:
        """Some flows, raw, few enough that no packet has to wait; and where the next begin."""
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


def describe(key: bytes, raw: tuple[Any, ...]) -> dict[str, Any]:
    """A flow for people and programs: its name, its counters, its sojourn times in ms.

    The sojourn is from the packet's arrival in the emulator to its departure: waiting, sending and
    journey on every link of its way. Moments are monotonic seconds; a mean over no packets is None.
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
        "sojourn_p50_ms": percentile(sojourn, 0.5),
        "sojourn_p95_ms": percentile(sojourn, 0.95),
    }


def percentile(
    buckets: Mapping[int, int], share: float, per_second: int = BUCKETS_PER_SECOND
) -> float | None:
    """The value in ms below which `share` of the counted durations lie, to half a bucket."""
    total = sum(buckets.values())
    rank, seen = share * total, 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen >= rank:
            return (bucket + 0.5) * 1000 / per_second
    return None

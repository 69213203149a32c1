"""The emulator's raw counters in words: the truth that measurements are held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jharnet_monitor.lab.emulator import LATENESS_BUCKETS_PER_SECOND
from jharnet_monitor.lab.flows import percentile

_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p999": 0.999, "max": 1.0}


def pipe_truth(blocked: int, counters: Mapping[str, float]) -> dict[str, Any]:
    """One direction's counters, and the loss they come to on the packets the line took."""
    taken = counters["packets_in"] - counters["dropped_queue"] - counters["dropped_cut"]
    return {
        "passing": not blocked,
        **counters,
        "loss_ratio": counters["dropped_loss"] / taken if taken else None,
    }


def summary(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What holds for the emulator as a whole; lateness is departure less the planned moment."""
    lateness: dict[int, int] = raw["lateness"]
    return {
        "counting_since": raw["since"],
        "realtime": raw["realtime"],
        "cpu_seconds": raw["cpu_seconds"],
        "delivered": sum(lateness.values()),
        "lateness_ms": {
            name: percentile(lateness, share, LATENESS_BUCKETS_PER_SECOND)
            for name, share in _SHARES.items()
        },
        **{
            name: raw[name]
            for name in ("under_way", "unroutable", "refused", "flows_known", "flows_forgotten")
        },
    }

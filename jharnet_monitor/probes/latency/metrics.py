"""The metric families of the latency probe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from jharnet_monitor.live import RTT_BOUNDS
from jharnet_monitor.probes.families import OfficeFamily, OfficeView, Point, of_quantity

_BUCKETS = (*(repr(bound) for bound in RTT_BOUNDS), "+Inf")


def _rtt(view: OfficeView) -> Iterable[Point]:
    histogram = view.live.rtt_buckets
    cumulative = histogram.cumulative()
    if not cumulative[-1]:
        return
    yield from (((bound,), count) for bound, count in zip(_BUCKETS, cumulative, strict=True))
    yield (), histogram.total_seconds


def _packets(name: str) -> Callable[[OfficeView], Iterator[Point]]:
    def read(view: OfficeView) -> Iterator[Point]:
        if view.live.packets_sent:
            yield (), getattr(view.live, name)

    return read


FAMILIES = (
    OfficeFamily("latency_packets_sent_total", "counter", "Echo requests sent",
                 _packets("packets_sent")),
    OfficeFamily("latency_packets_received_total", "counter", "Echo replies received in time",
                 _packets("packets_received")),
    OfficeFamily("latency_rtt_seconds", "histogram", "Round-trip times", _rtt, ("le",)),
    of_quantity("latency", "rtt_p50_seconds"),
    of_quantity("latency", "rtt_p95_seconds"),
    of_quantity("latency", "loss_ratio"),
    of_quantity("latency", "jitter_seconds"),
)  # fmt: skip

"""When paths are traced, how long a trace stays current, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jharnet_monitor.probes.base import ProbeContext
from jharnet_monitor.probes.dns import RESOLVE_SECONDS
from jharnet_monitor.probes.path.order import TraceOrder
from jharnet_monitor.probes.probe import DisturbedBy, Job, Series

if TYPE_CHECKING:
    from jharnet_monitor.config import Config, Office

FRESH_INTERVALS = 2.5
BY_HAND_SECONDS = 3600.0
"""How long a trace stays current if none is planned."""
TYPICAL_HOPS = 8
PACKET_BYTES = 2 * 64
SIZES_BYTES, EXCHANGE_BYTES = 60_000, 30_000


def _fresh_for(config: Config, office: str) -> float:
    every = config.probes.path.every
    return BY_HAND_SECONDS if every is None else FRESH_INTERVALS * every


SERIES = Series(fresh_for=_fresh_for, disturbed_by=DisturbedBy.HEAVY)


def order_of(context: ProbeContext) -> TraceOrder:
    """The order for both ends."""
    return TraceOrder.of(context.config.probes.path, context.config.thresholds.loss)


def jobs(config: Config, office: Office) -> Iterator[Job]:
    """Every office, with or without an agent."""
    if config.probes.path.every is not None:
        yield Job(every=config.probes.path.every, offset=0.5)


def time_limit(context: ProbeContext) -> float:
    """Seconds after which a trace has hung."""
    return order_of(context).seconds + RESOLVE_SECONDS


def cost(context: ProbeContext) -> int:
    """The bytes of a trace from both ends where nothing is lost."""
    rounds = context.config.probes.path.rounds * TYPICAL_HOPS * PACKET_BYTES
    return 2 * (rounds + SIZES_BYTES) + EXCHANGE_BYTES

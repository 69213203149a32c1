"""The latency probe: echo requests to an office's router, continuously and on request.

`latency.monitor` measures continuously, `latency.run` once on request; both count and time in the
same way. The agent measures its own routes to its gateway and to the hub (`agent.self_monitor`).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from jharnet_monitor.config import Config
from jharnet_monitor.model import Route
from jharnet_monitor.probes.base import ProbeContext
from jharnet_monitor.probes.dns import RESOLVE_SECONDS
from jharnet_monitor.probes.latency.metrics import FAMILIES
from jharnet_monitor.probes.probe import Deferred, DisturbedBy, Probe, ProbeOptions, Series

PACKETS = 20
PACKETS_PER_SECOND = 10.0
SHORTEST_FRESH_SECONDS = 60.0


class LatencyOptions(ProbeOptions):
    """A series of echo requests, ten per second."""

    packets: Annotated[int, Field(ge=1, le=600)] | None = None


def _fresh_for(config: Config, office: str) -> float:
    return max(3 * config.probes.latency.every, SHORTEST_FRESH_SECONDS)


def _time_limit(context: ProbeContext) -> float:
    sending = int(context.options.get("packets", PACKETS)) / PACKETS_PER_SECOND
    return RESOLVE_SECONDS + sending + context.config.probes.latency.timeout + 5.0


LATENCY = Probe(
    name="latency",
    how="an echo request a second to every office, always",
    safeguards=(
        "kernel receive stamps; unaffected by clock changes; a busy host gives `no_data`, not loss"
    ),
    run=Deferred("jharnet_monitor.probes.latency.run:run"),
    time_limit=_time_limit,
    options=LatencyOptions,
    series=(
        Series(fresh_for=_fresh_for, disturbed_by=DisturbedBy.HEAVY),
        Series(
            route=Route.AGENT_HUB,
            fresh_for=_fresh_for,
            exported=False,
            disturbed_by=DisturbedBy.HEAVY,
        ),
        Series(route=Route.AGENT_GATEWAY, fresh_for=_fresh_for, exported=False),
    ),
    metrics=FAMILIES,
)

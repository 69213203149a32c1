"""The path probe: the routers on the path to an office and back, and where packets are lost.

In the conditions: `hops` (routers in their order, then the target, each with `address`, `sent`,
`received` and `rtt_p50_seconds`), `protocol`, `loss_between` (the hops between which the loss
begins), `mtu_black_hole` likewise, `mtu_told_by` (the router that reported the packet size),
`marks` (the mark with which a packet reached each hop) and `mark_cleared_between`, `marking` (what
happens to each mark in each direction), `full` (directions whose queue was filled), `route_before`
if the path has changed, and `back`: the same for the agent's trace to the hub.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jharnet_monitor.model import Measurement
from jharnet_monitor.probes.deferred import Deferred
from jharnet_monitor.probes.path import plan
from jharnet_monitor.probes.path.metrics import FAMILIES
from jharnet_monitor.probes.path.remarks import remarks
from jharnet_monitor.probes.probe import Probe


def _events(run: Measurement) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if before := run.conditions.get("route_before"):
        after = [hop["address"] for hop in run.conditions["hops"]]
        yield "route_changed", {"before": before, "after": after}


PATH = Probe(
    name="path",
    how="Paris traceroute to each office and back, by ICMP and UDP; packet size and marks",
    safeguards="a hop is blamed only if all hops behind it show the same",
    run=Deferred("jharnet_monitor.probes.path.run:run"),
    time_limit=plan.time_limit,
    series=(plan.SERIES,),
    jobs=plan.jobs,
    agent_tasks=("path",),
    undisturbed=True,
    cost=plan.cost,
    metrics=FAMILIES,
    remarks=remarks,
    events=_events,
)

"""The metric families of the path probe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jharnet_monitor.model import Direction
from jharnet_monitor.probes.families import OfficeFamily, OfficeView, Point, of_quantity
from jharnet_monitor.probes.path.names import HopNames


def _traces(view: OfficeView) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The newest trace towards the office, and that of its agent, by direction."""
    run = view.newest("path")
    if run is not None:
        yield Direction.DOWN, run.conditions
        if "back" in run.conditions:
            yield Direction.UP, run.conditions["back"]


def _faults(view: OfficeView) -> Iterator[Point]:
    """The last hop before each fault, with its owner."""
    names = HopNames(view.config.probes.path.hops)
    for direction, trace in _traces(view):
        hole = trace.get("mtu_black_hole")
        # the target itself may refuse large pings
        at_end = hole is not None and hole[1] == len(trace["hops"])
        found = {"loss": trace.get("loss_between"), "mtu_or_target" if at_end else "mtu": hole}
        found |= {"mark": next(iter(trace.get("mark_cleared_between", {}).values()), None)}
        for fault, between in found.items():
            if between:
                hop = names.of(trace, between[0])
                yield (direction, fault, hop.name, hop.owner or ""), float(between[0])


def _marking(view: OfficeView) -> Iterator[Point]:
    run = view.newest("path")
    if run is not None:
        for mark, ways in run.conditions.get("marking", {}).items():
            for direction, verdict in ways.items():
                yield (direction, mark, verdict), 1.0


FAMILIES = (
    of_quantity("path", "hops"),
    of_quantity("path", "loss_ratio"),
    of_quantity("path", "rtt_p50_seconds"),
    of_quantity("path", "mtu_bytes"),
    OfficeFamily("path_fault_after_hop", "gauge",
                 "Number of the last hop before a fault: packets are lost (`loss`), large ones "
                 "vanish (`mtu`, or `mtu_or_target` where the target itself may refuse large "
                 "pings), marks are cleared (`mark`); 0 is the start, absent without one. "
                 "`up` is the agent's way to the hub", _faults,
                 ("direction", "fault", "hop", "owner")),
    OfficeFamily("path_marking", "gauge",
                 "1 for what happens to marked packets in a direction: `keeps`, `clears` or "
                 "`favours`", _marking, ("direction", "mark", "verdict")),
)  # fmt: skip

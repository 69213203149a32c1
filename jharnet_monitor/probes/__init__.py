"""The probes: one folder for each, and a dict of all of them.

A probe is one coroutine. It measures and returns a `Reading`, or raises `Failed` (the network
prevented it) or `NoData` (the monitor could not measure). The caller applies the time limit and
the byte budget, orders heavy probes and makes the `Measurement`; a probe knows neither the store
nor the metrics.

The declarations are loaded when they are used: an agent, which needs its own half of each probe
only (`probes.agent_tasks`), saves their 9 MB.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jharnet_monitor.probes.base import (
    AgentLink,
    AgentTask,
    Channel,
    ChannelClosed,
    Failed,
    NoData,
    ProbeContext,
    ProbeError,
    Reading,
    measurement_of,
)

if TYPE_CHECKING:
    from jharnet_monitor.probes.probe import DisturbedBy, Job, Probe, Series
    from jharnet_monitor.probes.registry import (
        PROBES,
        PRUNABLE,
        current,
        has_series,
        is_fresh,
        load,
        series,
    )

__all__ = [
    "PROBES",
    "PRUNABLE",
    "AgentLink",
    "AgentTask",
    "Channel",
    "ChannelClosed",
    "DisturbedBy",
    "Failed",
    "Job",
    "NoData",
    "Probe",
    "ProbeContext",
    "ProbeError",
    "Reading",
    "Series",
    "current",
    "has_series",
    "is_fresh",
    "load",
    "measurement_of",
    "series",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "probe" if name in ("DisturbedBy", "Job", "Probe", "Series") else "registry"
    return getattr(import_module(f"{__name__}.{module}"), name)

"""The probes: one folder for each, and a dict of all of them.

A probe is one coroutine. It measures and returns a `Reading`, or raises `Failed` (the network
prevented it) or `NoData` (the monitor could not measure). The caller applies the time limit and
the byte budget, orders heavy probes and makes the `Measurement`; a probe knows neither the store
nor the metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from jharnet_monitor.model import ROUND_TRIPS, Measurement, series_key
from jharnet_monitor.probes.bandwidth.probe import BANDWIDTH
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
from jharnet_monitor.probes.conference.probe import CONFERENCE
from jharnet_monitor.probes.latency.probe import LATENCY
from jharnet_monitor.probes.path.probe import PATH
from jharnet_monitor.probes.probe import Deferred, DisturbedBy, Job, Probe, Series
from jharnet_monitor.probes.service.probe import SERVICE
from jharnet_monitor.probes.utilisation.probe import UTILISATION

if TYPE_CHECKING:
    from jharnet_monitor.config import Config

__all__ = [
    "AGENT_TASKS",
    "LIGHT_TASKS",
    "OWN_PROCESS_TASKS",
    "PROBES",
    "PRUNABLE",
    "AgentLink",
    "AgentTask",
    "Channel",
    "ChannelClosed",
    "Deferred",
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
    "is_fresh",
    "load",
    "load_agent_tasks",
    "measurement_of",
    "series",
]

PROBES: dict[str, Probe] = {
    probe.name: probe for probe in (LATENCY, BANDWIDTH, CONFERENCE, SERVICE, PATH, UTILISATION)
}
"""The probes by name, which the scheduler, the API and `jharnet-monitor probe` can run."""

PRUNABLE = frozenset({ROUND_TRIPS, *(n for n, probe in PROBES.items() if not probe.never_pruned)})
"""The kinds of records that retention prunes: measurements by probe, and round trips of packets."""

AGENT_TASKS: dict[str, AgentTask] = {
    name: task for probe in PROBES.values() for name, task in probe.agent_tasks.items()
}
"""The agent's half of each probe, by the name under which the hub opens it."""

LIGHT_TASKS = frozenset(
    name for probe in PROBES.values() if not probe.heavy for name in probe.agent_tasks
)
"""Those of them that do not load the office's line."""

OWN_PROCESS_TASKS = frozenset(
    name for probe in PROBES.values() if probe.own_process for name in probe.agent_tasks
)
"""Those of them that the agent runs in a process of their own."""


def load() -> None:
    """Import everything that the hub's half of each probe needs, so that a first run does not block
    the event loop.
    """
    _load(probe.run for probe in PROBES.values())


def load_agent_tasks() -> None:
    """Import everything that tasks in the agent's own process need, like `load`."""
    _load(task for name, task in AGENT_TASKS.items() if name not in OWN_PROCESS_TASKS)


def _load(functions: Iterable[object]) -> None:
    for function in functions:
        if isinstance(function, Deferred):
            function.load()


def series() -> dict[str, Series]:
    """Every series by its key (`Measurement.series`), in the order of the probes."""
    return {
        series_key(probe.name, one.route): one for probe in PROBES.values() for one in probe.series
    }


def is_fresh(config: Config, measurement: Measurement, now: datetime) -> bool:
    """Whether a run still describes the present; a run from the future (a clock was set) does
    not."""
    return PROBES[measurement.probe].series_of(measurement.route).is_fresh(config, measurement, now)


def current(
    config: Config, runs: Mapping[str, Measurement], now: datetime
) -> dict[str, Measurement]:
    """Those of an office's runs, by series, that are fresh."""
    return {key: run for key, run in runs.items() if is_fresh(config, run, now)}

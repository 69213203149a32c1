"""The probes: one folder a probe, one visible dict.

A probe is one coroutine. It measures and returns a `Reading`, or raises `Failed` (the network
did it) or `NoData` (we could not measure). The caller owns the time-out, the budget, the order
of heavy probes and the making of the `Measurement`; a probe knows neither store nor metrics.
"""

from collections.abc import Mapping
from datetime import datetime

from jharnet_monitor.config import Config
from jharnet_monitor.model import Measurement, series_key
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
from jharnet_monitor.probes.probe import Deferred, DisturbedBy, Job, Probe, Series
from jharnet_monitor.probes.service.probe import SERVICE
from jharnet_monitor.probes.utilisation.probe import UTILISATION

__all__ = [
    "AGENT_TASKS",
    "KEPT",
    "LIGHT_TASKS",
    "PROBES",
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
    "measurement_of",
    "series",
]

PROBES: dict[str, Probe] = {
    probe.name: probe for probe in (LATENCY, BANDWIDTH, CONFERENCE, SERVICE, UTILISATION)
}
"""What `jharnet-monitor probe NAME OFFICE`, the scheduler and the API can run."""

KEPT = frozenset(name for name, probe in PROBES.items() if probe.kept)
"""Probes whose measurements are never pruned."""

AGENT_TASKS: dict[str, AgentTask] = {
    name: task for probe in PROBES.values() for name, task in probe.agent_tasks.items()
}
"""The agent's halves, by the names that the hub's halves open."""

LIGHT_TASKS = frozenset(
    name for probe in PROBES.values() if not probe.heavy for name in probe.agent_tasks
)
"""Those of them that do not load the office's line."""


def load() -> None:
    """Import what the probes run with, so that the first run does not stop the event loop."""
    for probe in PROBES.values():
        for code in (probe.run, *probe.agent_tasks.values()):
            if isinstance(code, Deferred):
                code.load()


def series() -> dict[str, Series]:
    """Every series by its key (`Measurement.series`), in the order of the probes."""
    return {
        series_key(probe.name, one.route): one for probe in PROBES.values() for one in probe.series
    }


def is_fresh(config: Config, measurement: Measurement, now: datetime) -> bool:
    """Whether a run still speaks for now; one from the far future (a clock was set) does not."""
    return PROBES[measurement.probe].series_of(measurement.route).is_fresh(config, measurement, now)


def current(
    config: Config, runs: Mapping[str, Measurement], now: datetime
) -> dict[str, Measurement]:
    """Those of an office's runs, by series, that still speak for now."""
    return {key: run for key, run in runs.items() if is_fresh(config, run, now)}

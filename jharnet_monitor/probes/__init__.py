"""The probes: one file a probe, one visible dict.

A probe is one coroutine. It measures and returns a `Reading`, or raises `Failed` (the network
did it) or `NoData` (we could not measure). The caller owns the time-out, the budget, the order
of heavy probes and the making of the `Measurement`; a probe knows neither store nor metrics.
"""

from jharnet_monitor.probes.bandwidth.agent import far_side as bandwidth_far_side
from jharnet_monitor.probes.bandwidth.probe import BANDWIDTH
from jharnet_monitor.probes.base import (
    AgentLink,
    AgentTask,
    Channel,
    ChannelClosed,
    Failed,
    NoData,
    Probe,
    ProbeContext,
    Reading,
)
from jharnet_monitor.probes.conference.agent import far_side as conference_far_side
from jharnet_monitor.probes.conference.probe import CONFERENCE
from jharnet_monitor.probes.internet.probe import far_side as internet_far_side
from jharnet_monitor.probes.latency.probe import LATENCY
from jharnet_monitor.probes.utilisation.probe import UTILISATION

__all__ = [
    "AGENT_TASKS",
    "PROBES",
    "AgentLink",
    "AgentTask",
    "Channel",
    "ChannelClosed",
    "Failed",
    "NoData",
    "Probe",
    "ProbeContext",
    "Reading",
]

PROBES: dict[str, Probe] = {
    "latency": LATENCY,
    "bandwidth": BANDWIDTH,
    "conference": CONFERENCE,
    "utilisation": UTILISATION,
}
"""What `jharnet-monitor probe NAME OFFICE`, the schedule and the API can run."""

AGENT_TASKS: dict[str, AgentTask] = {
    "bandwidth": bandwidth_far_side,
    "internet": internet_far_side,
    "conference": conference_far_side,
}
"""The agent's halves, by the names that the hub's halves open."""

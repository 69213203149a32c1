"""The agent's half of each probe, without what only the hub needs of a probe.

The declarations in `PROBES` need pydantic, metrics and judgements, of which an agent, which reads
this table only, uses nothing.
"""

from __future__ import annotations

from jharnet_monitor.probes.base import AgentTask
from jharnet_monitor.probes.deferred import Deferred, load_all

AGENT_TASKS: dict[str, AgentTask] = {
    "bandwidth": Deferred("jharnet_monitor.probes.bandwidth.agent:agent_task"),
    "internet": Deferred("jharnet_monitor.probes.internet.run:agent_task"),
    "conference": Deferred("jharnet_monitor.probes.conference.agent:agent_task"),
    "service": Deferred("jharnet_monitor.probes.service.agent:agent_task"),
    "path": Deferred("jharnet_monitor.probes.path.agent:agent_task"),
}
"""The agent's half of each probe, by the name under which the hub opens it."""

LIGHT_TASKS = frozenset({"service", "path"})
"""Those of them that do not load the office's line."""

OWN_PROCESS_TASKS = frozenset({"conference"})
"""Those of them that the agent runs in a process of their own, to limit the memory of its
libraries."""


def load_agent_tasks() -> None:
    """Import everything that tasks in the agent's own process need, so that a first run does not
    block the event loop.
    """
    load_all(task for name, task in AGENT_TASKS.items() if name not in OWN_PROCESS_TASKS)

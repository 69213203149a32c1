"""The agent's half of the service probe: one visit, as the hub orders it, within the agent's
limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jharnet_monitor.probes.base import AgentContext, Channel
from jharnet_monitor.probes.service.order import VisitOrder
from jharnet_monitor.probes.service.visit import visit


async def agent_task(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
    """Make the visit and report it; an invalid order ends the channel."""
    result = await visit(VisitOrder.from_params(params), context.clock.monotonic)
    await channel.send(result.to_message())
    await channel.receive()  # until the hub has closed it

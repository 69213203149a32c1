"""The agent's half of the path probe: the path back to the hub, and marked packets both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from jharnet_monitor.probes.base import AgentContext, Channel, NoData
from jharnet_monitor.probes.dns import resolve
from jharnet_monitor.probes.path.exchange import take_part, to_message
from jharnet_monitor.probes.path.order import TraceOrder, flow_of, is_ipv4
from jharnet_monitor.probes.path.trace import trace


async def agent_task(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
    """Trace the path to this agent's own hub, and to no other address."""
    order = TraceOrder.from_params(params)
    message: dict[str, Any]
    try:
        hub = (await resolve(urlsplit(context.hub).hostname or ""))[0]
        if not is_ipv4(hub):
            message = {"cause": "not_configured"}
        else:
            exchange = take_part(params.get("exchange"), hub, order.marks)
            flow = flow_of(context.office)
            traced, arrivals = await asyncio.gather(
                trace(hub, order, flow, context.clock), exchange
            )
            message = {"trace": traced.to_message(), "arrivals": to_message(arrivals)}
    except NoData as error:
        message = {"cause": error.cause.value}
    await channel.send(message)
    await channel.receive()  # until the hub has closed it

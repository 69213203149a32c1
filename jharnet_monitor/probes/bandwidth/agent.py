"""The agent's half of the bandwidth probe, which answers the hub's requests one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jharnet_monitor.model import Direction
from jharnet_monitor.probes.bandwidth.http_agent import transfer
from jharnet_monitor.probes.bandwidth.udp_agent import AgentUdpChannel
from jharnet_monitor.probes.base import AgentContext, Channel


async def agent_task(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
    """Answer one request at a time until the hub closes the channel.

    The key `do` of a message names the request: `ping`, `download`, `upload`, `udp`, `listen`,
    `arrivals`, `train`, `expect_stream`, `stream_received` or `stream`. An answer repeats the
    request's number, `re`.
    """
    udp = AgentUdpChannel(context.hub)
    try:
        while True:
            message = await channel.receive()
            number = {"re": message["re"]} if "re" in message else {}
            await channel.send({**await answer(message, udp, context), **number})
    finally:
        udp.close()


async def answer(
    message: Mapping[str, Any], udp: AgentUdpChannel, context: AgentContext
) -> dict[str, Any]:
    """The answer to one request; it has the key `error` if the request is invalid."""
    request = message.get("do")
    if request == "ping":
        return {"pong": message.get("n")}
    for direction in Direction:
        if request == direction.transfer:
            return await transfer(direction, message, context)
    if request == "stream":
        return await udp.stream(message)
    udp_request = {
        "udp": udp.open,
        "listen": udp.listen,
        "arrivals": udp.arrivals,
        "train": udp.train,
        "expect_stream": udp.expect_stream,
        "stream_received": udp.stream_received,
    }.get(str(request))
    return {"error": "unknown request"} if udp_request is None else udp_request(message)

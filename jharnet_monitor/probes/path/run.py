"""A run of the path probe: the path to the office, and from its agent back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from typing import Any

from jharnet_monitor.judge.path import MarkArrivals, has_changed
from jharnet_monitor.model import Cause, Direction
from jharnet_monitor.probes.base import ChannelClosed, Failed, NoData, ProbeContext, Reading
from jharnet_monitor.probes.dns import resolve
from jharnet_monitor.probes.latency.run import measured_address
from jharnet_monitor.probes.path.exchange import HubExchange, from_message
from jharnet_monitor.probes.path.order import TraceOrder, flow_of, is_ipv4
from jharnet_monitor.probes.path.plan import order_of
from jharnet_monitor.probes.path.result import (
    BadTrace,
    addresses,
    locate_faults,
    markings,
    parse_trace,
    values,
)
from jharnet_monitor.probes.path.sockets import Protocol
from jharnet_monitor.probes.path.trace import trace
from jharnet_monitor.probes.udp_port import bind_free_port

QUIET_SPACING_SECONDS = 0.5
"""Rounds that are closer together load the line to their end."""


class LoadingParts:
    """The parts of a run that load the line; calls `free_line` once all have ended."""

    def __init__(self, *parts: str, free_line: Callable[[], Awaitable[None]]) -> None:
        self._parts = set(parts)
        self._free_line = free_line

    async def end(self, part: str) -> None:
        """Note that a part has ended. Idempotent."""
        self._parts.discard(part)
        if not self._parts:
            await self._free_line()


async def run(context: ProbeContext) -> Reading:
    """Trace both ways at once.

    The line is free again after the packets that load it, which the agent's trace sends at the same
    time as the hub's: the rounds that follow take a minute with few packets. It is not free before
    the end if these are close together, or if the target does not answer.

    Raises `Failed` (`no_reply`), with the hops that do answer, and `NoData`.
    """
    order = order_of(context)
    role, host = measured_address(context.office)
    target = (await resolve(host))[0]
    if not is_ipv4(target):
        raise NoData(Cause.NOT_CONFIGURED, "only IPv4 addresses are traced")
    parts = ("trace", "exchange", *(("rounds",) if order.spacing < QUIET_SPACING_SECONDS else ()))
    loading = LoadingParts(*parts, free_line=context.free_line)
    flow = flow_of(context.office.id)
    going_back = asyncio.create_task(_back(context, order, lambda: loading.end("exchange")))
    try:
        traced = await trace(target, order, flow, context.clock, lambda: loading.end("trace"))
        back, arrivals, exchanged = await going_back
    finally:
        going_back.cancel()
    loss = context.config.thresholds.loss
    conditions = {"target": role, "address": target, **parse_trace(traced.to_message(), order)}
    conditions |= locate_faults(conditions, loss) | markings(arrivals)
    conditions["bytes_spent"] += exchanged
    if back:
        conditions["bytes_spent"] += back.pop("bytes_spent")
        conditions["back"] = back | locate_faults(back, loss)
    if not traced.reached:
        raise Failed(Cause.NO_REPLY, conditions=conditions)
    conditions |= _change(context, conditions, (traced.protocol, traced.flow))
    return Reading(values(conditions, back), conditions)


def _change(
    context: ProbeContext, conditions: Mapping[str, Any], flow: tuple[Protocol, int]
) -> dict[str, Any]:
    """`route_before`, if the path differs from that of the previous run by the same flow: the
    packets of another one may take another path."""
    known = context.memory.setdefault("addresses", {})
    now, before = addresses(conditions), known.get(flow)
    known[flow] = now
    if before is None or not has_changed(before, now):
        return {}
    return {"route_before": list(before)}


Back = tuple[dict[str, Any] | None, dict[Direction, dict[int, MarkArrivals]], int]


async def _back(
    context: ProbeContext, order: TraceOrder, after_exchange: Callable[[], Awaitable[None]]
) -> Back:
    """The agent's trace, the arrivals of marked packets, and the bytes of those; empty without a
    capable agent."""
    if context.agent is None or "path" not in context.agent.features:
        await after_exchange()
        return None, {}, 0
    hub = context.config.hub
    with ExitStack() as stack:
        params, exchange = order.to_params(), None
        sock = None
        if is_ipv4(hub.host) and order.marks:
            sock = bind_free_port(hub.host, hub.udp_range)
        if sock is not None:
            exchange = HubExchange(sock, order.marks)
            stack.callback(exchange.close)
            params["exchange"] = exchange.invitation
        try:
            channel = await context.agent.open("path", params)
        except (ChannelClosed, NoData):
            await after_exchange()
            return None, {}, 0
        sending = asyncio.create_task(_exchange(exchange, after_exchange))
        try:
            reply = await channel.receive()
            up = await sending
        except ChannelClosed:  # the path to the office is known nevertheless
            return None, {}, 0 if exchange is None else exchange.bytes
        finally:
            sending.cancel()
            await channel.close()
    down = from_message(reply.get("arrivals"), order.marks)
    arrivals = {Direction.DOWN: down, Direction.UP: up}
    exchanged = 0 if exchange is None else exchange.bytes
    try:
        return parse_trace(reply.get("trace"), order), arrivals, exchanged
    except BadTrace:
        return None, arrivals, exchanged


async def _exchange(
    exchange: HubExchange | None, after_exchange: Callable[[], Awaitable[None]]
) -> dict[int, MarkArrivals]:
    """The packets that arrived from the agent; empty without an exchange."""
    try:
        return await exchange.run() if exchange else {}
    finally:
        await after_exchange()

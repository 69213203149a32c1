"""A run of the utilisation probe: two readings of the router's counters become rates.

Of Ethernet the framing is
taken off by the packets counted (18 bytes each; a router that leaves the check sequence out of its
counters, as Linux does, reads 4 bytes a packet low); VLAN and PPPoE headers stay in. Conditions:
`interface`, `interface_bits_per_second` as the router has it, `counter_bits`, `counts` (`ip`, or
`frames` where there are no packets to tell framing by), and `no_rate` where two readings give none.
"""

from __future__ import annotations

from typing import Any

from jharnet_monitor.judge.line.interface_counters import InterfaceCounters, NoRate, rates_between
from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import NoData, ProbeContext, Reading
from jharnet_monitor.probes.utilisation.snmp import asking

LEAST_WINDOW_SECONDS = 45.0
"""Many routers take their counters up only every 3 to 15 s: a short window tells of other seconds
than its own."""


async def run(context: ProbeContext) -> Reading:
    """Read the counters; the first reading gives the router's uptime alone. Raises `NoData`."""
    settings = context.office.snmp
    if settings is None:
        raise NoData(Cause.NOT_CONFIGURED, "this office has no `snmp:`")
    async with asking(settings, context.office.router, context.clock) as router:
        told = await router.read()
    after = told.counters
    conditions: dict[str, Any] = {
        "interface": settings.interface,
        "counter_bits": after.bits,
        "counts": "frames" if after.header and after.inbound.packets is None else "ip",
    }
    if after.speed is not None:
        conditions["interface_bits_per_second"] = after.speed
    values = {"router_uptime_seconds": told.uptime}
    before: InterfaceCounters | None = context.memory.get("counters")
    if before is not None and 0 <= after.at - before.at < LEAST_WINDOW_SECONDS:
        return Reading(values, conditions | {"no_rate": "too_soon"})
    context.memory["counters"] = after
    if before is None:
        return Reading(values, conditions | {"no_rate": "first_reading"})
    found = rates_between(before, after)
    if isinstance(found, NoRate):
        return Reading(values, conditions | {"no_rate": found.value})
    values |= {
        "download_bits_per_second": found.inbound,
        "upload_bits_per_second": found.outbound,
        "window_seconds": found.seconds,
    }
    return Reading(values, conditions)

"""One run of the utilisation probe: two readings of the router's counters give rates.

Of Ethernet frames, 18 bytes of framing are subtracted per packet (a router that does not count the
frame check sequence, such as Linux, reads 4 bytes too low); VLAN and PPPoE headers are included.
Conditions: `interface`, `interface_bits_per_second` (ifSpeed), `counter_bits`, `counts` (`ip`, or
`frames` where no packets are counted, so that framing cannot be subtracted), and `no_rate` where
two readings give no rate.
"""

from __future__ import annotations

from typing import Any

from jharnet_monitor.judge.line.interface_counters import InterfaceCounters, NoRate, rates_between
from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import NoData, ProbeContext, Reading
from jharnet_monitor.probes.utilisation.snmp import router_session

MIN_WINDOW_SECONDS = 45.0
"""Many routers update their counters only every 3 to 15 s, so the rate of a short window would be
wrong."""


async def run(context: ProbeContext) -> Reading:
    """Read the counters; the first reading gives only the uptime. Raises `NoData`."""
    settings = context.office.snmp
    if settings is None:
        raise NoData(Cause.NOT_CONFIGURED, "this office has no `snmp:` in the configuration")
    async with router_session(settings, context.office.router, context.clock) as router:
        reading = await router.read()
    after = reading.counters
    conditions: dict[str, Any] = {
        "interface": settings.interface,
        "counter_bits": after.bits,
        "counts": "frames" if after.header and after.inbound.packets is None else "ip",
    }
    if after.speed is not None:
        conditions["interface_bits_per_second"] = after.speed
    values = {"router_uptime_seconds": reading.uptime}
    before: InterfaceCounters | None = context.memory.get("counters")
    if before is not None and 0 <= after.at - before.at < MIN_WINDOW_SECONDS:
        return Reading(values, conditions | {"no_rate": "too_soon"})
    context.memory["counters"] = after
    if before is None:
        return Reading(values, conditions | {"no_rate": "first_reading"})
    rates = rates_between(before, after)
    if isinstance(rates, NoRate):
        return Reading(values, conditions | {"no_rate": rates.value})
    values |= {
        "download_bits_per_second": rates.inbound,
        "upload_bits_per_second": rates.outbound,
        "window_seconds": rates.seconds,
    }
    return Reading(values, conditions)

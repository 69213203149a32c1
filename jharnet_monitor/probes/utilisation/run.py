"""One run of the utilisation probe: two readings of the router's counters give rates.

Of Ethernet frames, 18 bytes of framing are subtracted per packet (a router that does not count the
frame check sequence, such as Linux, reads 4 bytes too low); VLAN and PPPoE headers are included.
Conditions: `interface`, `interface_bits_per_second` (ifSpeed), `duplex`, `counter_bits`, `counts`
(`ip`, or `frames` where no packets are counted, so that framing cannot be subtracted), `no_rate` if
two readings give no rate; for the interface to the office's network also `lan_duplex` and, at least
45 s after the reading before, `lan_errors` (whether it damages packets).
"""

from __future__ import annotations

from typing import Any

from jharnet_monitor.judge.line.interface_counters import (
    InterfaceCounters,
    InterfaceRates,
    NoRate,
    rates_between,
)
from jharnet_monitor.judge.line.interface_faults import LAN_DUPLEX, LAN_ERRORS, MOST_ERRORS
from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import NoData, ProbeContext, Reading
from jharnet_monitor.probes.utilisation.snmp import InterfaceReading, router_session

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
    after = reading.line.counters
    conditions: dict[str, Any] = {
        "interface": settings.interface,
        "counter_bits": after.bits,
        "counts": "frames" if after.header and after.inbound.packets is None else "ip",
    }
    if after.speed is not None:
        conditions["interface_bits_per_second"] = after.speed
    if reading.line.duplex is not None:
        conditions["duplex"] = reading.line.duplex
    values = {"router_uptime_seconds": reading.uptime}
    host = settings.address or context.office.router
    _add_lan(context, (host, settings.lan_interface), reading.lan, values, conditions)
    interface = (host, settings.interface)
    before = _counters_before(context, "line", interface)
    if before is not None and after.at - before.at < MIN_WINDOW_SECONDS:
        return Reading(values, conditions | {"no_rate": "too_soon"})
    context.memory["line"] = (interface, after)
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
    shares = {
        "download_error_ratio": rates.inbound_errors, "upload_error_ratio": rates.outbound_errors,
        "download_discard_ratio": rates.inbound_discards,
        "upload_discard_ratio": rates.outbound_discards,
    }  # fmt: skip
    values |= {name: share for name, share in shares.items() if share is not None}
    return Reading(values, conditions)


def _counters_before(
    context: ProbeContext, which: str, interface: tuple[str | None, str | None]
) -> InterfaceCounters | None:
    """The previous reading; None if it was of another interface, as before a reload."""
    known, counters = context.memory.get(which, (None, None))
    return counters if known == interface else None


def _add_lan(
    context: ProbeContext, interface: tuple[str | None, str | None],
    lan: InterfaceReading | None, values: dict[str, float], conditions: dict[str, Any],
) -> None:  # fmt: skip
    """Add what the router reports about the office's own network: duplex, share of damaged
    packets."""
    if lan is None:
        return
    if lan.duplex is not None:
        conditions[LAN_DUPLEX] = lan.duplex
    before = _counters_before(context, "lan", interface)
    if before is not None and lan.counters.at - before.at < MIN_WINDOW_SECONDS:
        return
    context.memory["lan"] = (interface, lan.counters)
    rates = None if before is None else rates_between(before, lan.counters)
    if isinstance(rates, InterfaceRates):
        known = [s for s in (rates.inbound_errors, rates.outbound_errors) if s is not None]
        if known:
            values["lan_error_ratio"] = max(known)
            conditions[LAN_ERRORS] = max(known) > MOST_ERRORS

"""One run of the latency probe on request: a short series of echo requests."""

from __future__ import annotations

from jharnet_monitor.config import Office
from jharnet_monitor.model import Cause, Route
from jharnet_monitor.probes.base import NoData, ProbeContext, Reading
from jharnet_monitor.probes.dns import resolve
from jharnet_monitor.probes.latency import page
from jharnet_monitor.probes.latency.icmp import Family
from jharnet_monitor.probes.latency.pinger import AnyEchoSocket, Pinger, family_of
from jharnet_monitor.probes.latency.probe import PACKETS, PACKETS_PER_SECOND
from jharnet_monitor.probes.latency.statistics import EchoTally


def measured_address(office: Office) -> tuple[str, str]:
    """Role (`router` or `pc`) and host to which an office's latency is measured.

    The router is the end of the line and answers even while the PC is switched off; the PC is used
    where no router is configured.
    """
    if office.router is not None:
        return "router", office.router
    if office.pc is not None:
        return "pc", office.pc
    raise ValueError(f"{office.id} has no address")  # the configuration does not allow it


async def run(context: ProbeContext) -> Reading:
    """Send `options["packets"]` requests (default 20), 10 per second, on a socket of their own.

    `conditions["icmp_id"]` is their ICMP identifier, by which a capture or the lab can find exactly
    these packets. Raises `Failed` (`no_reply`) and `NoData` (`name_not_resolved`, `not_sent`,
    `host_overloaded`); over the route `page` what `page.run` raises.
    """
    if context.route is Route.PAGE:
        return await page.run(context)
    settings = context.config.probes.latency
    role, host = measured_address(context.office)
    address = await resolve(host)
    pinger = Pinger(settings.timeout, settings.dscp)
    tally = EchoTally()
    try:
        socket = _open(pinger, family_of(address))
        for number in range(int(context.options.get("packets") or PACKETS)):
            if number:
                await context.clock.sleep(1 / PACKETS_PER_SECOND)
            try:
                pinger.send(tally, address)
            except OSError as error:
                tally.send_failed(error)
        await pinger.settle()
        conditions = {"target": role, "address": address[0], "icmp_id": socket.identifier}
    finally:
        pinger.close()
    return tally.reading(conditions)


def _open(pinger: Pinger, family: Family) -> AnyEchoSocket:
    try:
        return pinger.open(family)
    except OSError as error:  # not allowed to, or this host lacks the family
        raise NoData(Cause.NOT_SENT, str(error)) from error

"""A run of the service probe: one service, visited by the office's agent, by its page in a
browser, or by the hub itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jharnet_monitor.config.schema import Service, ServiceProbe
from jharnet_monitor.errors import UserError
from jharnet_monitor.model import HEADQUARTERS, Cause
from jharnet_monitor.probes.base import NoData, ProbeContext, Reading
from jharnet_monitor.probes.service.order import VisitOrder
from jharnet_monitor.probes.service.page_visit import visit_by_page
from jharnet_monitor.probes.service.plan import OFFICE
from jharnet_monitor.probes.service.result import reading_of
from jharnet_monitor.probes.service.visit import visit
from jharnet_monitor.security.tls import read_authority


async def run(context: ProbeContext) -> Reading:
    """Visit the service that the options name; raises `Failed` and `NoData`."""
    settings = context.config.probes.service
    service = _service(settings, context.options.get("service"))
    try:
        ca = None if service.ca is None else read_authority(service.ca)
    except UserError as error:
        raise NoData(Cause.NOT_CONFIGURED, str(error)) from error
    order = VisitOrder.of(settings, service, ca)
    if context.agent is not None and context.agent.in_browser:
        return await visit_by_page(context.agent, order)
    began = context.clock.monotonic()
    if context.at_headquarters:
        report: Mapping[str, Any] = (await visit(order, context.clock.monotonic)).to_message()
    else:
        report = await _visit_by_agent(context, order)
    end = HEADQUARTERS if context.at_headquarters else OFFICE
    elapsed = context.clock.monotonic() - began
    return reading_of(report, order, end, context.clock.now().timestamp(), elapsed)


def _service(settings: ServiceProbe, name: object) -> Service:
    for service in settings.services:
        if service.name == name:
            return service
    known = ", ".join(one.name for one in settings.services) or "no services"
    raise NoData(Cause.NOT_CONFIGURED, f"`probes.service` has {known}")


async def _visit_by_agent(context: ProbeContext, order: VisitOrder) -> Mapping[str, Any]:
    if context.agent is None:
        raise NoData(Cause.NO_AGENT)
    channel = await context.agent.open("service", order.to_params())
    try:
        return await channel.receive()
    finally:
        await channel.close()

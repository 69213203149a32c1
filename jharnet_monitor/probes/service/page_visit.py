"""A visit by an office's page in a browser.

A browser does not let a page read another site's answer, nor see the phases of the request: the
page learns only whether an answer came, and after what time its headers did. So neither the status
nor the expected text can be checked, an error page counts as an answer, and a failure has no cause.
The browser follows redirects to the hosts that the join page's content security policy lists.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from yarl import URL

from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import AgentLink, Failed, NoData, Reading
from jharnet_monitor.probes.service.order import VisitOrder
from jharnet_monitor.probes.service.plan import OFFICE
from jharnet_monitor.probes.service.result import SPARE_SECONDS, number_of
from jharnet_monitor.probes.service.visit import PER_CONNECTION_BYTES, PER_PAGE_BYTES

if TYPE_CHECKING:
    from jharnet_monitor.config.schema import ServiceProbe

VISIT = "visit"
"""The task of a page that fetches an address without reading it."""
SPENT_BYTES = 2 * (PER_CONNECTION_BYTES + PER_PAGE_BYTES)
"""An estimate that allows for one redirect, because a browser does not report its bytes. The page
stops reading at the headers."""


async def visit_by_page(agent: AgentLink, order: VisitOrder) -> Reading:
    """Have the page fetch the service's address; raises `Failed` and `NoData`.

    `answer_seconds` is from the beginning until the headers of the last answer.
    """
    channel = await agent.open(VISIT, {"url": order.url, "seconds": order.seconds})
    try:
        async with asyncio.timeout(order.seconds + SPARE_SECONDS):
            report = await channel.receive()
    except TimeoutError as error:
        raise NoData(Cause.AGENT_LOST, "the page did not report its visit") from error
    finally:
        await channel.close()
    return reading_of_page(report, order)


def reading_of_page(report: Mapping[str, Any], order: VisitOrder) -> Reading:
    """The reading of a page's report; raises `Failed`, or `NoData` for an impossible one."""
    conditions = {"end": OFFICE, "agent_client": "browser", "bytes_spent": SPENT_BYTES}
    match report.get("outcome"):
        case "mixed":
            detail = "a page opened by https may not fetch an http address"
            raise NoData(Cause.NEEDS_PROGRAM, detail)
        case "outdated":
            detail = "it visits only what was configured when it was opened"
            raise NoData(Cause.PAGE_OUTDATED, detail)
        case "answered":
            took = number_of(report, "seconds", order.seconds + SPARE_SECONDS)
            return Reading({"answer_seconds": took}, conditions)
        case "timeout":
            raise Failed(Cause.TIMEOUT, conditions=conditions)
        case "failed":
            detail = "a browser does not say why"
            raise Failed(Cause.CONNECTION_FAILED, detail, conditions=conditions)
    raise NoData(Cause.BAD_REPORT, "unknown outcome of a visit")


def origins(settings: ServiceProbe) -> Iterator[str]:
    """What a page may connect to: the origin and the other hosts of each service."""
    for service in settings.services:
        yield str(URL(service.url).origin())
        for host in service.hosts:
            yield f"https://{host}"
            if URL(service.url).scheme == "http":
                yield f"http://{host}"

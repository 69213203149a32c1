"""One run of the bandwidth probe over the route of its options."""

from __future__ import annotations

from jharnet_monitor.model import Cause, Route
from jharnet_monitor.probes.bandwidth.packet_trains import TrainsTest
from jharnet_monitor.probes.bandwidth.page_test import PageThroughputTest
from jharnet_monitor.probes.bandwidth.throughput_test import ThroughputTest
from jharnet_monitor.probes.base import NoData, ProbeContext, Reading
from jharnet_monitor.probes.internet.run import run as run_internet


async def run(context: ProbeContext) -> Reading:
    """Measure; raises `Failed` or `NoData` with what was measured until then."""
    if context.route is Route.INTERNET:
        return await run_internet(context)
    if context.agent is None:
        raise NoData(Cause.NO_AGENT)
    in_browser = context.agent.in_browser
    if in_browser and context.route is Route.TRAINS:
        raise NoData(Cause.NEEDS_PROGRAM, "a page in a browser has no datagrams of its own")
    channel = await context.agent.open("bandwidth", {})
    try:
        if in_browser:
            return await PageThroughputTest(context, context.agent, channel).run()
        if context.route is Route.TRAINS:
            return await TrainsTest(context, channel).run()
        return await ThroughputTest(context, context.agent, channel).run()
    finally:
        await channel.close()

"""The bandwidth probe: throughput between agent and hub, or to the Internet, or packet trains.

`options["path"]` chooses: `jharnet` (default), `internet`, or `trains`, the cheap estimate of the
line's capacity between full tests.
"""

from __future__ import annotations

from jharnet_monitor.model import Cause
from jharnet_monitor.probes.bandwidth.packet_trains import TrainsOnly
from jharnet_monitor.probes.bandwidth.plan import TRAINS_COST, TRAINS_RESERVE, Plan
from jharnet_monitor.probes.bandwidth.throughput_test import FullTest
from jharnet_monitor.probes.base import NoData, Probe, ProbeContext, Reading
from jharnet_monitor.probes.internet import probe as internet

TRAINS_SECONDS = 30.0


def path_of(context: ProbeContext) -> str:
    """`jharnet`, `internet` or `trains`."""
    return str(context.options.get("path", "jharnet"))


def cost(context: ProbeContext) -> int:
    """The most bytes that one run puts on the office's line, both ways together."""
    if path_of(context) == "internet":
        return internet.cost(context)
    return TRAINS_COST if path_of(context) == "trains" else Plan.of(context).cost


def reserve(context: ProbeContext) -> float:
    """The rate that one run takes of the headquarters uplink, in bit/s."""
    if path_of(context) == "trains":
        return TRAINS_RESERVE
    plan = Plan.of(context)
    return max(plan.download.rate, plan.upload.rate)


def time_limit(context: ProbeContext) -> float:
    """Seconds after which a run has hung."""
    if path_of(context) == "internet":
        return internet.TIME_LIMIT_SECONDS
    return TRAINS_SECONDS if path_of(context) == "trains" else Plan.of(context).time_limit


async def run(context: ProbeContext) -> Reading:
    """Measure; raises `Failed` or `NoData` with what was measured all the same."""
    if path_of(context) == "internet":
        return await internet.run(context)
    if context.agent is None:
        raise NoData(Cause.NO_AGENT)
    channel = await context.agent.open("bandwidth", {})
    try:
        if path_of(context) == "trains":
            return await TrainsOnly(context, channel).run()
        return await FullTest(context, context.agent, channel).run()
    finally:
        await channel.close()


BANDWIDTH = Probe(
    "bandwidth", run, time_limit, heavy=True, needs_agent=True, cost=cost, reserve=reserve
)

"""The cheap bandwidth test: packet trains alone.

A packet train shows the capacity of the line. It shows neither how much of that is free nor whether
a TCP stream would get it, since loss, policers and slow computers do not affect it. Capacities are
therefore quantities of their own, marked as estimates.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf

from jharnet_monitor.model import Cause, Direction, Route
from jharnet_monitor.probes.bandwidth.bandwidth_test import BandwidthTest
from jharnet_monitor.probes.bandwidth.plan import Plan
from jharnet_monitor.probes.base import Failed, NoData


class TrainsTest(BandwidthTest):
    """A packet train in each direction, at most 48 kB each."""

    async def _measure(self) -> None:
        self._conditions |= {"path": Route.TRAINS.value, "estimate": True}
        if self._udp is None:
            raise Failed(Cause.UDP_BLOCKED, "no datagram of the agent arrived")
        await self._measure_idle_rtt_by_udp(self._udp)
        # The rate that is granted for two short bursts says nothing of the line.
        plan = Plan.of(replace(self._context, granted=inf))
        capacities = [
            await self._measure_capacity(direction, plan.limits(direction).rate)
            for direction in Direction
        ]
        if None in capacities:
            raise NoData(Cause.TOO_UNEVEN)

"""What every test between hub and agent begins with, and the cheap one: packet trains alone.

A train tells what the line can carry. It does not see how much of that is free, nor whether a
stream of data would get it: loss, a policer or a slow computer escape it. So its figures are
quantities of their own and are marked as an estimate.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import AsyncExitStack
from statistics import median
from typing import Any

from jharnet_monitor.model import Cause, Direction, Route
from jharnet_monitor.probes.bandwidth.metered_channel import MeteredChannel
from jharnet_monitor.probes.bandwidth.plan import Plan
from jharnet_monitor.probes.bandwidth.udp_hub import UdpChannel
from jharnet_monitor.probes.base import Channel, Failed, NoData, ProbeContext, ProbeError, Reading

PINGS, PING_SPACING_SECONDS = 7, 0.03
PING_SECONDS = 5.0
FEWEST_TRIPS = 3
MOST_UNCERTAIN = 0.2
"""A train that knows less of the capacity tells none: jitter was longer than it lasted."""


class Test(ABC):
    """What both kinds of test share: the books, and what goes with an error."""

    def __init__(self, context: ProbeContext, channel: Channel) -> None:
        self._context = context
        self._channel = MeteredChannel(channel)
        self._values: dict[str, float] = {}
        self._conditions: dict[str, Any] = {}
        self._spent = 0
        self._jitter = 0.0
        self._side: UdpChannel | None = None

    async def run(self) -> Reading:
        """The test; raises `Failed` or `NoData` with what was measured until then."""
        try:
            async with AsyncExitStack() as stack:
                hub = self._context.config.hub
                await self._idle_by_session()
                self._side = await stack.enter_async_context(
                    UdpChannel.opened(self._channel, self._context.clock, hub.host, hub.udp_range)
                )
                await self._measure()
        except ProbeError as error:
            self._close_books()
            values = self._values | error.values
            conditions = self._conditions | error.conditions
            raise type(error)(
                error.cause, error.detail, values=values, conditions=conditions
            ) from error
        self._close_books()
        return Reading(self._values, self._conditions)

    @abstractmethod
    async def _measure(self) -> None:
        """Fill values and conditions; raises `Failed` or `NoData`."""

    def _close_books(self) -> None:
        side = 0 if self._side is None else self._side.bytes_down + self._side.bytes_up
        self._values["bytes_spent"] = float(self._spent + side + self._channel.bytes)

    async def _idle_by_session(self) -> None:
        """Median over a few small messages, spaced so that none waits for another."""
        clock = self._context.clock
        sent: dict[int, float] = {}
        trips: list[float] = []

        async def ask() -> None:
            for n in range(PINGS):
                sent[n] = clock.monotonic()
                await self._channel.send({"do": "ping", "n": n})
                await asyncio.sleep(PING_SPACING_SECONDS)

        asking = asyncio.create_task(ask())
        try:
            async with asyncio.timeout(PING_SECONDS):
                while len(trips) < PINGS:
                    answer = (await self._channel.receive()).get("pong")
                    if answer not in sent:
                        raise NoData(Cause.BAD_REPORT, "an answer to a ping that was not sent")
                    trips.append(clock.monotonic() - sent.pop(answer))
        except TimeoutError:
            raise Failed(Cause.NO_REPLY, "the agent's session is silent") from None
        finally:
            asking.cancel()
        self._take_idle(trips)

    async def _idle_by_datagrams(self, side: UdpChannel) -> None:
        """The same over UDP, where no acknowledgement and no other message is in the way."""
        trips = await side.round_trips(PINGS, PING_SPACING_SECONDS)
        if len(trips) >= FEWEST_TRIPS:
            self._take_idle(trips)

    def _take_idle(self, trips: list[float]) -> None:
        self._values["idle_rtt_seconds"] = median(trips)
        self._jitter = max(trips) - min(trips)

    async def _train(self, direction: Direction, rate: float) -> float | None:
        """Run a train and keep its figure; None without one, or where it is too uncertain."""
        name = direction.transfer
        found = None
        if self._side is not None:
            found = await self._side.train(direction, rate, self._jitter)
        if found is None:
            return None
        rate, uncertainty = found.capacity.rate, found.capacity.uncertainty
        if found.at_least:
            self._conditions[f"{name}_capacity_at_least"] = True
        else:
            self._conditions[f"{name}_capacity_uncertainty"] = round(uncertainty, 4)
            if uncertainty > MOST_UNCERTAIN:
                return None
        self._values[f"{name}_capacity_bits_per_second"] = rate
        return rate


class TrainsOnly(Test):
    """The cheap estimate: a train each way, tens of kB."""

    async def _measure(self) -> None:
        self._conditions |= {"path": Route.TRAINS.value, "estimate": True}
        if self._side is None:
            raise Failed(Cause.UDP_BLOCKED, "no datagram of the agent came through")
        await self._idle_by_datagrams(self._side)
        plan = Plan.of(self._context)
        found = [await self._train(each, plan.of_direction(each).rate) for each in Direction]
        if None in found:
            raise NoData(Cause.TOO_UNEVEN)

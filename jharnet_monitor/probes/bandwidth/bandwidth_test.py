"""What the tests between hub and agent share: idle round-trip time, packet trains, spent bytes."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from statistics import median
from typing import Any

from jharnet_monitor.model import Cause, Direction
from jharnet_monitor.probes.bandwidth.metered_channel import MeteredChannel
from jharnet_monitor.probes.bandwidth.udp_hub import UdpChannel
from jharnet_monitor.probes.base import Channel, Failed, NoData, ProbeContext, ProbeError, Reading

PINGS, PING_SPACING_SECONDS = 7, 0.03
PING_SECONDS = 12.0
MIN_RTTS = 3
MAX_UNCERTAINTY = 0.2
"""A train whose relative uncertainty is larger gives no capacity: jitter outlasted the train."""


class BandwidthTest(ABC):
    """A test with one agent. An error carries the values and conditions measured so far."""

    def __init__(self, context: ProbeContext, channel: Channel) -> None:
        self._context = context
        self._channel = MeteredChannel(channel)
        self._values: dict[str, float] = {}
        self._conditions: dict[str, Any] = {}
        self._transfer_bytes = 0
        self._jitter = 0.0
        self._udp: UdpChannel | None = None

    async def run(self) -> Reading:
        """Run the test; raises `Failed` or `NoData` with what was measured until then."""
        try:
            async with AsyncExitStack() as stack:
                await self._measure_idle_rtt_by_session()
                self._udp = await stack.enter_async_context(self._datagrams())
                await self._measure()
        except ProbeError as error:
            self._set_bytes_spent()
            values = self._values | error.values
            conditions = self._conditions | error.conditions
            raise type(error)(
                error.cause, error.detail, values=values, conditions=conditions
            ) from error
        self._set_bytes_spent()
        return Reading(self._values, self._conditions)

    def _datagrams(self) -> AbstractAsyncContextManager[UdpChannel | None]:
        """What exchanges datagrams with the agent during the test."""
        hub = self._context.config.hub
        return UdpChannel.opened(self._channel, self._context.clock, hub.host, hub.udp_range)

    @abstractmethod
    async def _measure(self) -> None:
        """Set values and conditions; raises `Failed` or `NoData`."""

    def _set_bytes_spent(self) -> None:
        udp = 0 if self._udp is None else self._udp.bytes_down + self._udp.bytes_up
        self._values["bytes_spent"] = float(self._transfer_bytes + udp + self._channel.bytes)

    async def _measure_idle_rtt_by_session(self) -> None:
        """Set the idle RTT from a few small messages, spaced so that they do not delay each
        other."""
        clock = self._context.clock
        sent: dict[int, float] = {}
        rtts: list[float] = []

        async def ping() -> None:
            for n in range(PINGS):
                sent[n] = clock.monotonic()
                await self._channel.send({"do": "ping", "n": n})
                await asyncio.sleep(PING_SPACING_SECONDS)

        pinging = asyncio.create_task(ping())
        try:
            async with asyncio.timeout(PING_SECONDS):
                while len(rtts) < PINGS:
                    number = (await self._channel.receive()).get("pong")
                    if number not in sent:
                        raise NoData(Cause.BAD_REPORT, "a pong for a ping that was not sent")
                    rtts.append(clock.monotonic() - sent.pop(number))
        except TimeoutError:
            raise Failed(Cause.NO_REPLY, "the agent does not answer in its session") from None
        finally:
            pinging.cancel()
        self._set_idle_rtt(rtts)

    async def _measure_idle_rtt_by_udp(self, udp: UdpChannel) -> None:
        """Set the idle RTT from UDP pings, which no acknowledgement or other message delays."""
        rtts = await udp.measure_rtts(PINGS, PING_SPACING_SECONDS)
        if len(rtts) >= MIN_RTTS:
            self._set_idle_rtt(rtts)

    def _set_idle_rtt(self, rtts: list[float]) -> None:
        self._values["idle_rtt_seconds"] = median(rtts)
        self._jitter = max(rtts) - min(rtts)

    def _note_train(self, direction: Direction, counts: tuple[int, int] | None) -> None:
        """Note how many datagrams of a train were sent and lost, if its report arrived.

        They show whether the line itself loses packets: a router may leave echo requests
        unanswered.
        """
        if counts is not None:
            name, (sent, arrived) = direction.transfer, counts
            self._conditions[f"{name}_train_sent"] = sent
            self._conditions[f"{name}_train_lost"] = max(0, sent - arrived)

    async def _measure_capacity(self, direction: Direction, rate: float) -> float | None:
        """Run a packet train and set the capacity in bit/s; None if there is none or uncertain.

        The line is expected to carry about `rate` bit/s.
        """
        name = direction.transfer
        found = None
        if self._udp is not None:
            found = await self._udp.train(direction, rate, self._jitter)
            self._note_train(direction, self._udp.train_counts)
        if found is None:
            return None
        rate, uncertainty = found.capacity.rate, found.capacity.uncertainty
        if found.at_least:
            self._conditions[f"{name}_capacity_at_least"] = True
        else:
            self._conditions[f"{name}_capacity_uncertainty"] = round(uncertainty, 4)
            if uncertainty > MAX_UNCERTAINTY:
                return None
        self._values[f"{name}_capacity_bits_per_second"] = rate
        return rate

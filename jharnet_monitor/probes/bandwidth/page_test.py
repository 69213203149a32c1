"""The full bandwidth test with a page in a browser.

The same streams over HTTP, limits and estimators as with an agent program. But a page has no
datagrams, so there are no packet trains, no paced streams and no long test. It sees no counters of
its kernel either, so the hub's kernel counts both ways: what the page's kernel has acknowledged of
the download, what has arrived of the upload. The page's own count of the download is a second
witness; behind a reverse proxy it is the only one. Pings run over the page's session, beside the
stream and in the same queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import Any

from jharnet_monitor.judge.line.reading import by_streams, needs_paced_stream
from jharnet_monitor.judge.line.throughput import Estimate, RttSample
from jharnet_monitor.model import Direction
from jharnet_monitor.probes.bandwidth.http_hub import TransferResult
from jharnet_monitor.probes.bandwidth.throughput_test import ThroughputTest, with_doubt
from jharnet_monitor.probes.bandwidth.udp_hub import UdpChannel
from jharnet_monitor.probes.base import Channel, ChannelClosed, NoData

ECHO = "echo"
"""The task of a page that sends back whatever comes."""
PING_BYTES = 170
"""IP bytes of a ping in the session: frame, WebSocket, TLS, TCP and IP, and its acknowledgement."""
SPACING_FACTOR = PING_BYTES / 60
"""Pings in the session are larger than datagrams, so they are sent less often: their share of the
line is the same."""
DRAIN_ROUND_TRIPS, MOST_PAUSE_SECONDS = 10.0, 1.0
"""The pause before a second stream, in which the queue of the first one empties."""
LAST_SECONDS = 1.0
"""How long to wait for pings that are still on their way."""


class PageThroughputTest(ThroughputTest):
    """Measures each direction by a TCP stream, counted by the hub's kernel."""

    _ping_bytes = PING_BYTES

    def _datagrams(self) -> AbstractAsyncContextManager[UdpChannel | None]:
        self._conditions |= {"agent_client": "browser", "method": "http"}
        return nullcontext(None)

    @asynccontextmanager
    async def _pinging(self, spacing: float) -> AsyncIterator[list[RttSample]]:
        """Pings over the session while the block runs; the list is filled when it has ended."""
        channel = await self._agent.open(ECHO, {})
        samples: list[RttSample] = []
        pings = SessionPings(self._context.clock.monotonic, channel)
        pinging = asyncio.create_task(pings.run(spacing * SPACING_FACTOR))
        try:
            yield samples
        finally:
            pinging.cancel()
            await asyncio.gather(pinging, return_exceptions=True)
            await channel.close()
        samples += pings.rtts
        self._transfer_bytes += 2 * PING_BYTES * pings.sent

    async def _measure_direction(self, direction: Direction) -> None:
        """A second stream where the first leaves a doubt, as a page has no paced stream."""
        idle_rtt = self._values["idle_rtt_seconds"]
        streams = [await self._tcp_stream(direction)]
        if needs_paced_stream(streams[0], idle_rtt, self._jitter):
            await asyncio.sleep(min(MOST_PAUSE_SECONDS, DRAIN_ROUND_TRIPS * idle_rtt))
            with suppress(NoData):
                streams.append(await self._tcp_stream(direction))
        self._conditions[f"{direction.transfer}_streams"] = len(streams)
        by_proxy = self._plan.limits(direction).by_proxy
        self._set_reading(direction, by_streams(streams, by_proxy=by_proxy))

    def _of_both(self, reported: Estimate | None, at_hub: Estimate) -> Estimate:
        """The hub's estimate: a page reads in large pieces, when its computer has time for it."""
        return at_hub if reported is None else with_doubt(at_hub, reported)

    def _loss_name(self, direction: Direction) -> str:
        return "retransmitted" if direction is Direction.DOWN else "out_of_order"

    def _loss(
        self, direction: Direction, result: TransferResult, report: Mapping[str, Any]
    ) -> float:
        """For an upload the share of segments that came behind a gap, which loss does not exceed.

        What a browser's kernel has sent again is not known.
        """
        if direction is Direction.DOWN:
            return super()._loss(direction, result, report)
        behind = sum(info.out_of_order for info in result.infos)
        return min(1.0, behind / max(1, self._segments(direction, result, report)))

    def _segments(
        self, direction: Direction, result: TransferResult, report: Mapping[str, Any]
    ) -> int:
        if direction is Direction.DOWN:
            return super()._segments(direction, result, report)
        return sum(info.data_segments_in for info in result.infos)


class SessionPings:
    """Sends numbers over a channel whose other end sends them back, and times them.

    `now` is the hub's monotonic clock in seconds.
    """

    def __init__(self, now: Callable[[], float], channel: Channel) -> None:
        self._now = now
        self._channel = channel
        self._waiting: dict[int, float] = {}
        self._answered = asyncio.Event()
        self.sent = 0
        self.rtts: list[RttSample] = []

    async def run(self, spacing: float) -> None:
        """Ping every `spacing` seconds until cancelled, or until the channel closes."""
        receiving = asyncio.create_task(self._receive())
        try:
            with suppress(ChannelClosed):
                while not receiving.done():
                    self.sent += 1
                    self._waiting[self.sent] = self._now()
                    await self._channel.send({"n": self.sent})
                    await asyncio.sleep(spacing)
        finally:
            await self._settle()
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)

    async def _settle(self) -> None:
        """Wait a moment for the answers to what was sent."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                while self._waiting:
                    self._answered.clear()
                    await self._answered.wait()

    async def _receive(self) -> None:
        with suppress(ChannelClosed):
            while True:
                number = (await self._channel.receive()).get("n")
                if type(number) is int and number in self._waiting:
                    sent = self._waiting.pop(number)
                    self.rtts.append(RttSample(sent, self._now() - sent))
                self._answered.set()

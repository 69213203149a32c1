"""Latency to a page in a browser, by small datagrams of an unreliable data channel.

The hub sends and times them, and the page sends them back, so no figure depends on what the
page reports. A long series also shows a firewall that ends UDP flows: real calls then drop at that
age.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn, Protocol, TypeVar

from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import AgentLink, Channel, Failed, NoData, ProbeContext, Reading
from jharnet_monitor.probes.latency.statistics import EchoTally
from jharnet_monitor.rtc.aiortc_private import LibraryChanged
from jharnet_monitor.rtc.connection import CallFailed, route_address
from jharnet_monitor.rtc.datagrams import DatagramPath
from jharnet_monitor.rtc.sdp import BadDescription

_T = TypeVar("_T")

DATAGRAMS = "datagrams"
"""The task of a page that opens a data channel and sends back what comes."""
PACKETS = 20
SPACING_SECONDS = 0.1
OFFER_SECONDS, OPEN_SECONDS = 15.0, 10.0
PAD = bytes(28)
"""A datagram has 32 bytes of payload, about 130 with all headers."""
ENDED_PACKETS, ENDED_SECONDS = 5, 8.0
"""A path has ended if at least this many of the last datagrams, over at least this time, were not
answered, though earlier ones were."""


async def run(context: ProbeContext) -> Reading:
    """Send `options["packets"]` datagrams over `options["seconds"]`.

    Raises `Failed` (`udp_blocked`, `no_reply`), `NoData`, and `ChannelClosed` where the page ended
    its half. `udp_ended_after_seconds` is the age of the path at the last datagram that came back,
    where none did after it; what was sent later is not counted.
    """
    agent = context.agent
    if agent is None:
        raise NoData(Cause.NO_AGENT)
    if not agent.in_browser:
        raise NoData(Cause.NOT_CONFIGURED, "the office's agent is a program, which is pinged")
    channel = await agent.open(DATAGRAMS, {})
    try:
        return await _measure(context, agent, channel)
    except (BadDescription, LibraryChanged) as error:
        cause = Cause.BAD_REPORT if isinstance(error, BadDescription) else Cause.INTERNAL_ERROR
        raise NoData(cause, str(error)) from error
    except (OSError, CallFailed) as error:
        raise NoData(Cause.NOT_SENT, str(error)) from error
    finally:
        await channel.close()


async def _measure(context: ProbeContext, agent: AgentLink, channel: Channel) -> Reading:
    series = DatagramSeries(context)
    address = await asyncio.to_thread(route_address, agent.address or "")
    conditions = {"method": "data_channel", "agent_client": "browser"}
    async with DatagramPath(address, context.config.hub.udp_range, series.received) as path:
        try:
            async with asyncio.timeout(OFFER_SECONDS):
                offer = await channel.receive()
        except TimeoutError as error:
            raise NoData(Cause.AGENT_LOST, "the page made no offer") from error
        await channel.send({"type": "answer", "sdp": await path.answer(offer.get("sdp"))})
        if not await _unless_closed(channel, path.opened(OPEN_SECONDS)):
            detail = f"no data channel opened within {OPEN_SECONDS:g} s"
            raise Failed(Cause.UDP_BLOCKED, detail, conditions=conditions)
        await _unless_closed(channel, series.send(path))
    return series.reading(conditions)


async def _unless_closed(channel: Channel, work: Coroutine[Any, Any, _T]) -> _T:
    """The result of `work`; `ChannelClosed` once the page has ended its half, for it is then not
    known why datagrams are missing."""
    running, closed = asyncio.ensure_future(work), asyncio.ensure_future(_end_of(channel))
    both: set[asyncio.Future[Any]] = {running, closed}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        return await (closed if closed.done() else running)
    finally:
        for one in both:
            one.cancel()
        await asyncio.gather(*both, return_exceptions=True)


async def _end_of(channel: Channel) -> NoReturn:
    while True:
        await channel.receive()


class SendsDatagrams(Protocol):
    """The path of a series: a `DatagramPath`."""

    def send(self, datagram: bytes) -> None:
        """Send one datagram."""


class DatagramSeries:
    """Sends and times one series; all times are monotonic seconds of the hub."""

    def __init__(self, context: ProbeContext) -> None:
        self._clock = context.clock
        self._timeout = context.config.probes.latency.timeout
        self._packets = int(context.options.get("packets") or PACKETS)
        seconds = context.options.get("seconds")
        self._spacing = SPACING_SECONDS if seconds is None else float(seconds) / self._packets
        self._opened = 0.0
        self._sent: list[float] = []
        self._rtts: dict[int, float] = {}
        self._order: list[int] = []

    async def send(self, path: SendsDatagrams) -> None:
        """Send the series, and wait for the last answers."""
        self._opened = self._clock.monotonic()
        for number in range(self._packets):
            self._sent.append(self._clock.monotonic())
            path.send(number.to_bytes(4) + PAD)
            await self._clock.sleep(self._spacing)
        if len(self._rtts) < self._packets:
            await self._clock.sleep(max(0.0, self._timeout - self._spacing))

    def received(self, datagram: bytes) -> None:
        """Time an answer; one that comes twice, late or without a request is not counted."""
        number = int.from_bytes(datagram[:4])
        if number < len(self._sent) and number not in self._rtts:
            rtt = self._clock.monotonic() - self._sent[number]
            if rtt <= self._timeout:
                self._rtts[number] = rtt
                self._order.append(number)

    def reading(self, conditions: dict[str, Any]) -> Reading:
        """The latency quantities; raises `Failed` (`no_reply`) where nothing came back."""
        last = max(self._rtts, default=-1)
        counted = len(self._sent)
        if self._rtts and self._has_ended(last):
            counted = last + 1
            ended = self._sent[last] + self._rtts[last] - self._opened
            conditions["udp_ended_after_seconds"] = round(ended, 1)
        tally = EchoTally()
        tally.sent, tally.received = counted, len(self._rtts)
        tally.rtts = [self._rtts[number] for number in self._order]
        return tally.reading(conditions)

    def _has_ended(self, last: int) -> bool:
        silent = len(self._sent) - 1 - last
        return silent >= ENDED_PACKETS and silent * self._spacing >= ENDED_SECONDS

"""Latency to a page in a browser, by small datagrams of an unreliable data channel.

The hub sends and times them, and the page sends them back, so no figure depends on what the
page reports. The time for which either end is busy is part of a round trip: both sample how late
they handle what comes, and an end that was late gives no figure. A long series also shows a
firewall that ends UDP flows: real calls then drop at that age.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, TypeVar

from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import AgentLink, Channel, Failed, NoData, ProbeContext, Reading
from jharnet_monitor.probes.latency.statistics import EchoTally
from jharnet_monitor.rtc.aiortc_private import LibraryChanged
from jharnet_monitor.rtc.browser import BrowserLag
from jharnet_monitor.rtc.connection import CallFailed, route_address
from jharnet_monitor.rtc.datagrams import DatagramPath
from jharnet_monitor.rtc.sdp import BadDescription
from jharnet_monitor.rtc.stats.call_stats import BadReport
from jharnet_monitor.rtc.stats.host_load import HostLoadMonitor

_T = TypeVar("_T")

DATAGRAMS = "datagrams"
"""The task of a page that opens a data channel and sends back what comes."""
PACKETS = 20
SPACING_SECONDS = 0.1
OFFER_SECONDS, OPEN_SECONDS, LAG_SECONDS = 15.0, 10.0, 30.0
"""For the page's offer, for its channel to open, and for its report at the end."""
PAD = bytes(28)
"""A datagram has 32 bytes of payload, about 130 with all headers."""
ENDED_PACKETS, ENDED_SECONDS = 5, 8.0
"""A path has ended if at least this many of the last datagrams, over at least this time, were not
answered, though earlier ones were."""
MAX_LAG_P75 = 0.003
"""Seconds: an end that handles a quarter of what comes later than that measures itself."""
STOOD_STILL = 0.5
"""Share of the timeout: an end that was so late may have lost a datagram that the line did not."""


@dataclass(frozen=True, slots=True)
class EndLag:
    """How late one end handled what came during a series, in seconds; None if not known."""

    name: str
    """`hub` or `agent`."""
    longest: float | None = None
    p75: float | None = None

    def conditions(self) -> dict[str, Any]:
        """What is known, by the name of the condition."""
        known = {"": self.longest, "_p75": self.p75}
        return {
            f"{self.name}_loop_lag{which}_seconds": round(lag, 5)
            for which, lag in known.items()
            if lag is not None
        }

    def disturbs(self, lost: int, timeout: float) -> str | None:
        """Why this series is no evidence about the line, of which `lost` datagrams did not come
        back within `timeout` seconds; None if it is."""
        if (self.p75 or 0.0) > MAX_LAG_P75:
            return f"the {self.name} handled a quarter of what came {self.p75:.3f} s late or more"
        if lost and (self.longest or 0.0) > STOOD_STILL * timeout:
            return f"the {self.name} stood still for {self.longest:.2f} s"
        return None


async def run(context: ProbeContext) -> Reading:
    """Send `options["packets"]` datagrams over `options["seconds"]`.

    Raises `Failed` (`udp_blocked`, `no_reply`), `NoData` (`host_overloaded` where an end was late),
    and `ChannelClosed` where the page ended its half. `udp_ended_after_seconds` is the age of the
    path at the last datagram that came back, where none did after it; what was sent later is not
    counted.
    """
    agent = context.agent
    if agent is None:
        raise NoData(Cause.NO_AGENT)
    if not agent.in_browser:
        raise NoData(Cause.NOT_CONFIGURED, "the office's agent is a program, which is pinged")
    channel = await agent.open(DATAGRAMS, {})
    try:
        return await _measure(context, agent, channel)
    except (BadDescription, BadReport) as error:
        raise NoData(Cause.BAD_REPORT, str(error)) from error
    except LibraryChanged as error:
        raise NoData(Cause.INTERNAL_ERROR, str(error)) from error
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
        async with _sampled_load() as load:
            await _unless_closed(channel, series.send(path))
        hub = load.load()
        ends = [EndLag("hub", hub.lag, hub.lag_p75)]
        if offer.get("reports_lag") is True:  # a page from before an update of the hub does not
            ends.append(await _page_lag(channel))
    return series.reading(conditions, ends)


@asynccontextmanager
async def _sampled_load() -> AsyncIterator[HostLoadMonitor]:
    """Samples how late this hub's event loop is, until the end of the block."""
    load = HostLoadMonitor()
    sampling = asyncio.create_task(load.run())
    try:
        yield load
    finally:
        sampling.cancel()


async def _page_lag(channel: Channel) -> EndLag:
    """The page's report at the end; raises `BadReport`, and `NoData` where there is none: the
    line was cut during the series, or the page stands still."""
    try:
        async with asyncio.timeout(LAG_SECONDS):
            await channel.send({"type": "end"})
            report = BrowserLag.from_json(await channel.receive())
    except TimeoutError as error:
        raise NoData(Cause.AGENT_LOST, "the page did not report how late it was") from error
    return EndLag("agent", report.loop_lag, report.loop_lag_p75)


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
        """Send the series, and wait for the last answers.

        Each datagram leaves at a random time within the first half of its interval: a page that
        works at the same interval would else disturb all or none (RFC 2330, 11.1 warns of that).
        """
        self._opened = self._clock.monotonic()
        for number in range(self._packets):
            due = self._opened + (number + random.random() / 2) * self._spacing
            await self._until(due)
            self._sent.append(self._clock.monotonic())
            path.send(number.to_bytes(4) + PAD)
        await self._until(self._opened + self._packets * self._spacing)
        if len(self._rtts) < self._packets:
            await self._until(self._sent[-1] + self._timeout)

    async def _until(self, moment: float) -> None:
        await self._clock.sleep(max(0.0, moment - self._clock.monotonic()))

    def received(self, datagram: bytes) -> None:
        """Time an answer; one that comes twice, late or without a request is not counted."""
        number = int.from_bytes(datagram[:4])
        if number < len(self._sent) and number not in self._rtts:
            rtt = self._clock.monotonic() - self._sent[number]
            if rtt <= self._timeout:
                self._rtts[number] = rtt
                self._order.append(number)

    def reading(self, conditions: dict[str, Any], ends: Sequence[EndLag] = ()) -> Reading:
        """The latency quantities; raises `NoData` (`host_overloaded`) where one of the `ends` was
        late, and `Failed` (`no_reply`) where nothing came back."""
        for end in ends:
            conditions |= end.conditions()
        for end in ends:
            if why := end.disturbs(len(self._sent) - len(self._rtts), self._timeout):
                raise NoData(Cause.HOST_OVERLOADED, why, conditions=conditions)
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

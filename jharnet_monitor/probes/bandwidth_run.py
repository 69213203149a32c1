"""One bandwidth test with one agent: round trips, download, upload, trains where they are needed.

Download is towards the office. Rates are IP rates, comparable with the contract: TCP goodput
times 1500/1448. The stream is paced a little above the contract, which fills the line, spares
the office a flood, and keeps the test within what it reserved of the headquarters uplink.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from statistics import fmean, median
from typing import Any

from jharnet_monitor.judge.throughput import (
    Estimate,
    Trip,
    estimate,
    loaded_round_trip,
    over_same_bytes,
)
from jharnet_monitor.model import Cause
from jharnet_monitor.probes.bandwidth_plan import PACE_REACHED, Plan
from jharnet_monitor.probes.base import (
    AgentLink,
    Channel,
    Failed,
    NoData,
    ProbeContext,
    ProbeError,
    Reading,
)
from jharnet_monitor.probes.datagrams import SMALL_IP_BYTES
from jharnet_monitor.probes.series import Series, SeriesError
from jharnet_monitor.probes.side_path import SidePath, ping_spacing
from jharnet_monitor.probes.transfer import Download, Ended, Exchange, Flow, Upload

PINGS, PING_SPACING_SECONDS = 7, 0.03
PING_SECONDS = 5.0
REPORT_SECONDS, QUIET_SECONDS = 10.0, 1.0
"""For the agent's report; after a transfer that fell silent it tells the line from the agent."""
FEWEST_TRIPS = 3
LATE_SHARE = 0.1
"""A host that overslept more of the test than this was itself the bottleneck."""
REPORT_MARGIN, MOST_UNCERTAIN = 0.05, 0.2
"""How far an agent's figure may be from what its own kernel acknowledged to the hub, beside the
uncertainty of that, of which no more than so much excuses anything."""
LOSS_SEEN = 0.002
"""Retransmitted share from which on loss may be what holds TCP back."""
QUEUE_STANDS, QUEUE_SECONDS = 1.25, 0.005
"""A queue stands when the round trip is longer than the idle one by this factor and this time."""
LINE_FILLED = 0.9
"""Of the capacity that the trains show: with less, it was not the line."""


class _Test:
    """What both kinds of test share: the books, and what goes with an error."""

    def __init__(self, context: ProbeContext, channel: Channel) -> None:
        self._context = context
        self._channel = channel
        self._values: dict[str, float] = {}
        self._conditions: dict[str, Any] = {}
        self._spent = 0
        self._side: SidePath | None = None

    async def run(self) -> Reading:
        """The test; raises `Failed` or `NoData` with what was measured until then."""
        try:
            async with AsyncExitStack() as stack:
                hub = self._context.config.hub
                await self._idle_by_session()
                self._side = await stack.enter_async_context(
                    SidePath.opened(self._channel, self._context.clock, hub.host, hub.udp_range)
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

    async def _measure(self) -> None:
        raise NotImplementedError

    def _close_books(self) -> None:
        side = 0 if self._side is None else self._side.bytes_down + self._side.bytes_up
        if self._spent + side:
            self._values["bytes_spent"] = float(self._spent + side)

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
        self._values["idle_rtt_seconds"] = median(trips)

    async def _idle_by_datagrams(self, side: SidePath) -> None:
        """The same over UDP, where no acknowledgement and no other message is in the way."""
        trips = await side.round_trips(PINGS, PING_SPACING_SECONDS)
        if len(trips) >= FEWEST_TRIPS:
            self._values["idle_rtt_seconds"] = median(trips)

    async def _train(self, name: str, rate: float) -> float | None:
        """Run a train and keep its figure; None without one."""
        found = None if self._side is None else await self._side.train(name, rate)
        if found is None:
            return None
        rate, uncertainty = found.capacity.rate, found.capacity.uncertainty
        self._values[f"{name}_capacity_bits_per_second"] = rate
        self._conditions[f"{name}_capacity_uncertainty"] = round(uncertainty, 4)
        if found.at_least:
            self._conditions[f"{name}_capacity_at_least"] = True
        return rate


class TrainsOnly(_Test):
    """The cheap estimate: a train each way, tens of kB."""

    async def _measure(self) -> None:
        self._conditions |= {"path": "trains", "estimate": True}
        if self._side is None:
            raise Failed(Cause.UDP_BLOCKED, "no datagram of the agent came through")
        await self._idle_by_datagrams(self._side)
        plan = Plan.of(self._context)
        found = [await self._train(n, plan.of_direction(n).rate) for n in ("download", "upload")]
        if None in found:
            raise NoData(Cause.NOT_SENT, "too few packets of a train came through to tell")


class FullTest(_Test):
    """The full test over HTTP, each way in turn."""

    def __init__(self, context: ProbeContext, agent: AgentLink, channel: Channel) -> None:
        super().__init__(context, channel)
        self._agent = agent
        self._plan = Plan.of(context)
        self._conditions["path"] = "jharnet"

    async def _measure(self) -> None:
        if self._side is not None:
            await self._idle_by_datagrams(self._side)
        self._plan = self._plan.for_line(self._values["idle_rtt_seconds"])
        await self._direction("download")
        await self._direction("upload")

    async def _direction(self, name: str) -> None:
        """Run one direction and keep its figures; raises `Failed` or `NoData`."""
        limits = self._plan.of_direction(name)
        exchange = (Download if name == "download" else Upload)(self._context.clock, limits)
        flow, report, trips = await self._beside_pings(name, exchange)
        claimed = min(_count(report.get("sent")), limits.most_bytes)
        self._spent += flow.bytes_down + max(flow.bytes_up, claimed) + len(json.dumps(report))
        _check_end(name, flow)
        measured = self._rate(name, flow, report)
        own_pings = SMALL_IP_BYTES * 8 / ping_spacing(limits.rate) if trips else 0.0
        rate = measured.rate + own_pings
        self._values[f"{name}_bits_per_second"] = rate
        self._conditions[f"{name}_uncertainty"] = round(measured.uncertainty, 4)
        self._conditions[f"{name}_ended"] = flow.ended.value
        if limits.connections > 1:
            self._conditions[f"{name}_connections"] = limits.connections
        self._conditions[f"{name}_seconds"] = round(flow.stopped - flow.begun, 3)
        loaded = _loaded(name, flow, report, trips, rate)
        if loaded is not None:
            self._values[f"{name}_loaded_rtt_seconds"] = loaded
        late = loaded if len(trips) < FEWEST_TRIPS else _late(trips, flow)
        await self._what_limited(name, rate, _loss(name, flow, report), late)

    async def _beside_pings(
        self, name: str, exchange: Exchange
    ) -> tuple[Flow, Mapping[str, Any], list[Trip]]:
        """The transfer, and the pings that were sent beside it."""
        if self._side is None:
            return *await self._transfer(name, exchange), []
        spacing = ping_spacing(self._plan.of_direction(name).rate)
        async with self._side.pinging(spacing) as trips:
            flow, report = await self._transfer(name, exchange)
        return flow, report, trips

    async def _transfer(self, name: str, exchange: Exchange) -> tuple[Flow, Mapping[str, Any]]:
        limits = self._plan.of_direction(name)
        each = range(limits.connections)
        paths = [self._agent.serve_transfer(exchange.handle) for _ in each]
        seconds = limits.seconds + REPORT_SECONDS
        request = {"do": name, "paths": paths, "rate": limits.rate, "seconds": seconds}
        try:
            await self._channel.send(request)
            flow = await exchange.finished()
            quiet = max(QUIET_SECONDS, 2 * self._values["idle_rtt_seconds"])
            patience = quiet if flow.ended is Ended.SILENCE else REPORT_SECONDS
            async with asyncio.timeout(patience):
                report = await self._channel.receive()
        except TimeoutError:
            if exchange.flow.ended is Ended.SILENCE:
                self._spent += exchange.flow.bytes_down + exchange.flow.bytes_up
                raise Failed(Cause.INTERRUPTED, f"the line fell silent in the {name}") from None
            raise NoData(
                Cause.AGENT_LOST, f"the agent did not come for the {name}, or told nothing of it"
            ) from None
        finally:
            exchange.abandon()
        if "error" in report:
            raise NoData(Cause.AGENT_LOST, f"{name}: {str(report['error'])[:200]}")
        return flow, report

    def _rate(self, name: str, flow: Flow, report: Mapping[str, Any]) -> Estimate:
        """The receiver's estimate; a download's is held against what the hub saw acknowledged."""
        counted = flow.series.samples()
        seen = estimate(counted, self._plan.of_direction(name).window)
        if seen is None:
            raise NoData(Cause.AGENT_LOST, f"the {name} was too short to measure")
        if name == "upload":
            return seen
        try:
            received = Series.from_json(report.get("series")).samples()
        except SeriesError as error:
            raise NoData(Cause.BAD_REPORT, str(error)) from error
        told = over_same_bytes(received, counted, seen)
        if told is None:
            raise NoData(Cause.BAD_REPORT, "the agent has not counted what its kernel acknowledged")
        margin = REPORT_MARGIN + min(seen.uncertainty, MOST_UNCERTAIN)
        if abs(told.rate - seen.rate) > margin * seen.rate:
            raise NoData(
                Cause.BAD_REPORT,
                f"the agent counted {told.rate:.0f} bit/s, its kernel acknowledged {seen.rate:.0f}",
            )
        return told

    async def _what_limited(
        self, name: str, rate: float, loss: float, late_rtt: float | None
    ) -> None:
        """Say what held the stream back, where it was not the line alone.

        Packets lost out of a full queue are the line's doing. Lost where at the end of the test no
        queue stands, they may have held TCP back: a train tells what the line would carry.
        """
        if rate >= PACE_REACHED * self._plan.of_direction(name).rate:
            self._conditions[f"{name}_at_least"] = True
        if loss < LOSS_SEEN:
            return
        self._conditions[f"{name}_retransmitted"] = round(loss, 4)
        idle = self._values["idle_rtt_seconds"]
        if late_rtt is not None and late_rtt > QUEUE_STANDS * idle + QUEUE_SECONDS:
            return
        capacity = await self._train(name, self._plan.of_direction(name).rate)
        if capacity is None or rate < LINE_FILLED * capacity:
            self._conditions["limited_by"] = "loss"
            self._conditions[f"{name}_limited_by"] = "loss"


def _check_end(name: str, flow: Flow) -> None:
    """Raise what a transfer that did not run to its end means."""
    if flow.late > LATE_SHARE:
        raise NoData(Cause.HOST_OVERLOADED, f"the hub overslept {flow.late:.0%} of the {name}")
    if flow.ended is Ended.SILENCE:  # its report came at once, so the line was not to blame
        raise NoData(Cause.AGENT_LOST, f"the agent stood still in the {name}")
    if flow.ended is Ended.BROKEN_OFF:
        raise NoData(Cause.AGENT_LOST, f"the agent broke the {name} off")


def _loaded(
    name: str, flow: Flow, report: Mapping[str, Any], trips: list[Trip], rate: float
) -> float | None:
    """Mean round-trip time while the stream ran: of the pings, or else of the stream itself."""
    if len(trips) >= FEWEST_TRIPS:
        return loaded_round_trip(trips, flow.series.samples(), rate, flow.stopped)
    if name == "download":
        return flow.own_rtt
    value = report.get("rtt")
    return float(value) if isinstance(value, int | float) and 0 < value < 60 else None


def _late(trips: list[Trip], flow: Flow) -> float | None:
    """Mean round-trip time in the second half of the test."""
    middle = (flow.begun + flow.stopped) / 2
    late = [trip.seconds for trip in trips if middle <= trip.sent <= flow.stopped]
    return fmean(late) if late else None


def _loss(name: str, flow: Flow, report: Mapping[str, Any]) -> float:
    """Share of the sender's payload that it had to send again."""
    if name == "download":
        again = sum(info.bytes_retransmitted for info in flow.infos)
        sent = sum(info.bytes_sent for info in flow.infos)
    else:
        again, sent = _count(report.get("retransmitted")), _count(report.get("payload_sent"))
    return min(1.0, again / sent) if sent else 0.0


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 1 << 50 else 0

"""One bandwidth test with one agent: round trips, download, upload, trains where they are needed.

Download is towards the office. Rates are IP rates, comparable with the contract: TCP goodput
times 1500/1448. The stream is paced a little above the contract, which fills the line, spares
the office a flood, and keeps the test within what it reserved of the headquarters uplink.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from jharnet_monitor.judge.line.throughput import (
    Estimate,
    RttSample,
    estimate,
    estimate_over_same_bytes,
    loaded_rtt,
)
from jharnet_monitor.model import Cause, Direction, Route
from jharnet_monitor.probes.bandwidth.counter_series import CounterSeries, CounterSeriesError
from jharnet_monitor.probes.bandwidth.http_hub import (
    Download,
    Ended,
    Exchange,
    TransferResult,
    Upload,
)
from jharnet_monitor.probes.bandwidth.packet_trains import FEWEST_TRIPS, Test
from jharnet_monitor.probes.bandwidth.plan import PACE_REACHED, Plan
from jharnet_monitor.probes.bandwidth.udp_hub import ping_spacing
from jharnet_monitor.probes.bandwidth.udp_socket import SMALL_IP_BYTES
from jharnet_monitor.probes.base import (
    AgentLink,
    Channel,
    Failed,
    NoData,
    ProbeContext,
)

REPORT_SECONDS, QUIET_SECONDS = 10.0, 1.0
"""For the agent's report; after a transfer that fell silent it tells the line from the agent."""
LATE_SHARE = 0.1
"""A host that overslept more of the test than this was itself the bottleneck."""
REPORT_MARGIN, MOST_UNCERTAIN = 0.05, 0.2
"""How far an agent's figure may be from what its own kernel acknowledged to the hub, beside the
uncertainty of that, of which no more than so much excuses anything."""
LOSS_SEEN = 0.002
"""Retransmitted share from which on loss may be what holds TCP back."""
QUEUE_STANDS, QUEUE_SECONDS = 1.25, 0.005
"""A queue stands when the round trip is longer than the idle one by this factor and this time."""
WINDOW_SHARE = 0.3
"""A stream that the receiver's window held back for more of its time has not filled the line."""
LINE_FILLED = 0.9
"""Of the capacity that the trains show: with less, it was not the line."""


class FullTest(Test):
    """The full test over HTTP, each way in turn."""

    def __init__(self, context: ProbeContext, agent: AgentLink, channel: Channel) -> None:
        super().__init__(context, channel)
        self._agent = agent
        self._plan = Plan.of(context)
        self._conditions["path"] = Route.JHARNET.value

    async def _measure(self) -> None:
        if self._side is not None:
            await self._idle_by_datagrams(self._side)
        self._plan = self._plan.for_line(self._values["idle_rtt_seconds"])
        for direction in Direction:
            await self._direction(direction)

    async def _direction(self, direction: Direction) -> None:
        """Run one direction and keep its figures; raises `Failed` or `NoData`."""
        name = direction.transfer
        limits = self._plan.of_direction(direction)
        exchange = (Download if direction is Direction.DOWN else Upload)(
            self._context.clock, limits
        )
        flow, report, trips = await self._beside_pings(direction, exchange)
        claimed = min(_count(report.get("sent")), limits.most_bytes)
        self._spent += flow.bytes_down + max(flow.bytes_up, claimed)
        _check_end(direction, flow)
        measured = self._rate(direction, flow, report)
        beside = [trip for trip in trips if flow.begun <= trip.sent <= flow.stopped]
        rate = measured.rate + len(beside) * SMALL_IP_BYTES * 8 / (flow.stopped - flow.begun)
        self._values[f"{name}_bits_per_second"] = rate
        self._conditions[f"{name}_uncertainty"] = round(measured.uncertainty, 4)
        self._conditions[f"{name}_ended"] = flow.ended.value
        if limits.connections > 1:
            self._conditions[f"{name}_connections"] = limits.connections
        self._conditions[f"{name}_seconds"] = round(flow.stopped - flow.begun, 3)
        loaded = _loaded(direction, flow, report, trips, rate)
        if loaded is not None:
            self._values[f"{name}_loaded_rtt_seconds"] = loaded
        late = loaded if len(trips) < FEWEST_TRIPS else _late(trips, flow)
        if _window(direction, flow, report) > WINDOW_SHARE:
            self._limited(direction, "host")
        await self._what_limited(direction, rate, _loss(direction, flow, report), late)

    def _limited(self, direction: Direction, by: str) -> None:
        name = direction.transfer
        self._conditions["limited_by"] = self._conditions[f"{name}_limited_by"] = by

    async def _beside_pings(
        self, direction: Direction, exchange: Exchange
    ) -> tuple[TransferResult, Mapping[str, Any], list[RttSample]]:
        """The transfer, and the pings that were sent beside it."""
        if self._side is None:
            return *await self._transfer(direction, exchange), []
        spacing = ping_spacing(self._plan.of_direction(direction).rate)
        async with self._side.pinging(spacing) as trips:
            flow, report = await self._transfer(direction, exchange)
        return flow, report, trips

    async def _transfer(
        self, direction: Direction, exchange: Exchange
    ) -> tuple[TransferResult, Mapping[str, Any]]:
        name = direction.transfer
        limits = self._plan.of_direction(direction)
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

    def _rate(
        self, direction: Direction, flow: TransferResult, report: Mapping[str, Any]
    ) -> Estimate:
        """The receiver's estimate; a download's is held against what the hub saw acknowledged."""
        name = direction.transfer
        counted = flow.series.samples()
        seen = estimate(counted, self._plan.of_direction(direction).window)
        if seen is None:
            raise NoData(Cause.AGENT_LOST, f"the {name} was too short to measure")
        if direction is Direction.UP:
            return seen
        try:
            received = CounterSeries.from_json(report.get("series")).samples()
        except CounterSeriesError as error:
            raise NoData(Cause.BAD_REPORT, str(error)) from error
        told = estimate_over_same_bytes(received, counted, seen)
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
        self, direction: Direction, rate: float, loss: float, late_rtt: float | None
    ) -> None:
        """Say what held the stream back, where it was not the line alone.

        Packets lost out of a full queue are the line's doing. Lost where at the end of the test no
        queue stands, they may have held TCP back: a train tells what the line would carry.
        """
        name = direction.transfer
        if rate >= PACE_REACHED * self._plan.of_direction(direction).rate:
            self._conditions[f"{name}_at_least"] = True
        if loss < LOSS_SEEN:
            return
        self._conditions[f"{name}_retransmitted"] = round(loss, 4)
        idle = self._values["idle_rtt_seconds"]
        if late_rtt is not None and late_rtt > QUEUE_STANDS * idle + QUEUE_SECONDS:
            return
        capacity = await self._train(direction, self._plan.of_direction(direction).rate)
        if capacity is None or rate < LINE_FILLED * capacity:
            self._limited(direction, "loss")


def _check_end(direction: Direction, flow: TransferResult) -> None:
    """Raise what a transfer that did not run to its end means."""
    name = direction.transfer
    if flow.late > LATE_SHARE:
        raise NoData(Cause.HOST_OVERLOADED, f"the hub overslept {flow.late:.0%} of the {name}")
    if flow.ended is Ended.SILENCE:  # its report came at once, so the line was not to blame
        raise NoData(Cause.AGENT_LOST, f"the agent stood still in the {name}")
    if flow.ended is Ended.BROKEN_OFF:
        raise NoData(Cause.AGENT_LOST, f"the agent broke the {name} off")


def _loaded(
    direction: Direction,
    flow: TransferResult,
    report: Mapping[str, Any],
    trips: list[RttSample],
    rate: float,
) -> float | None:
    """Mean round-trip time while the stream ran: of the pings, or else of the stream itself."""
    if len(trips) >= FEWEST_TRIPS:
        return loaded_rtt(trips, flow.series.samples(), rate, flow.stopped)
    if direction is Direction.DOWN:
        return flow.own_rtt
    value = report.get("rtt")
    return float(value) if isinstance(value, int | float) and 0 < value < 60 else None


def _late(trips: list[RttSample], flow: TransferResult) -> float | None:
    """Mean round-trip time in the second half of the test."""
    middle = (flow.begun + flow.stopped) / 2
    late = [trip.seconds for trip in trips if middle <= trip.sent <= flow.stopped]
    return fmean(late) if late else None


def _loss(direction: Direction, flow: TransferResult, report: Mapping[str, Any]) -> float:
    """Share of the sender's payload that it had to send again."""
    if direction is Direction.DOWN:
        again = sum(info.bytes_retransmitted for info in flow.infos)
        sent = sum(info.bytes_sent for info in flow.infos)
    else:
        again, sent = _count(report.get("retransmitted")), _count(report.get("payload_sent"))
    return min(1.0, again / sent) if sent else 0.0


def _window(direction: Direction, flow: TransferResult, report: Mapping[str, Any]) -> float:
    """Share of the time in which the receiver's window held the sender back."""
    if direction is Direction.DOWN:
        return max((info.window_share for info in flow.infos), default=0.0)
    value = report.get("window")
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else 0.0


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 1 << 50 else 0

"""Throughput between agent and hub: one stream a direction, stopped as soon as it has told.

Download is towards the office. Rates are IP rates, comparable with the contract: TCP goodput
times 1500/1448. The stream is paced a little above the contract, which fills the line, spares
the office a flood, and keeps the test within what it reserved of the headquarters uplink.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from jharnet_monitor.judge.throughput import Estimate, estimate
from jharnet_monitor.model import Cause
from jharnet_monitor.probes import internet
from jharnet_monitor.probes.base import (
    AgentLink,
    Channel,
    Failed,
    NoData,
    Probe,
    ProbeContext,
    ProbeError,
    Reading,
)
from jharnet_monitor.probes.series import Series, SeriesError
from jharnet_monitor.probes.transfer import Download, Ended, Exchange, Flow, Limits, Upload

PINGS = 7
PING_SPACING_SECONDS = 0.03
PING_SECONDS = 5.0
REPORT_SECONDS = 10.0
HEADROOM = 1.25
"""The stream may run this much faster than the contract: a line that gives more shows it."""
LATE_SHARE = 0.1
"""A host that overslept more of the test than this was itself the bottleneck."""
REPORT_MARGIN = 0.05
"""How far an agent's figure may be from what its own kernel acknowledged to the hub."""
LOSS_SEEN = 0.002
OVERHEAD_BYTES = 60_000
"""Set-up, pings, reports and what is under way when a stream is cut, for both directions."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What the stream may run at each way, in bit/s."""

    down: float
    up: float


def rates(context: ProbeContext) -> Rates:
    """The contract with headroom, within what was granted of the uplink.

    Without a contract the line is unknown: the test reserves what the uplink has to give.
    """
    link, uplink = context.office.link, context.config.hub.uplink.contracted
    granted = float(context.options.get("granted", uplink))
    if link is None:
        return Rates(granted, granted)
    up = link.contracted if link.contracted_up is None else link.contracted_up
    return Rates(min(link.contracted * HEADROOM, granted), min(up * HEADROOM, granted))


def _limits(context: ProbeContext, rate: float) -> Limits:
    seconds = context.config.probes.bandwidth.seconds
    return Limits(rate, seconds, int(rate / HEADROOM * seconds / 8) + OVERHEAD_BYTES // 3)


def cost(context: ProbeContext) -> int:
    """The most bytes that one run puts on the office's line, both ways together."""
    if context.options.get("path") == "internet":
        return internet.cost(context)
    both = rates(context)
    return sum(_limits(context, r).most_bytes for r in (both.down, both.up)) + OVERHEAD_BYTES // 3


def reserve(context: ProbeContext) -> float:
    """The rate that one run takes of the headquarters uplink, in bit/s."""
    both = rates(context)
    return max(both.down, both.up)


def time_limit(context: ProbeContext) -> float:
    """Seconds after which a run has hung."""
    if context.options.get("path") == "internet":
        return internet.TIME_LIMIT_SECONDS
    return 2 * (context.config.probes.bandwidth.seconds + 20) + 20


async def run(context: ProbeContext) -> Reading:
    """Measure the path that `options["path"]` names: `jharnet` (default) or `internet`."""
    if context.options.get("path", "jharnet") == "internet":
        return await internet.run(context)
    if context.agent is None:
        raise NoData(Cause.NO_AGENT)
    channel = await context.agent.open("bandwidth", {})
    try:
        return await _Test(context, context.agent, channel).run()
    finally:
        await channel.close()


class _Test:
    """One run: what is known so far goes with the error when a later part fails."""

    def __init__(self, context: ProbeContext, agent: AgentLink, channel: Channel) -> None:
        self._context = context
        self._agent = agent
        self._channel = channel
        self._values: dict[str, float] = {}
        self._conditions: dict[str, Any] = {"path": "jharnet"}
        self._spent = 0

    async def run(self) -> Reading:
        both = rates(self._context)
        try:
            idle = await self._idle_rtt()
            self._values["idle_rtt_seconds"] = idle
            await self._direction("download", both.down)
            await self._direction("upload", both.up)
        except ProbeError as error:
            self._close_books()
            kept = self._values | error.values, self._conditions | error.conditions
            raise type(error)(
                error.cause, error.detail, values=kept[0], conditions=kept[1]
            ) from error
        self._close_books()
        return Reading(self._values, self._conditions)

    def _close_books(self) -> None:
        if self._spent:
            self._values["bytes_spent"] = self._spent

    async def _idle_rtt(self) -> float:
        """Median over a few small messages, spaced so that none waits for another."""
        clock, sent = self._context.clock, {}
        trips: list[float] = []

        async def ask() -> None:
            for n in range(PINGS):
                sent[n] = clock.monotonic()
                await self._channel.send({"do": "ping", "n": n})
                await clock.sleep(PING_SPACING_SECONDS)

        asking = asyncio.create_task(ask())
        try:
            async with asyncio.timeout(PING_SECONDS):
                while len(trips) < PINGS:
                    answer = (await self._channel.receive()).get("pong")
                    if answer not in sent:
                        raise NoData(Cause.BAD_REPORT, "an answer to a ping that was not sent")
                    trips.append(clock.monotonic() - sent.pop(answer))
        except TimeoutError:
            if not trips:
                raise Failed(Cause.NO_REPLY, "the agent's session is silent") from None
        finally:
            asking.cancel()
        return median(trips)

    async def _direction(self, name: str, rate: float) -> None:
        """Run one direction and keep its figures; raises `Failed` or `NoData`."""
        exchange = (Download if name == "download" else Upload)(
            self._context.clock, _limits(self._context, rate)
        )
        flow, report = await self._transfer(name, rate, exchange)
        self._spent += flow.bytes_down + max(flow.bytes_up, self._claimed(report, rate))
        _check_end(name, flow)
        measured = self._rate(name, flow, report)
        self._values[f"{name}_bits_per_second"] = measured.rate
        loaded = flow.loaded_rtt if name == "download" else _seconds(report.get("rtt"))
        if loaded is not None:
            self._values[f"{name}_loaded_rtt_seconds"] = loaded
        self._conditions[f"{name}_uncertainty"] = round(measured.uncertainty, 4)
        self._conditions[f"{name}_ended"] = flow.ended.value
        if measured.rate >= 0.97 * rate:
            self._conditions[f"{name}_at_least"] = True

    async def _transfer(
        self, name: str, rate: float, exchange: Exchange
    ) -> tuple[Flow, Mapping[str, Any]]:
        path = self._agent.serve_transfer(exchange.handle)
        seconds = self._context.config.probes.bandwidth.seconds + REPORT_SECONDS
        request = {"do": name, "path": path, "rate": rate, "seconds": seconds}
        try:
            await self._channel.send(request)
            flow = await exchange.finished()
            async with asyncio.timeout(REPORT_SECONDS):
                report = await self._channel.receive()
        except TimeoutError:
            raise NoData(
                Cause.AGENT_LOST, f"the agent did not come for the {name}, or told nothing of it"
            ) from None
        finally:
            exchange.abandon()
        if "error" in report:
            raise NoData(Cause.AGENT_LOST, f"{name}: {str(report['error'])[:200]}")
        return flow, report

    def _claimed(self, report: Mapping[str, Any], rate: float) -> int:
        """Bytes that the agent says it sent: believed as far as it could have sent them."""
        sent, most = report.get("sent"), 2 * _limits(self._context, rate).most_bytes
        return min(sent, most) if isinstance(sent, int) and sent > 0 else 0

    def _rate(self, name: str, flow: Flow, report: Mapping[str, Any]) -> Estimate:
        """The receiver's estimate; a download's is held against what the hub saw acknowledged."""
        seen = estimate(flow.series.samples())
        if seen is None:
            raise NoData(Cause.AGENT_LOST, f"the {name} was too short to measure")
        if name == "upload":
            return seen
        try:
            series = Series.from_json(report.get("series"))
        except SeriesError as error:
            raise NoData(Cause.BAD_REPORT, str(error)) from error
        told = estimate(series.samples())
        if told is None:
            raise NoData(Cause.BAD_REPORT, "the agent received too little to measure")
        margin = REPORT_MARGIN + seen.uncertainty
        if abs(told.rate - seen.rate) > margin * seen.rate:
            raise NoData(
                Cause.BAD_REPORT,
                f"the agent counted {told.rate:.0f} bit/s, its kernel acknowledged {seen.rate:.0f}",
            )
        return told


def _check_end(name: str, flow: Flow) -> None:
    """Raise what a transfer that did not run to its end means."""
    if flow.late > LATE_SHARE:
        raise NoData(Cause.HOST_OVERLOADED, f"the hub overslept {flow.late:.0%} of the {name}")
    if flow.ended is Ended.SILENCE:
        raise Failed(Cause.INTERRUPTED, f"the {name} came to a halt")
    if flow.ended is Ended.BROKEN_OFF:
        raise NoData(Cause.AGENT_LOST, f"the agent broke the {name} off")


def _seconds(value: Any) -> float | None:
    """A time that an agent reports, if it can be one."""
    return float(value) if isinstance(value, int | float) and 0 < value < 60 else None


BANDWIDTH = Probe(
    "bandwidth", run, time_limit, heavy=True, needs_agent=True, cost=cost, reserve=reserve
)

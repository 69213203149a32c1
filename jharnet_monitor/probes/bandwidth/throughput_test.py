"""The full bandwidth test: RTT, download, upload, and packet trains where they are needed.

Download is towards the office. Rates are IP rates, comparable with the contract: TCP goodput with
the headers of its segments, whose size the kernel tells. The stream is paced a little above the
contracted rate, which fills the line, does not flood the office, and keeps the test within its
reservation of the headquarters uplink.
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
from jharnet_monitor.probes.bandwidth.bandwidth_test import MIN_RTTS, BandwidthTest
from jharnet_monitor.probes.bandwidth.counter_series import CounterSeries, CounterSeriesError
from jharnet_monitor.probes.bandwidth.http_hub import (
    EndReason,
    HubDownload,
    HubTransfer,
    HubUpload,
    TransferResult,
)
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

REPORT_SECONDS, SILENCE_REPORT_SECONDS = 10.0, 1.0
"""Time limit of the agent's report; the shorter one after silence, to tell line from agent."""
MAX_LATE_SHARE = 0.1
"""If a host did not keep up for more of the test than this, it may have limited the rate."""
REPORT_TOLERANCE, MAX_UNCERTAINTY = 0.05, 0.2
"""Allowed relative difference between an agent's rate and what its kernel acknowledged to the hub,
and how much of the uncertainty of the latter is allowed in addition."""
MIN_LOSS = 0.002
"""Retransmitted share from which on loss may limit TCP."""
QUEUE_FACTOR, QUEUE_SECONDS = 1.25, 0.005
"""A queue is full if the RTT exceeds the idle RTT by this factor plus this time."""
MAX_WINDOW_SHARE = 0.3
"""A stream that the receiver's window limited for more of its time has not filled the line."""
LINE_FILLED = 0.9
"""A stream below this share of the capacity was not limited by the line."""


class ThroughputTest(BandwidthTest):
    """Measures each direction in turn over HTTP."""

    def __init__(self, context: ProbeContext, agent: AgentLink, channel: Channel) -> None:
        super().__init__(context, channel)
        self._agent = agent
        self._plan = Plan.of(context)
        self._conditions["path"] = Route.JHARNET.value

    async def _measure(self) -> None:
        if self._udp is not None:
            await self._measure_idle_rtt_by_udp(self._udp)
        self._plan = self._plan.for_rtt(self._values["idle_rtt_seconds"])
        for direction in Direction:
            await self._measure_direction(direction)

    async def _measure_direction(self, direction: Direction) -> None:
        """Measure one direction and set its values; raises `Failed` or `NoData`."""
        name = direction.transfer
        limits = self._plan.limits(direction)
        transfer = (HubDownload if direction is Direction.DOWN else HubUpload)(
            self._context.clock, limits
        )
        result, report, rtts = await self._transfer_with_pings(direction, transfer)
        reported = min(_count(report.get("sent")), limits.max_bytes)
        self._transfer_bytes += result.bytes_down + max(result.bytes_up, reported)
        _check_end(direction, result)
        measured = self._estimate(direction, result, report)
        seconds = result.stopped - result.started
        pings = sum(result.started <= sample.sent <= result.stopped for sample in rtts)
        rate = measured.rate + pings * SMALL_IP_BYTES * 8 / seconds
        self._values[f"{name}_bits_per_second"] = rate
        self._conditions[f"{name}_uncertainty"] = round(measured.uncertainty, 4)
        self._conditions[f"{name}_ended"] = result.ended.value
        if limits.connections > 1:
            self._conditions[f"{name}_connections"] = limits.connections
        self._conditions[f"{name}_seconds"] = round(seconds, 3)
        loaded = _loaded_rtt(direction, result, report, rtts, rate)
        if loaded is not None:
            self._values[f"{name}_loaded_rtt_seconds"] = loaded
        late_rtt = loaded if len(rtts) < MIN_RTTS else _late_rtt(rtts, result)
        if _window_share(direction, result, report) > MAX_WINDOW_SHARE:
            self._set_limited_by(direction, "host")
        await self._find_limit(direction, rate, _loss(direction, result, report), late_rtt)

    def _set_limited_by(self, direction: Direction, limit: str) -> None:
        name = direction.transfer
        self._conditions["limited_by"] = self._conditions[f"{name}_limited_by"] = limit

    async def _transfer_with_pings(
        self, direction: Direction, transfer: HubTransfer
    ) -> tuple[TransferResult, Mapping[str, Any], list[RttSample]]:
        """The results of the transfer at the hub and the agent, and of concurrent UDP pings."""
        if self._udp is None:
            return *await self._transfer(direction, transfer), []
        spacing = ping_spacing(self._plan.limits(direction).rate)
        async with self._udp.pinging(spacing) as rtts:
            result, report = await self._transfer(direction, transfer)
        return result, report, rtts

    async def _transfer(
        self, direction: Direction, transfer: HubTransfer
    ) -> tuple[TransferResult, Mapping[str, Any]]:
        """The hub's result and the agent's report; raises `Failed` or `NoData`."""
        name = direction.transfer
        limits = self._plan.limits(direction)
        connections = range(limits.connections)
        paths = [self._agent.serve_transfer(transfer.handle) for _ in connections]
        seconds = limits.seconds + REPORT_SECONDS
        request = {"do": name, "paths": paths, "rate": limits.rate, "seconds": seconds}
        try:
            await self._channel.send(request)
            result = await transfer.run()
            after_silence = max(SILENCE_REPORT_SECONDS, 2 * self._values["idle_rtt_seconds"])
            timeout = after_silence if result.ended is EndReason.SILENCE else REPORT_SECONDS
            async with asyncio.timeout(timeout):
                report = await self._channel.receive()
        except TimeoutError:
            if transfer.result.ended is EndReason.SILENCE:
                self._transfer_bytes += transfer.result.bytes_down + transfer.result.bytes_up
                raise Failed(
                    Cause.INTERRUPTED, f"the line stopped delivering during the {name}"
                ) from None
            raise NoData(
                Cause.AGENT_LOST, f"the agent did not start the {name}, or sent no report of it"
            ) from None
        finally:
            transfer.stop()
        if "error" in report:
            raise NoData(Cause.AGENT_LOST, f"{name}: {str(report['error'])[:200]}")
        return result, report

    def _estimate(
        self, direction: Direction, result: TransferResult, report: Mapping[str, Any]
    ) -> Estimate:
        """The rate at the receiver; that of a download is compared with the hub's own counters.

        Raises `NoData` (`bad_report`) where they contradict each other.
        """
        name = direction.transfer
        counted = result.series.samples()
        at_hub = estimate(counted, self._plan.limits(direction).window)
        if at_hub is None:
            raise NoData(Cause.AGENT_LOST, f"the {name} was too short to measure")
        if direction is Direction.UP:
            return at_hub
        try:
            received = CounterSeries.from_json(report.get("series")).samples()
        except CounterSeriesError as error:
            raise NoData(Cause.BAD_REPORT, str(error)) from error
        reported = estimate_over_same_bytes(received, counted, at_hub)
        if reported is None:
            raise NoData(Cause.BAD_REPORT, "the agent did not count what its kernel acknowledged")
        tolerance = REPORT_TOLERANCE + min(at_hub.uncertainty, MAX_UNCERTAINTY)
        if abs(reported.rate - at_hub.rate) > tolerance * at_hub.rate:
            raise NoData(
                Cause.BAD_REPORT,
                f"the agent counted {reported.rate:.0f} bit/s, "
                f"its kernel acknowledged {at_hub.rate:.0f}",
            )
        return reported

    async def _find_limit(
        self, direction: Direction, rate: float, loss: float, late_rtt: float | None
    ) -> None:
        """Set `limited_by` where something other than the line limited the stream.

        Loss from a full queue is caused by the rate of the line. Loss without a full queue at the
        end of the test may have limited TCP: a packet train shows what the line would carry.
        """
        name = direction.transfer
        if rate >= PACE_REACHED * self._plan.limits(direction).rate:
            self._conditions[f"{name}_at_least"] = True
        if loss < MIN_LOSS:
            return
        self._conditions[f"{name}_retransmitted"] = round(loss, 4)
        idle_rtt = self._values["idle_rtt_seconds"]
        if late_rtt is not None and late_rtt > QUEUE_FACTOR * idle_rtt + QUEUE_SECONDS:
            return
        capacity = await self._measure_capacity(direction, self._plan.limits(direction).rate)
        if capacity is None or rate < LINE_FILLED * capacity:
            self._set_limited_by(direction, "loss")


def _check_end(direction: Direction, result: TransferResult) -> None:
    """Raise `NoData` for a transfer that shows nothing of the line."""
    name = direction.transfer
    if result.late > MAX_LATE_SHARE:
        raise NoData(
            Cause.HOST_OVERLOADED, f"the hub did not keep up for {result.late:.0%} of the {name}"
        )
    if result.ended is EndReason.SILENCE:  # the report arrived at once: not the line's fault
        raise NoData(Cause.AGENT_LOST, f"the agent stalled in the {name}")
    if result.ended is EndReason.BROKEN_OFF:
        raise NoData(Cause.AGENT_LOST, f"the agent ended the {name} early")


def _loaded_rtt(
    direction: Direction,
    result: TransferResult,
    report: Mapping[str, Any],
    rtts: list[RttSample],
    rate: float,
) -> float | None:
    """Mean RTT in seconds under load: of the pings, or else of the stream itself."""
    if len(rtts) >= MIN_RTTS:
        return loaded_rtt(rtts, result.series.samples(), rate, result.stopped)
    if direction is Direction.DOWN:
        return result.tcp_rtt
    value = report.get("rtt")
    return float(value) if isinstance(value, int | float) and 0 < value < 60 else None


def _late_rtt(rtts: list[RttSample], result: TransferResult) -> float | None:
    """Mean RTT in seconds in the second half of the test."""
    middle = (result.started + result.stopped) / 2
    late = [sample.seconds for sample in rtts if middle <= sample.sent <= result.stopped]
    return fmean(late) if late else None


def _loss(direction: Direction, result: TransferResult, report: Mapping[str, Any]) -> float:
    """The share of the sender's payload that it retransmitted."""
    if direction is Direction.DOWN:
        retransmitted = sum(info.bytes_retransmitted for info in result.infos)
        sent = sum(info.bytes_sent for info in result.infos)
    else:
        retransmitted = _count(report.get("retransmitted"))
        sent = _count(report.get("payload_sent"))
    return min(1.0, retransmitted / sent) if sent else 0.0


def _window_share(direction: Direction, result: TransferResult, report: Mapping[str, Any]) -> float:
    """The share of the time in which the receiver's window limited the sender."""
    if direction is Direction.DOWN:
        return max((info.window_share for info in result.infos), default=0.0)
    value = report.get("window")
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else 0.0


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 1 << 50 else 0

"""The full bandwidth test: RTT, download and upload, by a TCP stream and further tests if in doubt.
Download is towards the office. Rates are IP rates, comparable with the contract: TCP goodput with
the headers of its segments, whose size the kernel reports. The stream is paced slightly above the
contracted rate, which fills the line, does not flood the office, and keeps the test within its
reservation of the headquarters uplink.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from jharnet_monitor.judge.line.reading import (
    Limit,
    RateReading,
    TcpStream,
    needs_paced_stream,
    reading,
)
from jharnet_monitor.judge.line.throughput import (
    MSS,
    Estimate,
    RttSample,
    estimate,
    estimate_over_same_bytes,
    loaded_rtt,
    stalled_share,
)
from jharnet_monitor.model import Cause, Direction, Route
from jharnet_monitor.probes.bandwidth.bandwidth_test import MIN_RTTS, PINGS, BandwidthTest
from jharnet_monitor.probes.bandwidth.counter_series import CounterSeries, CounterSeriesError
from jharnet_monitor.probes.bandwidth.http_hub import (
    EndReason,
    HubDownload,
    HubTransfer,
    HubUpload,
    TransferResult,
)
from jharnet_monitor.probes.bandwidth.paced_test import PacedTest
from jharnet_monitor.probes.bandwidth.plan import Plan
from jharnet_monitor.probes.bandwidth.sustained_test import SustainedTest
from jharnet_monitor.probes.bandwidth.udp_hub import UdpChannel, ping_spacing
from jharnet_monitor.probes.bandwidth.udp_socket import SMALL_IP_BYTES
from jharnet_monitor.probes.base import (
    AgentLink,
    Channel,
    Failed,
    NoData,
    ProbeContext,
    ProbeError,
)

REPORT_SECONDS, REPORT_ROUND_TRIPS = 15.0, 10.0
"""Time limit of the agent's report, which may have to be sent several times."""
MOST_STALLED = 0.5
"""A share of the time that makes any rate uncertain."""
MIN_STALLED = 0.01
"""A smaller share is within the error of any rate."""
DRAIN_SECONDS = 1.0
"""How long a proxy may still pass on what it has of a transfer that is over at the hub: then the
agent ends it, who would not be reset."""
SILENCE_REPORT_SECONDS, SILENCE_ROUND_TRIPS = 2.5, 6.0
"""The shorter limit after silence, to tell a dead line from a stalled agent."""
SILENT_PING_SPACING_SECONDS = 0.2
"""Between the pings that tell a dead line from one on which TCP has stalled."""
MAX_LATE_SHARE = 0.1
"""If a host did not keep up for more of the test than this, it may have limited the rate."""
REPORT_TOLERANCE, MAX_UNCERTAINTY = 0.05, 0.2
"""Allowed relative difference between an agent's rate and what its kernel acknowledged to the hub,
and how much of the uncertainty of the latter is allowed in addition; beyond it the hub's counts."""
COUNT_TOLERANCE, COUNT_SEGMENTS = 0.1, 64
"""No honest agent counts more segments than were sent, within this share and number: a busy hub
reads its own counters some milliseconds before it resets the connection."""
LEAST_COUNTED = 0.6
"""No honest agent counts less than this share of the bytes that its kernel acknowledged."""
MIN_LOSS = 0.002
"""Retransmitted share from which on loss may limit TCP."""
QUEUE_FACTOR, QUEUE_SECONDS = 1.25, 0.005
"""A queue is full if the RTT exceeds the idle RTT by this factor plus this time."""


@dataclass(frozen=True, slots=True)
class TcpTransfer:
    """The results of one direction's TCP stream: the hub's result, the agent's report, pings."""

    result: TransferResult
    report: Mapping[str, Any]
    rtts: list[RttSample]

    @property
    def rtts_during(self) -> list[RttSample]:
        """Of the answered pings, those that were sent while the stream was measured."""
        start, end = self.result.started, self.result.stopped
        return [sample for sample in self.rtts if start <= sample.sent <= end]


class ThroughputTest(BandwidthTest):
    """Measures each direction in turn over HTTP and, if that leaves a doubt, over UDP."""

    _ping_bytes = SMALL_IP_BYTES
    """IP bytes of a ping beside a transfer, each way."""

    def __init__(self, context: ProbeContext, agent: AgentLink, channel: Channel) -> None:
        super().__init__(context, channel)
        self._agent = agent
        self._plan = Plan.of(context)
        self._conditions["path"] = Route.JHARNET.value

    async def _measure(self) -> None:
        if self._udp is not None:
            await self._measure_idle_rtt_by_udp(self._udp)
        self._plan = self._plan.for_rtt(self._values["idle_rtt_seconds"])
        if self._agent.behind_proxy:
            self._plan = self._plan.for_proxy()
            by = "page" if self._agent.in_browser else "agent"
            self._conditions |= {"behind_proxy": True, "download_counted_by": by}
        for direction in Direction:
            await self._measure_direction(direction)
        if self._udp is not None:
            sustained = SustainedTest(self._context, self._udp, self._values, self._conditions)
            await sustained.run(self._plan)

    async def _measure_direction(self, direction: Direction) -> None:
        """Measure one direction and set its values; raises `Failed` or `NoData`."""
        limits, idle_rtt = self._plan.limits(direction), self._values["idle_rtt_seconds"]
        tcp, problem = None, None
        try:
            tcp = await self._tcp_stream(direction)
        except ProbeError as error:
            if self._udp is None or error.cause not in (Cause.AGENT_LOST, Cause.INTERRUPTED):
                raise
            if error.cause is Cause.INTERRUPTED and not await self._is_answered(self._udp):
                raise  # further tests over a dead line would take half a minute
            problem = error
        paced = capacity = None
        if self._udp is not None and needs_paced_stream(tcp, idle_rtt, self._jitter):
            capacity = await self._measure_capacity(direction, tcp.rate if tcp else limits.rate)
            test = PacedTest(self._udp, idle_rtt, self._jitter)
            paced = await test.run(direction, limits, tcp, capacity)
        found = reading(tcp, paced, capacity)
        if found is None:
            raise problem or NoData(
                Cause.AGENT_LOST, f"nothing of the {direction.transfer} arrived"
            )
        if tcp is not None and paced is not None:
            self._conditions[f"{direction.transfer}_tcp_bits_per_second"] = round(tcp.rate)
        self._set_reading(direction, found)

    async def _is_answered(self, udp: UdpChannel) -> bool:
        """Whether the line still carries anything, once a TCP stream has gone silent on it."""
        return await udp.is_answered(PINGS, SILENT_PING_SPACING_SECONDS)

    def _set_reading(self, direction: Direction, found: RateReading) -> None:
        name = f"{direction.transfer}_bits_per_second"
        self._values |= {name: found.rate, f"{name}_low": found.low}
        half = (found.rate - found.low) / found.rate
        if found.high is not None:
            self._values[f"{name}_high"] = found.high
            half = (found.high - found.low) / 2 / found.rate
        self._conditions[f"{direction.transfer}_uncertainty"] = round(half, 4)
        if found.at_least:
            self._conditions[f"{direction.transfer}_at_least"] = True
        if found.limited_by is not None:
            self._set_limited_by(direction, found.limited_by)

    def _set_limited_by(self, direction: Direction, limit: Limit) -> None:
        name = direction.transfer
        self._conditions["limited_by"] = self._conditions[f"{name}_limited_by"] = limit.value

    async def _tcp_stream(self, direction: Direction) -> TcpStream:
        """What a TCP stream shows of one direction; raises `Failed` or `NoData`."""
        name = direction.transfer
        limits = self._plan.limits(direction)
        transfer = (HubDownload if direction is Direction.DOWN else HubUpload)(
            self._context.clock, limits
        )
        streamed = await self._transfer_with_pings(direction, transfer)
        result, report = streamed.result, streamed.report
        reported = min(_count(report.get("sent")), limits.max_bytes)
        self._transfer_bytes += max(0, reported - result.bytes_up)
        seconds = result.stopped - result.started
        self._refuse_held_back(direction, result, seconds)
        hidden = self._hub_sees_proxy(direction)
        _check_end(direction, result, report, hidden=hidden)
        measured = self._estimate(direction, result, report)
        pings = len(streamed.rtts_during)
        measured = replace(measured, rate=measured.rate + pings * self._ping_bytes * 8 / seconds)
        self._conditions[f"{name}_ended"] = result.ended.value
        if limits.connections > 1:
            self._conditions[f"{name}_connections"] = limits.connections
        self._conditions[f"{name}_seconds"] = round(seconds, 3)
        loaded, late_rtt = _loaded_rtts(direction, streamed, measured.rate, hidden=hidden)
        if loaded is not None:
            self._values[f"{name}_loaded_rtt_seconds"] = loaded
        loss = 0.0 if hidden else self._loss(direction, result, report)
        if loss >= MIN_LOSS:
            self._conditions[f"{name}_{self._loss_name(direction)}"] = round(loss, 4)
        window = 0.0 if hidden else _window_share(direction, result, report)
        stalled = _stalled_share(result, report, seconds)
        if stalled:
            self._conditions[f"{name}_stalled_ratio"] = round(stalled, 4)
        queue = None if late_rtt is None else late_rtt > self._full_queue_rtt
        return TcpStream.of(
            measured,
            loss=loss,
            window=window,
            queue=queue,
            pace=limits.rate,
            segments=0 if hidden else self._segments(direction, result, report),
            stalled=stalled,
        )

    def _hub_sees_proxy(self, direction: Direction) -> bool:
        """Whether the hub's kernel counts the proxy's connection and nothing of the line. What
        comes from the office reaches the hub as fast as it reaches the proxy.
        """
        return direction is Direction.DOWN and self._plan.download.by_proxy

    def _refuse_held_back(
        self, direction: Direction, result: TransferResult, seconds: float
    ) -> None:
        """Raise `NoData` for an upload that came so late that a proxy may have collected all of it
        first, at a lower rate than the one at which the proxy then passed it on in `seconds`.
        """
        if direction is Direction.DOWN or not self._plan.upload.by_proxy:
            return
        if result.waited * result.bytes_up > seconds * self._plan.upload.max_bytes:
            raise NoData(
                Cause.HELD_BACK, f"the upload reached the hub only after {result.waited:.1f} s"
            )

    @property
    def _full_queue_rtt(self) -> float:
        return QUEUE_FACTOR * self._values["idle_rtt_seconds"] + QUEUE_SECONDS + self._jitter / 2

    async def _transfer_with_pings(
        self, direction: Direction, transfer: HubTransfer
    ) -> TcpTransfer:
        """The results of the transfer at the hub and the agent, and of concurrent pings."""
        spacing = ping_spacing(self._plan.limits(direction).rate)
        async with self._pinging(spacing) as rtts:
            result, report = await self._transfer(direction, transfer)
        return TcpTransfer(result, report, rtts)

    def _pinging(self, spacing: float) -> AbstractAsyncContextManager[list[RttSample]]:
        """Pings beside a transfer, `spacing` seconds apart; none where UDP is blocked."""
        return nullcontext([]) if self._udp is None else self._udp.pinging(spacing)

    async def _transfer(
        self, direction: Direction, transfer: HubTransfer
    ) -> tuple[TransferResult, Mapping[str, Any]]:
        """The hub's result and the agent's report; raises `Failed` or `NoData`.

        What the hub counted is charged, whatever becomes of the report.
        """
        name = direction.transfer
        limits, idle_rtt = self._plan.limits(direction), self._values["idle_rtt_seconds"]
        connections = range(limits.connections)
        paths = [self._agent.serve_transfer(transfer.handle) for _ in connections]
        seconds = limits.seconds + (DRAIN_SECONDS if limits.by_proxy else REPORT_SECONDS)
        request = {
            "do": name, "paths": paths, "rate": limits.rate, "seconds": seconds,
            "bytes": limits.max_bytes,
        }  # fmt: skip
        try:
            await self._channel.send(request)
            result = await transfer.run()
            timeout = REPORT_SECONDS + REPORT_ROUND_TRIPS * idle_rtt
            if result.ended is EndReason.SILENCE:
                timeout = max(SILENCE_REPORT_SECONDS, SILENCE_ROUND_TRIPS * idle_rtt)
            async with asyncio.timeout(timeout):
                report = await self._channel.receive()
        except TimeoutError:
            self._channel.give_up()
            if transfer.result.ended is EndReason.SILENCE:
                raise Failed(
                    Cause.INTERRUPTED, f"the line stopped delivering during the {name}"
                ) from None
            if limits.by_proxy and direction is Direction.UP and not transfer.result.started:
                raise NoData(Cause.HELD_BACK, "nothing of the upload reached the hub") from None
            raise NoData(
                Cause.AGENT_LOST, f"the agent did not start the {name}, or sent no report of it"
            ) from None
        finally:
            transfer.stop()
            self._transfer_bytes += transfer.result.bytes_down + transfer.result.bytes_up
        if "error" in report:
            raise NoData(Cause.AGENT_LOST, f"{name}: {str(report['error'])[:200]}")
        return result, report

    def _estimate(
        self, direction: Direction, result: TransferResult, report: Mapping[str, Any]
    ) -> Estimate:
        """The rate at the receiver; raises `NoData` where there is none.

        For a download the agent's count is used if it agrees with the hub's own counters; else the
        hub's, with an uncertainty that covers both. A count is refused (`bad_report`) only if no
        honest agent can have made it.
        """
        name = direction.transfer
        counted = result.series.samples()
        at_hub = estimate(counted, self._plan.limits(direction).window)
        if direction is Direction.DOWN:
            series = _agent_series(report)
            if self._hub_sees_proxy(direction):
                return self._by_receiver(series, result)
            _refuse_impossible(series, result)
            if at_hub is not None:
                reported = estimate_over_same_bytes(series.samples(), counted, at_hub)
                return self._of_both(reported, at_hub)
        if at_hub is None:
            raise NoData(Cause.AGENT_LOST, f"the {name} was too short to measure")
        return at_hub

    def _by_receiver(self, series: CounterSeries, result: TransferResult) -> Estimate:
        """The estimate by the receiver's count alone; raises `NoData` where there is none."""
        sent = sum(info.bytes_sent for info in result.infos)
        counted = series.points[-1].payload if series.points else 0
        if counted > sent * (1 + COUNT_TOLERANCE) + COUNT_SEGMENTS * MSS:
            raise NoData(Cause.BAD_REPORT, f"the agent counted {counted} bytes, {sent} were sent")
        found = estimate(series.samples(), self._plan.download.window)
        if found is None:
            raise NoData(Cause.AGENT_LOST, "the agent counted too little of the download")
        return found

    def _of_both(self, reported: Estimate | None, at_hub: Estimate) -> Estimate:
        """The agent's estimate if the hub's agrees, else the hub's with both in its interval."""
        if reported is None:
            return at_hub
        found = with_doubt(at_hub, reported)
        return reported if found is at_hub else found

    def _loss_name(self, direction: Direction) -> str:
        """The name of the condition that holds `_loss`."""
        return "retransmitted"

    def _loss(
        self, direction: Direction, result: TransferResult, report: Mapping[str, Any]
    ) -> float:
        """The share of the sender's payload that it retransmitted."""
        if direction is Direction.DOWN:
            retransmitted = sum(info.bytes_retransmitted for info in result.infos)
            sent = sum(info.bytes_sent for info in result.infos)
        else:
            retransmitted = _count(report.get("retransmitted"))
            sent = _count(report.get("payload_sent"))
        return min(1.0, retransmitted / sent) if sent else 0.0

    def _segments(
        self, direction: Direction, result: TransferResult, report: Mapping[str, Any]
    ) -> int:
        """About how many data segments were sent."""
        if direction is Direction.DOWN:
            return sum(info.bytes_sent // max(1, info.send_mss) for info in result.infos)
        return _count(report.get("payload_sent")) // MSS


def _agent_series(report: Mapping[str, Any]) -> CounterSeries:
    """The counts of an agent; raises `NoData` (`bad_report`) if they are invalid."""
    try:
        return CounterSeries.from_json(report.get("series"))
    except CounterSeriesError as error:
        raise NoData(Cause.BAD_REPORT, str(error)) from error


def _refuse_impossible(series: CounterSeries, result: TransferResult) -> None:
    """Raise `NoData` (`bad_report`) for counts that no honest agent can have.

    That is more segments than the hub sent, or far fewer bytes than the agent's kernel
    acknowledged. Smaller differences are normal: acknowledgements are lost, late, and arrive in
    bunches.
    """
    if not result.infos:
        return
    if not series.points:
        raise NoData(Cause.AGENT_LOST, "the agent counted nothing of the download")
    segments, payload = series.points[-1].segments, series.points[-1].payload
    sent = sum(info.segments_out for info in result.infos)
    acknowledged = sum(info.bytes_acked for info in result.infos)
    if segments > sent * (1 + COUNT_TOLERANCE) + COUNT_SEGMENTS:
        raise NoData(Cause.BAD_REPORT, f"the agent counted {segments} segments, {sent} were sent")
    missing = acknowledged - payload
    if payload < LEAST_COUNTED * acknowledged and missing > COUNT_SEGMENTS * series.mss:
        raise NoData(
            Cause.BAD_REPORT,
            f"the agent counted {payload} bytes, its kernel acknowledged {acknowledged}",
        )


def with_doubt(at_hub: Estimate, reported: Estimate) -> Estimate:
    """The hub's estimate; where the agent's is clearly another, with both in its interval."""
    difference = abs(reported.rate - at_hub.rate) / at_hub.rate
    if difference <= REPORT_TOLERANCE + min(at_hub.uncertainty, MAX_UNCERTAINTY):
        return at_hub
    return replace(at_hub, uncertainty=max(at_hub.uncertainty, difference))


def _check_end(
    direction: Direction, result: TransferResult, report: Mapping[str, Any], *, hidden: bool
) -> None:
    """Raise `NoData` for a transfer that is no evidence about the line.

    One that is `hidden` by a proxy may end at the agent first, which is late to hear of it.
    """
    name = direction.transfer
    late = _share(report.get("late"))
    if result.late > MAX_LATE_SHARE:
        raise NoData(
            Cause.HOST_OVERLOADED, f"the hub did not keep up for {result.late:.0%} of the {name}"
        )
    if late is not None and late > MAX_LATE_SHARE:
        raise NoData(
            Cause.HOST_OVERLOADED, f"the agent did not keep up for {late:.0%} of the {name}"
        )
    if result.ended is EndReason.SILENCE:  # the report arrived at once: not the line's fault
        raise NoData(Cause.AGENT_LOST, f"the agent stalled in the {name}")
    if result.ended is EndReason.BROKEN_OFF and not hidden:
        raise NoData(Cause.AGENT_LOST, f"the agent ended the {name} early")


def _loaded_rtts(
    direction: Direction, streamed: TcpTransfer, rate: float, *, hidden: bool
) -> tuple[float | None, float | None]:
    """Mean RTT in seconds under load, and that of the second half: of the pings, or of TCP itself,
    where that is known, if too few were answered, as a full queue may drop them. Of a `hidden`
    stream, of which the hub counts the proxy's connection, both are those of the second half.
    """
    result, during = streamed.result, streamed.rtts_during
    middle = (result.started + result.stopped) / 2
    late = [sample.seconds for sample in during if sample.sent >= middle]
    late_rtt = fmean(late) if late else None
    if hidden:
        return late_rtt, late_rtt
    own = _own_rtt(direction, streamed)
    if own is not None and len(during) < MIN_RTTS:
        return own, own
    if len(streamed.rtts) < MIN_RTTS:
        return None, None
    loaded = loaded_rtt(streamed.rtts, result.series.samples(), rate, result.stopped)
    return loaded, loaded if late_rtt is None else late_rtt


def _own_rtt(direction: Direction, streamed: TcpTransfer) -> float | None:
    """Mean RTT in seconds that the sender's TCP saw; None where it is not known."""
    if direction is Direction.DOWN:
        return streamed.result.tcp_rtt
    value = streamed.report.get("rtt")
    return float(value) if isinstance(value, int | float) and 0 < value < 60 else None


def _stalled_share(result: TransferResult, report: Mapping[str, Any], seconds: float) -> float:
    """The share of the time by which the stream may have been slower than the line.

    An agent of version 0.1.0 and a page report only by how much they were `late`.
    """
    share = result.paused
    paused, late = _share(report.get("paused")), _share(report.get("late"))
    if paused is not None:
        share += paused
    elif late:
        share += stalled_share((late,), seconds)
    return 0.0 if share < MIN_STALLED else min(MOST_STALLED, share)


def _share(value: Any) -> float | None:
    """The value if it is a share of the time, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        return None
    return float(value)


def _window_share(direction: Direction, result: TransferResult, report: Mapping[str, Any]) -> float:
    """The share of the time in which the receiver's window limited the sender."""
    if direction is Direction.DOWN:
        return max((info.window_share for info in result.infos), default=0.0)
    seconds = (result.stopped - result.started) * max(1, len(result.infos))
    slowed = min(1.0, result.slowed / seconds)
    value = report.get("window")
    return max(slowed, float(value) if isinstance(value, int | float) and 0 <= value <= 1 else 0.0)


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 1 << 50 else 0

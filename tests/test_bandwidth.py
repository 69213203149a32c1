"""The JharNet path: what is measured, with what certainty, and what no agent can do to the hub."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from math import inf
from typing import Any

import aiohttp
import pytest

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.judge.line.packet_trains import PacketArrival
from jharnet_monitor.model import Cause
from jharnet_monitor.probes.bandwidth import agent as bandwidth_far
from jharnet_monitor.probes.bandwidth import http_hub
from jharnet_monitor.probes.bandwidth import packet_trains as bandwidth_trains
from jharnet_monitor.probes.bandwidth import udp_hub as side_path
from jharnet_monitor.probes.bandwidth.counter_series import CounterSeries, CounterSeriesError
from jharnet_monitor.probes.bandwidth.plan import Plan
from jharnet_monitor.probes.bandwidth.probe import BANDWIDTH
from jharnet_monitor.probes.base import (
    AgentContext,
    AgentTask,
    Channel,
    ChannelClosed,
    Failed,
    NoData,
    ProbeContext,
)
from tests.bandwidth_support import (
    OFFICE,
    Result,
    at_work,
    door,
    measure,
    misbehaving,
    on_loopback,
    session,
    settings,
    undisturbed,
)

# -- on loopback: the whole path, and agents that mean ill --


async def against(far: AgentTask) -> Result:
    """A test of a 20 Mbit/s line whose agent misbehaves."""
    with misbehaving(bandwidth=far):
        async with on_loopback() as agent:
            return await measure(settings("20 Mbit/s"), agent)


async def test_both_ways_on_loopback() -> None:
    """A line wider than the contract is measured up to the pace, and said to give at least that.

    A packet on loopback is 64 kB, 50 ms of the slower pace: within a second that tells a tenth.
    """
    config = settings("20 Mbit/s", "8 Mbit/s")
    async with on_loopback() as agent:
        result = await undisturbed(config, agent)
    assert result.error is None
    assert result.down == pytest.approx(25, rel=0.05)
    assert result.up == pytest.approx(10, rel=0.1)
    assert result.conditions["path"] == "jharnet"
    assert result.conditions["download_at_least"] is True
    assert result.conditions["download_uncertainty"] < 0.1
    assert 0 < result.values["idle_rtt_seconds"] < 0.1
    assert result.values["download_loaded_rtt_seconds"] > 0
    cost = BANDWIDTH.cost(_context(config))
    assert 0.2 * cost < result.values["bytes_spent"] <= cost


def _context(config: Any, granted: float = inf, **options: Any) -> ProbeContext:
    return ProbeContext(config, config.offices[0], SystemClock(), None, options, granted)


def test_the_plan_stays_within_contract_and_grant() -> None:
    """Reserved is what the stream may run at; what was granted of the uplink is never exceeded."""
    config = settings("4 Mbit/s", "1 Mbit/s")
    plan = Plan.of(_context(config))
    assert (plan.download.rate, plan.upload.rate) == (5e6, 1.25e6)
    assert plan.for_line(0.0).download.most_bytes == 4e6 * 2.5 / 8
    assert BANDWIDTH.reserve(_context(config)) == 5e6
    assert Plan.of(_context(config, granted=2e6)).download.rate == 2e6
    longer = plan.for_line(0.6)
    assert longer.download.seconds == pytest.approx(5.8)
    assert longer.cost <= plan.cost
    assert plan.for_line(10.0).download.most_bytes == plan.download.most_bytes
    assert BANDWIDTH.cost(_context(config, path="trains")) < 130_000


async def test_no_agent_is_no_data() -> None:
    """Without an agent nothing was measured, and nothing is said of the line."""
    result = await measure(settings("4 Mbit/s"), None)
    assert isinstance(result.error, NoData)
    assert result.error.cause is Cause.NO_AGENT
    assert not result.values


@pytest.mark.parametrize("factor", [0.5, 2.0])
async def test_an_agent_that_lies_about_its_bytes(factor: float) -> None:
    """Its own kernel has acknowledged something else: no rate is kept, high or low."""

    async def liar(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
        await bandwidth_far.agent_task(_Falsified(channel, factor), params, context)

    result = await against(liar)
    assert isinstance(result.error, NoData)
    assert result.error.cause is Cause.BAD_REPORT
    assert "download_bits_per_second" not in result.values
    assert result.values["bytes_spent"] > 0


class _Falsified:
    """A channel through which every series leaves with other byte counts."""

    def __init__(self, channel: Channel, factor: float) -> None:
        self._channel, self._factor = channel, factor
        self.receive, self.close = channel.receive, channel.close

    async def send(self, message: Mapping[str, Any]) -> None:
        message = json.loads(json.dumps(message))
        for point in message.get("series", {}).get("points", []):
            point[1:] = [int(count * self._factor) for count in point[1:]]
        await self._channel.send(message)


@pytest.mark.parametrize(
    "series",
    [
        None,
        {},
        {"mss": 1448, "header": 52, "points": [[0, 1]]},
        {"mss": 1448, "header": 52, "points": [[0, 5, 1], [1, 4, 2]]},
        {"mss": 1448, "header": 52, "points": [[float("nan"), 1, 1]]},
        {"mss": 1448, "header": 52, "points": [[0, True, 1]]},
        {"mss": 10**9, "header": 52, "points": []},
        {"mss": 1448, "header": 7, "points": []},
        {"mss": 1448, "header": 52, "points": [[0, 0, 0]] * 2000},
    ],
)
def test_a_series_that_cannot_be_is_refused(series: Any) -> None:
    """Whatever an agent reports is checked before a figure is made of it."""
    with pytest.raises(CounterSeriesError):
        CounterSeries.from_json(series)


def test_a_series_travels_unchanged() -> None:
    """What the agent counted is what the hub reads."""
    series = CounterSeries(mss=1400, header=72)
    for n in range(50):
        series.add(100 + n / 50, n * 10, n * 14000)
    there = CounterSeries.from_json(json.loads(json.dumps(series.to_json())))
    assert [s.ip_bytes for s in there.samples()] == [s.ip_bytes for s in series.samples()]
    assert there.samples()[-1].ip_bytes == 490 * 1472


async def test_an_agent_that_breaks_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a transfer is no measurement, and its bytes are charged."""

    async def half(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
        monkeypatch.setattr(bandwidth_far, "LONGEST_SECONDS", 0.4)
        await bandwidth_far.agent_task(channel, params, context)

    result = await against(half)
    assert isinstance(result.error, NoData)
    assert result.error.cause is Cause.AGENT_LOST
    assert "download_bits_per_second" not in result.values
    assert result.values["bytes_spent"] > 100_000


async def test_an_agent_that_stops_half_way() -> None:
    """It reads no more but keeps its session: that is no fault of the line, and no measurement."""

    async def stalled(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
        while True:
            message = await channel.receive()
            if message["do"] == "download":
                url = f"{context.hub}{message['paths'][0]}"
                async with context.http.get(url, params={"office": OFFICE}) as response:
                    await response.content.readexactly(300_000)
                    await asyncio.sleep(1.5)
                await channel.send({"series": CounterSeries().to_json()})
            else:
                await channel.send(await bandwidth_far._answer(message, _NO_SIDE, context))

    result = await against(stalled)
    assert isinstance(result.error, NoData)
    assert result.error.cause is Cause.AGENT_LOST
    assert "download_bits_per_second" not in result.values


async def test_an_agent_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub waits for its time, not for ever."""
    monkeypatch.setattr(http_hub, "ARRIVAL_SECONDS", 0.5)

    async def idle(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
        while True:
            message = await channel.receive()
            if message["do"] == "ping":
                await channel.send({"pong": message["n"]})
            elif message["do"] == "udp":
                await channel.send({"error": "no UDP here"})

    begun = time.monotonic()
    result = await against(idle)
    assert time.monotonic() - begun < 5
    assert isinstance(result.error, NoData)
    assert result.error.cause is Cause.AGENT_LOST


async def test_an_agent_that_does_not_stop_sending() -> None:
    """The hub cuts it off: what came over is the pace's worth, and the line is free again."""
    over: list[str] = []

    async def flood(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
        while True:
            message = await channel.receive()
            if message["do"] == "upload":
                over.append(await _pour(context, message["paths"][0]))
                await channel.send({"sent": 10**15, "rtt": -1, "retransmitted": "no"})
            else:
                await channel.send(await bandwidth_far._answer(message, _NO_SIDE, context))

    result = await against(flood)
    assert over == ["cut"]
    assert result.values["bytes_spent"] <= BANDWIDTH.cost(_context(settings("20 Mbit/s")))
    assert "upload_bits_per_second" not in result.values or result.conditions["upload_at_least"]


class _NoSide:
    def open(self, message: Mapping[str, Any]) -> dict[str, Any]:
        return {"error": "no UDP here"}

    listen = arrivals = train = open


_NO_SIDE: Any = _NoSide()


async def _pour(context: AgentContext, path: str) -> str:
    """Send as fast as it goes, for as long as it goes."""

    async def endless() -> Any:
        while True:
            yield bytes(1 << 16)

    with contextlib.suppress(aiohttp.ClientError, ConnectionError):
        async with asyncio.timeout(20):
            await context.http.post(
                f"{context.hub}{path}", params={"office": OFFICE}, data=endless()
            )
        return "answered"
    return "cut"


async def test_an_agent_that_reconnects_in_mid_test() -> None:
    """The session that the test belonged to is gone, and the test with it, at once; whatever it
    sends afterwards finds its transfer over, and the new session is measured as if nothing were."""
    config = settings("20 Mbit/s")
    async with door() as (agents, port), at_work(f"ws://127.0.0.1:{port}/agent") as first:
        before = await session(agents)
        test = asyncio.create_task(measure(config, before))
        await asyncio.sleep(0.8)
        first.stop()
        async with at_work(f"ws://127.0.0.1:{port}/agent"):
            begun = time.monotonic()
            with pytest.raises(ChannelClosed):
                await test
            assert time.monotonic() - begun < 4
            async with asyncio.timeout(10):
                while (after := agents.get(OFFICE)) in (None, before):
                    await asyncio.sleep(0.02)
            result = await undisturbed(config, after)
    assert result.error is None
    assert result.down == pytest.approx(25, rel=0.05)


async def test_a_hub_that_is_not_kept_up_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that sleeps through the test says nothing of the network."""
    monkeypatch.setattr(http_hub, "LATE_SECONDS", -1.0)
    async with on_loopback() as agent:
        result = await measure(settings("20 Mbit/s"), agent)
    assert isinstance(result.error, NoData)
    assert result.error.cause is Cause.HOST_OVERLOADED


async def test_a_train_that_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where jitter is longer than the train there is no capacity, only how uncertain it was."""
    monkeypatch.setattr(bandwidth_trains, "MOST_UNCERTAIN", -1.0)
    monkeypatch.setattr(side_path, "UNSTRETCHED", 1e9)
    async with on_loopback() as agent:
        result = await measure(settings("20 Mbit/s"), agent, path="trains")
    assert isinstance(result.error, NoData)
    assert result.error.cause is Cause.TOO_UNEVEN
    assert set(result.values) == {"idle_rtt_seconds", "bytes_spent"}
    assert "download_capacity_uncertainty" in result.conditions


def test_a_bunch_proves_no_more_than_jitter_allows() -> None:
    """32 packets within 0.1 ms may have come over 10 ms: that is 37 Mbit/s at the least."""
    bunch = [PacketArrival(n, n * 3e-6) for n in range(32)]
    assert side_path._least(bunch, 0.01) == pytest.approx(37e6, rel=0.02)
    assert side_path._least(bunch, 0.0) == pytest.approx(4e9, rel=0.01)


async def test_without_datagrams_the_stream_speaks_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where UDP is blocked the test still gives both rates and both loaded round trips."""
    monkeypatch.setattr(side_path, "bind", lambda *_: None)
    config = settings("20 Mbit/s")
    async with on_loopback() as agent:
        result = await undisturbed(config, agent)
        trains = await measure(config, agent, path="trains")
    assert result.error is None
    assert result.down == pytest.approx(25, rel=0.05)
    assert result.values["download_loaded_rtt_seconds"] > 0
    assert result.values["upload_loaded_rtt_seconds"] > 0
    assert isinstance(trains.error, Failed)
    assert trains.error.cause is Cause.UDP_BLOCKED

"""The bandwidth test between hub and agent: its accuracy, and its safety against wrong agents."""

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

from jharnet_monitor.clock import ManualClock, SystemClock
from jharnet_monitor.judge.line import reading as judge
from jharnet_monitor.judge.line.packet_trains import PacketArrival
from jharnet_monitor.model import Cause, Direction
from jharnet_monitor.probes.bandwidth import agent as bandwidth_agent
from jharnet_monitor.probes.bandwidth import (
    bandwidth_test,
    http_agent,
    http_hub,
    poll_lateness,
    throughput_test,
    udp_hub,
    udp_socket,
)
from jharnet_monitor.probes.bandwidth.counter_series import CounterSeries, CounterSeriesError
from jharnet_monitor.probes.bandwidth.plan import TRAIN_PACKETS, TRAINS_RESERVE, Plan
from jharnet_monitor.probes.bandwidth.poll_lateness import PollLateness
from jharnet_monitor.probes.bandwidth.probe import BANDWIDTH
from jharnet_monitor.probes.bandwidth.tcp_connection import TcpConnection
from jharnet_monitor.probes.bandwidth.udp_socket import Datagram, DatagramKind, bind_socket
from jharnet_monitor.probes.bandwidth.udp_stream import StreamCount
from jharnet_monitor.probes.base import (
    AgentContext,
    AgentTask,
    Channel,
    ChannelClosed,
    Failed,
    NoData,
    ProbeContext,
)
from tests import busy_host
from tests.bandwidth_support import (
    OFFICE,
    Result,
    agent_connection,
    agent_server,
    measure,
    on_loopback,
    replaced_agent_tasks,
    running_agent,
    settings,
    undisturbed,
)
from tests.made_up import NOW

# -- on loopback: the whole test, and agents that misbehave --

ON_LOOPBACK = 0.1
"""How near a rate is to the pace: a packet has 64 kB there, and the first ten are not paced."""


async def measure_with(task: AgentTask) -> Result:
    """A test of a 20 Mbit/s line whose agent runs `task`."""
    with replaced_agent_tasks(bandwidth=task):
        async with on_loopback() as agent:
            return await undisturbed(settings("20 Mbit/s"), agent)


async def test_both_directions_on_loopback() -> None:
    """A line faster than the contract is measured up to the pace, and marked `at_least`."""
    config = settings("20 Mbit/s", "8 Mbit/s")
    async with on_loopback() as agent:
        result = await undisturbed(config, agent)
    assert result.error is None
    assert result.down == pytest.approx(25, rel=ON_LOOPBACK)
    assert result.up == pytest.approx(10, rel=ON_LOOPBACK)
    assert result.conditions["path"] == "jharnet"
    assert result.conditions["download_at_least"] is True
    assert result.conditions["download_uncertainty"] < 0.1
    assert 0 < result.values["idle_rtt_seconds"] < 0.1
    assert result.values["download_loaded_rtt_seconds"] > 0
    cost = BANDWIDTH.cost(_context(config))
    assert 0.1 * cost < result.values["bytes_spent"] <= cost


def _context(config: Any, granted: float = inf, **options: Any) -> ProbeContext:
    return ProbeContext(config, config.offices[0], SystemClock(), None, options, granted)


def test_the_plan_stays_within_contract_and_grant() -> None:
    """The reserved rate is that of the pace, and never exceeds what the uplink granted."""
    config = settings("4 Mbit/s", "1 Mbit/s")
    plan = Plan.of(_context(config))
    assert (plan.download.rate, plan.upload.rate) == (5e6, 1.25e6)
    assert plan.for_rtt(0.0).download.max_bytes == 4e6 * 2.5 / 8
    assert BANDWIDTH.reserve(_context(config)) == 5e6
    assert Plan.of(_context(config, granted=2e6)).download.rate == 2e6
    longer = plan.for_rtt(0.6)
    assert longer.download.seconds == pytest.approx(5.8)
    assert longer.cost <= plan.cost
    assert plan.for_rtt(10.0).download.max_bytes == plan.download.max_bytes
    assert BANDWIDTH.cost(_context(config, path="trains")) < 130_000


async def test_no_agent_is_no_data() -> None:
    """Without an agent nothing is measured; this is no evidence about the line."""
    result = await measure(settings("4 Mbit/s"), None)
    assert isinstance(result.error, NoData)
    assert result.error.cause is Cause.NO_AGENT
    assert not result.values


@pytest.mark.parametrize("factor", [0.5, 2.0])
async def test_an_agent_that_reports_wrong_counts(factor: float) -> None:
    """Its kernel acknowledged another amount: the rate is rejected, whether too high or too low."""

    async def liar(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
        await bandwidth_agent.agent_task(_FalseCounts(channel, factor), params, context)

    result = await measure_with(liar)
    assert isinstance(result.error, NoData)
    assert result.error.cause is Cause.BAD_REPORT
    assert "download_bits_per_second" not in result.values
    assert result.values["bytes_spent"] > 0


class _FalseCounts:
    """A channel that multiplies the counts of every series."""

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
def test_an_invalid_series_is_rejected(series: Any) -> None:
    """The report of an agent is validated before it is used."""
    with pytest.raises(CounterSeriesError):
        CounterSeries.from_json(series)


def test_a_series_survives_json() -> None:
    """The hub reads what the agent counted."""
    series = CounterSeries(mss=1400, header=72)
    for n in range(50):
        series.add(100 + n / 50, n * 10, n * 14000)
    parsed = CounterSeries.from_json(json.loads(json.dumps(series.to_json())))
    assert [s.ip_bytes for s in parsed.samples()] == [s.ip_bytes for s in series.samples()]
    assert parsed.samples()[-1].ip_bytes == 490 * 1472


def test_connections_whose_segments_differ_in_size() -> None:
    """On loopback two of four had segments of 32 kB, two of 48 kB: the rate was 14 % too low."""
    series = CounterSeries(mss=32768, header=52)
    for n in range(50):  # 20 ms apart
        small, large = 2 * n, n
        series.add(100 + n / 50, small + large, small * 32768 + large * 47616)
    samples = series.samples()
    share = (32768 + 52) / 32768
    assert samples[-1].ip_bytes == pytest.approx(49 * (2 * 32768 + 47616) * share)
    same = CounterSeries(mss=1448, header=52)
    for n in range(50):  # a gap hides half of the payload for a while
        same.add(100 + n / 50, 10 * n, (5 if 10 < n < 40 else 10) * n * 1448)
    assert [s.ip_bytes for s in same.samples()] == [10 * n * 1500 for n in range(50)]


async def test_an_agent_that_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a transfer gives no rate, but its bytes are charged."""

    monkeypatch.setattr(udp_hub, "bind_socket", lambda *_: None)

    async def half(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
        monkeypatch.setattr(http_agent, "MAX_SECONDS", 0.4)
        await bandwidth_agent.agent_task(channel, params, context)

    result = await measure_with(half)
    assert isinstance(result.error, NoData)
    assert result.error.cause is Cause.AGENT_LOST
    assert "download_bits_per_second" not in result.values
    assert result.values["bytes_spent"] > 100_000


@pytest.mark.parametrize("report", [{"error": "out of memory"}, None])
async def test_a_transfer_without_a_report_is_charged(
    report: Mapping[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent takes the data and reports a fault, or nothing: they were on the line anyway."""
    monkeypatch.setattr(throughput_test, "REPORT_SECONDS", 1.0)

    taken = 0

    async def broken(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
        while (message := await channel.receive())["do"] != "download":
            await channel.send(await bandwidth_agent.answer(message, _NO_UDP, context))
        nonlocal taken
        url = f"{context.hub}{message['paths'][0]}"
        async with context.http.get(url, params={"office": OFFICE}) as response:
            with contextlib.suppress(aiohttp.ClientError):
                async for chunk in response.content.iter_any():
                    taken += len(chunk)
        if report is not None:
            await channel.send(report)
        await asyncio.sleep(20)

    with replaced_agent_tasks(bandwidth=broken):
        async with on_loopback() as agent:
            result = await measure(settings("20 Mbit/s"), agent)
    assert isinstance(result.error, NoData)
    assert result.error.cause is Cause.AGENT_LOST
    assert set(result.values) == {"idle_rtt_seconds", "bytes_spent"}
    assert 100_000 < taken < result.values["bytes_spent"] < 2 * taken


async def test_an_agent_that_stops_reading() -> None:
    """It keeps its session: the line is not at fault, and there is no rate."""

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
                await channel.send(await bandwidth_agent.answer(message, _NO_UDP, context))

    result = await measure_with(stalled)
    assert isinstance(result.error, NoData)
    assert result.error.cause is Cause.AGENT_LOST
    assert "download_bits_per_second" not in result.values


async def test_a_connection_that_is_closed_already_can_be_reset() -> None:
    """Also one that was closed while it still had data to send (asyncio loses its loop then)."""
    ready, drained = asyncio.Event(), asyncio.Event()

    async def read_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ready.wait()
        await reader.read()
        writer.close()
        drained.set()

    server = await asyncio.start_server(read_late, "127.0.0.1", 0)
    async with server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        connection = TcpConnection(writer.transport)
        writer.write(bytes(1 << 24))
        writer.close()
        ready.set()
        await drained.wait()
        connection.reset()


async def test_an_agent_that_never_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub waits only for a limited time."""
    monkeypatch.setattr(http_hub, "REQUEST_SECONDS", 0.5)

    async def idle(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
        while True:
            message = await channel.receive()
            if message["do"] == "ping":
                await channel.send({"pong": message["n"]})
            elif message["do"] == "udp":
                await channel.send({"error": "no UDP here"})

    with replaced_agent_tasks(bandwidth=idle):
        async with on_loopback() as agent:
            started = time.monotonic()
            result = await measure(settings("20 Mbit/s"), agent)
            assert time.monotonic() - started < 5
    assert isinstance(result.error, NoData)
    assert result.error.cause is Cause.AGENT_LOST


@pytest.mark.parametrize("share", [0.97, 2.0])
async def test_an_agent_that_does_not_stop_sending(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub slows it down and resets its connection: no more bytes pass than the pace allows.

    Its rate bounds no line, also where it is below that `share` of the pace, as on a busy host.
    """
    monkeypatch.setattr(judge, "PACE_REACHED", share)
    ends: list[str] = []

    async def flood(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
        while True:
            message = await channel.receive()
            if message["do"] == "upload":
                ends.append(await _flood(context, message["paths"][0]))
                await channel.send({"sent": 10**15, "rtt": -1, "retransmitted": "no"})
            else:
                await channel.send(await bandwidth_agent.answer(message, _NO_UDP, context))

    result = await measure_with(flood)
    assert set(ends) == {"reset"}, result.error
    assert result.values["bytes_spent"] <= BANDWIDTH.cost(_context(settings("20 Mbit/s")))
    assert "upload_bits_per_second_high" not in result.values
    marks = result.conditions.get("upload_at_least"), result.conditions.get("upload_limited_by")
    assert marks in ((True, None), (None, "host")), result.conditions
    assert marks[0] is None or share < 1


class _NoUdp:
    def open(self, message: Mapping[str, Any]) -> dict[str, Any]:
        return {"error": "no UDP here"}

    listen = arrivals = train = expect_stream = stream_received = open


_NO_UDP: Any = _NoUdp()


async def _flood(context: AgentContext, path: str) -> str:
    """Send as fast and as long as possible; returns how it ended."""

    async def endless() -> Any:
        while True:
            yield bytes(1 << 16)

    with contextlib.suppress(aiohttp.ClientError, ConnectionError):
        async with asyncio.timeout(20):
            await context.http.post(
                f"{context.hub}{path}", params={"office": OFFICE}, data=endless()
            )
        return "answered"
    return "reset"


async def test_an_agent_that_reconnects_during_a_test() -> None:
    """The test ends at once with its session, and the new session can be tested."""
    config = settings("20 Mbit/s")
    async with (
        agent_server() as (agents, port),
        running_agent(f"ws://127.0.0.1:{port}/agent") as first,
    ):
        before = await agent_connection(agents)
        test = asyncio.create_task(measure(config, before))
        await asyncio.sleep(0.8)
        first.stop()
        async with running_agent(f"ws://127.0.0.1:{port}/agent"):
            started = time.monotonic()
            with pytest.raises(ChannelClosed):
                await test
            assert time.monotonic() - started < 4
            async with asyncio.timeout(10):
                while (after := agents.get(OFFICE)) in (None, before):
                    await asyncio.sleep(0.02)
            result = await undisturbed(config, after)
    assert result.error is None
    assert result.down == pytest.approx(25, rel=ON_LOOPBACK)


async def test_a_hub_that_does_not_keep_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A blocked event loop says nothing about the network."""
    monkeypatch.setattr(poll_lateness, "LATE_SECONDS", -1.0)
    async with on_loopback() as agent:
        result = await measure(settings("20 Mbit/s"), agent)
    assert isinstance(result.error, NoData)
    assert result.error.cause is Cause.HOST_OVERLOADED


async def test_an_inconclusive_train(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where jitter outlasts the train, only the uncertainty is recorded, not a capacity."""
    monkeypatch.setattr(bandwidth_test, "MAX_UNCERTAINTY", -1.0)
    monkeypatch.setattr(udp_hub, "UNDISPERSED", 1e9)
    async with on_loopback() as agent:
        result = await measure(settings("20 Mbit/s"), agent, path="trains")
    assert isinstance(result.error, NoData)
    assert result.error.cause is Cause.TOO_UNEVEN
    assert set(result.values) == {"idle_rtt_seconds", "bytes_spent"}
    assert "download_capacity_uncertainty" in result.conditions


async def test_trains_have_the_length_that_the_line_needs() -> None:
    """However little of the uplink the scheduler reserves for two short bursts."""
    async with on_loopback() as agent:
        config = settings("20 Mbit/s")
        result = await measure(config, agent, path="trains", granted=TRAINS_RESERVE)
    sent = {result.conditions[f"{way.transfer}_train_sent"] for way in Direction}
    assert sent == {TRAIN_PACKETS}


def test_a_compressed_train_gives_a_lower_bound() -> None:
    """32 packets within 0.1 ms may have taken 10 ms on the line: at least 37 Mbit/s."""
    arrivals = [PacketArrival(n, n * 3e-6) for n in range(32)]
    assert udp_hub.lower_bound(arrivals, 0.01) == pytest.approx(37e6, rel=0.02)
    assert udp_hub.lower_bound(arrivals, 0.0) == pytest.approx(4e9, rel=0.01)


async def test_without_udp_the_stream_gives_the_round_trips(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where UDP is blocked, the test still gives both rates and both loaded RTTs."""
    monkeypatch.setattr(udp_hub, "bind_socket", lambda *_: None)
    config = settings("20 Mbit/s")
    async with on_loopback() as agent:
        result = await undisturbed(config, agent)
        trains = await undisturbed(config, agent, path="trains")
    assert result.error is None
    assert result.down == pytest.approx(25, rel=ON_LOOPBACK)
    assert result.values["download_loaded_rtt_seconds"] > 0
    assert result.values["upload_loaded_rtt_seconds"] > 0
    assert isinstance(trains.error, Failed)
    assert trains.error.cause is Cause.UDP_BLOCKED


@pytest.mark.parametrize("length", [0.09, 0.0])
async def test_two_pauses_alike_make_a_rate_uncertain(
    length: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ends stand still twice, half a second apart: both windows are slower by the same, agree,
    and gave up to 11 % too little without a mark. A paced stream would clear the doubt."""
    monkeypatch.setattr(udp_hub, "bind_socket", lambda *_: None)
    measure_stream = http_hub.HubTransfer._measure

    async def pausing(transfer: http_hub.HubTransfer) -> None:
        for at in (0.25, 0.75) if length else ():
            asyncio.get_running_loop().call_later(at, time.sleep, length)
        await measure_stream(transfer)

    monkeypatch.setattr(http_hub.HubTransfer, "_measure", pausing)
    config = settings("20 Mbit/s")
    async with on_loopback() as agent:
        result = await (
            busy_host.answered(lambda: measure(config, agent))
            if length
            else undisturbed(config, agent)
        )
    assert result.error is None, result
    for name in ("download", "upload"):
        stalled = result.conditions.get(f"{name}_stalled_ratio", 0.0)
        assert stalled > 0.1 or not length
        assert result.values.get(f"{name}_bits_per_second_high", inf) > 25e6, result
        marked = {f"{name}_limited_by", f"{name}_at_least"} & set(result.conditions)
        assert marked, "it may reach the pace"


def test_the_pauses_of_an_end_are_longer_than_those_of_a_timer() -> None:
    """Readings 4 ms apart: 3 ms late is a timer, 10 and 60 ms are pauses; the last is late."""
    counted, now = PollLateness(7.0, 0.004), 7.0
    assert (counted.late, counted.paused) == (0.0, 0.0)
    for lag in (0.003, 0.01, 0.06, 0.003):
        counted.add(now := now + 0.004 + lag)
    assert counted.late == pytest.approx(0.01 / (now - 7.0))
    assert counted.paused == pytest.approx(0.07 / (now - 7.0))


async def test_short_pauses_call_for_a_paced_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 pauses a second of 10 ms, as a hypervisor makes them, at both ends: nothing was late for
    50 ms, and a TCP stream that got 9 % less than the line carries had no mark."""
    monkeypatch.setattr(judge, "PACE_REACHED", 2.0)  # else the pace is reason enough
    measure_stream, share = http_hub.HubTransfer._measure, throughput_test._stalled_share
    ends = []

    async def pausing(transfer: http_hub.HubTransfer) -> None:
        for number in range(60):
            asyncio.get_running_loop().call_later(0.05 * number, time.sleep, 0.01)
        await measure_stream(transfer)

    def noting(result: http_hub.TransferResult, report: Any, seconds: float) -> float:
        ends.append((result.paused, report["paused"]))
        return share(result, report, seconds)

    monkeypatch.setattr(http_hub.HubTransfer, "_measure", pausing)
    monkeypatch.setattr(throughput_test, "_stalled_share", noting)
    async with on_loopback() as agent:
        result = await busy_host.answered(lambda: measure(settings("20 Mbit/s"), agent))
    assert result.error is None, result
    for name in ("download", "upload"):
        assert result.conditions[f"{name}_stalled_ratio"] > 0.2
        assert f"{name}_tcp_bits_per_second" in result.conditions, "a paced stream followed"
    assert all(0.1 < paused < 1 for both in ends for paused in both), ends


@pytest.mark.parametrize(
    ("hub", "report", "share"),
    [
        (0.0, {"late": 0.0, "paused": 0.009}, 0.0),
        (0.03, {"late": 0.0, "paused": 0.2}, 0.23),
        (0.3, {"late": 0.1, "paused": 0.3}, 0.5),
        (0.02, {"late": 0.0}, 0.02),
        (0.02, {"late": 0.03}, 0.02 + 0.03 + 0.05),
        (0.02, {"late": "0.03", "paused": None}, 0.02),
        (0.02, {"paused": float("nan")}, 0.02),
        (0.02, {"paused": 10**400, "late": True}, 0.02),
    ],
)
def test_the_share_of_the_time_by_which_a_stream_was_slower(
    hub: float, report: dict[str, Any], share: float
) -> None:
    """Of both ends together, at most a half, and none below 1 %; an agent of version 0.1.0 says
    only how late it was."""
    result = http_hub.TransferResult(paused=hub)
    assert throughput_test._stalled_share(result, report, 1.0) == pytest.approx(share)


def test_a_late_pong_shows_no_round_trip() -> None:
    """The agent's computer was late for longer than is believed; that the line works is shown."""
    clock, delays = ManualClock(NOW), {1: 0, 2: 19_000, 3: 150_000, 4: 150_000}

    class Socket:
        """Answers each ping at once, in a network of 30 ms."""

        def send(self, kind: DatagramKind, number: int) -> None:
            """Send a ping, whose pong arrives."""
            received = clock.monotonic() + 0.03 + delays[number] / 1e6
            udp._take(Datagram(DatagramKind.PONG, number, delays[number], received))

    udp = udp_hub.UdpChannel(Socket(), None, clock)  # type: ignore[arg-type]
    assert asyncio.run(udp.measure_rtts(3, 0)) == pytest.approx([0.03, 0.03])
    assert asyncio.run(udp.is_answered(1, 0))


@pytest.mark.parametrize("room", [pytest.param(True, marks=pytest.mark.root), False])
def test_what_a_busy_receiver_cannot_read_has_arrived(
    room: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver stands still while 500 full-size datagrams arrive. The kernel keeps them where we
    may enlarge the buffer; else it says how many it dropped, which the line had carried.
    """
    if not room:
        monkeypatch.setattr(udp_socket, "_RECEIVE_BUFFER", 100_000)
    key, count = b"k" * 16, StreamCount()
    receiver = bind_socket("127.0.0.1", (20_000, 60_000), key)
    assert receiver is not None
    sender = udp_socket.connect_socket("127.0.0.1", receiver.port, key)
    with contextlib.closing(receiver), contextlib.closing(sender):
        for datagrams in (range(1), range(1, 501), range(501, 502)):
            for number in datagrams:
                sender.send(DatagramKind.STREAM, number, 0, udp_socket.FULL_IP_BYTES)
            if datagrams.start == 1:
                continue  # the receiver is busy
            read = 0
            for datagram in receiver.receive():
                count.add(datagram)
                read += 1
        assert (read == 501) is room  # else the last was dropped as well
        sender.send(DatagramKind.STREAM, 502, 0, udp_socket.FULL_IP_BYTES)
        for datagram in receiver.receive():
            count.add(datagram)
    assert (count.received, count.highest) == (503, 502)


def test_datagrams_of_others_are_not_counted() -> None:
    """However many the kernel dropped, no more arrived than were sent until then."""
    count = StreamCount()
    for number, dropped in ((0, 7), (1, 7), (4, 8), (5, 500), (6, 500)):
        count.add(Datagram(DatagramKind.STREAM, number, 0, float(number), dropped))
    assert [row.received for row in count.rows] == [1, 2, 4, 6, 7]

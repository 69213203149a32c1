"""The continuous latency measurement: its schedule, its summaries, and its decisions about outages.

Tests of timing run on a simulated clock; tests of packets use loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from jharnet_monitor.clock import ManualClock, SystemClock
from jharnet_monitor.config import Config
from jharnet_monitor.model import Cause
from jharnet_monitor.probes import Failed, NoData, Reading
from jharnet_monitor.probes.dns import SocketAddress
from jharnet_monitor.probes.latency.icmp import Family
from jharnet_monitor.probes.latency.monitor import LatencyMonitor
from jharnet_monitor.probes.latency.pinger import Echo, EchoListener
from jharnet_monitor.probes.latency.target import Reachability, Watch
from jharnet_monitor.probes.latency.window import LatencySummary
from tests.latency_support import pings, settings_for

START = datetime(2026, 11, 23, 4, 30, tzinfo=UTC)
RTT = 0.04
Lost = Callable[[str, float], bool]
"""Whether a packet to an address, sent so many seconds after the start, is lost."""


Step = float | Callable[[], object]


class StoppableClock(ManualClock):
    """A manual clock of a process that can be stopped."""

    def stop_the_process(self, seconds: float) -> None:
        """Let time pass in which nothing of this process runs."""
        self._pass(seconds)

    def _pass(self, seconds: float) -> None:
        super()._pass(max(0.0, seconds))  # overdue tasks wake up now


class SimulatedNetwork:
    """A network on a manual clock: every packet has a round-trip time of 40 ms, or is lost."""

    def __init__(self, clock: ManualClock, lost: Lost, timeout: float = 2.0) -> None:
        self.clock, self.lost, self.timeout = clock, lost, timeout
        self.sent: list[tuple[float, str]] = []
        self.broken: OSError | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, family: Family) -> None:
        """Nothing to open."""

    def send(self, listener: EchoListener, address: SocketAddress, tag: Any = None) -> None:
        """Accept a packet, and settle it later."""
        if self.broken is not None:
            raise self.broken
        echo = Echo(listener, address[0], tag)
        echo.sent_ns = round(self.clock.monotonic() * 1e9)
        now = self.clock.monotonic()
        if isinstance(listener, Watch):  # not an additional check
            self.sent.append((now, address[0]))
        task = asyncio.create_task(self._carry(echo, self.lost(address[0], now)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, echo: Echo, lost: bool) -> None:
        await self.clock.sleep(self.timeout if lost else RTT)
        echo.waiting, echo.received, echo.rtt = False, not lost, None if lost else RTT
        echo.listener.settled(echo)

    def poll(self) -> None:
        """Nothing to read."""

    async def settle(self) -> None:
        """Let time pass until the last packet is settled."""
        while self._tasks:
            await self.clock.advance(0.5)

    def close(self) -> None:
        """Nothing to close."""


class MonitorRun:
    """A monitor on a simulated network, and what it reported."""

    def __init__(self, config: Config, lost: Lost = lambda address, at: False) -> None:
        self.clock = StoppableClock(START)
        self.network = SimulatedNetwork(self.clock, lost)
        self.summaries: list[LatencySummary] = []
        self.changes: list[Reachability] = []
        self.echoes: list[tuple[str, bool, float | None]] = []
        self.monitor = LatencyMonitor(
            config,
            self.clock,
            on_summary=self.summaries.append,
            on_reachability=self.changes.append,
            on_echo=lambda *echo: self.echoes.append(echo),
            sender=self.network,
        )

    async def advance(self, *steps: Step) -> None:
        """Run the monitor for some seconds per step; a step that is a function is called."""
        task = asyncio.create_task(self.monitor.run())
        for _ in range(5):
            await asyncio.sleep(0)  # until its first sleep
        for step in steps:
            if callable(step):
                step()
            else:
                await self.clock.advance(step)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await self.monitor.flush()

    def reported(self) -> list[tuple[str, bool | None]]:
        """Which target changed to what, in order."""
        return [(change.target.role, change.answers) for change in self.changes]

    def seconds(self, moment: datetime) -> float:
        """Seconds since the start."""
        return (moment - START).total_seconds()


def silent_from(cut: float) -> Lost:
    """Everything is lost from then on."""
    return lambda address, at: at >= cut


def counts(summaries: Iterable[LatencySummary]) -> tuple[int, int]:
    """Sums of sent and received."""
    values = [summary.result.values for summary in summaries]
    return (
        sum(int(value.get("sent", 0)) for value in values),
        sum(int(value.get("received", 0)) for value in values),
    )


async def test_every_packet_is_in_exactly_one_summary() -> None:
    """With losses at the edges of windows, the sums are those of all packets sent."""
    random = Random(7)
    lost = {n for n in range(400) if random.random() < 0.3}
    run = MonitorRun(
        settings_for({"router": "10.8.1.1"}, every="10s", packets=10),
        lambda address, at: round(at) in lost and at == round(at),
    )
    await run.advance(185.3)
    assert [at for at, _ in run.network.sent] == [float(n) for n in range(186)]
    assert counts(run.summaries) == (186, 186 - len(lost & set(range(186))))
    assert len(run.summaries) == 19
    assert len(run.echoes) == 186
    assert sum(answered for _, answered, _ in run.echoes) == 186 - len(lost & set(range(186)))
    assert {summary.result.values["sent"] for summary in run.summaries[:-1]} == {10.0}
    gaps = {summary.started_at - START - timedelta(seconds=10 * n)
            for n, summary in enumerate(run.summaries)}  # fmt: skip
    assert gaps == {timedelta(0)}


async def test_requests_are_spread_evenly() -> None:
    """Thirty addresses at one packet a second: one every 33 ms, never a burst."""
    offices = [{"router": f"10.8.{n}.1"} for n in range(30)]
    run = MonitorRun(settings_for(*offices))
    await run.advance(10.0)
    moments = [at for at, _ in run.network.sent]
    gaps = [b - a for a, b in pairwise(moments)]
    assert max(gaps) == pytest.approx(1 / 30) and min(gaps) == pytest.approx(1 / 30)


@pytest.mark.parametrize("phase", [0.0, 0.4, 0.9])
async def test_an_outage_is_detected_within_ten_seconds(phase: float) -> None:
    """Down within 10 s of the cut and up within 10 s of the return, both with the right time."""
    cut, back = 20.0 + phase, 50.0 + phase
    run = MonitorRun(settings_for({"router": "10.8.1.1"}), lambda address, at: cut <= at < back)
    await run.advance(70.0)
    assert run.reported() == [("router", True), ("router", False), ("router", True)]
    _, down, up = run.changes
    assert 4.0 < run.seconds(down.decided_at) - cut < 10.0
    assert abs(run.seconds(down.since) - cut) <= 1.1
    assert run.seconds(up.decided_at) - back < 10.0
    assert abs(run.seconds(up.since) - back) <= 1.1


@pytest.mark.parametrize("seconds", [1.0, 2.0, 3.0])
async def test_a_short_blackout_is_no_outage(seconds: float) -> None:
    """A line that fails for some seconds loses packets, but is not reported as down."""
    run = MonitorRun(
        settings_for({"router": "10.8.1.1"}), lambda address, at: at % 20 >= 20 - seconds
    )
    await run.advance(120.0)
    assert run.reported() == [("router", True)]
    sent, received = counts(run.summaries)
    assert sent - received == 6 * seconds


async def test_random_loss_is_no_outage() -> None:
    """At 30 % loss, additional requests rule an outage out; they are part of no figure."""
    random = Random(11)
    run = MonitorRun(
        settings_for({"router": "10.8.1.1"}), lambda address, at: random.random() < 0.3
    )
    await run.advance(1800.0)
    assert run.reported() == [("router", True)]
    assert counts(run.summaries)[0] == 1801 or counts(run.summaries)[0] == 1800
    assert sum(summary.result.conditions.get("checks", 0) for summary in run.summaries) > 100


async def test_setting_the_clock_stalls_no_schedule() -> None:
    """Set back an hour, forward an hour, forward ten years: the packets keep their times."""
    run = MonitorRun(settings_for({"router": "10.8.1.1"}))
    clock = run.clock
    await run.advance(
        30.0, lambda: clock.step(-3600), 60.0, lambda: clock.step(3600), 60.0,
        lambda: clock.step(10 * 365 * 86400), 30.0,
    )  # fmt: skip
    moments = [at for at, _ in run.network.sent]
    assert moments == [float(n) for n in range(181)]
    assert counts(run.summaries) == (181, 181)
    assert all(summary.duration <= 60.0 for summary in run.summaries)
    assert run.reported() == [("router", True)]


async def test_a_stopped_process_sends_no_burst() -> None:
    """Stopped for 40 s, it resumes its schedule and reports that it measured less."""
    run = MonitorRun(settings_for({"router": "10.8.1.1"}))
    await run.advance(10.5, lambda: run.clock.stop_the_process(40.0), 80.0)
    moments = [at for at, _ in run.network.sent]
    assert sum(1 for at in moments if 50 < at < 52) <= 3
    first = run.summaries[0].result
    assert isinstance(first, NoData) and first.cause is Cause.HOST_OVERLOADED
    assert isinstance(run.summaries[1].result, Reading)


@pytest.mark.parametrize("back", [False, True])
async def test_what_was_known_before_a_stop_is_unknown_after_it(back: bool) -> None:
    """Stopped for 40 s, the hub said `up` of offices of which nobody had seen anything: from the
    last reply to the next request it is unknown, and a reply that waited meanwhile is none."""
    run = MonitorRun(settings_for({"router": "10.8.1.1"}), lambda _, at: at > 30 and not back)
    await run.advance(10.02, lambda: run.clock.stop_the_process(40.0), 30.0)
    assert run.reported() == [("router", True), ("router", None), ("router", back)]
    assert run.seconds(run.changes[1].since) == pytest.approx(10.04, abs=0.01)
    assert run.seconds(run.changes[2].decided_at) > 50.0
    since = 50.06 if back else 50.02
    assert run.seconds(run.changes[2].since) == pytest.approx(since, abs=0.03)


async def test_an_outage_around_a_stop_keeps_its_beginning() -> None:
    """The hub is stopped for 40 s within an outage: the outage lasted until then, for all it knows.
    The unknown state was dated at the last reply before the outage, so that nothing was left of it.
    """
    run = MonitorRun(settings_for({"router": "10.8.1.1"}), lambda _, at: 10 < at < 100)
    await run.advance(40.5, lambda: run.clock.stop_the_process(40.0), 50.0)
    assert run.reported() == [("router", answers) for answers in (True, False, None, False, True)]
    since = [run.seconds(change.since) for change in run.changes[1:]]
    assert since == pytest.approx([10.04, 80.5, 80.5, 100.04], abs=0.6)


async def test_no_silence_is_from_before_the_first_request() -> None:
    """A hub that starts within an outage opens its database first, and records its start then: an
    outage dated before that counted as known before the start, and had no cause. The same while no
    request can be sent."""
    run = MonitorRun(settings_for({"router": "10.8.1.1"}), lambda _, at: True)
    run.network.broken = OSError(101, "Network is unreachable")
    await run.clock.advance(20.0)
    await run.advance(10.5, lambda: setattr(run.network, "broken", None), 30.0)
    assert run.reported() == [("router", False)]
    assert run.seconds(run.changes[0].since) == 31.0


async def test_a_short_stop_changes_nothing() -> None:
    """Within the time in which an outage is noticed, what was known holds."""
    run = MonitorRun(settings_for({"router": "10.8.1.1"}))
    await run.advance(10.5, lambda: run.clock.stop_the_process(5.0), 20.0)
    assert run.reported() == [("router", True)]


async def test_what_cannot_be_sent_is_neither_lost_nor_down() -> None:
    """The hub's cable is unplugged: offices are unknown, results `not_sent`, the uplink down."""
    config = settings_for({"router": "10.8.1.1", "pc": "10.8.1.10"}, gateway="10.8.0.1")
    run = MonitorRun(config)
    uplink: list[bool | None] = []

    def cut() -> None:
        run.network.broken = OSError(101, "Network is unreachable")

    def look() -> None:
        uplink.append(run.monitor.uplink_is_up())

    await run.advance(60.0, look, cut, 120.0, look)
    assert uplink == [True, False]
    assert sorted(run.reported()[3:], key=str) == [
        ("gateway", False), ("pc", None), ("router", None)
    ]  # fmt: skip
    outcome = run.summaries[-1].result
    assert isinstance(outcome, NoData) and outcome.cause is Cause.NOT_SENT
    assert not outcome.values


async def test_the_uplink_is_blamed_before_the_offices() -> None:
    """When nothing answers any more, the gateway is reported down first."""
    offices = [{"router": f"10.8.{n}.1"} for n in range(1, 12)]
    for cut in (30.0, 30.3, 30.7):
        run = MonitorRun(settings_for(*offices, gateway="10.8.0.1"), silent_from(cut))
        uplink: list[bool | None] = []
        look = partial(lambda it, seen: seen.append(it.monitor.uplink_is_up()), run, uplink)
        steps: list[Step] = [0.1, look]
        await run.advance(30.0, *steps * 100)
        downs = [change for change in run.changes if change.answers is False]
        assert downs[0].target.role == "gateway" and len(downs) == 12
        blamed = uplink.index(False)
        assert blamed / 10 < run.seconds(downs[1].decided_at) - 30.0
        assert set(uplink[blamed:]) == {False}


async def test_a_gateway_that_never_answers_proves_nothing() -> None:
    """Offices answer, the gateway never does: the uplink works."""
    config = settings_for({"router": "10.8.1.1"}, gateway="10.8.0.1")
    run = MonitorRun(config, lambda address, at: address == "10.8.0.1")
    seen: list[bool | None] = []
    await run.advance(30.0, lambda: seen.append(run.monitor.uplink_is_up()))
    assert seen == [True]


async def test_an_office_that_never_answered_is_down() -> None:
    """It is reported down, and its summary has counts but no round-trip time."""
    run = MonitorRun(settings_for({"router": "10.8.1.1"}), lambda address, at: True)
    await run.advance(61.0)
    assert run.reported() == [("router", False)]
    outcome = run.summaries[0].result
    assert isinstance(outcome, Failed) and outcome.cause is Cause.NO_REPLY
    assert outcome.values == {"sent": 60, "received": 0, "loss_ratio": 1}


async def test_latency_is_measured_to_the_router_where_there_is_one() -> None:
    """A PC that is switched off does not count as loss on the line."""
    config = settings_for({"router": "10.8.1.1", "pc": "10.8.1.10"}, {"pc": "10.8.2.10"})
    run = MonitorRun(config, lambda address, at: address == "10.8.1.10")
    await run.advance(60.0)
    targets = {summary.office: summary.result.conditions["address"] for summary in run.summaries}
    assert targets == {"o0": "10.8.1.1", "o1": "10.8.2.10"}
    assert counts(run.summaries)[0] == counts(run.summaries)[1]


# --- on loopback --------------------------------------------------------------------------------


async def run_for(
    seconds: float, config: Config
) -> tuple[list[LatencySummary], list[Reachability]]:
    """Run the monitor on the real network for some seconds."""
    summaries: list[LatencySummary] = []
    changes: list[Reachability] = []
    monitor = LatencyMonitor(
        config, SystemClock(), on_summary=summaries.append, on_reachability=changes.append
    )
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(monitor.run(), seconds)
    await monitor.flush()
    return summaries, changes


@pings
async def test_offices_on_loopback_are_measured() -> None:
    """Real sockets: every office gets its summaries, and every request is answered."""
    offices = [{"router": f"127.0.0.{n}", "pc": f"127.0.1.{n}"} for n in range(1, 12)]
    summaries, changes = await run_for(2.2, settings_for(*offices, every="1s", packets=5))
    summaries = [one for one in summaries if isinstance(one.result, Reading)]  # no pause
    sent, received = counts(summaries)
    assert sent == received and sent >= 11 * 2
    assert {summary.office for summary in summaries} == {f"o{n}" for n in range(11)}
    assert received / 2 < sum(len(summary.rtts) for summary in summaries) <= received
    assert len(changes) == 22 and all(change.answers for change in changes)


@pings
async def test_a_name_that_is_not_resolved_affects_no_other_office() -> None:
    """Its office is `name_not_resolved`; another office, also given by a name, is measured."""
    config = settings_for(
        {"router": "no-such-router.invalid"}, {"router": "localhost"}, every="1s", packets=5
    )
    summaries, _ = await run_for(2.5, config)
    outcomes = {summary.office: summary.result for summary in summaries}
    missing = outcomes["o0"]
    assert isinstance(missing, NoData) and missing.cause is Cause.NAME_NOT_RESOLVED
    assert isinstance(outcomes["o1"], Reading)

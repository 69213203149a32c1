"""The always-on latency measurement: its rhythm, its folds, and when it calls a host silent.

Time is simulated where a test is about time; the network is loopback where it is about packets.
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
"""Whether a packet to an address is lost that is sent so many seconds after the start."""


Step = float | Callable[[], object]


class StoppableClock(ManualClock):
    """A manual clock of a process that can be stopped."""

    def stop_the_process(self, seconds: float) -> None:
        """Time passes in which nothing of this process ran."""
        self._pass(seconds)

    def _pass(self, seconds: float) -> None:
        super()._pass(max(0.0, seconds))  # who should have woken in that time wakes after it


class Line:
    """A network on a manual clock: every packet takes 40 ms there and back, or is lost."""

    def __init__(self, clock: ManualClock, lost: Lost, timeout: float = 2.0) -> None:
        self.clock, self.lost, self.timeout = clock, lost, timeout
        self.sent: list[tuple[float, str]] = []
        self.broken: OSError | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, family: Family) -> None:
        """Nothing to open."""

    def send(self, listener: EchoListener, address: SocketAddress, mark: Any = None) -> None:
        """Take a packet, and settle it when its time has come."""
        if self.broken is not None:
            raise self.broken
        echo = Echo(listener, address[0], mark)
        echo.sent_ns = round(self.clock.monotonic() * 1e9)
        now = self.clock.monotonic()
        if isinstance(listener, Watch):  # else it is a check beside the schedule
            self.sent.append((now, address[0]))
        task = asyncio.create_task(self._carry(echo, self.lost(address[0], now)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, echo: Echo, lost: bool) -> None:
        await self.clock.sleep(self.timeout if lost else RTT)
        echo.waiting, echo.received, echo.rtt = False, not lost, None if lost else RTT
        echo.listener.settled(echo)

    def beat(self) -> None:
        """Everything is settled in its time without it."""

    async def settle(self) -> None:
        """Let time pass until the last packet is settled."""
        while self._tasks:
            await self.clock.advance(0.5)

    def close(self) -> None:
        """Nothing to close."""


class Listened:
    """A monitor on a simulated line, and what it told."""

    def __init__(self, config: Config, lost: Lost = lambda address, at: False) -> None:
        self.clock = StoppableClock(START)
        self.line = Line(self.clock, lost)
        self.folds: list[LatencySummary] = []
        self.changes: list[Reachability] = []
        self.monitor = LatencyMonitor(
            config,
            self.clock,
            on_fold=self.folds.append,
            on_reachability=self.changes.append,
            pinger=self.line,
        )

    async def live(self, *steps: Step) -> None:
        """Run the monitor through stretches of time, with something done between them."""
        task = asyncio.create_task(self.monitor.run())
        for _ in range(5):
            await asyncio.sleep(0)  # let it come to its first sleep
        for step in steps:
            if callable(step):
                step()
            else:
                await self.clock.advance(step)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await self.monitor.flush()

    def told(self) -> list[tuple[str, bool | None]]:
        """Which target changed to what, in order."""
        return [(change.target.role, change.answers) for change in self.changes]

    def seconds(self, moment: datetime) -> float:
        """Seconds since the start."""
        return (moment - START).total_seconds()


def silent_from(cut: float) -> Lost:
    """Everything is lost from a moment on."""
    return lambda address, at: at >= cut


def counts(folds: Iterable[LatencySummary]) -> tuple[int, int]:
    """Sums of sent and received."""
    values = [fold.outcome.values for fold in folds]
    return (
        sum(int(value.get("sent", 0)) for value in values),
        sum(int(value.get("received", 0)) for value in values),
    )


async def test_every_packet_is_in_exactly_one_fold() -> None:
    """Over folds with losses at their edges, the sums are those of everything sent."""
    random = Random(7)
    lost = {n for n in range(400) if random.random() < 0.3}
    listened = Listened(
        settings_for({"router": "10.8.1.1"}, every="10s", packets=10),
        lambda address, at: round(at) in lost and at == round(at),
    )
    await listened.live(185.3)
    assert [at for at, _ in listened.line.sent] == [float(n) for n in range(186)]
    assert counts(listened.folds) == (186, 186 - len(lost & set(range(186))))
    assert len(listened.folds) == 19
    assert {fold.outcome.values["sent"] for fold in listened.folds[:-1]} == {10.0}
    gaps = {fold.started_at - START - timedelta(seconds=10 * n)
            for n, fold in enumerate(listened.folds)}  # fmt: skip
    assert gaps == {timedelta(0)}


async def test_requests_are_spread_evenly() -> None:
    """Thirty addresses at one packet a second: one every 33 ms, never a burst."""
    offices = [{"router": f"10.8.{n}.1"} for n in range(30)]
    listened = Listened(settings_for(*offices))
    await listened.live(10.0)
    moments = [at for at, _ in listened.line.sent]
    gaps = [b - a for a, b in pairwise(moments)]
    assert max(gaps) == pytest.approx(1 / 30) and min(gaps) == pytest.approx(1 / 30)


@pytest.mark.parametrize("phase", [0.0, 0.4, 0.9])
async def test_a_cut_is_decided_within_ten_seconds(phase: float) -> None:
    """Down within 10 s of the cut and up within 10 s of the return, both dated truly."""
    cut, back = 20.0 + phase, 50.0 + phase
    listened = Listened(settings_for({"router": "10.8.1.1"}), lambda address, at: cut <= at < back)
    await listened.live(70.0)
    assert listened.told() == [("router", True), ("router", False), ("router", True)]
    _, down, up = listened.changes
    assert 4.0 < listened.seconds(down.decided_at) - cut < 10.0
    assert abs(listened.seconds(down.since) - cut) <= 1.1
    assert listened.seconds(up.decided_at) - back < 10.0
    assert abs(listened.seconds(up.since) - back) <= 1.1


@pytest.mark.parametrize("seconds", [1.0, 2.0, 3.0])
async def test_a_short_blackout_is_no_outage(seconds: float) -> None:
    """A line that is gone for some seconds loses packets; nobody is told that it is down."""
    listened = Listened(
        settings_for({"router": "10.8.1.1"}), lambda address, at: at % 20 >= 20 - seconds
    )
    await listened.live(120.0)
    assert listened.told() == [("router", True)]
    sent, received = counts(listened.folds)
    assert sent - received == 6 * seconds


async def test_chance_loss_is_no_outage() -> None:
    """At 30 % loss, checks beside the schedule tell bad luck from silence; no figure has them."""
    random = Random(11)
    listened = Listened(
        settings_for({"router": "10.8.1.1"}), lambda address, at: random.random() < 0.3
    )
    await listened.live(1800.0)
    assert listened.told() == [("router", True)]
    assert counts(listened.folds)[0] == 1801 or counts(listened.folds)[0] == 1800
    assert sum(fold.outcome.conditions.get("checks", 0) for fold in listened.folds) > 100


async def test_setting_the_clock_stalls_no_schedule() -> None:
    """An hour back, an hour on and ten years on: the same packets at the same rhythm."""
    listened = Listened(settings_for({"router": "10.8.1.1"}))
    clock = listened.clock
    await listened.live(
        30.0, lambda: clock.step(-3600), 60.0, lambda: clock.step(3600), 60.0,
        lambda: clock.step(10 * 365 * 86400), 30.0,
    )  # fmt: skip
    moments = [at for at, _ in listened.line.sent]
    assert moments == [float(n) for n in range(181)]
    assert counts(listened.folds) == (181, 181)
    assert all(fold.duration <= 60.0 for fold in listened.folds)
    assert listened.told() == [("router", True)]


async def test_a_stopped_process_catches_nothing_up() -> None:
    """Stopped for 40 s, it goes on in its rhythm, and says that it measured less."""
    listened = Listened(settings_for({"router": "10.8.1.1"}))
    await listened.live(10.5, lambda: listened.clock.stop_the_process(40.0), 80.0)
    moments = [at for at, _ in listened.line.sent]
    assert sum(1 for at in moments if 50 < at < 52) <= 3
    first = listened.folds[0].outcome
    assert isinstance(first, NoData) and first.cause is Cause.HOST_OVERLOADED
    assert isinstance(listened.folds[1].outcome, Reading)
    assert listened.told() == [("router", True)]


async def test_what_cannot_leave_is_neither_lost_nor_down() -> None:
    """The hub's own cable is out: offices become unknown, folds `not_sent`, the uplink down."""
    config = settings_for({"router": "10.8.1.1", "pc": "10.8.1.10"}, gateway="10.8.0.1")
    listened = Listened(config)
    uplink: list[bool | None] = []

    def cut() -> None:
        listened.line.broken = OSError(101, "Network is unreachable")

    def look() -> None:
        uplink.append(listened.monitor.uplink())

    await listened.live(60.0, look, cut, 120.0, look)
    assert uplink == [True, False]
    assert sorted(listened.told()[3:], key=str) == [
        ("gateway", False), ("pc", None), ("router", None)
    ]  # fmt: skip
    outcome = listened.folds[-1].outcome
    assert isinstance(outcome, NoData) and outcome.cause is Cause.NOT_SENT
    assert not outcome.values


async def test_the_uplink_is_blamed_before_the_offices() -> None:
    """When everything falls silent at once, the gateway is known to be down first."""
    offices = [{"router": f"10.8.{n}.1"} for n in range(1, 12)]
    for cut in (30.0, 30.3, 30.7):
        listened = Listened(settings_for(*offices, gateway="10.8.0.1"), silent_from(cut))
        uplink: list[bool | None] = []
        look = partial(lambda it, seen: seen.append(it.monitor.uplink()), listened, uplink)
        steps: list[Step] = [0.1, look]
        await listened.live(30.0, *steps * 100)
        downs = [change for change in listened.changes if change.answers is False]
        assert downs[0].target.role == "gateway" and len(downs) == 12
        blamed = uplink.index(False)
        assert blamed / 10 < listened.seconds(downs[1].decided_at) - 30.0
        assert set(uplink[blamed:]) == {False}


async def test_a_gateway_that_ignores_us_proves_nothing() -> None:
    """Offices answer, the gateway never does: the uplink works."""
    config = settings_for({"router": "10.8.1.1"}, gateway="10.8.0.1")
    listened = Listened(config, lambda address, at: address == "10.8.0.1")
    seen: list[bool | None] = []
    await listened.live(30.0, lambda: seen.append(listened.monitor.uplink()))
    assert seen == [True]


async def test_silence_from_the_start_is_told() -> None:
    """An office that never answered is down, and its fold has counts but no round-trip time."""
    listened = Listened(settings_for({"router": "10.8.1.1"}), lambda address, at: True)
    await listened.live(61.0)
    assert listened.told() == [("router", False)]
    outcome = listened.folds[0].outcome
    assert isinstance(outcome, Failed) and outcome.cause is Cause.NO_REPLY
    assert outcome.values == {"sent": 60, "received": 0, "loss_ratio": 1}


async def test_figures_come_from_the_router_where_there_is_one() -> None:
    """A PC that is switched off spoils no loss figure of the line."""
    config = settings_for({"router": "10.8.1.1", "pc": "10.8.1.10"}, {"pc": "10.8.2.10"})
    listened = Listened(config, lambda address, at: address == "10.8.1.10")
    await listened.live(60.0)
    targets = {fold.office: fold.outcome.conditions["address"] for fold in listened.folds}
    assert targets == {"o0": "10.8.1.1", "o1": "10.8.2.10"}
    assert counts(listened.folds)[0] == counts(listened.folds)[1]


# --- on loopback --------------------------------------------------------------------------------


async def run_for(
    seconds: float, config: Config
) -> tuple[list[LatencySummary], list[Reachability]]:
    """The monitor on the real network for some seconds."""
    folds: list[LatencySummary] = []
    changes: list[Reachability] = []
    monitor = LatencyMonitor(
        config, SystemClock(), on_fold=folds.append, on_reachability=changes.append
    )
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(monitor.run(), seconds)
    await monitor.flush()
    return folds, changes


@pings
async def test_offices_on_loopback_are_measured() -> None:
    """Real sockets: every office gets its folds, with everything that was sent answered."""
    offices = [{"router": f"127.0.0.{n}", "pc": f"127.0.1.{n}"} for n in range(1, 12)]
    folds, changes = await run_for(2.2, settings_for(*offices, every="1s", packets=5))
    sent, received = counts(folds)
    assert sent == received and sent >= 11 * 5
    assert {fold.office for fold in folds} == {f"o{n}" for n in range(11)}
    assert received / 2 < sum(len(fold.rtts) for fold in folds) <= received
    assert len(changes) == 22 and all(change.answers for change in changes)


@pings
async def test_one_name_that_is_not_there_hurts_no_other() -> None:
    """Its office has `name_not_resolved`; the one beside it, a name too, is measured."""
    config = settings_for(
        {"router": "no-such-router.invalid"}, {"router": "localhost"}, every="1s", packets=5
    )
    folds, _ = await run_for(2.5, config)
    outcomes = {fold.office: fold.outcome for fold in folds}
    missing = outcomes["o0"]
    assert isinstance(missing, NoData) and missing.cause is Cause.NAME_NOT_RESOLVED
    assert isinstance(outcomes["o1"], Reading)

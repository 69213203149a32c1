"""Live states, derived from evidence as it arrives."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.hub.office_monitor import OfficeMonitor
from jharnet_monitor.hub.recorder import Recorder
from jharnet_monitor.hub.runner import Runner
from jharnet_monitor.hub.state_tracker import StateTracker
from jharnet_monitor.hub.store_writer import StoreWriter
from jharnet_monitor.live import Live
from jharnet_monitor.metrics import MetricsRegistry
from jharnet_monitor.model import OfficeState
from jharnet_monitor.probes.latency.icmp import PingNotAllowed
from jharnet_monitor.probes.latency.monitor import LatencyMonitor
from jharnet_monitor.probes.latency.target import Reachability, Target
from jharnet_monitor.store import Store
from jharnet_monitor.supervisor import Supervisor
from jharnet_monitor.wire.intake import Vitals
from tests.support import make_config
from tests.test_supervisor import Bench as HubBench


class Bench:
    """One office and its evidence."""

    def __init__(self) -> None:
        self.clock = ManualClock(datetime(2026, 11, 25, tzinfo=UTC))
        self.current = CurrentConfig(make_config(("potka",)))
        self.states = StateTracker(self.current, self.clock, uplink_answers=True)
        self.seen = self.states.offices["potka"]

    def state(self, seconds: float = 0.0) -> str:
        """The state after some seconds."""
        self.clock._pass(seconds)
        list(self.states.changes())
        return self.states._states["potka"].value

    def router(self, answers: bool) -> None:
        """The router began or ceased to answer."""
        self.seen.router, self.seen.router_since = answers, self.clock.monotonic()


def test_an_outage_and_its_end() -> None:
    """While nothing answers the office is unreachable, and also while only the router is back."""
    bench = Bench()
    bench.router(True)
    bench.seen.pc = True
    assert bench.state(10) == "up"
    bench.router(False)
    bench.seen.pc = False
    assert bench.state(1) == "unreachable"
    bench.router(True)
    assert bench.state(1) == "unreachable"
    bench.seen.pc = True
    assert bench.state(1) == "up"


def test_a_lan_fault_is_reported_at_once_while_the_router_answers() -> None:
    """If only the PC stops answering the state is `lan_down`; after a router's return, later."""
    bench = Bench()
    bench.router(True)
    bench.seen.pc = True
    assert bench.state(60) == "up"
    bench.seen.pc = False
    assert bench.state(1) == "lan_down"
    bench.router(False)
    assert bench.state(1) == "unreachable"
    bench.router(True)
    assert bench.state(9) == "lan_down"


def test_a_connected_agent_without_heartbeats_is_not_evidence() -> None:
    """A connection whose last message is six seconds old does not prove the line."""
    bench = Bench()
    bench.seen.seen_before = True
    bench.seen.last_frame_at = bench.clock.monotonic()
    bench.router(False)
    bench.seen.pc = False
    assert bench.state(3) == "up"
    assert bench.state(3) == "unreachable"


def test_an_agent_that_returned_is_not_awaited() -> None:
    """After the hub's start an absent agent is awaited, but not one that connected and left."""
    config = make_config(("potka",))
    agent = config.offices[0].model_copy(update={"agent": object()})
    for back, state in ((False, "unknown"), (True, "lan_down")):
        bench = Bench()
        bench.current.replace(config.model_copy(update={"offices": (agent,)}))
        bench.router(True)
        bench.seen.pc = False
        bench.seen.seen_before, bench.seen.returned = True, back
        assert bench.state(10) == state


async def test_without_ping_an_office_without_agent_is_monitor_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub that may not ping knows an office's state only through a connected agent."""

    async def refused(self: LatencyMonitor) -> None:
        raise PingNotAllowed

    monkeypatch.setattr(LatencyMonitor, "run", refused)
    clock, current = ManualClock(datetime(2026, 11, 25, tzinfo=UTC)), CurrentConfig(make_config())
    live, store = Live(current), Store(f"sqlite:///{tmp_path}/monitor.db", clock)
    store.migrate()
    writer = StoreWriter(store, tmp_path / "waiting.db", live.hub, clock)
    recorder = Recorder(current, writer, live, clock)
    runner = Runner(current, clock, lambda _: None, recorder.spent_today, recorder.record)
    monitor = OfficeMonitor(current, clock, live, recorder, writer, runner)
    running = asyncio.create_task(monitor.run())
    async with asyncio.timeout(20):
        while live.offices["patamda"].state is not OfficeState.MONITOR_DOWN:
            await monitor.agent_heartbeat("potka", Vitals("b", 60.0, 0))
            await clock.advance(1)
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    store.close()
    states = {office: live.offices[office].state.value for office in live.offices}
    assert states == {"potka": "up", "boram": "monitor_down", "patamda": "monitor_down"}
    shown = MetricsRegistry(live, clock).get_sample_value
    assert shown("jharnet_office_state", {"office": "boram", "state": "monitor_down"}) == 1


def test_offices_are_not_unreachable_while_the_uplink_is_down() -> None:
    """If the gateway does not answer either, the state is `uplink_down`."""
    bench = Bench()
    bench.router(False)
    bench.seen.pc = False
    bench.states.uplink_answers = False
    assert bench.state(1) == "uplink_down"
    bench.states.planned = frozenset({"potka"})
    assert bench.state(1) == "planned"


async def test_a_state_and_its_beginning_survive_a_restart(tmp_path: Path) -> None:
    """An outage continues through a restart: `since`, the outage's start, and no outage counted; it
    is counted when the office answers again."""
    clock, current = ManualClock(datetime(2026, 11, 25, tzinfo=UTC)), CurrentConfig(make_config())
    began = clock.now()
    live = Live(current)
    for restart in range(3):
        live, store = Live(current), Store(f"sqlite:///{tmp_path}/monitor.db", clock)
        store.migrate()
        writer = StoreWriter(store, tmp_path / "waiting.db", live.hub, clock)
        await writer.open()
        recorder = Recorder(current, writer, live, clock)
        runner = Runner(current, clock, lambda _: None, recorder.spent_today, recorder.record)
        monitor = OfficeMonitor(current, clock, live, recorder, writer, runner)
        await monitor.restore()
        monitor._tracker.offices["potka"].router = restart == 2
        await monitor._update_states()
        await monitor._journal.heartbeat()
        if restart < 2:
            assert live.offices["potka"].state is OfficeState.UNREACHABLE
            assert live.offices["potka"].since == live.offices["potka"].outage_start == began
        clock.step(300)
        await writer.close()
        store.close()
    office = live.offices["potka"]
    assert office.state is not OfficeState.UNREACHABLE
    assert (office.outage_start, office.outages) == (None, 1)


@pytest.mark.parametrize("reconnects", [False, True])
async def test_an_outage_that_the_session_outlives_gets_its_cause(
    tmp_path: Path, reconnects: bool
) -> None:
    """A session outlives an outage of up to 36 seconds while a probe runs, or it is replaced by the
    agent's next one. The agent counted as heard throughout, and the outage had no cause for ever.
    """
    bench = HubBench(tmp_path)
    steps, began = Supervisor(bench.clock, bench.live.hub.parts), bench.clock.now()
    bench.monitor._tracker.uplink_answers = True
    bench.monitor.start_steps(steps)

    async def seconds(count: int, answers: bool) -> None:
        now = bench.clock.now()
        for role in ("router", "pc"):
            change = Reachability(Target("potka", role, "192.0.2.1"), answers, now, now)
            bench.monitor._note_reachability(change)
        for second in range(count):
            vitals = Vitals("b", 86400.0 + (bench.clock.now() - began).total_seconds(), 0)
            if answers and second % 2 == 0:
                await bench.monitor.agent_heartbeat("potka", vitals)
            await bench.seconds(1)

    await bench.monitor.agent_connected("potka", Vitals("b", 86400.0, 0))
    await seconds(60, True)
    await seconds(20, False)
    assert bench.live.offices["potka"].state is OfficeState.UNREACHABLE
    if reconnects:
        await bench.monitor.agent_connected("potka", Vitals("b", 86480.0, 0))
    await seconds(60, True)
    past = bench.live.offices["potka"].last_outage
    assert past is not None and past.cause is OfficeState.LINK_DOWN
    kinds = [e.kind for e in bench.store.event_log.events("potka") if e.kind != "reached"]
    assert kinds == ["joined", "silent", "joined" if reconnects else "heard"]
    await steps.stop()
    bench.store.close()

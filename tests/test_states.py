"""Live states, derived from evidence as it arrives."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
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
from tests.test_latency_monitor import SimulatedNetwork
from tests.test_supervisor import START
from tests.test_supervisor import Bench as HubBench

LINK_DOWN = OfficeState.LINK_DOWN


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
    async with asyncio.timeout(60):
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


class WatchedHub(HubBench):
    """A hub whose office potka answers, or does not."""

    def note(self, answers: bool) -> None:
        """Router and PC began or ceased to answer."""
        now = self.clock.now()
        for role in ("router", "pc"):
            change = Reachability(Target("potka", role, "192.0.2.1"), answers, now, now)
            self.monitor._note_reachability(change)

    async def heartbeats(self, count: int) -> None:
        """Let the agent send heartbeats, every two seconds."""
        for _ in range(count):
            await self.monitor.agent_heartbeat("potka", self.vitals())
            await self.seconds(2)

    async def until_unreachable(self) -> None:
        """Let time pass until the outage is noticed, and some more."""
        async with asyncio.timeout(60):
            while self.live.offices["potka"].state is not OfficeState.UNREACHABLE:
                await self.seconds(1)
        await self.seconds(10)

    def outages(self, cause: OfficeState | None = None) -> list[int]:
        """The numbers of the outages, or of those for which a cause was found."""
        changes = self.store.event_log.transitions("potka", START)
        if cause is not None:
            return sorted({t.supersedes or 0 for t in changes if t.state is cause})
        return sorted(t.number for t in changes if t.state is OfficeState.UNREACHABLE)

    def vitals(self) -> Vitals:
        """The vitals of an agent whose PC has been running for a day."""
        return Vitals("b", 86400.0 + (self.clock.now() - START).total_seconds(), 0)


@pytest.mark.parametrize("reconnects", [False, True])
async def test_an_outage_that_the_session_outlives_gets_its_cause(
    tmp_path: Path, reconnects: bool
) -> None:
    """A session outlives an outage of up to 36 seconds while a probe runs, or it is replaced by the
    agent's next one. The agent counted as heard throughout, and the outage had no cause for ever.
    A silent agent of an office that answers pings is not recorded.
    """
    hub = WatchedHub(tmp_path)
    steps = Supervisor(hub.clock, hub.live.hub.parts)
    hub.monitor.start_steps(steps)
    await hub.monitor.agent_connected("potka", hub.vitals())
    hub.note(True)
    await hub.heartbeats(30)
    await hub.seconds(10)
    await hub.heartbeats(10)
    hub.note(False)
    await hub.until_unreachable()
    hub.note(True)
    if reconnects:
        await hub.monitor.agent_connected("potka", hub.vitals())
    async with asyncio.timeout(60):
        while (past := hub.live.offices["potka"].last_outage) is None or past.cause != LINK_DOWN:
            await hub.heartbeats(1)
    assert hub.outages(LINK_DOWN) == hub.outages()
    kinds = [e.kind for e in hub.store.event_log.events("potka") if e.kind != "reached"]
    assert kinds == ["joined", "silent", "joined" if reconnects else "heard"]
    await steps.stop()
    hub.store.close()


async def test_an_outage_is_over_when_the_office_answers_in_a_planned_window(
    tmp_path: Path,
) -> None:
    """Its state stays `planned`, and the outage went on until the window's end: with an alert, and
    with the first outage's beginning for a second one within the window."""
    hub = WatchedHub(tmp_path)

    async def then(planned: bool, answers: bool) -> tuple[str, datetime | None, int]:
        hub.clock.step(300)
        hub.monitor._tracker.planned = frozenset({"potka"} if planned else ())
        seen = hub.monitor._tracker.offices["potka"]
        seen.router = seen.pc = answers
        for _ in range(2):  # the state, and what the office's answer means in it
            await hub.monitor._update_states()
        office = hub.live.offices["potka"]
        return office.state.value, office.outage_start, office.outages

    minute = [START + timedelta(minutes=5 * n) for n in range(8)]
    assert await then(planned=False, answers=True) == ("up", None, 0)
    assert await then(planned=False, answers=False) == ("unreachable", minute[2], 0)
    assert await then(planned=True, answers=False) == ("planned", minute[2], 0)
    assert await then(planned=True, answers=True) == ("planned", None, 1)
    assert await then(planned=True, answers=False) == ("planned", None, 1)
    assert await then(planned=False, answers=False) == ("unreachable", minute[6], 1)
    assert await then(planned=False, answers=True) == ("up", None, 2)
    hub.store.close()


async def test_an_outage_that_ended_in_a_planned_window_is_counted_once(tmp_path: Path) -> None:
    """A hub that restarts within the window knows that it is over, and was counted."""
    hub = WatchedHub(tmp_path)
    await hub.monitor.note_start()
    for planned, answers in ((False, True), (False, False), (True, False), (True, True)):
        hub.clock.step(300)
        hub.monitor._tracker.planned = frozenset({"potka"} if planned else ())
        hub.note(answers)
        await hub.seconds(2)
        await hub.monitor._update_states()
    assert hub.live.offices["potka"].outages == 1
    hub.store.close()
    again = WatchedHub(tmp_path, hub.clock.now())
    await again.monitor.restore()
    again.monitor._tracker.planned = frozenset({"potka"})
    again.note(True)
    await again.seconds(2)
    for _ in range(2):
        await again.monitor._update_states()
    office = again.live.offices["potka"]
    assert (office.state, office.outage_start, office.outages) == (OfficeState.PLANNED, None, 0)
    again.store.close()


async def test_a_heartbeat_does_not_wait_for_the_database(tmp_path: Path) -> None:
    """The session's next frames would wait with it, and the agent seem silent again."""
    hub, held = WatchedHub(tmp_path), asyncio.Event()
    await hub.monitor.agent_connected("potka", hub.vitals())
    hub.monitor._tracker.offices["potka"].silent = True

    async def slow(*_: object) -> None:
        await held.wait()

    hub.writer.write = slow  # type: ignore[method-assign]
    async with asyncio.timeout(60):
        await hub.monitor.agent_heartbeat("potka", hub.vitals())
    held.set()
    await asyncio.gather(*hub.monitor._pending)
    hub.store.close()


async def test_an_outage_in_which_the_hub_restarts_gets_its_cause(tmp_path: Path) -> None:
    """What a hub found down after its start was dated before the start, at the time when it was
    made, and forgotten with the start. So the rest of the outage had no cause for ever.
    """
    cut, now = False, START

    def lost(address: str, _: float) -> bool:
        return cut and address.startswith("10.8.1.")

    for restarted in (False, True):
        hub = WatchedHub(tmp_path, now)
        hub.monitor._latency_monitor._sender = SimulatedNetwork(hub.clock, lost)
        await hub.seconds(5)
        await hub.monitor.restore()
        running = asyncio.create_task(hub.monitor.run())
        if restarted:
            await hub.until_unreachable()
            cut = False
        await hub.seconds(3)
        await hub.monitor.agent_connected("potka", hub.vitals())
        if restarted:
            async with asyncio.timeout(60):
                while hub.outages(LINK_DOWN) != hub.outages():
                    await hub.heartbeats(1)
            assert len(hub.outages()) == 2
        else:
            await hub.heartbeats(30)
            cut = True
            await hub.until_unreachable()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        now = hub.clock.now() + timedelta(seconds=20)
        hub.store.close()


async def test_what_a_session_brings_last_is_recorded_in_its_order(tmp_path: Path) -> None:
    """After a cut, TCP delivers the heartbeat and the goodbye that follow it in one moment; what is
    known of the heartbeat is written in the background, after the goodbye."""
    hub = WatchedHub(tmp_path)
    await hub.monitor.agent_connected("potka", hub.vitals())
    await hub.seconds(10)
    hub.monitor._tracker.offices["potka"].silent = True
    await hub.monitor.agent_heartbeat("potka", hub.vitals())
    await hub.monitor.agent_disconnected("potka", goodbye=True)
    await asyncio.gather(*hub.monitor._pending)
    events = [event.kind for event in hub.store.event_log.events("potka")]
    hub.store.close()
    assert events == ["joined", "heard", "goodbye"]


async def test_time_that_the_clock_skips_was_not_watched(tmp_path: Path) -> None:
    """The machine slept for two hours, or started with a clock that was behind by the time without
    power. The hub saw nothing then, and the office was `up`, or its outage went on, all the time.
    """
    hub, hours = WatchedHub(tmp_path), 2
    await hub.monitor.note_start()
    hub.note(True)
    await hub.monitor.agent_connected("potka", hub.vitals())
    await hub.heartbeats(5)
    for answers in (True, False):
        hub.note(answers)
        hub.monitor._tracker.offices["potka"].last_frame_at = None
        await hub.seconds(60)
        began = hub.clock.now()
        hub.clock.step(hours * 3600)
        hub.monitor.note_unwatched(hours * 3600)
        await asyncio.gather(*hub.monitor._pending)
        state = "up" if answers else "unreachable"
        found = hub.store.event_log.transitions("potka")[-3:]
        assert [t.state.value for t in found] == [state, "monitor_down", state]
        assert [t.at for t in found[1:]] == [began, hub.clock.now()]
    await hub.seconds(60)
    hub.note(True)
    await asyncio.gather(*hub.monitor._pending)
    await hub.seconds(60)
    assert hub.live.offices["potka"].outages == 1
    attribution = hub.monitor._outage_attribution
    attribution.review("potka")
    outages = attribution._outages("potka", hub.clock.now())
    assert [round((one.end - one.start).total_seconds()) for one in outages] == [60, 60]
    assert not any(one.found for one in outages)
    hub.store.close()


async def test_an_agent_is_heard_again_after_skipped_time(tmp_path: Path) -> None:
    """What was known before is no evidence of what is afterwards, so its next heartbeat is. What a
    clock skips before the start is recorded belongs to the time without a hub."""
    hub = WatchedHub(tmp_path)
    hub.monitor.note_unwatched(600)
    await asyncio.gather(*hub.monitor._pending)
    assert hub.store.event_log.events("*") == []
    await hub.monitor.note_start()
    await hub.monitor.agent_connected("potka", hub.vitals())
    hub.clock.step(600)
    hub.monitor.note_unwatched(600)
    await hub.heartbeats(2)
    await asyncio.gather(*hub.monitor._pending)
    events = [event.kind for event in hub.store.event_log.events("potka")]
    assert events == ["joined", "heard"]
    every = [(e.kind, e.at) for e in hub.store.event_log.events("*")]
    assert ("hub_stopped", START) in every
    assert ("hub_started", START + timedelta(minutes=10)) in every
    hub.store.close()

"""The load of our own tests: `under_load` of latency during them, and the day's budget."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jharnet_monitor.agent import self_monitor
from jharnet_monitor.agent.self_monitor import SelfMonitor
from jharnet_monitor.clock import ManualClock, SystemClock
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.hub.active_tests import ActiveTest, ActiveTests
from jharnet_monitor.hub.office_monitor import OfficeMonitor
from jharnet_monitor.hub.recorder import Recorder
from jharnet_monitor.hub.runner import Runner
from jharnet_monitor.hub.store_writer import StoreWriter
from jharnet_monitor.live import Live
from jharnet_monitor.metrics import MetricsRegistry
from jharnet_monitor.model import HEADQUARTERS, Measurement, Outcome, Route
from jharnet_monitor.probes.base import Reading
from jharnet_monitor.probes.dns import resolve
from jharnet_monitor.probes.latency.window import LatencySummary
from jharnet_monitor.store import Store, StoreError
from jharnet_monitor.supervisor import Supervisor
from tests.support import make_config

EVENING = datetime(2026, 11, 25, 18, 0, tzinfo=UTC)
"""Half an hour before midnight in India."""


class Hub:
    """Office monitor, runner, recorder and a real store; the test makes the latency summaries."""

    def __init__(self, directory: Path) -> None:
        current = CurrentConfig(make_config(budget="20 MB"))
        self.clock = ManualClock(EVENING)
        self.live = Live(current)
        self.store = Store(f"sqlite:///{directory}/monitor.db", self.clock)
        self.store.migrate()
        waiting = directory / "waiting.db"
        self.writer = StoreWriter(self.store, waiting, self.live.hub, self.clock)
        self.recorder = Recorder(current, self.writer, self.live, self.clock)
        self.runner = Runner(
            current, self.clock, lambda _: None, self.recorder.spent_today, self.recorder.record
        )
        self.office_monitor = OfficeMonitor(
            current, self.clock, self.live, self.recorder, self.writer, self.runner
        )

    async def latency_minute(self, seconds: float, office: str = "potka") -> Measurement:
        """Record the summary of echo requests that ended just now; returns the measurement."""
        clock, reading = self.clock, Reading({"sent": 60, "received": 60, "rtt_p50_seconds": 0.03})
        started = clock.monotonic() - seconds
        self.office_monitor._record_latency(
            LatencySummary(office, clock.now(), started, seconds, reading, ())
        )
        await asyncio.gather(*self.office_monitor._pending)
        return self.live.offices[office].latest["latency"]

    async def marked(self, seconds: float, office: str = "potka") -> bool:
        """Whether such a measurement is `under_load`."""
        return bool((await self.latency_minute(seconds, office)).conditions.get("under_load"))

    def metric(self, name: str, **labels: str) -> float | None:
        """The current value of a metric; None if it is absent."""
        return MetricsRegistry(self.live, self.clock).get_sample_value(f"jharnet_{name}", labels)

    async def spend(self, place: str, amount: float, at: datetime | None = None) -> None:
        """Record a test that took this many bytes."""
        values = {"bytes_spent": amount}
        conditions = {"path": "internet"}
        await self.recorder.record(
            Measurement(
                place,
                "bandwidth",
                at or self.clock.now(),
                5.0,
                Outcome.OK,
                None,
                conditions,
                values,
            )
        )


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub shortly before the daily budget is renewed."""
    hub = Hub(tmp_path)
    yield hub
    hub.store.close()


def _test_of(
    office: str, probe: str = "bandwidth"
) -> Callable[[ActiveTests], AbstractContextManager[None]]:
    return lambda load: load.track(ActiveTest(office, probe, heavy=True, full=True))


@pytest.mark.parametrize(
    ("load", "marked"),
    [
        (_test_of("potka"), {"potka": True, "boram": False}),
        (_test_of("potka", "conference"), {"potka": True, "boram": False}),
        (_test_of(HEADQUARTERS), {"potka": True, "boram": True}),
        (ActiveTests.drill, {"potka": True, "boram": True}),
    ],
    ids=["speed test", "call", "headquarters' test", "drill"],
)
async def test_latency_that_overlaps_a_test_is_marked(
    hub: Hub, load: Callable[[ActiveTests], AbstractContextManager[None]], marked: dict[str, bool]
) -> None:
    """It is marked if the test covers it, begins or ends in it, or lies within; not before or
    after. A test that fills the uplink marks every office."""
    await hub.clock.advance(1000)
    assert not await hub.marked(60)
    with load(hub.runner.active_tests):
        await hub.clock.advance(5)
        for office, expected in marked.items():
            assert await hub.marked(60, office) is expected, "begins in it"
        await hub.clock.advance(60)
        assert await hub.marked(60), "covers it"
    await hub.clock.advance(3)
    for office, expected in marked.items():
        assert await hub.marked(60, office) is expected, "ends in it"
    await hub.clock.advance(60)
    assert not await hub.marked(60)
    with load(hub.runner.active_tests):
        await hub.clock.advance(1)
    await hub.clock.advance(30)
    assert await hub.marked(60), "lies within"


async def test_the_agent_marks_its_own_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent's latency during its part of a test is `under_load`; afterwards it is not."""
    monkeypatch.setattr(self_monitor, "SPACING_SECONDS", 0.02)

    async def loopback(self: SelfMonitor, found: dict[Route, Any]) -> None:
        found[Route.AGENT_HUB] = await resolve("127.0.0.1")

    monkeypatch.setattr(SelfMonitor, "_look_up", loopback)
    recorded: list[Measurement] = []
    monitor = SelfMonitor("potka", "127.0.0.1", SystemClock(), recorded.append)
    work: Coroutine[Any, Any, None] = asyncio.sleep(0.05)

    async def half(*_: Any) -> None:
        await work

    monitoring = asyncio.create_task(monitor.run())
    for job in (None, monitor.marks_load(half), None):
        await asyncio.sleep(0.1)
        if job is not None:
            none: Any = None
            await job(none, {}, none)
        monitor.hub_reached(True)
        await asyncio.sleep(0.2)
    monitoring.cancel()
    await asyncio.gather(monitoring, return_exceptions=True)
    assert [m.conditions.get("under_load", False) for m in recorded[:3]] == [False, True, False]


async def test_the_budget_is_exported_and_renewed_at_midnight(hub: Hub, tmp_path: Path) -> None:
    """The bytes of each office and headquarters survive a restart, and start again at 0 at midnight
    in India, even if nothing is measured afterwards."""
    assert hub.metric("budget_bytes") == 20e6
    await hub.spend("potka", 3e6)
    await hub.spend("potka", 4e6)
    await hub.spend(HEADQUARTERS, 5e6)
    spent = {"potka": 7e6, "boram": 0}
    for office, amount in spent.items():
        assert hub.metric("budget_spent_bytes", office=office) == amount
        assert hub.recorder.spent_today(office) == amount
    assert hub.metric("uplink_budget_spent_bytes") == 5e6

    restarted = Hub(tmp_path)
    restarted.recorder.restore_spent()
    assert restarted.metric("budget_spent_bytes", office="potka") == 7e6
    assert restarted.metric("uplink_budget_spent_bytes") == 5e6
    before = restarted.clock.now()
    steps = Supervisor(restarted.clock, restarted.live.hub.parts)
    restarted.office_monitor.start_steps(steps)
    await restarted.clock.advance(1799)
    assert restarted.metric("budget_spent_bytes", office="potka") == 7e6
    for _ in range(50):
        await restarted.clock.advance(1)
        await asyncio.sleep(0.01)
    await steps.stop()
    assert restarted.metric("budget_spent_bytes", office="potka") == 0
    assert restarted.metric("uplink_budget_spent_bytes") == 0
    await restarted.spend("potka", 1e6, before)
    assert restarted.recorder.spent_today("potka") == 0, "yesterday's, handed in late"
    restarted.store.close()


async def test_a_failing_database_does_not_stop_the_office_monitor(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States and budgets stay up to date while planned maintenance cannot be read."""

    def unreadable(*_: object) -> None:
        raise StoreError("database is locked")

    monkeypatch.setattr(hub.store.event_log, "windows", unreadable)
    steps = Supervisor(hub.clock, hub.live.hub.parts)
    hub.office_monitor.start_steps(steps)
    hub.live.hub.database_written = None
    for _ in range(3):
        await hub.clock.advance(1)
        await asyncio.sleep(0.05)
    async with asyncio.timeout(20):  # the journal's heartbeat comes after it, by a thread
        while hub.live.hub.database_written is None:
            await hub.clock.advance(1)
            await asyncio.sleep(0.05)
    assert not hub.live.hub.parts.restarts
    await steps.stop()


async def test_the_hub_marks_agents_measurements_during_headquarters_test(hub: Hub) -> None:
    """The agent does not know of a test that fills the uplink, so the hub marks its measurements of
    the route over the uplink at that time, and no others."""

    def minute(path: str, ago: float) -> bool:
        started = hub.clock.now() - timedelta(seconds=ago)
        sent = Measurement("potka", "latency", started, 60.0, Outcome.OK, None, {"path": path})
        kept = hub.runner.active_tests.annotate(sent)
        assert kept.id == sent.id
        return bool(kept.conditions.get("under_load"))

    await hub.clock.advance(1000)
    with _test_of(HEADQUARTERS)(hub.runner.active_tests):
        await hub.clock.advance(10)
        assert minute("agent_hub", 60)
    await hub.clock.advance(55)
    assert minute("agent_hub", 60)
    assert not minute("agent_gateway", 60)
    assert not minute("agent_hub", 130), "was over before it began"
    await hub.clock.advance(10)
    assert not minute("agent_hub", 60)
    assert minute("agent_hub", 120)

"""A hub whose database is missing at the start works anyway, and loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.errors import StoreError, TemporaryError, Trouble
from jharnet_monitor.hub import opening
from jharnet_monitor.hub.office_monitor import OfficeMonitor
from jharnet_monitor.hub.records import MeasurementRecord
from jharnet_monitor.hub.store_writer import StoreWriter
from jharnet_monitor.live import HubStatus
from jharnet_monitor.model import Measurement, OfficeState, Outcome, Route
from jharnet_monitor.store import Store
from tests.test_reload import RunningHub, hub_at_work


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long."""
    monkeypatch.setattr(opening, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(opening, "RETRY_SECONDS", 0.1)


def earlier_run(directory: Path, beat: datetime) -> Store:
    """A database that a hub left, whose office was up."""
    store = Store(f"sqlite:///{directory}/monitor.db", SystemClock())
    store.migrate()
    store.event_log.add_transition("potka", OfficeState.UP, beat - timedelta(hours=1), {})
    store.set_value("beat", beat.isoformat())
    store.add([minute("before", beat)])
    return store


def minute(name: str, at: datetime) -> Measurement:
    """A minute of latency."""
    values = {"sent": 60.0, "received": 60.0}
    return Measurement("potka", "latency", at, 60.0, Outcome.OK, values=values, id=name)


def speed_test(amount: float) -> Measurement:
    """A speed test that spent bytes just now."""
    values = {"bytes_spent": amount}
    return Measurement("potka", "bandwidth", datetime.now(UTC), 0.0, Outcome.OK, values=values)


async def requested(one: RunningHub, path: str) -> tuple[int, str]:
    """Status and text of an answer of the hub."""
    async with aiohttp.ClientSession() as http, http.get(f"{one.hub.address}{path}") as answer:
        return answer.status, await answer.text()


async def until(condition: Callable[[], Any]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


async def gone(directory: Path) -> Callable[[], Awaitable[None]]:
    """The disk of the database is not mounted yet: its directory is a file."""
    data = directory / "monitor.db"
    kept = data.rename(directory / "kept.db")
    data.mkdir()

    async def free() -> None:
        data.rmdir()
        kept.rename(data)

    return free


async def test_a_hub_begins_without_its_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It once did not start. What it records waits on disk, and is written once, in order; the time
    without a hub is known from the last heartbeat; counters begin at 0, as Prometheus expects."""
    beat = datetime.now(UTC) - timedelta(minutes=30)
    earlier_run(tmp_path, beat).close()
    free = await gone(tmp_path)
    async with hub_at_work(tmp_path) as one:
        await until(lambda: one.hub.health.ready()[1] != "starting")
        status, message = await requested(one, "/-/ready")
        assert (status, "the database accepts no rows" in message) == (503, True)
        assert (await requested(one, "/metrics"))[0] == (await requested(one, "/"))[0] == 200
        assert "jharnet_database_failing 1" in (await requested(one, "/metrics"))[1]
        assert (await requested(one, "/api/v1/measurements?office=potka"))[0] == 503
        await one.hub.recorder.record(minute("waits", datetime.now(UTC)))
        with pytest.raises(StoreError):
            await one.hub.recorder.hand_in([minute("agents", datetime.now(UTC))])
        assert one.metric("probe_runs_total", office="potka", probe="latency", outcome="ok") == 1
        await free()
        await until(lambda: one.hub.opening.opened and not one.hub.live.hub.writes_waiting)
        await until(lambda: one.hub.health.ready() == (True, "ready"))
        assert one.metric("probe_runs_total", office="potka", probe="latency", outcome="ok") == 1
        store = one.hub.store
        assert [m.id for m in store.measurements(path=Route.JHARNET)][:2] == ["before", "waits"]
        kinds = [e.kind for e in store.event_log.events("*")]
        assert kinds[:2] == ["hub_stopped", "hub_started"]
        states = [(t.state, t.at) for t in store.event_log.transitions("potka")][:2]
        assert states[1] == (OfficeState.MONITOR_DOWN, beat.replace(
            microsecond=beat.microsecond // 1000 * 1000))  # fmt: skip
    monkeypatch.setattr(opening, "PATIENCE_SECONDS", 60.0)  # its database is there, at its own pace
    async with hub_at_work(tmp_path) as again:
        assert again.metric("probe_runs_total", office="potka", probe="latency", outcome="ok") == 1


async def test_a_database_that_fails_once_more_at_its_opening_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the earlier state of the agents is read: the hub goes on without it, and writes."""

    async def fails(self: OfficeMonitor) -> None:
        failed.set()
        raise StoreError("the disk is full again")

    failed = asyncio.Event()
    earlier_run(tmp_path, datetime.now(UTC) - timedelta(minutes=30)).close()
    free = await gone(tmp_path)
    async with hub_at_work(tmp_path) as one:
        monkeypatch.setattr(OfficeMonitor, "restore_agents", fails)
        await until(lambda: one.hub.health.ready()[1] != "starting")
        await free()
        await asyncio.wait_for(failed.wait(), 60)
        await until(lambda: one.hub.health.ready() == (True, "ready"))
        await one.hub.recorder.record(minute("later", datetime.now(UTC)))
        await until(lambda: "later" in {m.id for m in one.hub.store.measurements()})


async def test_bytes_spent_without_the_database_stay_spent(tmp_path: Path) -> None:
    """Once it was available, those of this run of the hub and of the one before, whose records had
    waited, were forgotten: the day's budget was spent twice."""
    store = earlier_run(tmp_path, datetime.now(UTC))
    one = RunningHub(tmp_path)
    writer = StoreWriter(store, one.hub.config.waiting_file, HubStatus(), SystemClock())
    writer.hold(Trouble.AWAY)
    await writer.write(MeasurementRecord(speed_test(3e6)))
    await writer.close()
    store.close()
    free = await gone(tmp_path)
    async with hub_at_work(tmp_path) as one:
        await one.hub.recorder.record(speed_test(4e6))
        assert one.hub.recorder.spent_today("potka") == 4e6
        await free()
        await until(lambda: one.hub.opening.opened and not one.hub.live.hub.writes_waiting)
        await until(lambda: one.hub.recorder.spent_today("potka") == 7e6)


@pytest.mark.parametrize("seconds", [86400, 59], ids=["a day", "only its end"])
async def test_a_start_shows_no_run_that_lies_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """The clock was ahead while it was recorded: it hid the failure that was measured later."""
    monkeypatch.setattr(opening, "PATIENCE_SECONDS", 60.0)
    now = datetime.now(UTC)
    store = earlier_run(tmp_path, now - timedelta(minutes=2))
    store.add([minute("ahead", now + timedelta(seconds=seconds))])
    failed = replace(minute("failed", now), outcome=Outcome.FAILED, cause="no_reply")
    store.add([failed])
    store.close()
    async with hub_at_work(tmp_path) as one:
        assert one.hub.opening.opened
        assert one.hub.live.offices["potka"].latest["latency"].id == "failed"


async def test_a_hub_begins_again_after_visits_of_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their totals bear the service's name, which may also be that of an agent's route; a hub
    that read a route there never started again."""
    monkeypatch.setattr(opening, "PATIENCE_SECONDS", 60.0)
    now = datetime.now(UTC)
    store = earlier_run(tmp_path, now - timedelta(minutes=2))
    for name in ("e-office", "agent_hub", "सेवा"):
        visit = {"service": name, "end": "office"}
        store.add([Measurement("potka", "service", now, 1.0, Outcome.OK, conditions=visit)])
    own = {"path": Route.AGENT_HUB.value}
    store.add([replace(minute("own", now), conditions=own)])
    store.close()
    async with hub_at_work(tmp_path) as one:
        assert one.hub.opening.opened
        runs = one.hub.live.offices["potka"].runs
        assert (runs["service", "ok"], runs["latency", "ok"]) == (3, 1)
        for name in ("e-office", "agent_hub", "सेवा"):
            assert f"service/{name}" in one.hub.live.offices["potka"].latest


async def test_a_database_of_another_hub_ends_a_hub_that_waited_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It started without a database that another hub then owned: it writes nothing, and ends."""
    other = earlier_run(tmp_path, datetime.now(UTC))
    other.ownership.take()
    one = RunningHub(tmp_path)
    take, tries = one.hub.store.ownership.take, list[int]()

    def late() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise StoreError("not there yet")
        take()

    monkeypatch.setattr(one.hub.store.ownership, "take", late)
    with pytest.raises(TemporaryError, match="another hub is running"):
        await asyncio.wait_for(one.hub.run(), 60)
    assert [e.kind for e in other.event_log.events("*")] == []
    other.close()

"""A reload reaches every part of a running hub; what it cannot change is refused."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config.load import load_config
from jharnet_monitor.config.sealed_settings import settings_hash
from jharnet_monitor.errors import UserError
from jharnet_monitor.hub import opening
from jharnet_monitor.hub.daemon import Hub
from jharnet_monitor.hub.line_limiter import LineLimiter
from jharnet_monitor.security.tokens import hash_token
from jharnet_monitor.store import SpentBytes
from jharnet_monitor.store.pruning import OF_THE_DATABASE, SETTINGS
from jharnet_monitor.wire.intake import Vitals
from tests.no_schedule import plan_nothing


class RunningHub:
    """A hub as `run` starts it, and the file that it reads."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.file = directory / "jharnet.yaml"
        far = datetime.now(UTC) + timedelta(days=3)
        self.data: dict[str, Any] = {
            "district": {"id": "d", "name": "East Singhbhum", "name_hi": "पूर्वी सिंहभूम"},
            "hub": {
                "listen": f"127.0.0.1:{port}",
                "database": "sqlite:///monitor.db",
                "tls": False,
                "uplink": {"contracted": "34 Mbit/s"},
            },
            "probes": {"drill": {"at": ["16:00"], "days": f"{far:%a}".lower()}},
            "offices": [
                {"id": "potka", "name": "Potka", "name_hi": "पोटका", "pc": "127.0.0.2",
                 "link": {"contracted": "4 Mbit/s"}},
            ],
        }  # fmt: skip
        plan_nothing(self.data)
        self.write()
        self.hub = Hub(self.file, load_config(self.file), SystemClock())

    def write(self) -> None:
        """Write the file."""
        self.file.write_text(yaml.safe_dump(self.data), "utf-8")

    def metric(self, name: str, **labels: str) -> float | None:
        """A sample of `/metrics` now."""
        return self.hub.metrics_registry.get_sample_value(f"jharnet_{name}", labels)

    def offsets(self) -> set[timedelta | None]:
        """The offsets of the time zones by which the day's times are planned."""
        jobs = {job.id: job.next_run_time for job in self.hub.schedule._scheduler.get_jobs()}
        return {jobs[name].utcoffset() for name in ("drill at 16:00", "seal", "prune")}


@asynccontextmanager
async def hub_at_work(directory: Path) -> AsyncIterator[RunningHub]:
    """A hub at work until the block ends."""
    one = RunningHub(directory)
    task = asyncio.create_task(one.hub.run())
    async with asyncio.timeout(60):
        while one.hub.live.hub.started_at is None:
            if task.done():
                task.result()
            await asyncio.sleep(0.02)
    try:
        yield one
    finally:
        one.hub.stop()
        await asyncio.wait_for(task, 60)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub has its database from the start, however long a busy machine takes to open it."""
    monkeypatch.setattr(opening, "PATIENCE_SECONDS", 60.0)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[RunningHub]:
    """A hub at work."""
    async with hub_at_work(tmp_path) as one:
        yield one


async def test_a_reload_reaches_every_part(running: RunningHub) -> None:
    """Contract, uplink, time zone, thresholds, budget and report: as if started with them."""
    hub, data = running.hub, running.data
    assert running.offsets() == {timedelta(hours=5.5)}
    data["district"]["timezone"] = "Asia/Kathmandu"
    data["hub"]["uplink"]["contracted"] = "10 Mbit/s"
    data["offices"][0]["link"]["contracted"] = "8 Mbit/s"
    data["thresholds"] = {"loss": "5%"}
    data["budget"] = "50 MB"
    data["report"] = {"at": "09:30", "directory": "papers"}
    data["probes"]["latency"] = {"every": "10s", "packets": 20}
    running.write()
    await hub.reload()

    assert hub.runner.uplink.limit == 5e6
    assert (
        running.metric("bandwidth_contracted_bytes_per_second", office="potka", direction="down")
        == 1e6
    )
    assert running.metric("uplink_contracted_bytes_per_second") == 1.25e6
    assert running.metric("loss_threshold_ratio") == 0.05
    assert running.metric("budget_bytes") == 50_000_000
    assert hub.policy.config.budget == 50_000_000
    assert hub.recorder.today()[1].utcoffset() == timedelta(hours=5.75)
    assert running.offsets() == {timedelta(hours=5.75)}
    assert hub.report_scheduler.outbox._file("x").parent == running.file.parent / "papers/mails"
    assert hub.reports_dir == running.file.parent / "papers"
    assert hub.office_monitor._latency_monitor._packets == 20


async def test_an_agent_that_a_reload_removes_is_not_reported_absent(tmp_path: Path) -> None:
    """It had been connected; the alert rules take a 0 for an agent that should be there."""
    token = tmp_path / "token"
    token.write_text(hash_token("t"), "utf-8")
    token.chmod(0o600)
    async with hub_at_work(tmp_path) as one:
        one.data["offices"][0]["agent"] = {"token_hash_file": "token"}
        one.write()
        await one.hub.reload()
        await one.hub.office_monitor.agent_connected("potka", Vitals("boot", 1.0, 0))
        assert one.metric("agent_connected", office="potka") == 1
        await one.hub.office_monitor.agent_disconnected("potka", goodbye=False)
        assert one.metric("agent_connected", office="potka") == 0
        del one.data["offices"][0]["agent"]
        one.write()
        await one.hub.reload()
        assert one.metric("agent_connected", office="potka") is None


async def test_nothing_is_known_of_an_address_that_a_reload_removes(tmp_path: Path) -> None:
    """The last reply of a PC that is pinged no more would hide a cut line for ever: `up`. A router
    whose address changes has not answered yet, and one that stays is not forgotten."""

    async def until(router: bool | None, pc: bool | None) -> None:
        async with asyncio.timeout(60):
            while (seen.router, seen.pc) != (router, pc):
                await asyncio.sleep(0.02)

    async with hub_at_work(tmp_path) as one:
        office, hub = one.data["offices"][0], one.hub
        seen = hub.office_monitor._tracker.offices["potka"]
        office["router"] = "127.0.0.3"
        one.write()
        await hub.reload()
        await until(True, True)
        del office["pc"]
        one.write()
        await hub.reload()
        await until(True, None)
        office["router"] = "no-such-router.invalid"
        one.write()
        await hub.reload()
        await until(None, None)
        await asyncio.sleep(0.1)
        events = [e.data for e in hub.store.event_log.events("potka") if e.kind == "reached"]
    assert [e for e in events if e["answers"] is None] == [
        {"role": "pc", "answers": None}, {"role": "router", "answers": None}
    ]  # fmt: skip


async def test_what_an_agent_lost_counts_while_a_page_joins(running: RunningHub) -> None:
    """A page that joins while the program is off does not set its counter back."""
    monitor = running.hub.office_monitor
    for kind in ("program", "browser", "program"):
        dropped = 50 if kind == "program" else 0
        await monitor.agent_connected("potka", Vitals("b", 1.0, 0, None, kind, dropped))
        await monitor.agent_heartbeat("potka", Vitals("b", 9.0, 0, None, kind, dropped))
        assert running.metric("agent_dropped_measurements_total", office="potka") == 50


async def test_bytes_spent_count_in_the_day_of_the_new_zone(
    running: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Midnight is another moment after the zone changed: the budget is counted from there."""
    monkeypatch.setattr(running.hub.store, "spent", lambda office, since, until: {
        f"test of {office}": SpentBytes(office, since, since, 1234)
    })  # fmt: skip
    running.data["district"]["timezone"] = "Pacific/Kiritimati"
    running.write()
    await running.hub.reload()
    assert running.hub.recorder.spent_today("potka") == 1234


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("hub", "listen", "127.0.0.1:9"),
        ("hub", "database", "sqlite:///other.db"),
        ("hub", "trusted_proxies", ["10.0.0.1"]),
        ("hub", "access_log", "elsewhere"),
        ("hub", "access_log_days", 30),
        ("hub", "url", "http://jharnet.example.in/monitor"),
    ],
)
async def test_what_needs_a_restart_is_refused(
    running: RunningHub, section: str, key: str, value: object
) -> None:
    """One line, and the old configuration stays in force as a whole."""
    running.data[section][key] = value
    running.data["budget"] = "50 MB"
    running.write()
    with pytest.raises(UserError, match=f"{section}.{key}: a change needs a restart"):
        await running.hub.reload()
    assert running.hub.config.budget == 300_000_000
    assert running.hub.live.hub.reload_success is False


async def test_where_records_wait_does_not_change_while_the_hub_runs(tmp_path: Path) -> None:
    """With PostgreSQL that is beside the reports: the hub would go on to use the old place."""
    one = RunningHub(tmp_path)
    one.data["hub"]["database"] = "postgresql://monitor@127.0.0.1:9/monitor"
    one.write()
    hub = Hub(one.file, load_config(one.file), SystemClock())
    one.data["report"] = {"directory": "papers"}
    one.write()
    with pytest.raises(UserError, match=r"report\.directory: a change needs a restart"):
        await hub.reload()


async def test_a_file_that_yaml_cannot_read_is_a_failed_reload(running: RunningHub) -> None:
    """The metric shows it, and the old configuration stays in force."""
    assert running.hub.live.hub.reload_success is True
    text = running.file.read_text("utf-8").replace("East Singhbhum", "!!bool maybe")
    running.file.write_text(text, "utf-8")
    with pytest.raises(UserError, match=r"district.name: `maybe` is not a value of `!!bool`"):
        await running.hub.reload()
    assert running.hub.live.hub.reload_success is False
    assert running.hub.config.district.name == "East Singhbhum"


async def test_the_uplink_limit_may_change_while_it_is_held() -> None:
    """A waiting test gets at most the new limit; one that holds all of it stays alone."""
    limit = 10.0
    uplink = LineLimiter(lambda: limit)
    granted: list[float] = []

    async def take(rate: float) -> None:
        async with uplink.reserve(rate) as got:
            granted.append(got)

    async with uplink.reserve() as everything:
        assert everything == 10.0
        waiting = asyncio.create_task(take(8.0))
        await asyncio.sleep(0)
        limit = 4.0
        await asyncio.sleep(0)
    await asyncio.wait_for(waiting, 60)
    assert granted == [4.0], "8 was asked for, and only 4 is left of the limit"

    async with uplink.reserve():
        limit = 40.0
        together = asyncio.create_task(take(1.0))
        await asyncio.sleep(0.02)
        assert not together.done()
    await asyncio.wait_for(together, 60)


async def test_the_settings_are_sealed_at_the_start_and_when_they_change(
    running: RunningHub,
) -> None:
    """In full when they are new, else their hash; what needs no seal changes nothing."""
    hub, data = running.hub, running.data
    log = hub.store.event_log

    def records() -> list[Any]:
        return [event.data for event in log.events(OF_THE_DATABASE) if event.kind == SETTINGS]

    [first] = records()
    assert first["settings"]["offices"][0]["link"]["contracted"] == "4Mbit/s"
    assert first["sha256"] == settings_hash(first["settings"])
    await hub.reload()
    data["report"] = {"to": ["dio@example.in"]}
    running.write()
    await hub.reload()
    assert records() == [first]
    data["offices"][0]["link"]["contracted"] = "10 Mbit/s"
    data["capacity"] = {"tariff": ["4 Mbit/s", "10 Mbit/s"]}
    running.write()
    await hub.reload()
    _, second = records()
    assert second["settings"]["offices"][0]["link"]["contracted"] == "10Mbit/s"
    assert second["settings"]["capacity"]["tariff"] == ["4Mbit/s", "10Mbit/s"]
    await hub.journal.record_settings(hub.config, always=True)
    assert records()[2:] == [{"sha256": second["sha256"]}]

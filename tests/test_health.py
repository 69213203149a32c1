"""The hub's own health: when it is ready, and when it says that it is not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.errors import StoreError
from jharnet_monitor.hub.health import Health
from jharnet_monitor.hub.journal import Journal
from jharnet_monitor.hub.recorder import Recorder
from jharnet_monitor.hub.store_writer import StoreWriter
from jharnet_monitor.live import Live
from jharnet_monitor.model import Measurement, Outcome
from jharnet_monitor.store import Store
from tests.support import make_config


class Hub:
    """The part of a hub that writes into its database, and its health."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock(datetime(2026, 11, 25, tzinfo=UTC))
        config = make_config(hub={"database": f"sqlite:///{directory}/monitor.db"})
        current = CurrentConfig(config)
        self.live = Live(current)
        self.store = Store(config.hub.database, self.clock)
        self.store.migrate()
        waiting = directory / "waiting.db"
        self.writer = StoreWriter(self.store, waiting, self.live.hub, self.clock)
        self.recorder = Recorder(current, self.writer, self.live, self.clock)
        self.journal = Journal(self.writer, self.clock)
        self.health = Health(self.live.hub, current, self.clock, self.store)

    @contextmanager
    def running(self) -> Iterator[None]:
        """While the health is watched."""
        watching = asyncio.create_task(self.health.run(lambda: 0.0))
        try:
            yield
        finally:
            watching.cancel()

    async def record(self) -> None:
        """Record a minute of latency."""
        await self.recorder.record(
            Measurement("potka", "latency", self.clock.now(), 60.0, Outcome.OK)
        )


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub with an empty database."""
    one = Hub(tmp_path)
    yield one
    one.store.close()


def full(*_: Any) -> None:
    """The behaviour of the store on a full disk."""
    raise StoreError("hub.database: sqlite:///secret/monitor.db: database or disk is full")


async def test_ready_from_the_first_tick_on(hub: Hub) -> None:
    """Before it, the hub is starting; and without ticks the event loop is blocked."""
    assert hub.health.ready() == (False, "starting")
    with hub.running():
        await hub.clock.advance(1)
        assert hub.health.ready() == (True, "ready")
    hub.clock._pass(11)
    assert hub.health.ready() == (False, "the event loop is blocked")


@pytest.mark.parametrize("writer", ["recorder", "journal"])
async def test_a_database_that_takes_no_rows_is_not_ready(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    """On a full disk, whichever part notices it first; ready again with the first row that is
    written."""
    with hub.running():
        await hub.clock.advance(1)
        with monkeypatch.context() as broken:
            broken.setattr(hub.store, "add", full)
            broken.setattr(hub.store, "set_value", full)
            await (hub.record() if writer == "recorder" else hub.journal.heartbeat())
        ready, why = hub.health.ready()
        assert not ready
        assert "accepts no rows" in why and "secret" not in why, "anyone may ask"
        assert hub.live.hub.database_errors == 1
        await hub.record()
        assert hub.live.hub.writes_waiting == 2, "nothing is forgotten"
        await hub.writer.write_later()
        assert hub.live.hub.writes_waiting == 0
        assert len(hub.store.measurements()) == (2 if writer == "recorder" else 1)
        assert hub.health.ready() == (True, "ready")


async def test_a_database_that_does_not_answer_is_not_ready(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that never ends raises no error, but counts as one."""
    answered = threading.Event()
    monkeypatch.setattr(hub.store, "add", lambda measurements: answered.wait(10) and measurements)
    with hub.running():
        await hub.journal.heartbeat()
        writing = asyncio.create_task(hub.record())
        for _ in range(61):
            await hub.clock.advance(1)
        await asyncio.sleep(0.5)  # a thread reads the size of the database
        await hub.clock.advance(1)
        assert hub.health.ready() == (False, "no write to the database has succeeded for 62 s")
        answered.set()
        await writing
        assert hub.health.ready() == (True, "ready")

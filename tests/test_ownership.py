"""Port and database belong to one hub, before anything is written."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import event, text

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config.load import load_config
from jharnet_monitor.errors import StoreError, TemporaryError
from jharnet_monitor.hub import opening
from jharnet_monitor.hub.daemon import Hub
from jharnet_monitor.hub.records import HEARTBEAT_KEY
from jharnet_monitor.model import OfficeState, format_utc
from jharnet_monitor.store import Store
from jharnet_monitor.store.lease import LEASE_SECONDS
from tests.store_support import BOTH, Bench, Postgres, bench_of, one
from tests.test_reload import RunningHub, hub_at_work


def written(store: Store) -> list[Any]:
    """All that a start writes."""
    return [
        [(t.state, t.at) for t in store.event_log.transitions("potka")],
        [(e.kind, e.at) for e in store.event_log.events("*")],
    ]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub has its database from the start, however long a busy machine takes to open it."""
    monkeypatch.setattr(opening, "PATIENCE_SECONDS", 60.0)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[RunningHub]:
    """A hub at work."""
    async with hub_at_work(tmp_path) as one:
        yield one


@pytest.mark.parametrize("same_port", [True, False])
async def test_a_second_hub_writes_no_outage(
    running: RunningHub, same_port: bool, tmp_path: Path
) -> None:
    """`run` by mistake while a hub was running wrote `monitor_down` into the record before
    it found its port taken. On another port, too, the database is not its own."""
    store = running.hub.store
    store.event_log.add_transition("potka", OfficeState.UP, running.hub.clock.now(), {})
    known: list[Any] = []
    while known != (before := written(store)):  # what the first hub finds out still comes
        known = before
        await asyncio.sleep(1.0)
    second = tmp_path / "second.yaml"
    data = yaml.safe_load(running.file.read_text("utf-8"))
    if not same_port:
        data["hub"]["listen"] = "127.0.0.5:" + data["hub"]["listen"].rpartition(":")[2]
    second.write_text(yaml.safe_dump(data), "utf-8")
    hub = Hub(second, load_config(second), SystemClock())
    with pytest.raises(TemporaryError, match="another hub"):
        await hub.run()
    assert written(store) == before


async def test_a_start_that_fails_does_not_count_as_monitoring(tmp_path: Path) -> None:
    """A hub that finds its port taken, as while the address is not there yet after a power cut,
    wrote a heartbeat: the next start took the last state of each office to have lasted until
    then."""
    one = RunningHub(tmp_path)
    store = Store(one.hub.config.hub.database, SystemClock())
    store.migrate()
    stopped = datetime(2026, 11, 25, 2, tzinfo=UTC)
    store.event_log.add_transition("potka", OfficeState.UP, stopped - timedelta(hours=1), {})
    store.set_value(HEARTBEAT_KEY, format_utc(stopped))
    host, _, port = one.data["hub"]["listen"].partition(":")
    with socket.socket() as other:
        other.bind((host, int(port)))
        other.listen()
        with pytest.raises(TemporaryError, match="cannot listen"):
            await one.hub.run()
    assert store.get_value(HEARTBEAT_KEY) == format_utc(stopped)
    store.close()
    async with hub_at_work(tmp_path):
        states = [(t.state, t.at) for t in store.event_log.transitions("potka")]
    assert states[1] == (OfficeState.MONITOR_DOWN, stopped)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL cluster for this file."""
    cluster = Postgres()
    yield cluster
    cluster.remove()


@pytest.fixture(params=BOTH)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """An empty database of either kind."""
    yield from bench_of(request, tmp_path)


def test_the_database_is_free_once_its_hub_has_ended(bench: Bench) -> None:
    """However it ended: the kernel, or PostgreSQL, releases the lock."""
    first, second = bench.store, Store(bench.url, SystemClock())
    first.ownership.take()
    first.ownership.take()
    with pytest.raises(TemporaryError, match="another hub is running on this database"):
        second.ownership.take()
    first.close()
    second.ownership.take()
    second.close()


def test_another_machines_hub_waits_and_then_fences_the_first_one_off(bench: Bench) -> None:
    """Where no lock reaches the other machine: the lease runs out, and what the first hub still
    writes afterwards (it was only stopped for a while) is refused."""
    other = Store(bench.url, bench.clock)
    first, second = bench.store.ownership.lease, other.ownership.lease
    first._machine, second._machine = "east", "west"
    first.take()
    bench.store.add([one("before")])
    with pytest.raises(TemporaryError, match="hub on east was writing"):
        second.take()
    bench.clock.step(LEASE_SECONDS - 1)
    first.take()  # a sign of life
    bench.clock.step(LEASE_SECONDS - 1)
    with pytest.raises(TemporaryError, match="hub on east"):
        second.take()
    bench.clock.step(2)
    second.take()
    other.add([one("of the second")])
    for write in (
        lambda: bench.store.add([one("late")]),
        lambda: bench.store.set_value("beat", 1),
        lambda: bench.store.event_log.add_event("*", "started", bench.clock.now(), {}),
        bench.store.chain.seal,
    ):
        with pytest.raises(StoreError, match="another hub has taken over"):
            write()
    with pytest.raises(TemporaryError, match="hub on west has taken over"):
        first.take()
    assert [m.id for m in other.measurements()] == ["before", "of the second"]
    other.close()
    again = Store(bench.url, bench.clock)
    again.ownership.lease.take()  # after an orderly end nobody waits
    assert (again.ownership.lease.term, second.term) == (3, None)
    again.close()


def test_a_new_database_gets_its_lease_with_its_tables(tmp_path: Path) -> None:
    """The first hub of a database takes it before there are any."""
    store = Store(f"sqlite:///{tmp_path / 'new.db'}", SystemClock())
    store.ownership.take()
    assert store.ownership.lease.term is None
    store.migrate()
    store.ownership.take()
    assert store.ownership.lease.term == 1
    store.close()


@pytest.mark.server("initdb", "pg_ctl", "pg_dump")
def test_the_next_hub_does_not_wait_for_the_end_of_a_session(postgres: Postgres) -> None:
    """A busy server ends a session only a while after it was closed; a hub that is started
    again at once took the one that had just ended for another."""
    bench = Bench(postgres.new_database())
    following = Store(bench.url, SystemClock())
    bench.store.ownership.take()
    session = bench.store.ownership._session
    assert session is not None
    process = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
    event.listen(session.engine, "invalidate", lambda *_: os.kill(process, signal.SIGSTOP))
    try:
        bench.store.close()
        following.ownership.take()
    finally:
        os.kill(process, signal.SIGCONT)
    following.close()


@pytest.mark.server("initdb", "pg_ctl", "pg_dump")
def test_a_lost_session_is_taken_again(postgres: Postgres) -> None:
    """PostgreSQL was restarted: the hub is its owner again, unless another came first."""
    bench = Bench(postgres.new_database())
    other = Store(bench.url, SystemClock())
    bench.store.ownership.take()
    postgres.stop()
    with pytest.raises(StoreError):
        bench.store.ownership.take()
    postgres.start()
    bench.store.ownership.take()
    with pytest.raises(TemporaryError):
        other.ownership.take()
    postgres.stop()
    postgres.start()
    other.ownership.take()
    with pytest.raises(TemporaryError, match="another hub"):
        bench.store.ownership.take()
    other.close()
    bench.store.close()

"""The store: whole, idempotent, the same on both databases, and honest about a full disk."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from jharnet_monitor.clock import ManualClock, SystemClock
from jharnet_monitor.errors import Trouble, UserError
from jharnet_monitor.judge.conference.drill import Drill, DrillOffice, DrillState
from jharnet_monitor.model import Measurement, OfficeState, Outcome
from jharnet_monitor.profiles import Profile
from jharnet_monitor.store import Store, StoreError, Window, engine
from jharnet_monitor.store.event_log import RecordedState
from jharnet_monitor.store.interned_json import MOST_CACHED_BYTES
from jharnet_monitor.store.tables import metadata
from tests.store_support import BOTH, START, Bench, Postgres, bench_of, one


@pytest.fixture(scope="module")
def postgres(request: pytest.FixtureRequest) -> Iterator[Postgres]:
    """One cluster for the file."""
    cluster = Postgres()
    yield cluster
    cluster.remove()


@pytest.fixture(params=BOTH)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """An empty, migrated database of each kind."""
    yield from bench_of(request, tmp_path)


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Bench]:
    """An empty, migrated SQLite file."""
    bench = Bench(f"sqlite:///{tmp_path / 'monitor.db'}")
    yield bench
    bench.store.close()


def test_what_goes_in_comes_out(bench: Bench) -> None:
    """Every field survives; queries filter by office, probe and time, in order and limited."""
    first = one("a", conditions={"under_load": True, "note": "पोटका"}, values={"sent": 0.1 + 0.2})
    failed = one("b", 1, outcome=Outcome.FAILED, cause="no_reply", values={"sent": 60.0})
    other = one("c", 2, office="boram", probe="conference", values={"grade": 3.0})
    assert bench.store.add([first, failed, other]) == [first, failed, other]
    assert bench.store.measurements() == [first, failed, other]
    assert bench.store.measurements(office="potka", newest_first=True) == [failed, first]
    assert bench.store.measurements(probe="conference") == [other]
    since, until = START + timedelta(minutes=1), START + timedelta(minutes=2)
    assert bench.store.measurements(since=since, until=until) == [failed]
    assert bench.store.measurements(limit=1) == [first]


def test_handing_in_twice_counts_once(bench: Bench) -> None:
    """The same id is kept once, also within one batch; the first one counts."""
    assert [m.id for m in bench.store.add([one("a"), one("a", 5)])] == ["a"]
    assert [m.id for m in bench.store.add([one("a"), one("b")])] == ["b"]
    assert [m.started_at for m in bench.store.measurements()] == [START, START]
    assert [t.runs for t in bench.store.tallies.all()] == [2]


def test_many_hands_at_once_lose_and_double_nothing(bench: Bench) -> None:
    """Threads that hand in overlapping batches: each measurement is new to exactly one."""
    batches = [[one(f"m{n}", n) for n in range(start, start + 40)] for start in range(0, 160, 20)]
    with ThreadPoolExecutor(8) as pool:
        new = [m.id for batch in pool.map(bench.store.add, batches) for m in batch]
    assert sorted(new) == sorted(f"m{n}" for n in range(180))
    assert len(bench.store.measurements()) == 180
    assert [t.runs for t in bench.store.tallies.all()] == [180]


def test_latest_keeps_the_last_of_each_outcome(bench: Bench) -> None:
    """A late result of the past does not become the latest; paths are kept separately."""
    ok = one("ok", 5)
    bench.clock.step(600)
    bench.store.add([ok, one("none", 6, outcome=Outcome.NO_DATA, cause="no_agent", values={})])
    bench.store.add([one("late", 1)])
    bench.store.add([one("own", 1, conditions={"path": "agent_hub"})])
    assert [m.id for m in bench.store.latest()] == ["own", "ok", "none"]


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
@pytest.mark.parametrize("at_once", [True, False], ids=["one batch", "one by one"])
def test_latest_is_the_run_that_ended_last(
    bench: Bench, order: tuple[int, ...], at_once: bool
) -> None:
    """A call that had no result, and a planned one that was refused while it ran: the refusal began
    later and ended before it. The hub showed it from its next start on."""
    lost: dict[str, Any] = {"outcome": Outcome.NO_DATA, "probe": "conference", "values": {}}
    call = one("call", 10, cause="agent_lost", **lost)
    refused = replace(one("refused", 10.5, cause="conference_on", **lost), duration=0.0)
    before = one("before", 8, cause="no_agent", **lost)
    bench.clock.step(720)
    records = [(before, refused, call)[index] for index in order]
    for batch in [records] if at_once else [[record] for record in records]:
        bench.store.add(batch)
    assert [m.id for m in bench.store.latest()] == ["call"]
    bench.store.add([replace(refused, started_at=call.ended_at, id="next")])
    assert [m.id for m in bench.store.latest()] == ["next"]


def test_a_run_from_before_the_clock_was_set_back_is_not_the_latest(bench: Bench) -> None:
    """It was for as long as the clock had been ahead: a start of the hub showed figures of a day
    that had not come yet. Later runs count as usual, also within one batch."""
    bench.clock.step(86400)
    bench.store.add([one("ahead", 24 * 60), one("ahead too", 24 * 60, office="boram")])
    bench.clock.step(-86400 + 600)
    bench.store.add([one("now", 9)])
    assert [m.id for m in bench.store.latest()] == ["now", "ahead too"]
    bench.store.add([one("late", 8)])
    bench.store.add([one("next", 10, office="boram"), one("late too", 3, office="boram")])
    assert [m.id for m in bench.store.latest()] == ["now", "next"]
    assert [t.runs for t in bench.store.tallies.all()] == [3, 3]


def test_totals_run_on(bench: Bench) -> None:
    """Runs and packets by office, probe, path and outcome, without a look at the rows."""
    bench.store.add([one("a"), one("b", 1), one("c", office="boram")])
    lost = {"sent": 60.0, "received": 0.0}
    bench.store.add([one("d", 2, outcome=Outcome.FAILED, cause="no_reply", values=lost)])
    found = [(t.office, t.outcome.value, t.runs, t.sent, t.received)
             for t in bench.store.tallies.all()]  # fmt: skip
    assert found == [
        ("boram", "ok", 1, 60, 59), ("potka", "failed", 1, 60, 0), ("potka", "ok", 2, 120, 118),
    ]  # fmt: skip


def test_bytes_spent_are_found_by_day(bench: Bench) -> None:
    """Of values where measured, of conditions where estimated; nonsense counts as nothing. A test
    across midnight is found on both days."""
    bench.store.add(
        [
            one("a", probe="bandwidth", values={"bytes_spent": 1000.0}),
            one("b", 1, probe="conference", values={}, conditions={"bytes_spent": 500}),
            one("c", 2, conditions={"bytes_spent": "all"}),
            one("d", 3, conditions={"bytes_spent": -7}),
        ]
    )
    day = timedelta(days=1)
    last = one("e", 24 * 60 - 0.5, probe="bandwidth", values={"bytes_spent": 7.0})
    bench.store.add([last])  # of a minute

    def spent(since: datetime) -> dict[str, int]:
        found = bench.store.spent("potka", since, since + day)
        return {name: one.amount for name, one in found.items()}

    assert spent(START) == {"a": 1000, "b": 500, "e": 7}
    assert bench.store.spent("potka", START + day, START + 2 * day) == {
        "e": ("potka", last.started_at, last.started_at + timedelta(seconds=60), 7)
    }
    assert spent(START + 2 * day) == spent(START - 2 * day) == {}


def test_blocks_hold_what_measurements_hold(bench: Bench) -> None:
    """A report reads columns; each figure is there once, with those of the same run."""
    loaded = one("l", 9, conditions={"under_load": True})
    bench.store.add([one(f"m{n}", n, values={"sent": n, "received": n - 1.0}) for n in range(1, 9)])
    bench.store.add([loaded, one("e", 3, outcome=Outcome.NO_DATA, values={})])
    blocks = list(
        bench.store.bulk_reader.blocks("potka", "latency", START, START + timedelta(hours=1))
    )
    assert sorted((b.outcome.value, b.count, bool(b.conditions)) for b in blocks) == [
        ("no_data", 1, False), ("ok", 1, True), ("ok", 8, False),
    ]  # fmt: skip
    plain = max(blocks, key=lambda block: block.count)
    pairs = sorted(zip(plain.values["sent"], plain.values["received"], strict=True))
    assert pairs == [(float(n), n - 1.0) for n in range(1, 9)]
    assert (plain.first, plain.last) == (START + timedelta(minutes=1), START + timedelta(minutes=8))


def test_blocks_part_by_path_and_hold_the_starts(bench: Bench) -> None:
    """Measurements over another path are apart, also where their figures have the same names."""
    plain = {"sent": 60.0, "received": 57.0}
    bench.store.add([
        one("a", 1, values=plain),
        one("b", 2, values=plain | {"jitter_seconds": 0.001, "rtt_p50_seconds": 0.04}),
        one("d", 4, values=plain, conditions={"path": "agent_gateway"}),
        one("e", 90, values=plain),
        one("f", 1, office="boram", values=plain),
    ])  # fmt: skip
    bounds = [START + timedelta(hours=hour) for hour in range(4)]
    blocks = bench.store.bulk_reader.blocks(None, "latency", *bounds[:2], starts=True)
    found = sorted((b.office, b.path, list(b.starts), b.values["received"]) for b in blocks)
    minutes = {n: round((START + timedelta(minutes=n)).timestamp() * 1000) for n in (1, 2, 4)}
    assert found == [
        ("boram", "jharnet", [minutes[1]], [57.0]),
        ("potka", "agent_gateway", [minutes[4]], [57.0]),
        ("potka", "jharnet", [minutes[1]], [57.0]),
        ("potka", "jharnet", [minutes[2]], [57.0]),
    ]
    own = bench.store.bulk_reader.blocks(
        "potka", "latency", *bounds[:2], path="agent_gateway", names=("received",), durations=True
    )
    assert [(b.path, dict(b.values), list(b.durations)) for b in own] == [
        ("agent_gateway", {"received": [57.0]}, [60.0])
    ]
    extents = list(bench.store.bulk_reader.extents("potka", "latency", bounds))
    assert extents[0] is not None and extents[0].count == 3 and extents[2] is None


def test_the_event_log_keeps_states_and_what_was_learnt_later(bench: Bench) -> None:
    """The state in force at the start of a period belongs to it; a later finding supersedes, though
    it begins before the state: with the last reply, some seconds before the office is called down.
    """
    event_log, hour = bench.store.event_log, timedelta(hours=1)
    event_log.add_transition("potka", OfficeState.UP, START, {"router": True})
    down = event_log.add_transition("potka", OfficeState.UNREACHABLE, START + hour, {})
    event_log.add_transition("potka", OfficeState.UP, START + 2 * hour, {})
    last_reply = START + hour - timedelta(seconds=8)
    event_log.add_transition("potka", OfficeState.POWER_DOWN, last_reply, {"boot_id": "new"},
                         until=START + 2 * hour, supersedes=down)  # fmt: skip
    of_outage = [("power_down", down), ("unreachable", None), ("up", None)]
    for first, expected in (
        (-1, [("up", None), *of_outage]),
        (0.5, [("up", None), *of_outage]),
        (1.5, of_outage),
        (2.5, [("up", None)]),
    ):
        found = event_log.transitions("potka", START + first * hour, START + 3 * hour)
        assert [(t.state.value, t.supersedes) for t in found] == expected
    for first in (-1, 0.5, 1, 1.5, 2.5):
        bounds = START + first * hour, START + 3 * hour
        [changes, none] = event_log.recorded_states(["potka", "boram"], *bounds)
        assert none == [] and changes == [
            RecordedState(t.number, t.state, t.at, t.until, t.supersedes)
            for t in event_log.transitions("potka", *bounds)
        ]
    assert event_log.last_transitions(["potka", "boram"])["potka"].state is OfficeState.UP


def test_windows_events_and_drills_are_found_again(bench: Bench) -> None:
    """A window for all is also an office's; of a drill the newest state is found."""
    event_log, hour = bench.store.event_log, timedelta(hours=1)
    everywhere = Window(None, START, START + hour, "generator service")
    event_log.add_window(everywhere)
    event_log.add_window(Window("boram", START, START + hour, "new router"))
    kept = replace(everywhere, announced=START, number=1)
    assert event_log.windows(START, START + hour, "potka") == [kept]
    event_log.add_event("potka", "joined", START, {"boot_id": "b1"})
    [event] = event_log.events("potka", START, START + hour)
    assert event.data == {"boot_id": "b1"}
    drill = Drill("d1", DrillState.RUNNING, Profile.P720, START, (DrillOffice("potka"),))
    event_log.add_drill(drill)
    done = replace(drill, state=DrillState.DONE)
    event_log.add_drill(done)
    assert event_log.drills(START, START + hour) == [done]
    assert event_log.drill("d1") == event_log.newest_drill() == done


def test_memory_survives_a_restart(bench: Bench) -> None:
    """Stored values are available to the next process."""
    bench.store.set_value("counters", {"potka": [1, 2]})
    bench.store.set_value("counters", {"potka": [3, 4]})
    bench.store.close()
    again = Store(bench.url, bench.clock)
    assert again.get_value("counters") == {"potka": [3, 4]}
    assert again.get_value("nothing") is None
    assert again.size() > 0
    again.close()


def test_the_migrations_make_the_tables_that_the_program_uses(bench: Bench) -> None:
    """A schema change without its migration fails here."""
    with engine.open_engine(bench.url).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    bench.store.require_schema()


def test_a_database_of_a_newer_program_is_refused(bench: Bench) -> None:
    """One line says what to do, and nothing is touched."""
    bench.sql("UPDATE alembic_version SET version_num = '9999'")
    for attempt in (bench.store.migrate, bench.store.require_schema):
        with pytest.raises(UserError, match=r"version 9999.*newer jharnet-monitor"):
            attempt()


def test_an_empty_database_is_named_as_such(tmp_path: Path) -> None:
    """A reader gets a message that says what to do, and no file is made."""
    file = tmp_path / "new.db"
    with pytest.raises(StoreError, match="there is no database yet; `jharnet-monitor run`"):
        Store(f"sqlite:///{file}", ManualClock(START)).require_schema()
    assert not file.exists()
    file.touch()
    with pytest.raises(StoreError, match=r"no schema yet; run `jharnet-monitor db migrate`"):
        Store(f"sqlite:///{file}", ManualClock(START)).require_schema()


@pytest.mark.root
def test_a_disk_without_room_is_called_full(tmp_path: Path) -> None:
    """SQLite then reports an I/O error when it opens a database, which read as a broken disk."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "jhn-test", disk], check=True)
    try:
        url = f"sqlite:///{disk}/monitor.db"
        with closing(Store(url, SystemClock())) as store:
            store.migrate()
        with suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass
        with closing(Store(url, SystemClock())) as store, pytest.raises(StoreError) as raised:
            store.set_value("key", 1)
        assert raised.value.trouble is Trouble.FULL
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk_keeps_nothing_half(lite: Bench) -> None:
    """A batch that does not fit is refused as a whole; earlier rows stay, and totals agree."""
    lite.store.add([one("a")])
    pages = lite.sql("PRAGMA page_count")[0][0]
    with lite.store._engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreError, match="full"):
        lite.store.add([one(f"x{n}", n) for n in range(2000)])
    assert [m.id for m in lite.store.measurements()] == ["a"]
    assert [t.runs for t in lite.store.tallies.all()] == [1]


@pytest.mark.root
def test_a_disk_that_fills_up_and_is_cleared_goes_on(tmp_path: Path) -> None:
    """A real small disk: whole batches alone, a clear error, and no restart needed afterwards."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "jhn-store", disk], check=True)
    try:
        (disk / "ballast").write_bytes(bytes(400_000))
        bench = Bench(f"sqlite:///{disk / 'monitor.db'}")
        with pytest.raises(StoreError):
            for batch in range(1000):
                bench.store.add([one(f"{batch}-{n}", batch) for n in range(50)])
        held = len(bench.store.measurements())
        assert held % 50 == 0
        (disk / "ballast").unlink()
        bench.store.add([one("after")])
        assert len(bench.store.measurements()) == held + 1
        assert bench.sql("PRAGMA integrity_check") == [("ok",)]
        bench.store.close()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_locked_database_is_one_clear_error(
    lite: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone else holds the lock for longer than we wait: nothing is kept, nothing hangs."""
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.1)
    impatient = Store(lite.url, lite.clock)
    with engine.writing(lite.store._engine), pytest.raises(StoreError, match="locked"):
        impatient.add([one("a")])
    assert impatient.measurements() == []
    impatient.close()


def test_texts_that_were_read_take_no_more_memory_than_stated(lite: Bench) -> None:
    """The number of cached texts was limited: one read of 10,000 paths took 76 MiB for good."""

    def conditions(run: int) -> dict[str, object]:
        rtt = {"sent": 20, "received": 20, "rtt_p50_seconds": 0.01 + run * 1e-6}
        hops = [{"address": f"10.8.{hop}.1", **rtt} for hop in range(16)]
        return {"path": "jharnet", "hops": hops}

    lite.store.add(
        [one(f"p{n}", n, probe="path", values={}, conditions=conditions(n)) for n in range(2000)]
    )
    reader = Store(lite.url, lite.clock)
    assert len(reader.measurements(limit=1)) == 1
    tracemalloc.start()
    try:
        assert len(reader.measurements(limit=2000)) == 2000
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < MOST_CACHED_BYTES
    finally:
        tracemalloc.stop()
        reader.close()


@pytest.mark.server("initdb", "pg_ctl")
def test_a_lost_server_is_one_clear_error_until_it_is_back(postgres: Postgres) -> None:
    """While PostgreSQL is down every call raises `StoreError`; afterwards all is as before."""
    bench = Bench(postgres.new_database())
    bench.store.add([one("a")])
    postgres.stop()
    try:
        with pytest.raises(StoreError):
            bench.store.add([one("b")])
    finally:
        postgres.start()
    bench.store.add([one("b")])
    assert [m.id for m in bench.store.measurements()] == ["a", "b"]
    bench.store.close()


_WRITER = """
import sys, itertools
from tests.store_support import Bench, one
bench = Bench(sys.argv[1])
for number in itertools.count():
    bench.store.add([one(f"{number}-{n}", number) for n in range(50)])
    print(number, flush=True)
"""


def test_acknowledged_data_survive_kill_9(lite: Bench) -> None:
    """Killed while it writes: every batch that was acknowledged is whole, the last may be."""
    command = [sys.executable, "-c", _WRITER, lite.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        acknowledged = [int(next(writer.stdout)) for _ in range(20)][-1]
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, writer.stdout.read().split())])
    numbers = [int(m.id.split("-")[0]) for m in lite.store.measurements()]
    counts = {number: numbers.count(number) for number in numbers}
    assert set(counts.values()) == {50}
    assert acknowledged <= max(counts) <= acknowledged + 1
    assert lite.sql("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize(
    "url", ["mysql://x/y", "sqlite:////proc/none/x.db", "nonsense", "postgresql://u@127.0.0.1:1/x"]
)
def test_a_database_that_cannot_be_is_one_clear_line(url: str, lite: Bench) -> None:
    """Unknown kinds are the user's error; missing places and servers may appear later."""
    error = UserError if "sqlite" not in url and "postgresql" not in url else StoreError
    with pytest.raises(error, match=r"^hub\.database: .*\Z"):
        Store(url, lite.clock).migrate()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path, lite: Bench) -> None:
    """And left as it is."""
    file = tmp_path / "letter.txt"
    file.write_text("महाशय," * 1000, "utf-8")
    with pytest.raises(StoreError, match="not a database"):
        Store(f"sqlite:///{file}", lite.clock).migrate()
    assert file.read_text("utf-8") == "महाशय," * 1000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "a\0b"), ("id", "x" * 201), ("office", "\ud800"), ("duration_seconds", 1e999),
        ("values", {"sent": float("nan")}), ("conditions", {"x": "\ud800"}),
        ("conditions", {"x": float("inf")}), ("started_at", "0001-01-01T00:00:00+05:30"),
    ],
)  # fmt: skip
def test_what_no_database_can_hold_is_no_measurement(field: str, value: object) -> None:
    """Refused on arrival: otherwise one invalid item would block its whole batch for ever."""
    with pytest.raises(ValueError, match=r"."):
        Measurement.from_json(one("a").to_json() | {field: value})

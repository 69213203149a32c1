"""Packed hours: every reader finds what was stored, the chain keeps its hashes, nothing is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, create_engine, inspect

from jharnet_monitor.model import ROUND_TRIPS, CountedIds, Measurement, Outcome
from jharnet_monitor.probes import PRUNABLE
from jharnet_monitor.store import Store, StoreError
from jharnet_monitor.store.column_batches import Packed, unpack_starts, unpack_values
from jharnet_monitor.store.columns import (
    pack_ids,
    pack_integers,
    pack_numbers,
    unpack_ids,
    unpack_integers,
    unpack_numbers,
)
from jharnet_monitor.store.engine import reading
from jharnet_monitor.store.pruning import PruningRule
from jharnet_monitor.store.round_trips import RoundTrips, pack_round_trips, unpack_round_trips
from jharnet_monitor.store.rows import canonical
from tests.store_support import BOTH, START, Bench, Postgres, bench_of, one

HOURS = 3
INDIA = ZoneInfo("Asia/Kolkata")
RULE = PruningRule(PRUNABLE, timedelta(days=92))
PERIOD = START - timedelta(days=1), START + timedelta(days=1)


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


def minute(office: str, at: float, dice: random.Random, ids: CountedIds) -> Measurement:
    """A minute of the hub's, with its packets, as the latency probe makes it."""
    trips = [None if dice.random() < 0.02 else 4000 + round(dice.expovariate(0.02))
             for _ in range(60)]  # fmt: skip
    back = len(trips) - trips.count(None)
    values = {"sent": 60.0, "received": float(back), "loss_ratio": (60 - back) / 60,
              "rtt_p50_seconds": round(dice.gauss(0.041, 0.001), 6)}  # fmt: skip
    conditions: dict[str, Any] = {"target": "router", "address": "10.8.3.1"}
    if dice.random() < 0.1:
        conditions |= {"under_load": True, "checks": dice.randrange(9)}
    return one(ids(), at, office, conditions=conditions, values=values, round_trips=tuple(trips))


def fill(bench: Bench, hours: int = HOURS, *, packets: bool = True) -> list[Measurement]:
    """Hours of three offices, of agents with an uptime in their conditions, of rare runs, and of a
    spool that was handed in late; all sealed. Returns what was stored."""
    dice, ids, every = random.Random(7), CountedIds("hub."), list[Measurement]()
    for hour in range(hours):
        made: list[Measurement] = []
        for n in range(0, 60, 4):
            at = 60 * hour + n + 0.0001 * dice.randrange(99)
            made += [minute(office, at, dice, ids) for office in ("potka", "boram", "ghatshila")]
            own = {"path": "agent_hub", "boot_id": "b1", "uptime_seconds": 1e5 + 60 * at + 0.1}
            made.append(one(f"{dice.getrandbits(128):032x}", at, conditions=own))
            made.append(one(f"u{at}", at, probe="utilisation", conditions={"lan_errors": True},
                            values={"download_bits_per_second": dice.random() * 4e6}))  # fmt: skip
        made.append(one(f"b{hour}", 60 * hour, probe="bandwidth", values={"bytes_spent": 100.0}))
        made.append(one(f"f{hour}", 60 * hour + 1, outcome=Outcome.FAILED, cause="no_reply",
                        values={"sent": 60.0, "received": 0.0}))  # fmt: skip
        if hour == 1:
            made += [one(f"late-{n}", n - 600, "boram", conditions={"path": "agent_gateway"})
                     for n in range(0, 300, 10)]  # fmt: skip
        made = made if packets else [replace(m, round_trips=()) for m in made]
        assert len(bench.store.add(made)) == len(made)
        every += made
        bench.clock.step(3600)
    bench.clock.step(3600)
    assert bench.store.chain.seal() == hours
    return every


def pack(bench: Bench) -> int:
    """Pack all that can be packed; returns the number of steps."""
    steps = 0
    while bench.store.packing.step():
        steps += 1
    return steps


def answers(store: Store) -> dict[str, Any]:
    """What every reader of measurements says, in a form that does not depend on the storage."""
    hour, found = timedelta(hours=1), dict[str, Any]()
    queries: dict[str, dict[str, Any]] = {
        "all": {}, "office": {"office": "potka"}, "probe": {"probe": "latency"},
        "path": {"office": "boram", "probe": "latency", "path": "agent_gateway"},
        "time": {"since": START + 0.3 * hour, "until": START + 1.5 * hour},
        "some": {"limit": 7, "office": "boram"}, "one": {"limit": 1},
        "page": {"limit": 50, "probe": "latency", "since": START + hour},
    }  # fmt: skip
    for name, filters in queries.items():
        found[name] = store.measurements(**filters)
        found[f"{name}, newest first"] = store.measurements(**filters, newest_first=True)
    found["latest"], found["totals"] = store.latest(), store.tallies.all()
    found["spent"] = store.spent("potka", *PERIOD)
    bounds = [START + n * hour for n in range(-12, 6)]
    reader = store.bulk_reader
    found["extents"] = [list(reader.extents("potka", probe, bounds))
                        for probe in ("latency", "utilisation")]  # fmt: skip
    found["extents by office"] = [
        reader.extents_by_office(["boram", "potka", "nowhere"], probe, START + part * hour, until)
        for probe in ("latency", "utilisation") for part in (0, 0.4)
        for until in (START + 0.9 * hour, START + 5 * hour)
    ]  # fmt: skip
    several = ["potka", "boram"]
    found["blocks of several"] = sorted(
        (b.office, at, *b.values.get("received", ())[n : n + 1])
        for b in reader.blocks(several, "latency", *PERIOD, path="jharnet", names=("received",),
                               starts=True)
        for n, at in enumerate(b.starts)
    )  # fmt: skip
    found["blocks of each"] = sorted(
        (b.office, at, *b.values.get("received", ())[n : n + 1])
        for office in several
        for b in reader.blocks(office, "latency", *PERIOD, path="jharnet", names=("received",),
                               starts=True)
        for n, at in enumerate(b.starts)
    )  # fmt: skip
    assert found["blocks of several"] == found["blocks of each"] != []
    found["blocks"] = sorted(
        (b.office, b.path, b.outcome, bool(b.conditions.get("under_load")), at,
         *(float(b.values[name][n]) for name in sorted(b.values)))
        for b in reader.blocks(None, "latency", *PERIOD, starts=True)
        for n, at in enumerate(b.starts)
    )  # fmt: skip
    found["blocks of a path"] = sorted(
        (b.office, sorted(b.values), at, b.durations[n], *(b.values[name][n] for name in b.values))
        for b in reader.blocks(None, "latency", *PERIOD, path="jharnet", names=("received",),
                               starts=True, durations=True)
        for n, at in enumerate(b.starts)
    )  # fmt: skip
    found["first"] = store.first_start()
    links = store.chain.links()
    found["export"] = [list(store.export.measurements(probe, links))
                       for probe in ("latency", "bandwidth", "utilisation")]  # fmt: skip
    found["quantities"] = store.export.quantities("latency", links)
    found["lines"] = [sorted(store.chain.records(link)) for link in links]
    found["round trips"] = list(store.round_trips("boram", *PERIOD))
    return found


def test_every_reader_finds_packed_hours_as_rows(bench: Bench) -> None:
    """Lists, pages, reports, dossiers, totals and the chain: the same before and after."""
    stored = fill(bench)
    before, root = answers(bench.store), bench.store.chain.root()
    assert sorted(m.id for m in before["all"]) == sorted(m.id for m in stored)
    assert pack(bench) == HOURS
    for store in (bench.store, Store(bench.url, bench.clock)):
        after = answers(store)
        for name, answer in before.items():
            assert after[name] == answer, name
        assert store.chain.verify() == [] and store.chain.root() == root
    assert bench.sql("SELECT DISTINCT probe FROM measurements") == [("bandwidth",)]
    assert bench.sql("SELECT count(*) FROM measurements WHERE probe = 'bandwidth'") == [(HOURS,)]
    assert bench.sql("SELECT 1 FROM measurements WHERE round_trips IS NOT NULL") == []


def test_every_packet_is_found_again(bench: Bench) -> None:
    """Before and after its hour is packed, and while it is not even sealed."""
    stored = [m for m in fill(bench) if m.office == "boram" and m.round_trips]
    for _ in range(2):
        found = list(bench.store.round_trips("boram", *PERIOD))
        assert [(o.started_at, o.packets) for o in found] == [
            (round(m.started_at.timestamp() * 1000), m.round_trips) for m in stored
        ]
        pack(bench)
    late = replace(one("x", 400, "boram"), round_trips=(1, None, 3))
    bench.store.add([late])
    since = START + timedelta(minutes=400)
    [last] = bench.store.round_trips("boram", since, since + timedelta(seconds=1))
    assert last.packets == (1, None, 3)
    assert list(bench.store.round_trips("potka", since, PERIOD[1])) == []


def test_what_is_packed_is_not_stored_again(bench: Bench) -> None:
    """An agent that hands in once more what it handed in weeks ago changes nothing."""
    stored = fill(bench)
    pack(bench)
    assert bench.store.add(stored) == []
    fresh = replace(stored[5], id="fresh")
    assert bench.store.add([*stored[:9], fresh]) == [fresh]
    assert len(bench.store.measurements()) == len(stored) + 1


def test_a_late_minute_is_not_newer_than_the_packed_one_after_it(bench: Bench) -> None:
    """It ended where that one began, and of what is packed only the start is at hand."""
    fill(bench)
    pack(bench)
    before = {m.series: m for m in bench.store.latest() if m.office == "potka"}
    latest = before["latency"]
    late = replace(latest, started_at=latest.started_at - timedelta(minutes=1), id="late")
    assert late.ended_at == latest.started_at
    assert bench.store.add([late]) == [late]
    assert {m.series: m for m in bench.store.latest() if m.office == "potka"} == before
    later = replace(latest, started_at=latest.ended_at, id="later")
    bench.store.add([later])
    assert later in bench.store.latest()


@pytest.mark.parametrize("seconds", [0.004, -0.004, 300.0, -300.0])
def test_a_start_that_was_corrected_otherwise_is_not_another_run(
    bench: Bench, seconds: float
) -> None:
    """The hub's estimate of an agent's clock changes between two times that the agent hands in: the
    first and last runs of a packed hour were stored twice."""
    stored = fill(bench)
    pack(bench)
    own = [m for m in stored if m.series.endswith("agent_hub")]
    for run in (own[0], own[-1], max(stored, key=lambda m: m.started_at), stored[0]):
        again = replace(run, started_at=run.started_at + timedelta(seconds=seconds))
        assert bench.store.add([again]) == []
    assert len(bench.store.measurements()) == len(stored)


def test_a_changed_hour_is_not_packed(bench: Bench) -> None:
    """Its rows stay as they are, so that `db verify` still names what differs."""
    fill(bench)
    bench.sql("UPDATE measurements SET \"values\" = '[1.0,60.0]' WHERE id = 'f1'")
    assert pack(bench) == HOURS
    assert bench.sql("SELECT number, packed FROM chunks ORDER BY number") == [
        (1, 1), (2, 2), (3, 1),
    ]  # fmt: skip
    [problem] = bench.store.chain.verify()
    assert "records of `latency` differ" in problem


CHANGES = [
    "UPDATE packed_series SET office = 'musabani' WHERE number = 1",
    "UPDATE packed_series SET body = (SELECT body FROM packed_series WHERE number = 2) "
    "WHERE number = 1",
    "UPDATE packed_series SET link = 2 WHERE number = 1",
    "UPDATE packed_series SET link = 99 WHERE number = 1",
    "DELETE FROM packed_series WHERE number = 1",
    "INSERT INTO packed_series SELECT 999, link, office, probe, path, begin, last, rows, shapes, "
    "body FROM packed_series WHERE number = 1",
    "DELETE FROM packed_round_trips WHERE link = 1",
    "UPDATE packed_round_trips SET body = (SELECT body FROM packed_round_trips WHERE link = 2) "
    "WHERE link = 1",
    "UPDATE texts SET body = replace(body, 'router', 'switch') WHERE body LIKE '[\"ok%'",
    "UPDATE texts SET number = number + 100",
    "UPDATE packed_series SET body = x'00' WHERE number = 1",
    "UPDATE packed_round_trips SET body = x'00' WHERE link = 1",
    "INSERT INTO packed_round_trips SELECT 77, begin, last, body FROM packed_round_trips "
    "WHERE link = 1",
]


def test_every_change_of_what_is_packed_is_found(tmp_path: Path) -> None:
    """Figures, series, hours and packets: changed, moved, doubled, removed or damaged."""
    file = tmp_path / "monitor.db"
    bench = Bench(f"sqlite:///{file}")
    fill(bench)
    pack(bench)
    bench.store.close()
    bench.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = file.read_bytes()
    for statement in CHANGES:
        file.write_bytes(whole)
        bench.sql(statement)
        fresh = Store(bench.url, bench.clock)
        assert fresh.chain.verify(), statement
        fresh.close()
    file.write_bytes(whole)
    bench.sql("UPDATE packed_series SET body = x'00' WHERE number = 1")
    fresh = Store(bench.url, bench.clock)
    assert "is damaged" in fresh.chain.verify()[0]
    with pytest.raises(StoreError, match=r"a packed hour of .* is damaged"):
        fresh.measurements()
    fresh.close()


def test_pruning_packed_hours_keeps_hashes_and_days(bench: Bench) -> None:
    """Figures and packets go, what is rare stays, days are summed as they are from rows."""
    fill(bench)
    before, root = bench.store.measurements(), bench.store.chain.root()
    pack(bench)
    bench.clock.step(93 * 86400)
    prunable = {"latency", "utilisation"}
    expected = sum(m.probe in prunable for m in before)
    assert bench.store.retention.prune(START + timedelta(days=1), INDIA, PRUNABLE) == expected
    assert {m.probe for m in bench.store.measurements()} == {"bandwidth"}
    assert list(bench.store.round_trips("boram", *PERIOD)) == []
    assert bench.store.chain.verify(RULE) == [] and bench.store.chain.root() == root
    assert ROUND_TRIPS in bench.store.chain.links()[0].pruned
    for table in ("packed_series", "packed_round_trips"):
        assert bench.sql(f"SELECT count(*) FROM {table}") == [(0,)]  # noqa: S608 - our own
    days = bench.store.retention.days(PERIOD[0].date(), PERIOD[1].date(), probe="latency")
    assert sum(sum(day.outcomes.values()) for day in days) == sum(
        m.probe == "latency" for m in before
    )


def test_conditions_of_pruned_runs_go_with_them(bench: Bench) -> None:
    """Each traced path has its hops as conditions of its own, which would stay for ever. Those of
    other rows stay, and so do those of a row that comes while they are sought."""
    fill(bench)
    paths = [one(f"p{n}", 60 * HOURS + 60 + n, probe="path", conditions={"hops": [str(n)]},
                 values={"bytes_spent": 900.0}) for n in range(50)]  # fmt: skip
    bench.store.add(paths)
    bench.clock.step(3600)
    bench.store.chain.seal()
    pack(bench)
    hops = "SELECT body FROM texts WHERE substr(body, 1, 7) = '{\"hops\"'"
    assert len(bench.sql(hops)) == 50
    bench.clock.step(93 * 86400)
    kept = [m for m in bench.store.measurements() if m.probe == "bandwidth"]
    bench.store.retention.prune(START + timedelta(days=1), INDIA, PRUNABLE)
    again = one("again", 93 * 1440, probe="path", conditions={"hops": ["7"]})

    @contextmanager
    def then_a_row_comes(engine: Engine) -> Iterator[Connection]:
        with reading(engine) as connection:
            yield connection
        bench.store.add([again])

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("jharnet_monitor.store.interned_json.reading", then_a_row_comes)
        assert bench.store.packing.step()
    pack(bench)
    assert bench.sql(hops) == [('{"hops":["7"]}',)]
    fresh = Store(bench.url, bench.clock)
    assert fresh.measurements() == [*kept, again]
    assert fresh.chain.verify(RULE) == []
    fresh.close()


def as_schema_1(bench: Bench) -> None:
    """Turn a database without packed hours into what a program of schema 0001 would have written:
    conditions that change from run to run each have a text of their own."""
    engine = create_engine(bench.url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        sql = connection.exec_driver_sql
        rows = sql("SELECT m.number, t.body, own_conditions FROM measurements m JOIN texts t "
                   "ON t.number = m.conditions WHERE own_conditions IS NOT NULL").all()  # fmt: skip
        for row, shared, own in rows:
            body = canonical({**json.loads(shared), **json.loads(own)})
            text = f"INSERT INTO texts (digest, body) VALUES ('{row:064}', '{body}')"  # noqa: S608
            number = sql(f"{text} RETURNING number").scalar_one()
            sql(f"UPDATE measurements SET conditions = {number} WHERE number = {row}")  # noqa: S608
        for table, column in (("measurements", "own_conditions"), ("measurements", "round_trips"),
                              ("chunks", "packed")):  # fmt: skip
            sql(f"ALTER TABLE {table} DROP COLUMN {column}")
        for table in ("packed_series", "packed_round_trips"):
            sql(f"DROP TABLE {table}")
        sql("DROP INDEX events_by_kind")
        sql("UPDATE alembic_version SET version_num = '0001'")
    engine.dispose()


def test_a_database_of_schema_1_is_packed_while_the_hub_runs(bench: Bench) -> None:
    """The chain verifies before, in the midst, and after; its roots stay; new rows come all the
    while; texts that nobody needs any more are gone, and the space can be given back."""
    fill(bench, packets=False)
    roots = [link.root for link in bench.store.chain.links()]
    before = answers(bench.store)
    bench.store.close()
    as_schema_1(bench)
    store = bench.store = Store(bench.url, bench.clock)
    assert store.migrate() == "0004"
    assert store.chain.verify() == [] and [x.root for x in store.chain.links()] == roots
    texts = bench.sql("SELECT count(*) FROM texts")[0][0]
    assert store.packing.step()
    assert store.chain.verify() == []
    assert answers(store)["all"] == before["all"]
    store.add([one("new", 60 * HOURS + 90)])
    assert pack(bench) >= HOURS - 1
    assert store.chain.verify() == [] and [x.root for x in store.chain.links()] == roots
    assert bench.sql("SELECT count(*) FROM texts")[0][0] < texts / 2
    assert len(store.measurements()) == len(before["all"]) + 1
    store.packing.shrink()
    again = Store(bench.url, bench.clock)
    assert again.chain.verify() == [] and answers(again)["lines"] == before["lines"]
    again.close()


def test_schemas_1_and_2_migrate_to_the_same_tables(tmp_path: Path) -> None:
    """Whatever the database began as, its columns and indexes are those of today."""
    old, new = Bench(f"sqlite:///{tmp_path}/old.db"), Bench(f"sqlite:///{tmp_path}/new.db")
    fill(old, 1, packets=False)
    as_schema_1(old)
    old.store.migrate()
    found = []
    for bench in (old, new):
        look = inspect(bench.store._engine)
        found.append({
            t: {str(one["name"]) for one in [*look.get_columns(t), *look.get_indexes(t)]}
            for t in look.get_table_names()
        })  # fmt: skip
        bench.store.close()
    assert found[0] == found[1]


def test_killed_while_packing_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """kill -9 at random moments, as often as it takes: each hour is packed or not."""
    bench, dice, killed = Bench(f"sqlite:///{tmp_path}/monitor.db"), random.Random(3), 0
    stored = sorted(m.id for m in fill(bench, 12))
    for _ in range(6):
        bench.store.close()
        child = os.fork()
        if not child:
            while Store(bench.url, bench.clock).packing.step():
                pass
            os._exit(0)
        time.sleep(0.01 + 0.06 * dice.random())
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        assert bench.store.chain.verify() == []
        assert sorted(m.id for m in bench.store.measurements()) == stored
    assert killed
    pack(bench)
    assert bench.store.chain.verify() == []
    assert sorted(m.id for m in bench.store.measurements()) == stored
    bench.store.close()


numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**70), 2**70),
    st.integers(0, 100).map(lambda n: n / 100), st.just(-0.0),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(-(2**62), 2**62)), st.lists(numbers, min_size=1),
       st.lists(st.text(), min_size=1), st.lists(st.integers(0, 10**18)))  # fmt: skip
def test_any_column_comes_back_to_the_last_bit(
    whole: list[int], mixed: list[float], texts: list[str], counts: list[int]
) -> None:
    """Whatever the figures and ids are: packing is exact, or falls back to what is."""
    assert list(unpack_integers(pack_integers(whole), len(whole))) == whole
    back = unpack_numbers(pack_numbers(mixed), len(mixed))
    assert list(map(repr, back)) == list(map(repr, mixed))
    for ids in (texts, [f"a-{n}" for n in counts], [f"{n:032x}" for n in counts]):
        assert list(unpack_ids(pack_ids(ids), len(ids))) == ids


@pytest.mark.parametrize("library", [True, False], ids=["numpy", "plain"])
@settings(max_examples=100, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(st.lists(st.lists(st.integers(-(2**62), 2**62))), st.lists(st.lists(numbers, min_size=1)))
def test_columns_come_back_together_as_one_by_one(
    monkeypatch: pytest.MonkeyPatch, library: bool, whole: list[list[int]], mixed: list[list[float]]
) -> None:
    """Hours of any widths, lengths and kinds, unpacked at once: the same numbers, to the last bit,
    with NumPy and without."""
    with monkeypatch.context() as patched:
        if not library:
            patched.delitem(sys.modules, "numpy", raising=False)
        packed = [Packed(pack_integers(one), len(one)) for one in whole]
        assert list(unpack_starts(packed)) == [n for one in whole for n in one]
        assert list(unpack_starts([*packed, [7, -8]]))[-2:] == [7, -8]
        parts = [Packed(pack_numbers(one), len(one)) for one in mixed]
        flat = array("d", [n for one in mixed for n in one])
        assert unpack_values(parts).tobytes() == flat.tobytes()


@pytest.mark.parametrize("library", [True, False], ids=["numpy", "plain"])
def test_a_damaged_column_is_refused(monkeypatch: pytest.MonkeyPatch, library: bool) -> None:
    """One that is shorter than it says is not read as other numbers."""
    good = Packed(pack_integers([1, 500, 70_000]), 3)
    if not library:
        monkeypatch.delitem(sys.modules, "numpy", raising=False)
    with pytest.raises(ValueError, match="another length"):
        unpack_starts([good, Packed(good.data[:-1], 3)])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.one_of(st.none(), st.integers(0, 2**31 - 1)), max_size=70)))
def test_any_packets_come_back(every: list[list[int | None]]) -> None:
    """Losses, gaps and minutes without a packet."""
    records = [RoundTrips(n, f"o{n % 3}", "latency", "jharnet", 60_000 * n, tuple(packets))
               for n, packets in enumerate(every)]  # fmt: skip
    assert sorted(unpack_round_trips(pack_round_trips(records))) == records

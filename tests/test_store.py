"""The store: idempotent, sealed, migrated, and honest about a full disk."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, text

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.errors import UserError
from jharnet_monitor.model import Measurement, OfficeState, Outcome
from jharnet_monitor.store import Store, StoreError, Window
from jharnet_monitor.store.tables import metadata

START = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)


class Bench:
    """A store in a file, with its clock."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "monitor.db"
        self.clock = ManualClock(START)
        self.store = Store(f"sqlite:///{self.file}", self.clock)
        self.store.migrate()

    def sql(self, statement: str) -> list[Any]:
        """Change or ask the file behind the store's back."""
        with sqlite3.connect(self.file) as connection:
            return connection.execute(statement).fetchall()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """An empty, migrated database."""
    return Bench(tmp_path)


def one(name: str, minutes: float = 0, office: str = "potka", **fields: Any) -> Measurement:
    """A latency measurement; the fields replace its own."""
    fields = {
        "outcome": Outcome.OK,
        "values": {"sent": 60.0, "received": 59.0, "rtt_p50_seconds": 0.041},
        **fields,
    }
    probe = fields.pop("probe", "latency")
    moment = START + timedelta(minutes=minutes)
    return Measurement(office, probe, moment, 60.0, id=name, **fields)


def test_what_goes_in_comes_out(bench: Bench) -> None:
    """Every field survives; queries filter by office, probe and time, in order and limited."""
    first = one("a", conditions={"under_load": True, "note": "पोटका"})
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
    """The same id is kept once, also within one batch; the first stands."""
    assert [m.id for m in bench.store.add([one("a"), one("a")])] == ["a"]
    assert [m.id for m in bench.store.add([one("a"), one("b")])] == ["b"]
    assert len(bench.store.measurements()) == 2


def test_latest_keeps_the_last_of_any_outcome_and_the_last_good(bench: Bench) -> None:
    """A late result of the past does not become the latest; paths stand side by side."""
    ok = one("ok", 5)
    bench.store.add([ok, one("none", 6, outcome=Outcome.NO_DATA, cause="no_agent", values={})])
    bench.store.add([one("late", 1)])
    bench.store.add([one("own", 1, conditions={"path": "agent_hub"})])
    assert {m.id for m in bench.store.latest()} == {"ok", "none", "own"}


def test_bytes_spent_are_summed_by_day(bench: Bench) -> None:
    """Of values where measured, of conditions where estimated, nothing else."""
    bench.store.add(
        [
            one("a", probe="bandwidth", values={"bytes_spent": 1000.0}),
            one("b", 1, probe="conference", values={}, conditions={"bytes_spent": 500}),
            one("c", 2),
        ]
    )
    day = timedelta(days=1)
    assert bench.store.spent("potka", START, START + day) == 1500
    assert bench.store.spent("potka", START + day, START + 2 * day) == 0


def test_the_chain_seals_by_the_hour_and_finds_what_was_changed(bench: Bench) -> None:
    """Nothing is sealed early; any change of a sealed record, its loss or addition is named."""
    for hour in range(4):
        bench.store.add([one(f"{hour}-{n}", hour * 60 + n) for n in range(5)])
        bench.clock._pass(3600)
    assert bench.store.chain.seal() == 4
    assert bench.store.chain.seal() == 0
    root = bench.store.chain.root()
    assert bench.store.chain.verify() == []
    bench.store.add([one("now")])
    assert bench.store.chain.seal() == 0, "the hour is not over"
    bench.clock._pass(3700)
    assert bench.store.chain.seal() == 1
    assert bench.store.chain.root() != root
    assert bench.store.chain.verify() == []

    bench.sql("UPDATE measurements SET \"values\" = '{}' WHERE id = '1-2'")
    assert bench.store.chain.verify() == [
        "the hour from 2026-11-23 07:00 UTC: the 5 records of `latency` are not those that were "
        "sealed"
    ]
    bench.sql("DELETE FROM measurements WHERE id = '1-2'")
    assert bench.store.chain.verify() == [
        "the hour from 2026-11-23 07:00 UTC: held 5 records of `latency`, now 4"
    ]


def test_a_clock_step_tears_no_chain(bench: Bench) -> None:
    """Ten years forward and back again: everything is sealed once, in order, and verifies."""
    bench.store.add([one("a")])
    bench.clock.step(10 * 365 * 86400)
    bench.store.add([one("b")])
    bench.clock.step(-10 * 365 * 86400)
    bench.store.add([one("c")])
    bench.clock._pass(7200)
    bench.store.chain.seal()
    bench.store.add([one("d")])
    bench.clock._pass(7200)
    bench.store.chain.seal()
    links = bench.store.chain.links()
    assert sum(link.parts["latency"].records for link in links) == 4
    assert bench.store.chain.verify() == []


def test_the_diary_keeps_states_and_what_was_learnt_later(bench: Bench) -> None:
    """The state in force at the start of a period belongs to it; a later finding supersedes."""
    diary = bench.store.diary
    hour = timedelta(hours=1)
    diary.add_transition("potka", OfficeState.UP, START, {"router": True})
    down = diary.add_transition("potka", OfficeState.UNREACHABLE, START + hour, {})
    diary.add_transition("potka", OfficeState.UP, START + 2 * hour, {})
    diary.add_transition(
        "potka",
        OfficeState.POWER_DOWN,
        START + hour,
        {"boot_id": "new"},
        until=START + 2 * hour,
        supersedes=down,
    )
    found = diary.transitions("potka", START + 0.5 * hour, START + 3 * hour)
    assert [(t.state.value, t.supersedes) for t in found] == [
        ("up", None), ("unreachable", None), ("power_down", down), ("up", None),
    ]  # fmt: skip
    assert diary.last_transitions()["potka"].state is OfficeState.UP


def test_windows_events_and_drills_are_found_again(bench: Bench) -> None:
    """A window for all is also an office's; a drill's newest state replaces the older."""
    diary, hour = bench.store.diary, timedelta(hours=1)
    everywhere = Window(None, START, START + hour, "generator service")
    diary.add_window(everywhere)
    diary.add_window(Window("boram", START, START + hour, "new router"))
    assert diary.windows(START, START + hour, "potka") == [everywhere]
    diary.add_event("potka", "joined", START, {"boot_id": "b1"})
    event = diary.last_event("potka")
    assert event is not None
    assert event.data == {"boot_id": "b1"}
    drill = {"id": "d1", "state": "running", "started_at": "2026-11-23T06:30:00Z"}
    diary.add_drill(drill)
    diary.add_drill(drill | {"state": "done"})
    assert [d["state"] for d in diary.drills(START, START + hour)] == ["done"]


def test_memory_survives_a_restart(bench: Bench) -> None:
    """What was remembered is there for the next process."""
    bench.store.remember("counters", {"potka": [1, 2]})
    bench.store.remember("counters", {"potka": [3, 4]})
    bench.store.close()
    again = Store(f"sqlite:///{bench.file}", bench.clock)
    assert again.recall("counters") == {"potka": [3, 4]}
    assert again.recall("nothing") is None
    assert again.size() > 0


def test_the_migrations_make_the_tables_that_the_program_uses(bench: Bench) -> None:
    """A schema change without its migration would show here."""
    engine = create_engine(f"sqlite:///{bench.file}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"


def test_a_database_of_a_newer_program_is_refused(bench: Bench) -> None:
    """One line says what to do, and nothing is touched."""
    bench.sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(UserError, match=r"version 9999.*newer jharnet-monitor"):
        bench.store.migrate()


def test_a_full_disk_keeps_nothing_half(bench: Bench) -> None:
    """A batch that does not fit is refused whole, and what was there stays readable."""
    bench.store.add([one("a")])
    pages = bench.sql("PRAGMA page_count")[0][0]
    with bench.store._engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreError, match="full"):
        bench.store.add([one(f"x{n}", n) for n in range(2000)])
    assert [m.id for m in bench.store.measurements()] == ["a"]


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite:////proc/none/x.db", "nonsense"])
def test_a_database_that_cannot_be_is_one_clear_line(url: str, bench: Bench) -> None:
    """Unknown kinds and impossible places are the user's error."""
    with pytest.raises(UserError, match=r"hub\.database"):
        Store(url, bench.clock).migrate()

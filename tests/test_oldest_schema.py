"""A database that the first released program wrote is migrated, packed and verified."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import inspect
from typer.testing import CliRunner

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.commands import db
from jharnet_monitor.model import OfficeState, format_utc
from jharnet_monitor.store import Store, schema
from tests.made_up import config as made_up_config
from tests.oldest_schema import load_into_postgresql, load_into_sqlite
from tests.store_support import BOTH, Postgres

NOW = datetime(2026, 11, 27, tzinfo=UTC)
BEGIN = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """One cluster for the file."""
    cluster = Postgres()
    yield cluster
    cluster.remove()


@pytest.fixture(params=BOTH)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The old database on each kind of server."""
    if request.param == "sqlite":
        load_into_sqlite(tmp_path / "monitor.db")
        return f"sqlite:///{tmp_path / 'monitor.db'}"
    address: str = request.getfixturevalue("postgres").new_database()
    load_into_postgresql(address, tmp_path / "old.db")
    return address


def _written(place: Path) -> tuple[list[str], dict[str, tuple[str, str, str, float]]]:
    """Roots of the chain, and measurements by id, as they are in the file."""
    load_into_sqlite(place)
    with closing(sqlite3.connect(place)) as connection:
        roots = [root for (root,) in connection.execute("SELECT root FROM chunks ORDER BY number")]
        rows = connection.execute(
            "SELECT id, office, probe, started_at, duration FROM measurements"
        )
        found = {
            name: (office, probe, format_utc(datetime.fromtimestamp(at / 1000, UTC)), duration)
            for name, office, probe, at, duration in rows
        }
    return roots, found


def _verified(url: str, directory: Path) -> str:
    """What `db verify` prints; it must end with 0."""
    file = directory / "jharnet.yaml"
    office = made_up_config(1).offices[0]
    file.write_text(
        "district: {id: x, name: X, name_hi: एक्स}\n"
        f"hub: {{tls: false, database: '{url}', uplink: {{contracted: 34 Mbit/s}}}}\n"
        f"offices: [{{id: {office.id}, name: A, name_hi: अ, router: {office.router}}}]\n",
        "utf-8",
    )
    done = CliRunner().invoke(db.app, ["verify", "--config", str(file)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_it_migrates_and_verifies(url: str, tmp_path: Path) -> None:
    """Every record is there before and after packing, and the chain's roots are those of then."""
    roots, written = _written(tmp_path / "copy.db")
    assert (len(roots), len(written)) == (5, 3 * 40 + 4 - 40)  # five hours; 40 minutes were pruned
    store = Store(url, ManualClock(NOW))
    assert store.migrate() == schema.newest()
    _verified(url, tmp_path)
    while store.packing.step():
        pass
    with store._engine.connect() as connection:
        packed = connection.exec_driver_sql("SELECT sum(rows) FROM packed_series").scalar_one()
        assert packed >= 60
    assert "pruned" in _verified(url, tmp_path)
    assert [link.root for link in store.chain.links()] == roots
    read = {
        m.id: (m.office, m.probe, format_utc(m.started_at), m.duration)
        for m in store.measurements()
    }
    assert read == written
    zone = ZoneInfo("Asia/Kolkata")
    first = datetime(2026, 6, 1, tzinfo=zone).date()
    days = store.retention.days(first, BEGIN.date(), probe="latency")
    assert {day.office for day in days} == {"potka", "ghatsila"}
    states = [one.state for one in store.event_log.transitions("potka")]
    assert states == [OfficeState.UNREACHABLE, OfficeState.LINK_DOWN, OfficeState.UP]
    assert [event.kind for event in store.event_log.events("potka")] == ["joined"]
    assert [window.reason for window in store.event_log.windows(BEGIN, NOW)] == ["router"]
    assert [mail.recipient for mail in store.mails.of("weekly-2026-W47")] == ["dc@example.in"]
    assert store.get_value("beat") == "2026-11-23T08:00:00.000Z"
    store.close()


def test_its_tables_are_those_of_a_new_database(url: str, tmp_path: Path) -> None:
    """Columns and indexes, whatever the program that made them; no constraint of then is left on
    PostgreSQL. SQLite keeps two foreign keys, which it does not enforce."""
    old, new = Store(url, ManualClock(NOW)), Store(f"sqlite:///{tmp_path}/new.db", ManualClock(NOW))
    found = []
    for store in (old, new):
        store.migrate()
        look = inspect(store._engine)
        tables = sorted(look.get_table_names())
        found.append(
            {
                table: ({column["name"] for column in look.get_columns(table)},
                        {str(index["name"]) for index in look.get_indexes(table)
                         if not index.get("duplicates_constraint")})
                for table in tables
            }
        )  # fmt: skip
        if store._engine.dialect.name == "postgresql":
            assert look.get_foreign_keys("measurements") == []
        store.close()
    assert found[0] == found[1]

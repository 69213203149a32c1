"""The database of the oldest schema, written by its own program: `cases/database-0001.sql`.

python -m tests.oldest_schema

writes the file again, with the program of commit `OLDEST` from this repository's history: an hour
whose minutes were pruned later, two hours of two offices, and every kind of record of that time.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import MetaData, create_engine, insert

from jharnet_monitor.store import migrations

ROOT = Path(__file__).resolve().parents[1]
OLDEST = "160c259"
DUMP = ROOT / "tests/cases/database-0001.sql"

_PROGRAM = """
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo
from jharnet_monitor.clock import ManualClock
from jharnet_monitor.model import OfficeState
from jharnet_monitor.store import Store
from jharnet_monitor.store.diary import Window
from tests import made_up

offices = ("potka", "ghatsila")
first, start = datetime(2026, 6, 1, 6, 30, tzinfo=UTC), datetime(2026, 11, 23, 6, 30, tzinfo=UTC)
clock = ManualClock(first)
store = Store("sqlite:///" + sys.argv[1], clock)
store.migrate()

def minutes(begin, count):
    for n in range(0, count, 3):
        at = begin + timedelta(minutes=n)
        clock.step((at + timedelta(minutes=1) - clock.now()).total_seconds())
        store.add([made_up.latency(o, at, 0.04 + n / 1e4, n % 7) for o in offices])

minutes(first, 60)
clock.step(7200)
store.chain.seal()
minutes(start, 60)
store.add([made_up.bandwidth("potka", start, 3.9e6, 3.8e6), made_up.conference("potka", start, 3)])
store.add([made_up.no_data("ghatsila", "bandwidth", start, "no_agent")])
store.add([made_up.utilisation("potka", start, 1e6, 2e5)])
number = store.diary.add_transition("potka", OfficeState.UNREACHABLE, start, {"router": False})
store.diary.add_transition("potka", OfficeState.UP, start + timedelta(minutes=9), {})
store.diary.add_transition("potka", OfficeState.LINK_DOWN, start, {"reason": "agent_saw"},
                           start + timedelta(minutes=9), number)
store.diary.add_event("potka", "joined", start, {"boot_id": "b"})
store.diary.add_window(Window("potka", start, start + timedelta(hours=1), "router"))
store.diary.add_drill({"id": "d1", "started_at": "2026-11-23T06:40:00Z", "offices": []})
store.mails.prepare("weekly-2026-W47", "<1@hub.in>", ["dc@example.in"], None)
store.remember("beat", "2026-11-23T08:00:00.000Z")
minutes(start + timedelta(hours=1), 60)
clock.step(7200)
store.chain.seal()
store.retention.prune(datetime(2026, 11, 1, tzinfo=UTC), ZoneInfo("Asia/Kolkata"))
assert store.chain.verify() == []
store.close()
"""


def load_into_sqlite(file: Path) -> None:
    """Make the database in a new file."""
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(DUMP.read_text("utf-8"))


def load_into_postgresql(url: str, scratch: Path) -> None:
    """Make the database in an empty one of PostgreSQL, with the constraints of that time."""
    load_into_sqlite(scratch)
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    old = create_engine(f"sqlite:///{scratch}")
    with engine.begin() as connection, old.connect() as source:
        alembic = Config()
        alembic.set_main_option("script_location", str(Path(migrations.__file__).parent))
        alembic.set_main_option("path_separator", "os")
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, "0001")
        for column in ("conditions", "names"):  # what 0001 made, until it became 0002's to remove
            connection.exec_driver_sql(
                f"ALTER TABLE measurements ADD FOREIGN KEY ({column}) REFERENCES texts (number)"
            )
        tables = MetaData()
        tables.reflect(connection)
        for table in tables.sorted_tables:
            rows: list[dict[str, Any]] = [
                dict(row._mapping) for row in source.execute(table.select())
            ]
            if rows and table.name != "alembic_version":
                connection.execute(insert(table), rows)
            if "number" in table.c:
                connection.exec_driver_sql(
                    f"SELECT setval(pg_get_serial_sequence('{table.name}', 'number'),"  # noqa: S608
                    f" greatest(max(number), 1)) FROM {table.name}"
                )
    old.dispose()
    engine.dispose()


def main() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory(prefix="jhn-oldest-") as name:
        place = Path(name)
        archive = ["git", "archive", "--output", str(place / "old.tar"), OLDEST]
        subprocess.run([*archive, "jharnet_monitor", "tests"], cwd=ROOT, check=True)
        with tarfile.open(place / "old.tar") as packed:
            packed.extractall(place, filter="data")
        subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(place / "old.db")], cwd=place, check=True,
            env={**os.environ, "PYTHONPATH": name},
        )  # fmt: skip
        with closing(sqlite3.connect(place / "old.db")) as connection:
            DUMP.write_text("\n".join(connection.iterdump()) + "\n", "utf-8")


if __name__ == "__main__":
    main()

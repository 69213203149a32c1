"""A database for a test: a SQLite file, or one of a PostgreSQL cluster that the tests start."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.model import Measurement, Outcome
from jharnet_monitor.store import Store
from tests.conftest import find_program

BOTH = [
    "sqlite",
    pytest.param("postgresql", marks=pytest.mark.server("initdb", "pg_ctl", "pg_dump")),
]
START = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)


class Bench:
    """A migrated store with its clock, and direct access to its database."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.clock = ManualClock(START)
        self.store = Store(url, self.clock)
        self.store.migrate()

    def sql(self, statement: str) -> Sequence[Any]:
        """Run SQL on the database, bypassing the store."""
        engine = create_engine(self.url.replace("postgresql:", "postgresql+psycopg:"))
        try:
            with engine.begin() as connection:
                result = connection.exec_driver_sql(statement)
                return result.all() if result.returns_rows else ()
        finally:
            engine.dispose()


class Postgres:
    """A PostgreSQL cluster on a Unix socket, for these tests only."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="jhn-pg-"))
        self._account: dict[str, Any] = {}
        if os.geteuid() == 0:  # its programs refuse to run as root
            shutil.chown(self.directory, "postgres", "postgres")
            self._account = {"user": "postgres", "group": "postgres", "extra_groups": []}
        self._number = 0
        self._run("initdb", "--no-sync", "--auth=trust", "--username=jharnet", "--encoding=UTF8",
                  f"--pgdata={self.directory / 'data'}")  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start the server; returns when it takes connections."""
        options = f"-c listen_addresses= -c unix_socket_directories={self.directory} -c fsync=off"
        self._pg_ctl("start", "--options", options, "--log", str(self.directory / "log"))

    def stop(self) -> None:
        """Stop the server at once, as in a crash."""
        self._pg_ctl("stop", "--mode=immediate")

    def remove(self) -> None:
        """Stop and delete everything."""
        self.stop()
        shutil.rmtree(self.directory)

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        self._number += 1
        name = f"monitor{self._number}"
        self._run("createdb", f"--host={self.directory}", "--username=jharnet", name)
        return f"postgresql://jharnet@/{name}?host={self.directory}"

    def _pg_ctl(self, *arguments: str) -> None:
        self._run("pg_ctl", "--wait", f"--pgdata={self.directory / 'data'}", *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        path = find_program(program)
        assert path is not None
        subprocess.run(
            [path, *arguments], check=True, stdout=subprocess.DEVNULL, cwd="/", **self._account
        )


def bench_of(request: pytest.FixtureRequest, directory: Path) -> Iterator[Bench]:
    """An empty, migrated database of the kind that is the fixture's parameter (see `BOTH`)."""
    if request.param == "sqlite":
        bench = Bench(f"sqlite:///{directory / 'monitor.db'}")
    else:
        bench = Bench(request.getfixturevalue("postgres").new_database())
    yield bench
    bench.store.close()


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

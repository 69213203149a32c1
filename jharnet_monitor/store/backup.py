"""Copies a database while the hub keeps writing to it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from sqlalchemy import Engine

from jharnet_monitor.errors import StoreError, UserError, file_error

_BEGINNINGS = {"sqlite": b"SQLite format 3\0", "postgresql": b"PGDMP"}
"""How the file of a backup begins, by the kind of database."""
SQLITE_ENDS = ("", "-wal", "-shm", "-journal", "-owner")
"""Ends of the names of the files that belong to a SQLite database in use."""


def backup(engine: Engine, file: Path) -> None:
    """Write a consistent copy to `file`, which appears only when it is complete.

    SQLite: a database file that a hub can use. PostgreSQL: pg_dump's custom format, for
    `pg_restore`. An earlier backup is replaced. Raises `UserError` for any other file that is
    there, as `file_error` if it cannot be written, and `StoreError`.
    """
    part = file.with_name(file.name + ".part")
    try:
        _refuse_others(engine, file)
        file.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
        if engine.dialect.name == "sqlite":
            _copy_sqlite(Path(engine.url.database or ""), part)
        else:
            _dump_postgresql(engine, part)
        with part.open("rb") as copy:
            os.fsync(copy.fileno())
        part.replace(file)
    except OSError as error:
        raise file_error(f"{file}: cannot be written", error) from error
    finally:
        part.unlink(missing_ok=True)


def _refuse_others(engine: Engine, file: Path) -> None:
    """Raise `UserError` for a file that is there and is no backup, such as a hub's database."""
    if Path(f"{file.resolve()}-owner").exists():
        raise UserError(f"{file}: is a hub's database; name another file for the backup")
    if not file.exists():
        return
    database = engine.url.database
    if engine.dialect.name == "sqlite" and database:
        used = (Path(f"{database}{end}") for end in SQLITE_ENDS)
        if any(one.exists() and one.samefile(file) for one in used):
            raise UserError(f"{file}: is the database itself; name another file for the backup")
    beginning = _BEGINNINGS[engine.dialect.name]
    if file.is_file():
        with file.open("rb") as existing:
            if existing.read(len(beginning)) == beginning:
                return
    raise UserError(f"{file}: exists and is no backup of a database; name another file")


def _copy_sqlite(source: Path, part: Path) -> None:
    try:
        with (
            closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)) as original,
            closing(sqlite3.connect(part)) as copy,
        ):
            original.backup(copy)
            [(verdict,)] = copy.execute("PRAGMA quick_check(1)").fetchall()
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
    except sqlite3.Error as error:
        raise StoreError(f"{part}: the copy failed: {error}") from error
    if verdict != "ok":
        raise StoreError(f"{part}: the copy is damaged: {verdict}")


def _dump_postgresql(engine: Engine, part: Path) -> None:
    program = shutil.which("pg_dump")
    if program is None:
        raise UserError("pg_dump is not installed; it is in the package postgresql-client")
    url = engine.url.set(drivername="postgresql", password=None)
    environment = dict(os.environ)
    if engine.url.password:  # in the environment: everyone can read arguments
        environment["PGPASSWORD"] = str(engine.url.password)
    command = [program, "--format=custom", f"--file={part}", url.render_as_string()]
    result = subprocess.run(  # noqa: S603 - a program of the system, and a URL of the configuration
        command, env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [f"ended with status {result.returncode}"]
        raise StoreError(f"pg_dump: {lines[-1]}")

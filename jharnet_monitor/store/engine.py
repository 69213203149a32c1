"""Opens the database so that a power cut loses nothing that was reported as stored."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    TimeoutError,
)

from jharnet_monitor.errors import RefusedRecordError, StoreError, Trouble, UserError

BUSY_SECONDS = 15
"""How long a transaction waits for another one's lock."""
LEAST_ROOM = 64 * 1024
"""Bytes; SQLite needs 32 KiB to open a database."""
TERM = "jharnet_term"
"""Execution option of an engine whose hub holds the lease of that term (`store.lease`)."""
_WRITER_LOCK = 0x6A68_6172_6E65_74  # "jharnet": the advisory lock that a writer holds

_BEGIN_WRITING = (
    "SELECT set_config('idle_in_transaction_session_timeout', '60s', true),"
    f" pg_advisory_xact_lock({_WRITER_LOCK})"
)
"""A program that was frozen in a transaction must not keep its successor from writing."""

_POSTGRESQL: dict[str, Any] = {
    "connect_timeout": 10,
    "options": f"-c lock_timeout={BUSY_SECONDS}s",
    "prepare_threshold": None,  # a plan prepared on an empty table would scan the full one
    # A server whose machine is gone says nothing: without these a thread waits for 15 minutes.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_TROUBLES: Mapping[str, Trouble] = {
    "is full": Trouble.FULL,
    "no space left": Trouble.FULL,
    "readonly": Trouble.READ_ONLY,
    "read-only": Trouble.READ_ONLY,
    "is locked": Trouble.LOCKED,
    "lock timeout": Trouble.LOCKED,
    "malformed": Trouble.DAMAGED,
    "not a database": Trouble.DAMAGED,
    "invalid page": Trouble.DAMAGED,
    "i/o error": Trouble.DISK,
    "input/output": Trouble.DISK,
    "unable to open": Trouble.DISK,
    "translate host name": Trouble.AWAY,
    "connection": Trouble.AWAY,
    "starting up": Trouble.AWAY,
    "shutting down": Trouble.AWAY,
}
"""What the texts of SQLite and PostgreSQL mean; the first that is found counts."""


def open_engine(url: str) -> Engine:
    """An engine for `sqlite:///FILE` or `postgresql://…`; raises `UserError`."""
    try:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        sqlite = parsed.get_backend_name() == "sqlite"
        if not sqlite and parsed.drivername != "postgresql+psycopg":
            raise ArgumentError("must be sqlite:///FILE or postgresql://USER@HOST/NAME")
        if sqlite and parsed.database:
            with suppress(OSError):  # a full or read-only disk: the first connection says so
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(
            parsed, pool_pre_ping=not sqlite, connect_args={} if sqlite else _POSTGRESQL
        )
    except ModuleNotFoundError as error:
        raise UserError(
            f"hub.database: {url}: needs {error.name}; pip install jharnet-monitor[postgresql]"
        ) from error
    except ArgumentError as error:
        raise UserError(f"hub.database: {url}: cannot be used: {error}") from error
    if sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "begin", _begin_postgresql)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin in `_begin_sqlite`, not in the driver
    cursor = connection.cursor()
    for setting in (
        f"busy_timeout={BUSY_SECONDS * 1000}",
        "journal_mode=WAL",
        "synchronous=FULL",  # after a power cut every commit must be on the disk
    ):
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """Readers never wait; a writer takes the lock first, so that it cannot fail half-way."""
    connection.exec_driver_sql("BEGIN IMMEDIATE" if _writes(connection) else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    """One writer at a time, as on SQLite, so that row numbers are in the order of the commits."""
    if _writes(connection):
        connection.exec_driver_sql(_BEGIN_WRITING)
    else:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")


def _writes(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("writes", False))


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that reads a consistent snapshot; raises `StoreError`."""
    with _transaction(engine, writes=False) as connection:
        yield connection


@contextmanager
def writing(engine: Engine, *, fenced: bool = True) -> Iterator[Connection]:
    """A transaction that writes; raises `StoreError`.

    It does not begin if this hub's lease has gone to another hub, unless it is not `fenced`.
    """
    with _transaction(engine, writes=True) as connection:
        if fenced:
            _refuse_older_term(engine, connection)
        yield connection


def _refuse_older_term(engine: Engine, connection: Connection) -> None:
    term = engine.get_execution_options().get(TERM)
    if term is None:
        return
    query = "SELECT body FROM memory WHERE key = 'owner'"
    lease = connection.exec_driver_sql(query).scalar_one_or_none()
    if lease is None or json.loads(lease)["term"] != term:
        raise StoreError(f"{place(engine)}: another hub has taken over this database")


@contextmanager
def _transaction(engine: Engine, *, writes: bool) -> Iterator[Connection]:
    try:
        with engine.connect() as connection:
            connection.execution_options(writes=writes)
            with connection.begin():
                yield connection
    except DBAPIError as error:
        raise store_error(engine, error) from error
    except TimeoutError as error:
        raise StoreError(f"{place(engine)}: no connection became free in time") from error


def store_error(engine: Engine, error: DBAPIError) -> StoreError:
    """What the database says, as one of ours."""
    text = f"{place(engine)}: {reason(error)}"
    if isinstance(error, DataError | IntegrityError):
        return RefusedRecordError(text)
    message = str(error.orig).lower()
    troubles = (trouble for part, trouble in _TROUBLES.items() if part in message)
    trouble = next(troubles, Trouble.UNKNOWN)
    if trouble is Trouble.DISK and _is_disk_full(engine):
        trouble = Trouble.FULL
    return StoreError(text, trouble)


def _is_disk_full(engine: Engine) -> bool:
    """Whether the disk of a SQLite file has no room left. SQLite calls it an I/O error if it cannot
    make the file that connections share.
    """
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return False
    try:
        return shutil.disk_usage(Path(engine.url.database).absolute().parent).free < LEAST_ROOM
    except OSError:
        return False


def place(engine: Engine) -> str:
    """The key of the configuration and the address, without a password: `hub.database: …`."""
    return f"hub.database: {engine.url.set(drivername=engine.dialect.name)}"


def reason(error: DBAPIError) -> str:
    """The first line of what the database says."""
    return str(error.orig).strip().splitlines()[0]

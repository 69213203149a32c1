"""The lease on a database: which hub may write, and until when, in the database itself.

The lock of `store.ownership` tells two processes of one machine, or two sessions of one server,
apart. It says nothing where a file system's locks do not reach the other machine, and a hub that
was stopped for a while still has connections after another one has taken over. Therefore the owner
leaves its name and a term in the database. Each new owner counts the term up, and a transaction
that writes on behalf of an older term is refused (a fencing token).
"""

from __future__ import annotations

import hashlib
import json
import platform
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, inspect, select

from jharnet_monitor.clock import Clock
from jharnet_monitor.errors import TemporaryError
from jharnet_monitor.store import tables as t
from jharnet_monitor.store.engine import TERM, place, reading, writing

LEASE_SECONDS = 60.0
"""How long an owner on another machine is believed to be alive after its last sign of life."""
KEY = "owner"
"""Of the lease, in the table `memory`; `store.engine` reads its term before each write."""
_MACHINE_ID = Path("/etc/machine-id")


def this_machine() -> str:
    """A name that another machine does not have: its host name and a hash of its id."""
    try:
        machine_id = _MACHINE_ID.read_bytes()
    except OSError:
        machine_id = b""
    return f"{platform.node()} {hashlib.sha256(b'jharnet' + machine_id).hexdigest()[:8]}"


class Lease:
    """One hub's lease on one database."""

    def __init__(self, engine: Engine, clock: Clock, machine: str | None = None) -> None:
        self.term: int | None = None
        """The number of this ownership; None while there is none."""
        self._engine = engine
        self._clock = clock
        self._machine = machine or this_machine()
        self._holder = uuid.uuid4().hex

    def take(self) -> None:
        """Take the lease or prolong it. A database without tables has none yet.

        Raises `TemporaryError` while another machine's hub holds it, or has taken it over, and
        `StoreError`.
        """
        if self.term is None and not self._has_table():
            return
        now = self._clock.now()
        with writing(self._engine, fenced=False) as connection:
            lease = _read(connection)
            if lease is not None and lease["holder"] != self._holder:
                self._refuse_other_owner(lease, now)
            term = self._next_term(lease)
            _write(connection, {
                "holder": self._holder, "machine": self._machine, "term": term,
                "until": t.to_ms(now + timedelta(seconds=LEASE_SECONDS)),
            })  # fmt: skip
        self.term = term
        self._engine.update_execution_options(**{TERM: term})

    def give_up(self) -> None:
        """Let another machine's hub take the lease at once; raises `StoreError`."""
        if self.term is None:
            return
        with writing(self._engine) as connection:
            lease = _read(connection)
            if lease is not None and lease["holder"] == self._holder:
                _write(connection, lease | {"until": 0})
        self.term = None

    def _next_term(self, lease: dict[str, Any] | None) -> int:
        if lease is None:
            return 1
        if lease["holder"] == self._holder and self.term is not None:
            return self.term
        return int(lease["term"]) + 1

    def _refuse_other_owner(self, lease: dict[str, Any], now: datetime) -> None:
        if self.term is not None:
            raise TemporaryError(
                f"{place(self._engine)}: the hub on {lease['machine']} has taken over this database"
            )
        until = t.from_ms(lease["until"])
        if lease["machine"] != self._machine and until > now:
            raise TemporaryError(
                f"{place(self._engine)}: the hub on {lease['machine']} was writing into this "
                f"database until a moment ago; stop it, or wait until {until:%H:%M:%S} UTC"
            )

    def _has_table(self) -> bool:
        with reading(self._engine) as connection:
            return bool(inspect(connection).has_table(t.memory.name))


def clear(engine: Engine) -> None:
    """End the lease that a copy of a database contains; its term is not used again."""
    with writing(engine, fenced=False) as connection:
        lease = _read(connection)
        if lease is not None:
            _write(connection, lease | {"until": 0})


def _read(connection: Connection) -> dict[str, Any] | None:
    body = connection.execute(select(t.memory.c.body).where(t.memory.c.key == KEY)).scalar()
    if body is None:
        return None
    lease: dict[str, Any] = json.loads(body)
    return lease


def _write(connection: Connection, lease: dict[str, Any]) -> None:
    connection.execute(delete(t.memory).where(t.memory.c.key == KEY))
    connection.execute(insert(t.memory).values(key=KEY, body=json.dumps(lease)))

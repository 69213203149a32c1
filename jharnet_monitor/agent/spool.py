"""Measurements that wait on disk until the hub has them, over outages and power cuts."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jharnet_monitor.errors import StoreError, UserError
from jharnet_monitor.model import Measurement

log = logging.getLogger(__name__)

MAX_ROWS = 100_000
"""About ten weeks of one row a minute. Beyond it the oldest rows are deleted."""
MAX_UNWRITTEN = 1000
"""Measurements kept in memory while the disk takes none."""


class Spool:
    """A queue of measurements in a small SQLite file; a row is deleted when the hub has it.

    Every method raises `StoreError` when the file cannot be read or written.

    >>> import tempfile
    >>> from datetime import UTC, datetime
    >>> from jharnet_monitor.model import Outcome
    >>> spool = Spool(Path(tempfile.mkdtemp()))
    >>> spool.put(Measurement("potka", "latency", datetime.now(UTC), 1.0, Outcome.OK, id="a"))
    >>> [m.id for m in spool.peek(10)], len(spool)
    (['a'], 1)
    >>> spool.drop(["a"]); len(spool)
    0
    """

    def __init__(self, directory: Path, max_rows: int = MAX_ROWS) -> None:
        """Open or make the spool; raises `UserError` when the directory cannot be used."""
        self._max_rows = max_rows
        self._file = directory / "spool.db"
        self._unwritten: deque[Measurement] = deque(maxlen=MAX_UNWRITTEN)
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(self._file, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")  # the power fails at block offices
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS spool"
                "(number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, body TEXT NOT NULL)"
            )
        except (OSError, sqlite3.Error) as error:
            raise UserError(
                f"--spool {directory}: cannot be used ({error}); name a directory that this "
                "user may write"
            ) from error

    def put(self, measurement: Measurement) -> None:
        """Keep a measurement; the same id twice is kept once.

        One that cannot be written now is written with the next one that can.
        """
        self._unwritten.append(measurement)
        with self._errors():
            while self._unwritten:
                self._insert(self._unwritten[0])
                self._unwritten.popleft()

    def _insert(self, measurement: Measurement) -> None:
        body = json.dumps(measurement.to_json(), ensure_ascii=False)
        self._db.execute(
            "INSERT OR IGNORE INTO spool(id, body) VALUES (?, ?)", (measurement.id, body)
        )
        self._db.execute(
            "DELETE FROM spool WHERE number <= (SELECT MAX(number) FROM spool) - ?",
            (self._max_rows,),
        )

    def peek(self, count: int) -> list[Measurement]:
        """The oldest `count` measurements on disk, which stay until `drop`.

        A row that this version cannot read, as another version may have written it, is deleted:
        it would hold back all later ones for ever.
        """
        query = "SELECT id, body FROM spool ORDER BY number LIMIT ?"
        with self._errors():
            rows = self._db.execute(query, (count,)).fetchall()
        found: list[Measurement] = []
        for name, body in rows:
            try:
                found.append(Measurement.from_json(json.loads(body)))
            except ValueError as error:
                log.error("deleted a spooled measurement that cannot be read: %s", error)
                self.drop([name])
        return found

    def drop(self, ids: Iterable[str]) -> None:
        """Delete the measurements that the hub has."""
        with self._errors():
            self._db.executemany("DELETE FROM spool WHERE id = ?", [(i,) for i in ids])

    def __len__(self) -> int:
        """How many measurements are waiting."""
        with self._errors():
            (count,) = self._db.execute("SELECT COUNT(*) FROM spool").fetchone()
        return int(count) + len(self._unwritten)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn the database's errors into `StoreError`."""
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"{self._file}: {error}") from error

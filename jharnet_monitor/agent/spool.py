"""What an agent could not hand in yet, kept on its own disk over outages and power cuts."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from jharnet_monitor.errors import UserError
from jharnet_monitor.model import Measurement

log = logging.getLogger(__name__)

MAX_ROWS = 100_000
"""About ten weeks of one row a minute; beyond it the oldest goes, so that a disk never fills."""


class Spool:
    """A queue of measurements in a small SQLite file; a row leaves when the hub has it.

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
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(directory / "spool.db", isolation_level=None)
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
        """Keep a measurement; the same id twice is kept once."""
        body = json.dumps(measurement.to_json(), ensure_ascii=False)
        self._db.execute(
            "INSERT OR IGNORE INTO spool(id, body) VALUES (?, ?)", (measurement.id, body)
        )
        self._db.execute(
            "DELETE FROM spool WHERE number <= (SELECT MAX(number) FROM spool) - ?",
            (self._max_rows,),
        )

    def peek(self, count: int) -> list[Measurement]:
        """The oldest `count` measurements, which stay until `drop`.

        One that this version cannot read, as another may have written it, is given up: it would
        hold back all that came after it for ever.
        """
        query = "SELECT id, body FROM spool ORDER BY number LIMIT ?"
        found: list[Measurement] = []
        for name, body in self._db.execute(query, (count,)).fetchall():
            try:
                found.append(Measurement.from_json(json.loads(body)))
            except ValueError as error:
                log.error("gave up a spooled measurement that cannot be read: %s", error)
                self.drop([name])
        return found

    def drop(self, ids: Iterable[str]) -> None:
        """The hub has these."""
        self._db.executemany("DELETE FROM spool WHERE id = ?", [(i,) for i in ids])

    def __len__(self) -> int:
        """How many are waiting."""
        (count,) = self._db.execute("SELECT COUNT(*) FROM spool").fetchone()
        return int(count)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

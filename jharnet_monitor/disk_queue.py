"""A bounded queue of texts on disk, for what must not be forgotten before it is stored elsewhere.

The agent keeps its measurements in one until the hub has them, and the hub what its database does
not take. It survives a power cut, a full disk and a damaged file.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jharnet_monitor.errors import StoreError

log = logging.getLogger(__name__)

MAX_UNWRITTEN = 1000
"""Entries kept in memory while the disk takes none."""

_Entry = tuple[str, str, bool, bool]
"""Id, body, whether it is fine data, and whether it takes the place of one with the same id."""


class DiskQueue:
    """A queue in a small SQLite file; an entry is deleted by `drop` alone, or when there are more
    than `max_rows`: then the oldest fine data go first. It may be used from any thread.

    Every method raises `StoreError` when the file cannot be read or written.

    >>> import tempfile
    >>> queue = DiskQueue(Path(tempfile.mkdtemp()) / "queue.db", 10)
    >>> queue.put("a", "first"); queue.put("b", "second"); queue.put("a", "again")
    >>> queue.peek(10), len(queue)
    ([('a', 'first'), ('b', 'second')], 2)
    >>> queue.drop(["a"]); queue.peek(10)
    [('b', 'second')]
    """

    def __init__(self, file: Path, max_rows: int) -> None:
        """Open or make the file; one that is damaged is set aside, and a new one begun.

        Raises `OSError` or `sqlite3.Error` when the place cannot be used.
        """
        self.file = file
        self.dropped = 0
        """Entries that were lost since the start, as there was no room for them."""
        self._max_rows = max_rows
        self._unwritten: deque[_Entry] = deque()
        self._lock = threading.RLock()
        self._rows = 0
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._db = self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # no room, no right, or in use
                raise
            self._set_aside(error)
            self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.file, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")  # the power fails
            (sound,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if sound != "ok":
                raise sqlite3.DatabaseError(sound)
            db.execute(
                "CREATE TABLE IF NOT EXISTS spool"
                "(number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, body TEXT NOT NULL)"
            )
            have = {row[1] for row in db.execute("PRAGMA table_info(spool)")}
            if "fine" not in have:
                db.execute("ALTER TABLE spool ADD COLUMN fine INTEGER NOT NULL DEFAULT 1")
            if "aside" not in have:
                db.execute("ALTER TABLE spool ADD COLUMN aside TEXT")
            (self._rows,) = db.execute("SELECT COUNT(*) FROM spool").fetchone()
        except BaseException:
            db.close()
            raise
        return db

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        kept = self.file.with_name(f"{self.file.name}.damaged")
        log.error("%s is damaged (%s): it is kept as %s, and a new one begun", self.file, error,
                  kept.name)  # fmt: skip
        self.file.replace(kept)
        for suffix in ("-wal", "-shm"):
            self.file.with_name(self.file.name + suffix).unlink(missing_ok=True)

    def put(self, name: str, body: str, *, fine: bool = True, replace: bool = False) -> None:
        """Add an entry; the same id twice is kept once, as it came first or, by `replace`, last.

        One that cannot be written now is written with the next one that can.
        """
        with self._errors():
            self._unwritten.append((name, body, fine, replace))
            if len(self._unwritten) > MAX_UNWRITTEN:
                self._unwritten.popleft()
                self._lose(1)
            while self._unwritten:
                self._insert(self._unwritten[0])
                self._unwritten.popleft()

    def _insert(self, entry: _Entry) -> None:
        name, body, fine, replace = entry
        if replace:
            self._delete([name])
        added = self._db.execute(
            "INSERT OR IGNORE INTO spool(id, body, fine) VALUES (?, ?, ?)", (name, body, fine)
        )
        self._rows += added.rowcount
        beyond = self._rows - self._max_rows
        if beyond > 0:
            self._db.execute(
                "DELETE FROM spool WHERE number IN "
                "(SELECT number FROM spool ORDER BY fine DESC, number LIMIT ?)",
                (beyond,),
            )
            self._rows -= beyond
            self._lose(beyond)

    def _lose(self, count: int) -> None:
        if not self.dropped:
            log.error("%s holds all that it may: the oldest entries are dropped", self.file)
        self.dropped += count

    def peek(self, count: int) -> list[tuple[str, str]]:
        """Id and body of the oldest `count` entries that are not set aside."""
        query = "SELECT id, body FROM spool WHERE aside IS NULL ORDER BY number LIMIT ?"
        with self._errors():
            found = self._db.execute(query, (count,)).fetchall()
            return [*found, *((name, body) for name, body, _, _ in self._unwritten)][:count]

    def drop(self, names: Iterable[str]) -> None:
        """Delete entries."""
        with self._errors():
            gone = list(names)
            self._delete(gone)
            if self._unwritten:
                kept = [entry for entry in self._unwritten if entry[0] not in gone]
                self._unwritten = deque(kept)

    def _delete(self, names: Sequence[str]) -> None:
        deleted = self._db.executemany(
            "DELETE FROM spool WHERE id = ?", [(name,) for name in names]
        )
        self._rows -= max(0, deleted.rowcount)

    def set_aside(self, names: Iterable[str], why: str) -> None:
        """Keep entries that could not be handed on out of `peek`'s way, and say why."""
        with self._errors():
            self._db.executemany(
                "UPDATE spool SET aside = ? WHERE id = ?", [(why, name) for name in names]
            )

    def retry(self, except_why: str) -> None:
        """Give back to `peek` what was set aside for another reason than this one."""
        with self._errors():
            self._db.execute("UPDATE spool SET aside = NULL WHERE aside <> ?", (except_why,))

    def __len__(self) -> int:
        """How many entries wait, in memory or on disk; without those that are set aside."""
        with self._errors():
            query = "SELECT COUNT(*) FROM spool WHERE aside IS NULL"
            (count,) = self._db.execute(query).fetchone()
            return int(count) + len(self._unwritten)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """One thread at a time; the database's errors become `StoreError`."""
        try:
            with self._lock:
                yield
        except sqlite3.Error as error:
            raise StoreError(f"{self.file}: {error}") from error

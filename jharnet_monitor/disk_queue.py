"""A bounded queue of texts on disk, for data that must not be lost before it is stored elsewhere.
The agent keeps its measurements in such a queue until the hub has stored them; the hub keeps the
records that its database does not accept. The queue survives a power cut, a full or read-only disk,
and a damaged file.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from jharnet_monitor.errors import StoreError

log = logging.getLogger(__name__)

MAX_UNWRITTEN = 20_000
"""Entries kept in memory while the disk cannot be written: a day of eleven offices, some 20 MB."""
_TRANSACTION = 500
"""Entries written in one transaction."""


@dataclass(slots=True)
class _Entry:
    """An entry that is not on disk yet."""

    name: str
    body: str
    fine: bool
    replace: bool
    """The entry replaces one with the same id."""
    reason: str | None = None


class DiskQueue:
    """A queue in a small SQLite file, for use from any thread. An entry is deleted by `drop`, or
    when there are more than `max_rows` entries; the oldest fine data are then deleted first.

    Entries that cannot be written wait in memory, in order, and are written with the next entry
    that can. While the file cannot be opened, those in memory are the queue; what is in the file
    follows later. Every method raises `StoreError` when the file cannot be read or written.

    >>> import tempfile
    >>> queue = DiskQueue(Path(tempfile.mkdtemp()) / "queue.db", 10)
    >>> queue.put("a", "first"); queue.put("b", "second"); queue.put("a", "again")
    >>> queue.peek(10), len(queue)
    ([('a', 'first'), ('b', 'second')], 2)
    >>> queue.drop(["a"]); queue.peek(10)
    [('b', 'second')]
    """

    def __init__(self, file: Path, max_rows: int) -> None:
        """Set the file; it is opened or created at first use."""
        self.file = file
        self.dropped = 0
        """Entries lost for lack of room since the file was created."""
        self._dropped_on_disk = 0
        """How many of them the file has counted; those lost in memory are counted later."""
        self._max_rows = max_rows
        self._unwritten: deque[_Entry] = deque()
        self._lock = threading.RLock()
        self._rows = 0
        self._db: sqlite3.Connection | None = None
        self._closed = False

    def open(self) -> None:
        """Open or create the file now; a damaged file is renamed and replaced by a new one."""
        with self._errors():
            self._connection()

    def _connection(self) -> sqlite3.Connection:
        if self._closed:
            raise sqlite3.ProgrammingError("it was closed")
        if self._db is None:
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                self._db = self._connect()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):  # no room, no right, or in use
                    raise
                self._rename_damaged(error)
                self._db = self._connect()
        return self._db

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.file, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")  # to survive a power cut
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
            db.execute("CREATE TABLE IF NOT EXISTS lost(entries INTEGER NOT NULL)")
            (self._rows,) = db.execute("SELECT COUNT(*) FROM spool").fetchone()
            (lost,) = db.execute("SELECT COALESCE(SUM(entries), 0) FROM lost").fetchone()
            self.dropped += max(0, lost - self._dropped_on_disk)  # fewer: the file is a new one
            self._dropped_on_disk = lost
        except BaseException:
            db.close()
            raise
        return db

    def _rename_damaged(self, error: sqlite3.DatabaseError) -> None:
        damaged = self.file.with_name(f"{self.file.name}.damaged")
        log.error("%s is damaged (%s): kept as %s and replaced by a new one", self.file, error,
                  damaged.name)  # fmt: skip
        self.file.replace(damaged)
        for suffix in ("-wal", "-shm"):
            self.file.with_name(self.file.name + suffix).unlink(missing_ok=True)

    def put(
        self,
        name: str,
        body: str,
        *,
        fine: bool = True,
        replace: bool = False,
        reason: str | None = None,
    ) -> None:
        """Add an entry; of entries with the same id the first is kept or, with `replace`, the last.

        An entry that cannot be written now is written with the next one that can. An entry with a
        `reason` is set aside: `peek` does not return it. Raises `ValueError` for a text that is no
        UTF-8: it could never be written, and would keep those behind it from the disk.
        """
        for text in (name, body, reason or ""):
            text.encode()
        with self._errors():
            if replace:  # in memory, too: what is out of date would push out others
                self._unwritten = deque(e for e in self._unwritten if e.name != name)
            self._unwritten.append(_Entry(name, body, fine, replace, reason))
            if len(self._unwritten) > MAX_UNWRITTEN:
                self._drop_unwritten()
            while self._unwritten:
                self._write(list(islice(self._unwritten, _TRANSACTION)))

    def _drop_unwritten(self) -> None:
        oldest = next((one for one in self._unwritten if one.fine), self._unwritten[0])
        self._unwritten.remove(oldest)
        self._count_loss(1)

    def _write(self, entries: Sequence[_Entry]) -> None:
        """Write the first entries waiting in memory, in one transaction."""
        with self._transaction() as db:
            for entry in entries:
                self._insert(db, entry)
            lost = self._trim(db)
            total = self.dropped + lost
            if total > self._dropped_on_disk:
                db.execute("DELETE FROM lost")
                db.execute("INSERT INTO lost VALUES (?)", (total,))
        self._dropped_on_disk = total
        for _ in entries:
            self._unwritten.popleft()
        if lost:
            self._count_loss(lost)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a transaction; if it is rolled back, so is the count of rows."""
        db, rows = self._connection(), self._rows
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            self._rows = rows
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _insert(self, db: sqlite3.Connection, entry: _Entry) -> None:
        if entry.replace:
            self._rows -= db.execute("DELETE FROM spool WHERE id = ?", (entry.name,)).rowcount
        added = db.execute(
            "INSERT OR IGNORE INTO spool(id, body, fine, aside) VALUES (?, ?, ?, ?)",
            (entry.name, entry.body, entry.fine, entry.reason),
        )
        self._rows += added.rowcount

    def _trim(self, db: sqlite3.Connection) -> int:
        """Delete rows beyond `max_rows`, the oldest fine data first; returns how many."""
        beyond = self._rows - self._max_rows
        if beyond <= 0:
            return 0
        db.execute(
            "DELETE FROM spool WHERE number IN "
            "(SELECT number FROM spool ORDER BY fine DESC, number LIMIT ?)",
            (beyond,),
        )
        self._rows -= beyond
        return beyond

    def _count_loss(self, count: int) -> None:
        """Count lost entries; logs the first one, and each time their number has doubled."""
        before, self.dropped = self.dropped, self.dropped + count
        if self.dropped.bit_length() > before.bit_length():
            log.error("%s is full: the oldest fine entries are dropped, %d so far",
                      self.file, self.dropped)  # fmt: skip

    def peek(self, count: int) -> list[tuple[str, str]]:
        """Id and body of the oldest `count` entries that are not set aside."""
        query = "SELECT id, body FROM spool WHERE aside IS NULL ORDER BY number LIMIT ?"
        with self._errors():
            db = self._readable()
            found = [] if db is None else db.execute(query, (count,)).fetchall()
            waiting = [(e.name, e.body) for e in self._unwritten if e.reason is None]
            return [*found, *waiting][:count]

    def _only_in_memory(self) -> bool:
        """Whether the file was never created, so that entries exist only in memory."""
        return self._db is None and not self._closed and not self.file.exists()

    def _readable(self) -> sqlite3.Connection | None:
        """The open file; None if entries exist only in memory, or wait there while it cannot be
        opened, as on a full disk."""
        if self._only_in_memory():
            return None
        try:
            return self._connection()
        except (sqlite3.OperationalError, OSError):
            if not self._unwritten:
                raise
            return None

    def drop(self, names: Iterable[str]) -> None:
        """Delete entries."""
        with self._errors():
            gone = set(names)
            in_memory = self._only_in_memory() or (
                self._readable() is None and gone <= {e.name for e in self._unwritten}
            )
            self._unwritten = deque(e for e in self._unwritten if e.name not in gone)
            if in_memory:
                return
            with self._transaction() as db:
                deleted = db.executemany(
                    "DELETE FROM spool WHERE id = ?", [(name,) for name in gone]
                )
                self._rows -= max(0, deleted.rowcount)

    def set_aside(self, names: Iterable[str], reason: str) -> None:
        """Set entries aside for a reason, so that `peek` no longer returns them."""
        reason.encode()  # else `ValueError`, as in `put`
        with self._errors():
            chosen = set(names)
            for entry in self._unwritten:
                if entry.name in chosen:
                    entry.reason = reason
            self._connection().executemany(
                "UPDATE spool SET aside = ? WHERE id = ?", [(reason, name) for name in chosen]
            )

    def is_set_aside(self, name: str) -> bool:
        """Whether an entry of this name is set aside."""
        with self._errors():
            if any(one.name == name and one.reason is not None for one in self._unwritten):
                return True
            if self._only_in_memory():
                return False
            query = "SELECT COUNT(*) FROM spool WHERE id = ? AND aside IS NOT NULL"
            (count,) = self._connection().execute(query, (name,)).fetchone()
            return bool(count)

    def retry(self, except_reason: str) -> None:
        """Return to the queue what was set aside for any reason except this one."""
        with self._errors():
            query = "UPDATE spool SET aside = NULL WHERE aside <> ?"
            self._connection().execute(query, (except_reason,))

    @property
    def unwritten(self) -> int:
        """How many entries wait in memory, without those set aside; never waits for the disk."""
        return sum(entry.reason is None for entry in self._unwritten.copy())

    def __len__(self) -> int:
        """How many entries wait, in memory or on disk, without those set aside."""
        return self._count("aside IS NULL", sum(e.reason is None for e in self._unwritten))

    def count_set_aside(self) -> int:
        """How many entries are set aside."""
        return self._count("aside IS NOT NULL", sum(e.reason is not None for e in self._unwritten))

    def _count(self, condition: str, in_memory: int) -> int:
        with self._errors():
            db = self._readable()
            if db is None:
                return in_memory
            query = f"SELECT COUNT(*) FROM spool WHERE {condition}"  # noqa: S608 - one of ours
            (count,) = db.execute(query).fetchone()
            return int(count) + in_memory

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._disconnect()
            self._closed = True

    def _disconnect(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Allow one thread at a time, and turn the database's errors into `StoreError`. If the file
        turns out to be damaged, the next call opens it again and renames it.
        """
        try:
            with self._lock:
                yield
        except sqlite3.Error as error:
            if not isinstance(error, sqlite3.OperationalError | sqlite3.ProgrammingError):
                self._disconnect()
            raise StoreError(f"{self.file}: {error}") from error
        except OSError as error:
            raise StoreError(f"{self.file}: {error.strerror}") from error

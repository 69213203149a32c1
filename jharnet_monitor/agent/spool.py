"""Measurements that wait on disk until the hub has them, over outages and power cuts."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from jharnet_monitor import __version__
from jharnet_monitor.disk_queue import DiskQueue
from jharnet_monitor.errors import DISK_TROUBLE, StoreError, UserError
from jharnet_monitor.file_lock import lock
from jharnet_monitor.model import Measurement

log = logging.getLogger(__name__)

MAX_ROWS = 100_000
"""Beyond it the oldest fine data are deleted. While the hub cannot be reached, there are eight rows
a minute (`self_monitor.ALONE_SECONDS`), so these are eight days."""


class Spool:
    """A queue of one agent's measurements; a row is deleted when the hub has stored it.

    Its directory belongs to one agent at a time. Every method raises `StoreError` when the file
    cannot be read or written.

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
        """Open or make the spool; raises `UserError` when the directory cannot be used.

        On a disk that is full or read-only now, measurements wait in memory.
        """
        self._lock: IO[str] | None = None
        self._queue = DiskQueue(directory / "spool.db", max_rows)
        self._last: dict[str, tuple[object, ...]] = {}
        """By series: the summary of the last measurement; an equal one is fine data."""
        try:
            self._own(directory)
            self._queue.open()
        except (OSError, StoreError) as error:
            log.error("--spool %s: cannot be used now, measurements wait in memory: %s", directory,
                      error)  # fmt: skip

    def _own(self, directory: Path) -> None:
        """Lock the directory; raises `UserError`, and `OSError` for temporary errors."""
        remedy = "name a directory that this user may write"
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = (directory / "lock").open("a")
            remedy = "another agent uses it; give each agent a --spool of its own"
            lock(self._lock)
        except OSError as error:
            if error.errno in DISK_TROUBLE:  # measuring goes on without it
                raise
            raise UserError(f"--spool {directory}: cannot be used ({error}); {remedy}") from error

    def put(self, measurement: Measurement) -> None:
        """Keep a measurement; the same id twice is kept once.

        A measurement that cannot be written now is written with the next one that can.
        """
        body = json.dumps(measurement.to_json(), ensure_ascii=False)
        self._queue.put(measurement.id, body, fine=not self._is_significant(measurement))

    def _is_significant(self, measurement: Measurement) -> bool:
        """Whether it is kept longer than fine data: the first of an hour, and every change. In a
        full spool, hourly values and the course of outages remain.
        """
        summary: tuple[object, ...] = (
            measurement.started_at.replace(minute=0, second=0, microsecond=0),
            measurement.outcome,
            measurement.values.get("received") == 0,
            measurement.conditions.get("boot_id"),
            measurement.conditions.get("stopped"),
        )
        before = self._last.get(measurement.series)
        self._last[measurement.series] = summary
        return before != summary

    @property
    def dropped(self) -> int:
        """How many measurements were lost for lack of room."""
        return self._queue.dropped

    def peek(self, count: int) -> list[Measurement]:
        """The oldest `count` measurements on disk, which stay until `drop`.

        A row that this version cannot read is set aside, because it would block all later ones.
        """
        found: list[Measurement] = []
        for name, body in self._queue.peek(count):
            try:
                found.append(Measurement.from_json(json.loads(body)))
            except ValueError as error:
                log.error("a spooled measurement cannot be read and is set aside: %s", error)
                self._queue.set_aside([name], f"unreadable: agent {__version__}")
        return found

    def drop(self, ids: Iterable[str]) -> None:
        """Delete measurements that the hub has stored."""
        self._queue.drop(ids)

    def set_aside(self, ids: Iterable[str], hub_version: str) -> None:
        """Set aside what a hub of this version refused, for a hub of another version."""
        self._queue.set_aside(ids, hub_version)

    def retry(self, hub_version: str) -> None:
        """Return to the queue what a hub of another version refused."""
        self._queue.retry(hub_version)

    def __len__(self) -> int:
        """How many measurements are waiting."""
        return len(self._queue)

    def close(self) -> None:
        """Close the file, and let another agent use the directory."""
        self._queue.close()
        if self._lock is not None:
            self._lock.close()

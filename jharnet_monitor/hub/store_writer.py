"""The one way of a running hub's records into its database.

What the database does not take now waits on disk, in order, and is written once it does: nothing is
forgotten over a full disk, a lock, or a restart of PostgreSQL. What an agent hands in does not wait
here: it is not acknowledged, so the agent keeps it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.disk_queue import DiskQueue
from jharnet_monitor.errors import StoreError
from jharnet_monitor.judge.conference.drill import Drill
from jharnet_monitor.live import HubStatus
from jharnet_monitor.model import Measurement, OfficeState, format_utc, parse_utc
from jharnet_monitor.store import Store

log = logging.getLogger(__name__)

MAX_WAITING = 200_000
"""Records that may wait; beyond it the oldest measurements are dropped first."""
RETRY_SECONDS = 5.0
LONGEST_WRITE_SECONDS = 20.0
"""More than the database itself waits for another one's lock (`store.engine.BUSY_SECONDS`)."""
_BATCH = 200
T = TypeVar("T")


class Record(Protocol):
    """Something to be written into the database."""

    def write(self, store: Store) -> None:
        """Write it, once even if it is written again; blocks, raises `StoreError`."""

    def to_json(self) -> dict[str, Any]:
        """What `_READERS` make the same record of."""


@dataclass(frozen=True, slots=True)
class MeasurementRecord:
    """A measurement of the hub's own."""

    measurement: Measurement

    def write(self, store: Store) -> None:
        """See `Record`."""
        store.add([self.measurement])

    def to_json(self) -> dict[str, Any]:
        """See `Record`."""
        return self.measurement.to_json()


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event of an office or of the hub."""

    office: str
    kind: str
    at: datetime
    data: Mapping[str, Any]

    def write(self, store: Store) -> None:
        """See `Record`."""
        store.event_log.add_event(self.office, self.kind, self.at, self.data)

    def to_json(self) -> dict[str, Any]:
        """See `Record`."""
        return {"office": self.office, "kind": self.kind, "at": format_utc(self.at),
                "data": dict(self.data)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StateRecord:
    """A change of an office's state, with its evidence."""

    office: str
    state: OfficeState
    at: datetime
    evidence: Mapping[str, Any]

    def write(self, store: Store) -> None:
        """See `Record`."""
        store.event_log.add_transition(self.office, self.state, self.at, self.evidence)

    def to_json(self) -> dict[str, Any]:
        """See `Record`."""
        return {"office": self.office, "state": self.state.value, "at": format_utc(self.at),
                "evidence": dict(self.evidence)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class DrillRecord:
    """A drill that has ended."""

    drill: Drill

    def write(self, store: Store) -> None:
        """See `Record`."""
        store.event_log.add_drill(self.drill)

    def to_json(self) -> dict[str, Any]:
        """See `Record`."""
        return self.drill.to_json()


@dataclass(frozen=True, slots=True)
class ValueRecord:
    """A value that survives a restart; only the newest of a key matters."""

    key: str
    value: Any

    def write(self, store: Store) -> None:
        """See `Record`."""
        store.set_value(self.key, self.value)

    def to_json(self) -> dict[str, Any]:
        """See `Record`."""
        return {"key": self.key, "value": self.value}


_READERS: Mapping[str, Any] = {
    "MeasurementRecord": lambda data: MeasurementRecord(Measurement.from_json(data)),
    "EventRecord": lambda data: EventRecord(
        data["office"], data["kind"], parse_utc(data["at"]), data["data"]
    ),
    "StateRecord": lambda data: StateRecord(
        data["office"], OfficeState(data["state"]), parse_utc(data["at"]), data["evidence"]
    ),
    "DrillRecord": lambda data: DrillRecord(Drill.from_json(data)),
    "ValueRecord": lambda data: ValueRecord(data["key"], data["value"]),
}


def queue_file(config: Config) -> Path:
    """Where records wait: beside an SQLite database, else beside the reports."""
    kind, _, file = config.hub.database.partition(":///")
    if kind == "sqlite":
        return Path(f"{file}-waiting")
    return config.report.directory / "waiting.db"


class StoreWriter:
    """Writes records, those of the journal in the order in which they are given.

    `status` says whether the newest write succeeded, how many records wait and how many were lost.
    """

    def __init__(self, store: Store, file: Path, status: HubStatus, clock: Clock) -> None:
        self.store = store
        self._file = file
        self._status = status
        self._clock = clock
        self._queue: DiskQueue | None = None
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "database")
        """Of the writer's own: a database that does not answer holds up nothing else."""
        self._disk = ThreadPoolExecutor(1, "waiting records")

    async def open(self) -> None:
        """Write what waits from before the start; raises `StoreError`."""
        await self._in(self._disk, self._opened)
        await self._publish()
        await self.write_later()

    async def close(self) -> None:
        """Close the queue; what waits is written at the next start."""
        if self._queue is not None:
            await self._in(self._disk, self._queue.close)
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._disk.shutdown(wait=False)

    def _opened(self) -> DiskQueue:
        """The queue; blocks, raises `StoreError`."""
        if self._queue is None:
            try:
                self._queue = DiskQueue(self._file, MAX_WAITING)
            except (OSError, sqlite3.Error) as error:
                raise StoreError(f"{self._file}: cannot be used: {error}") from error
        return self._queue

    async def add(self, measurements: Sequence[Measurement]) -> Sequence[Measurement]:
        """Store measurements and return the new ones; raises `StoreError`, and keeps nothing."""
        with self._noted():
            return await self._in(self._thread, self.store.add, measurements)

    async def write(self, *records: Record) -> None:
        """Write records, or let them wait on disk; never raises `StoreError`."""
        async with self._turn:
            for number, record in enumerate(records):
                if self._status.writes_waiting or not await self._written(record):
                    await self._wait(records[number:])
                    return

    async def write_later(self) -> None:
        """Write what waits, as far as the database takes it; to be called again and again."""
        while self._status.writes_waiting and await self._write_waiting():
            pass

    async def _written(self, record: Record) -> bool:
        try:
            with self._noted():
                await self._in(self._thread, record.write, self.store)
        except StoreError as error:
            if not self._status.writes_waiting:
                log.error("the database takes no rows, they wait in %s: %s", self._file, error)
            return False
        return True

    async def _wait(self, records: Sequence[Record]) -> None:
        try:
            await self._in(self._disk, self._put, records)
        except StoreError as error:
            log.error("records wait in memory, as the disk takes none: %s", error)
        await self._publish()

    def _put(self, records: Sequence[Record]) -> None:
        queue = self._opened()
        for record in records:
            kind = type(record).__name__
            name = record.key if isinstance(record, ValueRecord) else uuid.uuid4().hex
            body = json.dumps([kind, record.to_json()], ensure_ascii=False)
            fine, newest = kind == "MeasurementRecord", kind == "ValueRecord"
            queue.put(name, body, fine=fine, replace=newest)

    async def _write_waiting(self) -> bool:
        """Write the oldest records that wait; False when none does, or the database fails."""
        async with self._turn:
            try:
                waiting = await self._in(self._disk, lambda: self._opened().peek(_BATCH))
                for name, body in waiting:
                    with self._noted():
                        await self._in(self._thread, self._write_again, name, body)
            except StoreError as error:
                log.debug("%d records wait: %s", self._status.writes_waiting, error)
                return False
            finally:
                await self._publish()
        if waiting and not self._status.writes_waiting:
            log.info("the database takes rows again; all that waited is written")
        return bool(waiting)

    def _write_again(self, name: str, body: str) -> None:
        """Write a record that waited, and delete it from the queue.

        One that cannot be read, or that the database would never take, is set aside: it would hold
        back all others.
        """
        try:
            kind, data = json.loads(body)
            record: Record = _READERS[kind](data)
            if not _is_written(record, self.store):
                record.write(self.store)
        except StoreError:
            raise
        except Exception:
            log.exception("a record that waited cannot be written and is set aside: %s", body[:300])
            self._opened().set_aside([name], "cannot be written")
            return
        self._opened().drop([name])

    async def _in(self, pool: Executor, work: Callable[..., T], *arguments: Any) -> T:
        """Run in a pool; raises `StoreError` when there is no answer within `LONGEST_WRITE`.

        What has been begun goes on, and may be done all the same.
        """
        running = asyncio.get_running_loop().run_in_executor(pool, partial(work, *arguments))
        try:
            return await asyncio.wait_for(asyncio.shield(running), LONGEST_WRITE_SECONDS)
        except TimeoutError:
            running.add_done_callback(_ignore_result)
            raise StoreError(f"no answer within {LONGEST_WRITE_SECONDS:.0f} s") from None

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """Note in `status` whether the write inside succeeds; its `StoreError` is raised again."""
        try:
            yield
        except StoreError:
            self._status.database_errors += 1
            self._status.database_failing = True
            raise
        self._status.database_failing = False
        self._status.database_written = self._clock.monotonic()

    async def _publish(self) -> None:
        try:
            self._status.writes_waiting = await self._in(self._disk, lambda: len(self._opened()))
        except StoreError as error:
            log.error("how many records wait is not known: %s", error)
        if self._queue is not None:
            self._status.writes_dropped = self._queue.dropped


def _ignore_result(done: asyncio.Future[Any]) -> None:
    """Retrieve what nobody waits for any more, so that asyncio does not complain."""
    if not done.cancelled():
        done.exception()


def _is_written(record: Record, store: Store) -> bool:
    """Whether a record that waited was written before the hub ended, and only not yet deleted."""
    match record:
        case EventRecord(office=office, kind=kind, at=at):
            return store.event_log.has_event(office, kind, at)
        case StateRecord(office=office, state=state, at=at):
            return store.event_log.has_transition(office, state, at)
        case _:
            return False

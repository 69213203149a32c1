"""The one way of a running hub's records into its database.

What the database does not take now waits on disk, in order, and is written once it does: nothing is
forgotten over a full disk, a lock, or a restart of PostgreSQL. What an agent hands in does not wait
here: it is not acknowledged, so the agent keeps it. A record that the database would never take is
set aside on disk, so that it holds back no other; a hub of another version tries it again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from jharnet_monitor import __version__
from jharnet_monitor.clock import Clock
from jharnet_monitor.disk_queue import DiskQueue
from jharnet_monitor.errors import RefusedRecordError, StoreError, Trouble
from jharnet_monitor.hub.records import (
    MeasurementRecord,
    Record,
    ValueRecord,
    is_written,
    read_record,
    write_out,
)
from jharnet_monitor.live import HubStatus
from jharnet_monitor.model import Measurement
from jharnet_monitor.store import Store

log = logging.getLogger(__name__)

MAX_WAITING = 200_000
"""Records that may wait; beyond it the oldest measurements are dropped first."""
RETRY_SECONDS = 5.0
LONGEST_WRITE_SECONDS = 20.0
"""More than the database itself waits for another one's lock (`store.engine.BUSY_SECONDS`)."""
MOST_TRIES = 3
"""Tries to store a record that the database refuses, before it is set aside."""
_BATCH = 200
_NOT_TAKEN = f"not stored by {__version__}"
T = TypeVar("T")


class StoreWriter:
    """Writes records, those of the journal in the order in which they are given.

    `status` says whether the newest write succeeded, how many records wait and how many were lost.
    """

    def __init__(self, store: Store, file: Path, status: HubStatus, clock: Clock) -> None:
        self.store = store
        self._file = file
        self._status = status
        self._clock = clock
        self._queue = DiskQueue(file, MAX_WAITING)
        self._held = False
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "database")
        """Of the writer's own: a database that does not answer holds up nothing else."""
        self._disk = ThreadPoolExecutor(1, "waiting records")

    async def open(self) -> None:
        """Read what waits from before the start; never raises."""
        try:
            await self._in(self._disk, self._opened)
        except StoreError as error:
            log.error("records of before the start cannot be read now: %s", error)
        await self._publish()

    def hold(self, trouble: Trouble) -> None:
        """Write nothing into the database until `release`: everything waits on disk."""
        self._held = True
        self._status.database_failing, self._status.database_trouble = True, trouble

    async def release(self) -> None:
        """Write what waits, now that the database is there."""
        self._held = False
        self._status.database_failing = False
        await self.write_later()

    async def waiting_value(self, key: str) -> Any | None:
        """The value that waits under a key; None if none does."""
        try:
            waiting = await self._in(self._disk, self._queue.peek, MAX_WAITING)
        except StoreError:
            return None
        records = (json.loads(body) for name, body in waiting if name == key)
        return next((data["value"] for kind, data in records if kind == "ValueRecord"), None)

    async def close(self) -> None:
        """Close the queue; what waits is written at the next start."""
        await self._in(self._disk, self._queue.close)
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._disk.shutdown(wait=False)

    def _opened(self) -> None:
        self._queue.open()
        self._queue.retry(except_why=_NOT_TAKEN)

    async def add(self, measurements: Sequence[Measurement]) -> Sequence[Measurement]:
        """Store measurements and return the new ones; raises `StoreError`, and keeps nothing.

        One that the database would never take is set aside: its agent would hand it in for ever.
        """
        if self._held:
            raise StoreError("the database is not there yet")
        try:
            return await self._add(measurements)
        except Exception as error:
            if _may_pass(error):
                raise
        stored: list[Measurement] = []
        for measurement in measurements:
            stored += await self._add_alone(measurement)
        return stored

    async def _add(self, measurements: Sequence[Measurement]) -> Sequence[Measurement]:
        with self._noted():
            return await self._in(self._thread, self.store.add, measurements)

    async def _add_alone(self, measurement: Measurement) -> Sequence[Measurement]:
        """Store one measurement, or set it aside; raises `StoreError`."""
        for number in range(MOST_TRIES):
            try:
                return await self._add([measurement])
            except Exception as error:
                if _may_pass(error):
                    raise
                if number + 1 == MOST_TRIES:
                    await self._set_aside(MeasurementRecord(measurement), error)
        return ()

    async def _set_aside(self, record: Record, error: Exception) -> None:
        """Keep a record on disk, out of the way of all others; raises `StoreError`."""
        body = json.dumps(write_out(record), ensure_ascii=False)
        log.error("a record that the database does not take is set aside in %s: %s: %s",
                  self._file, error, body[:300])  # fmt: skip
        put = partial(self._queue.put, uuid.uuid4().hex, body, fine=False, aside=_NOT_TAKEN)
        await self._in(self._disk, put)
        await self._publish()

    async def write(self, *records: Record) -> None:
        """Write records, or let them wait on disk; never raises `StoreError`."""
        async with self._turn:
            for number, record in enumerate(records):
                waits = self._held or self._status.writes_waiting > 0
                if waits or not await self._written(record):
                    await self._wait(records[number:])
                    return

    async def write_later(self) -> None:
        """Write what waits, as far as the database takes it; to be called again and again."""
        while self._status.writes_waiting and not self._held and await self._write_waiting():
            pass

    async def _written(self, record: Record) -> bool:
        try:
            with self._noted():
                await self._in(self._thread, record.write, self.store)
        except Exception as error:
            if not _may_pass(error):
                return await self._is_aside(record, error)
            if not self._status.writes_waiting:
                log.error("the database takes no rows, they wait in %s: %s", self._file, error)
            return False
        return True

    async def _is_aside(self, record: Record, error: Exception) -> bool:
        try:
            await self._set_aside(record, error)
        except StoreError as disk:
            log.error("the record waits in memory, as the disk takes none: %s", disk)
        return True

    async def _wait(self, records: Sequence[Record]) -> None:
        try:
            await self._in(self._disk, self._put, records)
        except StoreError as error:
            log.error("records wait in memory, as the disk takes none: %s", error)
        await self._publish()

    def _put(self, records: Sequence[Record]) -> None:
        failure: StoreError | None = None
        for record in records:
            kind = type(record).__name__
            name = record.key if isinstance(record, ValueRecord) else uuid.uuid4().hex
            body = json.dumps(write_out(record), ensure_ascii=False)
            fine, newest = kind == "MeasurementRecord", kind == "ValueRecord"
            try:
                self._queue.put(name, body, fine=fine, replace=newest)
            except StoreError as error:  # it waits in memory
                failure = error
        if failure is not None:
            raise failure

    async def _write_waiting(self) -> bool:
        """Write the oldest records that wait; False when none does, or the database fails."""
        async with self._turn:
            try:
                waiting = await self._in(self._disk, lambda: self._queue.peek(_BATCH))
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
            record = read_record(json.loads(body))
            if not is_written(record, self.store):
                record.write(self.store)
        except Exception as error:
            if _may_pass(error):
                raise
            log.exception("a record that waited cannot be written and is set aside: %s", body[:300])
            self._queue.set_aside([name], _NOT_TAKEN)
            return
        self._queue.drop([name])

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
        except RefusedRecordError:
            self._status.database_errors += 1
            raise
        except StoreError as error:
            self._status.database_errors += 1
            self._status.database_failing = True
            self._status.database_trouble = error.trouble
            raise
        self._status.database_failing = False
        self._status.database_written = self._clock.monotonic()

    async def _publish(self) -> None:
        def counts() -> tuple[int, int]:
            return len(self._queue), self._queue.count_aside()

        try:
            counted = await self._in(self._disk, counts)
            self._status.writes_waiting, self._status.writes_set_aside = counted
        except StoreError as error:
            log.error("how many records wait is not known: %s", error)
        self._status.writes_dropped = self._queue.dropped


def _may_pass(error: Exception) -> bool:
    """Whether it is the database's trouble, not the record's."""
    return isinstance(error, StoreError) and not isinstance(error, RefusedRecordError)


def _ignore_result(done: asyncio.Future[Any]) -> None:
    """Retrieve what nobody waits for any more, so that asyncio does not complain."""
    if not done.cancelled():
        done.exception()

"""Writes a running hub's records into its database.

Records that the database cannot take now wait on disk, in order, and are written later: a full
disk, a lock or a restart of PostgreSQL loses nothing. Measurements from agents do not wait here:
they are not acknowledged, so the agent keeps them. A record that the database would never accept is
set aside on disk, so that it does not block others; a hub of another version tries it again.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
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
    is_written,
    queue_name,
    read_record,
    write_out,
)
from jharnet_monitor.live import HubStatus
from jharnet_monitor.model import Measurement
from jharnet_monitor.store import Store

log = logging.getLogger(__name__)

MAX_WAITING = 200_000
"""Records that may wait; beyond that the oldest measurements are dropped."""
RETRY_SECONDS = 5.0
LONGEST_WRITE_SECONDS = 20.0
"""Longer than the database waits for another program's lock (`store.engine.BUSY_SECONDS`)."""
STOPPING_WRITE_SECONDS = 0.5
"""The same once the hub stops: what takes longer waits on disk for the next start."""
MOST_TRIES = 3
"""Tries to store a record that the database refuses, before it is set aside."""
_BATCH = 200
_NOT_TAKEN = f"not stored by {__version__}"
T = TypeVar("T")


class StoreWriter:
    """Writes records, those of the journal in the given order.

    `status` says whether the newest write succeeded, how many records wait and how many were lost.
    """

    def __init__(self, store: Store, file: Path, status: HubStatus, clock: Clock) -> None:
        self.store = store
        self._file = file
        self._status = status
        self._clock = clock
        self._queue = DiskQueue(file, MAX_WAITING)
        self._queue_opened = False
        self._on_hold = False
        self._stopping = False
        self._closed = False
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "database")
        """A thread of its own, so that a database that does not answer blocks nothing else."""
        self._disk = ThreadPoolExecutor(1, "waiting records")

    async def open(self) -> None:
        """Open the queue of records from before the start; never raises."""
        try:
            await self._in(self._disk, self._open_queue)
        except StoreError as error:
            log.error("records from before the start cannot be read now: %s", error)
        await self._publish()

    def hold(self, trouble: Trouble) -> None:
        """Write nothing into the database until `release`; all records wait on disk."""
        self._on_hold = True
        self._status.database_failing, self._status.database_trouble = True, trouble

    async def release(self) -> None:
        """Write the waiting records, now that the database is available."""
        self._on_hold = False
        self._status.database_failing = False
        await self.write_later()

    async def waiting_value(self, key: str) -> Any | None:
        """The waiting value of a key; None if there is none."""
        try:
            waiting = await self._in(self._disk, self._queue.peek, MAX_WAITING)
        except StoreError:
            return None
        records = (json.loads(body) for name, body in waiting if name == key)
        return next((data["value"] for kind, data in records if kind == "ValueRecord"), None)

    async def has_set_aside(self, record: Record) -> bool:
        """Whether the database refused a record for good; False if the disk does not tell."""
        try:
            return await self._in(self._disk, self._queue.is_set_aside, queue_name(record))
        except StoreError:
            return False

    def hurry(self) -> None:
        """From now on wait no longer than a stop may take for a database that does not answer."""
        self._stopping = True

    async def close(self) -> None:
        """Close the queue; waiting records are written at the next start.

        Sessions that a stop had no time to wait for may hand in more. Their measurements are
        refused, so that the agents send them again; their events are dropped as in a crash, after
        which the next start records since when the hub was away.
        """
        try:
            await self._in(self._disk, self._queue.close)
        finally:
            self._closed = True
            self._end_threads()

    def _end_threads(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._disk.shutdown(wait=False)

    def _open_queue(self) -> None:
        self._queue.open()
        self._queue.retry(except_reason=_NOT_TAKEN)
        self._queue_opened = True

    async def add(self, measurements: Sequence[Measurement]) -> Sequence[Measurement]:
        """Store measurements and return the new ones; raises `StoreError` and keeps nothing. A
        measurement that the database would never accept is set aside, or its agent would send it
        for ever.
        """
        if self._on_hold:
            raise StoreError("the database is not there yet")
        try:
            return await self._add(measurements)
        except Exception as error:
            if _is_temporary(error):
                raise
        stored: list[Measurement] = []
        for measurement in measurements:
            stored += await self._add_alone(measurement)
        return stored

    async def _add(self, measurements: Sequence[Measurement]) -> Sequence[Measurement]:
        with self._note_outcome():
            return await self._in(self._thread, self.store.add, measurements)

    async def _add_alone(self, measurement: Measurement) -> Sequence[Measurement]:
        """Store one measurement, or set it aside; raises `StoreError`."""
        for number in range(MOST_TRIES):
            try:
                return await self._add([measurement])
            except Exception as error:
                if _is_temporary(error):
                    raise
                if number + 1 == MOST_TRIES:
                    await self._set_aside(MeasurementRecord(measurement), error)
        return ()

    async def _set_aside(self, record: Record, error: Exception) -> None:
        """Set a record aside on disk, so that it does not block others; raises `StoreError`."""
        body = json.dumps(write_out(record), ensure_ascii=False)
        log.error("the database refused a record, which is set aside in %s: %s: %s",
                  self._file, error, body[:300])  # fmt: skip
        put = partial(self._queue.put, queue_name(record), body, fine=False, reason=_NOT_TAKEN)
        await self._in(self._disk, put)
        await self._publish()

    async def write(self, *records: Record) -> None:
        """Write records, or let them wait on disk; never raises `StoreError`."""
        async with self._turn:
            if self._closed:
                log.debug("%d records came after the hub's stop", len(records))
                return
            for number, record in enumerate(records):
                waits = self._on_hold or self._status.writes_waiting > 0
                if waits or not await self._try_write(record):
                    await self._wait(records[number:])
                    return

    async def write_later(self) -> None:
        """Write waiting records until the database fails; call this repeatedly.

        Records from before a start at which the disk was full are among them once it has room.
        """
        if not self._queue_opened:
            with suppress(StoreError):
                await self._in(self._disk, self._open_queue)
                await self._publish()
        while self._status.writes_waiting and not self._on_hold and await self._write_waiting():
            pass

    async def _try_write(self, record: Record) -> bool:
        try:
            with self._note_outcome():
                await self._in(self._thread, record.write, self.store)
        except Exception as error:
            if not _is_temporary(error):
                return await self._try_set_aside(record, error)
            if not self._status.writes_waiting:
                log.error("the database accepts no rows; records wait in %s: %s", self._file, error)
            return False
        return True

    async def _try_set_aside(self, record: Record, error: Exception) -> bool:
        try:
            await self._set_aside(record, error)
        except StoreError as disk:
            log.error("the record waits in memory, because the disk cannot be written: %s", disk)
        return True

    async def _wait(self, records: Sequence[Record]) -> None:
        try:
            await self._in(self._disk, self._put, records)
        except StoreError as error:
            log.error("records wait in memory, because the disk cannot be written: %s", error)
        await self._publish()

    def _put(self, records: Sequence[Record]) -> None:
        failure: StoreError | None = None
        for record in records:
            kind = type(record).__name__
            body = json.dumps(write_out(record), ensure_ascii=False)
            fine, newest = kind == "MeasurementRecord", kind == "ValueRecord"
            try:
                self._queue.put(queue_name(record), body, fine=fine, replace=newest)
            except StoreError as error:  # it waits in memory
                failure = error
        if failure is not None:
            raise failure

    async def _write_waiting(self) -> bool:
        """Write the oldest waiting records; False if there are none, or the database fails."""
        async with self._turn:
            try:
                waiting = await self._in(self._disk, lambda: self._queue.peek(_BATCH))
                for name, body in waiting:
                    with self._note_outcome():
                        await self._in(self._thread, self._write_again, name, body)
            except StoreError as error:
                log.debug("%d records wait: %s", self._status.writes_waiting, error)
                return False
            finally:
                await self._publish()
        if waiting and not self._status.writes_waiting:
            log.info("the database accepts rows again; all waiting records are written")
        return bool(waiting)

    def _write_again(self, name: str, body: str) -> None:
        """Write a waiting record, and delete it from the queue. A record that cannot be read, or
        that the database would never accept, is set aside: it would block all others.
        """
        try:
            record = read_record(json.loads(body))
            if not is_written(record, self.store):
                record.write(self.store)
        except Exception as error:
            if _is_temporary(error):
                raise
            log.exception("a waiting record cannot be written and is set aside: %s", body[:300])
            self._queue.set_aside([name], _NOT_TAKEN)
            return
        self._queue.drop([name])

    async def _in(self, pool: Executor, work: Callable[..., T], *arguments: Any) -> T:
        """Run in a pool; raises `StoreError` when there is no answer in time.

        Work that has begun continues in its thread and may still succeed. Other work of the
        database is withdrawn, so that it does not pile up behind a database that does not answer:
        its records wait on disk, or their agent sends them again.
        """
        if self._closed:
            raise StoreError("the hub has stopped")
        limit = STOPPING_WRITE_SECONDS if self._stopping else LONGEST_WRITE_SECONDS
        submitted = pool.submit(work, *arguments)
        running = asyncio.wrap_future(submitted)
        try:
            return await asyncio.wait_for(asyncio.shield(running), limit)
        except TimeoutError:
            running.add_done_callback(_ignore_result)
            if pool is self._thread:
                submitted.cancel()
            raise StoreError(f"no answer within {limit:g} s") from None

    @contextmanager
    def _note_outcome(self) -> Iterator[None]:
        """Note in `status` whether the write inside succeeds; its `StoreError` is raised again."""
        try:
            yield
        except RefusedRecordError:
            self._status.database_errors += 1
            raise
        except StoreError as error:
            self._status.database_errors += 1
            # A write that got no answer behind one that failed does not know the reason.
            if not self._status.database_failing or error.trouble is not Trouble.UNKNOWN:
                self._status.database_trouble = error.trouble
            self._status.database_failing = True
            raise
        self._status.database_failing = False
        self._status.database_written = self._clock.monotonic()

    async def _publish(self) -> None:
        def counts() -> tuple[int, int]:
            return len(self._queue), self._queue.count_set_aside()

        try:
            counted = await self._in(self._disk, counts)
            self._status.writes_waiting, self._status.writes_set_aside = counted
        except StoreError as error:
            log.error("waiting records could not be counted: %s", error)
            known = self._status.writes_waiting if self._queue_opened else 0
            self._status.writes_waiting = max(known, self._queue.unwritten)
        self._status.writes_dropped = self._queue.dropped


def _is_temporary(error: Exception) -> bool:
    """Whether the database, not the record, is the reason, so that a later try may succeed."""
    return isinstance(error, StoreError) and not isinstance(error, RefusedRecordError)


def _ignore_result(done: asyncio.Future[Any]) -> None:
    """Retrieve a result that nobody waits for, so that asyncio does not complain."""
    if not done.cancelled():
        done.exception()

"""The store: writes and reads measurements, and values that must survive a restart."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import chain, islice
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, func, insert, literal_column, select, union_all

from jharnet_monitor.clock import Clock
from jharnet_monitor.errors import StoreError
from jharnet_monitor.model import MADE_UP, Measurement, Route
from jharnet_monitor.store import tables as t
from jharnet_monitor.store import tallies
from jharnet_monitor.store.backup import backup
from jharnet_monitor.store.bulk_reader import BulkReader
from jharnet_monitor.store.chain import Chain
from jharnet_monitor.store.engine import open_engine, reading, writing
from jharnet_monitor.store.event_log import EventLog
from jharnet_monitor.store.export import Export
from jharnet_monitor.store.interned_json import InternedJson
from jharnet_monitor.store.mails import Mails
from jharnet_monitor.store.ownership import Ownership
from jharnet_monitor.store.packed_reader import PackedReader, Wanted
from jharnet_monitor.store.packing import Packing
from jharnet_monitor.store.pruning import OF_THE_DATABASE
from jharnet_monitor.store.records import Records
from jharnet_monitor.store.retention import Retention
from jharnet_monitor.store.round_trips import RoundTrips
from jharnet_monitor.store.rows import SpentBytes, canonical, from_rows, path_of, to_rows
from jharnet_monitor.store.schema import migrate, require

_BATCH = 500
_REPEATED_WITHIN_MS = 600_000
"""How much the start of a run may differ when it is handed in again: an agent's clock is corrected
by estimates that grow better, and by the hub's clock."""
_LONGEST_TEST = timedelta(days=1)
_MOST_PARTS = 400
"""SQLite joins at most 500 queries."""


class Store:
    """One database. Every method blocks: on an event loop, call it in a thread.

    `event_log` holds states, events, windows and drills; `chain` is the hash chain over them and
    the measurements; `packing` packs sealed hours; `bulk_reader` reads many measurements for
    reports; `export` reads sealed records for a dossier; `tallies` are the running totals;
    `retention` prunes old measurements; `mails` is the log of sent mails. `ownership` keeps a
    second hub from writing. Callers need not know whether a measurement is packed.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        """Open `sqlite:///FILE` or `postgresql://…`; raises `UserError`, `StoreError`."""
        self._engine = open_engine(url)
        self._clock = clock
        self._interned = InternedJson()
        self._packed = PackedReader(self._interned)
        records = Records(self._interned, self._packed)
        self.event_log = EventLog(self._engine, clock)
        self.chain = Chain(self._engine, clock, records)
        self.packing = Packing(self._engine, self.chain, records, self._interned)
        self.bulk_reader = BulkReader(self._engine, self._interned, self._packed)
        self.export = Export(self._engine, self._interned, records, self._packed)
        self.tallies = tallies.Tallies(self._engine)
        self.mails = Mails(self._engine, clock)
        self.ownership = Ownership(self._engine, clock)
        self.retention = Retention(self._engine, clock, self.chain, self.bulk_reader, self._packed)

    def migrate(self) -> str | None:
        """Bring the schema to this program's version, and say which.

        Raises `StoreError`, and `UserError` for a schema of a newer program.
        """
        return migrate(self._engine)

    def require_schema(self) -> None:
        """Raise `UserError` unless the schema is this program's: for commands that only read."""
        require(self._engine)

    def add(self, measurements: Iterable[Measurement]) -> Sequence[Measurement]:
        """Store measurements in one transaction; returns those that are new."""
        by_id: dict[str, Measurement] = {}
        for measurement in measurements:
            by_id.setdefault(measurement.id, measurement)
        if not by_id:
            return ()
        with writing(self._engine) as connection:
            existing = _existing(connection, list(by_id))
            new = [m for m in by_id.values() if m.id not in existing]
            packed = self._packed_ids(connection, new)
            new = [m for m in new if m.id not in packed]
            if new:
                self._insert(connection, new)
        return new

    def _packed_ids(self, connection: Connection, new: Sequence[Measurement]) -> set[str]:
        """The ids of those that are stored and packed: a repeated run has about the same start.

        Most new runs are newer than everything packed, so usually no packed hour is read.
        """
        found: set[str] = set()
        series: dict[tuple[str, str, str], list[int]] = {}
        for m in new:
            series.setdefault((m.office, m.probe, path_of(m)), []).append(t.to_ms(m.started_at))
        for key, starts in series.items():
            since, until = min(starts) - _REPEATED_WITHIN_MS, max(starts) + _REPEATED_WITHIN_MS
            wanted = Wanted(*key, since, until)
            found.update(self._packed.ids(connection, wanted))
        return found

    def _insert(self, connection: Connection, new: Sequence[Measurement]) -> None:
        rows = to_rows(connection, self._interned, new, self._clock.now())
        last = connection.execute(select(func.max(t.measurements.c.number))).scalar_one() or 0
        connection.execute(insert(t.measurements), rows)
        m = t.measurements
        numbers = select(m.c.id, m.c.number).where(m.c.number > last)
        by_id = {row.id: row.number for row in connection.execute(numbers)}
        for measurement, row in zip(new, rows, strict=True):
            row["number"] = by_id[measurement.id]
            for name in ("sent", "received"):
                row[name] = int(measurement.values.get(name, 0))
        tallies.count(connection, rows)

    def measurements(
        self,
        *,
        office: str | None = None,
        probe: str | None = None,
        path: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> list[Measurement]:
        """Measurements that began within [since, until), in order of their start."""
        wanted = Wanted(
            office, probe, path,
            None if since is None else t.to_ms(since), None if until is None else t.to_ms(until),
        )  # fmt: skip
        sign = -1 if newest_first else 1
        with reading(self._engine) as connection:
            rows = connection.execute(self._query(connection, wanted, limit, sign)).all()
            loose = zip(
                ((sign * row.started_at, sign * row.number) for row in rows),
                from_rows(connection, self._interned, rows),
                strict=True,
            )
            packed = self._packed.measurements(connection, wanted, newest_first=newest_first)
            first = next(packed, None)
            if first is None:  # speed tests and calls are never packed
                return [measurement for _, measurement in loose]
            both = heapq.merge(loose, chain((first,), packed), key=itemgetter(0))
            return [measurement for _, measurement in islice(both, limit)]

    def _query(self, connection: Connection, wanted: Wanted, limit: int | None, sign: int) -> Any:
        """The rows that are wanted, in the order of their start times `sign`."""
        m = t.measurements
        clauses = [
            m.c[name] == value
            for name in ("office", "probe", "path")
            if (value := getattr(wanted, name)) is not None
        ]
        if wanted.since is not None:
            clauses.append(m.c.started_at >= wanted.since)
        if wanted.until is not None:
            clauses.append(m.c.started_at < wanted.until)

        def ordered(query: Any, columns: Any) -> Any:
            keys = (columns.started_at, columns.number)
            return query.order_by(*(k.desc() if sign < 0 else k for k in keys)).limit(limit)

        if limit is not None and (wanted.office is None) != (wanted.probe is None):
            # Each office's probe has its index; of one of them alone all rows would be sorted.
            parts = [
                select(ordered(select(m).where(*clauses, *part), m.c).subquery())
                for part in _parts(connection, wanted.office, wanted.probe)
            ]
            if 1 < len(parts) <= _MOST_PARTS:
                every = union_all(*parts).subquery()
                return ordered(select(every), every.c)
        return ordered(select(m).where(*clauses), m.c)

    def latest(self) -> list[Measurement]:
        """The run of each office, probe, path and outcome that ended last, in order of start."""
        m = t.measurements
        query = select(m).join(t.tallies, t.tallies.c.last == m.c.number)
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
            keys = [(row.started_at, row.number) for row in rows]
            runs = from_rows(connection, self._interned, rows)
            found = list(zip(keys, runs, strict=True))
            known = {number for _, number in keys}
            for total in connection.execute(select(t.tallies)).all():
                if total.last not in known:  # packed, or pruned
                    at = total.last_started_at
                    series = Wanted(total.office, total.probe, total.path, at, at + 1)
                    run = self._packed.find(connection, series, total.last)
                    found += [] if run is None else [run]
        return [run for _, run in sorted(found, key=itemgetter(0))]

    def round_trips(
        self, office: str, since: datetime, until: datetime, path: str = Route.JHARNET
    ) -> Iterator[RoundTrips]:
        """The packets of an office's latency minutes that began within [since, until), in order."""
        wanted = Wanted(office, "latency", path, t.to_ms(since), t.to_ms(until))
        with reading(self._engine) as connection:
            found = [
                *self._packed.round_trips(connection, wanted),
                *_loose_trips(connection, wanted),
            ]
        yield from sorted(found, key=attrgetter("started_at", "number"))

    def spent(self, office: str, since: datetime, until: datetime) -> dict[str, SpentBytes]:
        """The bytes of each test on an office's line, by its id, that ran within [since, until)."""
        m = t.measurements
        query = select(m.c.id, m.c.started_at, m.c.duration, m.c.bytes_spent).where(
            m.c.office == office,
            m.c.bytes_spent > literal_column("0"),  # as the partial index has it
            m.c.started_at >= t.to_ms(since - _LONGEST_TEST),
            m.c.started_at < t.to_ms(until),
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
        found = {
            row.id: SpentBytes(
                office, began := t.from_ms(row.started_at),
                began + timedelta(seconds=row.duration), row.bytes_spent,
            )
            for row in rows
        }  # fmt: skip
        return {name: one for name, one in found.items() if one.is_within(since, until)}

    def get_value(self, key: str) -> Any | None:
        """The value that `set_value` stored under a key; None if there is none."""
        query = select(t.memory.c.body).where(t.memory.c.key == key)
        with reading(self._engine) as connection:
            body = connection.execute(query).scalar_one_or_none()
        return None if body is None else json.loads(body)

    def set_value(self, key: str, value: Any) -> None:
        """Store a JSON value under a key; it replaces an older one."""
        with writing(self._engine) as connection:
            connection.execute(delete(t.memory).where(t.memory.c.key == key))
            connection.execute(insert(t.memory).values(key=key, body=canonical(value)))

    def made_up(self) -> bool:
        """Whether this is the database of a made-up past (`demo --history`): its log says so, or
        its first measurement.
        """
        if self.event_log.last_event(OF_THE_DATABASE, MADE_UP) is not None:
            return True
        start = self.first_start()
        if start is None:
            return False
        until = start + timedelta(milliseconds=1)
        firsts = self.measurements(since=start, until=until, limit=1)
        return any(MADE_UP in first.conditions for first in firsts)

    def first_start(self) -> datetime | None:
        """When the first measurement began; None if there is none. Reads no measurement."""
        columns = (t.measurements.c.started_at, t.packed_series.c.begin)
        with reading(self._engine) as connection:
            found = [connection.execute(select(func.min(one))).scalar() for one in columns]
        return min((t.from_ms(at) for at in found if at is not None), default=None)

    def size(self) -> int:
        """The size of the database on disk, in bytes."""
        if self._engine.dialect.name == "sqlite":
            name = self._engine.url.database or ""
            files = [Path(name + suffix) for suffix in ("", "-wal")]
            return sum(file.stat().st_size for file in files if file.exists())
        with reading(self._engine) as connection:
            query = select(func.pg_database_size(func.current_database()))
            return int(connection.execute(query).scalar_one())

    def damage(self) -> list[str]:
        """What of the database cannot be read, as after a fault of the disk; reads all of it."""
        sqlite = self._engine.dialect.name == "sqlite"
        checks = ["PRAGMA integrity_check(20)"] if sqlite else [
            f"SELECT 'ok' FROM (SELECT sum(length(one::text)) FROM {table.name} one) whole"  # noqa: S608
            for table in t.metadata.sorted_tables
        ]  # fmt: skip
        found: list[str] = []
        for check in checks:
            try:
                with reading(self._engine) as connection:
                    messages = connection.exec_driver_sql(check).scalars().all()
            except StoreError as error:
                messages = [str(error)]
            found += [f"damaged: {text}" for text in messages if text != "ok"]
        return found

    def backup(self, file: Path) -> None:
        """Copy the database to a file while it is in use; raises `UserError`, `StoreError`."""
        backup(self._engine, file)

    def disconnect(self) -> None:
        """Close all connections, as before a fork of this process; the next use opens new ones."""
        self._engine.dispose()

    def close(self) -> None:
        """Close all connections, and let another hub own the database."""
        self.ownership.release()
        self._engine.dispose()


def _parts(connection: Connection, office: str | None, probe: str | None) -> list[list[Any]]:
    """Conditions that divide an office's measurements by probe, or a probe's by office."""
    table, m = t.tallies, t.measurements
    other, fixed, value = (
        ("probe", "office", office) if probe is None else ("office", "probe", probe)
    )
    query = select(table.c[other]).where(table.c[fixed] == value).distinct()
    return [
        [m.c[other] == name] for name in connection.execute(query.limit(_MOST_PARTS + 1)).scalars()
    ]


def _loose_trips(connection: Connection, wanted: Wanted) -> Iterator[RoundTrips]:
    """Round trips that are not packed yet."""
    m = t.measurements
    query = select(m).where(
        m.c.office == wanted.office, m.c.probe == wanted.probe, m.c.path == wanted.path,
        m.c.started_at >= wanted.since, m.c.started_at < wanted.until,
        m.c.round_trips.is_not(None),
    )  # fmt: skip
    for row in connection.execute(query):
        packets = tuple(json.loads(row.round_trips))
        yield RoundTrips(row.number, row.office, row.probe, row.path, row.started_at, packets)


def _existing(connection: Connection, ids: Sequence[str]) -> set[str]:
    existing: set[str] = set()
    for start in range(0, len(ids), _BATCH):
        part = ids[start : start + _BATCH]
        query = select(t.measurements.c.id).where(t.measurements.c.id.in_(part))
        existing.update(connection.execute(query).scalars())
    return existing

"""Packs the measurements of sealed hours: from rows into one block per series and hour.

An hour is packed after it is sealed, in one transaction, and only if the packed records give the
same hashes as were sealed; the chain stays as it is. Rare measurements stay rows, and so do the
records of an hour that was changed: packing must not hide what `db verify` finds.

The hours of an older schema are packed by the same steps while the hub runs. Whatever ends the
program, each hour is either packed or not.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from operator import attrgetter, itemgetter
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select, update
from sqlalchemy.exc import NoResultFound

from jharnet_monitor.model import ROUND_TRIPS
from jharnet_monitor.store import tables as t
from jharnet_monitor.store.chain import Chain, ChainLink, SealedPart, parts_of
from jharnet_monitor.store.engine import reading, writing
from jharnet_monitor.store.interned_json import InternedJson, note_unused
from jharnet_monitor.store.packed_series import PackedSeries, Shape, packed
from jharnet_monitor.store.records import EVENT_TABLES, Records, measurement_line
from jharnet_monitor.store.round_trips import RoundTrips, pack_round_trips, unpack_round_trips
from jharnet_monitor.store.rows import StoredRow, canonical

log = logging.getLogger(__name__)

FEWEST_ROWS = 4
"""A series with fewer measurements in an hour stays in rows, which are smaller then."""
PACKED, LEFT = 1, 2
"""States of an hour (`chunks.packed`): packed, or left in rows because it was changed."""
_SPENT = '"bytes_spent"'
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows of one series that become one packed block."""

    rows: Sequence[StoredRow]
    shapes: Sequence[Shape]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Hour:
    """An hour's rows, those of them that are packed, and the packed round trips.

    `trips` are the earliest and latest start of those, `old` says that some rows have conditions
    in a text of their own, as schema 0001 wrote them.
    """

    rows: Sequence[StoredRow]
    blocks: Sequence[_Block]
    body: bytes | None
    trips: tuple[int, int]
    old: bool


class Packing:
    """Packs the hours of one database."""

    def __init__(
        self, engine: Engine, chain: Chain, records: Records, interned: InternedJson
    ) -> None:
        self._engine = engine
        self._chain = chain
        self._records = records
        self._interned = interned

    def step(self) -> bool:
        """Pack the oldest sealed hour that is not packed, or clear up; False if all is done.

        Raises `StoreError`.
        """
        link = self._chain.unpacked()
        if link is None:
            return self._interned.sweep(self._engine)
        hour = self._packed_hour(link)
        if hour is None:
            log.error("the hour from %s UTC is not packed: its records are not what was sealed",
                      f"{link.begin:%Y-%m-%d %H:%M}")  # fmt: skip
        self._write(link, hour)
        return True

    def shrink(self) -> None:
        """Give the space of packed rows back to the disk. The hub must not run meanwhile."""
        with self._engine.connect() as connection:
            if self._engine.dialect.name == "sqlite":
                raw: Any = connection.connection.driver_connection
                raw.execute("VACUUM")
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            else:
                alone = connection.execution_options(isolation_level="AUTOCOMMIT")
                alone.exec_driver_sql("VACUUM FULL")

    def _packed_hour(self, link: ChainLink) -> _Hour | None:
        """The hour, packed; None where its records are not what was sealed."""
        try:
            hour = self._read(link)
            return hour if self._is_sealed(link, hour) else None
        except (NoResultFound, LookupError, TypeError, ValueError, OverflowError) as error:
            log.error("the hour from %s UTC cannot be packed: %r", link.begin, error)
            return None

    def _read(self, link: ChainLink) -> _Hour:
        """The hour's rows, and their packed form."""
        first = link.previous_rows.get(t.measurements.name, 0)
        last = link.last_rows.get(t.measurements.name, 0)
        rows, trips, old = list[StoredRow](), list[RoundTrips](), False
        with reading(self._engine) as connection:
            for row, packets, is_old in self._records.unpacked(connection, first, last):
                rows.append(row)
                old = old or is_old
                if packets is not None:
                    series = row.office, row.probe, row.path
                    numbers = tuple(json.loads(packets))
                    trips.append(RoundTrips(row.number, *series, row.started_at, numbers))
        blocks = [_Block(one, *packed(one)) for one in _series(rows)]
        starts = [one.started_at for one in trips] or [0]
        body = pack_round_trips(trips) if trips else None
        return _Hour(rows, blocks, body, (min(starts), max(starts)), old)

    def _is_sealed(self, link: ChainLink, hour: _Hour) -> bool:
        """Whether the records that are packed, unpacked again, are those that were sealed."""
        packed_numbers = {row.number for block in hour.blocks for row in block.rows}
        rows = [row for row in hour.rows if row.number not in packed_numbers]
        for block in hour.blocks:
            first = block.rows[0]
            series = PackedSeries(first.office, first.probe, first.path, block.shapes, block.body)
            rows += series.rows()
        lines = [(row.number, row.probe, measurement_line(row)) for row in rows]
        if hour.body is not None:
            lines += [(o.number, ROUND_TRIPS, o.line()) for o in unpack_round_trips(hour.body)]
        lines.sort(key=itemgetter(0))
        return parts_of((kind, line) for _, kind, line in lines) == _expected(link)

    def _write(self, link: ChainLink, hour: _Hour | None) -> None:
        """Replace the rows by the packed hour; without one, leave the rows as they are."""
        m, c = t.measurements, t.chunks
        with writing(self._engine) as connection:
            now = connection.execute(
                select(c.c.packed, c.c.pruned).where(c.c.number == link.number)
            ).one()
            if now.packed or set(json.loads(now.pruned)) != set(link.pruned):
                return  # it was packed or pruned meanwhile
            state = LEFT if hour is None else PACKED
            done = update(c).where(c.c.number == link.number).values(packed=state)
            connection.execute(done)
            if hour is None:
                return
            self._insert(connection, link, hour.blocks)
            if hour.body is not None:
                row = {"link": link.number, "begin": hour.trips[0], "last": hour.trips[1]}
                connection.execute(insert(t.packed_round_trips).values(**row, body=hour.body))
            if hour.old:
                note_unused(connection)
            first, last = link.previous_rows.get(m.name, 0), link.last_rows.get(m.name, 0)
            for numbers in _portions(row.number for one in hour.blocks for row in one.rows):
                connection.execute(delete(m).where(m.c.number.in_(numbers)))
            connection.execute(
                update(m)
                .where(m.c.number > first, m.c.number <= last, m.c.round_trips.is_not(None))
                .values(round_trips=None)
            )

    def _insert(self, connection: Connection, link: ChainLink, blocks: Sequence[_Block]) -> None:
        texts = {shape.text() for block in blocks for shape in block.shapes}
        numbers = self._interned.intern(connection, texts)
        rows = [
            {
                "link": link.number,
                "office": block.rows[0].office,
                "probe": block.rows[0].probe,
                "path": block.rows[0].path,
                "begin": min(row.started_at for row in block.rows),
                "last": max(row.started_at for row in block.rows),
                "rows": len(block.rows),
                "shapes": canonical([numbers[shape.text()] for shape in block.shapes]),
                "body": block.body,
            }
            for block in blocks
        ]
        if rows:
            connection.execute(insert(t.packed_series), rows)


def _expected(link: ChainLink) -> dict[str, SealedPart]:
    """The sealed parts of measurements and round trips that were not pruned."""
    return {
        kind: part for kind, part in _of_measurements(link.parts).items() if kind not in link.pruned
    }


def _of_measurements(parts: Mapping[str, SealedPart]) -> dict[str, SealedPart]:
    events = {table.name for table in EVENT_TABLES}
    return {kind: part for kind, part in parts.items() if kind not in events}


def _series(rows: Iterable[StoredRow]) -> Iterator[list[StoredRow]]:
    """The rows of each packed block: one series, begun within `SPAN_MS`, in their order.

    Measurements that spent bytes stay rows, where an index finds them.
    """
    packable = [row for row in rows if _SPENT not in row.names and _SPENT not in row.conditions]
    key = attrgetter("office", "probe", "path")
    for _, same in groupby(sorted(packable, key=key), key):
        block: list[StoredRow] = []
        for row in sorted(same, key=attrgetter("started_at", "number")):
            if block and row.started_at - block[0].started_at >= t.SPAN_MS:
                yield from _large(block)
                block = []
            block.append(row)
        yield from _large(block)


def _large(block: list[StoredRow]) -> Iterator[list[StoredRow]]:
    if len(block) >= FEWEST_ROWS:
        yield sorted(block)


def _portions(numbers: Iterable[int]) -> Iterator[list[int]]:
    """The numbers in lists that a statement can hold."""
    rest = iter(numbers)
    while portion := list(islice(rest, _AT_ONCE)):
        yield portion

"""Reads many measurements for reports, as columns instead of `Measurement` objects."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby, pairwise
from operator import attrgetter
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Engine,
    Row,
    Text,
    case,
    cast,
    func,
    literal,
    select,
)

from jharnet_monitor.model import Outcome
from jharnet_monitor.store import tables as t
from jharnet_monitor.store.blocks import (
    BLOCK_MS,
    Block,
    Extent,
    Packets,
    PacketSums,
    packed_blocks,
)
from jharnet_monitor.store.engine import reading
from jharnet_monitor.store.interned_json import InternedJson
from jharnet_monitor.store.packed_reader import PackedReader, Wanted

__all__ = ["BLOCK_MS", "Block", "BulkReader", "Extent", "Packets"]


class BulkReader:
    """Reads the measurements of one database by the column, for reports and retention."""

    def __init__(self, engine: Engine, interned: InternedJson, packed: PackedReader) -> None:
        self._engine = engine
        self._interned = interned
        self._packed = packed

    def blocks(
        self,
        office: str | None,
        probe: str,
        since: datetime,
        until: datetime,
        *,
        every: timedelta | None = None,
        starts: bool = False,
    ) -> Iterator[Block]:
        """The measurements of a probe that began within [since, until), in blocks.

        Without an `office`, those of all offices: their rows are interleaved, so this is faster
        than reading one office after the other. `every` splits the period into pieces of that
        length, and no block spans two of them. With `starts`, each block holds the start of each
        measurement.
        """
        m = t.measurements
        length = (every or (until - since) + timedelta(days=1)) // timedelta(milliseconds=1)
        piece = ((m.c.started_at - t.to_ms(since)) // length).label("piece")
        alike = (m.c.office, m.c.path, m.c.outcome, m.c.conditions, m.c.names, piece)
        columns: list[ColumnElement[Any]] = [
            *alike,
            func.min(m.c.started_at).label("first"),
            func.max(m.c.started_at).label("last"),
            func.count().label("rows"),
            func.aggregate_strings(m.c["values"], ",").label("lists"),
        ]
        if starts:
            columns.append(func.aggregate_strings(cast(m.c.started_at, Text), ",").label("starts"))
        query = (
            select(*columns)
            .where(m.c.probe == probe, *([] if office is None else [m.c.office == office]))
            .where(m.c.started_at >= t.to_ms(since), m.c.started_at < t.to_ms(until))
            .group_by(*alike)
        )
        with reading(self._engine) as connection:
            for row in connection.execute(query):
                names = self._interned.value(connection, row.names)
                conditions = self._interned.value(connection, row.conditions)
                yield _block(probe, row, names, conditions)
            wanted = Wanted(office, probe, None, t.to_ms(since), t.to_ms(until))
            series = self._packed.series(connection, wanted)
            for _, same in groupby(series, attrgetter("office", "path")):
                yield from packed_blocks(same, wanted, length, starts=starts)

    def packets(self, bounds: Sequence[datetime]) -> Iterator[list[Packets]]:
        """The echo requests of every office from each bound to the next, summed by the database."""
        m = t.measurements
        with reading(self._engine) as connection:
            sent, received = self._packet_columns(connection)
            block = (m.c.started_at // BLOCK_MS).label("block")
            alike = (m.c.office, m.c.path, m.c.conditions, block)
            query = (
                select(
                    *alike,
                    func.sum(case((received > 0, sent), else_=0)).label("sent"),
                    func.sum(received).label("received"),
                )
                .where(m.c.probe == "latency")
                .group_by(*alike)
            )
            for since, until in pairwise(bounds):
                within = (m.c.started_at >= t.to_ms(since), m.c.started_at < t.to_ms(until))
                sums = PacketSums()
                for office, path, number, one, out, back in connection.execute(
                    query.where(*within)
                ):
                    conditions = self._interned.value(connection, number)
                    sums.add(office, path, conditions, ((one, float(out), float(back)),))
                wanted = Wanted(None, "latency", None, t.to_ms(since), t.to_ms(until))
                for series in self._packed.series(connection, wanted):
                    for group in series.groups:
                        sums.add_group(series, group, wanted)
                yield list(sums.packets())

    def extents(
        self, office: str, probe: str, bounds: Sequence[datetime]
    ) -> Iterator[Extent | None]:
        """The extent of a probe's runs from each bound to the next; None if there were none."""
        at = t.measurements.c.started_at
        query = select(func.count(), func.min(at), func.max(at)).where(
            t.measurements.c.office == office, t.measurements.c.probe == probe
        )
        with reading(self._engine) as connection:
            for since, until in pairwise(bounds):
                wanted = Wanted(office, probe, None, t.to_ms(since), t.to_ms(until))
                within = (at >= t.to_ms(since), at < t.to_ms(until))
                count, first, last = connection.execute(query.where(*within)).one()
                found = [(count, first, last)] if count else []
                for span in self._packed.spans(connection, wanted):
                    if wanted.covers(span.begin) and wanted.covers(span.last):
                        found.append(span[1:])
                    elif inside := list(
                        filter(wanted.covers, self._packed.starts(connection, span.number))
                    ):
                        found.append((len(inside), min(inside), max(inside)))
                yield _extent(found)

    def _packet_columns(self, connection: Connection) -> tuple[ColumnElement[Any], ...]:
        """The columns `sent` and `received`, wherever they are in the list of values."""
        m = t.measurements
        lists = select(t.texts.c.number).where(t.texts.c.body.like('[%"received"%"sent"%]'))
        found = {
            number: self._interned.value(connection, number)
            for number in connection.execute(lists).scalars()
        }
        # The shapes of packed hours are texts, too.
        lists_by_number = {number: names for number, names in found.items() if "sent" in names}
        return tuple(
            case(
                *((m.c.names == number, self._value(names.index(name)))
                  for number, names in lists_by_number.items()),
                else_=0,
            ) if lists_by_number else literal(0)
            for name in ("sent", "received")
        )  # fmt: skip

    def _value(self, index: int) -> ColumnElement[Any]:
        """The number at one index of the row's list."""
        column = t.measurements.c["values"]
        if self._engine.dialect.name == "sqlite":
            return func.json_extract(column, f"$[{index}]")
        figure: ColumnElement[Any] = cast(column, JSON)[index].as_float()
        return figure


def _extent(found: Sequence[tuple[int, int, int]]) -> Extent | None:
    """The extent of all, from the count, the first and the last start of each."""
    if not found:
        return None
    counts, firsts, lasts = zip(*found, strict=True)
    return Extent(sum(counts), t.from_ms(min(firsts)), t.from_ms(max(lasts)))


def _block(probe: str, row: Row[Any], names: Sequence[str], conditions: Mapping[str, Any]) -> Block:
    # One list of the numbers of all rows is parsed in half the time of a list per row.
    numbers = json.loads(f"[{row.lists.replace('],[', ',')[1:-1]}]") if names else []
    return Block(
        office=row.office,
        probe=probe,
        path=row.path,
        outcome=Outcome(row.outcome),
        conditions=conditions,
        first=t.from_ms(row.first),
        last=t.from_ms(row.last),
        count=row.rows,
        piece=row.piece,
        values={name: numbers[index :: len(names)] for index, name in enumerate(names)},
        starts=json.loads(f"[{row.starts}]") if "starts" in row._fields else (),
    )

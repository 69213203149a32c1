"""Reads many rows for reports, without making a `Measurement` of each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
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
from jharnet_monitor.store.engine import reading
from jharnet_monitor.store.interned_json import Texts


@dataclass(frozen=True, slots=True)
class Block:
    """Measurements of an office's probe that are alike in everything but their values.

    `values` hold a column for each quantity; figures at one place in the columns are of one
    measurement. Their order is that of no clock. `first` and `last` are moments of their starts.
    """

    office: str
    probe: str
    path: str
    outcome: Outcome
    conditions: Mapping[str, Any]
    first: datetime
    last: datetime
    count: int
    piece: int
    """Which piece of the stretch, where it was asked for in pieces; else 0."""
    values: Mapping[str, Sequence[float]]
    starts: Sequence[int] = ()
    """When each began, in milliseconds since 1970, at its place in the columns; where asked for."""


@dataclass(frozen=True, slots=True)
class Packets:
    """Echo requests of an office over one stretch, by path and conditions: only the minutes that
    had a reply are in `minutes`, `sent` and `received`; `count` is how many there were at all.
    """

    office: str
    path: str
    conditions: Mapping[str, Any]
    count: int
    minutes: int
    sent: float
    received: float


@dataclass(frozen=True, slots=True)
class Extent:
    """How many runs there were, and when the first and the last of them began."""

    count: int
    first: datetime
    last: datetime


class BulkReader:
    """What reports read of one database, by the column."""

    def __init__(self, engine: Engine, texts: Texts) -> None:
        self._engine = engine
        self._texts = texts

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
        """Every measurement of a probe that began within [since, until), in blocks.

        Without an `office` those of all: they lie between each other, so that is quicker than one
        after the other. `every` cuts the stretch into pieces of that length, so that no block spans
        two of them; with `starts` each block tells when its measurements began.
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
                names = self._texts.parsed(connection, row.names)
                conditions = self._texts.parsed(connection, row.conditions)
                yield _block(probe, row, names, conditions)

    def packets(self, bounds: Sequence[datetime]) -> Iterator[list[Packets]]:
        """The echo requests of every office from each bound to the next, added up within the
        database.
        """
        m = t.measurements
        with reading(self._engine) as connection:
            sent, received = self._packet_columns(connection)
            alike = (m.c.office, m.c.path, m.c.conditions)
            answered = received > 0
            query = (
                select(
                    *alike,
                    func.count().label("rows"),
                    func.sum(case((answered, 1), else_=0)).label("minutes"),
                    func.sum(case((answered, sent), else_=0)).label("sent"),
                    func.sum(received).label("received"),
                )
                .where(m.c.probe == "latency")
                .group_by(*alike)
            )
            for since, until in pairwise(bounds):
                within = (m.c.started_at >= t.to_ms(since), m.c.started_at < t.to_ms(until))
                rows = connection.execute(query.where(*within)).all()
                yield [
                    Packets(row.office, row.path, self._texts.parsed(connection, row.conditions),
                            row.rows, row.minutes, float(row.sent), float(row.received))
                    for row in rows
                ]  # fmt: skip

    def extents(
        self, office: str, probe: str, bounds: Sequence[datetime]
    ) -> Iterator[Extent | None]:
        """The runs of a probe from each bound to the next; None where there was none."""
        at = t.measurements.c.started_at
        query = select(func.count(), func.min(at), func.max(at)).where(
            t.measurements.c.office == office, t.measurements.c.probe == probe
        )
        with reading(self._engine) as connection:
            for since, until in pairwise(bounds):
                within = (at >= t.to_ms(since), at < t.to_ms(until))
                count, first, last = connection.execute(query.where(*within)).one()
                yield Extent(count, t.from_ms(first), t.from_ms(last)) if count else None

    def _packet_columns(self, connection: Connection) -> tuple[ColumnElement[Any], ...]:
        """Where `sent` and `received` stand among the values, whatever else was measured."""
        m = t.measurements
        lists = select(t.texts.c.number).where(t.texts.c.body.like('[%"received"%"sent"%]'))
        places = {
            number: self._texts.parsed(connection, number)
            for number in connection.execute(lists).scalars()
        }
        return tuple(
            case(
                *((m.c.names == number, self._value(names.index(name)))
                  for number, names in places.items()),
                else_=0,
            ) if places else literal(0)
            for name in ("sent", "received")
        )  # fmt: skip

    def _value(self, place: int) -> ColumnElement[Any]:
        """The figure at one place of the row's list."""
        column = t.measurements.c["values"]
        if self._engine.dialect.name == "sqlite":
            return func.json_extract(column, f"$[{place}]")
        figure: ColumnElement[Any] = cast(column, JSON)[place].as_float()
        return figure


def _block(probe: str, row: Row[Any], names: Sequence[str], conditions: Mapping[str, Any]) -> Block:
    # All numbers of all rows as one list: half the work of a list a row.
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
        values={name: numbers[place :: len(names)] for place, name in enumerate(names)},
        starts=json.loads(f"[{row.starts}]") if "starts" in row._fields else (),
    )

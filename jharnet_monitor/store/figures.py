"""Reads many rows for reports, without making a `Measurement` of each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Engine, Row, func, select

from jharnet_monitor.model import Outcome
from jharnet_monitor.store import tables as t
from jharnet_monitor.store.engine import reading
from jharnet_monitor.store.texts import Texts


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


class Figures:
    """What reports read of one database, by the column."""

    def __init__(self, engine: Engine, texts: Texts) -> None:
        self._engine = engine
        self._texts = texts

    def blocks(
        self,
        office: str,
        probe: str,
        since: datetime,
        until: datetime,
        every: timedelta | None = None,
    ) -> Iterator[Block]:
        """Every measurement of an office's probe that began within [since, until), in blocks.

        `every` cuts the stretch into pieces of that length, so that no block spans two of them.
        """
        m = t.measurements
        length = (every or (until - since) + timedelta(days=1)) // timedelta(milliseconds=1)
        piece = ((m.c.started_at - t.to_ms(since)) // length).label("piece")
        alike = (m.c.path, m.c.outcome, m.c.conditions, m.c.names, piece)
        columns: list[ColumnElement[Any]] = [
            *alike,
            func.min(m.c.started_at).label("first"),
            func.max(m.c.started_at).label("last"),
            func.count().label("rows"),
            func.aggregate_strings(m.c["values"], ",").label("lists"),
        ]
        query = (
            select(*columns)
            .where(m.c.office == office, m.c.probe == probe)
            .where(m.c.started_at >= t.to_ms(since), m.c.started_at < t.to_ms(until))
            .group_by(*alike)
        )
        with reading(self._engine) as connection:
            for row in connection.execute(query).all():
                names = self._texts.parsed(connection, row.names)
                conditions = self._texts.parsed(connection, row.conditions)
                yield _block(office, probe, row, names, conditions)


def _block(
    office: str, probe: str, row: Row[Any], names: Sequence[str], conditions: Mapping[str, Any]
) -> Block:
    # All numbers of all rows as one list: half the work of a list a row.
    numbers = json.loads(f"[{row.lists.replace('],[', ',')[1:-1]}]") if names else []
    return Block(
        office=office,
        probe=probe,
        path=row.path,
        outcome=Outcome(row.outcome),
        conditions=conditions,
        first=t.from_ms(row.first),
        last=t.from_ms(row.last),
        count=row.rows,
        piece=row.piece,
        values={name: numbers[place :: len(names)] for place, name in enumerate(names)},
    )

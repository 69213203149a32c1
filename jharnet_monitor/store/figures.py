"""Reads many rows for reports, without making a `Measurement` of each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Engine, func, select

from jharnet_monitor.store import tables as t
from jharnet_monitor.store.engine import reading


class RawRow(NamedTuple):
    """One measurement as it is stored; `started_at` in ms since 1970, the rest as JSON text."""

    started_at: int
    conditions: str
    values: str


class Figures:
    """What reports read of one database, row by row."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def raw(self, office: str, probe: str, since: datetime, until: datetime) -> Iterator[RawRow]:
        """Every measurement of an office's probe that began within [since, until), in order."""
        m = t.measurements
        query = (
            select(m.c.started_at, m.c.conditions, m.c["values"])
            .where(m.c.office == office, m.c.probe == probe)
            .where(m.c.started_at >= t.to_ms(since), m.c.started_at < t.to_ms(until))
            .order_by(m.c.started_at)
        )
        with reading(self._engine) as connection:
            for started_at, conditions, values in connection.execute(query):
                yield RawRow(started_at, conditions, values)

    def last_start(self) -> datetime | None:
        """When the newest measurement of all began; None for an empty database."""
        with reading(self._engine) as connection:
            newest = connection.execute(select(func.max(t.measurements.c.started_at))).scalar_one()
        return None if newest is None else t.from_ms(newest)

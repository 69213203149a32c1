"""Gives sealed records out by their kind, as the plain columns from which their lines are made.

Millions of measurements pass here for a dossier, so a row stays a tuple of what the database holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Engine, Table, select

from jharnet_monitor.store import tables as t
from jharnet_monitor.store.chain import ChainLink
from jharnet_monitor.store.engine import reading
from jharnet_monitor.store.interned_json import Texts
from jharnet_monitor.store.records import FIELDS, SEALED

_ROWS = 20_000
"""Rows fetched at once."""


class ExportRow(NamedTuple):
    """One record: its fields as the chain's line has them, JSON ones as text.

    `values` holds the numbers of a measurement as JSON text without its brackets, in the order
    of `names`; both are empty for a record of the diary.
    """

    fields: tuple[Any, ...]
    names: tuple[str, ...] = ()
    values: str = ""


class Export:
    """The sealed records of one database."""

    def __init__(self, engine: Engine, texts: Texts) -> None:
        self._engine = engine
        self._texts = texts

    def quantities(self, probe: str, links: Sequence[ChainLink]) -> list[str]:
        """Every name that a value of the probe has in these links, sorted."""
        m = t.measurements
        query = select(m.c.names).distinct().where(m.c.probe == probe, *_within(m, links))
        with reading(self._engine) as connection:
            numbers = connection.execute(query).scalars().all()
            found = {name for n in numbers for name in self._texts.parsed(connection, n)}
        return sorted(found)

    def measurements(self, probe: str, links: Sequence[ChainLink]) -> Iterator[ExportRow]:
        """A probe's records in these links, in the order in which they were sealed."""
        m = t.measurements
        plain, _ = FIELDS["measurements"]
        columns = [m.c[name] for name in (*plain, "conditions", "names", "values")]
        query = (
            select(*columns)
            .where(m.c.probe == probe, *_within(m, links))
            .order_by(m.c.number)
            .execution_options(yield_per=_ROWS)
        )
        names: dict[int, tuple[str, ...]] = {}
        with reading(self._engine) as connection:
            for *fields, conditions, number, values in connection.execute(query):
                if number not in names:
                    names[number] = tuple(self._texts.parsed(connection, number))
                body = self._texts.body(connection, conditions)
                yield ExportRow((*fields, body), names[number], values[1:-1])

    def event_log(self, table: Table, links: Sequence[ChainLink]) -> Iterator[ExportRow]:
        """A diary table's records in these links, in the order in which they were sealed."""
        plain, texts = FIELDS[table.name]
        columns = [table.c[name] for name in (*plain, *texts)]
        query = select(*columns).where(*_within(table, links)).order_by(table.c.number)
        with reading(self._engine) as connection:
            for row in connection.execute(query):
                yield ExportRow(tuple(row))


DIARY = tuple(table for table in SEALED if table is not t.measurements)


def _within(table: Table, links: Sequence[ChainLink]) -> list[Any]:
    first = links[0].after.get(table.name, 0)
    return [table.c.number > first, table.c.number <= links[-1].upto.get(table.name, 0)]


def kinds(links: Sequence[ChainLink]) -> list[str]:
    """Every kind of record in these links, sorted."""
    return sorted({kind for link in links for kind in json.loads(link.chunk)["parts"]})

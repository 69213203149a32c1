"""Exports sealed records by kind, as the plain columns from which their lines are made.

A dossier exports millions of measurements, so a row stays a tuple of the database's values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Engine, Table, select

from jharnet_monitor.store import tables as t
from jharnet_monitor.store.chain import ChainLink
from jharnet_monitor.store.engine import reading
from jharnet_monitor.store.interned_json import InternedJson
from jharnet_monitor.store.records import FIELDS

_ROWS = 20_000
"""Rows fetched at once."""


class ExportRow(NamedTuple):
    """One record: its fields as in the chain's line, JSON fields as text.

    `values` holds the numbers of a measurement as JSON text without its brackets, in the order
    of `names`; both are empty for a record of the event log.
    """

    fields: tuple[Any, ...]
    names: tuple[str, ...] = ()
    values: str = ""


class Export:
    """The sealed records of one database."""

    def __init__(self, engine: Engine, interned: InternedJson) -> None:
        self._engine = engine
        self._interned = interned

    def quantities(self, probe: str, links: Sequence[ChainLink]) -> list[str]:
        """The names of all values of a probe in these links, sorted."""
        m = t.measurements
        query = select(m.c.names).distinct().where(m.c.probe == probe, *_within(m, links))
        with reading(self._engine) as connection:
            numbers = connection.execute(query).scalars().all()
            found = {name for n in numbers for name in self._interned.value(connection, n)}
        return sorted(found)

    def measurements(self, probe: str, links: Sequence[ChainLink]) -> Iterator[ExportRow]:
        """The records of a probe in these links, in the order of sealing."""
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
                    names[number] = tuple(self._interned.value(connection, number))
                body = self._interned.text(connection, conditions)
                yield ExportRow((*fields, body), names[number], values[1:-1])

    def event_log(self, table: Table, links: Sequence[ChainLink]) -> Iterator[ExportRow]:
        """The records of a table of the event log in these links, in the order of sealing."""
        plain, json_fields = FIELDS[table.name]
        columns = [table.c[name] for name in (*plain, *json_fields)]
        query = select(*columns).where(*_within(table, links)).order_by(table.c.number)
        with reading(self._engine) as connection:
            for row in connection.execute(query):
                yield ExportRow(tuple(row))


def _within(table: Table, links: Sequence[ChainLink]) -> list[Any]:
    previous, last = links[0].previous_rows, links[-1].last_rows
    return [
        table.c.number > previous.get(table.name, 0),
        table.c.number <= last.get(table.name, 0),
    ]


def kinds(links: Sequence[ChainLink]) -> list[str]:
    """The kinds of records in these links, sorted."""
    return sorted({kind for link in links for kind in json.loads(link.chunk)["parts"]})

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
from jharnet_monitor.store.packed_reader import PackedReader
from jharnet_monitor.store.records import FIELDS, Records


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

    def __init__(
        self, engine: Engine, interned: InternedJson, records: Records, packed: PackedReader
    ) -> None:
        self._engine = engine
        self._interned = interned
        self._records = records
        self._packed = packed

    def quantities(self, probe: str, links: Sequence[ChainLink]) -> list[str]:
        """The names of all values of a probe in these links, sorted."""
        m, p = t.measurements, t.packed_series
        query = select(m.c.names).distinct().where(m.c.probe == probe, *_within(m, links))
        packed = select(p.c.shapes).distinct().where(
            p.c.probe == probe, p.c.link >= links[0].number, p.c.link <= links[-1].number
        )  # fmt: skip
        with reading(self._engine) as connection:
            numbers = connection.execute(query).scalars().all()
            found = {name for n in numbers for name in self._interned.value(connection, n)}
            texts = connection.execute(packed).scalars().all()
            for shape in {number for text in texts for number in json.loads(text)}:
                found.update(self._packed.shape(connection, shape).names)
        return sorted(found)

    def measurements(self, probe: str, links: Sequence[ChainLink]) -> Iterator[ExportRow]:
        """The records of a probe in these links, in the order of sealing."""
        names: dict[str, tuple[str, ...]] = {}
        name = t.measurements.name
        with reading(self._engine) as connection:
            for link in links:
                rows = link.previous_rows.get(name, 0), link.last_rows.get(name, 0)
                for row in self._records.measurements(connection, *rows, link.number, probe):
                    if row.names not in names:
                        names[row.names] = tuple(json.loads(row.names))
                    yield ExportRow(row[1:-2], names[row.names], row.values[1:-1])

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

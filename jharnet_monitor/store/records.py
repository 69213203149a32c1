"""The records that the hash chain covers, each as a line of canonical JSON.

A line does not depend on how the record is stored, so it is the same before and after its hour is
packed, and can be recomputed from a file of measurements as well as from the database.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Row, Table, select
from sqlalchemy.exc import NoResultFound

from jharnet_monitor.errors import StoreError
from jharnet_monitor.model import ROUND_TRIPS
from jharnet_monitor.store import tables as t
from jharnet_monitor.store.interned_json import InternedJson
from jharnet_monitor.store.packed_reader import PackedReader
from jharnet_monitor.store.rows import StoredRow, divided, merged

SEALED: tuple[Table, ...] = (t.measurements, t.transitions, t.events, t.windows, t.drills)
"""Tables that only grow; the numbers of their rows are in the order of recording."""
EVENT_TABLES = tuple(table for table in SEALED if table is not t.measurements)
"""The tables of the event log."""

FIELDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "measurements": (
        ("id", "office", "probe", "path", "started_at", "recorded_at", "duration", "outcome",
         "cause"),
        ("conditions", "names", "values"),
    ),
    "transitions": (
        ("office", "state", "at", "until", "recorded_at", "number", "supersedes"),
        ("evidence",),
    ),
    "events": (("office", "kind", "at", "recorded_at"), ("data",)),
    "windows": (("office", "begin", "end", "reason", "recorded_at"), ()),
    "drills": (("id", "started_at", "recorded_at"), ("body",)),
}  # fmt: skip
"""The fields of a line, which is one JSON list: plain fields, then those that are JSON themselves
and are inserted as they are (keys sorted, no spaces). Times are in ms since 1970 (UTC)."""

DAMAGED = "damaged"
"""The kind of the one record that an hour has instead of those that cannot be unpacked."""

LastRows = Mapping[str, int]
"""The number of the last sealed row of each table."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class Records:
    """The records of one database by the ranges of their numbers, wherever they are stored."""

    def __init__(self, interned: InternedJson, packed: PackedReader) -> None:
        self._interned = interned
        self._packed = packed

    def lines(
        self, connection: Connection, previous: LastRows, last: LastRows, link: int | None
    ) -> Iterator[tuple[str, bytes]]:
        """Kind and line of each record after the rows `previous` and up to `last`, in order.

        The kind is a measurement's probe, `ROUND_TRIPS`, or the name of a table. `link` is the
        number of the hour's link, if it is sealed.
        """
        for table in SEALED:
            rows = previous.get(table.name, 0), last.get(table.name, 0)
            if table is t.measurements:
                yield from self._measurement_lines(connection, rows, link)
            else:
                yield from _event_lines(connection, table, rows)

    def measurements(
        self, connection: Connection, previous: int, last: int, link: int, probe: str
    ) -> list[StoredRow]:
        """The measurements of a probe in a sealed hour, in the order of recording."""
        table = t.measurements
        query = _rows_between(previous, last).where(table.c.probe == probe)
        found = [self.stored(connection, row) for row in connection.execute(query)]
        found += [r for r in self._packed.rows_of_link(connection, link) if r.probe == probe]
        return sorted(found)

    def unpacked(
        self, connection: Connection, previous: int, last: int
    ) -> Iterator[tuple[StoredRow, str | None, bool]]:
        """The measurements in a range that are rows, the JSON of their round trips, and whether
        numbers are among their interned conditions, as schema 0001 wrote them.
        """
        for row in connection.execute(_rows_between(previous, last)):
            interned = self._interned.value(connection, row.conditions)
            yield self.stored(connection, row), row.round_trips, bool(divided(interned)[1])

    def stored(self, connection: Connection, row: Row[Any]) -> StoredRow:
        """A row of the table with its interned texts."""
        conditions = self._interned.text(connection, row.conditions)
        return StoredRow(
            row.number, row.id, row.office, row.probe, row.path, row.started_at, row.recorded_at,
            row.duration, row.outcome, row.cause, merged(conditions, row.own_conditions),
            self._interned.text(connection, row.names), row._mapping["values"],
        )  # fmt: skip

    def _measurement_lines(
        self, connection: Connection, rows: tuple[int, int], link: int | None
    ) -> Iterator[tuple[str, bytes]]:
        stream = self._row_lines(connection, rows)
        packed = [] if link is None else list(self._packed_lines(connection, link))
        for _, kind, line in sorted([*stream, *packed], key=itemgetter(0)) if packed else stream:
            yield kind, line

    def _row_lines(
        self, connection: Connection, rows: tuple[int, int]
    ) -> Iterator[tuple[int, str, bytes]]:
        for row in connection.execute(_rows_between(*rows)):
            try:
                line = measurement_line(self.stored(connection, row))
                packets = None if row.round_trips is None else _packets_line(row)
            except (NoResultFound, TypeError, ValueError):  # not written by this program
                line = packets = f"{tuple(row)!r}\n".encode()
            yield row.number, row.probe, line
            if packets is not None and row.round_trips is not None:
                yield row.number, ROUND_TRIPS, packets

    def _packed_lines(self, connection: Connection, link: int) -> Iterator[tuple[int, str, bytes]]:
        try:
            for row in self._packed.rows_of_link(connection, link):
                yield row.number, row.probe, measurement_line(row)
            for one in self._packed.round_trips_of_link(connection, link):
                yield one.number, ROUND_TRIPS, one.line()
        except StoreError as error:  # what is damaged has no lines
            yield 0, DAMAGED, str(error).encode()


def measurement_line(row: StoredRow) -> bytes:
    """The line of a measurement."""
    conditions, names, values = row[-3:]
    return f"[{_encode(row[1:-3])[1:-1]},{conditions},{names},{values}]\n".encode()


def _packets_line(row: Row[Any]) -> bytes:
    head = _encode([row.office, row.probe, row.path, row.started_at])[:-1]
    return f"{head},{row.round_trips}]\n".encode()


def _rows_between(previous: int, last: int) -> Any:
    table = t.measurements
    return (
        select(table)
        .where(table.c.number > previous, table.c.number <= last)
        .order_by(table.c.number)
    )


def _event_lines(
    connection: Connection, table: Table, rows: tuple[int, int]
) -> Iterator[tuple[str, bytes]]:
    plain, json_fields = FIELDS[table.name]
    columns: Sequence[Any] = [table.c[name] for name in (*plain, *json_fields)]
    query = (
        select(*columns)
        .where(table.c.number > rows[0], table.c.number <= rows[1])
        .order_by(table.c.number)
    )
    for values in connection.execute(query):
        try:
            parts = [_encode(list(values[: len(plain)]))[1:-1], *values[len(plain) :]]
            line = ",".join(parts)
        except (TypeError, ValueError):  # not written by this program
            line = repr(tuple(values))
        yield table.name, f"[{line}]\n".encode()

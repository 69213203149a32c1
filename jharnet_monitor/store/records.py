"""The records that the hash chain covers, each as a line of canonical JSON.

A line does not depend on how the row is stored, so it can be recomputed from a file of measurements
as well as from the database.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from sqlalchemy import Connection, Table, literal, select
from sqlalchemy.exc import NoResultFound

from jharnet_monitor.store import tables as t
from jharnet_monitor.store.interned_json import InternedJson

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

_SHARED = frozenset({"conditions", "names"})
"""Columns that hold the number of an interned JSON text."""
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def lines(
    connection: Connection, interned: InternedJson, table: Table, previous: int, last: int
) -> Iterator[tuple[str, bytes]]:
    """Kind and line of each record of a table with a number in (previous, last], in order.

    The kind is a measurement's probe, or the name of its table.
    """
    plain, json_fields = FIELDS[table.name]
    columns = [table.c[name] for name in (*plain, *json_fields)]
    kind = table.c.probe if table is t.measurements else literal(table.name)
    query = (
        select(*columns, kind.label("kind"))
        .where(table.c.number > previous, table.c.number <= last)
        .order_by(table.c.number)
    )
    for *values, of in connection.execute(query):
        try:
            parts = [_encode(values[: len(plain)])[1:-1]]
            for name, value in zip(json_fields, values[len(plain) :], strict=True):
                parts.append(interned.text(connection, value) if name in _SHARED else value)
            line = ",".join(parts)
        except (NoResultFound, TypeError, ValueError):  # not written by this program
            line = repr(values)
        yield of, f"[{line}]\n".encode()

"""What the hash chain covers, as text: a line of canonical JSON for each record.

The line does not depend on how a row is stored, so that a file of measurements is as good as the
database to recompute it from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from sqlalchemy import Connection, Table, literal, select

from jharnet_monitor.store import tables as t
from jharnet_monitor.store.interned_json import Texts

SEALED: tuple[Table, ...] = (t.measurements, t.transitions, t.events, t.windows, t.drills)
"""Tables that only grow; the numbers of their rows are in the order of recording."""

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
"""The fields of a line, which is one JSON list: plain ones, then those that are JSON themselves
and stand in it as they are (keys sorted, no spaces). Moments are in ms since 1970 (UTC)."""

_SHARED = frozenset({"conditions", "names"})
"""Columns that hold the number of a shared text."""
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def lines(
    connection: Connection, texts: Texts, table: Table, after: int, upto: int
) -> Iterator[tuple[str, bytes]]:
    """Kind and line of each record of a table with a number in (after, upto], in order.

    The kind is a measurement's probe, or the name of its table.
    """
    plain, texts_ = FIELDS[table.name]
    columns = [table.c[name] for name in (*plain, *texts_)]
    kind = table.c.probe if table is t.measurements else literal(table.name)
    query = (
        select(*columns, kind.label("kind"))
        .where(table.c.number > after, table.c.number <= upto)
        .order_by(table.c.number)
    )
    for *values, of in connection.execute(query):
        parts = [_encode(values[: len(plain)])[1:-1]]
        for name, value in zip(texts_, values[len(plain) :], strict=True):
            parts.append(texts.body(connection, value) if name in _SHARED else value)
        yield of, f"[{','.join(parts)}]\n".encode()

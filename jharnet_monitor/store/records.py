"""What the hash chain covers, as text: a line of canonical JSON for each record.

The line does not depend on how a row is stored, so that a file of measurements is as good as the
database to recompute it from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, Table, select

from jharnet_monitor.store import tables as t
from jharnet_monitor.store.texts import Texts

SEALED: tuple[Table, ...] = (t.measurements, t.transitions, t.events, t.windows, t.drills)
"""Tables that only grow; the numbers of their rows are in the order of recording."""

FIELDS: dict[str, tuple[str, ...]] = {
    "measurements": (
        "id", "office", "probe", "path", "started_at", "recorded_at", "duration", "outcome",
        "cause", "conditions", "names", "values",
    ),
    "transitions": (
        "office", "state", "at", "until", "evidence", "recorded_at", "number", "supersedes",
    ),
    "events": ("office", "kind", "at", "data", "recorded_at"),
    "windows": ("office", "begin", "end", "reason", "recorded_at"),
    "drills": ("id", "started_at", "body", "recorded_at"),
}  # fmt: skip
"""The fields of a line, which is a JSON list. Moments are in ms since 1970 (UTC)."""

_TEXT = frozenset({"evidence", "data", "body", "values"})
"""Columns that are canonical JSON already: they stand in the line as they are."""
_SHARED = frozenset({"conditions", "names"})
"""Columns that hold the number of such a text."""


def kind_of(table: Table, row: Row[Any]) -> str:
    """Which part of an hour a record belongs to: its probe, or the name of its table."""
    return str(row.probe) if table is t.measurements else table.name


def lines(
    connection: Connection, texts: Texts, table: Table, after: int, upto: int
) -> Iterator[tuple[str, bytes]]:
    """Kind and line of each record of a table with a number in (after, upto], in order."""
    fields = FIELDS[table.name]
    query = (
        select(table).where(table.c.number > after, table.c.number <= upto).order_by(table.c.number)
    )
    for row in connection.execute(query):
        data = row._mapping
        spelled = [_field(connection, texts, name, data[name]) for name in fields]
        yield kind_of(table, row), f"[{','.join(spelled)}]\n".encode()


def _field(connection: Connection, texts: Texts, name: str, value: Any) -> str:
    if name in _TEXT:
        return str(value)
    if name in _SHARED:
        return texts.body(connection, value)
    return json.dumps(value, ensure_ascii=False)

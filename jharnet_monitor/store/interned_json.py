"""JSON that many rows share, stored once: conditions of measurements and names of their values."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, insert, select

from jharnet_monitor.store import tables as t
from jharnet_monitor.store.engine import reading, writing

MOST_CACHED_BYTES = 8_000_000
"""When the cache takes so much memory, it is emptied. A path takes 9 kB, other conditions 1 kB."""
_ENTRY_BYTES = 100
_PARSED_TIMES, _PARSED_BYTES = 6, 250
"""What parsed JSON takes at most: so many times its text, and so much more (measured: 4 to 6)."""

_SWEEP = "sweep_texts"
"""The key of `memory` that says that some texts may have no row any more."""
_SWEPT_AT_ONCE = 2000


def note_unused(connection: Connection) -> None:
    """Note that rows were deleted whose texts no other row may have; `sweep` looks for them."""
    memory = t.memory
    connection.execute(delete(memory).where(memory.c.key == _SWEEP))
    connection.execute(insert(memory).values(key=_SWEEP, body="true"))


class InternedJson:
    """The shared JSON texts of one database, by number; cached once they have been read."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._bodies: dict[int, str] = {}
        self._parsed: dict[int, Any] = {}
        self._bytes = 0

    def intern(self, connection: Connection, bodies: Iterable[str]) -> dict[str, int]:
        """The numbers of these texts; new texts are stored."""
        numbers: dict[str, int] = {}
        for body in set(bodies):
            number = self._numbers.get(body)
            if number is None:
                number = self._find(connection, body)
            if number is None:  # not cached: the transaction may still be rolled back
                row = insert(t.texts).values(digest=_digest(body), body=body)
                number = connection.execute(row.returning(t.texts.c.number)).scalar_one()
            numbers[body] = number
        return numbers

    def text(self, connection: Connection, number: int) -> str:
        """The JSON text with this number."""
        body = self._bodies.get(number)
        if body is None:
            query = select(t.texts.c.body).where(t.texts.c.number == number)
            body = str(connection.execute(query).scalar_one())
            if self._has_room(sys.getsizeof(body)):
                self._bodies[number] = body
        return body

    def value(self, connection: Connection, number: int) -> Any:
        """The parsed JSON with this number; callers must not modify it."""
        parsed = self._parsed.get(number)
        if parsed is None:
            body = self.text(connection, number)
            parsed = json.loads(body)
            if self._has_room(_PARSED_TIMES * len(body) + _PARSED_BYTES):
                self._parsed[number] = parsed
        return parsed

    def _find(self, connection: Connection, body: str) -> int | None:
        query = select(t.texts.c.number).where(t.texts.c.digest == _digest(body))
        number: int | None = connection.execute(query).scalar_one_or_none()
        if number is not None and self._has_room(sys.getsizeof(body)):
            self._numbers[body] = number
        return number

    def sweep(self, engine: Engine) -> bool:
        """Delete some of the conditions that no row has any more; False if there are none left.

        They are sought without the lock of a writer. A row that came meanwhile may have one again.
        """
        memory, texts, rows = t.memory, t.texts, t.measurements
        with reading(engine) as connection:
            due = select(memory.c.key).where(memory.c.key == _SWEEP)
            if connection.execute(due).scalar() is None:
                return False
            newest_row = connection.execute(select(func.max(rows.c.number))).scalar() or 0
            # The newest stays: SQLite gives its number to the next text if it is deleted.
            newest = select(func.max(texts.c.number)).scalar_subquery()
            unused = connection.execute(
                select(texts.c.number)
                .where(texts.c.body.startswith("{"), texts.c.number < newest)
                .where(texts.c.number.not_in(select(rows.c.conditions)))
                .limit(_SWEPT_AT_ONCE)
            ).scalars().all()  # fmt: skip
        with writing(engine) as connection:
            later = select(rows.c.conditions).where(rows.c.number > newest_row)
            swept = delete(texts).where(texts.c.number.in_(unused), texts.c.number.not_in(later))
            found = connection.execute(swept).rowcount
            self.clear()
            if not found:
                connection.execute(delete(memory).where(memory.c.key == _SWEEP))
        return bool(found)

    def clear(self) -> None:
        """Empty the cache, before texts are deleted."""
        for cache in (self._numbers, self._bodies, self._parsed):
            cache.clear()
        self._bytes = 0

    def _has_room(self, size: int) -> bool:
        """Count an entry of this size, for which the cache is emptied if needed; False if it is too
        large to be cached."""
        size += _ENTRY_BYTES
        if size > MOST_CACHED_BYTES // 8:
            return False
        if self._bytes + size > MOST_CACHED_BYTES:
            self.clear()
        self._bytes += size
        return True


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()

"""The hash chain: what was recorded in an hour cannot be changed afterwards without a trace.

Link i is hᵢ = SHA-256(hᵢ₋₁ ‖ dᵢ), with dᵢ the SHA-256 of the hour's records as canonical JSON, one
a line, in the order in which they were recorded. A measurement belongs to the hour in which it was
recorded, so that what an agent hands in late extends the chain and never reopens it. Links hold
ranges of record numbers, so that a wall clock set back or forward cannot tear the chain.

Whoever owns the database could rebuild the whole chain: the roots that were mailed to recipients
outside are what proves it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, insert, select

from jharnet_monitor.clock import Clock
from jharnet_monitor.store import tables as t
from jharnet_monitor.store.engine import reading, writing
from jharnet_monitor.store.rows import canonical

HOUR_MS = 3_600_000
GENESIS = "0" * 64
SETTLE_MS = 60_000
"""An hour is sealed this long after its end, when no transaction of it can still be open."""

_FIELDS = (
    "id",
    "office",
    "probe",
    "path",
    "started_at",
    "recorded_at",
    "duration",
    "outcome",
    "cause",
    "conditions",
    "values",
)


@dataclass(frozen=True, slots=True)
class Link:
    """One sealed hour: `root` is the chain's hash after it."""

    begin: datetime
    first: int
    last: int
    records: int
    digest: str
    root: str
    pruned_at: datetime | None


class Chain:
    """The chain of one database."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def seal(self) -> int:
        """Seal every hour that is over and holds records; gives how many were sealed."""
        now = t.to_ms(self._clock.now()) - SETTLE_MS
        sealed = 0
        with writing(self._engine) as connection:
            last, root = _head(connection)
            while (hour := _next_hour(connection, last, now)) is not None:
                begin, first, last = hour
                digest, records = _digest(connection, first, last)
                root = link(root, digest)
                connection.execute(
                    insert(t.chunks).values(
                        begin=begin,
                        first=first,
                        last=last,
                        records=records,
                        digest=digest,
                        root=root,
                    )
                )
                sealed += 1
        return sealed

    def links(self, since: datetime | None = None, until: datetime | None = None) -> list[Link]:
        """The sealed hours that begin within [since, until), in the chain's order."""
        query = select(t.chunks).order_by(t.chunks.c.number)
        if since is not None:
            query = query.where(t.chunks.c.begin >= t.to_ms(since))
        if until is not None:
            query = query.where(t.chunks.c.begin < t.to_ms(until))
        with reading(self._engine) as connection:
            return [_link(row) for row in connection.execute(query)]

    def root(self) -> str | None:
        """The chain's hash after its last link; None for an empty chain."""
        query = select(t.chunks.c.root).order_by(t.chunks.c.number.desc()).limit(1)
        with reading(self._engine) as connection:
            return connection.execute(query).scalar_one_or_none()

    def verify(self) -> list[str]:
        """Recompute every link; gives what is not as it was sealed, the first first."""
        problems: list[str] = []
        root, last = GENESIS, 0
        with reading(self._engine) as connection:
            for row in connection.execute(select(t.chunks).order_by(t.chunks.c.number)).all():
                hour = f"the hour from {t.from_ms(row.begin):%Y-%m-%d %H:%M} UTC"
                if _count(connection, last + 1, row.first - 1):
                    problems.append(f"{hour}: records stand before it outside the chain")
                if row.pruned_at is None:
                    problems += _check(connection, hour, row)
                last, root = row.last, link(root, row.digest)
                if root != row.root:
                    problems.append(f"{hour}: the chain breaks here")
                    root = row.root
        return problems


def link(root: str, digest: str) -> str:
    """The chain's next hash, both as hexadecimal text.

    >>> link(GENESIS, hashlib.sha256(b"").hexdigest())[:16]
    '1c9ecec90e28d246'
    """
    return hashlib.sha256(bytes.fromhex(root) + bytes.fromhex(digest)).hexdigest()


def record_line(row: Mapping[str, Any]) -> bytes:
    """A record as the chain hashes it: a line of canonical JSON over its columns."""
    return (canonical([row[name] for name in _FIELDS]) + "\n").encode()


def _link(row: Row[Any]) -> Link:
    pruned = None if row.pruned_at is None else t.from_ms(row.pruned_at)
    begin = t.from_ms(row.begin)
    return Link(begin, row.first, row.last, row.records, row.digest, row.root, pruned)


def _head(connection: Connection) -> tuple[int, str]:
    """The number of the last sealed record, and the chain's root there."""
    query = select(t.chunks.c.last, t.chunks.c.root).order_by(t.chunks.c.number.desc()).limit(1)
    row = connection.execute(query).first()
    return (0, GENESIS) if row is None else (row.last, row.root)


def _next_hour(connection: Connection, last: int, now: int) -> tuple[int, int, int] | None:
    """Beginning, first and last record of the next hour to seal; None when none is over.

    Records stamped in the future, by a clock that was wrong, go with the hour before now.
    """
    m = t.measurements
    query = select(m.c.number, m.c.recorded_at).where(m.c.number > last).order_by(m.c.number)
    row = connection.execute(query.limit(1)).first()
    if row is None:
        return None
    begin = min(row.recorded_at // HOUR_MS, now // HOUR_MS - 1) * HOUR_MS
    end = begin + HOUR_MS
    until = select(func.max(m.c.number)).where(m.c.number > last, m.c.recorded_at < end)
    newest = connection.execute(until).scalar_one()
    return None if newest is None else (begin, row.number, newest)


def _check(connection: Connection, hour: str, row: Row[Any]) -> Iterator[str]:
    digest, records = _digest(connection, row.first, row.last)
    if records != row.records:
        yield f"{hour} held {row.records} records, now {records}"
    elif digest != row.digest:
        yield f"{hour}: its {records} records are not those that were sealed"


def _count(connection: Connection, first: int, last: int) -> int:
    m = t.measurements
    query = select(func.count()).where(m.c.number >= first, m.c.number <= last)
    return int(connection.execute(query).scalar_one())


def _digest(connection: Connection, first: int, last: int) -> tuple[str, int]:
    """The hash over the records with numbers `first` to `last`, and how many there are."""
    m = t.measurements
    query = (
        select(*(m.c[name] for name in _FIELDS))
        .where(m.c.number >= first, m.c.number <= last)
        .order_by(m.c.number)
    )
    digest, records = hashlib.sha256(), 0
    for row in connection.execute(query):
        digest.update(record_line(dict(row._mapping)))
        records += 1
    return digest.hexdigest(), records

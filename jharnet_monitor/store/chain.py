"""The hash chain: what was recorded in an hour cannot be changed afterwards without a trace.

Link i is hᵢ = SHA-256(hᵢ₋₁ ‖ cᵢ). The chunk cᵢ is canonical JSON: when the hour began, and for each
kind of record (a probe, or a table of the diary) how many there are and the SHA-256 over their
lines (`store.records`) in the order of recording. So one kind can be pruned, and all others of the
hour still be recomputed.

A record belongs to the hour in which it was recorded: what an agent hands in late extends the
chain and never reopens it. Links cover ranges of record numbers without a gap, so that a wall
clock set back or forward cannot tear the chain, and nothing can be slipped in between.

Whoever owns the database could rebuild the whole chain: the roots that were mailed to recipients
outside are what proves it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, insert, select

from jharnet_monitor.clock import Clock
from jharnet_monitor.model import format_utc
from jharnet_monitor.store import tables as t
from jharnet_monitor.store.engine import reading, writing
from jharnet_monitor.store.interned_json import Texts
from jharnet_monitor.store.records import SEALED, lines
from jharnet_monitor.store.rows import canonical

HOUR_MS = 3_600_000
GENESIS = "0" * 64
SETTLE_MS = 60_000
"""An hour is sealed this long after its end, when no transaction of it can still be open."""

Upto = Mapping[str, int]
"""The last number of each table that is sealed."""


@dataclass(frozen=True, slots=True)
class SealedPart:
    """The records of one kind in a sealed hour; `sha256` is over their lines."""

    records: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ChainLink:
    """One sealed hour: `chunk` is what was hashed, `root` the chain's hash after it.

    `after` and `upto` are the last numbers of each table before it and in it; `pruned` says
    which parts were taken out of the database, and when.
    """

    number: int
    begin: datetime
    chunk: str
    root: str
    after: Upto
    upto: Upto
    pruned: Mapping[str, datetime]

    @property
    def parts(self) -> dict[str, SealedPart]:
        """The parts by kind."""
        return {kind: SealedPart(**part) for kind, part in json.loads(self.chunk)["parts"].items()}


class Chain:
    """The chain of one database."""

    def __init__(self, engine: Engine, clock: Clock, texts: Texts) -> None:
        self._engine = engine
        self._clock = clock
        self._texts = texts

    def seal(self) -> int:
        """Seal every hour that is over and holds records; gives how many were sealed."""
        now = t.to_ms(self._clock.now()) - SETTLE_MS
        sealed = 0
        while self._seal_next(now // HOUR_MS * HOUR_MS):
            sealed += 1
        return sealed

    def _seal_next(self, now: int) -> bool:
        """Seal the oldest hour before the one that began at `now`; False when there is none."""
        with writing(self._engine) as connection:
            upto, root = _head(connection)
            begin = _next_hour(connection, upto, now)
            if begin is None:
                return False
            end = {table.name: _end(connection, table, upto, begin, now) for table in SEALED}
            parts = self._parts(connection, upto, end)
            chunk = chunk_text(t.from_ms(begin), parts)
            connection.execute(
                insert(t.chunks).values(
                    begin=begin,
                    upto=canonical(end),
                    body=chunk,
                    root=link(root, chunk),
                    pruned="{}",
                )
            )
        return True

    def links(
        self, since: datetime | None = None, until: datetime | None = None
    ) -> list[ChainLink]:
        """The sealed hours that begin within [since, until), in the chain's order."""
        with reading(self._engine) as connection:
            every = list(_links(connection))
        return [
            one
            for one in every
            if (since is None or one.begin >= since) and (until is None or one.begin < until)
        ]

    def root(self, at: datetime | None = None) -> str | None:
        """The chain's hash now, or as it stood when the hours that were over `at` then were sealed.

        None for a chain that had no link yet.
        """
        query = select(t.chunks.c.root).order_by(t.chunks.c.number.desc()).limit(1)
        if at is not None:
            query = query.where(t.chunks.c.begin <= t.to_ms(at) - HOUR_MS)
        with reading(self._engine) as connection:
            return connection.execute(query).scalar_one_or_none()

    def daily_roots(self, first: date, last: date, zone: tzinfo) -> dict[date, str]:
        """The root at the end of each of the zone's days, as far as the chain goes by then."""
        roots: dict[date, str] = {}
        links = self.links()
        for number in range((last - first).days + 1):
            day = first + timedelta(days=number)
            midnight = datetime.combine(day + timedelta(days=1), time(), zone)
            while links and links[0].begin + timedelta(hours=1) <= midnight:
                roots[day] = links.pop(0).root
        return roots

    def records(self, of: ChainLink) -> Iterator[tuple[str, bytes]]:
        """Kind and line of each record of a sealed hour, in the order in which they were hashed."""
        with reading(self._engine) as connection:
            yield from _lines(connection, self._texts, of.after, of.upto)

    def check(self) -> Iterator[tuple[ChainLink, list[str]]]:
        """Recompute every link, in order; gives with each what is not as it was sealed."""
        root = GENESIS
        with reading(self._engine) as connection:
            for one in _links(connection):
                hour = f"the hour from {one.begin:%Y-%m-%d %H:%M} UTC"
                found = self._parts(connection, one.after, one.upto)
                problems = [f"{hour}: {problem}" for problem in _differences(one, found)]
                if link(root, one.chunk) != one.root:
                    problems.append(f"{hour}: the chain breaks here")
                root = one.root
                yield one, problems

    def verify(self) -> list[str]:
        """What is not as it was sealed, the first first; empty when all is."""
        return [problem for _, problems in self.check() for problem in problems]

    def _parts(self, connection: Connection, after: Upto, upto: Upto) -> dict[str, SealedPart]:
        hashes: dict[str, Any] = {}
        counts: dict[str, int] = {}
        for kind, line in _lines(connection, self._texts, after, upto):
            if kind not in hashes:
                hashes[kind], counts[kind] = hashlib.sha256(), 0
            hashes[kind].update(line)
            counts[kind] += 1
        return {kind: SealedPart(counts[kind], hashes[kind].hexdigest()) for kind in hashes}


def chunk_text(begin: datetime, parts: Mapping[str, SealedPart]) -> str:
    """What is hashed for an hour."""
    told = {kind: {"records": p.records, "sha256": p.sha256} for kind, p in parts.items()}
    return canonical({"begin": format_utc(begin), "parts": told})


def link(root: str, chunk: str) -> str:
    """The chain's next hash, both hashes as hexadecimal text.

    >>> link(GENESIS, "")[:16]
    '66687aadf862bd77'
    """
    return hashlib.sha256(bytes.fromhex(root) + chunk.encode()).hexdigest()


def _differences(one: ChainLink, found: Mapping[str, SealedPart]) -> Iterator[str]:
    """How the records of a sealed hour differ from what was sealed."""
    sealed = one.parts
    for kind in sorted({*sealed, *found}):
        was, now = sealed.get(kind, SealedPart(0, "")), found.get(kind, SealedPart(0, ""))
        if kind in one.pruned:
            if now.records:
                yield f"{now.records} records of `{kind}` stand where all were pruned"
        elif was.records != now.records:
            yield f"held {was.records} records of `{kind}`, now {now.records}"
        elif was != now:
            yield f"the {was.records} records of `{kind}` are not those that were sealed"


def _lines(
    connection: Connection, texts: Texts, after: Upto, upto: Upto
) -> Iterator[tuple[str, bytes]]:
    for table in SEALED:
        first, last = after.get(table.name, 0), upto.get(table.name, 0)
        yield from lines(connection, texts, table, first, last)


def _links(connection: Connection) -> Iterator[ChainLink]:
    after: Upto = {}
    for row in connection.execute(select(t.chunks).order_by(t.chunks.c.number)).all():
        one = _link(row, after)
        yield one
        after = one.upto


def _link(row: Row[Any], after: Upto) -> ChainLink:
    pruned = {kind: t.from_ms(at) for kind, at in json.loads(row.pruned).items()}
    upto = json.loads(row.upto)
    return ChainLink(row.number, t.from_ms(row.begin), row.body, row.root, after, upto, pruned)


def _head(connection: Connection) -> tuple[Upto, str]:
    """The last number of each table that is sealed, and the chain's root there."""
    query = select(t.chunks.c.upto, t.chunks.c.root).order_by(t.chunks.c.number.desc()).limit(1)
    row = connection.execute(query).first()
    return ({}, GENESIS) if row is None else (json.loads(row.upto), row.root)


def _next_hour(connection: Connection, upto: Upto, now: int) -> int | None:
    """When the next hour to seal began; None when none is over.

    Records stamped in the future, by a clock that was wrong, do not wait for it: they go with
    the last hour.
    """
    oldest: int | None = None
    for table in SEALED:
        query = (
            select(table.c.recorded_at)
            .where(table.c.number > upto.get(table.name, 0))
            .order_by(table.c.number)
            .limit(1)
        )
        stamp = connection.execute(query).scalar_one_or_none()
        if stamp is not None:
            begin = stamp // HOUR_MS * HOUR_MS
            begin = now - HOUR_MS if begin > now else begin
            oldest = begin if oldest is None else min(oldest, begin)
    return None if oldest is None or oldest >= now else oldest


def _end(connection: Connection, table: Any, upto: Upto, begin: int, now: int) -> int:
    """The last number of a table that goes with the hour from `begin`."""
    after = upto.get(table.name, 0)
    later = (
        select(table.c.number)
        .where(table.c.number > after)
        .where(table.c.recorded_at >= begin + HOUR_MS, table.c.recorded_at < now + HOUR_MS)
        .order_by(table.c.number)
        .limit(1)
    )
    number: int | None = connection.execute(later).scalar_one_or_none()
    if number is not None:
        return number - 1
    last = select(func.max(table.c.number)).where(table.c.number > after)
    return connection.execute(last).scalar_one_or_none() or after

"""The hash chain: records of a sealed hour cannot be changed without detection.

Link i is hᵢ = SHA-256(hᵢ₋₁ ‖ cᵢ). The chunk cᵢ is canonical JSON: when the hour began, and for each
kind of record (a probe, or a table of the event log) their number and the SHA-256 of their lines
(`store.records`) in the order of recording. One kind can therefore be pruned while all others of
the hour can still be verified.

A record belongs to the hour in which it was recorded: what an agent hands in late extends the chain
and never reopens an hour. Links cover ranges of row numbers without a gap, so a wall clock that is
set back or forward does not break the chain, and no row can be inserted in between.

The owner of the database can rebuild the whole chain; the roots that were mailed to recipients
outside prove that nobody did.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, insert, select

from jharnet_monitor.clock import Clock
from jharnet_monitor.errors import StoreError
from jharnet_monitor.model import format_utc
from jharnet_monitor.store import tables as t
from jharnet_monitor.store.engine import reading, writing
from jharnet_monitor.store.pruning import PRUNED, SETTINGS, PruningLog, PruningRule
from jharnet_monitor.store.records import DAMAGED, SEALED, LastRows, Records
from jharnet_monitor.store.rows import canonical

HOUR_MS = 3_600_000
GENESIS = "0" * 64
SETTLE_MS = 60_000
"""An hour is sealed this long after its end, when no transaction of it can still be open."""

NOTHING = PruningRule()
"""The rule of a database of which nothing may be pruned."""


@dataclass(frozen=True, slots=True)
class SealedPart:
    """The records of one kind in a sealed hour; `sha256` is over their lines."""

    records: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ChainLink:
    """One sealed hour: `chunk` is the text that was hashed, `root` the chain's hash after it.

    `previous_rows` and `last_rows` are the last row of each table before the hour and in it;
    `pruned` holds the kinds of records that were removed from the database, and when. `packed` is
    0 until the hour's measurements are packed (`store.packing`).
    """

    number: int
    begin: datetime
    chunk: str
    root: str
    previous_rows: LastRows
    last_rows: LastRows
    pruned: Mapping[str, datetime]
    packed: int = 0

    @property
    def parts(self) -> dict[str, SealedPart]:
        """The parts by kind of record."""
        return {kind: SealedPart(**part) for kind, part in json.loads(self.chunk)["parts"].items()}


@dataclass(frozen=True, slots=True)
class CheckedLink:
    """A link whose hour was recomputed: what differs from what was sealed, and what was pruned.

    `parts` are those that were sealed, none where the chunk cannot be read. `unsealed` are pruned
    kinds without an event `pruned`, from before there were such events.
    """

    link: ChainLink
    problems: list[str]
    parts: Mapping[str, SealedPart]
    pruned: Mapping[str, int]
    unsealed: frozenset[str]


class Chain:
    """The hash chain of one database."""

    def __init__(self, engine: Engine, clock: Clock, records: Records) -> None:
        self._engine = engine
        self._clock = clock
        self._records = records

    def seal(self) -> int:
        """Seal every hour that is over and has records; returns the number of hours sealed."""
        now = t.to_ms(self._clock.now()) - SETTLE_MS
        sealed = 0
        while self._seal_next(now // HOUR_MS * HOUR_MS):
            sealed += 1
        return sealed

    def _seal_next(self, now: int) -> bool:
        """Seal the oldest hour before the one that began at `now`; False if there is none."""
        with writing(self._engine) as connection:
            sealed, root = _head(connection)
            begin = _next_hour(connection, sealed, now)
            if begin is None:
                return False
            last = {
                table.name: _last_row(connection, table, sealed, begin, now) for table in SEALED
            }
            parts = parts_of(self._records.lines(connection, sealed, last, None))
            chunk = chunk_text(t.from_ms(begin), parts)
            connection.execute(
                insert(t.chunks).values(
                    begin=begin,
                    upto=canonical(last),
                    body=chunk,
                    root=link(root, chunk),
                    pruned="{}",
                )
            )
        return True

    def unpacked(self) -> ChainLink | None:
        """The oldest sealed hour that is not packed; None if all are."""
        c = t.chunks.c
        with reading(self._engine) as connection:
            query = select(t.chunks).where(c.packed == 0).order_by(c.number).limit(1)
            row = connection.execute(query).first()
            if row is None:
                return None
            before = select(t.chunks.c.upto).where(c.number < row.number)
            upto = connection.execute(before.order_by(c.number.desc()).limit(1)).scalar()
            return _link(row, {} if upto is None else json.loads(upto))

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
        """The chain's hash now, or after the last hour that was over at the moment `at`.

        None if the chain had no link yet.
        """
        query = select(t.chunks.c.root).order_by(t.chunks.c.number.desc()).limit(1)
        if at is not None:
            query = query.where(t.chunks.c.begin <= t.to_ms(at) - HOUR_MS)
        with reading(self._engine) as connection:
            return connection.execute(query).scalar_one_or_none()

    def root_within(self, since: datetime, until: datetime) -> str | None:
        """The chain's hash after the last hour that begins within [since, until); None without."""
        begin = t.chunks.c.begin
        query = (
            select(t.chunks.c.root)
            .where(begin >= t.to_ms(since), begin < t.to_ms(until))
            .order_by(t.chunks.c.number.desc())
            .limit(1)
        )
        with reading(self._engine) as connection:
            return connection.execute(query).scalar_one_or_none()

    def daily_roots(self, first: date, last: date, zone: tzinfo) -> dict[date, str]:
        """The root at the end of each day in the time zone, for days by which there was a link."""
        roots: dict[date, str] = {}
        links = self.links()
        for number in range((last - first).days + 1):
            day = first + timedelta(days=number)
            midnight = datetime.combine(day + timedelta(days=1), time(), zone)
            while links and links[0].begin + timedelta(hours=1) <= midnight:
                roots[day] = links.pop(0).root
        return roots

    def records(self, of: ChainLink) -> Iterator[tuple[str, bytes]]:
        """Kind and line of each record of a sealed hour, in the order of hashing."""
        with reading(self._engine) as connection:
            yield from self._lines(connection, of)

    def check(self, rule: PruningRule = NOTHING) -> Iterator[CheckedLink]:
        """Recompute every link in order; only what the rule allows may have been pruned."""
        root = GENESIS
        with reading(self._engine) as connection:
            log = _pruning_log(connection)
            for one in _links(connection):
                hour = f"the hour from {one.begin:%Y-%m-%d %H:%M} UTC"
                malformed = chunk_problem(one.chunk, one.begin)
                if malformed:
                    problems, parts = [malformed], {}
                else:
                    parts = one.parts
                    problems = list(_differences(one, self.parts_now(connection, one)))
                pruned = {kind: parts[kind].records for kind in one.pruned if kind in parts}
                for kind, records in sorted(pruned.items()):
                    now = min(one.pruned[kind], self._clock.now())
                    wrong = log.problem(rule, one.root, one.begin, kind, records, now)
                    problems += [wrong] if wrong else []
                if link(root, one.chunk) != one.root:
                    problems.append("the chain breaks here")
                root = one.root
                unsealed = frozenset(kind for kind in pruned if not log.has(one.root, kind))
                messages = [f"{hour}: {problem}" for problem in problems]
                yield CheckedLink(one, messages, parts, pruned, unsealed)

    def strays(self) -> Iterator[str]:
        """A message for everything outside of the links that contradicts them."""
        with reading(self._engine) as connection:
            for table in SEALED:
                query = select(func.count()).where(table.c.number <= 0).select_from(table)
                count = connection.execute(query).scalar_one()
                if count:
                    yield f"`{table.name}` has {count} rows before the first that was sealed"
            links = set(connection.execute(select(t.chunks.c.number)).scalars())
            for table in (t.packed_series, t.packed_round_trips):
                packed = connection.execute(select(table.c.link).distinct()).scalars()
                if unknown := sorted(set(packed) - links):
                    yield f"`{table.name}` has records of {len(unknown)} hours that are not sealed"
            roots = set(connection.execute(select(t.chunks.c.root)).scalars())
            mailed = select(t.mails.c.name, t.mails.c.root).distinct()
            for name, root in connection.execute(mailed.where(t.mails.c.root.is_not(None))):
                if root not in roots:
                    yield f"the root {root} that was mailed with {name} is not in the chain"

    def verify(self, rule: PruningRule = NOTHING) -> list[str]:
        """What differs from what was sealed, oldest first; empty if nothing does."""
        problems = [problem for one in self.check(rule) for problem in one.problems]
        return [*problems, *self.strays()]

    def parts_now(self, connection: Connection, of: ChainLink) -> dict[str, SealedPart]:
        """The parts of a sealed hour as its records are now."""
        return parts_of(self._lines(connection, of))

    def _lines(self, connection: Connection, of: ChainLink) -> Iterator[tuple[str, bytes]]:
        return self._records.lines(connection, of.previous_rows, of.last_rows, of.number)


def parts_of(lines: Iterable[tuple[str, bytes]]) -> dict[str, SealedPart]:
    """The parts of an hour by kind, from kind and line of each of its records."""
    hashes: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for kind, line in lines:
        if kind not in hashes:
            hashes[kind], counts[kind] = hashlib.sha256(), 0
        hashes[kind].update(line)
        counts[kind] += 1
    return {kind: SealedPart(counts[kind], hashes[kind].hexdigest()) for kind in hashes}


def chunk_text(begin: datetime, parts: Mapping[str, SealedPart]) -> str:
    """The text that is hashed for an hour."""
    content = {kind: {"records": p.records, "sha256": p.sha256} for kind, p in parts.items()}
    return canonical({"begin": format_utc(begin), "parts": content})


def chunk_problem(chunk: str, begin: datetime) -> str | None:
    """Why a text is not the chunk of the hour from `begin`; None if it is.

    It must be the one text of its content: a key that occurs twice, a count that is no whole number
    or a space would let two readers read two things.
    """
    try:
        content = json.loads(chunk)
        parts = content["parts"]
        sealed_parts = {
            kind: SealedPart(part["records"], part["sha256"]) for kind, part in parts.items()
        }
        counted = all(
            type(part.records) is int and part.records > 0 for part in sealed_parts.values()
        )
        hashed = all(re.fullmatch("[0-9a-f]{64}", part.sha256) for part in sealed_parts.values())
        if not (counted and hashed and sealed_parts):
            return "its chunk has a part without records or without a hash"
        if content["begin"] != format_utc(begin):
            return "was sealed as another hour"
        if chunk_text(begin, sealed_parts) != chunk:
            return "its chunk is not written as this program writes it"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "its chunk cannot be read"
    return None


def link(root: str, chunk: str) -> str:
    """The next hash of the chain; both hashes are hexadecimal.

    >>> link(GENESIS, "")[:16]
    '66687aadf862bd77'
    """
    return hashlib.sha256(bytes.fromhex(root) + chunk.encode()).hexdigest()


def _differences(one: ChainLink, found: Mapping[str, SealedPart]) -> Iterator[str]:
    """How the records of a sealed hour differ from what was sealed."""
    sealed = one.parts
    if DAMAGED in found:
        yield "what is packed of it is damaged"
    for kind in sorted({*sealed, *found, *one.pruned} - {DAMAGED}):
        was, now = sealed.get(kind, SealedPart(0, "")), found.get(kind, SealedPart(0, ""))
        if kind in one.pruned:
            if now.records:
                yield f"{now.records} records of `{kind}` exist, though all were pruned"
            elif not was.records:
                yield f"`{kind}` is called pruned, though none was sealed"
        elif was.records != now.records:
            yield f"had {was.records} records of `{kind}`, now has {now.records}"
        elif was != now:
            yield f"the {was.records} records of `{kind}` differ from those that were sealed"


def _pruning_log(connection: Connection) -> PruningLog:
    """The events on the records themselves, whether they are sealed yet or not."""
    e = t.events
    query = select(e.c.kind, e.c.recorded_at, e.c.data).where(e.c.kind.in_((PRUNED, SETTINGS)))
    rows = connection.execute(query.order_by(e.c.number))
    return PruningLog.of((row.kind, t.from_ms(row.recorded_at), row.data) for row in rows)


def _links(connection: Connection) -> Iterator[ChainLink]:
    previous: LastRows = {}
    for row in connection.execute(select(t.chunks).order_by(t.chunks.c.number)).all():
        one = _link(row, previous)
        yield one
        previous = one.last_rows


def _link(row: Row[Any], previous: LastRows) -> ChainLink:
    try:
        pruned = {kind: t.from_ms(at) for kind, at in json.loads(row.pruned).items()}
        last = {table: int(number) for table, number in json.loads(row.upto).items()}
        begin = t.from_ms(row.begin)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise StoreError(
            f"link {row.number} of the chain cannot be read: it was not written by this program"
        ) from error
    return ChainLink(row.number, begin, row.body, row.root, previous, last, pruned, row.packed)


def _head(connection: Connection) -> tuple[LastRows, str]:
    """The last sealed row of each table, and the chain's root there."""
    query = select(t.chunks.c.upto, t.chunks.c.root).order_by(t.chunks.c.number.desc()).limit(1)
    row = connection.execute(query).first()
    return ({}, GENESIS) if row is None else (json.loads(row.upto), row.root)


def _next_hour(connection: Connection, sealed: LastRows, now: int) -> int | None:
    """When the next hour to seal began; None if none is over.

    Records with a time in the future, from a clock that was wrong, are sealed with the last hour.
    """
    oldest: int | None = None
    for table in SEALED:
        query = (
            select(table.c.recorded_at)
            .where(table.c.number > sealed.get(table.name, 0))
            .order_by(table.c.number)
            .limit(1)
        )
        stamp = connection.execute(query).scalar_one_or_none()
        if stamp is not None:
            begin = stamp // HOUR_MS * HOUR_MS
            begin = now - HOUR_MS if begin > now else begin
            oldest = begin if oldest is None else min(oldest, begin)
    return None if oldest is None or oldest >= now else oldest


def _last_row(connection: Connection, table: Any, sealed: LastRows, begin: int, now: int) -> int:
    """The last row of a table that belongs to the hour from `begin`."""
    after = sealed.get(table.name, 0)
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

"""The tables. A change needs a new file in `migrations/versions`; a test compares both.

Times are whole milliseconds since 1970 (UTC): small, sortable, the same on both databases. Tables
that the hash chain covers use `sqlite_autoincrement`, so that no number is used twice.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

metadata = MetaData()

_Key = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers only an INTEGER key

texts = Table(
    "texts",
    metadata,
    Column("number", _Key, primary_key=True, autoincrement=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("body", Text, nullable=False),
)
"""JSON that many measurements share, stored once: conditions, and the names of the values."""

measurements = Table(
    "measurements",
    metadata,
    Column("number", _Key, primary_key=True, autoincrement=True),
    Column("id", String(200), nullable=False, unique=True),
    Column("office", String(200), nullable=False),
    Column("probe", String(200), nullable=False),
    Column("path", String(200), nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("duration", Double, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("cause", String(200)),
    Column("bytes_spent", BigInteger, nullable=False),
    Column("conditions", BigInteger, nullable=False),
    Column("names", BigInteger, nullable=False),
    Column("values", Text, nullable=False),
    Column("own_conditions", Text),
    Column("round_trips", Text),
    Index("measurements_by_office", "office", "probe", "started_at", "path"),
    Index("measurements_by_start", "started_at"),
    sqlite_autoincrement=True,
)
Index(
    "measurements_that_spent",
    measurements.c.office,
    measurements.c.started_at,
    sqlite_where=text("bytes_spent > 0"),  # in PostgreSQL too, but to say so loads its driver
)
"""Measurements that are not packed yet, and rare ones. `conditions` and `names` are numbers of
`texts`; conditions that are numbers, which change from run to run, are in `own_conditions`.
`values` are numbers in the order of `names`, both JSON lists. `round_trips` is the JSON list of the
packets' round trips."""

packed_series = Table(
    "packed_series",
    metadata,
    Column("number", _Key, primary_key=True, autoincrement=True),
    Column("link", BigInteger, nullable=False),
    Column("office", String(200), nullable=False),
    Column("probe", String(200), nullable=False),
    Column("path", String(200), nullable=False),
    Column("begin", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("shapes", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("packed_series_by_office", "office", "probe", "path", "begin"),
    Index("packed_series_by_begin", "begin"),
    Index("packed_series_by_link", "link"),
)
"""Measurements of sealed hours, packed by series (`store.packed_series`). `link` is the number of
the hour in `chunks`, `begin` and `last` are the earliest and latest start, `shapes` the numbers in
`texts` of what its measurements share. `last` is less than `SPAN_MS` after `begin`."""
SPAN_MS = 7_200_000

packed_round_trips = Table(
    "packed_round_trips",
    metadata,
    Column("link", BigInteger, primary_key=True, autoincrement=False),
    Column("begin", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
"""The round trips of the packets of a sealed hour (`store.round_trips`). `begin` and `last` are the
earliest and latest start of a measurement."""

tallies = Table(
    "tallies",
    metadata,
    Column("office", String(200), primary_key=True),
    Column("probe", String(200), primary_key=True),
    Column("path", String(200), primary_key=True),
    Column("outcome", String(16), primary_key=True),
    Column("runs", BigInteger, nullable=False),
    Column("sent", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("last_started_at", BigInteger, nullable=False),
)
"""Running totals since the database was created, and the measurement that ended last: its number
and start."""

days = Table(
    "days",
    metadata,
    Column("day", Date, primary_key=True),
    Column("office", String(200), primary_key=True),
    Column("probe", String(200), primary_key=True),
    Column("path", String(200), primary_key=True),
    Column("body", Text, nullable=False),
)
"""Summaries of days whose measurements were pruned: runs by outcome, spread of the values."""

transitions = Table(
    "transitions",
    metadata,
    Column("number", _Key, primary_key=True, autoincrement=True),
    Column("office", String(200), nullable=False),
    Column("state", String(32), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("until", BigInteger),
    Column("evidence", Text, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("supersedes", BigInteger),
    Index("transitions_by_office", "office", "at"),
    sqlite_autoincrement=True,
)
"""Changes of state. What is found out later is a new row that supersedes an older one."""

events = Table(
    "events",
    metadata,
    Column("number", _Key, primary_key=True, autoincrement=True),
    Column("office", String(200), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("data", Text, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Index("events_by_office", "office", "at"),
    Index("events_by_kind", "kind"),
    sqlite_autoincrement=True,
)
"""Events of agents (joined, left, said goodbye) and of the hub (started, stopped)."""

windows = Table(
    "windows",
    metadata,
    Column("number", _Key, primary_key=True, autoincrement=True),
    Column("office", String(200)),
    Column("begin", BigInteger, nullable=False),
    Column("end", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
"""Planned maintenance of an office, or of all offices if `office` is null."""

drills = Table(
    "drills",
    metadata,
    Column("number", _Key, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Index("drills_by_id", "id"),
    Index("drills_by_start", "started_at"),
    sqlite_autoincrement=True,
)
"""Drills: a row for each change; the newest row of an id holds the drill's present state."""

chunks = Table(
    "chunks",
    metadata,
    Column("number", _Key, primary_key=True, autoincrement=True),
    Column("begin", BigInteger, nullable=False),
    Column("upto", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("root", String(64), nullable=False),
    Column("pruned", Text, nullable=False),
    Column("packed", Integer, nullable=False, server_default="0"),
)
"""The hash chain, one link per hour. `upto` is the last sealed row of each table (`last_rows` of a
`ChainLink`), `body` the text that was hashed, `root` the chain's hash after it, `pruned` when each
kind of records was removed, `packed` whether its measurements are packed (`store.packing`)."""

mails = Table(
    "mails",
    metadata,
    Column("message_id", String(200), primary_key=True),
    Column("recipient", String(320), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", Text),
    Column("root", String(64)),
    Column("prepared_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
)
"""Mails by recipient: their state, and the root of the hash chain that was in them."""

memory = Table(
    "memory",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("body", Text, nullable=False),
)
"""Values that survive a restart: counters, the last heartbeat."""


def to_ms(moment: datetime) -> int:
    """Whole milliseconds since 1970; exact, where a float would round.

    >>> to_ms(datetime(2026, 11, 25, 0, 0, 0, 123000, tzinfo=UTC))
    1795564800123
    """
    return (moment - EPOCH) // timedelta(milliseconds=1)


def from_ms(milliseconds: int) -> datetime:
    """The moment in UTC."""
    return EPOCH + timedelta(milliseconds=milliseconds)

"""The tables. A change here needs a new file in `migrations/versions`; a test holds both alike.

Moments are whole milliseconds since 1970 (UTC): small, sortable, the same on both databases.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

metadata = MetaData()

_Key = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only an INTEGER key

measurements = Table(
    "measurements",
    metadata,
    Column("number", _Key, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("office", String(64), nullable=False),
    Column("probe", String(64), nullable=False),
    Column("path", String(64), nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("duration", Float, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("cause", String(200)),
    Column("bytes_spent", BigInteger, nullable=False),
    Column("conditions", Text, nullable=False),
    Column("values", Text, nullable=False),
    Index("measurements_by_office", "office", "probe", "started_at"),
    Index("measurements_by_start", "started_at"),
    Index("measurements_by_record", "recorded_at"),
)

latest = Table(
    "latest",
    metadata,
    Column("office", String(64), primary_key=True),
    Column("probe", String(64), primary_key=True),
    Column("path", String(64), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("started_at", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
)
"""The last run of each office, probe and path: of any outcome, that measured, that was ok."""

transitions = Table(
    "transitions",
    metadata,
    Column("number", _Key, primary_key=True, autoincrement=True),
    Column("office", String(64), nullable=False),
    Column("state", String(32), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("until", BigInteger),
    Column("evidence", Text, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("supersedes", BigInteger),
    Index("transitions_by_office", "office", "at"),
)
"""Changes of state. What is learnt afterwards is a new row that supersedes an older one."""

events = Table(
    "events",
    metadata,
    Column("number", _Key, primary_key=True, autoincrement=True),
    Column("office", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("data", Text, nullable=False),
    Index("events_by_office", "office", "at"),
)
"""Evidence beside measurements: agents that came, left, said goodbye; the hub's own gaps."""

windows = Table(
    "windows",
    metadata,
    Column("number", _Key, primary_key=True, autoincrement=True),
    Column("office", String(64)),
    Column("begin", BigInteger, nullable=False),
    Column("end", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
)
"""Planned maintenance; without an office it holds for all."""

drills = Table(
    "drills",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("started_at", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
)

chunks = Table(
    "chunks",
    metadata,
    Column("number", _Key, primary_key=True, autoincrement=True),
    Column("begin", BigInteger, nullable=False),
    Column("first", BigInteger, nullable=False, unique=True),
    Column("last", BigInteger, nullable=False, unique=True),
    Column("records", Integer, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("root", String(64), nullable=False),
    Column("pruned_at", BigInteger),
)
"""The hash chain: one link an hour, over the measurements with numbers `first` to `last`."""

mails = Table(
    "mails",
    metadata,
    Column("number", _Key, primary_key=True, autoincrement=True),
    Column("period", String(32), nullable=False),
    Column("recipients", Text, nullable=False),
    Column("message_id", String(200), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("root", String(64)),
    Column("error", Text),
    Column("changed_at", BigInteger, nullable=False),
    UniqueConstraint("message_id", name="mails_message_id"),
)
"""What was sent, and the chain's root that went with it."""

memory = Table(
    "memory",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("body", Text, nullable=False),
)
"""Small things that survive a restart: counters, the last beat."""


def to_ms(moment: datetime) -> int:
    """Whole milliseconds since 1970; exact, where a float would round.

    >>> to_ms(datetime(2026, 11, 25, 0, 0, 0, 123000, tzinfo=UTC))
    1795564800123
    """
    return (moment - EPOCH) // timedelta(milliseconds=1)


def from_ms(milliseconds: int) -> datetime:
    """The moment in UTC."""
    return EPOCH + timedelta(milliseconds=milliseconds)

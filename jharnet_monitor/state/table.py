"""The state's database: every signed week as it was received, and views for readers.

Weeks are never changed or deleted. A hub that corrects a week sends a new version of it, and the
version that was made last counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
)

from jharnet_monitor.config.state_file import StateDistrict
from jharnet_monitor.security.signing import fingerprint
from jharnet_monitor.state.views import make_views
from jharnet_monitor.state.week import DistrictWeek, SignedWeek
from jharnet_monitor.store.engine import open_engine, reading, writing
from jharnet_monitor.store.tables import from_ms, to_ms

metadata = MetaData()
weeks = Table(
    "state_weeks",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("district", String(40), nullable=False, index=True),
    Column("week", String(8), nullable=False, index=True),
    Column("made_at", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("key", String(16), nullable=False),
    Column("signature", String(88), nullable=False),
    Column("body", Text, nullable=False),
)
"""`body` is the signed text, `key` the fingerprint of the district's key; times in milliseconds."""

expected = Table(
    "state_districts",
    metadata,
    Column("district", String(40), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("name_hi", String(200), nullable=False),
)
"""The districts that the state expects, so that Grafana also shows the silent ones."""


class Reception(StrEnum):
    """The result of submitting a week."""

    STORED = "stored"
    HELD = "held"
    """The same text was stored before."""
    OLDER = "older"
    """A version made later, or at the same time, is stored: this one is a replay, or came late."""


@dataclass(frozen=True, slots=True)
class HeldWeek:
    """A row of the table."""

    number: int
    district: str
    week: str
    made_at: datetime
    received_at: datetime
    sha256: str
    key: str
    signed: SignedWeek


class StateTable:
    """One database; every method blocks and raises `StoreError`."""

    def __init__(self, url: str) -> None:
        """Raises `UserError` for an address that cannot be used."""
        self._engine = open_engine(url)

    def prepare(self, districts: Sequence[StateDistrict]) -> None:
        """Create the tables and views, and store which districts are expected."""
        with writing(self._engine) as connection:
            metadata.create_all(connection)
            if self._engine.dialect.name == "postgresql":
                make_views(connection)
            connection.execute(delete(expected))
            connection.execute(
                insert(expected),
                [{"district": d.id, "name": d.name, "name_hi": d.name_hi} for d in districts],
            )

    def add(
        self, signed: SignedWeek, week: DistrictWeek, key: str, now: datetime
    ) -> tuple[Reception, int]:
        """Store a week whose signature was checked; returns the result and the row's number."""
        t = weeks.c
        same = (t.district == week.district, t.week == week.week)
        with writing(self._engine) as connection:
            number = connection.execute(
                select(t.number).where(t.sha256 == signed.sha256)
            ).scalar_one_or_none()
            if number is not None:
                return Reception.HELD, int(number)
            newest = connection.execute(select(func.max(t.made_at)).where(*same)).scalar_one()
            if newest is not None and to_ms(week.made) <= newest:
                return Reception.OLDER, 0
            return Reception.STORED, _insert(connection, signed, week, key, now)

    def newest(self, week: str) -> dict[str, HeldWeek]:
        """The version of a week that counts, by district: the one that was made last."""
        return {one.district: one for one in self.rows(week)}

    def rows(self, week: str | None = None) -> Iterator[HeldWeek]:
        """All rows, or those of a week, in the order in which they were made."""
        query = select(weeks).order_by(weeks.c.made_at, weeks.c.number)
        if week is not None:
            query = query.where(weeks.c.week == week)
        with reading(self._engine) as connection:
            for row in connection.execute(query):
                yield _week_of(row)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _insert(
    connection: Connection, signed: SignedWeek, week: DistrictWeek, key: str, now: datetime
) -> int:
    row = insert(weeks).values(
        district=week.district, week=week.week, made_at=to_ms(week.made), received_at=to_ms(now),
        sha256=signed.sha256, key=fingerprint(key), signature=signed.signature, body=signed.body,
    )  # fmt: skip
    return int(connection.execute(row.returning(weeks.c.number)).scalar_one())


def _week_of(row: Row[tuple[object, ...]]) -> HeldWeek:
    return HeldWeek(
        row.number, row.district, row.week, from_ms(row.made_at), from_ms(row.received_at),
        row.sha256, row.key,
        SignedWeek.model_construct(body=row.body, signature=row.signature),
    )  # fmt: skip

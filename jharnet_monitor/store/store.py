"""The store: measurements in and out, and what has to survive a restart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from jharnet_monitor.clock import Clock
from jharnet_monitor.model import Measurement, Outcome
from jharnet_monitor.store import tables as t
from jharnet_monitor.store.chain import Chain
from jharnet_monitor.store.diary import Diary
from jharnet_monitor.store.engine import open_engine, reading, writing
from jharnet_monitor.store.figures import Figures
from jharnet_monitor.store.rows import canonical, from_row, to_row
from jharnet_monitor.store.schema import migrate

_BATCH = 500
_KINDS: dict[str, frozenset[Outcome]] = {
    "any": frozenset(Outcome),
    "measured": frozenset({Outcome.OK, Outcome.FAILED}),
    "ok": frozenset({Outcome.OK}),
}


class Store:
    """One database. Every method blocks: on an event loop, call it in a thread.

    `diary` holds states, events, windows and drills; `chain` the hash chain over measurements;
    `figures` reads many rows for reports.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        """Open `sqlite:///FILE` or `postgresql://…`; raises `UserError`."""
        self._engine = open_engine(url)
        self._clock = clock
        self.diary = Diary(self._engine, clock)
        self.chain = Chain(self._engine, clock)
        self.figures = Figures(self._engine)

    def migrate(self) -> None:
        """Bring the schema to this program's version; raises `UserError` if it is newer."""
        migrate(self._engine)

    def add(self, measurements: Iterable[Measurement]) -> Sequence[Measurement]:
        """Keep measurements in one transaction; gives those that were not there before."""
        by_id = {m.id: m for m in measurements}
        if not by_id:
            return ()
        with writing(self._engine) as connection:
            held = _held(connection, list(by_id))
            new = [m for m in by_id.values() if m.id not in held]
            if new:
                recorded_at = self._clock.now()
                connection.execute(insert(t.measurements), [to_row(m, recorded_at) for m in new])
                for measurement in new:
                    _renew_latest(connection, measurement)
        return new

    def measurements(
        self,
        *,
        office: str | None = None,
        probe: str | None = None,
        path: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> list[Measurement]:
        """Measurements that began within [since, until), in the order of their start."""
        m = t.measurements
        query = select(m)
        for column, wanted in ((m.c.office, office), (m.c.probe, probe), (m.c.path, path)):
            if wanted is not None:
                query = query.where(column == wanted)
        if since is not None:
            query = query.where(m.c.started_at >= t.to_ms(since))
        if until is not None:
            query = query.where(m.c.started_at < t.to_ms(until))
        order = (m.c.started_at.desc(), m.c.number.desc()) if newest_first else (
            m.c.started_at, m.c.number)  # fmt: skip
        with reading(self._engine) as connection:
            return [
                from_row(row) for row in connection.execute(query.order_by(*order).limit(limit))
            ]

    def latest(self) -> list[Measurement]:
        """For each office, probe and path the last run: of any outcome, that measured, that was ok.

        The same measurement stands there once.
        """
        with reading(self._engine) as connection:
            rows = connection.execute(select(t.latest.c.body)).scalars()
            found = [Measurement.from_json(json.loads(body)) for body in rows]
        return list({m.id: m for m in found}.values())

    def spent(self, office: str, since: datetime, until: datetime) -> int:
        """Bytes that tests put on an office's line in [since, until)."""
        m = t.measurements
        query = select(func.coalesce(func.sum(m.c.bytes_spent), 0)).where(
            m.c.office == office,
            m.c.started_at >= t.to_ms(since),
            m.c.started_at < t.to_ms(until),
        )
        with reading(self._engine) as connection:
            return int(connection.execute(query).scalar_one())

    def recall(self, key: str) -> Any | None:
        """What `remember` kept under a key."""
        query = select(t.memory.c.body).where(t.memory.c.key == key)
        with reading(self._engine) as connection:
            body = connection.execute(query).scalar_one_or_none()
        return None if body is None else json.loads(body)

    def remember(self, key: str, value: Any) -> None:
        """Keep a JSON value under a key, instead of what was there."""
        with writing(self._engine) as connection:
            connection.execute(delete(t.memory).where(t.memory.c.key == key))
            connection.execute(insert(t.memory).values(key=key, body=canonical(value)))

    def size(self) -> int:
        """Bytes that the database takes on its disk."""
        if self._engine.dialect.name == "sqlite":
            name = self._engine.url.database or ""
            files = [Path(name + suffix) for suffix in ("", "-wal")]
            return sum(file.stat().st_size for file in files if file.exists())
        with reading(self._engine) as connection:
            query = select(func.pg_database_size(func.current_database()))
            return int(connection.execute(query).scalar_one())

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()


def _held(connection: Connection, ids: Sequence[str]) -> set[str]:
    held: set[str] = set()
    for start in range(0, len(ids), _BATCH):
        part = ids[start : start + _BATCH]
        query = select(t.measurements.c.id).where(t.measurements.c.id.in_(part))
        held.update(connection.execute(query).scalars())
    return held


def _renew_latest(connection: Connection, measurement: Measurement) -> None:
    """Let a measurement become the last of its kinds, unless a later one is there."""
    started, body = t.to_ms(measurement.started_at), canonical(measurement.to_json())
    for kind, outcomes in _KINDS.items():
        if measurement.outcome not in outcomes:
            continue
        row = {
            "office": measurement.office,
            "probe": measurement.probe,
            "path": measurement.path,
            "kind": kind,
        }
        here = [t.latest.c[name] == value for name, value in row.items()]
        query = select(t.latest.c.started_at).where(*here)
        held = connection.execute(query).scalar_one_or_none()
        if held is None or held <= started:
            connection.execute(delete(t.latest).where(*here))
            connection.execute(insert(t.latest).values(**row, started_at=started, body=body))

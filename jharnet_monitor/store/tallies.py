"""Running totals, updated in the transaction of every measurement: counters survive a restart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, insert, select, update

from jharnet_monitor.clock import LEAST_AHEAD
from jharnet_monitor.model import Outcome, Route
from jharnet_monitor.store import tables as t
from jharnet_monitor.store.engine import reading

_LEAST_AHEAD_MS = LEAST_AHEAD // timedelta(milliseconds=1)
_BY_AGENT = frozenset(route.value for route in Route if route.by_agent)
Key = tuple[str, str, str, str]
"""Office, probe, path, outcome."""


@dataclass(frozen=True, slots=True)
class RunTotals:
    """The totals of an office's probe, path and outcome, pruned measurements included.

    For visits of services, `path` is the service's name. `sent` and `received` are packets of
    latency runs; 0 for other probes.
    """

    office: str
    probe: str
    path: str
    outcome: Outcome
    runs: int
    sent: int
    received: int

    @property
    def by_agent(self) -> bool:
        """Whether the agent measured it on its own, which only echo requests are."""
        return self.probe == "latency" and self.path in _BY_AGENT


class Tallies:
    """The running totals of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def all(self) -> list[RunTotals]:
        """All totals; the time does not grow with the database."""
        table = t.tallies
        query = select(table).order_by(*table.primary_key.columns)
        with reading(self._engine) as connection:
            return [
                RunTotals(r.office, r.probe, r.path, Outcome(r.outcome), r.runs, r.sent, r.received)
                for r in connection.execute(query)
            ]


def count(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add new rows (each with its `number`, `sent` and `received`) to the totals."""
    sums: dict[Key, dict[str, int]] = {}
    ends: dict[Key, int] = {}
    now = 0
    for row in rows:
        now, end = row["recorded_at"], _end(row["started_at"], row["duration"])
        key = (row["office"], row["probe"], row["path"], row["outcome"])
        existing = sums.setdefault(
            key, {"runs": 0, "sent": 0, "received": 0, "last": 0, "last_started_at": 0}
        )
        existing["runs"] += 1
        existing["sent"] += row["sent"]
        existing["received"] += row["received"]
        if key not in ends or _is_newer(end, ends[key], now):
            existing["last"], existing["last_started_at"] = row["number"], row["started_at"]
            ends[key] = end
    for key, added in sums.items():
        _add(connection, key, added, ends[key], now)


def _add(connection: Connection, key: Key, added: dict[str, int], end: int, now: int) -> None:
    table, m = t.tallies, t.measurements
    here = [column == value for column, value in zip(table.primary_key.columns, key, strict=True)]
    with_duration = table.outerjoin(m, m.c.number == table.c.last)
    query = select(table, m.c.duration).select_from(with_duration).where(*here)
    existing = connection.execute(query).first()
    if existing is None:
        names = [column.name for column in table.primary_key.columns]
        connection.execute(insert(table).values(**dict(zip(names, key, strict=True)), **added))
        return
    started_at, known = added["last_started_at"], existing.last_started_at
    if existing.duration is None:  # packed or pruned: its start is compared, it has no row
        newer = _is_newer(started_at, known, now)
    else:
        newer = _is_newer(end, _end(known, existing.duration), now)
    if not newer:  # handed in late, or refused while the other one ran
        added |= {"last": existing.last, "last_started_at": existing.last_started_at}
    for name in ("runs", "sent", "received"):
        added[name] += getattr(existing, name)
    connection.execute(update(table).where(*here).values(**added))


def _end(started_at: int, seconds: float) -> int:
    """When a run ended, in ms."""
    return started_at + round(seconds * 1000)


def _is_newer(at: int, known: int, now: int) -> bool:
    """See `clock.is_newer`; times in ms."""
    return at >= known or known > now + _LEAST_AHEAD_MS >= at

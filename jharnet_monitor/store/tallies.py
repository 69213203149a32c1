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
    now = 0
    for row in rows:
        now = row["recorded_at"]
        key = (row["office"], row["probe"], row["path"], row["outcome"])
        existing = sums.setdefault(
            key, {"runs": 0, "sent": 0, "received": 0, "last": 0, "last_started_at": -1}
        )
        existing["runs"] += 1
        existing["sent"] += row["sent"]
        existing["received"] += row["received"]
        if _is_newer(row["started_at"], existing["last_started_at"], now):
            existing["last"], existing["last_started_at"] = row["number"], row["started_at"]
    for key, added in sums.items():
        _add(connection, key, added, now)


def _add(connection: Connection, key: Key, added: dict[str, int], now: int) -> None:
    table = t.tallies
    here = [column == value for column, value in zip(table.primary_key.columns, key, strict=True)]
    existing = connection.execute(select(table).where(*here)).first()
    if existing is None:
        names = [column.name for column in table.primary_key.columns]
        connection.execute(insert(table).values(**dict(zip(names, key, strict=True)), **added))
        return
    if not _is_newer(added["last_started_at"], existing.last_started_at, now):  # handed in late
        added |= {"last": existing.last, "last_started_at": existing.last_started_at}
    for name in ("runs", "sent", "received"):
        added[name] += getattr(existing, name)
    connection.execute(update(table).where(*here).values(**added))


def _is_newer(at: int, known: int, now: int) -> bool:
    """See `clock.is_newer`; times in ms."""
    return at >= known or known > now + _LEAST_AHEAD_MS >= at

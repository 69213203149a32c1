"""Prunes old measurements, whole sealed hours at a time, so that the chain stays verifiable.

Bandwidth tests, conference calls, states, events and drills are few and are never pruned. Runs of
every minute are pruned; for each day their number and the spread of their values remain. Each
pruned hour is an event of its own, which the chain seals (`pruning`).
"""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from jharnet_monitor.clock import Clock
from jharnet_monitor.judge.latency import percentile
from jharnet_monitor.model import ROUND_TRIPS
from jharnet_monitor.store import tables as t
from jharnet_monitor.store.bulk_reader import Block, BulkReader
from jharnet_monitor.store.chain import Chain, ChainLink
from jharnet_monitor.store.engine import reading, writing
from jharnet_monitor.store.interned_json import note_unused
from jharnet_monitor.store.packed_reader import PackedReader
from jharnet_monitor.store.pruning import OF_THE_DATABASE, PRUNED, pruning_data
from jharnet_monitor.store.rows import canonical

log = logging.getLogger(__name__)

QUARTER_MS = 900_000


@dataclass(frozen=True, slots=True)
class PrunedDay:
    """What remains of an office's day: runs by outcome, and the spread of each quantity.

    `values` holds `n`, `sum`, `min`, `p5`, `p50`, `p95` and `max` of each quantity.
    """

    day: date
    office: str
    probe: str
    path: str
    outcomes: Mapping[str, int]
    values: Mapping[str, Mapping[str, float]]


class Retention:
    """Prunes one database, and reads what remains of the pruned days."""

    def __init__(
        self, engine: Engine, clock: Clock, chain: Chain, reader: BulkReader, packed: PackedReader
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._chain = chain
        self._reader = reader
        self._packed = packed

    def prune(self, before: datetime, zone: tzinfo, prunable: Collection[str]) -> int:
        """Remove the records of hours that ended by `before`; returns the number of records.

        The days that remain as summaries are those of the time zone. Only measurements of the
        probes in `prunable` are removed.
        """
        removed = 0
        for link in self._chain.links(until=before - timedelta(hours=1, milliseconds=-1)):
            kinds = (set(link.parts) & set(prunable)) - set(link.pruned)
            if kinds:
                removed += self._prune_hour(link, kinds, zone)
        return removed

    def days(
        self, since: date, until: date, office: str | None = None, probe: str | None = None
    ) -> list[PrunedDay]:
        """The summaries of pruned days within [since, until)."""
        table = t.days
        query = select(table).where(table.c.day >= since, table.c.day < until)
        for column, wanted in ((table.c.office, office), (table.c.probe, probe)):
            if wanted is not None:
                query = query.where(column == wanted)
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(*table.primary_key.columns)).all()
        return [PrunedDay(r.day, r.office, r.probe, r.path, **json.loads(r.body)) for r in rows]

    def _prune_hour(self, link: ChainLink, kinds: set[str], zone: tzinfo) -> int:
        m, p, trips = t.measurements, t.packed_series, t.packed_round_trips
        with writing(self._engine) as connection:
            kinds = self._unchanged(connection, link, kinds)
            within = (m.c.number > link.previous_rows.get(m.name, 0),
                      m.c.number <= link.last_rows[m.name])  # fmt: skip
            rows, packed = (*within, m.c.probe.in_(kinds)), (
                p.c.link == link.number, p.c.probe.in_(kinds))  # fmt: skip
            days = _days_of_rows(connection, rows, zone)
            for key in days | self._days_of_packed(connection, link, kinds, zone):
                self._keep_day(connection, key, zone)
            count = select(func.coalesce(func.sum(p.c.rows), 0)).where(*packed)
            removed = int(connection.execute(count).scalar_one())
            connection.execute(delete(p).where(*packed))
            unpacked = connection.execute(delete(m).where(*rows)).rowcount
            if unpacked:
                note_unused(connection)
            removed += unpacked
            if ROUND_TRIPS in kinds:
                connection.execute(delete(trips).where(trips.c.link == link.number))
                others = update(m).where(*within, m.c.round_trips.is_not(None))
                connection.execute(others.values(round_trips=None))
            if kinds:
                self._note(connection, link, kinds)
        return removed

    def _unchanged(self, connection: Connection, link: ChainLink, kinds: set[str]) -> set[str]:
        """Those kinds whose records are as they were sealed: pruning must not hide a change."""
        sealed, found = link.parts, self._chain.parts_now(connection, link)
        changed = sorted(kind for kind in kinds if found.get(kind) != sealed[kind])
        if changed:
            log.error(
                "%s of the hour from %s UTC differ from what was sealed and are not pruned;"
                " `jharnet-monitor db verify` names them",
                ", ".join(changed), f"{link.begin:%Y-%m-%d %H:%M}",
            )  # fmt: skip
        # A row holds its round trips, too, so it must stay if those are changed.
        return set() if ROUND_TRIPS in changed else kinds - set(changed)

    def _note(self, connection: Connection, link: ChainLink, kinds: set[str]) -> None:
        """Mark the kinds of the hour as pruned, and add the event that the chain seals."""
        now = t.to_ms(self._clock.now())
        pruned = {kind: t.to_ms(at) for kind, at in link.pruned.items()}
        connection.execute(
            update(t.chunks)
            .where(t.chunks.c.number == link.number)
            .values(pruned=canonical(pruned | dict.fromkeys(kinds, now)))
        )
        records = {kind: link.parts[kind].records for kind in kinds}
        connection.execute(
            insert(t.events).values(
                office=OF_THE_DATABASE,
                kind=PRUNED,
                at=now,
                data=canonical(pruning_data(link.root, link.begin, records)),
                recorded_at=now,
            )
        )

    def _days_of_packed(
        self, connection: Connection, link: ChainLink, kinds: set[str], zone: tzinfo
    ) -> set[_Key]:
        """The days, offices and probes of the packed measurements of an hour."""
        p = t.packed_series.c
        query = select(p.number, p.office, p.probe, p.begin, p["last"]).where(
            p.link == link.number, p.probe.in_(kinds)
        )
        found: set[_Key] = set()
        for number, office, probe, begin, last in connection.execute(query).all():
            ends = {_day(begin, zone), _day(last, zone)}
            if len(ends) > 1:
                ends = {_day(at, zone) for at in self._packed.starts(connection, number)}
            found |= {(day, office, probe) for day in ends}
        return found

    def _keep_day(self, connection: Connection, key: _Key, zone: tzinfo) -> None:
        """Store the summary of a day before the first of its records is removed."""
        day, office, probe = key
        table = t.days
        here = (table.c.day == day, table.c.office == office, table.c.probe == probe)
        if connection.execute(select(table.c.day).where(*here).limit(1)).first():
            return
        begin = datetime.combine(day, time(), zone)
        end = datetime.combine(day + timedelta(days=1), time(), zone)
        paths: dict[str, list[Block]] = {}
        for block in self._reader.blocks(office, probe, begin, end):
            paths.setdefault(block.path, []).append(block)
        for path, blocks in paths.items():
            row = {"day": day, "office": office, "probe": probe, "path": path}
            connection.execute(insert(table).values(**row, body=canonical(_remains(blocks))))


_Key = tuple[date, str, str]
"""Day, office, probe."""


def cutoff(now: datetime, keep_seconds: float, zone: tzinfo) -> datetime:
    """The midnight from which on all measurements are kept."""
    today = datetime.combine(now.astimezone(zone), time(), zone)
    return today - timedelta(seconds=keep_seconds)


def _day(at: int, zone: tzinfo) -> date:
    return t.from_ms(at).astimezone(zone).date()


def _days_of_rows(connection: Connection, here: Sequence[Any], zone: tzinfo) -> set[_Key]:
    """The days, offices and probes of the rows that match."""
    m = t.measurements
    quarter = m.c.started_at // QUARTER_MS  # no time zone has its midnight within a quarter
    rows = connection.execute(select(quarter, m.c.office, m.c.probe).where(*here).distinct())
    return {(_day(number * QUARTER_MS, zone), office, probe) for number, office, probe in rows}


def _remains(blocks: Iterable[Block]) -> dict[str, Any]:
    outcomes: Counter[str] = Counter()
    columns: dict[str, list[float]] = {}
    for block in blocks:
        outcomes[block.outcome.value] += block.count
        for name, column in block.values.items():
            columns.setdefault(name, []).extend(column)
    return {"outcomes": outcomes, "values": {n: _spread(c) for n, c in columns.items()}}


def _spread(column: Iterable[float]) -> dict[str, float]:
    ordered = sorted(column)
    shares = {f"p{share}": percentile(ordered, share / 100) for share in (5, 50, 95)}
    return {
        "n": len(ordered), "sum": math.fsum(ordered), "min": ordered[0], "max": ordered[-1],
        **shares,
    }  # fmt: skip

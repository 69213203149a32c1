"""The event log: changes of state, agents joining and leaving, maintenance windows, drills.

Nothing is overwritten: what is found out later is a new record that supersedes an old one.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Row, func, insert, or_, select

from jharnet_monitor.clock import Clock
from jharnet_monitor.judge.conference.drill import Drill
from jharnet_monitor.model import OfficeState
from jharnet_monitor.store import tables as t
from jharnet_monitor.store.engine import reading, writing
from jharnet_monitor.store.rows import canonical

EVERY_OFFICE = "*"
"""In place of an office's id: an event that concerns all offices."""
WITHDRAWN = "maintenance_withdrawn"
"""The kind of event that ends a planned window before its time."""


@dataclass(frozen=True, slots=True)
class Transition:
    """An office's state from `at` on. One that `supersedes` another holds the state from `at` to
    `until` as it was found out later."""

    number: int
    office: str
    state: OfficeState
    at: datetime
    until: datetime | None
    evidence: Mapping[str, Any]
    recorded_at: datetime
    supersedes: int | None = None


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event of an agent or of the hub: `joined`, `left`, `goodbye`, `hub_started` …"""

    office: str
    kind: str
    at: datetime
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Window:
    """Planned maintenance of an office, or of all offices if `office` is None."""

    office: str | None
    begin: datetime
    end: datetime
    reason: str
    announced: datetime | None = None
    """When it was stored; None before."""
    number: int | None = None
    withdrawn: datetime | None = None
    """When it was withdrawn; None if it was not."""

    @property
    def counts_from(self) -> datetime:
        """An outage before the announcement was not planned, so the window counts from there."""
        return self.begin if self.announced is None else max(self.begin, self.announced)

    @property
    def counts_until(self) -> datetime:
        """An outage after the withdrawal was not planned."""
        return self.end if self.withdrawn is None else min(self.end, self.withdrawn)


class EventLog:
    """The event log of one database."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def add_transition(
        self,
        office: str,
        state: OfficeState,
        at: datetime,
        evidence: Mapping[str, Any],
        until: datetime | None = None,
        supersedes: int | None = None,
    ) -> int:
        """Store a change of state; returns its number."""
        row = insert(t.transitions).values(
            office=office,
            state=state.value,
            at=t.to_ms(at),
            until=None if until is None else t.to_ms(until),
            evidence=canonical(dict(evidence)),
            recorded_at=t.to_ms(self._clock.now()),
            supersedes=supersedes,
        )
        with writing(self._engine) as connection:
            return int(connection.execute(row.returning(t.transitions.c.number)).scalar_one())

    def transitions(
        self, office: str, since: datetime | None = None, until: datetime | None = None
    ) -> list[Transition]:
        """An office's changes within [since, until), after the one in force at `since`."""
        table = t.transitions
        query = select(table).where(table.c.office == office)
        if until is not None:
            query = query.where(table.c.at < t.to_ms(until))
        with reading(self._engine) as connection:
            if since is not None:
                first = (
                    select(table.c.at)
                    .where(table.c.office == office, table.c.at <= t.to_ms(since))
                    .where(table.c.supersedes.is_(None))
                    .order_by(table.c.at.desc())
                    .limit(1)
                )
                begin = connection.execute(first).scalar_one_or_none()
                query = query.where(table.c.at >= (t.to_ms(since) if begin is None else begin))
            rows = connection.execute(query.order_by(table.c.at, table.c.number)).all()
        return [_transition(row) for row in rows]

    def has_transition(self, office: str, state: OfficeState, at: datetime) -> bool:
        """Whether this change of state, as it was seen live, is stored."""
        table = t.transitions
        query = select(table.c.number).where(
            table.c.office == office,
            table.c.at == t.to_ms(at),
            table.c.state == state.value,
            table.c.supersedes.is_(None),
        )
        with reading(self._engine) as connection:
            return connection.execute(query.limit(1)).scalar() is not None

    def last_transitions(self) -> dict[str, Transition]:
        """The newest state of every office, as it was seen live."""
        table = t.transitions
        newest = (
            select(func.max(table.c.number))
            .where(table.c.supersedes.is_(None))
            .group_by(table.c.office)
        )
        query = select(table).where(table.c.number.in_(newest))
        with reading(self._engine) as connection:
            return {row.office: _transition(row) for row in connection.execute(query)}

    def states_seen(
        self, since: datetime, or_after: Collection[OfficeState]
    ) -> dict[str, list[tuple[OfficeState, datetime]]]:
        """Every office's states as they were seen live, in order: those from `since` on, and all
        since it last was in one of the states `or_after`."""
        table, earlier = t.transitions, t.transitions.alias()
        # Grouped before the join: a subquery of each row would read the office's rows every time.
        last = (
            select(earlier.c.office, func.max(earlier.c.number).label("number"))
            .where(earlier.c.supersedes.is_(None))
            .where(earlier.c.state.in_([state.value for state in or_after]))
            .group_by(earlier.c.office)
            .subquery()
        )
        query = (
            select(table.c.office, table.c.state, table.c.at)
            .outerjoin(last, last.c.office == table.c.office)
            .where(table.c.supersedes.is_(None))
            .where(
                or_(
                    table.c.at >= t.to_ms(since),
                    table.c.number >= func.coalesce(last.c.number, 0),
                )
            )
            .order_by(table.c.number)
        )
        found: dict[str, list[tuple[OfficeState, datetime]]] = {}
        with reading(self._engine) as connection:
            for row in connection.execute(query):
                seen = (OfficeState(row.state), t.from_ms(row.at))
                found.setdefault(row.office, []).append(seen)
        return found

    def add_event(self, office: str, kind: str, at: datetime, data: Mapping[str, Any]) -> None:
        """Store an event."""
        row = insert(t.events).values(
            office=office,
            kind=kind,
            at=t.to_ms(at),
            data=canonical(dict(data)),
            recorded_at=t.to_ms(self._clock.now()),
        )
        with writing(self._engine) as connection:
            connection.execute(row)

    def has_event(self, office: str, kind: str, at: datetime) -> bool:
        """Whether this event is stored."""
        table = t.events
        query = select(table.c.number).where(
            table.c.office == office, table.c.at == t.to_ms(at), table.c.kind == kind
        )
        with reading(self._engine) as connection:
            return connection.execute(query.limit(1)).scalar() is not None

    def events(
        self,
        office: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[LoggedEvent]:
        """Events within [since, until), in order."""
        table = t.events
        query = select(table).order_by(table.c.at, table.c.number)
        if office is not None:
            query = query.where(table.c.office == office)
        if since is not None:
            query = query.where(table.c.at >= t.to_ms(since))
        if until is not None:
            query = query.where(table.c.at < t.to_ms(until))
        with reading(self._engine) as connection:
            return [_event(row) for row in connection.execute(query)]

    def events_of_kind(self, kind: str) -> list[LoggedEvent]:
        """All events of a kind, in the order in which they were stored."""
        table = t.events
        query = select(table).where(table.c.kind == kind).order_by(table.c.number)
        with reading(self._engine) as connection:
            return [_event(row) for row in connection.execute(query)]

    def events_before(self, office: str, before: datetime, count: int) -> list[LoggedEvent]:
        """The last `count` events of an office before a moment, in order."""
        table = t.events
        query = (
            select(table)
            .where(table.c.office == office, table.c.at < t.to_ms(before))
            .order_by(table.c.at.desc(), table.c.number.desc())
            .limit(count)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
        return [_event(row) for row in rows[::-1]]

    def last_event(
        self, office: str, kind: str, until: datetime | None = None, holding: str = ""
    ) -> LoggedEvent | None:
        """The last event of a kind that was stored, up to a moment, with `holding` in its data."""
        table = t.events
        query = select(table).where(table.c.office == office, table.c.kind == kind)
        if until is not None:
            query = query.where(table.c.at <= t.to_ms(until))
        if holding:
            query = query.where(table.c.data.contains(holding, autoescape=True))
        with reading(self._engine) as connection:
            row = connection.execute(query.order_by(table.c.number.desc()).limit(1)).first()
        return None if row is None else _event(row)

    def add_window(self, window: Window) -> int:
        """Store a planned window; returns its number."""
        row = insert(t.windows).values(
            office=window.office,
            begin=t.to_ms(window.begin),
            end=t.to_ms(window.end),
            reason=window.reason,
            recorded_at=t.to_ms(self._clock.now()),
        )
        with writing(self._engine) as connection:
            return int(connection.execute(row.returning(t.windows.c.number)).scalar_one())

    def withdraw_window(self, window: Window, at: datetime) -> None:
        """Withdraw a stored window: from `at` on it no longer counts, but it stays on record."""
        self.add_event(window.office or EVERY_OFFICE, WITHDRAWN, at, {"window": window.number})

    def windows(self, since: datetime, until: datetime, office: str | None = None) -> list[Window]:
        """Windows that overlap [since, until): all, or those of one office and for all offices.

        One that was withdrawn overlaps only what came before.
        """
        return [
            window
            for window in self.announced_windows(since, until, office)
            if window.counts_until > max(since, window.begin)
        ]

    def announced_windows(
        self, since: datetime, until: datetime, office: str | None = None
    ) -> list[Window]:
        """As `windows`, with those that were withdrawn before."""
        table = t.windows
        query = select(table).where(table.c.begin < t.to_ms(until), table.c.end > t.to_ms(since))
        if office is not None:
            query = query.where(or_(table.c.office == office, table.c.office.is_(None)))
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(table.c.begin, table.c.number)).all()
        withdrawn = self._withdrawals() if rows else {}
        return [
            Window(
                r.office, t.from_ms(r.begin), t.from_ms(r.end), r.reason, t.from_ms(r.recorded_at),
                r.number, withdrawn.get(r.number),
            )
            for r in rows
        ]  # fmt: skip

    def _withdrawals(self) -> dict[int, datetime]:
        """When each window was withdrawn first, by its number."""
        found: dict[int, datetime] = {}
        for event in self.events_of_kind(WITHDRAWN):
            found.setdefault(event.data["window"], event.at)
        return found

    def add_drill(self, drill: Drill) -> None:
        """Store a drill as it stands now; its older rows stay."""
        row = insert(t.drills).values(
            id=drill.id,
            started_at=t.to_ms(drill.started_at),
            body=canonical(drill.to_json()),
            recorded_at=t.to_ms(self._clock.now()),
        )
        with writing(self._engine) as connection:
            connection.execute(row)

    def drills(self, since: datetime, until: datetime) -> list[Drill]:
        """Drills that began within [since, until), as they stand now."""
        table = t.drills
        newest = select(func.max(table.c.number)).group_by(table.c.id)
        query = (
            select(table.c.body)
            .where(table.c.started_at >= t.to_ms(since), table.c.started_at < t.to_ms(until))
            .where(table.c.number.in_(newest))
            .order_by(table.c.started_at)
        )
        with reading(self._engine) as connection:
            return [_drill(body) for body in connection.execute(query).scalars()]

    def newest_drill(self) -> Drill | None:
        """The drill that began last, as it stands now."""
        table = t.drills
        query = select(table.c.body).order_by(table.c.started_at.desc(), table.c.number.desc())
        with reading(self._engine) as connection:
            body = connection.execute(query.limit(1)).scalar()
        return None if body is None else _drill(body)

    def drill(self, drill_id: str) -> Drill | None:
        """A drill by its id, as it stands now."""
        table = t.drills
        query = select(table.c.body).where(table.c.id == drill_id)
        with reading(self._engine) as connection:
            body = connection.execute(query.order_by(table.c.number.desc()).limit(1)).scalar()
        return None if body is None else _drill(body)


def _event(row: Row[Any]) -> LoggedEvent:
    return LoggedEvent(row.office, row.kind, t.from_ms(row.at), json.loads(row.data))


def _drill(body: str) -> Drill:
    return Drill.from_json(json.loads(body))


def _transition(row: Row[Any]) -> Transition:
    return Transition(
        row.number,
        row.office,
        OfficeState(row.state),
        t.from_ms(row.at),
        None if row.until is None else t.from_ms(row.until),
        json.loads(row.evidence),
        t.from_ms(row.recorded_at),
        row.supersedes,
    )

"""The event log: changes of state, agents joining and leaving, maintenance windows, drills.

Nothing is overwritten: what is found out later is a new record that supersedes an old one.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Engine, Row, Select, bindparam, func, insert, or_, select

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
_NEWEST_OF_EACH = 20
"""Rows read per office in the hope of finding the newest state of each among them."""
_EARLIER = timedelta(days=1)
"""How long before a change what is found out about it is looked for; mostly it is some seconds."""
_CLOCK_STEP = timedelta(days=2)
"""The longest time by which a clock that was set back is allowed for."""
_STATES = {state.value: state for state in OfficeState}
"""By their stored names: to look one up takes a tenth of the time of `OfficeState(…)`."""


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


class RecordedState(NamedTuple):
    """What the states of an office are made of: a `Transition` without its evidence."""

    number: int
    state: OfficeState
    at: datetime
    until: datetime | None
    supersedes: int | None


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
        """An office's changes within [since, until), after the one in force at `since`, each with
        what was found out about it, though that may begin earlier."""
        table = t.transitions
        query = select(table).where(table.c.office == office)
        if until is not None:
            query = query.where(table.c.at < t.to_ms(until))
        with reading(self._engine) as connection:
            begin = {}
            if since is not None:
                first = connection.execute(_in_force(since), {"one": office}).one_or_none()
                query, begin = query.where(*_from_begin()), _begin(first, since)
            rows = connection.execute(query.order_by(table.c.at, table.c.number), begin).all()
        return [_transition(row) for row in rows]

    def recorded_states(
        self, offices: Iterable[str], since: datetime, until: datetime
    ) -> Iterator[list[RecordedState]]:
        """The same changes as `transitions`, of each of the offices in turn, without evidence."""
        table = t.transitions.c
        changes = (
            select(table.number, table.state, table.at, table.until, table.supersedes)
            .where(table.office == bindparam("one"), *_from_begin(), table.at < t.to_ms(until))
            .order_by(table.at, table.number)
        )
        with reading(self._engine) as connection:
            for one in offices:
                first = connection.execute(_in_force(since), {"one": one}).one_or_none()
                after = {"one": one, **_begin(first, since)}
                yield [
                    RecordedState(
                        number, _STATES[state], t.from_ms(at),
                        None if end is None else t.from_ms(end), supersedes,
                    )
                    for number, state, at, end, supersedes in connection.execute(changes, after)
                ]  # fmt: skip

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

    def add_missing_transitions(
        self,
        since: Mapping[str, datetime],
        state: OfficeState,
        evidence: Mapping[str, Any],
    ) -> None:
        """Store the same change of state for many offices, each since its time, except for those
        that have it."""
        table, text = t.transitions, canonical(dict(evidence))
        present = select(table.c.office).where(
            table.c.office == bindparam("office_id"),
            table.c.at == bindparam("moment"),
            table.c.state == state.value,
            table.c.supersedes.is_(None),
        )
        recorded = t.to_ms(self._clock.now())
        with writing(self._engine) as connection:
            rows = [
                {"office": office, "state": state.value, "at": t.to_ms(at), "evidence": text,
                 "recorded_at": recorded}
                for office, at in since.items()
                if connection.execute(
                    present, {"office_id": office, "moment": t.to_ms(at)}
                ).first() is None
            ]  # fmt: skip
            if rows:
                connection.execute(insert(table), rows)

    def last_transitions(self, offices: Collection[str]) -> dict[str, Transition]:
        """The newest state of each of the offices, as it was seen live.

        A year has hundreds of thousands of rows. The newest rows of most offices are among the last
        ones, so these are read first; the other offices are looked up one by one.
        """
        table, missing = t.transitions, set(offices)
        live = select(table).where(table.c.supersedes.is_(None)).order_by(table.c.number.desc())
        found: dict[str, Transition] = {}
        with reading(self._engine) as connection:
            for row in connection.execute(live.limit(_NEWEST_OF_EACH * len(missing))):
                if row.office in missing:
                    missing.remove(row.office)
                    found[row.office] = _transition(row)
            newest = live.where(table.c.office == bindparam("office_id")).limit(1)
            for office in missing:
                for row in connection.execute(newest, {"office_id": office}):
                    found[office] = _transition(row)
        return found

    def states_seen(
        self, offices: Iterable[str], since: datetime, or_after: Collection[OfficeState]
    ) -> dict[str, list[tuple[OfficeState, datetime]]]:
        """States of each of the offices as they were seen live, in order: those from `since` on,
        and all since it last was in one of the states `or_after`."""
        table = t.transitions
        live = select(table.c.state, table.c.at).where(
            table.c.office == bindparam("office_id"), table.c.supersedes.is_(None)
        )
        last = (
            live.where(table.c.state.in_([state.value for state in or_after]))
            .order_by(table.c.at.desc(), table.c.number.desc())
            .limit(1)
        )
        later = live.where(table.c.at >= bindparam("begin")).order_by(table.c.number)
        found: dict[str, list[tuple[OfficeState, datetime]]] = {}
        with reading(self._engine) as connection:
            for office in offices:
                row = connection.execute(last, {"office_id": office}).first()
                begin = 0 if row is None else min(row.at, t.to_ms(since))
                rows = connection.execute(later, {"office_id": office, "begin": begin})
                seen = [(OfficeState(row.state), t.from_ms(row.at)) for row in rows]
                if seen:
                    found[office] = seen
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

    def has_event(self, office: str, kind: str, at: datetime, data: Mapping[str, Any]) -> bool:
        """Whether this event is stored. Another one of its kind may have the same time."""
        table = t.events
        query = select(table.c.number).where(
            table.c.office == office,
            table.c.at == t.to_ms(at),
            table.c.kind == kind,
            table.c.data == canonical(dict(data)),
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

    def events_of_kind(
        self,
        kind: str,
        offices: Collection[str] | None = None,
        since: datetime | None = None,
    ) -> list[LoggedEvent]:
        """All events of a kind, in the order in which they were stored.

        With `offices` and `since`, only those of these offices from a moment on.
        """
        table = t.events
        query = select(table).where(table.c.kind == kind).order_by(table.c.number)
        if offices is not None:
            query = query.where(table.c.office.in_(offices))
        if since is not None:
            query = query.where(table.c.at >= t.to_ms(since))
        with reading(self._engine) as connection:
            return [_event(row) for row in connection.execute(query)]

    def events_before(
        self, office: str, before: datetime, count: int, holding: str = ""
    ) -> list[LoggedEvent]:
        """The last `count` events of an office before a moment, with `holding` in their data, in
        order."""
        table = t.events
        query = (
            select(table)
            .where(table.c.office == office, table.c.at < t.to_ms(before))
            .order_by(table.c.at.desc(), table.c.number.desc())
            .limit(count)
        )
        if holding:
            query = query.where(table.c.data.contains(holding, autoescape=True))
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
        return [_event(row) for row in rows[::-1]]

    def last_event_kinds(
        self, offices: Iterable[str], kinds: Collection[str], before: datetime
    ) -> dict[str, str]:
        """The kind of the last event of each of the offices that is of one of these kinds."""
        table = t.events
        query = (
            select(table.c.kind)
            .where(table.c.office == bindparam("office_id"), table.c.kind.in_(kinds))
            .where(table.c.at < t.to_ms(before))
            .order_by(table.c.at.desc(), table.c.number.desc())
            .limit(1)
        )
        with reading(self._engine) as connection:
            found = {
                office: connection.execute(query, {"office_id": office}).scalar()
                for office in offices
            }
        return {office: kind for office, kind in found.items() if kind is not None}

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
        withdrawn = self._withdrawals(rows) if rows else {}
        return [
            Window(
                r.office, t.from_ms(r.begin), t.from_ms(r.end), r.reason, t.from_ms(r.recorded_at),
                r.number, withdrawn.get(r.number),
            )
            for r in rows
        ]  # fmt: skip

    def _withdrawals(self, windows: Sequence[Row[Any]]) -> dict[int, datetime]:
        """When each of the windows was withdrawn first, by its number."""
        offices = {window.office or EVERY_OFFICE for window in windows}
        announced = t.from_ms(min(window.recorded_at for window in windows))
        found: dict[int, datetime] = {}
        # The clock may have been set back between announcing and withdrawing.
        for event in self.events_of_kind(WITHDRAWN, offices, announced - _CLOCK_STEP):
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


def _in_force(since: datetime) -> Select[Any]:
    """The live change of an office (`one`) that was in force at `since`: time and number."""
    table = t.transitions.c
    return (
        select(table.at, table.number)
        .where(table.office == bindparam("one"), table.at <= t.to_ms(since))
        .where(table.supersedes.is_(None))
        .order_by(table.at.desc())
        .limit(1)
    )


def _from_begin() -> tuple[ColumnElement[bool], ...]:
    """The changes from `begin` on, and what supersedes those with this `number` and later ones."""
    table = t.transitions.c
    found_out = table.supersedes >= bindparam("number")
    return table.at >= bindparam("earliest"), or_(table.at >= bindparam("begin"), found_out)


def _begin(in_force: Row[Any] | None, since: datetime) -> dict[str, int]:
    """The parameters of `_from_begin`."""
    begin = t.to_ms(since) if in_force is None else in_force.at
    number = 0 if in_force is None else in_force.number
    earliest = begin - _EARLIER // timedelta(milliseconds=1)
    return {"begin": begin, "number": number, "earliest": earliest}


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

"""The kinds of records that a running hub writes into its database, and that can wait on disk."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from jharnet_monitor.hub.outage_attribution import ALL_OFFICES
from jharnet_monitor.judge.conference.drill import Drill
from jharnet_monitor.model import Measurement, OfficeState, format_utc, parse_utc
from jharnet_monitor.store import Store

HEARTBEAT_KEY = "beat"


class Record(Protocol):
    """Something to be written into the database."""

    def write(self, store: Store) -> None:
        """Write it; writing it again has no effect. Blocks; raises `StoreError`."""

    def to_json(self) -> dict[str, Any]:
        """JSON data from which `_READERS` restore the record."""


@dataclass(frozen=True, slots=True)
class MeasurementRecord:
    """A measurement of the hub's own."""

    measurement: Measurement

    def write(self, store: Store) -> None:
        """See `Record`."""
        store.add([self.measurement])

    def to_json(self) -> dict[str, Any]:
        """See `Record`."""
        return self.measurement.to_json()


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event of an office or of the hub."""

    office: str
    kind: str
    at: datetime
    data: Mapping[str, Any]

    def write(self, store: Store) -> None:
        """See `Record`."""
        store.event_log.add_event(self.office, self.kind, self.at, self.data)

    def to_json(self) -> dict[str, Any]:
        """See `Record`."""
        return {"office": self.office, "kind": self.kind, "at": format_utc(self.at),
                "data": dict(self.data)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StateRecord:
    """A change of an office's state, with its evidence."""

    office: str
    state: OfficeState
    at: datetime
    evidence: Mapping[str, Any]

    def write(self, store: Store) -> None:
        """See `Record`."""
        store.event_log.add_transition(self.office, self.state, self.at, self.evidence)

    def to_json(self) -> dict[str, Any]:
        """See `Record`."""
        return {"office": self.office, "state": self.state.value, "at": format_utc(self.at),
                "evidence": dict(self.evidence)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class DrillRecord:
    """A drill that has ended."""

    drill: Drill

    def write(self, store: Store) -> None:
        """See `Record`."""
        store.event_log.add_drill(self.drill)

    def to_json(self) -> dict[str, Any]:
        """See `Record`."""
        return self.drill.to_json()


@dataclass(frozen=True, slots=True)
class ValueRecord:
    """A value that survives a restart: a time, of which only the newest of a key matters."""

    key: str
    at: datetime

    def write(self, store: Store) -> None:
        """See `Record`."""
        store.set_value(self.key, format_utc(self.at))

    def to_json(self) -> dict[str, Any]:
        """See `Record`."""
        return {"key": self.key, "value": format_utc(self.at)}


@dataclass(frozen=True, slots=True)
class StartRecord:
    """A start of the hub: nothing was monitored since its last heartbeat. `beat` is a heartbeat
    that waited on disk when the hub started; the database may have a later one.
    """

    at: datetime
    offices: Sequence[str]
    beat: datetime | None = None

    def write(self, store: Store) -> None:
        """See `Record`."""
        stored = store.get_value(HEARTBEAT_KEY)
        beats = [self.beat, None if stored is None else parse_utc(stored)]
        last = max((beat for beat in beats if beat is not None), default=None)
        if last is not None:
            self._write_stop(store, min(last, self.at))
        if not store.event_log.has_event(ALL_OFFICES, "hub_started", self.at, {}):
            store.event_log.add_event(ALL_OFFICES, "hub_started", self.at, {})

    def _write_stop(self, store: Store, stopped: datetime) -> None:
        log = store.event_log
        if not log.has_event(ALL_OFFICES, "hub_stopped", stopped, {}):
            log.add_event(ALL_OFFICES, "hub_stopped", stopped, {})
        known = log.last_transitions(self.offices)
        # A change within the seconds between the last heartbeat and a crash ends there.
        since = {o: max(stopped, seen.at) for o, seen in known.items() if seen.at <= self.at}
        evidence = {"until": format_utc(self.at)}
        log.add_missing_transitions(since, OfficeState.MONITOR_DOWN, evidence)

    def to_json(self) -> dict[str, Any]:
        """See `Record`."""
        beat = None if self.beat is None else format_utc(self.beat)
        return {"at": format_utc(self.at), "offices": list(self.offices), "beat": beat}


_READERS: Mapping[str, Callable[[Any], Record]] = {
    "StartRecord": lambda data: StartRecord(
        parse_utc(data["at"]), data["offices"], data["beat"] and parse_utc(data["beat"])
    ),
    "MeasurementRecord": lambda data: MeasurementRecord(Measurement.from_json(data)),
    "EventRecord": lambda data: EventRecord(
        data["office"], data["kind"], parse_utc(data["at"]), data["data"]
    ),
    "StateRecord": lambda data: StateRecord(
        data["office"], OfficeState(data["state"]), parse_utc(data["at"]), data["evidence"]
    ),
    "DrillRecord": lambda data: DrillRecord(Drill.from_json(data)),
    "ValueRecord": lambda data: ValueRecord(data["key"], parse_utc(data["value"])),
}


def write_out(record: Record) -> list[Any]:
    """A record as JSON data, which `read_record` reads."""
    return [type(record).__name__, record.to_json()]


def read_record(data: Any) -> Record:
    """A record from JSON data; any exception means that this version cannot read it."""
    kind, body = data
    return _READERS[kind](body)


def queue_name(record: Record) -> str:
    """The name under which a record waits in the queue, which holds one record of a name."""
    match record:
        case ValueRecord(key=key):
            return key
        case DrillRecord(drill=drill):
            return f"drill {drill.id}"
        case _:
            return uuid.uuid4().hex


def is_written(record: Record, store: Store) -> bool:
    """Whether a waiting record was already written, but not yet deleted when the hub ended.

    In a restored backup it may have been written long before, because the waiting records are
    copied before the database.
    """
    match record:
        case EventRecord(office=office, kind=kind, at=at, data=data):
            return store.event_log.has_event(office, kind, at, data)
        case StateRecord(office=office, state=state, at=at):
            return store.event_log.has_transition(office, state, at)
        case DrillRecord(drill=drill):
            return store.event_log.drill(drill.id) is not None
        case StartRecord(at=at):  # the part that is written last
            return store.event_log.has_event(ALL_OFFICES, "hub_started", at, {})
        case ValueRecord(key=key, at=at):
            stored = store.get_value(key)
            return stored is not None and parse_utc(stored) >= at
        case _:
            return False

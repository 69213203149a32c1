"""Converts measurements to rows and back; JSON columns are compact and canonical."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pydantic_core import from_json
from sqlalchemy import Connection, Row

from jharnet_monitor.model import Measurement, Outcome
from jharnet_monitor.store.interned_json import InternedJson
from jharnet_monitor.store.tables import from_ms, to_ms

MAX_BYTES = 2**53
"""More than any test can have spent; floats are exact up to it."""


class StoredRow(NamedTuple):
    """A measurement as it is stored; JSON columns are texts as the chain hashes them."""

    number: int
    id: str
    office: str
    probe: str
    path: str
    started_at: int
    recorded_at: int
    duration: float
    outcome: str
    cause: str | None
    conditions: str
    names: str
    values: str


class SpentBytes(NamedTuple):
    """Bytes of an office's budget, and when they were spent."""

    office: str
    began: datetime
    ended: datetime
    amount: int

    def is_within(self, since: datetime, until: datetime) -> bool:
        """Whether some of them may have been spent within [since, until)."""
        return self.began < until and self.ended >= since


def canonical(data: Any) -> str:
    """JSON with sorted keys and no spaces: the same data is always the same text."""
    return json.dumps(
        data, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )


def divided(conditions: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, int | float]]:
    """The conditions that many runs share, and those that are numbers, such as an uptime."""
    own = {name: one for name, one in conditions.items() if type(one) in (int, float)}
    return {name: one for name, one in conditions.items() if name not in own}, own


def merged(shared: str, own: str | None) -> str:
    """The JSON of all conditions, from that of both parts of `divided`; `own` is null for none."""
    return shared if own is None else canonical({**json.loads(shared), **json.loads(own)})


def path_of(measurement: Measurement) -> str:
    """The path, or the service, that was measured: the newest of each is found after a restart."""
    path = measurement.subject
    return path if path.isprintable() and len(path) <= 40 else "other"


def bytes_of(measurement: Measurement) -> int:
    """The bytes that the measurement took from the office's budget."""
    spent = measurement.values.get("bytes_spent", measurement.conditions.get("bytes_spent", 0))
    return int(spent) if isinstance(spent, int | float) and 0 <= spent < MAX_BYTES else 0


def to_rows(
    connection: Connection,
    interned: InternedJson,
    measurements: Sequence[Measurement],
    recorded_at: datetime,
) -> list[dict[str, Any]]:
    """The columns of measurements; names and the conditions that are no numbers are interned."""
    parts = [divided(m.conditions) for m in measurements]
    shared = [
        (canonical(conditions), canonical(sorted(m.values)))
        for m, (conditions, _) in zip(measurements, parts, strict=True)
    ]
    numbers = interned.intern(connection, (body for pair in shared for body in pair))
    return [
        {
            "id": m.id,
            "office": m.office,
            "probe": m.probe,
            "path": path_of(m),
            "started_at": to_ms(m.started_at),
            "recorded_at": to_ms(recorded_at),
            "duration": m.duration,
            "outcome": m.outcome.value,
            "cause": m.cause,
            "bytes_spent": bytes_of(m),
            "conditions": numbers[conditions],
            "own_conditions": canonical(own) if own else None,
            "names": numbers[names],
            "values": canonical([m.values[name] for name in sorted(m.values)]),
            "round_trips": canonical(list(m.round_trips)) if m.round_trips else None,
        }
        for m, (conditions, names), (_, own) in zip(measurements, shared, parts, strict=True)
    ]


def from_rows(
    connection: Connection, interned: InternedJson, rows: Sequence[Row[Any]]
) -> Iterator[Measurement]:
    """The measurements of these rows, in the same order."""
    place = rows[0]._fields.index("values") if rows else 0  # `row.values` is a method
    for row in rows:
        names = interned.value(connection, row.names)
        conditions, own = interned.value(connection, row.conditions), row.own_conditions
        yield Measurement(
            office=row.office,
            probe=row.probe,
            started_at=from_ms(row.started_at),
            duration=row.duration,
            outcome=Outcome(row.outcome),
            cause=row.cause,
            conditions=conditions if own is None else {**conditions, **from_json(own)},
            values=dict(zip(names, from_json(row[place]), strict=True)),
            id=row.id,
        )

"""Converts measurements to rows and back; JSON columns are compact and canonical."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from pydantic_core import from_json
from sqlalchemy import Connection, Row

from jharnet_monitor.model import Measurement, Outcome
from jharnet_monitor.store.interned_json import InternedJson
from jharnet_monitor.store.tables import from_ms, to_ms

MAX_BYTES = 2**53
"""More than any test can have spent; floats are exact up to it."""


def canonical(data: Any) -> str:
    """JSON with sorted keys and no spaces: the same data is always the same text."""
    return json.dumps(
        data, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )


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
    """The columns of measurements; their conditions and names are interned."""
    shared = [(canonical(dict(m.conditions)), canonical(sorted(m.values))) for m in measurements]
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
            "names": numbers[names],
            "values": canonical([m.values[name] for name in sorted(m.values)]),
        }
        for m, (conditions, names) in zip(measurements, shared, strict=True)
    ]


def from_rows(
    connection: Connection, interned: InternedJson, rows: Sequence[Row[Any]]
) -> Iterator[Measurement]:
    """The measurements of these rows, in the same order."""
    for row in rows:
        data = row._mapping
        names = interned.value(connection, data["names"])
        yield Measurement(
            office=data["office"],
            probe=data["probe"],
            started_at=from_ms(data["started_at"]),
            duration=data["duration"],
            outcome=Outcome(data["outcome"]),
            cause=data["cause"],
            conditions=interned.value(connection, data["conditions"]),
            values=dict(zip(names, from_json(data["values"]), strict=True)),
            id=data["id"],
        )

"""Measurements as rows and back; JSON columns are compact and canonical."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from jharnet_monitor.model import Measurement, Outcome
from jharnet_monitor.store.tables import from_ms, to_ms


def canonical(data: Any) -> str:
    """JSON with sorted keys and no spaces: the same data is always the same text."""
    return json.dumps(
        data, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )


def to_row(measurement: Measurement, recorded_at: datetime) -> dict[str, Any]:
    """The columns of a measurement."""
    return {
        "id": measurement.id,
        "office": measurement.office,
        "probe": measurement.probe,
        "path": measurement.path,
        "started_at": to_ms(measurement.started_at),
        "recorded_at": to_ms(recorded_at),
        "duration": measurement.duration,
        "outcome": measurement.outcome.value,
        "cause": measurement.cause,
        "bytes_spent": measurement.bytes_spent,
        "conditions": canonical(dict(measurement.conditions)),
        "values": canonical(dict(measurement.values)),
    }


def from_row(row: Row[Any] | Mapping[str, Any]) -> Measurement:
    """The measurement of a row."""
    data = row if isinstance(row, Mapping) else row._mapping
    return Measurement(
        office=data["office"],
        probe=data["probe"],
        started_at=from_ms(data["started_at"]),
        duration=data["duration"],
        outcome=Outcome(data["outcome"]),
        cause=data["cause"],
        conditions=json.loads(data["conditions"]),
        values=json.loads(data["values"]),
        id=data["id"],
    )

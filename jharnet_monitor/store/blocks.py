"""Measurements as columns for reports, made from the columns of packed hours."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from jharnet_monitor.model import Outcome
from jharnet_monitor.store import tables as t
from jharnet_monitor.store.packed_reader import Wanted
from jharnet_monitor.store.packed_series import Group, PackedSeries
from jharnet_monitor.store.rows import canonical


@dataclass(frozen=True, slots=True)
class Block:
    """Measurements of one office and probe that differ only in their values.

    `values` holds a column for each quantity; the same index in all columns is the same
    measurement. They are in no particular order. `first` and `last` are the earliest and the latest
    start. Conditions that are numbers, such as an uptime, may be missing in `conditions`. Several
    blocks may be alike.
    """

    office: str
    probe: str
    path: str
    outcome: Outcome
    conditions: Mapping[str, Any]
    first: datetime
    last: datetime
    count: int
    values: Mapping[str, Sequence[float]]
    starts: Sequence[int] = ()
    """The start of each measurement in ms since 1970, by the same index; only if asked for."""


@dataclass(frozen=True, slots=True)
class Extent:
    """The number of runs, and the start of the first and the last."""

    count: int
    first: datetime
    last: datetime


@dataclass(slots=True)
class _Columns:
    """The columns of a block that is being made."""

    conditions: Mapping[str, Any]
    starts: array[int] = field(default_factory=lambda: array("q"))
    values: dict[str, array[float]] = field(default_factory=dict)


def packed_blocks(
    hours: Iterable[PackedSeries], wanted: Wanted, *, starts: bool
) -> Iterator[Block]:
    """The blocks of the packed hours of one office and path.

    See `BulkReader.blocks`.
    """
    found: dict[tuple[Any, ...], _Columns] = {}
    office = probe = path = ""
    for hour in hours:
        office, probe, path = hour.office, hour.probe, hour.path
        for group in hour.groups:
            _add_group(found, group, wanted)
    for (outcome, _, _), columns in found.items():
        yield Block(
            office=office,
            probe=probe,
            path=path,
            outcome=Outcome(outcome),
            conditions=columns.conditions,
            first=t.from_ms(min(columns.starts)),
            last=t.from_ms(max(columns.starts)),
            count=len(columns.starts),
            values=columns.values,
            starts=columns.starts if starts else (),
        )


def _add_group(found: dict[tuple[Any, ...], _Columns], group: Group, wanted: Wanted) -> None:
    """Add those of a group that are wanted to the columns of their block."""
    shape = group.shape
    indices = [index for index, start in enumerate(group.starts) if wanted.covers(start)]
    if not indices:
        return
    key = (shape.outcome, canonical(dict(shape.conditions)), tuple(shape.names))
    columns = found.setdefault(key, _Columns(shape.conditions))
    whole = len(indices) == group.count
    columns.starts.extend(group.starts if whole else [group.starts[i] for i in indices])
    for name, column in group.values.items():
        figures = columns.values.setdefault(name, array("d"))
        figures.extend(column if whole else [column[i] for i in indices])

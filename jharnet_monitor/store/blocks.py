"""Measurements as columns for reports, made from the columns of packed hours."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from jharnet_monitor.model import Outcome
from jharnet_monitor.store import tables as t
from jharnet_monitor.store.column_batches import Part, unpack_starts, unpack_values
from jharnet_monitor.store.packed_reader import Wanted
from jharnet_monitor.store.packed_series import Group, PackedSeries


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
    durations: Sequence[float] = ()
    """The duration of each measurement in seconds, by the same index; only if asked for."""


@dataclass(frozen=True, slots=True)
class Extent:
    """The number of runs, and the start of the first and the last."""

    count: int
    first: datetime
    last: datetime


@dataclass(slots=True)
class _Columns:
    """The columns of a block, hour by hour."""

    conditions: Mapping[str, Any]
    starts: list[Part] = field(default_factory=list)
    durations: list[Part] = field(default_factory=list)
    values: dict[str, list[Part]] = field(default_factory=dict)


def packed_blocks(
    hours: Iterable[PackedSeries],
    wanted: Wanted,
    *,
    starts: bool,
    durations: bool,
    names: Collection[str] | None,
) -> Iterator[Block]:
    """The blocks of the packed hours of one office and path.

    See `BulkReader.blocks`.
    """
    found: dict[tuple[Any, ...], _Columns] = {}
    office = probe = path = ""
    for hour in hours:
        office, probe, path = hour.office, hour.probe, hour.path
        whole = hour.extent is not None and all(map(wanted.covers, hour.extent))
        for group in hour.groups:
            indices = None if whole else _indices(group, wanted)
            if indices is None or indices:
                _add_group(found, group, indices, names, durations=durations)
    for (outcome, _, _), columns in found.items():
        moments = unpack_starts(columns.starts)
        yield Block(
            office=office,
            probe=probe,
            path=path,
            outcome=Outcome(outcome),
            conditions=columns.conditions,
            first=t.from_ms(min(moments)),
            last=t.from_ms(max(moments)),
            count=len(moments),
            values={name: unpack_values(parts) for name, parts in columns.values.items()},
            starts=moments if starts else (),
            durations=unpack_values(columns.durations),
        )


def _indices(group: Group, wanted: Wanted) -> list[int] | None:
    """Which of a group are wanted; None for all."""
    indices = [n for n, start in enumerate(group.starts) if wanted.covers(start)]
    return None if len(indices) == group.count else indices


def _add_group(
    found: dict[tuple[Any, ...], _Columns],
    group: Group,
    indices: Sequence[int] | None,
    names: Collection[str] | None,
    *,
    durations: bool,
) -> None:
    """Add those of a group that are wanted to the columns of their block."""

    def some(column: Sequence[Any]) -> Sequence[Any]:
        return column if indices is None else [column[index] for index in indices]

    columns = found.get(key := group.shape.key)
    if columns is None:
        columns = found[key] = _Columns(group.shape.conditions)
    columns.starts.append(group.packed_starts() if indices is None else some(group.starts))
    if durations:
        columns.durations.append(some(group.durations))
    for name in group.shape.names:
        if names is None or name in names:
            part = group.packed_value(name) if indices is None else some(group.value(name))
            columns.values.setdefault(name, []).append(part)

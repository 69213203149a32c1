"""Measurements as columns for reports, made from the columns of packed hours."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from jharnet_monitor.model import Outcome
from jharnet_monitor.store import tables as t
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
    """The columns of a block that is being made."""

    conditions: Mapping[str, Any]
    starts: array[int] = field(default_factory=lambda: array("q"))
    durations: array[float] = field(default_factory=lambda: array("d"))
    values: dict[str, array[float]] = field(default_factory=dict)


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
        for group in hour.groups:
            _add_group(found, group, wanted, names, durations=durations)
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
            durations=columns.durations,
        )


def _add_group(
    found: dict[tuple[Any, ...], _Columns],
    group: Group,
    wanted: Wanted,
    names: Collection[str] | None,
    *,
    durations: bool,
) -> None:
    """Add those of a group that are wanted to the columns of their block."""
    starts = group.starts
    whole = wanted.covers(min(starts)) and wanted.covers(max(starts))
    indices = () if whole else [n for n, start in enumerate(starts) if wanted.covers(start)]
    if not whole and not indices:
        return

    def of(column: Sequence[Any]) -> Sequence[Any]:
        return column if whole else [column[index] for index in indices]

    columns = found.get(key := group.shape.key)
    if columns is None:
        columns = found[key] = _Columns(group.shape.conditions)
    columns.starts.extend(of(starts))
    if durations:
        columns.durations.extend(of(group.durations))
    for name in group.shape.names:
        if names is None or name in names:
            columns.values.setdefault(name, array("d")).extend(of(group.value(name)))

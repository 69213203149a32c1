"""What reports read: measurements as columns, made of the columns of packed hours."""

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

BLOCK_MS = 300_000
"""Length of the blocks in which packets are added up."""


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
    piece: int
    """The index of the piece, if the period was read in pieces; else 0."""
    values: Mapping[str, Sequence[float]]
    starts: Sequence[int] = ()
    """The start of each measurement in ms since 1970, by the same index; only if asked for."""


@dataclass(frozen=True, slots=True)
class Packets:
    """Echo requests of an office in blocks of `BLOCK_MS`, by path and conditions.

    `at` holds the start of each block in ms since 1970; `sent` and `received` cover only the
    minutes that had a reply.
    """

    office: str
    path: str
    conditions: Mapping[str, Any]
    at: Sequence[int]
    sent: Sequence[float]
    received: Sequence[float]


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
    hours: Iterable[PackedSeries], wanted: Wanted, length: int, *, starts: bool
) -> Iterator[Block]:
    """The blocks of the packed hours of one office and path.

    `length` is that of a piece in ms. See `BulkReader.blocks`.
    """
    found: dict[tuple[Any, ...], _Columns] = {}
    office = probe = path = ""
    for hour in hours:
        office, probe, path = hour.office, hour.probe, hour.path
        for group in hour.groups:
            _add_group(found, group, wanted, length)
    for (outcome, _, _, piece), columns in found.items():
        yield Block(
            office=office,
            probe=probe,
            path=path,
            outcome=Outcome(outcome),
            conditions=columns.conditions,
            first=t.from_ms(min(columns.starts)),
            last=t.from_ms(max(columns.starts)),
            count=len(columns.starts),
            piece=piece,
            values=columns.values,
            starts=columns.starts if starts else (),
        )


def _add_group(
    found: dict[tuple[Any, ...], _Columns], group: Group, wanted: Wanted, length: int
) -> None:
    """Add those of a group that are wanted to the columns of their block."""
    shape, since = group.shape, wanted.since or 0
    pieces: dict[int, list[int]] = {}
    for index, start in enumerate(group.starts):
        if wanted.covers(start):
            pieces.setdefault((start - since) // length, []).append(index)
    for piece, indices in pieces.items():
        key = (shape.outcome, canonical(dict(shape.conditions)), tuple(shape.names), piece)
        columns = found.setdefault(key, _Columns(shape.conditions))
        whole = len(indices) == group.count
        columns.starts.extend(group.starts if whole else [group.starts[i] for i in indices])
        for name, column in group.values.items():
            figures = columns.values.setdefault(name, array("d"))
            figures.extend(column if whole else [column[i] for i in indices])


class PacketSums:
    """Echo requests by office, path and conditions, added up in blocks of `BLOCK_MS`."""

    def __init__(self) -> None:
        self._conditions: dict[str, Mapping[str, Any]] = {}
        self._sums: dict[tuple[str, str, str], dict[int, list[float]]] = {}

    def add(
        self,
        office: str,
        path: str,
        conditions: Mapping[str, Any],
        blocks: Iterable[tuple[int, float, float]],
    ) -> None:
        """Add blocks, each with its number and what was sent and received."""
        text = canonical(dict(conditions))
        self._conditions[text] = conditions
        sums = self._sums.setdefault((office, path, text), {})
        for block, sent, received in blocks:
            total = sums.setdefault(block, [0.0, 0.0])
            total[0] += sent
            total[1] += received

    def add_group(self, series: PackedSeries, group: Group, wanted: Wanted) -> None:
        """Add the packed measurements that are wanted; those without a reply count as nothing."""
        if not {"sent", "received"} <= set(group.shape.names):
            blocks: list[tuple[int, float, float]] = [
                (start // BLOCK_MS, 0.0, 0.0) for start in group.starts if wanted.covers(start)
            ]
        else:
            blocks = [
                (start // BLOCK_MS, float(sent) if received > 0 else 0.0, float(received))
                for start, sent, received in zip(
                    group.starts, group.value("sent"), group.value("received"), strict=True
                )
                if wanted.covers(start)
            ]
        if blocks:
            self.add(series.office, series.path, group.shape.conditions, blocks)

    def packets(self) -> Iterator[Packets]:
        """All sums."""
        for (office, path, text), sums in self._sums.items():
            columns = zip(*sums.values(), strict=True)
            at = [block * BLOCK_MS for block in sums]
            yield Packets(office, path, self._conditions[text], at, *map(list, columns))

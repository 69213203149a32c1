"""A series' sealed hour as one packed block: the measurements of an office, probe and path.

The measurements that differ only in numbers are a group; what they share is its `Shape`, stored
once as interned JSON. All else is a column. Unpacked, the rows are those that were stored, and
their lines in the hash chain are the same bytes.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jharnet_monitor.errors import StoreError, Trouble
from jharnet_monitor.model import Measurement, Outcome
from jharnet_monitor.store import tables as t
from jharnet_monitor.store.column_batches import Packed, Part
from jharnet_monitor.store.columns import (
    Number,
    join,
    pack_ids,
    pack_integers,
    pack_numbers,
    split,
    unpack_ids,
    unpack_integers,
    unpack_numbers,
)
from jharnet_monitor.store.rows import StoredRow, canonical, divided

_LEVEL = 9
_COMPUTED = b""
"""In place of the column `loss_ratio` where it follows from `sent` and `received`."""
_FIRST = 4
"""Columns before those with numbers of conditions and values: number, ids, start, recorded."""


@dataclass(frozen=True)
class Shape:
    """What the measurements of a group share.

    `conditions` are those that are no numbers, `counts` the names of those that are; `names` are
    those of the values.
    """

    outcome: str
    cause: str | None
    conditions: Mapping[str, Any]
    counts: Sequence[str]
    names: Sequence[str]

    @cached_property
    def key(self) -> tuple[str, str, tuple[str, ...]]:
        """Outcome, conditions and names; the columns of groups with the same key can be joined."""
        return self.outcome, canonical(dict(self.conditions)), tuple(self.names)

    @cached_property
    def places(self) -> Mapping[str, int]:
        """The place of each quantity among the columns of a group."""
        first = _FIRST + 1 + len(self.counts)
        return {name: first + number for number, name in enumerate(self.names)}

    def text(self) -> str:
        """As interned JSON."""
        return canonical(
            [self.outcome, self.cause, self.conditions, list(self.counts), list(self.names)]
        )


class Group:
    """Measurements of one shape, as columns, which are unpacked when they are asked for."""

    def __init__(self, shape: Shape, data: bytes) -> None:
        self.shape = shape
        size, *self._columns = split(data)
        (self.count,) = unpack_integers(size, 1)

    @cached_property
    def numbers(self) -> Sequence[int]:
        """The row number of each."""
        return unpack_integers(self._columns[0], self.count)

    @cached_property
    def ids(self) -> Sequence[str]:
        """The id of each."""
        return unpack_ids(self._columns[1], self.count)

    @cached_property
    def starts(self) -> Sequence[int]:
        """The start of each in ms since 1970."""
        return unpack_integers(self._columns[2], self.count)

    @cached_property
    def recorded(self) -> Sequence[int]:
        """When each was recorded, in ms since 1970."""
        after = unpack_integers(self._columns[3], self.count)
        return [at + more for at, more in zip(self.starts, after, strict=True)]

    @cached_property
    def durations(self) -> Sequence[Number]:
        """The duration of each in seconds."""
        return unpack_numbers(self._columns[_FIRST], self.count)

    @cached_property
    def counts(self) -> dict[str, Sequence[Number]]:
        """The conditions that are numbers."""
        columns = self._columns[_FIRST + 1 : _FIRST + 1 + len(self.shape.counts)]
        return {
            name: unpack_numbers(column, self.count)
            for name, column in zip(self.shape.counts, columns, strict=True)
        }

    def packed_starts(self) -> Packed:
        """The column of the starts as it is packed."""
        return Packed(self._columns[2], self.count)

    def packed_value(self, name: str) -> Part:
        """The column of a quantity as it is packed, unless it has to be computed."""
        column = self._columns[self.shape.places[name]]
        return self.value(name) if column == _COMPUTED else Packed(column, self.count)

    def value(self, name: str) -> Sequence[Number]:
        """The column of a quantity."""
        column = self._columns[self.shape.places[name]]
        if column == _COMPUTED:
            return _loss(self.value("sent"), self.value("received"))
        return unpack_numbers(column, self.count)

    @cached_property
    def values(self) -> dict[str, Sequence[Number]]:
        """The columns of all quantities, in the order of their names."""
        return {name: self.value(name) for name in self.shape.names}

    def conditions(self, index: int) -> dict[str, Any]:
        """All conditions of one measurement."""
        own = {name: column[index] for name, column in self.counts.items()}
        return {**self.shape.conditions, **own}


class PackedSeries:
    """The packed measurements of one series and hour. Raises `StoreError` where they are damaged.

    `shapes` are those of its groups, in order; `extent` is its earliest and latest start in ms, if
    known.
    """

    def __init__(
        self,
        office: str,
        probe: str,
        path: str,
        shapes: Sequence[Shape],
        body: bytes,
        extent: tuple[int, int] | None = None,
    ) -> None:
        self.office, self.probe, self.path, self.extent = office, probe, path, extent
        with _unpacking(office, probe, path):
            groups = split(zlib.decompress(body))
            self.groups = list(map(Group, shapes, groups))
            if len(groups) != len(shapes):
                raise ValueError("it has other groups than it says")

    def rows(self) -> Iterator[StoredRow]:
        """The rows as they were stored, group by group."""
        with _unpacking(self.office, self.probe, self.path):
            for group in self.groups:
                yield from self._rows(group)

    def _rows(self, group: Group) -> Iterator[StoredRow]:
        shape = group.shape
        names, plain = canonical(list(shape.names)), canonical(dict(shape.conditions))
        columns = list(group.values.values())
        texts = _lists(columns, group.count)
        heads = zip(group.numbers, group.ids, group.starts, group.recorded, group.durations,
                    texts, strict=True)  # fmt: skip
        for index, (number, name, start, recorded, duration, text) in enumerate(heads):
            conditions = canonical(group.conditions(index)) if shape.counts else plain
            yield StoredRow(
                number, name, self.office, self.probe, self.path, start, recorded, duration,
                shape.outcome, shape.cause, conditions, names, text,
            )  # fmt: skip

    def measurements(
        self, wanted: Callable[[int], bool] = lambda start: True
    ) -> Iterator[tuple[tuple[int, int], Measurement]]:
        """The measurements with a start (ms) that is wanted; each with its start and number."""
        with _unpacking(self.office, self.probe, self.path):
            for group in self.groups:
                for index, start in enumerate(group.starts):
                    if wanted(start):
                        yield (start, group.numbers[index]), self._measurement(group, index)

    def _measurement(self, group: Group, index: int) -> Measurement:
        return Measurement(
            office=self.office,
            probe=self.probe,
            started_at=t.from_ms(group.starts[index]),
            duration=group.durations[index],
            outcome=Outcome(group.shape.outcome),
            cause=group.shape.cause,
            conditions=group.conditions(index),
            values={name: column[index] for name, column in group.values.items()},
            id=group.ids[index],
        )


def packed(rows: Iterable[StoredRow]) -> tuple[list[Shape], bytes]:
    """The shapes and the packed block of the rows of one series."""
    groups: dict[str, tuple[Shape, list[tuple[StoredRow, dict[str, Number]]]]] = {}
    for row in rows:
        shared, own = divided(json.loads(row.conditions))
        shape = Shape(row.outcome, row.cause, shared, sorted(own), json.loads(row.names))
        groups.setdefault(shape.text(), (shape, []))[1].append((row, own))
    blocks = [_packed_group(shape, members) for shape, members in groups.values()]
    return [shape for shape, _ in groups.values()], zlib.compress(join(blocks), _LEVEL)


def _packed_group(shape: Shape, members: Sequence[tuple[StoredRow, Mapping[str, Number]]]) -> bytes:
    rows = [row for row, _ in members]
    lists = [json.loads(row.values) for row in rows]
    values = {name: [one[at] for one in lists] for at, name in enumerate(shape.names)}
    columns = [
        pack_integers([row.number for row in rows]),
        pack_ids([row.id for row in rows]),
        pack_integers([row.started_at for row in rows]),
        pack_integers([row.recorded_at - row.started_at for row in rows]),
        pack_numbers([row.duration for row in rows]),
        *(pack_numbers([own[name] for _, own in members]) for name in shape.counts),
        *(_packed_values(name, values) for name in shape.names),
    ]
    return join([pack_integers([len(rows)]), *columns])


def _packed_values(name: str, values: Mapping[str, Sequence[Number]]) -> bytes:
    if name == "loss_ratio" and {"sent", "received"} <= values.keys():
        sent, received = values["sent"], values["received"]
        column, computed = list(values[name]), _loss(sent, received) if all(sent) else []
        if column == computed and all(type(value) is float for value in column):
            return _COMPUTED
    return pack_numbers(values[name])


def _loss(sent: Sequence[Number], received: Sequence[Number]) -> list[float]:
    """The share of packets lost, as `judge.latency` computes it."""
    return [(out - back) / out for out, back in zip(sent, received, strict=True)]


def _lists(columns: Sequence[Sequence[Number]], count: int) -> Iterable[str]:
    """The JSON list of each row."""
    if not columns:
        return ["[]"] * count
    texts = (map(repr, column) for column in columns)
    return (f"[{','.join(row)}]" for row in zip(*texts, strict=True))


@contextmanager
def _unpacking(*series: str) -> Iterator[None]:
    """Whatever fails while a block is unpacked means that the block is damaged."""
    try:
        yield
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError, zlib.error) as error:
        raise StoreError(
            f"a packed hour of {' '.join(series)} is damaged; `jharnet-monitor db verify` names it",
            Trouble.DAMAGED,
        ) from error

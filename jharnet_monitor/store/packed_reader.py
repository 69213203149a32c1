"""Reads packed hours: by their link in the hash chain, or by series and time."""

from __future__ import annotations

import heapq
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, select
from sqlalchemy.exc import NoResultFound

from jharnet_monitor.errors import StoreError, Trouble
from jharnet_monitor.model import Measurement
from jharnet_monitor.store import tables as t
from jharnet_monitor.store.interned_json import InternedJson
from jharnet_monitor.store.packed_series import PackedSeries, Shape
from jharnet_monitor.store.round_trips import RoundTrips, unpack_round_trips
from jharnet_monitor.store.rows import StoredRow

_PAGE = 200
"""Packed hours whose keys are read at once."""
_p = t.packed_series.c


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which measurements are asked for; times in ms, `until` exclusive. None means any."""

    office: str | None = None
    probe: str | None = None
    path: str | None = None
    since: int | None = None
    until: int | None = None
    offices: Collection[str] | None = None
    """Any of several, instead of one `office`."""

    def clauses(self) -> list[ColumnElement[bool]]:
        """Conditions on packed hours that may hold such measurements."""
        found = [
            column == value
            for column, value in (
                (_p.office, self.office), (_p.probe, self.probe), (_p.path, self.path)
            )
            if value is not None
        ]  # fmt: skip
        if self.offices is not None:
            found.append(_p.office.in_(self.offices))
        if self.since is not None:
            found += [_p.begin > self.since - t.SPAN_MS, _p["last"] >= self.since]
        if self.until is not None:
            found.append(_p.begin < self.until)
        return found

    def covers(self, start: int) -> bool:
        """Whether a start lies within the times."""
        return (self.since is None or start >= self.since) and (
            self.until is None or start < self.until
        )


class PackedSpan(NamedTuple):
    """How many measurements a packed hour of an office holds, and their earliest and latest start
    in ms."""

    number: int
    office: str
    rows: int
    begin: int
    last: int


class PackedReader:
    """Reads the packed hours of one database."""

    def __init__(self, interned: InternedJson) -> None:
        self._interned = interned
        self._shapes: dict[int, Shape] = {}
        self._shape_lists: dict[str, list[Shape]] = {}
        """The shapes of a series by the text of its column; hours of a series have the same few."""

    def rows_of_link(self, connection: Connection, link: int) -> Iterator[StoredRow]:
        """The measurements of a sealed hour, series by series."""
        query = select(t.packed_series).where(_p.link == link).order_by(_p.number)
        for row in connection.execute(query):
            yield from self._series(connection, row).rows()

    def round_trips_of_link(self, connection: Connection, link: int) -> Iterator[RoundTrips]:
        """The round trips of a sealed hour, series by series."""
        table = t.packed_round_trips
        body = connection.execute(select(table.c.body).where(table.c.link == link)).scalar()
        if body is not None:
            yield from unpack_round_trips(body)

    def round_trips(self, connection: Connection, wanted: Wanted) -> Iterator[RoundTrips]:
        """The packed round trips of an office and path that are wanted."""
        c = t.packed_round_trips.c
        query = select(c.body).where(c.begin < wanted.until, c["last"] >= wanted.since)
        for body in connection.execute(query.order_by(c.link)).scalars():
            every = unpack_round_trips(body, wanted.office, wanted.path)
            yield from (one for one in every if wanted.covers(one.started_at))

    def series(self, connection: Connection, wanted: Wanted) -> Iterator[PackedSeries]:
        """The packed hours that may hold what is wanted, by office and path, in order of time."""
        query = (
            select(t.packed_series)
            .where(*wanted.clauses())
            .order_by(_p.office, _p.path, _p.begin)
            .execution_options(yield_per=_PAGE)
        )
        for row in connection.execute(query):
            yield self._series(connection, row)

    def spans(self, connection: Connection, wanted: Wanted) -> Iterator[PackedSpan]:
        """The extents of the packed hours that may hold what is wanted."""
        columns = (_p.number, _p.office, _p.rows, _p.begin, _p["last"])
        for row in connection.execute(select(*columns).where(*wanted.clauses())):
            yield PackedSpan(*row)

    def starts(self, connection: Connection, number: int) -> list[int]:
        """The starts of the measurements of one packed hour, in ms."""
        query = select(t.packed_series).where(_p.number == number)
        series = self._series(connection, connection.execute(query).one())
        return [start for group in series.groups for start in group.starts]

    def measurements(
        self, connection: Connection, wanted: Wanted, *, newest_first: bool = False
    ) -> Iterator[tuple[tuple[int, int], Measurement]]:
        """What is wanted, in order, read as needed.

        Each has its start and row number before it; negative ones where the newest is first.
        """
        sign = -1 if newest_first else 1
        waiting: list[tuple[int, int, Measurement]] = []
        for begin, series in self._in_order(connection, wanted, newest_first=newest_first):
            # No hour that follows holds a measurement before this moment, in the order asked for.
            bound = -(begin + t.SPAN_MS) if newest_first else begin
            while waiting and waiting[0][0] < bound:
                start, number, measurement = heapq.heappop(waiting)
                yield (start, number), measurement
            for (start, number), measurement in series.measurements(wanted.covers):
                heapq.heappush(waiting, (sign * start, sign * number, measurement))
        while waiting:
            start, number, measurement = heapq.heappop(waiting)
            yield (start, number), measurement

    def find(
        self, connection: Connection, series: Wanted, number: int
    ) -> tuple[tuple[int, int], Measurement] | None:
        """The measurement of a series with a row number."""
        for one in self.series(connection, series):
            for key, measurement in one.measurements(series.covers):
                if key[1] == number:
                    return key, measurement
        return None

    def ids(self, connection: Connection, series: Wanted) -> Iterator[str]:
        """The ids in the packed hours that may hold what is wanted."""
        for one in self.series(connection, series):
            for group in one.groups:
                yield from group.ids

    def _in_order(
        self, connection: Connection, wanted: Wanted, *, newest_first: bool
    ) -> Iterator[tuple[int, PackedSeries]]:
        """The packed hours by their begin; their keys are read in pages, the hours one by one."""
        order = (_p.begin.desc(), _p.number.desc()) if newest_first else (_p.begin, _p.number)
        keys = select(_p.begin, _p.number).where(*wanted.clauses()).order_by(*order).limit(_PAGE)
        page = connection.execute(keys).all()
        while page:
            for begin, number in page:
                row = connection.execute(select(t.packed_series).where(_p.number == number)).one()
                yield begin, self._series(connection, row)
            begin, number = page[-1]
            if newest_first:
                after = (_p.begin < begin) | ((_p.begin == begin) & (_p.number < number))
            else:
                after = (_p.begin > begin) | ((_p.begin == begin) & (_p.number > number))
            page = connection.execute(keys.where(after)).all() if len(page) == _PAGE else ()

    def _series(self, connection: Connection, row: Row[Any]) -> PackedSeries:
        shapes = self._shape_lists.get(row.shapes)
        if shapes is None:
            shapes = [self.shape(connection, number) for number in json.loads(row.shapes)]
            self._shape_lists[row.shapes] = shapes
        extent = row.begin, row.last
        return PackedSeries(row.office, row.probe, row.path, shapes, row.body, extent)

    def shape(self, connection: Connection, number: int) -> Shape:
        """The shape with this number in `texts`."""
        found = self._shapes.get(number)
        if found is None:
            try:
                found = Shape(*self._interned.value(connection, number))
            except (NoResultFound, TypeError, ValueError) as error:
                raise StoreError(
                    f"the text {number}, which packed hours need, is damaged", Trouble.DAMAGED
                ) from error
            self._shapes[number] = found
        return found

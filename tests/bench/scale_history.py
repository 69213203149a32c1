"""Fills a database with what a start and a weekly report read of a year of any number of offices.

Made by the product: two hours of eleven offices at the true rate (`tests.bench.store`), one quiet
and one with an outage, sealed and packed; two weeks of their tests; and the last hour, row by row.
The rest are copies of these with other offices and times, because a year of 264 offices, 417
million rows, would take days to make:

- `YEAR.minutes` days of packed minutes, three series an office, every packet kept: what a report
  reads. Older minutes are left out, because neither a start nor a weekly report reads them.
- A year of states, events, sealed hours, speed tests and calls, which are never packed. Of packet
  trains, 72 a day, only the `YEAR.trains` days that a report's trend reads.

Copies keep the row numbers and packets of their original, and their hours have no true hash, so
`db verify` would refuse such a database; nothing here verifies it.
"""

from __future__ import annotations

import random
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from operator import itemgetter
from pathlib import Path
from typing import Any

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.judge.outages.state import AgentPresence, LiveEvidence
from jharnet_monitor.model import Measurement, OfficeState, Outcome, Route, format_utc
from jharnet_monitor.store import Store
from jharnet_monitor.store.chain import GENESIS, SealedPart, chunk_text, link
from jharnet_monitor.store.columns import join, pack_integers, split, unpack_integers
from jharnet_monitor.store.round_trips import RoundTrips, pack_round_trips, unpack_round_trips
from jharnet_monitor.store.rows import canonical
from jharnet_monitor.store.tables import to_ms
from tests import made_up
from tests.bench.store import START, Line, district, pack

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
DAY_MS, HOUR_MS = 86_400_000, 3_600_000
POOL_DAYS = 14
BAD = range(10, 30)
"""The minutes of an outage in the hour that has one."""
PATHS = (Route.JHARNET, Route.AGENT_HUB, Route.AGENT_GATEWAY)
_STARTS = 2
"""The place of the starts among the columns of a packed group."""


@dataclass(frozen=True, slots=True)
class HistoryDays:
    """For how many days there are packet trains, packed minutes, and everything else."""

    days: int
    minutes: int
    trains: int


YEAR = HistoryDays(365, 36, 100)
"""Minutes: the four weeks over which a line is assessed, the days since, and one more."""


@dataclass(frozen=True, slots=True)
class PackedHour:
    """A packed hour of one series, as it was made; its starts are those of the year 1970."""

    shapes: str
    rows: int
    groups: Sequence[Sequence[bytes]]
    counts: Sequence[int]
    failed: tuple[int, int] | None
    """The row number and the start of its last failed minute."""

    def body(self, shift: int) -> bytes:
        """The block, begun `shift` ms later."""
        moved = [join(self._moved(number, shift)) for number in range(len(self.groups))]
        return zlib.compress(join(moved), 9)

    def _moved(self, number: int, shift: int) -> list[bytes]:
        size, *columns = self.groups[number]
        starts = unpack_integers(columns[_STARTS], self.counts[number])
        columns[_STARTS] = pack_integers([start + shift for start in starts])
        return [size, *columns]


@dataclass(frozen=True, slots=True)
class Pattern:
    """What is copied: hours by kind (with an outage or not), place of the office and path; packets
    of the quiet hour by office; tests as rows, of each of the eleven offices."""

    hours: dict[tuple[bool, int, str], PackedHour]
    trips: dict[str, list[RoundTrips]]
    tests: Sequence[Sequence[tuple[Any, ...]]]
    texts: Sequence[tuple[object, ...]]


def fill(
    database: Path, offices: Sequence[str], seed: int, now: datetime, history: HistoryDays = YEAR
) -> int:
    """Fill a new database up to `now`; returns the bytes of a week of packed minutes of all
    offices."""
    pattern = make_pattern(database.with_name("pattern.db"), seed)
    clock = ManualClock(now)
    store = Store(f"sqlite:///{database}", clock)
    store.migrate()
    with sqlite3.connect(database) as connection:
        connection.execute("pragma synchronous=off")
        connection.execute("pragma cache_size=-1000000")
        connection.executemany("insert into texts values (?, ?, ?)", pattern.texts)
        before = _pages(connection)
        _minutes(connection, pattern, offices, now - HOUR, history)
        packed = _pages(connection) - before
        _tests(connection, pattern, offices, to_ms(now), history)
        _states_and_events(connection, offices, now, random.Random(seed), history.days)
        _sealed_hours(connection, now - HOUR, 24 * history.days)
    store.close()
    store = Store(f"sqlite:///{database}", clock)
    for minute in range(60):
        rows = list(_minute(offices, now - HOUR + timedelta(minutes=minute), seed))
        store.add(rows)
    store.set_value("beat", format_utc(now))
    store.close()
    with sqlite3.connect(database) as connection:
        _tallies(connection, pattern, offices, to_ms(now), history.days)
    connection.close()
    in_one_file(database)
    return round(packed / history.minutes * 7)


def in_one_file(database: Path) -> None:
    """Move what is still in SQLite's log into the database, so that it can be copied or renamed.

    A connection that is still open somewhere would keep the log.
    """
    connection = sqlite3.connect(database)
    (busy, left, moved) = connection.execute("pragma wal_checkpoint(truncate)").fetchone()
    connection.close()
    if busy or left != moved:
        raise SystemExit(f"{database}: its log could not be moved into it")


def _pages(connection: sqlite3.Connection) -> int:
    """The size of the database in bytes."""
    connection.commit()
    count, size = (
        connection.execute(f"pragma {name}").fetchone()[0] for name in ("page_count", "page_size")
    )
    return int(count * size)


# --- the pattern, made by the product


def make_pattern(file: Path, seed: int) -> Pattern:
    """Measure, seal and pack two hours and two weeks of tests in a database of their own."""
    clock = ManualClock(START)
    store = Store(f"sqlite:///{file}", clock)
    store.migrate()
    for bad in (False, True):
        begin = clock.now()
        store.add([one for office in district(seed).items() for one in _hour(office, begin, bad)])
        clock.step(3600)
    clock.step(7200)
    store.chain.seal()
    pack(store)
    for number, (office, _, _) in enumerate(made_up.OFFICES):
        store.add(list(_tests_of(office, random.Random(seed + number))))
    store.close()
    with sqlite3.connect(file) as connection:
        pattern = _read_pattern(connection)
    connection.close()
    file.unlink()
    return pattern


def _hour(office: tuple[str, list[Line]], begin: datetime, bad: bool) -> Iterator[Measurement]:
    name, lines = office
    for minute in range(60):
        for line in lines:
            one = line.minute(name, begin + timedelta(minutes=minute), 1e5 + 60 * minute)
            if bad:
                one = replace(one, id=f"{one.id}-b")
            down = bad and minute in BAD and line.path is not Route.AGENT_GATEWAY
            yield _failed(one) if down else one


def _failed(one: Measurement) -> Measurement:
    return replace(
        one, outcome=Outcome.FAILED, cause="no_reply",
        values={"sent": 60.0, "received": 0.0, "loss_ratio": 1.0},
        round_trips=(None,) * len(one.round_trips),
    )  # fmt: skip


def _tests_of(office: str, dice: random.Random) -> Iterator[Measurement]:
    """Two weeks of speed tests, packet trains and calls at the rate of the default settings."""
    for day in range(POOL_DAYS):
        for number in range(72):
            at = START + timedelta(days=day, minutes=20 * number + 3)
            rate = 3.9e6 * (1 - dice.random() / 20)
            yield made_up.bandwidth(office, at, rate, rate * 0.97, Route.TRAINS)
            if number % 6 == 0:
                test = made_up.bandwidth(office, at + timedelta(minutes=9), rate, rate * 0.97)
                yield replace(test, id=f"{test.id}-full")
        for hour in (5, 9):
            at = START + timedelta(days=day, hours=hour, minutes=32)
            yield made_up.conference(office, at, dice.choice((2, 3, 4, 4)))


def _read_pattern(connection: sqlite3.Connection) -> Pattern:
    begin = to_ms(START)
    place = {office: number for number, (office, _, _) in enumerate(made_up.OFFICES)}
    hours: dict[tuple[bool, int, str], PackedHour] = {}
    query = "select office, path, begin, rows, shapes, body from packed_series"
    for office, path, at, rows, shapes, body in connection.execute(query):
        bad = at - begin >= HOUR_MS
        hours[bad, place[office], path] = _read_hour(shapes, rows, body, begin + bad * HOUR_MS)
    trips: dict[str, list[RoundTrips]] = {}
    query = "select body from packed_round_trips order by begin limit 1"
    for one in unpack_round_trips(connection.execute(query).fetchone()[0]):
        trips.setdefault(one.office, []).append(one)
    tests = [
        connection.execute(
            f"select {_TEST_COLUMNS} from measurements where office = ? and bytes_spent + "  # noqa: S608
            "(probe = 'conference') > 0 order by started_at",
            [office],
        ).fetchall()
        for office in place
    ]
    texts = connection.execute("select number, digest, body from texts").fetchall()
    return Pattern(hours, trips, tests, texts)


_TEST_COLUMNS = (
    'probe, path, started_at, duration, outcome, cause, bytes_spent, conditions, names, "values",'
    " own_conditions"
)


def _read_hour(shapes: str, rows: int, body: bytes, begin: int) -> PackedHour:
    groups, counts, failed = [], [], None
    for data in split(zlib.decompress(body)):
        size, *columns = split(data)
        (count,) = unpack_integers(size, 1)
        starts = unpack_integers(columns[_STARTS], count)
        columns[_STARTS] = pack_integers([start - begin for start in starts])
        if count == len(BAD):
            failed = unpack_integers(columns[0], count)[-1], starts[-1] - begin
        groups.append([size, *columns])
        counts.append(count)
    return PackedHour(shapes, rows, groups, counts, failed)


# --- copies


def _minutes(
    connection: sqlite3.Connection,
    pattern: Pattern,
    offices: Sequence[str],
    until: datetime,
    history: HistoryDays,
) -> None:
    """Packed minutes and packets; each office has one hour with an outage a day."""
    packets, series = _packets(pattern, offices), []
    for number in range(24 * history.minutes, 0, -1):
        begin = to_ms(until) - number * HOUR_MS
        bodies = dict[tuple[bool, int, str], bytes]()
        at = 24 * history.days - number + 1
        for place, office in enumerate(offices):
            for path in PATHS:
                key = is_bad(place, number), place % len(made_up.OFFICES), path
                hour = pattern.hours[key]
                if key not in bodies:
                    bodies[key] = hour.body(begin)
                series.append((at, office, "latency", path, begin, begin + HOUR_MS - 60_000,
                               hour.rows, hour.shapes, bodies[key]))  # fmt: skip
        connection.execute("insert into packed_round_trips values (?, ?, ?, ?)",
                           (at, begin, begin + HOUR_MS - 60_000, packets))  # fmt: skip
        if len(series) > 20_000 or number == 1:
            connection.executemany(
                "insert into packed_series (link, office, probe, path, begin, last, rows, shapes,"
                " body) values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                series,
            )
            connection.commit()
            series.clear()


def is_bad(place: int, hours_ago: int) -> bool:
    """Whether an office has its daily outage in an hour."""
    return (hours_ago + place) % 24 == 12


def _packets(pattern: Pattern, offices: Sequence[str]) -> bytes:
    names = [office for office, _, _ in made_up.OFFICES]
    return pack_round_trips(
        one._replace(office=office)
        for place, office in enumerate(offices)
        for one in pattern.trips[names[place % len(names)]]
    )


def _tests(
    connection: sqlite3.Connection,
    pattern: Pattern,
    offices: Sequence[str],
    until: int,
    history: HistoryDays,
) -> None:
    """The tests, in the order of their starts."""
    start = until - history.days * DAY_MS
    columns = "id, office, recorded_at, " + _TEST_COLUMNS
    insert = f"insert into measurements ({columns}) values ({','.join('?' * 14)})"  # noqa: S608
    for day in range(history.days):
        shift = start + day * DAY_MS - to_ms(START) - day % POOL_DAYS * DAY_MS
        first = to_ms(START) + day % POOL_DAYS * DAY_MS
        trains = day >= history.days - history.trains
        rows = list[tuple[Any, ...]]()
        for place, office in enumerate(offices):
            for row in pattern.tests[place % len(pattern.tests)]:
                probe, path, at, duration, *rest = row
                if first <= at < first + DAY_MS and (trains or path != Route.TRAINS):
                    moved = at + shift
                    name = f"{moved}-{office}-{probe}-{path}"
                    rows.append((name, office, moved + 9000, probe, path, moved, duration, *rest))
        connection.executemany(insert, sorted(rows, key=itemgetter(5)))
        connection.commit()


def _states_and_events(
    connection: sqlite3.Connection,
    offices: Sequence[str],
    now: datetime,
    dice: random.Random,
    days: int,
) -> None:
    """Of each day, an outage whose cause was found, and the PC switched off at night."""
    up = LiveEvidence(router=True, pc=True, agent=AgentPresence.HEARD, uplink=True)
    off = replace(up, pc=False, agent=AgentPresence.GOODBYE)
    down = replace(up, router=False, pc=False, agent=AgentPresence.SILENT)
    seen = {
        OfficeState.UP: canonical(asdict(up)),
        OfficeState.AGENT_OFF: canonical(asdict(off)),
        OfficeState.UNREACHABLE: canonical(asdict(down)),
    }
    joined = canonical({"boot_id": "9d1c3f0e-7a55-4f0e-8f3b-2a9c", "uptime": 4000.5,
                        "version": "0.2.0", "kind": "program"})  # fmt: skip
    router = [canonical({"role": "router", "answers": answers}) for answers in (False, True)]
    end, number = to_ms(now - HOUR), 0
    for day in range(days, 0, -1):
        events, states = list[tuple[Any, ...]](), list[tuple[Any, ...]]()
        for place, office in enumerate(offices):
            morning = end - day * DAY_MS + dice.randrange(60_000)
            # The hour with an outage ends 12 hours before the morning's place in the pattern.
            hour = next(h for h in range(24 * day, 24 * day - 24, -1) if is_bad(place, h))
            begin = end - hour * HOUR_MS + BAD[0] * 60_000
            after = begin + len(BAD) * 60_000
            states += [
                (office, "up", morning, None, seen[OfficeState.UP], morning, False),
                (office, "unreachable", begin, None, seen[OfficeState.UNREACHABLE], begin, False),
                (office, "up", after, None, seen[OfficeState.UP], after, False),
                (office, "link_down", begin, after, '{"reason":"agent_saw"}', after + 3000, True),
            ]
            events += [
                (office, "joined", morning, joined, morning),
                (office, "left", begin, "{}", begin),
                (office, "reached", begin, router[0], begin),
                (office, "reached", after, router[1], after),
                (office, "joined", after + 2000, joined, after + 2000),
            ]
            if day > 1:
                night = morning + 9 * HOUR_MS
                states.append((office, "agent_off", night, None, seen[OfficeState.AGENT_OFF],
                               night, False))  # fmt: skip
                events.append((office, "goodbye", night, "{}", night))
        number = _insert_states(connection, states, number)
        connection.executemany(
            "insert into events (office, kind, at, data, recorded_at) values (?, ?, ?, ?, ?)",
            sorted(events, key=itemgetter(4)),
        )


def _insert_states(
    connection: sqlite3.Connection, states: list[tuple[Any, ...]], number: int
) -> int:
    """Insert a day of states in the order of recording; returns the last row's number."""
    outages: dict[str, int] = {}
    rows = []
    for office, state, at, until, evidence, recorded, found in sorted(states, key=itemgetter(5)):
        number += 1
        if state == "unreachable":
            outages[office] = number
        supersedes = outages[office] if found else None
        rows.append((number, office, state, at, until, evidence, recorded, supersedes))
    connection.executemany("insert into transitions values (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    return number


def _sealed_hours(connection: sqlite3.Connection, until: datetime, hours: int) -> None:
    """Sealed hours; their hashes are not those of the rows."""
    last = {
        table: connection.execute(f"select max(number) from {table}").fetchone()[0]  # noqa: S608
        for table in ("events", "measurements", "transitions")
    }
    kinds = ("bandwidth", "conference", "events", "latency", "round_trips", "transitions")
    parts = {kind: SealedPart(1000, GENESIS) for kind in kinds}
    root, rows = GENESIS, []
    for number in range(1, hours + 1):
        begin = until - (hours - number + 1) * HOUR
        text = chunk_text(begin, parts)
        root = link(root, text)
        upto = {table: count * number // hours for table, count in last.items()}
        upto |= {"drills": 0, "windows": 0}
        rows.append((number, to_ms(begin), canonical(upto), text, root, "{}", 1))
    connection.executemany("insert into chunks values (?, ?, ?, ?, ?, ?, ?)", rows)


def _minute(offices: Sequence[str], at: datetime, seed: int) -> Iterator[Measurement]:
    """The minute of every office, as it is recorded now: rows that are not packed yet."""
    lines = district(seed + at.minute)
    names = list(lines)
    for place, office in enumerate(offices):
        for line in lines[names[place % len(names)]]:
            one = line.minute(office, at, 1e5)
            yield replace(one, id=f"{office}-{line.path}-{to_ms(at)}")


def _tallies(
    connection: sqlite3.Connection,
    pattern: Pattern,
    offices: Sequence[str],
    now: int,
    days: int,
) -> None:
    """The totals of what was copied. Failed minutes are packed, so their newest is one of a packed
    hour."""
    insert = "insert into tallies values (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    for place, office in enumerate(offices):
        hour = next(number for number in range(1, 25) if is_bad(place, number))
        begin = now - HOUR_MS - hour * HOUR_MS
        for path in PATHS[:2]:
            one = pattern.hours[True, place % len(made_up.OFFICES), path].failed
            assert one is not None
            runs = len(BAD) * days
            connection.execute(insert, (office, "latency", path, "failed", runs, 60 * runs, 0,
                                        one[0], begin + one[1]))  # fmt: skip
    connection.execute(
        "insert into tallies select office, probe, path, outcome, count(*), 0, 0, max(number),"
        " max(started_at) from measurements where probe <> 'latency'"
        " group by office, probe, path, outcome"
    )

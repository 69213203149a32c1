"""Size and speed of the store at the true rate: three rows a minute and office, every packet kept.

python -m tests.bench.store [--quick] [--json FILE] [--seed N] [--days N] [--postgresql-days N]

Measured are SQLite, and for fewer days PostgreSQL, in a cluster of its own that keeps its promises
(fsync on). What an empty database takes there is a figure of its own and not part of the others,
because it would be most of a short run.

An office with an agent gives three rows a minute: the hub's echo requests to its router, one packet
a second, and the agent's to its own gateway and to the hub. The figures of a row are computed by
the product from made-up round trips: a base that drifts, the noise of a line, and queues that grow
in office hours.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.judge.latency import summarise
from jharnet_monitor.model import ROUND_TRIP_UNIT, CountedIds, Measurement, Outcome, Route
from jharnet_monitor.store import Store
from tests.bench.marks import Row, at_most, finish, note, parser
from tests.made_up import OFFICES

START = datetime(2026, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)
PACKETS = 60
BUSY_UTC = range(5, 12)
"""Office hours, whole hours of UTC."""
LOSS = 0.002
ROWS_A_MINUTE = 3


@dataclass
class Line:
    """One series: its round trips in seconds."""

    path: Route
    base: float
    noise: float
    dice: np.random.Generator
    ids: CountedIds
    drift: float = 0.0

    def minute(self, office: str, at: datetime, uptime: float) -> Measurement:
        """A minute as the product records it."""
        trips = self._trips(at)
        lost = self.dice.random(PACKETS) < LOSS
        back = [float(trip) for trip, is_lost in zip(trips, lost, strict=True) if not is_lost]
        conditions: dict[str, object] = {"target": "router", "address": "10.8.3.1"}
        packets: tuple[int | None, ...] = ()
        if self.path is Route.JHARNET:
            packets = tuple(
                None if is_lost else round(trip / ROUND_TRIP_UNIT)
                for trip, is_lost in zip(trips.tolist(), lost.tolist(), strict=True)
            )
        else:
            conditions = {"path": self.path.value, "boot_id": "9d1c3f0e-7a55-4f0e-8f3b-2a9c",
                          "uptime_seconds": round(uptime, 1)}  # fmt: skip
        return Measurement(
            office, "latency", at + timedelta(milliseconds=int(self.dice.integers(0, 9))),
            60 + round(float(self.dice.exponential(0.001)), 3), Outcome.OK, None, conditions,
            summarise(back, PACKETS, len(back)), self.ids(), packets,
        )  # fmt: skip

    def _trips(self, at: datetime) -> NDArray[np.float64]:
        dice, self.drift = self.dice, 0.98 * self.drift + self.dice.normal(0, 2e-5)
        trips = self.base + abs(self.drift) + abs(dice.normal(0, self.noise, PACKETS))
        trips += (dice.random(PACKETS) < 0.1) * dice.exponential(1.6 * self.noise, PACKETS)
        if at.hour in BUSY_UTC and self.path is not Route.AGENT_GATEWAY:
            load = dice.random() / 2
            queued = dice.random(PACKETS) < load
            trips += queued * dice.exponential(0.001 + 0.012 * load, PACKETS)
        return trips


def district(seed: int) -> dict[str, list[Line]]:
    """The series of every office."""
    found, hub = {}, CountedIds("hub.")
    for number, (office, _, _) in enumerate(OFFICES):
        dice, agent = np.random.default_rng([seed, number]), CountedIds(f"{office}_")
        base = 0.012 + 0.005 * number
        found[office] = [
            Line(Route.JHARNET, base, 2.5e-4, dice, hub),
            Line(Route.AGENT_HUB, base, 2.5e-4, dice, agent),
            Line(Route.AGENT_GATEWAY, 6e-4, 6e-5, dice, agent),
        ]
    return found


def hours(days: int, seed: int) -> Iterator[list[Measurement]]:
    """What is recorded in each hour, in the order of recording."""
    lines = district(seed)
    for hour in range(24 * days):
        yield [
            line.minute(office, at, 1e5 + 60 * (60 * hour + n))
            for n in range(60)
            for at in (START + timedelta(hours=hour, minutes=n),)
            for office, series in lines.items()
            for line in series
        ]


def fill(store: Store, clock: ManualClock, days: int, seed: int) -> tuple[int, float, float]:
    """Add days of measurements; returns their number, the seconds taken, and those of one row as
    the hub adds them, each for itself."""
    count, spent, alone = 0, 0.0, 0.0
    for number, rows in enumerate(hours(days, seed)):
        if not number:
            alone = sum(seconds(partial(store.add, [row])) for row in rows[:200]) / 200
        clock.step(3600)
        spent += seconds(partial(store.add, rows))
        count += len(rows)
    clock.step(7200)
    return count, spent, alone


def seconds(work: Callable[[], object]) -> float:
    """The seconds that a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def read(store: Store, office: str | None, days: int, until: datetime) -> int:
    """Read the columns of minutes, as a report does; returns their number."""
    blocks = store.bulk_reader.blocks(office, "latency", until - days * DAY, until)
    return sum(block.count for block in blocks)


def pack(store: Store) -> None:
    """Pack every sealed hour."""
    while store.packing.step():
        pass


READER = """
import json, sys, time
from datetime import datetime, timedelta
from jharnet_monitor.clock import SystemClock
from jharnet_monitor.store import Store
from tests.bench.store import read
def peak():  # `ru_maxrss` begins with that of the process that started this one
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
store, days = Store(sys.argv[1], SystemClock()), int(sys.argv[3])
before, started = peak(), time.perf_counter()
rows = read(store, sys.argv[4] or None, days, datetime.fromisoformat(sys.argv[2]))
after = peak()
print(json.dumps([time.perf_counter() - started, (after - before) / 1024, rows]))
"""


def read_in_new_process(
    url: str, until: datetime, days: int, office: str = ""
) -> tuple[float, float, int]:
    """Read in a process of its own: seconds, megabytes of memory that it took, rows."""
    command = [sys.executable, "-c", READER, url, until.isoformat(), str(days), office]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    taken, memory, rows = json.loads(done.stdout)
    return taken, memory, rows


def measure(url: str, days: int, seed: int) -> list[Row]:
    """Fill a database, pack it, and time what the hub, a page and a report read and write."""
    clock, until = ManualClock(START), START + days * DAY
    store = Store(url, clock)
    store.migrate()
    empty = store.size() if url.startswith("postgresql:") else 0
    count, adding, alone = fill(store, clock, days, seed)
    sealing, loose = seconds(store.chain.seal), _size(store, url) - empty
    packing = seconds(lambda: pack(store))
    verifying = seconds(lambda: None if store.chain.verify() == [] else sys.exit("it is changed"))
    rows = [
        note("measurements", count, "rows"),
        note("packets", count / ROWS_A_MINUTE * PACKETS, "packets"),
        at_most("added, one by one as the hub does", 1e6 * alone, 20_000, "us/row"),
        at_most("added, in batches of an hour", 1e6 * adding / count, 250, "us/row"),
        at_most("sealed", 1e6 * sealing / count, 100, "us/row"),
        at_most("packed", 1e6 * packing / count, 200, "us/row"),
        at_most("verified, packets too", 1e6 * verifying / count, 100, "us/row"),
        *_reading(store, url, days, until),
    ]
    store.packing.shrink()
    size = _size(store, url) - empty
    store.close()
    year = 365 / days / len(OFFICES) / 1e6
    return [
        *rows,
        *([note("an empty database", empty / 1e6, "MB")] if empty else []),
        note("a row before its hour is packed, with its packets", loose / count, "B/row"),
        note("an office and year of such rows", loose * year, "MB"),
        at_most("a row, packed, with its packets", size / count, 38, "B/row"),
        at_most("an office and year, with every packet", size * year, 60, "MB"),
        note("eleven offices and 400 days", size * year * 11 * 400 / 365 / 1000, "GB"),
    ]


def _size(store: Store, url: str) -> int:
    """The size of the database; of SQLite without its log, which stays as large as it once was."""
    file = url.removeprefix("sqlite:///")
    return store.size() if file == url else Path(file).stat().st_size


def _reading(store: Store, url: str, days: int, until: datetime) -> Iterator[Row]:
    week = min(days, 7)
    taken, memory, _ = read_in_new_process(url, until, week)
    yield at_most("what a weekly report reads", taken * 7 / week, 6, "s")
    yield at_most("memory of that", memory, 150, "MB")
    taken, memory, _ = read_in_new_process(url, until, days, "potka")
    yield at_most("a year of one office, from that of all days", taken * 365 / days, 30, "s")
    yield note("memory of that, for the days read", memory, "MB")
    fresh = Store(url, ManualClock(until))
    yield at_most("what a start reads", seconds(lambda: (fresh.latest(), fresh.tallies.all())),
                  0.3, "s")  # fmt: skip
    yield at_most("an office's day, for its page", seconds(
        lambda: fresh.measurements(office="potka", probe="latency", path=Route.JHARNET,
                                   since=until - DAY, until=until)), 0.3, "s")  # fmt: skip
    yield at_most("an office's day of packets", seconds(
        lambda: list(fresh.round_trips("potka", until - DAY, until))), 1, "s")  # fmt: skip
    yield at_most("bytes spent today", seconds(lambda: fresh.spent("potka", until - DAY, until)),
                  0.02, "s")  # fmt: skip
    fresh.close()


def postgresql(directory: Path, days: int, seed: int) -> list[Row]:
    """The same in a PostgreSQL cluster below a directory."""
    from tests.faults.cluster import Cluster  # its module imports this one

    cluster = Cluster(directory / "cluster", sockets(directory))
    try:
        found = measure(cluster.url, days, seed)
    finally:
        cluster.stop()
    return [replace(row, name=f"PostgreSQL: {row.name}") for row in found]


def sockets(directory: Path) -> Path:
    """A directory for the sockets of a cluster, which runs under an account of its own."""
    directory.chmod(0o755)
    found = directory / "sockets"
    found.mkdir()
    return found


def main() -> int:
    """Run it; returns 0 if all marks are met."""
    options = parser(__doc__)
    options.add_argument("--days", type=int, default=14, help="days of eleven offices")
    options.add_argument(
        "--postgresql-days", type=int, default=4, metavar="N", help="days in PostgreSQL; 0: none"
    )
    chosen = options.parse_args()
    days = min(2, chosen.days) if chosen.quick else chosen.days
    elsewhere = min(1, chosen.postgresql_days) if chosen.quick else chosen.postgresql_days
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="jhn-store-") as directory:
        if days:
            rows += measure(f"sqlite:///{Path(directory) / 'monitor.db'}", days, chosen.seed)
        if elsewhere:
            rows += postgresql(Path(directory), elsewhere, chosen.seed)
    title = f"The store with {days} days of eleven offices, in PostgreSQL {elsewhere}"
    return finish(title, rows, chosen)


if __name__ == "__main__":
    sys.exit(main())

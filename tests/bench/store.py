"""Size and speed of the store with eleven offices that are measured every minute.

python -m tests.bench.store [--quick] [--json FILE] [--seed N]
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.model import Measurement, Outcome
from jharnet_monitor.store import Store
from tests.bench.marks import Row, arguments, at_most, finish, note
from tests.made_up import OFFICES

START = datetime(2026, 1, 5, tzinfo=UTC)
RETENTION_DAYS = 400


def minute(office: str, at: datetime, dice: random.Random) -> Measurement:
    """A minute of latency, with as many digits as a real one."""
    p50 = 0.035 + dice.random() / 100
    values = {
        "sent": 60.0,
        "received": 60.0,
        "loss_ratio": 0.0,
        "rtt_min_seconds": round(p50 * 0.9, 9),
        "rtt_p50_seconds": round(p50, 9),
        "rtt_p95_seconds": round(p50 * 1.3, 9),
        "rtt_max_seconds": round(p50 * 2, 9),
        "jitter_seconds": round(p50 * 0.05, 9),
        "pdv_seconds": round(p50 * 0.4, 9),
    }
    conditions = {"target": "router", "address": "10.8.3.1"}
    name = uuid.UUID(int=dice.getrandbits(128)).hex
    duration = 60 + dice.random() / 1000
    return Measurement(office, "latency", at, duration, Outcome.OK, None, conditions, values, name)


def fill(store: Store, clock: ManualClock, days: int, dice: random.Random) -> tuple[int, float]:
    """Add days of measurements, an hour at a time; returns their number and the seconds taken."""
    count, spent = 0, 0.0
    for hour in range(24 * days):
        begin = START + timedelta(hours=hour)
        rows = [
            minute(office, begin + timedelta(minutes=n), dice)
            for n in range(60)
            for office, _, _ in OFFICES
        ]
        clock.step(3600)
        started = time.perf_counter()
        store.add(rows)
        spent += time.perf_counter() - started
        count += len(rows)
    return count, spent


def seconds(work: Callable[[], object]) -> float:
    """The seconds that a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def read_week(store: Store, days: int) -> None:
    """Read what a weekly report reads: the columns of every office's minutes."""
    until = START + timedelta(days=days)
    for office, _, _ in OFFICES:
        for _ in store.bulk_reader.blocks(office, "latency", until - timedelta(days=7), until):
            pass


def measure(directory: Path, days: int, seed: int) -> list[Row]:
    """Fill a database and time what the hub, a page and a report read and write."""
    file = directory / "monitor.db"
    clock = ManualClock(START)
    store = Store(f"sqlite:///{file}", clock)
    store.migrate()
    count, adding = fill(store, clock, days, random.Random(seed))
    clock.step(7200)
    sealing = seconds(store.chain.seal)
    day = timedelta(days=1)
    rows = [
        note("measurements", count, "rows"),
        at_most("added, in batches of an hour", 1e6 * adding / count, 200, "us/row"),
        at_most("sealed", 1e6 * sealing / count, 40, "us/row"),
        at_most("verified", 1e6 * seconds(store.chain.verify) / count, 40, "us/row"),
        at_most("what a start reads", seconds(lambda: (store.latest(), store.tallies.all())),
                0.1, "s"),
        at_most("what a weekly report reads", seconds(lambda: read_week(store, days)), 1.0, "s"),
        at_most("an office's day, for its page", seconds(
            lambda: store.measurements(office="potka", probe="latency", since=START,
                                       until=START + day)), 0.1, "s"),
        at_most("bytes spent today", seconds(lambda: store.spent("potka", START, START + day)),
                0.01, "s"),
    ]  # fmt: skip
    store.close()
    size = file.stat().st_size / count
    rows.append(at_most("on the disk", size, 330, "B/row"))
    year = size * RETENTION_DAYS * 1440 * len(OFFICES) / 1e9
    rows.append(note(f"{RETENTION_DAYS} days of eleven offices, from that", year, "GB"))
    return rows


def main() -> int:
    """Run it; returns 0 if all marks are met."""
    options = arguments(__doc__)
    days = 7 if options.quick else 60
    with tempfile.TemporaryDirectory(prefix="jhn-store-") as directory:
        rows = measure(Path(directory), days, options.seed)
    return finish(f"The store with {days} days of eleven offices", rows, options)


if __name__ == "__main__":
    sys.exit(main())

"""Time and memory of a report from a database with a year of measurements.

python -m tests.bench.report [--quick] [--json FILE] [--seed N]

The whole command is measured: a new process from its start to its end, with Python's byte code
compiled before, as in an installation.
"""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.model import Measurement, OfficeState
from jharnet_monitor.store import Store
from jharnet_monitor.store.tables import to_ms
from tests import made_up
from tests.bench.marks import Row, arguments, at_most, finish, note
from tests.made_up_week import WEEK

MINUTE_MS = 60_000
COLUMNS = (
    "office, probe, path, recorded_at, duration, outcome, cause, bytes_spent, conditions, names"
)


def fill(database: Path, offices: int, days: int, dice: random.Random) -> int:
    """Fill a new database with `days` up to the end of the week; returns the number of rows."""
    start = WEEK.end - timedelta(days=days)
    store = Store(f"sqlite:///{database}", ManualClock(WEEK.end))
    store.migrate()
    config = made_up.config(offices)
    for office in config.offices:
        store.add(_heavy(office.id, days, dice))
        store.add([made_up.latency(office.id, start)])
        for day in range(days):
            at = start + timedelta(days=day, hours=12)
            store.event_log.add_transition(office.id, OfficeState.UNREACHABLE, at, {})
            store.event_log.add_transition(
                office.id, OfficeState.UP, at + timedelta(minutes=20), {}
            )
    store.close()
    _minutes(database, days, to_ms(start))
    with sqlite3.connect(database) as connection:
        return int(connection.execute("select count(*) from measurements").fetchone()[0])


def _heavy(office: str, days: int, dice: random.Random) -> list[Measurement]:
    """A speed test every two hours, and two conferences a day."""
    start = WEEK.end - timedelta(days=days)
    found = []
    for hour in range(0, 24 * days, 2):
        rate = 3.9e6 * (1 - dice.random() / 20)
        at = start + timedelta(hours=hour, minutes=13)
        found.append(made_up.bandwidth(office, at, rate, rate * 0.97))
    for day in range(days):
        for hour in (11, 15):
            at = start + timedelta(days=day, hours=hour)
            found.append(made_up.conference(office, at, dice.choice((1, 3, 4, 4))))
    return found


def _minutes(database: Path, days: int, start_ms: int) -> None:
    """Copy the first minute of latency to every other minute, within the database.

    The order is that of a hub, minute by minute, so the rows of the offices are interleaved.
    """
    with sqlite3.connect(database) as connection:
        connection.execute("pragma synchronous=off")
        connection.execute(
            f"""
            with recursive minute(i) as
                (select 1 union all select i + 1 from minute where i < {1440 * days - 1})
            insert into measurements ({COLUMNS}, id, started_at, "values")
            select {COLUMNS}, hex(randomblob(16)), {start_ms} + i * {MINUTE_MS},
                replace("values", '0.041', printf('%.9g', 0.04 + (abs(random()) % 9999) / 1e6))
            from minute cross join measurements where probe = 'latency'
            """  # noqa: S608 - our own numbers
        )


def started(directory: Path, database: Path, offices: int) -> subprocess.Popen[bytes]:
    """Start the command in a process of its own."""
    settings = {
        "district": {"id": "bench", "name": "Bench", "name_hi": "जाँच"},
        "hub": {
            "tls": False,
            "database": f"sqlite:///{database}",
            "uplink": {"contracted": "1 Gbit/s"},
        },
        "offices": [
            {"id": o.id, "name": o.name, "name_hi": o.name_hi, "router": o.router,
             "link": {"contracted": "4 Mbit/s"}}
            for o in made_up.config(offices).offices
        ],
    }  # fmt: skip
    config = directory / "jharnet.yaml"
    config.write_text(json.dumps(settings), "utf-8")
    command = [sys.executable, "-m", "jharnet_monitor", "report", "--week", WEEK.name, "--lang"]
    command += ["hi", "--out", str(directory), "--config", str(config)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def seconds(directory: Path, database: Path, offices: int) -> float:
    """How long the command takes, in seconds."""
    begin = time.perf_counter()
    ended(started(directory, database, offices))
    return time.perf_counter() - begin


def megabytes(directory: Path, database: Path, offices: int) -> float:
    """The peak memory of the command and its worker processes; shared pages count once (PSS).

    The polling slows the command down, so its time is not used.
    """
    process = started(directory, database, offices)
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(map(proportional_kilobytes, family(process.pid))))
    ended(process)
    return peak / 1024


def ended(process: subprocess.Popen[bytes]) -> None:
    """Wait for the command; raises `SystemExit` if it failed."""
    if process.wait() != 0:
        raise SystemExit(f"the report failed with {process.returncode}")


def family(pid: int) -> list[int]:
    """A process, its children and theirs."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    except OSError:
        return [pid]
    return [pid, *(one for child in children for one in family(int(child)))]


def proportional_kilobytes(pid: int) -> int:
    """The proportional set size of a process in kilobytes; 0 after its end."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in rollup.splitlines() if "Pss:" in line), 0)


def measure(directory: Path, quick: bool, seed: int) -> list[Row]:
    """Measure the eleven offices of a district over a year, and 264 of a state over two weeks."""
    rows: list[Row] = []
    plans = [(11, 30, 1.5)] if quick else [(11, 365, 1.5), (264, 14, 15.0)]
    for offices, days, mark in plans:
        database = directory / f"{offices}.db"
        count = fill(database, offices, days, random.Random(seed))
        rows.append(note(f"{offices} offices, {days} days", count, "rows"))
        runs = [seconds(directory, database, offices) for _ in range(4)][1:]  # the first compiles
        rows.append(at_most(f"weekly report of {offices} offices", min(runs), mark, "s"))
        if offices == 11:
            held = megabytes(directory, database, offices)
            rows.append(at_most("its memory, all processes together", held, 150, "MB"))
        database.unlink()
    return rows


def main() -> int:
    """Run it; returns 0 if all marks are met."""
    options = arguments(__doc__)
    with tempfile.TemporaryDirectory(prefix="jhn-report-") as directory:
        rows = measure(Path(directory), options.quick, options.seed)
    return finish("The weekly report, as a process of its own", rows, options)


if __name__ == "__main__":
    raise SystemExit(main())

"""Time and memory of a report from a database with a year of measurements.

    python -m tests.bench.report [--quick] [--json FILE] [--seed N] [--keep DIRECTORY]

The whole command is measured: a new process from its start to its end, with Python's byte code
compiled before, as in an installation. Three databases: eleven offices with 30 days of rows that
are not packed yet, as an older version left them; eleven and 264 offices with a year, packed, as
`tests.bench.scale_history` makes it. `--quick` measures the first only. With `--keep` the databases
stay in that directory, and another run of the same seed does not fill them again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.model import Measurement, OfficeState
from jharnet_monitor.store import Store
from jharnet_monitor.store.tables import to_ms
from tests import made_up
from tests.bench import scale_history
from tests.bench.marks import Row, at_most, finish, note, parser
from tests.made_up_week import WEEK

MINUTE_MS = 60_000
COLUMNS = (
    "office, probe, path, recorded_at, duration, outcome, cause, bytes_spent, conditions, names"
)


def fill(
    database: Path, offices: int, days: int, dice: random.Random, latency_minutes: int = 1
) -> int:
    """Fill a new database with `days` up to the end of the week; returns the number of rows.

    A minute of latency begins every `latency_minutes`.
    """
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
    _minutes(database, days, to_ms(start), latency_minutes)
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


def _minutes(database: Path, days: int, start_ms: int, step: int) -> None:
    """Copy the first minute of latency to every `step`-th minute, within the database.

    The order is that of a hub, minute by minute, so the rows of the offices are interleaved.
    """
    with sqlite3.connect(database) as connection:
        connection.execute("pragma synchronous=off")
        connection.execute(
            f"""
            with recursive minute(i) as
                (select {step} union all select i + {step} from minute
                 where i < {1440 * days - step})
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


@dataclass(frozen=True, slots=True)
class Plan:
    """A database, how it is filled, and the marks of its report in seconds and megabytes."""

    name: str
    offices: int
    fill: Callable[[Path, int, int], object]
    seconds: float
    megabytes: float


def rows(database: Path, offices: int, seed: int) -> int:
    """Fill a database with 30 days of rows."""
    return fill(database, offices, 30, random.Random(seed))


def year(database: Path, offices: int, seed: int) -> int:
    """Fill a database with a year up to the end of the week, packed."""
    names = [office.id for office in made_up.config(offices).offices]
    return scale_history.fill(database, names, seed, WEEK.end)


PLANS = (
    Plan("30 days of rows", 11, rows, 1.5, 150),
    Plan("a year, packed", 11, year, 1.5, 150),
    Plan("a year, packed", 264, year, 15.0, 300),
)


def filled(plan: Plan, directory: Path, seed: int, keep: Path | None) -> Path:
    """The database of a plan: one that was kept, or a new one."""
    where = keep or directory
    where.mkdir(parents=True, exist_ok=True)
    database = where / f"report-{plan.fill.__name__}-{plan.offices}-{seed}.db"
    if not database.exists():
        half = database.with_suffix(".part.db")  # a run that is stopped keeps no half database
        half.unlink(missing_ok=True)
        plan.fill(half, plan.offices, seed)
        scale_history.in_one_file(half)
        half.rename(database)
    return database


def measure(directory: Path, options: argparse.Namespace) -> list[Row]:
    """Fill and measure each plan."""
    found: list[Row] = []
    for plan in PLANS[:1] if options.quick else PLANS:
        database = filled(plan, directory, options.seed, options.keep)
        label = f"weekly report of {plan.offices} offices, {plan.name}"
        run = partial(seconds, directory, database, plan.offices)
        before, runs = os.times(), [run() for _ in range(4)]
        after = os.times()
        cpu = after.children_user + after.children_system
        cpu -= before.children_user + before.children_system
        # The first run compiles, and reads the file into memory.
        found.append(at_most(label, min(runs[1:]), plan.seconds, "s"))
        found.append(note("its CPU time", cpu / len(runs), "s"))
        held = megabytes(directory, database, plan.offices)
        found.append(at_most("its memory, all processes together", held, plan.megabytes, "MB"))
        if not options.keep:
            database.unlink()
    return found


def main() -> int:
    """Run it; returns 0 if all marks are met."""
    command_line = parser(__doc__)
    command_line.add_argument(
        "--keep", type=Path, metavar="DIRECTORY", help="keep the filled databases there"
    )
    options = command_line.parse_args()
    with tempfile.TemporaryDirectory(prefix="jhn-report-") as directory:
        found = measure(Path(directory), options)
    return finish("The weekly report, as a process of its own", found, options)


if __name__ == "__main__":
    raise SystemExit(main())

"""Times backup and restore of a hub with a year of data from eleven offices.

python -m tests.bench.standby [--quick] [--json FILE] [--seed N] [--days N] [--keep DIRECTORY]

A first day is made as `tests.bench.store` makes it; the others are that day again, with ids and
starts of their own. As in a hub, each hour is sealed, and packed soon after, here by a second
process: the database is as large as a hub's, and 17 million rows take one process an hour. With
`--keep`, the filled hub stays there, and a later run of so many days begins with it.
"""

from __future__ import annotations

import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from multiprocessing.synchronize import Event
from pathlib import Path

import yaml
from rich.progress import track

from jharnet_monitor.clock import ManualClock, SystemClock
from jharnet_monitor.model import Measurement
from jharnet_monitor.standby.restore import Restore
from jharnet_monitor.standby.save import save
from jharnet_monitor.store import Store
from tests.bench.marks import Row, at_most, finish, note, parser
from tests.bench.store import ROWS_A_MINUTE, START, hours, pack
from tests.made_up import OFFICES

RESTORE_SECONDS = 600.0
CONFIGURATION, DATABASE = "jharnet.yaml", "monitor.db"


def measure(directory: Path, days: int, seed: int, kept: Path | None) -> list[Row]:
    """Fill a hub's database, save the hub, delete it, and restore it."""
    home = directory / "hub"
    began = time.perf_counter()
    if kept is None:
        fill(home, days, seed)
    else:
        filled = kept / f"standby-{days}-{seed}"
        if not filled.exists():
            unfinished = filled.with_suffix(".part")
            shutil.rmtree(unfinished, ignore_errors=True)
            fill(unfinished, days, seed)
            unfinished.rename(filled)
        shutil.copytree(filled, home)
    made = time.perf_counter() - began
    count = days * 1440 * len(OFFICES) * ROWS_A_MINUTE
    size = (home / DATABASE).stat().st_size

    began = time.perf_counter()
    backup = save(home / CONFIGURATION, directory / "away", 1)
    saved = time.perf_counter() - began
    shutil.rmtree(home)
    began = time.perf_counter()
    done = Restore(backup, home).run()
    restored = time.perf_counter() - began
    year = restored * 365 / days
    return [
        note("measurements", count, "rows"),
        note("made, or copied", made, "s"),
        note("database", size / 1e6, "MB"),
        note("saved while the hub may run", saved, "s"),
        at_most("restored and verified", restored, RESTORE_SECONDS, "s"),
        at_most("a year, from that", year, RESTORE_SECONDS, "s"),
        # Of each minute of the line, its packets are a record of their own.
        at_most("records not proved", count + count // ROWS_A_MINUTE - done.records, 0, "rows"),
    ]


def fill(home: Path, days: int, seed: int) -> None:
    """Make a new hub's directory: its configuration and its database of so many days."""
    home.mkdir(parents=True)
    offices = [
        {"id": office, "name": office.title(), "name_hi": office, "pc": f"127.0.1.{n + 1}"}
        for n, (office, _, _) in enumerate(OFFICES)
    ]
    data = {
        "district": {"id": "d", "name": "East Singhbhum", "name_hi": "पूर्वी सिंहभूम"},
        "hub": {"database": f"sqlite:///{DATABASE}", "tls": False,
                "uplink": {"contracted": "34 Mbit/s"}},
        "offices": offices,
    }  # fmt: skip
    (home / CONFIGURATION).write_text(yaml.safe_dump(data, allow_unicode=True), "utf-8")
    url = f"sqlite:///{home / DATABASE}"
    clock = ManualClock(START)
    store = Store(url, clock)
    store.migrate()
    store.disconnect()  # a fork must not use its connections
    fork = multiprocessing.get_context("fork")
    done = fork.Event()
    packer = fork.Process(target=_pack_sealed, args=(url, done), daemon=True)
    packer.start()
    for rows in track(_every_hour(days, seed), "Filling", total=24 * days, transient=True):
        store.add(rows)
        clock.step(3600)
        store.chain.seal()
    clock.step(7200)
    store.chain.seal()
    done.set()
    packer.join()
    if packer.exitcode:
        raise SystemExit("the process that packs failed")
    pack(store)
    store.close()


def _pack_sealed(url: str, done: Event) -> None:
    """Pack what is sealed, until nothing is left after `done`."""
    store = Store(url, SystemClock())
    while True:
        last = done.is_set()
        pack(store)
        if last:
            break
        time.sleep(0.1)
    store.close()


def _every_hour(days: int, seed: int) -> Iterator[list[Measurement]]:
    """What is recorded in each hour of every day, in the order of recording."""
    first = list(hours(1, seed))
    made: dict[str, int] = {}
    """How many ids of each prefix a day takes."""
    for row in (row for rows in first for row in rows):
        prefix = row.id.rpartition("-")[0]
        made[prefix] = made.get(prefix, 0) + 1
    for day in range(days):
        for rows in first:
            yield [_later(row, day, made) for row in rows]


def _later(row: Measurement, days: int, made: dict[str, int]) -> Measurement:
    prefix, _, number = row.id.rpartition("-")
    name = f"{prefix}-{int(number) + days * made[prefix]}"
    return replace(row, id=name, started_at=row.started_at + timedelta(days=days))


def main() -> int:
    """Run it; returns 0 if all marks are met."""
    command_line = parser(__doc__)
    command_line.add_argument("--days", type=int, default=365)
    command_line.add_argument(
        "--keep", type=Path, metavar="DIRECTORY", help="keep the filled hub there for another run"
    )
    options = command_line.parse_args()
    days = 7 if options.quick else options.days
    with tempfile.TemporaryDirectory(prefix="jhn-standby-") as directory:
        rows = measure(Path(directory), days, options.seed, options.keep)
    return finish(f"A hub of {days} days of eleven offices, lost and restored", rows, options)


if __name__ == "__main__":
    sys.exit(main())

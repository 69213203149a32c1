"""Times backup and restore of a hub with a year of data from eleven offices.

python -m tests.bench.standby [--quick] [--json FILE] [--seed N] [--days N]
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

import yaml

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.standby.restore import Restore
from jharnet_monitor.standby.save import save
from jharnet_monitor.store import Store
from tests.bench.marks import Row, at_most, finish, note, parser
from tests.bench.store import START, fill, pack
from tests.made_up import OFFICES

RESTORE_SECONDS = 600.0


def measure(directory: Path, days: int, seed: int) -> list[Row]:
    """Fill a hub's database, save the hub, delete it, and restore it."""
    home = directory / "hub"
    home.mkdir()
    file = home / "jharnet.yaml"
    offices = [
        {"id": office, "name": office.title(), "name_hi": office, "pc": f"127.0.1.{n + 1}"}
        for n, (office, _, _) in enumerate(OFFICES)
    ]
    data = {
        "district": {"id": "d", "name": "East Singhbhum", "name_hi": "पूर्वी सिंहभूम"},
        "hub": {"database": "sqlite:///monitor.db", "tls": False,
                "uplink": {"contracted": "34 Mbit/s"}},
        "offices": offices,
    }  # fmt: skip
    file.write_text(yaml.safe_dump(data, allow_unicode=True), "utf-8")
    clock = ManualClock(START)
    store = Store(f"sqlite:///{home / 'monitor.db'}", clock)
    store.migrate()
    count, _, _ = fill(store, clock, days, seed)
    store.chain.seal()
    pack(store)
    size = store.size()
    store.close()

    began = time.perf_counter()
    backup = save(file, directory / "away", 1)
    saved = time.perf_counter() - began
    shutil.rmtree(home)
    began = time.perf_counter()
    done = Restore(backup, home).run()
    restored = time.perf_counter() - began
    year = restored * 365 / days
    return [
        note("measurements", count, "rows"),
        note("database", size / 1e6, "MB"),
        note("saved while the hub may run", saved, "s"),
        at_most("restored and verified", restored, RESTORE_SECONDS, "s"),
        at_most("a year, from that", year, RESTORE_SECONDS, "s"),
        at_most("records not proved", count - done.records, 0, "rows"),
    ]


def main() -> int:
    """Run it; returns 0 if all marks are met."""
    command_line = parser(__doc__)
    command_line.add_argument("--days", type=int, default=365)
    options = command_line.parse_args()
    days = 7 if options.quick else options.days
    with tempfile.TemporaryDirectory(prefix="jhn-standby-") as directory:
        rows = measure(Path(directory), days, options.seed)
    return finish(f"A hub of {days} days of eleven offices, lost and restored", rows, options)


if __name__ == "__main__":
    sys.exit(main())

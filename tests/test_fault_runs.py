"""A sample of the fault runs, so that they still run: see help/accuracy.md for all of them."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from jharnet_monitor.agent import daemon
from jharnet_monitor.clock import ManualClock
from jharnet_monitor.standby.manifest import sha256_of
from jharnet_monitor.store import Store
from tests.faults import outage, soak
from tests.faults import time as time_faults
from tests.faults.power_disk import Blocks
from tests.faults.stored import ids_in
from tests.store_support import START, one

ROOT = Path(__file__).parents[1]
POWER = """
import sqlite3, sys
from pathlib import Path
from tests.faults.power_disk import PowerDisk, own_mounts
own_mounts()
disk = PowerDisk(Path(sys.argv[1]), "disk", 64)
db = sqlite3.connect(disk.place / "x.db", isolation_level=None)
db.execute("PRAGMA journal_mode=WAL"), db.execute("PRAGMA synchronous=FULL")
db.execute("CREATE TABLE t(n)")
(disk.place / "hasty").write_text("never flushed")
for number in range(20):
    db.execute("INSERT INTO t VALUES (?)", (number,))
disk.cut()
db.execute("INSERT INTO t VALUES (99)")
db.close()
disk.restore(1)
db = sqlite3.connect(disk.place / "x.db")
print(db.execute("SELECT COUNT(*), MAX(n) FROM t").fetchall())
db.close()
disk.remove()
"""


@pytest.mark.root
def test_a_power_disk_forgets_what_was_not_flushed(tmp_path: Path) -> None:
    """Commits before the cut are there, the one after it is not."""
    if not Path("/dev/fuse").exists() or not Path("/dev/loop-control").exists():
        pytest.skip("needs /dev/fuse and loop devices")
    done = subprocess.run(
        [sys.executable, "-c", POWER, str(tmp_path)], capture_output=True, text=True, check=False,
        cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == "[(20, 19)]", done.stderr


def test_runs_count_packed_measurements(tmp_path: Path) -> None:
    """The fault runs count what the store reads; the file that they read stays as it is."""
    database, clock = tmp_path / "monitor.db", ManualClock(START - timedelta(hours=2))
    store = Store(f"sqlite:///{database}", clock)
    store.migrate()
    store.ownership.take()
    made = [one(f"hub.{number}", number - 119, values={"sent": 1.0}) for number in range(50)]
    store.add(made)
    clock.step(30 * 3600)
    store.chain.seal()
    while store.packing.step():
        pass
    store.close()
    before = sha256_of(database)
    with closing(sqlite3.connect(database)) as db:
        (loose,) = db.execute("SELECT count(*) FROM measurements").fetchone()
    assert loose < len(made)
    assert sorted(ids_in(database)) == sorted(measurement.id for measurement in made)
    assert sha256_of(database) == before


def test_blocks_keep_what_was_flushed() -> None:
    """And of the rest a random part, drawn by a seed."""
    blocks = Blocks(4 * 4096)
    blocks.write(0, b"a" * 4096)
    blocks.flush()
    blocks.write(0, b"b" * 4096)
    blocks.write(4096, b"c" * 8192)
    blocks.cut()
    blocks.write(12288, b"d" * 4096)
    blocks.restore(3)
    assert bytes(blocks.seen[:1]) in (b"a", b"b")
    assert set(blocks.seen[4096:12288]) <= set(b"c\0")
    assert set(blocks.seen[12288:]) == {0}


async def test_an_office_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six minutes of it."""
    monkeypatch.setattr(daemon, "FIRST_RETRY_SECONDS", 0.1)
    monkeypatch.setattr(daemon, "LAST_RETRY_SECONDS", 0.1)
    monkeypatch.setattr(outage, "BREAKS", 1)
    rows = await outage.Outage(0.1, 1).run(tmp_path)
    assert [row for row in rows if row.ok is False] == []


def test_clocks_that_are_wrong() -> None:
    """Agents' clocks, the day of the budget, and the weeks of a year."""
    rows = [*time_faults.agents(2), *time_faults.budgets(), *time_faults.calendars(2026, 2026)]
    assert [row for row in rows if row.ok is False] == []


def test_a_soak_of_some_hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its faults; everything that was handed in is stored."""
    monkeypatch.setattr(soak, "AN_HOUR", 1)
    one = soak.Soak(tmp_path, 1)
    asyncio.run(one.run(1, hours=7))
    with sqlite3.connect(tmp_path / "monitor.db") as db:
        (stored,) = db.execute("SELECT COUNT(*) FROM measurements").fetchone()
    assert stored == one.handed_in + 7 * len(soak.OFFICES)

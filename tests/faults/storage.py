"""The database in trouble, at the start and while the hub runs: it keeps measuring and loses
nothing.

A disk that is full, read-only or slow (real file systems, small ones), a lock that another program
holds, PostgreSQL stopped, hung, or not started yet. While it lasts, probes and metrics must
continue and `/-/ready`, page and metric say what is wrong; afterwards every measurement of that
time must be there, once. Then a damaged page must be found by `db verify`, and a backup that was
made while the hub wrote must verify and serve as a hub's database.

    python -m tests.faults.storage [--quick] [--json FILE] [--seconds N] [--only CASE ...]

Needs root, a loop device and PostgreSQL. Each trouble lasts 60 s, or 8 s (`--quick`).
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import aiohttp

from jharnet_monitor.model import Route
from tests.bench.marks import Row, at_most, finish, parser, within
from tests.faults.cluster import Cluster
from tests.faults.crash import database_of, doubled, stored_ids
from tests.faults.installation import Installation, Ledger, Swarm
from tests.faults.power_disk import PowerDisk, own_mounts

SLOW_FLUSH_SECONDS = 0.5
WINDOW_SECONDS = 2.0
"""Of a latency measurement in `Installation`."""


@dataclass
class Trouble:
    """A trouble of the database at `place`: how it begins and ends, and what `/-/ready` says."""

    place: Path
    url: str
    begin: Callable[[], None]
    end: Callable[[], None]
    says: str | None


@contextmanager
def full(directory: Path) -> Iterator[Trouble]:
    """A disk of 16 MB that another program fills."""
    place, filler = directory / "small", directory / "small/filler"
    with _tmpfs(place):

        def fill() -> None:
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass

        yield Trouble(place, "sqlite:///monitor.db", fill, filler.unlink, "the disk is full")


@contextmanager
def _tmpfs(place: Path) -> Iterator[None]:
    place.mkdir()
    _run("mount", "-t", "tmpfs", "-o", "size=16m,mode=755", "jhn-storage", str(place))
    try:
        yield
    finally:
        _run("umount", "--lazy", str(place))


@contextmanager
def read_only(directory: Path) -> Iterator[Trouble]:
    """A disk that is mounted read-only at the start, as after an error of its file system."""
    disk = PowerDisk(directory, "ext4")

    def remount(how: str) -> Callable[[], None]:
        return lambda: _run("mount", "-o", f"remount,{how}", str(disk.place))

    try:
        yield Trouble(disk.place, "sqlite:///monitor.db", remount("ro"), remount("rw"), "read-only")
    finally:
        disk.remove()


@contextmanager
def slow(directory: Path) -> Iterator[Trouble]:
    """A disk whose flushes take half a second each."""
    disk = PowerDisk(directory, "ext4")
    try:
        yield Trouble(disk.place, "sqlite:///monitor.db", lambda: disk.slow(SLOW_FLUSH_SECONDS),
                      lambda: disk.slow(0), None)  # fmt: skip
    finally:
        disk.slow(0)
        disk.remove()


@contextmanager
def locked(directory: Path) -> Iterator[Trouble]:
    """Another program holds the database's lock."""
    other: list[sqlite3.Connection] = []

    def lock() -> None:
        file = directory / "installation/monitor.db"
        other.append(sqlite3.connect(file, isolation_level=None, check_same_thread=False))
        other[0].execute("PRAGMA busy_timeout=10000")
        other[0].execute("BEGIN EXCLUSIVE")

    says = "another program has locked it"
    yield Trouble(directory, "sqlite:///monitor.db", lock, lambda: other[0].close(), says)  # noqa: PLW0108


@contextmanager
def stopped(directory: Path) -> Iterator[Trouble]:
    """PostgreSQL is stopped, or not started yet."""
    with _cluster(directory) as one:
        yield Trouble(directory, one.url, one.stop, one.start, "the server cannot be reached")


@contextmanager
def hung(directory: Path) -> Iterator[Trouble]:
    """PostgreSQL accepts connections and does not answer."""
    with _cluster(directory) as one:
        yield Trouble(directory, one.url, lambda: one.signal(signal.SIGSTOP),
                      lambda: one.signal(signal.SIGCONT),
                      "the database accepts no rows")  # fmt: skip


@contextmanager
def _cluster(directory: Path) -> Iterator[Cluster]:
    sockets = directory / "sockets"
    sockets.mkdir()
    one = Cluster(directory / "postgresql", sockets)
    try:
        yield one
    finally:
        one.kill()


CASES: dict[str, tuple[Callable[[Path], contextlib.AbstractContextManager[Trouble]], bool]] = {
    "disk full, at start": (full, True),
    "disk full": (full, False),
    "disk read-only, at start": (read_only, True),
    "disk slow": (slow, False),
    "locked, at start": (locked, True),
    "locked": (locked, False),
    "PostgreSQL stopped, at start": (stopped, True),
    "PostgreSQL stopped": (stopped, False),
    "PostgreSQL hung": (hung, False),
}
QUICK = ("disk full", "PostgreSQL stopped, at start")


async def case_rows(name: str, seconds: float) -> list[Row]:
    """The outcome of one case: the measurements, and what the hub shows."""
    build, at_start = CASES[name]
    directory = new_directory()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        trouble = stack.enter_context(build(directory))
        one = Installation(trouble.place / "installation", trouble.url, 4, logs=directory)
        stack.callback(one.kill)
        one.start()
        await one.until_ready()
        if at_start:
            await one.stop()
        ledger = Ledger()
        async with Swarm(one, ledger, one.offices).working():
            await asyncio.sleep(1.0)
            await asyncio.to_thread(trouble.begin)
            began = time.time()
            if at_start:
                one.start()
                await serving(one)
                began = time.time()
            shown = await watched(one, seconds, trouble.says)
            await asyncio.to_thread(trouble.end)
            recovered = await one.until_ready()
            ended = time.time()
            await asyncio.sleep(2 * WINDOW_SECONDS)
        written = await all_written(one)
        await one.stop()
        missing = len(ledger.acknowledged - await asyncio.to_thread(stored_ids, one))
        gap = await asyncio.to_thread(longest_gap, one, began, ended)
        twice = await asyncio.to_thread(doubled, one)
    allowed = 0.0 if trouble.says is None else 1.0
    return [
        within(f"{name}: shown on ready, metric and page", shown.message, allowed, 1.0, "share"),
        at_most(f"{name}: longest pause of the echo requests", shown.pause, 3.0, "s"),
        at_most(f"{name}: longest gap between stored measurements", gap, 3 * WINDOW_SECONDS, "s"),
        at_most(f"{name}: acknowledged and lost", missing, 0, ""),
        at_most(f"{name}: doubled", twice, 0, "measurements"),
        at_most(f"{name}: ready again after", recovered, 30.0, "s"),
        at_most(f"{name}: – and all that waited written after", written, 30.0, "s"),
    ]


def new_directory() -> Path:
    """A directory of this run's, into which PostgreSQL's account may look."""
    directory = Path(tempfile.mkdtemp(prefix="jhn-storage-"))
    directory.chmod(0o755)
    return directory


async def serving(one: Installation) -> None:
    """Wait until the hub answers, ready or not."""
    async with aiohttp.ClientSession() as http, asyncio.timeout(60):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(f"{one.http}/-/healthy"):
                    return
            await asyncio.sleep(0.1)


@dataclass
class Shown:
    """What the hub showed during the trouble."""

    message: float
    """1 if ready, metric and page said what is wrong at the end of it."""
    pause: float
    """The longest time in which the count of echo requests did not grow."""


async def watched(one: Installation, seconds: float, says: str | None) -> Shown:
    """Look at the hub twice a second."""
    began = moved = time.monotonic()
    sent, pause = -1.0, 0.0
    message = 0.0
    async with aiohttp.ClientSession() as http:

        async def text(path: str) -> tuple[int, str]:
            async with http.get(f"{one.http}{path}") as answer:
                return answer.status, await answer.text()

        while time.monotonic() - began < seconds or (says and not message):
            if time.monotonic() - began > seconds + 60:
                break
            _, metrics = await text("/metrics")
            now, count = time.monotonic(), sent_packets(metrics)
            if count > sent:
                sent, moved = count, now
            pause = max(pause, now - moved)
            (status, ready), (page, html) = await text("/-/ready"), await text("/")
            failing = "jharnet_database_failing 1" in metrics
            if says is not None:
                message = float(status == 503 and says in ready and failing and page == 200
                             and 'class="notice bad database"' in html)  # fmt: skip
            await asyncio.sleep(0.5)
    # A window's requests are counted together, at its end.
    return Shown(message, max(0.0, pause - WINDOW_SECONDS))


async def all_written(one: Installation) -> float:
    """Wait until nothing waits for the database, a minute at most; returns the seconds."""
    began = time.monotonic()
    async with aiohttp.ClientSession() as http:
        while time.monotonic() < began + 60:
            async with http.get(f"{one.http}/metrics") as answer:
                if "jharnet_database_waiting_writes 0" in await answer.text():
                    break
            await asyncio.sleep(0.2)
    return time.monotonic() - began


def sent_packets(metrics: str) -> float:
    """All echo requests that the hub has counted."""
    lines = [line for line in metrics.splitlines() if "latency_packets_sent_total{" in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def longest_gap(one: Installation, began: float, ended: float) -> float:
    """The longest time between the starts of the hub's own measurements of an office."""
    store = database_of(one)
    gap = 0.0
    try:
        for office in one.offices:
            runs = store.measurements(office=office, path=Route.JHARNET)
            found = (run.started_at.timestamp() for run in runs)
            times = [began, *(at for at in found if began < at < ended), ended]
            gap = max(gap, *(b - a for a, b in pairwise(times)))
    finally:
        store.close()
    return gap


async def backup_rows(seconds: float) -> list[Row]:
    """A backup under load, restored as another hub's database; and a damaged page in it."""
    directory = new_directory()
    one = Installation(directory / "installation", "sqlite:///monitor.db", 4, logs=directory)
    one.speed = 1800.0
    again = Installation(directory / "again", "sqlite:///monitor.db", 4, logs=directory)
    try:
        one.start()
        await one.until_ready()
        ledger = Ledger()
        async with Swarm(one, ledger, one.offices).working():
            await asyncio.sleep(seconds)
            promised = set(ledger.acknowledged)
            copied = one.command("db", "backup", str(again.directory / "monitor.db"))
        await one.stop()
        verified = again.command("db", "verify")
        missing = len(promised - stored_ids(again))
        again.start()
        ready = await again.until_ready()
        await again.stop()
        hit = damage(again.directory / "monitor.db")
        found = again.command("db", "verify")
        print(found.stdout[-300:], found.stderr[-300:], sep="", file=sys.stderr)
    finally:
        one.kill()
        again.kill()
        shutil.rmtree(directory, ignore_errors=True)
    return [
        at_most("backup while running: exit code", copied.returncode, 0, ""),
        at_most("backup: `db verify` exit code", verified.returncode, 0, ""),
        at_most("backup: acknowledged before and lost", missing, 0, "measurements"),
        at_most("restored: a hub is ready on it after", ready, 30.0, "s"),
        within(f"page {hit} damaged: `db verify` exit code", found.returncode, 1, 1, ""),
        at_most("damaged: tracebacks", found.stderr.count("Traceback"), 0, ""),
    ]


def damage(file: Path) -> int:
    """Overwrite a page in use, near the middle, as a failing disk does; returns its number."""
    with contextlib.closing(sqlite3.connect(file)) as db:
        (size,) = db.execute("PRAGMA page_size").fetchone()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (pages,) = db.execute("PRAGMA page_count").fetchone()
    with file.open("r+b") as raw:
        unused = free_pages(raw.read(), int(size))
        page = next(n for n in range(int(pages) // 2, int(pages)) if n not in unused)
        raw.seek((page - 1) * size)
        raw.write(bytes([0xA5]) * int(size))
    return page


def free_pages(data: bytes, size: int) -> set[int]:
    """The pages that hold nothing: the list of SQLite's file format, section 1.5."""
    found: set[int] = set()
    (trunk,) = struct.unpack_from(">I", data, 32)
    while trunk:
        following, count = struct.unpack_from(">II", data, (trunk - 1) * size)
        found |= {trunk, *struct.unpack_from(f">{count}I", data, (trunk - 1) * size + 8)}
        trunk = following
    return found


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def main() -> int:
    """Run every case, or two of them and the backup (`--quick`)."""
    command_line = parser(__doc__)
    command_line.add_argument("--seconds", type=float, default=60.0, help="that a trouble lasts")
    command_line.add_argument("--only", nargs="+", choices=CASES, metavar="CASE")
    options = command_line.parse_args()
    own_mounts()
    seconds = 8.0 if options.quick else options.seconds
    rows: list[Row] = []
    for name in options.only or (QUICK if options.quick else CASES):
        print(name, file=sys.stderr, flush=True)
        rows += asyncio.run(case_rows(name, seconds))
    if not options.only:
        rows += asyncio.run(backup_rows(3.0))
    return finish("The database in trouble", rows, options)


if __name__ == "__main__":
    sys.exit(main())

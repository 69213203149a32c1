"""Tests that a lost hub can be restored from its backup, and that two hubs never share a database.

Real agents measure continuously. The hub is backed up while they submit results, continues to run,
and is killed; its directory is removed. The agents continue to measure. Then one command restores
the hub in another directory, at the same address. The hub must have every result that the agents
had kept exactly once. Results that the lost hub acknowledged after its backup are only counted,
because they exist only on the lost disk.

On PostgreSQL a hub is stopped (SIGSTOP) and its session ended, and another hub takes the database
over. Then the first hub continues (SIGCONT) with its remaining connections. It must write nothing.

    python -m tests.faults.standby [--quick] [--json FILE] [--seed N]
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import create_engine

from tests.bench.marks import Row, arguments, at_most, finish, note, within
from tests.faults.installation import AgentProcess, Installation, Ledger, Swarm, environment
from tests.faults.stored import ids_in
from tests.store_support import Postgres

RESTORE_SECONDS = 600.0
ENDING_SECONDS = 30.0
TAKING_OVER_SECONDS = 120.0
"""A transaction of the stopped hub holds the writers' lock for up to a minute."""


async def _until(condition: object, seconds: float) -> None:
    assert callable(condition)
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.1)


async def lost_machine(directory: Path, seconds: float) -> list[Row]:
    """Back up, lose the machine, restore, and compare."""
    old = Installation(directory / "old", "sqlite:///monitor.db", 2, directory)
    ledger = Ledger()
    agents = [AgentProcess(old, ledger, o, directory / f"spool-{o}") for o in old.offices]
    old.start()
    await old.until_ready()
    for agent in agents:
        agent.start()
    await asyncio.sleep(seconds)
    made = await asyncio.to_thread(old.command, "standby", "backup", str(directory / "away"))
    assert made.returncode == 0, made.stderr
    [backup] = (directory / "away").glob("d-*Z")
    await asyncio.sleep(seconds)
    old.kill()
    began = time.monotonic()
    late = set(ids_in(directory / "old/monitor.db")) - set(ids_in(backup / "database"))
    (directory / "old").rename(directory / "lost")
    await asyncio.sleep(seconds)

    old.file = directory / "new/jharnet.yaml"
    done = await asyncio.to_thread(_restore, old, backup, directory / "new")
    restored = time.monotonic()
    old.start()
    await old.until_ready()
    took = time.monotonic() - restored

    def missing() -> int:
        return len(ledger.kept - late - set(ids_in(directory / "new/monitor.db")))

    for agent in agents:
        await agent.drain(missing)
    there = ids_in(directory / "new/monitor.db")
    await old.stop()
    return [
        note("measured by agents", len(ledger.kept), "measurements"),
        at_most("restored after the loss", restored - began - seconds, RESTORE_SECONDS, "s"),
        at_most("hub ready after that", took, 60, "s"),
        at_most("what agents had kept, lost", missing(), 0, "measurements"),
        at_most("there twice", len(there) - len(set(there)), 0, "measurements"),
        note("acknowledged after the backup, on the lost disk only", len(late), ""),
        within("records that the restore proved", float("records are unchanged" in done or
               "hours are unchanged" in done), 1, 1, ""),
    ]  # fmt: skip


def _restore(installation: Installation, backup: Path, into: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "jharnet_monitor", "standby", "restore", str(backup),
         "--into", str(into)],
        capture_output=True, text=True, check=False, env=environment(), timeout=RESTORE_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


async def two_hubs(directory: Path, seconds: float) -> list[Row]:
    """A stopped hub continues after another one has taken its database over."""
    cluster = Postgres()
    try:
        return await _two_hubs(directory, cluster.new_database(), seconds)
    finally:
        cluster.remove()


async def _two_hubs(directory: Path, url: str, seconds: float) -> list[Row]:
    first = Installation(directory / "first", url, 4)
    second = Installation(directory / "second", url, 4)
    ledgers = Ledger(), Ledger()
    first.start()
    await first.until_ready()
    async with Swarm(first, ledgers[0], first.offices).working():
        await asyncio.sleep(seconds)
        assert first.process is not None
        first.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(0.5)
        before = len(ledgers[0].acknowledged)
        ended = await asyncio.to_thread(_end_owner, url)
        second.start()
        await second.until_ready()
        async with Swarm(second, ledgers[1], second.offices).working():
            first.process.send_signal(signal.SIGCONT)
            await asyncio.sleep(seconds)
            code: int | None = None
            with contextlib.suppress(TimeoutError):
                process = first.process
                await _until(lambda: process.poll() is not None, ENDING_SECONDS)
                code = process.returncode
            with contextlib.suppress(TimeoutError):
                await _until(lambda: ledgers[1].acknowledged, TAKING_OVER_SECONDS)
    if code is None:
        first.kill()
    await second.stop()
    return [
        note("acknowledged by the first hub", before, "measurements"),
        within("sessions ended", ended, 1, 1, ""),
        at_most("acknowledged by it after the second took over",
                len(ledgers[0].acknowledged) - before, 0, "measurements"),
        within("it ended by itself, with exit code", -1 if code is None else code, 1, 1, ""),
        note("acknowledged by the second hub", len(ledgers[1].acknowledged), "measurements"),
        within("the second hub worked on", float(len(ledgers[1].acknowledged) > 0), 1, 1, ""),
    ]  # fmt: skip


def _end_owner(url: str) -> int:
    """End the session that holds the owner's lock, as PostgreSQL does when the machine is lost."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    try:
        with engine.begin() as connection:
            ended: int = connection.exec_driver_sql(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_locks"
                " WHERE locktype = 'advisory' AND granted AND classid::bigint << 32 |"
                " objid::bigint = x'6A6861726F776E'::bigint"
            ).scalar_one()
            return ended
    finally:
        engine.dispose()


async def run(directory: Path, seconds: float) -> list[Row]:
    """Run both tests, one after the other."""
    return [
        *await lost_machine(directory / "lost-machine", seconds),
        *await two_hubs(directory / "two-hubs", seconds),
    ]


def main() -> int:
    """Run it; returns 0 if all marks are met."""
    options = arguments(__doc__)
    with tempfile.TemporaryDirectory(prefix="jhn-standby-") as directory:
        rows = asyncio.run(run(Path(directory), 3.0 if options.quick else 30.0))
    return finish("A hub lost, and two hubs on one database", rows, options)


if __name__ == "__main__":
    sys.exit(main())

"""Crashes and power cuts at random moments under load: nothing that was acknowledged is lost.

A hub, six agents of the test's own and two of the product's, all handing in without pause, while
the hub seals an hour every other second. Hub, agents or both are killed (`kill -9`) at random
moments, or the power of their disks is cut: then all that was written since the last flush is lost,
except for a random part (`tests/faults/power_disk.py`). On SQLite and on PostgreSQL, which loses
its power with the hub. An observer notes what was acknowledged; at the end it must all be
there, once, the database sound, and its hash chain whole.

    python -m tests.faults.crash [--quick] [--json FILE] [--seed N] [--rounds N]
        [--minutes N] [--only CASE ...]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.errors import StoreError
from jharnet_monitor.store import Store
from tests.bench.marks import Row, at_most, finish, note, parser
from tests.faults.cluster import Cluster
from tests.faults.installation import AgentProcess, Installation, Ledger, Swarm
from tests.faults.power_disk import PowerDisk, own_mounts

CASES = ("kill sqlite", "kill postgresql", "power sqlite", "power postgresql")
HOURS_A_SECOND = 0.5
UP_SECONDS = 3.0


@dataclass
class Victims:
    """All programs that can crash, and their disks."""

    hub: Installation
    agents: list[AgentProcess]
    ledger: Ledger
    hub_disk: PowerDisk | None = None
    agents_disk: PowerDisk | None = None
    cluster: Cluster | None = None
    crashes: int = 0
    started: list[float] = field(default_factory=list)
    """Seconds of each start of the hub until it was ready."""
    cpu: list[float] = field(default_factory=list)
    """CPU seconds of each of these starts: this machine may have other work to do."""

    async def crash(self, chance: random.Random) -> None:
        """Crash the hub, the agents, or both, at this moment."""
        self.crashes += 1
        which = chance.choice(("hub", "hub", "agents", "both"))
        if self.hub_disk is not None:
            await self._cut(which, chance.getrandbits(32))
        else:
            if which != "agents":
                self.hub.kill()
            for agent in self.agents if which != "hub" else ():
                agent.kill()
        await self._start(which)

    async def _cut(self, which: str, seed: int) -> None:
        """Cut the power of the disks; acknowledgements from here on do not count."""
        self.ledger.noting = False
        if which != "agents" and self.hub_disk is not None:
            self.hub_disk.cut()
            self.hub.kill()
            if self.cluster is not None:
                self.cluster.kill()
            await asyncio.to_thread(self.hub_disk.restore, seed)
        if which != "hub" and self.agents_disk is not None:
            self.agents_disk.cut()
            for agent in self.agents:
                agent.kill()
            await asyncio.to_thread(self.agents_disk.restore, seed + 1)
        if which != "agents" and self.cluster is not None:
            await asyncio.to_thread(self.cluster.start)
        self.ledger.noting = True

    async def _start(self, which: str) -> None:
        if which != "hub":
            for agent in self.agents:
                agent.start()
        if which != "agents":
            self.hub.start()
            self.started.append(await self.hub.until_ready())
            self.cpu.append(self.hub.cpu_seconds())


@asynccontextmanager
async def installed(case: str, directory: Path) -> AsyncIterator[Victims]:
    """Hub and agents of a case, at work until the block ends."""
    kind, database = case.split()
    ledger, cluster = Ledger(), None
    disks = [PowerDisk(directory, name) for name in ("hub", "agents") if kind == "power"]
    place = disks[0].place if disks else directory / "hub"
    spools = disks[1].place if disks else directory / "agents"
    place.mkdir(exist_ok=True)
    if database == "postgresql":
        sockets = directory / "sockets"
        sockets.mkdir()
        cluster = Cluster(place / "postgresql", sockets)
    url = "sqlite:///monitor.db" if cluster is None else cluster.url
    hub = Installation(place / "installation", url, logs=directory)
    hub.speed = 3600 * HOURS_A_SECOND
    agents = [AgentProcess(hub, ledger, office, spools / office) for office in hub.offices[:2]]
    hub_disk, agents_disk = disks or (None, None)
    for disk in disks:
        disk.sync()
    try:
        hub.start()
        await hub.until_ready()
        for agent in agents:
            agent.start()
        yield Victims(hub, agents, ledger, hub_disk, agents_disk, cluster)
    finally:
        hub.kill()
        for agent in agents:
            agent.kill()
        if cluster is not None:
            cluster.kill()
        for disk in disks:
            disk.remove()


def database_of(hub: Installation) -> Store:
    """The hub's database, opened by an observer."""
    url = str(hub.database).replace("sqlite:///", f"sqlite:///{hub.directory}/")
    return Store(url, SystemClock())


def stored_ids(hub: Installation) -> set[str]:
    """Ids of all measurements in the database."""
    store = database_of(hub)
    try:
        return {measurement.id for measurement in store.measurements()}
    finally:
        store.close()


def doubled(hub: Installation) -> int:
    """Measurements that are there, or were counted, more often than once."""
    store = database_of(hub)
    try:
        ids = [measurement.id for measurement in store.measurements()]
        counted = sum(total.runs for total in store.tallies.all())
        return len(ids) - len(set(ids)) + abs(counted - len(ids))
    finally:
        store.close()


def new_directory() -> Path:
    """A directory of this run's, into which PostgreSQL's account may look."""
    directory = Path(tempfile.mkdtemp(prefix="jhn-crash-"))
    directory.chmod(0o755)
    return directory


async def crash_run(case: str, seed: int, rounds: int, minutes: float) -> list[Row]:
    """Crash `rounds` times, or for a time, and compare the stored with the acknowledged
    measurements."""
    chance, began = random.Random(f"{seed} {case}"), time.monotonic()
    directory = new_directory()
    try:
        async with installed(case, directory) as victims:
            hub, ledger = victims.hub, victims.ledger
            async with Swarm(hub, ledger, hub.offices[2:]).working():
                while rounds > victims.crashes and time.monotonic() - began < 60 * minutes:
                    await asyncio.sleep(chance.uniform(0.05, 1.5))
                    await victims.crash(chance)
                    if victims.crashes % 20 == 0:
                        print(f"{case}: {victims.crashes}", file=sys.stderr, flush=True)
                await asyncio.sleep(1.0)
            for agent in victims.agents:
                await agent.drain(lambda: missing(hub, ledger))
            await hub.stop()
            rows = await asyncio.to_thread(rows_of, case, victims)
            for row in rows:  # a later case may never end
                print(f"{row.name}: {row.measured:.5g} {row.unit}", file=sys.stderr, flush=True)
            return rows
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def missing(hub: Installation, ledger: Ledger) -> int:
    """How many kept measurements the database does not have; 1 while it recovers from a crash."""
    try:
        return len(ledger.kept - stored_ids(hub))
    except StoreError:
        return 1


def rows_of(case: str, victims: Victims) -> list[Row]:
    """What was lost, doubled or damaged, and how long the starts took."""
    hub, ledger = victims.hub, victims.ledger
    there, verified = stored_ids(hub), hub.command("db", "verify", "--json")
    found: dict[str, Any] = {"hours": 0}
    if verified.stdout:
        found = json.loads(verified.stdout)
    for problem in found.get("problems", [verified.stderr]):
        print(f"{case}: {problem}", file=sys.stderr)
    started = sorted(victims.started) or [0.0]
    rows = [
        note(f"{case}: crashes", victims.crashes, "times"),
        note(f"{case}: acknowledged by the hub", len(ledger.acknowledged), "measurements"),
        note(f"{case}: kept by agents", len(ledger.kept), "measurements"),
        at_most(f"{case}: acknowledged and lost", len(ledger.acknowledged - there), 0, ""),
        at_most(f"{case}: kept and lost", len(ledger.kept - there), 0, ""),
        at_most(f"{case}: doubled", doubled(hub), 0, "measurements"),
        at_most(f"{case}: `db verify` exit code", verified.returncode, 0, ""),
        note(f"{case}: hours sealed", found["hours"], "hours"),
        at_most(f"{case}: up again, median", statistics.median(started), UP_SECONDS, "s"),
        note(f"{case}: CPU time of that, median", statistics.median(victims.cpu or [0.0]), "s"),
        note(f"{case}: up again, at most", started[-1], "s"),
    ]
    if victims.hub_disk is not None:
        flushes, lost = victims.hub_disk.figures()
        rows.append(note(f"{case}: flushes of the hub's disk", flushes, ""))
        rows.append(note(f"{case}: blocks of 4 kB lost", lost, ""))
    return rows


def options() -> argparse.Namespace:
    """The command line."""
    found = parser(__doc__)
    found.add_argument("--rounds", type=int, default=200, help="crashes a case")
    found.add_argument("--minutes", type=float, default=math.inf, help="a case, at most")
    found.add_argument("--only", nargs="+", choices=CASES, default=CASES, metavar="CASE")
    return found.parse_args()


def main() -> int:
    """Run each case: 200 crashes, or four of the first and of the third case (`--quick`)."""
    chosen = options()
    own_mounts()
    rounds, cases = (4, CASES[::2]) if chosen.quick else (chosen.rounds, chosen.only)
    rows = []
    for case in cases:
        rows += asyncio.run(crash_run(case, chosen.seed, rounds, chosen.minutes))
    return finish("Crashes and power cuts under load", rows, chosen)


if __name__ == "__main__":
    sys.exit(main())

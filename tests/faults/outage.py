"""An office cut off for a day: its agent hands in everything once, and a full spool reports what it
deleted.

The measurements of a day without a hub (two every 15 s) go through a real agent into its spool,
whose process is killed in between; then the hub is there again, and the session breaks at random
while the agent hands in. A second agent's spool may hold less than half of the day: the oldest fine
data must be deleted, hours and changes must stay, and the hub must show how much was lost.

    python -m tests.faults.outage [--quick] [--json FILE] [--seed N] [--hours N]
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from jharnet_monitor.agent import daemon
from jharnet_monitor.agent.daemon import Agent
from jharnet_monitor.agent.settings import AgentSettings
from jharnet_monitor.agent.spool import Spool
from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config.load import load_config
from jharnet_monitor.hub.daemon import Hub
from jharnet_monitor.model import Cause, Measurement, Outcome, Route
from tests.bench.marks import Row, at_most, finish, note, parser, within
from tests.faults.installation import TOKEN, Installation

PERIOD_SECONDS = 15.0
BREAKS = 10


def day_alone(office: str, hours: float, chance: random.Random) -> Iterator[Measurement]:
    """What an agent measures while the hub cannot be reached; its power fails once."""
    begin = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=hours)
    periods = int(hours * 3600 / PERIOD_SECONDS)
    rebooted = chance.randrange(periods)
    for number in range(periods):
        at = begin + timedelta(seconds=number * PERIOD_SECONDS)
        boot = "after" if number >= rebooted else "before"
        for route in (Route.AGENT_GATEWAY, Route.AGENT_HUB):
            gateway = route is Route.AGENT_GATEWAY
            yield Measurement(
                office, "latency", at, PERIOD_SECONDS,
                Outcome.OK if gateway else Outcome.FAILED, None if gateway else Cause.NO_REPLY,
                {"path": route.value, "boot_id": boot},
                {"sent": 15.0, "received": 15.0 * gateway, "loss_ratio": float(not gateway)},
                f"{office}-{route.value}-{number}",
            )  # fmt: skip


@dataclass
class Outage:
    """An outage of a given length, and its outcome."""

    hours: float
    seed: int
    rows: list[Row] = field(default_factory=list)

    async def run(self, directory: Path) -> list[Row]:
        """Cut two agents off, connect them again, and compare."""
        chance = random.Random(self.seed)
        one = Installation(directory, "sqlite:///monitor.db", 2)
        made = {o: list(day_alone(o, self.hours, chance)) for o in one.offices}
        bound = int(len(made["o1"]) * 0.4)
        await asyncio.to_thread(fill, directory / "o0", made["o0"], None)
        await asyncio.to_thread(fill, directory / "o1", made["o1"], bound)
        hub = Hub(one.file, load_config(one.file), SystemClock())
        at_work = asyncio.create_task(hub.run())
        breaks = await self._hand_in(one, hub, directory, chance)
        shown = hub.live.offices["o1"].agent.dropped
        there = {o: stored(hub, o) for o in one.offices}
        hub.stop()
        await at_work
        self._judge_all(made["o0"], there["o0"], breaks)
        self._judge_bound(made["o1"], there["o1"], bound, shown)
        return self.rows

    async def _hand_in(
        self, one: Installation, hub: Hub, directory: Path, chance: random.Random
    ) -> int:
        """Connect the agents until nothing waits; break the first one's sessions meanwhile."""
        agents = [
            Agent(AgentSettings(one.agents, o, TOKEN, directory / o), SystemClock())
            for o in one.offices
        ]
        tasks = [asyncio.create_task(agent.run()) for agent in agents]
        breaks = 0
        async with asyncio.timeout(600):
            while any([await agent._in_spool(len, agent.spool) for agent in agents]):
                await asyncio.sleep(chance.uniform(0.05, 0.3))
                session = hub.agents.get("o0")
                if session is not None and session.transport is not None and breaks < BREAKS:
                    session.transport.abort()
                    breaks += 1
            while hub.agents.get("o1") is None:
                await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)
        for agent in agents:
            agent.stop()
        await asyncio.gather(*tasks)
        return breaks

    def _judge_all(self, made: list[Measurement], there: list[str], breaks: int) -> None:
        name = f"{self.hours:g} h cut off"
        self.rows += [
            note(f"{name}: measured", len(made), "measurements"),
            note(f"{name}: sessions broken while handing in", breaks, "times"),
            at_most(f"{name}: lost", len({m.id for m in made} - set(there)), 0, "measurements"),
            at_most(f"{name}: there twice", len(there) - len(set(there)), 0, "measurements"),
        ]

    def _judge_bound(
        self, made: list[Measurement], there: list[str], bound: int, shown: int
    ) -> None:
        name = f"spool of {bound}"
        lost = {m.id for m in made} - set(there)
        hours = {(m.route, m.started_at.hour, m.started_at.date()) for m in made}
        kept = {(m.route, m.started_at.hour, m.started_at.date()) for m in made if m.id in there}
        newest = [m.id for m in made[-bound // 2 :]]
        fine = [n for n, m in enumerate(made) if m.id in lost]
        self.rows += [
            at_most(f"{name}: held too many", len(there) - bound, 0, "measurements"),
            within(f"{name}: lost", len(lost), len(made) - bound, len(made) - bound, ""),
            within(f"{name}: the hub shows as lost", shown, len(lost), len(lost), ""),
            at_most(f"{name}: hours of which nothing is left", len(hours - kept), 0, "hours"),
            at_most(f"{name}: of the newer half lost", len(lost & set(newest)), 0, ""),
            at_most(f"{name}: lost after one that is kept as fine", disorder(made, lost, fine), 0,
                    ""),
        ]  # fmt: skip


def disorder(made: list[Measurement], lost: set[str], gone: list[int]) -> int:
    """Fine data that were lost although older fine data are kept, not counting hours and
    changes."""
    informative = set(informative_measurements(made))
    expendable = lost | informative
    oldest_kept = next((n for n, m in enumerate(made) if m.id not in expendable), len(made))
    return sum(number > oldest_kept for number in gone)


def informative_measurements(made: list[Measurement]) -> Iterator[str]:
    """The first of each hour and of a process, and each change of boot, of a series."""
    before: dict[str, object] = {}
    for number, one in enumerate(made):
        if number == len(made) // 2:  # a new process begins to measure
            before.clear()
        key = (one.started_at.replace(minute=0, second=0), one.conditions["boot_id"])
        if before.get(one.series) != key:
            yield one.id
        before[one.series] = key


def fill(directory: Path, made: list[Measurement], bound: int | None) -> None:
    """Spool a day; the process is killed half-way, so that the spool is opened twice."""
    half = len(made) // 2
    for part in (made[:half], made[half:]):
        spool = Spool(directory) if bound is None else Spool(directory, bound)
        for one in part:
            spool.put(one)
        spool.close()  # what a kill leaves is the same: each entry is committed


def stored(hub: Hub, office: str) -> list[str]:
    """Ids of an office's measurements by its agent of this run."""
    found = hub.store.measurements(office=office)
    return [m.id for m in found if m.id.startswith(f"{office}-")]


def main() -> int:
    """Run a day, or an hour (`--quick`)."""
    command_line = parser(__doc__)
    command_line.add_argument("--hours", type=float, default=24.0, help="that the outage lasts")
    options = command_line.parse_args()
    daemon.LAST_RETRY_SECONDS = daemon.FIRST_RETRY_SECONDS = 0.2
    outage = Outage(1.0 if options.quick else options.hours, options.seed)
    with tempfile.TemporaryDirectory(prefix="jhn-outage-") as directory:
        rows = asyncio.run(outage.run(Path(directory)))
    return finish("An office cut off", rows, options)


if __name__ == "__main__":
    sys.exit(main())

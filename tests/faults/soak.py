"""Thirty days of eleven offices in minutes: anything that grows without bound would be seen.

A hub's parts on a clock of the run's own, its database, its queue and its metrics, with an agent of
each office on a WebSocket. Each hour every agent hands in what it measured and the hub records its
own, seals, and is scraped; at night it prunes. Faults happen all the time: sessions break, agents
say goodbye, offices go down, the database is away for hours, some measurements are refused, windows
are planned. After a warm-up of half of the days nothing may grow: memory, descriptors, tasks,
database.

    python -m tests.faults.soak [--quick] [--json FILE] [--seed N] [--days N]
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
from aiohttp import web

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.errors import StoreError
from jharnet_monitor.hub.agent_server import AgentServer
from jharnet_monitor.hub.journal import Journal
from jharnet_monitor.hub.office_monitor import OfficeMonitor
from jharnet_monitor.hub.recorder import Recorder
from jharnet_monitor.hub.runner import Runner
from jharnet_monitor.hub.store_writer import StoreWriter
from jharnet_monitor.live import Live
from jharnet_monitor.metrics import MetricsRegistry
from jharnet_monitor.model import Measurement, Outcome
from jharnet_monitor.probes import PRUNABLE
from jharnet_monitor.store import Store, Window
from jharnet_monitor.store.retention import cutoff
from tests.bench.marks import Row, at_most, finish, note, parser
from tests.support import make_config

OFFICES = tuple(f"o{number}" for number in range(11))
START = datetime(2026, 11, 1, tzinfo=UTC)
AN_HOUR = 12
"""Measurements of each of an agent's series an hour; a twelfth of the truth's is handed in."""
KEPT_DAYS = 7
IST = ZoneInfo("Asia/Kolkata")


@dataclass(frozen=True)
class Figures:
    """The memory of the process and the size of the database at the end of a day."""

    memory: float
    descriptors: int
    tasks: int
    objects: int
    database: float

    @classmethod
    def of(cls, store: Store) -> Figures:
        """Now; memory and database in MB."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return cls(
            pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(list(Path("/proc/self/fd").iterdir())),
            len(asyncio.all_tasks()), len(gc.get_objects()), store.size() / 1e6,
        )  # fmt: skip


@dataclass
class Soak:
    """The parts of a hub, its agents, and the days that they have seen."""

    directory: Path
    seed: int
    days: list[Figures] = field(default_factory=list)
    handed_in: int = 0
    faults: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.clock = ManualClock(START)
        self.current = CurrentConfig(make_config(OFFICES))
        self.live = Live(self.current)
        self.store = Store(f"sqlite:///{self.directory}/monitor.db", self.clock)
        self.store.migrate()
        self.writer = StoreWriter(self.store, self.directory / "w.db", self.live.hub, self.clock)
        self.journal = Journal(self.writer, self.clock)
        self.recorder = Recorder(self.current, self.writer, self.live, self.clock)
        self.runner = Runner(
            self.current, self.clock, lambda _: None, self.recorder.spent_today,
            self.recorder.record,
        )  # fmt: skip
        self.monitor = OfficeMonitor(
            self.current, self.clock, self.live, self.recorder, self.writer, self.runner
        )
        self.agents = AgentServer(lambda *_: True, self.monitor, self.clock)
        self.metrics = MetricsRegistry(self.live, self.clock)
        self.sessions: dict[str, aiohttp.ClientWebSocketResponse] = {}

    async def run(self, days: int, hours: int = 24) -> None:
        """Let the days pass, each with `hours` hours."""
        app = web.Application()
        app.router.add_get("/agent", self.agents.handle_socket)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        await self.monitor.restore()
        headers = {"Authorization": "Bearer t"}
        async with aiohttp.ClientSession(headers=headers) as self.http:
            self.address = f"http://127.0.0.1:{port}/agent"
            for number in range(days):
                for hour in range(hours):
                    await self._hour(number * hours + hour)
                await self._night()
                self.days.append(Figures.of(self.store))
            for session in self.sessions.values():
                await session.close()
        await self.agents.close()
        await runner.cleanup()
        await self.writer.close()
        self.store.close()

    async def _hour(self, number: int) -> None:
        """One hour of all offices, with its faults."""
        away = number % 17 == 5
        if away:
            self.faults += 1
            self.writer.add = _away  # type: ignore[method-assign, assignment]
            self.writer._try_write = _not_written  # type: ignore[method-assign, assignment]
        for office in OFFICES:
            await self._fault(office)
            await self.recorder.record(self._minute(office, {}, f"h{number}{office}"))
        if away:
            del self.writer.add, self.writer._try_write
            await self.writer.write_later()
        for office in OFFICES:
            await self._hand_in(office, number)
        await self.journal.heartbeat()
        await self.monitor._update_planned()
        await self.monitor._reviews.run_due()
        for family in self.metrics.collect():
            family.samples  # noqa: B018 - a scrape reads them
        self.clock._pass(3600)
        await asyncio.to_thread(self.store.chain.seal)

    async def _fault(self, office: str) -> None:
        """Now and then a session breaks, an agent says goodbye, or an office goes down."""
        kind = self.chance.choices(("none", "broken", "goodbye", "down", "planned"),
                                   (80, 6, 6, 6, 2))[0]  # fmt: skip
        self.faults += kind != "none"
        session = self.sessions.get(office)
        if kind in ("broken", "goodbye") and session is not None:
            if kind == "goodbye":
                await session.send_json({"type": "goodbye"})
            await session.close()
            del self.sessions[office]
        seen = self.monitor._tracker.offices[office]
        seen.router = seen.pc = kind != "down"
        self.monitor._tracker.look()
        await self.monitor._update_states()
        if kind == "planned":
            now = self.clock.now()
            window = Window(office, now, now + timedelta(hours=1), "work")
            await asyncio.to_thread(self.store.event_log.add_window, window)

    async def _hand_in(self, office: str, number: int) -> None:
        session = self.sessions.get(office)
        if session is None or session.closed:
            session = self.sessions[office] = await self._connect(office)
        items = [
            self._minute(office, {"path": path}, f"a{number}{office}{path}{n}").to_json()
            for path in ("agent_gateway", "agent_hub")
            for n in range(AN_HOUR)
        ]
        items.append({**items[0], "id": "refused", "values": {"flux": 1.0}})
        try:
            await session.send_json({"type": "measurements", "items": items})
            while (await session.receive_json(timeout=60))["type"] != "ack":
                pass
        except (aiohttp.ClientError, TypeError):  # silent for too long, on a slow machine
            del self.sessions[office]
            await self._hand_in(office, number)
            return
        self.handed_in += len(items) - 1

    async def _connect(self, office: str) -> aiohttp.ClientWebSocketResponse:
        session = await self.http.ws_connect(self.address, params={"office": office})
        boot = self.chance.choice(("b", f"b{self.clock.monotonic():.0f}"))
        await session.send_json({"type": "hello", "protocol": 1, "boot_id": boot,
                                 "uptime_seconds": 100.0, "spooled": 0})  # fmt: skip
        return session

    def _minute(self, office: str, conditions: dict[str, Any], name: str) -> Measurement:
        rtt = self.chance.uniform(0.02, 0.05)
        values = {"sent": 60.0, "received": 60.0, "loss_ratio": 0.0, "rtt_p50_seconds": rtt}
        return Measurement(office, "latency", self.clock.now(), 60.0, Outcome.OK, None, conditions,
                           values, name)  # fmt: skip

    async def _night(self) -> None:
        before = cutoff(self.clock.now(), KEPT_DAYS * 86400.0, IST)
        await asyncio.to_thread(self.store.retention.prune, before, IST, PRUNABLE)

    def rows(self) -> list[Row]:
        """The growth in the second half of the days."""
        half = len(self.days) // 2
        warm, end = self.days[half], self.days[-1]
        span = len(self.days) - 1 - half
        kept = len(self.days) > 2 * KEPT_DAYS  # before it the database grows by what it keeps
        database = end.database / warm.database - 1
        grown = at_most("database grew by", database, 0.15, "of its size") if kept else note(
            "database grew by", database, "of its size")  # fmt: skip
        return [
            note("days", len(self.days), "days"),
            note("measurements handed in", self.handed_in, ""),
            note("faults", self.faults, ""),
            note("memory at the end", end.memory, "MB"),
            at_most(f"memory grew in the last {span} days by", end.memory - warm.memory, 8.0, "MB"),
            at_most("descriptors grew by", end.descriptors - warm.descriptors, 3, ""),
            at_most("tasks grew by", end.tasks - warm.tasks, 12, "tasks"),
            at_most("Python objects grew by", end.objects / warm.objects - 1, 0.03, "of them"),
            note("database at the end", end.database, "MB"),
            grown,
            at_most("records still waiting", self.live.hub.writes_waiting, 0, ""),
        ]


async def _away(*_: Any) -> Any:
    raise StoreError("the database is away")


async def _not_written(*_: Any) -> bool:
    return False


def main() -> int:
    """Soak for thirty days, or for two (`--quick`)."""
    command_line = parser(__doc__)
    command_line.add_argument("--days", type=int, default=30)
    options = command_line.parse_args()
    logging.disable(logging.WARNING)  # each refusal is one
    with tempfile.TemporaryDirectory(prefix="jhn-soak-") as directory:
        soak = Soak(Path(directory), options.seed)
        asyncio.run(soak.run(2 if options.quick else options.days))
    return finish("Thirty days", soak.rows(), options)


if __name__ == "__main__":
    sys.exit(main())

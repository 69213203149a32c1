"""A hub for the tests of the web: the live state is made up, the store is real, and requests of the
web to the hub are recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config import Config
from jharnet_monitor.errors import UserError
from jharnet_monitor.judge.conference.drill import Drill, DrillState
from jharnet_monitor.live import Live
from jharnet_monitor.metrics import MetricsRegistry
from jharnet_monitor.model import Measurement
from jharnet_monitor.profiles import Profile
from jharnet_monitor.store import Store, Window
from jharnet_monitor.store.acts import ACT, OF_PEOPLE, Act
from jharnet_monitor.web.maintenance import window_json
from jharnet_monitor.web.readers import Readers
from tests.empty_database import write_empty_database
from tests.made_up import NOW, latency


class NoAgents:
    """An endpoint that admits no agent."""

    async def handle_socket(self, request: web.Request) -> web.StreamResponse:
        """Refuse, as the hub does without a token."""
        raise web.HTTPUnauthorized(reason="no token")

    async def handle_transfer(self, request: web.Request) -> web.StreamResponse:
        """Refuse."""
        raise web.HTTPNotFound


class MadeUpHealth:
    """A health that the test sets."""

    answer: tuple[bool, str] = (True, "")

    def ready(self) -> tuple[bool, str]:
        """As it was set."""
        return self.answer


class NoUpdates:
    """Nothing is published, and what is offered is only noted."""

    def __init__(self) -> None:
        self.offered: list[tuple[Any, ...]] = []

    async def offer(self, version: str, offices: tuple[str, ...] | None, by: str) -> None:
        """Note it, or refuse as the hub does."""
        if version == "9.9.9":
            raise UserError("no release 9.9.9 is published; there are: none yet")
        self.offered.append((version, offices, by))

    async def withdraw(self) -> None:
        """Note it."""
        self.offered.append((None,))

    async def status(self) -> dict[str, Any]:
        """As a hub without releases."""
        return {"release_key": None, "releases": [], "offered": None, "offices": []}


class MadeUpHub:
    """Implements `HubApi`."""

    probe_names = ("latency", "bandwidth", "conference")

    def __init__(self, live: Live, directory: Path) -> None:
        self.live = live
        self.clock = ManualClock(NOW)
        write_empty_database(directory / "monitor.db")
        self.store = Store(f"sqlite:///{directory}/monitor.db", self.clock)
        self.store.migrate()
        self.reports_dir: Path | None = directory / "reports"
        self.sessions_file: Path | None = directory / "sessions"
        self.metrics_registry = MetricsRegistry(self.live, self.clock)
        self.requested: list[tuple[Any, ...]] = []
        self.acts: list[Act] = []
        self.broken_configuration = False
        self.agents = NoAgents()
        self.read = Readers()
        self.health = MadeUpHealth()
        self.updates = NoUpdates()

    @property
    def config(self) -> Config:
        """The live state's."""
        return self.live.config

    def next_tests(self) -> Mapping[tuple[str, str], datetime]:
        """One test is planned."""
        return {("jamshedpur", "conference"): NOW}

    async def run_probe(
        self, office_id: str, probe: str, options: Mapping[str, Any]
    ) -> Measurement:
        """Record the request and return a measurement."""
        self.requested.append((office_id, probe, dict(options)))
        if "wrong" in options:
            raise UserError("latency has no option `wrong`")
        return latency(office_id, NOW)

    async def start_drill(self, profile: str, minutes: float) -> Drill:
        """Record the request."""
        self.requested.append(("drill", profile, minutes))
        return Drill("d1", DrillState.RUNNING, Profile(profile), NOW, ())

    async def drill(self, drill_id: str) -> Drill | None:
        """One that was started, or as the store has it."""
        if drill_id == "d1":
            return Drill("d1", DrillState.DONE, Profile.P360, NOW, ())
        return await self.read(self.store.event_log.drill, drill_id)

    async def newest_drill(self) -> Drill | None:
        """As the store has it."""
        return await self.read(self.store.event_log.newest_drill)

    async def plan(
        self, office_id: str | None, begin: datetime, end: datetime, reason: str
    ) -> dict[str, Any]:
        """Record the request."""
        self.requested.append(("plan", office_id, begin, end, reason))
        window = Window(office_id, begin, end, reason)
        number = await self.read(self.store.event_log.add_window, window)
        return window_json(replace(window, number=number))

    async def withdraw(self, window: Window) -> dict[str, Any]:
        """Store it, as a hub does."""
        now = self.clock.now()
        await self.read(self.store.event_log.withdraw_window, window, now)
        return window_json(replace(window, withdrawn=now))

    async def book_fault(self, office_id: str, entry: Mapping[str, Any]) -> None:
        """Store it, as a hub does."""
        self.requested.append(("book_fault", office_id, entry))
        self.store.event_log.add_event(office_id, "fault", self.clock.now(), entry)

    async def record_act(self, act: Act) -> None:
        """Keep it in the store, as the hub does."""
        self.acts.append(act)
        now = self.clock.now()
        await self.read(self.store.event_log.add_event, OF_PEOPLE, ACT, now, act.to_json())

    async def reload(self) -> None:
        """Succeed, unless the configuration is broken."""
        self.requested.append(("reload",))
        if self.broken_configuration:
            raise UserError("jharnet.yaml:3: hub.listen: must be such as 0.0.0.0:9797")

"""The interface of the hub that pages and API use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.judge.conference.drill import Drill
from jharnet_monitor.live import Live
from jharnet_monitor.metrics import MetricsRegistry
from jharnet_monitor.model import Measurement
from jharnet_monitor.store import Store, Window
from jharnet_monitor.store.acts import Act
from jharnet_monitor.web.readers import Readers


class AgentEndpoint(Protocol):
    """Serves the agents."""

    async def handle_socket(self, request: web.Request) -> web.StreamResponse:
        """Handle an agent's WebSocket."""

    async def handle_transfer(self, request: web.Request) -> web.StreamResponse:
        """Handle a one-time transfer between a running probe and its agent."""


class Readiness(Protocol):
    """Knows whether the hub works."""

    def ready(self) -> tuple[bool, str]:
        """Whether the hub works, and a text that says why not."""


class UpdateDesk(Protocol):
    """Offers published versions to the agents."""

    async def offer(self, version: str, offices: tuple[str, ...] | None, by: str) -> object:
        """Offer a version to offices, or in stages to all; raises `UserError`."""

    async def withdraw(self) -> None:
        """Withdraw the offer."""

    async def status(self) -> dict[str, Any]:
        """The releases, the current offer, and the state of each office."""


class HubApi(Protocol):
    """The hub, as seen by pages and API."""

    @property
    def config(self) -> Config:
        """The configuration in force."""

    @property
    def live(self) -> Live:
        """The live state."""

    @property
    def store(self) -> Store:
        """What was measured and what happened; it blocks, so it is called by `read`."""

    @property
    def clock(self) -> Clock:
        """The hub's clock."""

    @property
    def metrics_registry(self) -> MetricsRegistry:
        """The metrics that `/metrics` returns."""

    @property
    def agents(self) -> AgentEndpoint:
        """The endpoint for agents."""

    @property
    def updates(self) -> UpdateDesk:
        """The agents' updates."""

    @property
    def health(self) -> Readiness:
        """The readiness that `/-/ready` returns."""

    @property
    def read(self) -> Readers:
        """Runs reads of the store in threads of the web application."""

    @property
    def sessions_file(self) -> Path | None:
        """Where the signed-in browsers are kept; None to forget them at a restart."""

    @property
    def reports_dir(self) -> Path | None:
        """Directory of the reports; None if there is none."""

    @property
    def probe_names(self) -> Sequence[str]:
        """The probes that can be run on demand."""

    def next_tests(self) -> Mapping[tuple[str, str], datetime]:
        """When each probe runs next by the schedule, by office and probe."""

    async def run_probe(
        self, office_id: str, probe: str, options: Mapping[str, Any]
    ) -> Measurement:
        """Run a probe now; raises `UserError` if the options are invalid."""

    async def start_drill(self, profile: str, minutes: float) -> Drill:
        """Start a drill of all offices; raises `UserError` when one is running."""

    async def drill(self, drill_id: str) -> Drill | None:
        """A drill by its id, as it stands; None when there is none."""

    async def newest_drill(self) -> Drill | None:
        """The newest drill, as it stands; None if there was none."""

    async def plan(
        self, office_id: str | None, begin: datetime, end: datetime, reason: str
    ) -> dict[str, Any]:
        """Announce planned maintenance of one office, or of all (None)."""

    async def withdraw(self, window: Window) -> dict[str, Any]:
        """Withdraw planned maintenance that was announced."""

    async def book_fault(self, office_id: str, entry: Mapping[str, Any]) -> None:
        """Store an entry of the fault ledger."""

    async def record_act(self, act: Act) -> None:
        """Record what somebody does now, in the log and in the event log."""

    async def reload(self) -> None:
        """Reload the configuration; raises `UserError` and keeps the old one if it is invalid."""

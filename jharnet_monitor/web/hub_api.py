"""What the pages and the API need of the hub; the hub implements it."""

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
from jharnet_monitor.store import Store
from jharnet_monitor.web.readers import Readers


class AgentEndpoint(Protocol):
    """What answers the agents."""

    async def handle_socket(self, request: web.Request) -> web.StreamResponse:
        """The agent's WebSocket."""

    async def handle_transfer(self, request: web.Request) -> web.StreamResponse:
        """A one-time exchange of a running probe with its agent."""


class Readiness(Protocol):
    """What knows whether the hub does its work."""

    def ready(self) -> tuple[bool, str]:
        """Whether the hub does its work, and in words why not."""


class HubApi(Protocol):
    """The hub as the web sees it."""

    @property
    def config(self) -> Config:
        """The configuration in force."""

    @property
    def live(self) -> Live:
        """What is known now."""

    @property
    def store(self) -> Store:
        """What was measured and what happened; it blocks, so it is called by `read`."""

    @property
    def clock(self) -> Clock:
        """The hub's clock."""

    @property
    def metrics_registry(self) -> MetricsRegistry:
        """What `/metrics` answers."""

    @property
    def agents(self) -> AgentEndpoint:
        """What answers the agents."""

    @property
    def health(self) -> Readiness:
        """What `/-/ready` answers."""

    @property
    def read(self) -> Readers:
        """Runs what reads the store, in threads of the web's own."""

    @property
    def reports_dir(self) -> Path | None:
        """Where reports are kept; None when there is no such place."""

    @property
    def probe_names(self) -> Sequence[str]:
        """The probes that can be run on demand."""

    async def run_probe(
        self, office_id: str, probe: str, options: Mapping[str, Any]
    ) -> Measurement:
        """Run a probe now; raises `UserError` when the options are wrong."""

    async def start_drill(self, profile: str, minutes: float) -> Drill:
        """Start a drill of all offices; raises `UserError` when one is running."""

    async def drill(self, drill_id: str) -> Drill | None:
        """A drill by its id, as it stands; None when there is none."""

    async def newest_drill(self) -> Drill | None:
        """The drill that began last, as it stands; None when none ever did."""

    async def plan(
        self, office_id: str | None, begin: datetime, end: datetime, reason: str
    ) -> dict[str, Any]:
        """Announce a planned window of one office, or of all (None)."""

    async def reload(self) -> None:
        """Read the configuration again; raises `UserError` and keeps the old one when wrong."""

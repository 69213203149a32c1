"""The agent's own view of the link: continuous echo requests to its gateway and to the hub. They
continue while the link is down, so that a cut line can later be told from a power cut. The results
are latency measurements with `conditions.path` `agent_gateway` and `agent_hub`, one of each a
minute.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from jharnet_monitor.agent import machine
from jharnet_monitor.clock import Clock
from jharnet_monitor.model import CountedIds, Measurement, Route
from jharnet_monitor.probes.base import (
    DURATION_DECIMALS,
    AgentContext,
    AgentTask,
    Channel,
    NoData,
    ProbeError,
    Reading,
    measurement_of,
)
from jharnet_monitor.probes.dns import SocketAddress, resolve
from jharnet_monitor.probes.latency.icmp import PingNotAllowed
from jharnet_monitor.probes.latency.pinger import Pinger
from jharnet_monitor.probes.latency.statistics import EchoTally
from jharnet_monitor.windows_api import fine_timers
from jharnet_monitor.wire.protocol import UPTIME

log = logging.getLogger(__name__)

EVERY_SECONDS = 60.0
ALONE_SECONDS = 15.0
"""Shorter while the hub cannot be reached, because a power cut loses the current period."""
SPACING_SECONDS = 1.0
LOOK_UP_SECONDS = 0.3
"""How long the first request waits for the addresses. A name server beyond a cut line does not
answer for seconds, in which the gateway must be pinged."""
TIMEOUT_SECONDS = 2.0


class SelfMonitor:
    """Pings gateway and hub until cancelled, and records one measurement of each a minute."""

    def __init__(
        self, office: str, hub_host: str, clock: Clock, record: Callable[[Measurement], None]
    ) -> None:
        self._office = office
        self._hub_host = hub_host
        self._clock = clock
        self._record = record
        self._fold_now = False
        self._alone = True
        self._stopping = False
        self._tests_running = 0
        self._loaded = False
        self._uptime = 0.0
        self._ids = CountedIds(f"{office}_")

    def hub_reached(self, reached: bool) -> None:
        """Note that the session began or ended; the current period ends, so that none covers
        both."""
        self._alone, self._fold_now = not reached, True

    def stopping(self) -> None:
        """Note that the agent is being stopped: its absence afterwards proves nothing."""
        self._stopping = True

    def marks_load(self, task: AgentTask) -> AgentTask:
        """Wrap the agent's half of a test, so that simultaneous measurements get `under_load`, and
        that it keeps its pace.
        """

        async def run(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
            with self.load(), fine_timers():
                await task(channel, params, context)

        return run

    @contextmanager
    def load(self) -> Iterator[None]:
        """Mark what is measured meanwhile as `under_load`."""
        self._tests_running += 1
        self._loaded = True
        try:
            yield
        finally:
            self._tests_running -= 1

    async def run(self) -> None:
        """Measure until cancelled; returns, with a warning, where this machine may not ping."""
        pinger = Pinger(TIMEOUT_SECONDS)
        try:
            while True:
                await self._period(pinger)
        except PingNotAllowed as error:
            log.warning("this agent cannot tell a cut line from a power cut: %s", error)
        finally:
            pinger.close()

    async def _period(self, pinger: Pinger) -> None:
        """Measure for one period; if cancelled, record what was sent until then."""
        started_at, started = self._clock.now(), self._clock.monotonic()
        self._uptime = machine.uptime()
        self._loaded = self._tests_running > 0
        addresses: dict[Route, SocketAddress] = {}
        tallies: dict[Route, EchoTally] = {}
        look_up = asyncio.create_task(self._look_up(addresses), name="look up")
        try:
            await asyncio.wait({look_up}, timeout=LOOK_UP_SECONDS)
            while self._clock.monotonic() - started < self._length and not self._fold_now:
                for path, address in addresses.items():
                    _send(pinger, tallies.setdefault(path, EchoTally()), address)
                await self._clock.sleep(SPACING_SECONDS)
            await pinger.settle()
            if look_up.done():
                look_up.result()
        finally:
            look_up.cancel()
            self._fold_now = False
            duration = self._clock.monotonic() - started
            for path, tally in tallies.items():
                if tally.expected:
                    self._record(self._measurement(path, tally, started_at, duration))

    @property
    def _length(self) -> float:
        return ALONE_SECONDS if self._alone else EVERY_SECONDS

    async def _look_up(self, found: dict[Route, SocketAddress]) -> None:
        """Look up the addresses to ping, the gateway's first; each time, because a laptop changes
        networks.
        """
        hosts = {Route.AGENT_GATEWAY: machine.default_gateway(), Route.AGENT_HUB: self._hub_host}
        for path, name in hosts.items():
            if name is not None:
                try:
                    found[path] = await resolve(name)
                except NoData as error:
                    log.info("%s", error.detail)

    def _measurement(
        self, path: Route, tally: EchoTally, started_at: datetime, duration: float
    ) -> Measurement:
        conditions: dict[str, object] = {
            "path": path.value, "boot_id": machine.boot_id(),
            UPTIME: round(self._uptime, 1),
        }  # fmt: skip
        if self._stopping:
            conditions["stopped"] = True
        if self._loaded:
            conditions["under_load"] = True
        result: Reading | ProbeError
        try:
            result = tally.reading(conditions)
        except ProbeError as error:
            result = error
        lasted = round(duration, DURATION_DECIMALS)
        made = measurement_of(self._office, "latency", result, started_at, lasted, conditions)
        return replace(made, id=self._ids())


def _send(pinger: Pinger, tally: EchoTally, address: SocketAddress) -> None:
    try:
        pinger.send(tally, address)
    except PingNotAllowed:
        raise
    except OSError as error:
        tally.send_failed(error)

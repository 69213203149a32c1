"""Bandwidth tests between a hub's agent server and a real agent, on loopback or in a lab."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from aiohttp import web

from jharnet_monitor.agent.daemon import Agent
from jharnet_monitor.agent.settings import AgentSettings
from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config import Config
from jharnet_monitor.config.schema import Link
from jharnet_monitor.hub.agent_connection import AgentConnection
from jharnet_monitor.hub.agent_server import AgentEvents, AgentServer
from jharnet_monitor.lab import HEADQUARTERS, Lab
from jharnet_monitor.probes.agent_tasks import AGENT_TASKS
from jharnet_monitor.probes.bandwidth.run import run
from jharnet_monitor.probes.base import AgentTask, ProbeContext, ProbeError
from tests import busy_host
from tests.support import make_config, running

OFFICE, TOKEN = "potka", "potka-token"


@dataclass(frozen=True)
class Result:
    """The result of a test: values and conditions, also of a failed one."""

    values: Mapping[str, float]
    conditions: Mapping[str, Any]
    error: ProbeError | None = None

    @property
    def down(self) -> float:
        """Mbit/s towards the office."""
        return self.values["download_bits_per_second"] / 1e6

    @property
    def up(self) -> float:
        """Mbit/s from the office."""
        return self.values["upload_bits_per_second"] / 1e6


def settings(down: str, up: str | None = None, **bandwidth: Any) -> Config:
    """One office with these contracted rates, and an uplink that is faster."""
    config = make_config(
        offices=(OFFICE,),
        probes={"bandwidth": bandwidth},
        hub={"uplink": {"contracted": "1 Gbit/s"}},
    )
    link = Link.model_validate({"contracted": down, "contracted_up": up})
    office = config.offices[0].model_copy(update={"link": link})
    hub = config.hub.model_copy(update={"listen": "0.0.0.0:9797"})
    return config.model_copy(update={"offices": (office,), "hub": hub})


async def measure(config: Config, agent: Any, *, granted: float = inf, **options: Any) -> Result:
    """Run one test as the hub does, on the running event loop; without a long one by default."""
    options.setdefault("sustained", "never")
    context = ProbeContext(config, config.offices[0], SystemClock(), agent, options, granted)
    try:
        reading = await run(context)
    except ProbeError as error:
        return Result(error.values, error.conditions, error)
    return Result(reading.values, reading.conditions)


async def undisturbed(config: Config, agent: Any, **options: Any) -> Result:
    """As `measure`, repeated where this machine was too busy for a result."""
    return await busy_host.undisturbed(lambda: measure(config, agent, **options))


@contextlib.asynccontextmanager
async def agent_server(
    host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[AgentServer, int]]:
    """The hub's agent server, and the port on which it listens."""

    def authenticate(office: str, token: str) -> bool:
        return (office, token) == (OFFICE, TOKEN)

    agents = AgentServer(authenticate, AgentEvents(), SystemClock())
    app = web.Application()
    app.router.add_get("/agent", agents.handle_socket)
    app.router.add_route("*", "/agent/transfer/{key}", agents.handle_transfer)
    runner = web.AppRunner(app, shutdown_timeout=0.5, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, host, port, ssl_context=tls)
    await site.start()
    try:
        yield agents, runner.addresses[0][1]
    finally:
        await agents.close()
        await runner.cleanup()


async def agent_connection(agents: AgentServer) -> AgentConnection:
    """The connection of the office's agent, as soon as there is one."""
    async with asyncio.timeout(15):
        while (found := agents.get(OFFICE)) is None:
            await asyncio.sleep(0.02)
    return found


@contextlib.asynccontextmanager
async def running_agent(url: str, ca: Path | None = None) -> AsyncIterator[Agent]:
    """A real agent that connects to `url`."""
    with tempfile.TemporaryDirectory() as spool:
        agent = Agent(AgentSettings(url, OFFICE, TOKEN, Path(spool), ca), SystemClock())
        async with running(agent):
            yield agent


@contextlib.asynccontextmanager
async def on_loopback() -> AsyncIterator[AgentConnection]:
    """The hub's connection to an agent on this machine."""
    async with agent_server() as (agents, port), running_agent(f"ws://127.0.0.1:{port}/agent"):
        yield await agent_connection(agents)


@contextlib.contextmanager
def replaced_agent_tasks(**tasks: AgentTask) -> Any:
    """While the block runs, agents run these tasks instead of the real ones."""
    real = dict(AGENT_TASKS)
    AGENT_TASKS.update(tasks)
    try:
        yield
    finally:
        AGENT_TASKS.update(real)


Work = Callable[[AgentConnection], Awaitable[list[Result]]]
"""What the hub does with the agent."""


class OverLab:
    """Tests over a lab's link: each end in its own namespace, thread and event loop."""

    def __init__(
        self,
        lab: Lab,
        work: Work,
        office: str = OFFICE,
    ) -> None:
        self._lab, self._office, self._work = lab, office, work
        self._results: list[Result] = []
        self._error: BaseException | None = None
        self._listening, self._done = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(HEADQUARTERS, self._hub)),
            threading.Thread(target=self._run, args=(office, self._agent)),
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> list[Result]:
        """Wait for the results."""
        for thread in self._threads:
            thread.join()
        if self._error is not None:
            raise self._error
        return self._results

    def _run(self, where: str, half: Any) -> None:
        try:
            with self._lab.inside(where):
                asyncio.run(half())
        except BaseException as error:
            self._error = self._error or error
            raise
        finally:
            self._listening.set()
            self._done.set()

    async def _hub(self) -> None:
        async with agent_server("0.0.0.0", 9797) as (agents, _):  # noqa: S104 - a namespace
            self._listening.set()
            self._results = await self._work(await agent_connection(agents))
            self._done.set()

    async def _agent(self) -> None:
        await asyncio.to_thread(self._listening.wait)
        host = self._lab.addresses(HEADQUARTERS).pc
        async with running_agent(f"ws://{host}:9797/agent"):
            await asyncio.to_thread(self._done.wait)


def over_lab(lab: Lab, config: Config, times: int = 1, **options: Any) -> list[Result]:
    """Run `times` tests one after the other over the lab's link to the office."""

    async def work(agent: AgentConnection) -> list[Result]:
        return [await measure(config, agent, **options) for _ in range(times)]

    return OverLab(lab, work).join()

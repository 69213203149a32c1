"""The programs that fault runs kill: a hub whose hours pass in seconds, and an agent that measures
without pause.

    python -m tests.faults.subject hub CONFIG EPOCH SPEED
    python -m tests.faults.subject agent HUB OFFICE TOKEN SPOOL RATE
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

from jharnet_monitor.agent.daemon import Agent
from jharnet_monitor.agent.settings import AgentSettings
from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands.process import set_up_logging, until_signal
from jharnet_monitor.config.load import load_config
from jharnet_monitor.errors import StoreError
from jharnet_monitor.hub.daemon import Hub
from jharnet_monitor.model import Measurement, Outcome

SEAL_SECONDS = 0.5


class FastWall(SystemClock):
    """A wall clock whose hours pass in seconds; it continues over restarts."""

    def __init__(self, epoch: float, speed: float) -> None:
        self._epoch, self._speed = epoch, speed

    def now(self) -> datetime:
        """The epoch, plus the time since it multiplied by the speed."""
        elapsed = time.time() - self._epoch
        return datetime.fromtimestamp(self._epoch, UTC) + timedelta(seconds=elapsed * self._speed)


async def seal_for_ever(hub: Hub) -> None:
    """Seal each hour as it ends, and pack it, while the hub stores."""
    while True:
        await asyncio.sleep(SEAL_SECONDS)
        if hub.opening.opened:
            with contextlib.suppress(StoreError):
                await asyncio.to_thread(hub.store.chain.seal)
                await asyncio.to_thread(hub.store.packing.step)


async def run_hub(config: Path, epoch: float, speed: float) -> None:
    """Run a hub as `run` does; the hours of its record, which are sealed, pass fast."""
    hub, fast = Hub(config, load_config(config), SystemClock()), FastWall(epoch, speed)
    for part in (hub.store, hub.store.chain, hub.store.event_log):
        part._clock = fast
    sealing = asyncio.create_task(seal_for_ever(hub))
    try:
        await until_signal(hub.run, hub.stop)
    finally:
        sealing.cancel()


async def measure_for_ever(agent: Agent, office: str, rate: float) -> None:
    """Record measurements, and print the id of each one that the spool has kept."""
    while True:
        await asyncio.sleep(1 / rate)
        one = Measurement(
            office, "latency", datetime.now(UTC), 1.0, Outcome.OK, None, {"path": "agent_hub"},
            {"sent": 1.0, "received": 1.0}, uuid.uuid4().hex,
        )  # fmt: skip
        await agent._in_spool(agent.spool.put, one)
        agent._new.set()
        print(one.id, flush=True)


async def run_agent(hub: str, office: str, token: str, spool: Path, rate: float) -> None:
    """Run an agent as `agent` does, whose measurements come fast."""
    agent = Agent(AgentSettings(hub, office, token, spool), SystemClock())
    measuring = asyncio.create_task(measure_for_ever(agent, office, rate))
    try:
        await until_signal(agent.run, agent.stop)
    finally:
        measuring.cancel()


def main() -> None:
    """Run the command line."""
    set_up_logging("warning")
    match sys.argv[1:]:
        case ["hub", config, epoch, speed]:
            asyncio.run(run_hub(Path(config), float(epoch), float(speed)))
        case ["agent", hub, office, token, spool, rate]:
            asyncio.run(run_agent(hub, office, token, Path(spool), float(rate)))
        case other:
            sys.exit(f"unknown: {other}")


if __name__ == "__main__":
    main()

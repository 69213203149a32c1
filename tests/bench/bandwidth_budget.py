"""Simulated days of tests through the real runner: is a day's byte budget ever exceeded?"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from unittest import mock

from jharnet_monitor import runner as runner_module
from jharnet_monitor.clock import ManualClock
from jharnet_monitor.model import Cause, Measurement
from jharnet_monitor.probes.bandwidth import BANDWIDTH
from jharnet_monitor.probes.base import Channel, NoData, ProbeContext, Reading
from jharnet_monitor.runner import Runner
from tests.bandwidth_support import OFFICE, settings

BUDGET = 30_000_000
RATE = "10 Mbit/s"
EVERY_SECONDS = 3600.0
PATHS = ("jharnet", "jharnet", "trains", "internet")


class _Agent:
    @property
    def office(self) -> str:
        return OFFICE

    @property
    def address(self) -> str | None:
        return None

    @property
    def features(self) -> frozenset[str]:
        return frozenset({"bandwidth"})

    async def open(self, task: str, params: Mapping[str, Any]) -> Channel:
        raise NotImplementedError

    def serve_transfer(self, handler: Any) -> str:
        raise NotImplementedError


def overspending(days: int, seed: int) -> float:
    """The worst day's spending over the budget, as a share of it; 0 when it always held.

    Tests are asked for every hour, more than the budget allows. Each spends up to all that its
    limits let it, and one in ten fails halfway.
    """
    return asyncio.run(_simulate(days, random.Random(seed)))


async def _simulate(days: int, chance: random.Random) -> float:
    clock = ManualClock(datetime(2026, 4, 1, tzinfo=UTC))
    spent: Counter[str] = Counter()

    def today() -> str:
        return clock.now().date().isoformat()

    async def record(measurement: Measurement) -> None:
        spent[today()] += measurement.bytes_spent

    async def run(context: ProbeContext) -> Reading:
        used = BANDWIDTH.cost(context) * chance.uniform(0.4, 1.0)
        if chance.random() < 0.1:
            raise NoData(Cause.AGENT_LOST, values={"bytes_spent": used})
        return Reading({"bytes_spent": used})

    config = settings(RATE).model_copy(update={"budget": BUDGET})
    probes = {"bandwidth": replace(BANDWIDTH, run=run)}
    with mock.patch.object(runner_module, "PROBES", probes):
        runner = Runner(config, clock, lambda _: _Agent(), lambda _: spent[today()], record)
        for _ in range(int(days * 86400 / EVERY_SECONDS)):
            await runner.run(OFFICE, "bandwidth", {"path": chance.choice(PATHS)})
            await clock.advance(EVERY_SECONDS)
    if min(Counter(spent).values()) < BUDGET * 0.5:
        raise RuntimeError("the simulation did not press against the budget")
    return max(0.0, max(spent.values()) / BUDGET - 1)

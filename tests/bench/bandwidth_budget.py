"""Simulated days of tests with the real policy, runner and byte accounting: is a day's byte budget
ever exceeded? The simulated line counts the bytes independently of that accounting."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any, cast
from unittest import mock
from zoneinfo import ZoneInfo

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config import Config
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.hub import runner as runners
from jharnet_monitor.hub.policy import Policy
from jharnet_monitor.hub.recorder import Recorder
from jharnet_monitor.hub.runner import Runner
from jharnet_monitor.hub.store_writer import StoreWriter
from jharnet_monitor.live import Live
from jharnet_monitor.model import Cause, Measurement
from jharnet_monitor.probes import PROBES
from jharnet_monitor.probes.bandwidth.probe import BANDWIDTH
from jharnet_monitor.probes.base import Channel, ChannelClosed, NoData, ProbeContext, Reading
from tests.bandwidth_support import OFFICE, settings

BUDGET = 60_000_000
LINE = 10e6
STEP_SECONDS = 1200.0
STEPS = int(86400 / STEP_SECONDS)
IST = ZoneInfo("Asia/Kolkata")
START = datetime(2026, 3, 31, 18, 29, 57, tzinfo=UTC)
"""Three seconds before midnight in India: every day starts during a test."""
CALL_BYTES = 8_000_000
PARTS, PART_SECONDS = 2, 3.0


class Bypassed(BaseException):
    """A test did not use the simulated line; no `Exception`, which would be a failed test."""


class _Agent:
    """An agent that is connected but never used: `_District` simulates the tests themselves."""

    @property
    def office(self) -> str:
        return OFFICE

    @property
    def address(self) -> str | None:
        return None

    @property
    def in_browser(self) -> bool:
        """It is none."""
        return False

    @property
    def behind_proxy(self) -> bool:
        """It is not."""
        return False

    @property
    def features(self) -> frozenset[str]:
        return frozenset({"bandwidth"})

    async def open(self, task: str, params: Mapping[str, Any]) -> Channel:
        raise Bypassed

    async def is_stalled(self) -> bool:
        """Not known."""
        return False

    def serve_transfer(self, handler: Any) -> str:
        raise Bypassed


class _Everything:
    """A writer that stores nothing."""

    async def write(self, *records: object) -> None:
        """Take it."""


async def _at_once(work: Callable[..., Any], *arguments: Any) -> Any:
    return work(*arguments)


class _District:
    """One office's line, on which tests succeed, fail, break off or hang at random."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.clock = ManualClock(START)
        self.on_the_line: Counter[date] = Counter()
        self.ends: Counter[str] = Counter()
        config: Config = settings("10 Mbit/s").model_copy(update={"budget": BUDGET})
        current = CurrentConfig(config)
        live = Live(current)
        books = Recorder(current, cast(StoreWriter, _Everything()), live, self.clock)

        async def record(measurement: Measurement) -> None:
            again = " again" if "retest_of" in measurement.conditions else ""
            self.ends[f"{measurement.cause or 'ok'}{again}"] += 1
            await books.record(measurement)

        runner = Runner(current, self.clock, lambda _: _Agent(), books.spent_today, record)
        self.runner = runner
        self.policy = Policy(current, self.clock, live, runner, books.spent_today)

    @contextlib.contextmanager
    def probes(self) -> Iterator[None]:
        """The real probes with their costs and reserves, on this line instead of a real one."""
        test = replace(BANDWIDTH, run=self._run)
        call = replace(PROBES["conference"], run=self._run, cost=lambda _: CALL_BYTES)
        with (
            mock.patch.dict(PROBES, {"bandwidth": test, "conference": call}),
            mock.patch.object(asyncio, "to_thread", _at_once),  # no thread keeps to this clock
        ):
            yield

    async def _run(self, context: ProbeContext) -> Reading:
        """Spend up to the limits' bytes, spread over the test's time."""
        chance, call = self.chance, "profile" in context.options
        cost = CALL_BYTES if call else BANDWIDTH.cost(context)
        used = cost * chance.uniform(0.4, 1.0)
        for _ in range(PARTS):
            await self.clock.sleep(PART_SECONDS)
            self.on_the_line[self.clock.now().astimezone(IST).date()] += int(used / PARTS)
        end = chance.random()
        if end < 0.05:
            raise NoData(Cause.AGENT_LOST, values={"bytes_spent": used})
        if end < 0.1:
            raise ChannelClosed("gone")
        if end < 0.12:
            raise ZeroDivisionError
        if call:
            return Reading({}, {"bytes_spent": int(used)})
        rate = LINE * chance.choice((0.5, 1.0))
        rates = dict.fromkeys(("download_bits_per_second", "upload_bits_per_second"), rate)
        return Reading({**rates, "bytes_spent": used})

    async def day(self) -> None:
        """Trains every 20 minutes, a full test every hour, and too many by hand."""
        for step in range(STEPS):
            requested = [self.policy.run_scheduled(OFFICE, "bandwidth", {"path": "trains"})]
            if step % 3 == 0:
                requested.append(self.policy.run_scheduled(OFFICE, "bandwidth", {}))
            if step in (10, 40):
                requested.append(
                    self.policy.run_scheduled(OFFICE, "bandwidth", {"path": "internet"})
                )
            if step in (33, 45):
                requested.append(
                    self.policy.run_scheduled(OFFICE, "conference", {"profile": "720p"})
                )
            if self.chance.random() < 0.05:
                requested.append(self.policy.run_on_request(OFFICE, "bandwidth", {}))
            self.chance.shuffle(requested)
            running = asyncio.gather(*requested)
            end = self.clock.monotonic() + STEP_SECONDS
            while not running.done():  # in small steps: no test may start after its time
                await self.clock.advance(PART_SECONDS / 2)
            await running
            await self.clock.advance(end - self.clock.monotonic())


def overspending(days: int, seed: int) -> float:
    """The worst day's bytes above the budget, as a share of it; 0 if the budget was never exceeded.

    Raises `RuntimeError` if the simulation did not reach the cases that it is for.
    """
    return asyncio.run(_simulate(days, seed))


async def _simulate(days: int, seed: int) -> float:
    district = _District(seed)
    with district.probes(), mock.patch.object(runners.log, "exception"):
        for _ in range(days):
            await district.day()
    spent = district.on_the_line
    del (
        spent[min(spent)],
        spent[max(spent)],
    )  # the first day has three seconds, the last is not over
    if min(spent.values()) < BUDGET * 0.5 or not district.ends["budget_spent"]:
        raise RuntimeError("the simulation did not press against the budget")
    if not district.ends["ok again"]:
        raise RuntimeError("no test was repeated")
    return max(0.0, max(spent.values()) / BUDGET - 1)

"""Runs probes one at a time per office, within the uplink limit and the byte budget.

Only one heavy probe runs on an office at a time, and all of them together reserve at most half of
the headquarters uplink; a drill, or headquarters' own test, gets all of it. The byte budget is
checked before the start. Every failure becomes a measurement.

A heavy probe takes its turn, then its part of the uplink, then the office's line; an `undisturbed`
one only a part of the line, so that it need not wait for a test that waits for the uplink.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.hub.active_tests import ActiveTest, ActiveTests
from jharnet_monitor.hub.line_limiter import LineLimiter
from jharnet_monitor.model import HEADQUARTERS, RETEST, Cause, Measurement
from jharnet_monitor.probes import (
    PROBES,
    AgentLink,
    ChannelClosed,
    Failed,
    NoData,
    Probe,
    ProbeContext,
    ProbeError,
    Reading,
    measurement_of,
)
from jharnet_monitor.probes.base import headquarters_office

log = logging.getLogger(__name__)

UPLINK_SHARE = 0.5
"""Share of the contracted uplink that all heavy probes together may use."""
QUEUE_SECONDS = 1800.0
"""How long a probe waits for its turn, or for the line, before it gives up."""
SMALL_SHARE, LARGE_SHARE = 0.01, 0.6
"""What an `undisturbed` probe takes of an office's line: many may share it, but not with a test.
Those that had to wait begin one after the other: together they would slow each other down."""
SETTLE_SECONDS = 2.0
"""How long a queue that a test has filled takes to empty."""

StartGuard = Callable[[], NoData | None]
"""Returns why a heavy probe must not start now, or None; called until the probe starts."""


def always_allow() -> NoData | None:
    """The guard of a run that only has to wait for its turn, the uplink and the budget."""
    return None


class Runner:
    """Runs a probe on an office and records its `Measurement`, whatever happens."""

    def __init__(
        self,
        current: CurrentConfig,
        clock: Clock,
        agent_of: Callable[[str], AgentLink | None],
        spent_today: Callable[[str], int],
        record: Callable[[Measurement], Awaitable[object]],
        recent: Callable[[str], Mapping[str, Measurement]] = lambda _office: {},
    ) -> None:
        """`recent` gives the newest `ok` runs of an office, by series."""
        self._current = current
        self._clock = clock
        self._agent_of = agent_of
        self._spent_today = spent_today
        self._record = record
        self._recent = recent
        self.uplink = LineLimiter(lambda: self.config.hub.uplink.contracted * UPLINK_SHARE)
        self._lines: defaultdict[str, LineLimiter] = defaultdict(lambda: LineLimiter(lambda: 1.0))
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._memories: dict[tuple[str, str], dict[str, Any]] = {}
        self.active_tests = ActiveTests(clock)

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._current.config

    async def run(
        self,
        office_id: str,
        probe_name: str,
        options: Mapping[str, Any] | None = None,
        guard: StartGuard = always_allow,
    ) -> Measurement:
        """Run a probe and record it; raises `KeyError` for an unknown office or probe.

        If `guard` blocks a heavy probe, the measurement only has the cause.
        """
        probe = PROBES[probe_name]
        context = self.context(office_id, probe_name, options or {})
        if probe.undisturbed:
            return await self._run_undisturbed(probe, context)
        if not probe.heavy:
            return await self._measure(probe, context)
        if blocked := guard():
            return await self._refuse(probe, context, blocked)
        turn = self._turns[office_id]
        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                await turn.acquire()
        except TimeoutError:
            return await self._refuse(probe, context, NoData(Cause.AGENT_BUSY))
        try:
            return await self._run_in_turn(probe, context, guard)
        finally:
            turn.release()

    def context(self, office_id: str, probe: str, options: Mapping[str, Any]) -> ProbeContext:
        """The context of a run that started now; raises `KeyError` for an unknown office."""
        at_headquarters = office_id == HEADQUARTERS
        return ProbeContext(
            config=self.config,
            office=headquarters_office(self.config)
            if at_headquarters
            else self.config.office(office_id),
            clock=self._clock,
            agent=self._agent_of(office_id),
            options=dict(options),
            others=self.active_tests.running(office_id),
            memory=self._memories.setdefault((office_id, probe), {}),
            recent=self._recent(office_id),
        )

    @asynccontextmanager
    async def own_uplink(self, offices: Iterable[str] = ()) -> AsyncIterator[None]:
        """Hold the whole uplink limit and the lines of `offices` for a drill, which runs its calls
        with `run_in_drill`."""
        with self.active_tests.drill():
            async with AsyncExitStack() as lines:
                await lines.enter_async_context(self.uplink.reserve())
                for office in offices:
                    await lines.enter_async_context(self._lines[office].reserve())
                yield

    @asynccontextmanager
    async def hold_line(self, office_id: str, work: str, rate: float) -> AsyncIterator[float]:
        """Hold an office's turn and `rate` bit/s of the uplink for work that is no probe.

        Yields the rate that was granted. What is measured meanwhile gets `under_load`.
        """
        async with self._turns[office_id], self.uplink.reserve(rate) as granted:
            with self.active_tests.track(ActiveTest(office_id, work, heavy=True, full=True)):
                yield granted

    async def run_in_drill(
        self, office_id: str, probe_name: str, options: Mapping[str, Any]
    ) -> Measurement:
        """Like `run`, inside `own_uplink`: only the budget applies.

        It takes no turn: a test that has it waits for the uplink, which the drill holds.
        """
        probe = PROBES[probe_name]
        context = self.context(office_id, probe_name, options)
        if refusal := self._refusal(probe, context, always_allow):
            return await self._refuse(probe, context, refusal)
        return await self._measure(probe, context)

    async def _run_undisturbed(self, probe: Probe, context: ProbeContext) -> Measurement:
        """Run a probe that loads the line a little, while no test uses the line.

        During a drill only record that it did not run.
        """
        office = context.office.id
        line_of_office, tests = self._lines[office], self.active_tests
        share = SMALL_SHARE if line_of_office.has_room(SMALL_SHARE) else LARGE_SHARE
        async with AsyncExitStack() as line:
            try:
                if not tests.is_drill_on:
                    async with asyncio.timeout(QUEUE_SECONDS):
                        await line.enter_async_context(line_of_office.reserve(share))
            except TimeoutError:
                return await self._refuse(probe, context, NoData(Cause.AGENT_BUSY))
            recently = self._clock.monotonic() - SETTLE_SECONDS
            if not tests.is_drill_on and tests.was_loaded_since(office, recently):
                await self._clock.sleep(SETTLE_SECONDS)
            if tests.is_drill_on:
                return await self._refuse(probe, context, NoData(Cause.CONFERENCE_ON))
            context = replace(self._renewed(context), free_line=line.aclose)
            return await self._measure(probe, context)

    async def _run_in_turn(
        self, probe: Probe, context: ProbeContext, guard: StartGuard
    ) -> Measurement:
        # the agent may have connected or disconnected while this probe waited for its turn
        context = self._renewed(context)
        if refusal := self._refusal(probe, context, guard):
            return await self._refuse(probe, context, refusal)
        try:
            async with asyncio.timeout(QUEUE_SECONDS) as waiting:
                async with (
                    self.uplink.reserve(probe.reserve(context)) as granted,
                    self._lines[context.office.id].reserve(),
                ):
                    waiting.reschedule(None)
                    context = replace(self._renewed(context), granted=granted)
                    if refusal := self._refusal(probe, context, guard):
                        return await self._refuse(probe, context, refusal)
                    return await self._measure(probe, context)
        except TimeoutError:
            return await self._refuse(probe, context, NoData(Cause.UPLINK_BUSY))

    def _refusal(self, probe: Probe, context: ProbeContext, guard: StartGuard) -> NoData | None:
        """Why a heavy probe must not start: its guard, no agent, or no bytes left; else None."""
        if blocked := guard():
            return blocked
        if probe.needs_agent(context) and context.agent is None:
            return NoData(Cause.NO_AGENT)
        budget, spent = self.config.budget, self._spent_today(context.office.id)
        if spent + probe.cost(context) > budget:
            return NoData(Cause.BUDGET_SPENT, f"{spent} of {budget} bytes are spent today")
        return None

    def _renewed(self, context: ProbeContext) -> ProbeContext:
        """The context with the agent and the other running probes as they are now."""
        office = context.office.id
        return replace(
            context,
            agent=self._agent_of(office),
            others=self.active_tests.running(office),
            recent=self._recent(office),
        )

    async def _measure(self, probe: Probe, context: ProbeContext) -> Measurement:
        if probe.heavy:
            left = self.config.budget - self._spent_today(context.office.id)
            context = replace(context, bytes_left=float(left))
        fills_line = probe.heavy and probe.series_of(context.route).fills_line
        test = ActiveTest(context.office.id, probe.name, probe.heavy, fills_line, probe.exclusive)
        with self.active_tests.track(test):
            return await self._run_probe(probe, context)

    async def _run_probe(self, probe: Probe, context: ProbeContext) -> Measurement:
        """Run the probe; errors and time-outs also become measurements."""
        if probe.needs_agent(context) and context.agent is None:
            return await self._refuse(probe, context, NoData(Cause.NO_AGENT))
        started_at, start = self._clock.now(), self._clock.monotonic()
        result: Reading | ProbeError
        try:
            async with asyncio.timeout(probe.time_limit(context)):
                result = await probe.run(context)
        except ProbeError as error:
            result = error
        except TimeoutError:
            result = Failed(Cause.TIMEOUT, conditions=_charge(probe, context))
        except ChannelClosed as error:  # whether link or machine failed is not known here
            lost = _charge(probe, context)
            result = NoData(Cause.AGENT_LOST, str(error), conditions=lost)
        except Exception:
            log.exception("unexpected error in probe %s for %s", probe.name, context.office.id)
            result = NoData(Cause.INTERNAL_ERROR, conditions=_charge(probe, context))
        duration = self._clock.monotonic() - start
        return await self._record_result(probe, context, result, started_at, duration)

    async def _refuse(self, probe: Probe, context: ProbeContext, error: NoData) -> Measurement:
        """Record why the probe did not run."""
        return await self._record_result(probe, context, error, self._clock.now(), 0.0)

    async def _record_result(
        self,
        probe: Probe,
        context: ProbeContext,
        result: Reading | ProbeError,
        started_at: datetime,
        duration: float,
    ) -> Measurement:
        measurement = measurement_of(
            context.office.id,
            probe.name,
            result,
            started_at,
            duration,
            _conditions(probe, context),
        )
        began = self._clock.monotonic() - duration
        measurement = self.active_tests.annotate(measurement, began)
        if probe.retest_after(self.config, context.office, measurement) is not None:
            conditions = {**measurement.conditions, RETEST: "due"}
            measurement = replace(measurement, conditions=conditions)
        await self._record(measurement)
        return measurement


def _charge(probe: Probe, context: ProbeContext) -> dict[str, Any] | None:
    """What a heavy run that broke off is charged, since it may have sent data: the estimate, which
    depends on how far the run came."""
    if not probe.heavy:
        return None
    return {"bytes_spent": probe.cost(context), "bytes_estimated": True}


def _conditions(probe: Probe, context: ProbeContext) -> dict[str, Any]:
    """The conditions of a run, whatever its outcome."""
    conditions = {
        name: context.options[name]
        for name in ("path", "service", "drill", "retest_of")
        if name in context.options
    }
    if "path" in probe.options.model_fields:  # its measurements always name their route
        conditions.setdefault("path", context.route.value)
    if context.others:
        conditions["others"] = list(context.others)
    return conditions

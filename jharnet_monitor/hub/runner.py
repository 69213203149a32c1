"""Runs probes: who may run when, for how many bytes, and what becomes of every failure.

One heavy probe runs at a time on an office, and all of them together reserve at most half of the
headquarters uplink; a drill, or headquarters' own test, has it alone. The byte budget is checked
before the start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.hub.active_tests import ActiveTest, ActiveTests
from jharnet_monitor.hub.uplink import UplinkLimiter
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
from jharnet_monitor.probes.internet.plan import headquarters

log = logging.getLogger(__name__)

UPLINK_SHARE = 0.5
"""Of the contracted uplink, for all heavy probes together."""
QUEUE_SECONDS = 1800.0
"""How long a heavy probe waits for its turn before it gives up."""

StartGuard = Callable[[], NoData | None]
"""Why a heavy probe must not start just now, or None; asked until the very moment it starts."""


def no_objection() -> NoData | None:
    """The guard of a run that nothing but turn, uplink and budget holds back."""
    return None


class Runner:
    """Runs one probe on one office and makes the `Measurement` of it, whatever happens."""

    def __init__(
        self,
        current: CurrentConfig,
        clock: Clock,
        agent_of: Callable[[str], AgentLink | None],
        spent_today: Callable[[str], int],
        record: Callable[[Measurement], Awaitable[object]],
    ) -> None:
        self._current = current
        self._clock = clock
        self._agent_of = agent_of
        self._spent_today = spent_today
        self._record = record
        self.uplink = UplinkLimiter(lambda: self.config.hub.uplink.contracted * UPLINK_SHARE)
        self._turns: dict[str, asyncio.Lock] = {}
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
        guard: StartGuard = no_objection,
    ) -> Measurement:
        """Run a probe and record it; raises `KeyError` for an office or probe that does not exist.

        A heavy one that its guard objects to is not run; that is recorded with its cause.
        """
        probe = PROBES[probe_name]
        context = self.context(office_id, probe_name, options or {})
        if not probe.heavy:
            return await self._measure(probe, context)
        if objection := guard():
            return await self._refuse(probe, context, objection)
        turn = self._turns.setdefault(office_id, asyncio.Lock())
        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                await turn.acquire()
        except TimeoutError:
            return await self._refuse(probe, context, NoData(Cause.AGENT_BUSY))
        try:
            return await self._in_turn(probe, context, guard)
        finally:
            turn.release()

    def context(self, office_id: str, probe: str, options: Mapping[str, Any]) -> ProbeContext:
        """What a run of a probe would be given now; raises `KeyError` for an unknown office."""
        at_home = office_id == HEADQUARTERS
        return ProbeContext(
            config=self.config,
            office=headquarters(self.config) if at_home else self.config.office(office_id),
            clock=self._clock,
            agent=self._agent_of(office_id),
            options=dict(options),
            others=self.active_tests.running(office_id),
            memory=self._memories.setdefault((office_id, probe), {}),
        )

    @asynccontextmanager
    async def own_uplink(self) -> AsyncIterator[None]:
        """Hold all of the share: for a drill, which then runs its calls by `run_in_drill`."""
        with self.active_tests.drill():
            async with self.uplink.reserve():
                yield

    async def run_in_drill(
        self, office_id: str, probe_name: str, options: Mapping[str, Any]
    ) -> Measurement:
        """As `run`, inside `own_uplink`: the office's turn and budget hold, the share does not."""
        probe = PROBES[probe_name]
        async with self._turns.setdefault(office_id, asyncio.Lock()):
            context = self.context(office_id, probe_name, options)
            if refusal := self._refusal(probe, context, no_objection):
                return await self._refuse(probe, context, refusal)
            return await self._measure(probe, context)

    async def _in_turn(self, probe: Probe, context: ProbeContext, guard: StartGuard) -> Measurement:
        # the agent may have come or gone while this probe waited for its turn
        context = self._renewed(context)
        if refusal := self._refusal(probe, context, guard):
            return await self._refuse(probe, context, refusal)
        try:
            async with asyncio.timeout(QUEUE_SECONDS) as waiting:
                async with self.uplink.reserve(probe.reserve(context)) as granted:
                    waiting.reschedule(None)
                    context = replace(self._renewed(context), granted=granted)
                    if refusal := self._refusal(probe, context, guard):
                        return await self._refuse(probe, context, refusal)
                    return await self._measure(probe, context)
        except TimeoutError:
            return await self._refuse(probe, context, NoData(Cause.UPLINK_BUSY))

    def _refusal(self, probe: Probe, context: ProbeContext, guard: StartGuard) -> NoData | None:
        """Why a heavy probe must not start, or None: an objection, nobody there, no bytes left."""
        if objection := guard():
            return objection
        if probe.needs_agent(context) and context.agent is None:
            return NoData(Cause.NO_AGENT)
        budget, spent = self.config.budget, self._spent_today(context.office.id)
        if spent + probe.cost(context) > budget:
            return NoData(Cause.BUDGET_SPENT, f"{spent} of {budget} bytes are spent today")
        return None

    def _renewed(self, context: ProbeContext) -> ProbeContext:
        """The same run, with the agent and the other probes as they are now."""
        office = context.office.id
        return replace(
            context, agent=self._agent_of(office), others=self.active_tests.running(office)
        )

    async def _measure(self, probe: Probe, context: ProbeContext) -> Measurement:
        fills_line = probe.heavy and probe.series_of(context.route).fills_line
        test = ActiveTest(context.office.id, probe.name, probe.heavy, fills_line, probe.exclusive)
        with self.active_tests.track(test):
            return await self._guarded(probe, context)

    async def _guarded(self, probe: Probe, context: ProbeContext) -> Measurement:
        """Run the probe; whatever it raises, or fails to end by, becomes a measurement."""
        if probe.needs_agent(context) and context.agent is None:
            return await self._refuse(probe, context, NoData(Cause.NO_AGENT))
        started_at, start = self._clock.now(), self._clock.monotonic()
        result: Reading | ProbeError
        charge: dict[str, Any] = {"bytes_spent": probe.cost(context), "bytes_estimated": True}
        try:
            async with asyncio.timeout(probe.time_limit(context)):
                result = await probe.run(context)
        except ProbeError as error:
            result = error
        except TimeoutError:
            result = Failed(Cause.TIMEOUT, conditions=charge if probe.heavy else None)
        except ChannelClosed as error:  # the link or the agent's machine, which is not known here
            lost = charge if probe.heavy else None
            result = NoData(Cause.AGENT_LOST, str(error), conditions=lost)
        except Exception:
            log.exception("probe %s of %s failed in itself", probe.name, context.office.id)
            # It may have sent something before it broke: the budget must not be passed for that.
            result = NoData(Cause.INTERNAL_ERROR, conditions=charge if probe.heavy else None)
        duration = self._clock.monotonic() - start
        return await self._keep(probe, context, result, started_at, duration)

    async def _refuse(self, probe: Probe, context: ProbeContext, error: NoData) -> Measurement:
        """A measurement that says why there was none."""
        return await self._keep(probe, context, error, self._clock.now(), 0.0)

    async def _keep(
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


def _conditions(probe: Probe, context: ProbeContext) -> dict[str, Any]:
    """What holds for a run whatever becomes of it."""
    conditions = {
        name: context.options[name]
        for name in ("path", "service", "drill", "retest_of")
        if name in context.options
    }
    if "path" in probe.options.model_fields:  # its runs say which way they took even by default
        conditions.setdefault("path", context.route.value)
    if context.others:
        conditions["others"] = list(context.others)
    return conditions

"""Runs probes: who may run when, for how many bytes, and what becomes of every failure.

DESIGN.md's rules of honest measurement 1 and 2: one heavy probe at a time on an office, at most
half of the headquarters uplink for all of them together (a drill, or headquarters' own test, has
it alone), and a byte budget checked before the start.
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
from jharnet_monitor.config import Config, Office
from jharnet_monitor.hub.active_tests import Load, Running
from jharnet_monitor.hub.uplink import UplinkLimiter
from jharnet_monitor.judge.line.contract import falls_short
from jharnet_monitor.model import HEADQUARTERS, RETEST, Cause, Measurement, Outcome
from jharnet_monitor.probes import PROBES
from jharnet_monitor.probes.base import (
    AgentLink,
    ChannelClosed,
    Failed,
    NoData,
    Probe,
    ProbeContext,
    ProbeError,
    Reading,
)
from jharnet_monitor.probes.internet.probe import AT_HEADQUARTERS, headquarters

log = logging.getLogger(__name__)

UPLINK_SHARE = 0.5
"""Of the contracted uplink, for all heavy probes together."""
QUEUE_SECONDS = 1800.0
"""How long a heavy probe waits for its turn before it says that the uplink was busy."""

StartGuard = Callable[[], NoData | None]
"""Why a heavy probe must not start just now, or None; asked until the very moment it does."""


class Runner:
    """Runs one probe on one office and makes the `Measurement` of it, whatever happens."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        agent_of: Callable[[str], AgentLink | None],
        spent_today: Callable[[str], int],
        record: Callable[[Measurement], Awaitable[object]],
    ) -> None:
        self.config = config
        self._clock = clock
        self._agent_of = agent_of
        self._spent_today = spent_today
        self._record = record
        self.share = UplinkLimiter(config.hub.uplink.contracted * UPLINK_SHARE)
        self._turns: dict[str, asyncio.Lock] = {}
        self._memories: dict[tuple[str, str], dict[str, Any]] = {}
        self.load = Load(clock)

    def _place(self, office_id: str) -> Office:
        """An office, or headquarters in the place of one; raises `KeyError`."""
        at_home = office_id == HEADQUARTERS
        return headquarters(self.config) if at_home else self.config.office(office_id)

    async def run(
        self,
        office_id: str,
        probe_name: str,
        options: Mapping[str, Any] | None = None,
        unless: StartGuard | None = None,
    ) -> Measurement:
        """Run a probe and record it; raises `KeyError` for an office or probe that is not.

        A heavy one that meets an objection is not run; that is recorded with its cause.
        """
        probe, office = PROBES[probe_name], self._place(office_id)
        context = ProbeContext(
            self.config, office, self._clock, self._agent_of(office_id), dict(options or {}),
            memory=self._memories.setdefault((office_id, probe_name), {}),
        )  # fmt: skip
        if not probe.heavy:
            return await self._measure(probe, context)
        objection = unless() if unless is not None else None
        if objection is not None:
            return await self._refuse(probe, context, objection)
        turn = self._turns.setdefault(office_id, asyncio.Lock())
        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                await turn.acquire()
        except TimeoutError:
            return await self._refuse(probe, context, NoData(Cause.AGENT_BUSY))
        try:
            return await self._heavy(probe, context, unless)
        finally:
            turn.release()

    async def run_at_headquarters(self, unless: StartGuard) -> Measurement:
        """Test headquarters' own way to the Internet, with the uplink to itself, and record it."""
        config = self.config
        context = ProbeContext(
            config, headquarters(config), self._clock, None, {"path": "internet"}
        )
        objection = unless()
        if objection is not None:
            return await self._refuse(AT_HEADQUARTERS, context, objection)
        try:
            async with asyncio.timeout(QUEUE_SECONDS) as waiting:
                async with self.share.reserve(self.share.limit):
                    waiting.reschedule(None)
                    refusal = self._refusal(AT_HEADQUARTERS, context, unless)
                    if refusal is not None:
                        return await self._refuse(AT_HEADQUARTERS, context, refusal)
                    return await self._measure(AT_HEADQUARTERS, context)
        except TimeoutError:
            return await self._refuse(AT_HEADQUARTERS, context, NoData(Cause.UPLINK_BUSY))

    @asynccontextmanager
    async def own_uplink(self) -> AsyncIterator[None]:
        """Hold all of the share: for a drill, which then runs its calls by `run_in_drill`."""
        with self.load.drill():
            async with self.share.reserve(self.share.limit):
                yield

    async def run_in_drill(
        self, office_id: str, probe_name: str, options: Mapping[str, Any]
    ) -> Measurement:
        """As `run`, inside `own_uplink`: the office's turn and budget hold, the share does not."""
        office, probe = self.config.office(office_id), PROBES[probe_name]
        context = ProbeContext(
            self.config, office, self._clock, self._agent_of(office_id), dict(options)
        )
        async with self._turns.setdefault(office_id, asyncio.Lock()):
            refusal = self._refusal(probe, context)
            if refusal is not None:
                return await self._refuse(probe, context, refusal)
            return await self._measure(probe, self._renewed(context))

    async def _heavy(
        self, probe: Probe, context: ProbeContext, unless: StartGuard | None
    ) -> Measurement:
        # the agent may have come or gone while this probe waited for its turn
        context = self._renewed(context)
        refusal = self._refusal(probe, context, unless)
        if refusal is not None:
            return await self._refuse(probe, context, refusal)
        try:
            async with asyncio.timeout(QUEUE_SECONDS) as waiting:
                async with self.share.reserve(probe.reserve(context)) as granted:
                    waiting.reschedule(None)
                    context = self._renewed(context, {**context.options, "granted": granted})
                    refusal = self._refusal(probe, context, unless)
                    if refusal is not None:
                        return await self._refuse(probe, context, refusal)
                    return await self._measure(probe, context)
        except TimeoutError:
            return await self._refuse(probe, context, NoData(Cause.UPLINK_BUSY))

    def _refusal(
        self, probe: Probe, context: ProbeContext, unless: StartGuard | None = None
    ) -> NoData | None:
        """Why a heavy probe must not start, or None: an objection, nobody there, no bytes left."""
        objection = unless() if unless is not None else None
        if objection is not None:
            return objection
        if probe.needs_agent and context.agent is None:
            return NoData(Cause.NO_AGENT)
        budget, spent = self.config.budget, self._spent_today(context.office.id)
        if spent + probe.cost(context) > budget:
            return NoData(Cause.BUDGET_SPENT, f"{spent} of {budget} bytes are spent today")
        return None

    def _renewed(
        self, context: ProbeContext, options: Mapping[str, Any] | None = None
    ) -> ProbeContext:
        office = context.office.id
        return ProbeContext(
            context.config,
            context.office,
            context.clock,
            self._agent_of(office),
            context.options if options is None else options,
            self.load.running(office),
        )

    async def _measure(self, probe: Probe, context: ProbeContext) -> Measurement:
        full = probe.heavy and context.options.get("path") != "trains"
        with self.load.by(Running(context.office.id, probe.name, probe.heavy, full)):
            return await self._guarded(probe, context)

    async def _guarded(self, probe: Probe, context: ProbeContext) -> Measurement:
        if probe.needs_agent and context.agent is None:
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
        office, conditions = context.office.id, _conditions(probe, context)
        if self._under_load(probe, office, result, duration):
            conditions["under_load"] = True
        measurement = measurement_of(office, probe.name, result, started_at, duration, conditions)
        if self._needs_retest(measurement):
            conditions = {**measurement.conditions, RETEST: "due"}
            measurement = replace(measurement, conditions=conditions)
        await self._record(measurement)
        return measurement

    def _under_load(
        self, probe: Probe, office: str, result: Reading | ProbeError, duration: float
    ) -> bool:
        """Whether our own tests had a part in what a light probe measured."""
        begin = self._clock.monotonic() - duration
        if probe.name == "utilisation":  # of the time before it; trains are no traffic to speak of
            window = result.values.get("window_seconds")
            return window is not None and self.load.full_since(office, begin - window)
        return probe.name == "latency" and self.load.heavy_since(office, begin)

    def _needs_retest(self, measurement: Measurement) -> bool:
        """Whether a speed test came out so low that it has to be repeated before it counts."""
        config = self.config
        if measurement.probe != "bandwidth" or measurement.outcome is not Outcome.OK:
            return False
        if measurement.path != "jharnet" or "retest_of" in measurement.conditions:
            return False
        link = config.office(measurement.office).link
        never = config.probes.bandwidth.retest_after is None
        return not never and falls_short(measurement, link, config.thresholds.delivered)


def measurement_of(
    office: str,
    probe: str,
    result: Reading | ProbeError,
    started_at: datetime,
    duration: float,
    conditions: Mapping[str, Any] | None = None,
) -> Measurement:
    """The measurement of a result, good or bad; `duration` in seconds.

    `conditions` are the caller's; what the probe said itself goes before them.
    """
    known = {**(conditions or {}), **result.conditions}
    if isinstance(result, ProbeError):
        outcome = Outcome.FAILED if isinstance(result, Failed) else Outcome.NO_DATA
        if result.detail:
            known.setdefault("detail", result.detail[:300])
        cause: str | None = result.cause.value
    else:
        outcome, cause = Outcome.OK, None
    return Measurement(office, probe, started_at, duration, outcome, cause, known, result.values)


def _conditions(probe: Probe, context: ProbeContext) -> dict[str, Any]:
    """What holds for a run whatever becomes of it."""
    conditions: dict[str, Any] = {}
    if probe.name == "bandwidth" or "path" in context.options:
        conditions["path"] = context.options.get("path", "jharnet")
    for name in ("drill", "retest_of"):
        if name in context.options:
            conditions[name] = context.options[name]
    if context.others:
        conditions["others"] = list(context.others)
    return conditions

"""Runs probes: who may run when, for how many bytes, and what becomes of every failure.

DESIGN.md's rules of honest measurement 1 and 2: one heavy probe at a time on an office, at most
half of the headquarters uplink for all of them together, and a byte budget checked before the
start.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.model import Cause, Measurement, Outcome
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

log = logging.getLogger(__name__)

UPLINK_SHARE = 0.5
"""Of the contracted uplink, for all heavy probes together."""
QUEUE_SECONDS = 1800.0
"""How long a heavy probe waits for its turn before it says that the uplink was busy."""


class UplinkShare:
    """The part of the headquarters uplink that heavy probes may take, first come first served."""

    def __init__(self, limit: float) -> None:
        """`limit` is in bit/s."""
        self.limit = limit
        self.reserved = 0.0
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def reserve(self, rate: float) -> AsyncIterator[float]:
        """Hold `rate` bit/s; gives what was granted, which never exceeds the limit."""
        rate = min(rate, self.limit)
        if self._waiting or self.reserved + rate > self.limit:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            entry = (rate, turn)
            self._waiting.append(entry)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._release(rate)  # granted in the same moment
                else:
                    self._waiting.remove(entry)
                raise
        else:
            self.reserved += rate
        try:
            yield rate
        finally:
            self._release(rate)

    def _release(self, rate: float) -> None:
        self.reserved -= rate
        while self._waiting and self.reserved + self._waiting[0][0] <= self.limit:
            granted, turn = self._waiting.popleft()
            if not turn.cancelled():
                self.reserved += granted
                turn.set_result(None)


@dataclass(frozen=True, slots=True)
class Running:
    """A probe under way."""

    office: str
    probe: str
    heavy: bool


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
        self.share = UplinkShare(config.hub.uplink.contracted * UPLINK_SHARE)
        self._turns: dict[str, asyncio.Lock] = {}
        self._running: list[Running] = []
        self._last_heavy: dict[str, float] = {}

    def running(self, office: str) -> tuple[str, ...]:
        """Names of the probes under way on an office."""
        return tuple(r.probe for r in self._running if r.office == office)

    def heavy_since(self, office: str, moment: float) -> bool:
        """Whether a heavy probe ran on the office at or after `moment` (monotonic seconds)."""
        if any(r.heavy for r in self._running if r.office == office):
            return True
        return self._last_heavy.get(office, float("-inf")) >= moment

    async def run(
        self, office_id: str, probe_name: str, options: Mapping[str, Any] | None = None
    ) -> Measurement:
        """Run a probe and record it; raises `KeyError` for an office or probe that is not."""
        office, probe = self.config.office(office_id), PROBES[probe_name]
        context = ProbeContext(
            self.config, office, self._clock, self._agent_of(office_id), dict(options or {})
        )
        if not probe.heavy:
            return await self._measure(probe, context)
        turn = self._turns.setdefault(office_id, asyncio.Lock())
        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                await turn.acquire()
        except TimeoutError:
            return await self._refuse(probe, context, NoData(Cause.AGENT_BUSY))
        try:
            return await self._heavy(probe, context)
        finally:
            turn.release()

    @asynccontextmanager
    async def own_uplink(self) -> AsyncIterator[None]:
        """Hold all of the share: for a drill, which then runs its calls by `run_in_drill`."""
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

    async def _heavy(self, probe: Probe, context: ProbeContext) -> Measurement:
        # the agent may have come or gone while this probe waited for its turn
        context = self._renewed(context)
        refusal = self._refusal(probe, context)
        if refusal is not None:
            return await self._refuse(probe, context, refusal)
        try:
            async with asyncio.timeout(QUEUE_SECONDS) as waiting:
                async with self.share.reserve(probe.reserve(context)) as granted:
                    waiting.reschedule(None)
                    options = {**context.options, "granted": granted}
                    return await self._measure(probe, self._renewed(context, options))
        except TimeoutError:
            return await self._refuse(probe, context, NoData(Cause.UPLINK_BUSY))

    def _refusal(self, probe: Probe, context: ProbeContext) -> NoData | None:
        """Why a heavy probe must not start, or None: nobody there, or the day's bytes are spent."""
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
            self.running(office),
        )

    async def _measure(self, probe: Probe, context: ProbeContext) -> Measurement:
        mark = Running(context.office.id, probe.name, probe.heavy)
        self._running.append(mark)
        try:
            return await self._guarded(probe, context)
        finally:
            self._running.remove(mark)
            if probe.heavy:
                self._last_heavy[mark.office] = self._clock.monotonic()

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
        measurement = measurement_of(office, probe.name, result, started_at, duration, conditions)
        await self._record(measurement)
        return measurement


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
    if probe.name == "bandwidth":
        conditions["path"] = context.options.get("path", "jharnet")
    if "drill" in context.options:
        conditions["drill"] = context.options["drill"]
    if context.others:
        conditions["others"] = list(context.others)
    return conditions

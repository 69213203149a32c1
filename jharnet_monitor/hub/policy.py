"""Decides which tests may run now, and which must be repeated.

A scheduled heavy test does not run during a conference, on a line that is down, or when the day's
remaining bytes are needed for the busy hour; its measurement has the cause. A speed test below the
threshold is repeated once before it counts. A test on request only has to wait for its turn, the
uplink and the line, and needs enough budget; a visit or a trace is refused during a drill.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.hub.runner import Runner
from jharnet_monitor.judge.calendar.hours import (
    in_busy_hour,
    in_conference,
    in_office_hours,
    is_working_day,
)
from jharnet_monitor.live import Live
from jharnet_monitor.model import RETEST, Cause, Measurement, OfficeState
from jharnet_monitor.probes import PROBES, NoData

log = logging.getLogger(__name__)


class Policy:
    """Passes allowed runs on to the runner. Call `stop` before the store is closed."""

    def __init__(
        self,
        current: CurrentConfig,
        clock: Clock,
        live: Live,
        runner: Runner,
        spent_today: Callable[[str], int],
    ) -> None:
        self._current = current
        self._clock = clock
        self._live = live
        self._runner = runner
        self._spent_today = spent_today
        self._retests: set[asyncio.Task[None]] = set()

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._current.config

    async def run_scheduled(
        self, office: str, probe: str, options: Mapping[str, Any]
    ) -> Measurement:
        """Run a scheduled probe of an office or headquarters, or record why it did not run."""

        def guard() -> NoData | None:
            return self._blocked_by(office) or self._over_budget(office, probe, options)

        return self._schedule_retest(await self._runner.run(office, probe, options, guard))

    async def run_on_request(
        self, office: str, probe: str, options: Mapping[str, Any]
    ) -> Measurement:
        """Run a probe that a person asked for."""
        return self._schedule_retest(await self._runner.run(office, probe, options))

    def blocked(self, office: str) -> str | None:
        """Why the office's line must not be loaded now, as a cause; else None."""
        found = self._blocked_by(office)
        return None if found is None else found.cause.value

    async def stop(self) -> None:
        """Cancel all waiting retests."""
        for task in self._retests:
            task.cancel()
        await asyncio.gather(*self._retests, return_exceptions=True)

    def _blocked_by(self, office: str) -> NoData | None:
        """Why the line of an office, or of headquarters, must not be loaded now; else None."""
        if self._runner.active_tests.is_conference_on(office):
            return NoData(Cause.CONFERENCE_ON)
        if in_conference(self.config.district, self._clock.now()):
            return NoData(Cause.CONFERENCE_ON, "planned in district.conferences")
        if self._live.uplink_up is False:
            return NoData(Cause.UPLINK_DOWN)
        known = self._live.of(office)
        if known is not None and known.state is OfficeState.UNREACHABLE:
            return NoData(Cause.UNREACHABLE)
        return None

    def _over_budget(self, office: str, probe: str, options: Mapping[str, Any]) -> NoData | None:
        """Why the day's remaining bytes do not suffice; None if they do.

        A test with reserved bytes starts only if the budget also allows its retest. Bytes for
        such a pair are reserved for the busy hour until that is over, and then for the night until
        offices close, so that a small budget still covers both.
        """
        now, budget = self._clock.now(), self.config.budget
        pair = min(sum(2 * cost for cost in self._reserved_costs(office)), budget)
        context = self._runner.context(office, probe, options)
        has_reserve = PROBES[probe].series_of(context.route).budget_reserved
        need = pair if has_reserve else PROBES[probe].cost(context)
        is_due_now = has_reserve and in_busy_hour(self.config.district, now)
        reserved = pair if not is_due_now and self._reserved_hour_ahead(now) else 0
        spent = self._spent_today(office)
        if spent + need + reserved <= budget:
            return None
        suffix = f", {reserved} are reserved for another hour" if reserved else ""
        return NoData(Cause.BUDGET_SPENT, f"{spent} of {budget} bytes are spent today{suffix}")

    def _reserved_costs(self, office: str) -> Iterator[int]:
        """The bytes of each planned test for which part of the office's budget is reserved."""
        for name, probe in PROBES.items():
            place = self._runner.context(office, name, {}).office
            for job in probe.planned(self.config, place):
                context = self._runner.context(office, name, job.options)
                if probe.series_of(context.route).budget_reserved:
                    yield probe.cost(context)

    def _reserved_hour_ahead(self, now: datetime) -> bool:
        """Whether the busy hour has not ended yet, or offices are still open."""
        district = self.config.district
        hours, zone = district.office_hours, ZoneInfo(district.timezone)
        local = now.astimezone(zone)
        if not is_working_day(hours, local.date()):
            return False
        begin = datetime.combine(local.date(), time.fromisoformat(hours.busy_hour), zone)
        return local < begin + timedelta(hours=1) or in_office_hours(district, now)

    def _schedule_retest(self, measurement: Measurement) -> Measurement:
        """Start a retest if the test was below the threshold."""
        if measurement.conditions.get(RETEST) == "due":
            task = asyncio.create_task(self._retest(measurement), name="retest")
            self._retests.add(task)
            task.add_done_callback(self._finished)
        return measurement

    async def _retest(self, first: Measurement) -> None:
        probe, office = PROBES[first.probe], self.config.office(first.office)
        await self._clock.sleep(probe.retest_after(self.config, office, first) or 0.0)
        options = {"retest_of": first.id}
        await self._runner.run(
            first.office, first.probe, options, lambda: self._blocked_by(first.office)
        )

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._retests.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("unexpected error in a retest", exc_info=task.exception())

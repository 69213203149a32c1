"""The policy of hours: what may be tested now, and what has to be tested again.

Heavy tests that the schedule asks for give way to a conference, to a line that is down, and to the
busy hour, whose test the day's bytes must still allow; each says so in its measurement. A speed
test below the mark is made once more before it counts. Whoever asks by hand is let through: only
turn, uplink and budget hold then.
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
    """Stands between whoever asks for a probe and the runner. `stop` before the store closes."""

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

    async def due(self, office: str, probe: str, options: Mapping[str, Any]) -> Measurement:
        """Run what the schedule asks for, on an office or at headquarters, or record why not."""

        def guard() -> NoData | None:
            return self._blocked_by(office) or self._over_budget(office, probe, options)

        return self._schedule_retest(await self._runner.run(office, probe, options, guard))

    async def asked(self, office: str, probe: str, options: Mapping[str, Any]) -> Measurement:
        """Run what a person asks for."""
        return self._schedule_retest(await self._runner.run(office, probe, options))

    async def stop(self) -> None:
        """Let no retest begin any more."""
        for task in self._retests:
            task.cancel()
        await asyncio.gather(*self._retests, return_exceptions=True)

    def _blocked_by(self, office: str) -> NoData | None:
        """Why nothing must load the line of an office, or of headquarters, just now."""
        if self._runner.active_tests.conference_on(office):
            return NoData(Cause.CONFERENCE_ON)
        if in_conference(self.config.district, self._clock.now()):
            return NoData(Cause.CONFERENCE_ON, "as planned in district.conferences")
        if self._live.uplink_up is False:
            return NoData(Cause.UPLINK_DOWN)
        known = self._live.of(office)
        if known is not None and known.state is OfficeState.UNREACHABLE:
            return NoData(Cause.UNREACHABLE)
        return None

    def _over_budget(self, office: str, probe: str, options: Mapping[str, Any]) -> NoData | None:
        """Why the day's bytes are not for this test: a retest, or another slot, needs them.

        A test with the first claim begins only where the budget can hold its retest, too. Bytes
        for such a pair are kept back for the busy hour until it is over, and then for the night
        until offices close, so that a small budget still gives evidence of both.
        """
        now, budget = self._clock.now(), self.config.budget
        pair = min(sum(2 * cost for cost in self._first_claims(office)), budget)
        context = self._runner.context(office, probe, options)
        has_claim = PROBES[probe].series_of(context.route).budget_reserved
        need = pair if has_claim else PROBES[probe].cost(context)
        is_due_now = has_claim and in_busy_hour(self.config.district, now)
        keep = pair if not is_due_now and self._slot_to_come(now) else 0
        spent = self._spent_today(office)
        if spent + need + keep <= budget:
            return None
        kept = f", {keep} are kept for another hour" if keep else ""
        return NoData(Cause.BUDGET_SPENT, f"{spent} of {budget} bytes are spent today{kept}")

    def _first_claims(self, office: str) -> Iterator[int]:
        """The bytes of each planned test of a place that has the first claim to its budget."""
        for name, probe in PROBES.items():
            place = self._runner.context(office, name, {}).office
            for job in probe.jobs(self.config, place):
                context = self._runner.context(office, name, job.options)
                if probe.series_of(context.route).budget_reserved:
                    yield probe.cost(context)

    def _slot_to_come(self, now: datetime) -> bool:
        """Whether the busy hour is not over yet, or offices are open and the night is to come."""
        district = self.config.district
        hours, zone = district.office_hours, ZoneInfo(district.timezone)
        local = now.astimezone(zone)
        if not is_working_day(hours, local.date()):
            return False
        begin = datetime.combine(local.date(), time.fromisoformat(hours.busy_hour), zone)
        return local < begin + timedelta(hours=1) or in_office_hours(district, now)

    def _schedule_retest(self, measurement: Measurement) -> Measurement:
        """See to it that a test that came out too low is made once more."""
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
            log.error("a retest failed", exc_info=task.exception())

"""Schedules probes, drills and the hub's own jobs with APScheduler.

Each probe declares its jobs (`Probe.jobs`). Speed tests follow the district's timetable
(`judge.calendar.timetable`), so that each working day has one in the busy hour.

Every job has a fixed id and a grace time, missed runs are coalesced, and each missed run is counted
(by default APScheduler silently skips a job that wakes a second late). If the wall clock is set
back, jobs would stall; if it is set forward, APScheduler would enumerate years of runs. `watch`
detects such a step and rebuilds the schedule; what became due by it is run or counted as missed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from apscheduler.events import (
    EVENT_JOB_MAX_INSTANCES,
    EVENT_JOB_MISSED,
    EVENT_JOB_SUBMITTED,
    JobExecutionEvent,
    JobSubmissionEvent,
)
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.config.fields import WEEKDAYS, parse_weekdays
from jharnet_monitor.judge.calendar.timetable import next_test
from jharnet_monitor.live import HubStatus
from jharnet_monitor.probes import PROBES, Job, Probe
from jharnet_monitor.probes.base import headquarters_office

log = logging.getLogger(__name__)

STEP_SECONDS = 30.0
"""If the wall clock moves by more than this against the monotonic clock, it was stepped."""
GRACE_SECONDS = 600
SETTLE = timedelta(seconds=20)
"""Time for agents to reconnect after a start, before the first heavy probes."""
LAST_PART = 0.99
"""Headquarters' own test runs at the end of the busy hour, after those of all offices."""
_NEXT = timedelta(milliseconds=1)

RunProbe = Callable[[str, str, dict[str, Any]], Awaitable[Any]]
HoldDrill = Callable[[], Awaitable[Any]]


class Timetable(BaseTrigger):  # type: ignore[misc]
    """Fires when a speed test is due; missed tests are not caught up."""

    def __init__(self, due: Callable[[datetime], datetime]) -> None:
        """`due` returns the first time at or after the given one."""
        self._due = due

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """The first time after both now and the previous one."""
        return self._due(now if previous is None else max(now, previous) + _NEXT)


class Scheduler:
    """The jobs of the hub: those of the probes, drills, and the hub's own.

    `run_probe(office, probe, options)` measures and records; `hold_drill()` starts a drill.
    `in_browser(office)` tells whether the office takes part by a page now.
    """

    def __init__(
        self,
        current: CurrentConfig,
        clock: Clock,
        run_probe: RunProbe,
        health: HubStatus,
        hold_drill: HoldDrill | None = None,
        in_browser: Callable[[str], bool] = lambda office: False,
    ) -> None:
        self._current = current
        self._clock = clock
        self._run_probe = run_probe
        self._hold_drill = hold_drill
        self._in_browser = in_browser
        self._health = health
        self._extra: list[tuple[str, dict[str, Any], Callable[[], Awaitable[None]]]] = []
        self._offset = self._wall_minus_monotonic()
        self._runs: set[asyncio.Task[Any]] = set()
        self._scheduler = self._new_scheduler()
        current.on_replace(self.reload)

    @property
    def _config(self) -> Config:
        return self._current.config

    @property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self._config.district.timezone)

    def add_job(self, name: str, cron: dict[str, Any], job: Callable[[], Awaitable[None]]) -> None:
        """Add a job of the hub that runs at `cron` times in the district's time zone."""
        self._extra.append((name, cron, job))

    def start(self) -> None:
        """Start all jobs."""
        self._plan()
        self._scheduler.start()

    def stop(self) -> None:
        """Stop the schedule; runs in progress go on."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    async def cancel_runs(self) -> None:
        """Cancel the runs in progress, and wait for their end."""
        for run in self._runs:
            run.cancel()
        await asyncio.gather(*self._runs, return_exceptions=True)

    def next_runs(self) -> dict[tuple[str, str], datetime]:
        """When each probe runs next, by office and probe."""
        found: dict[tuple[str, str], datetime] = {}
        for job in self._scheduler.get_jobs():
            if job.args and job.next_run_time is not None:
                office, probe, _ = job.args
                key = (office, probe)
                found[key] = min(job.next_run_time, found.get(key, job.next_run_time))
        return found

    def reload(self) -> None:
        """Rebuild the schedule from the configuration in force."""
        self._rebuild()

    def watch(self) -> float:
        """Return the seconds by which the wall clock was stepped; 0 if it was not."""
        offset = self._wall_minus_monotonic()
        step = offset - self._offset
        self._offset = offset
        if abs(step) < STEP_SECONDS:
            return 0.0
        log.warning("the wall clock was stepped by %+.0f s; rebuilding the schedule", step)
        self._rebuild()
        return step

    def _wall_minus_monotonic(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()

    def _new_scheduler(self) -> AsyncIOScheduler:
        scheduler = AsyncIOScheduler(timezone=self._zone)
        scheduler.add_listener(self._submitted, EVENT_JOB_SUBMITTED)
        scheduler.add_listener(self._missed, EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES)
        return scheduler

    def _rebuild(self) -> None:
        running = self._scheduler.running
        due = self._due() if running else []
        self.stop()
        self._scheduler = self._new_scheduler()
        if running:
            self.start()
            self._catch_up(due)

    def _due(self) -> list[tuple[str, datetime]]:
        """The jobs that should have begun by now, and when; those at an interval begin again."""
        return [
            (job.id, job.next_run_time)
            for job in self._scheduler.get_jobs()
            if job.next_run_time <= self._clock.now()
            and not isinstance(job.trigger, IntervalTrigger)
        ]

    def _catch_up(self, due: Sequence[tuple[str, datetime]]) -> None:
        """Run each of these jobs once within its grace time, as APScheduler would have done."""
        now = self._clock.now()
        for name, planned in due:
            job = self._scheduler.get_job(name)
            if job is None:
                continue
            if now - planned > timedelta(seconds=GRACE_SECONDS):
                self._count_missed(name)
            else:
                job.modify(next_run_time=min(job.next_run_time, now + SETTLE))

    def _plan(self) -> None:
        config = self._config
        places = [(office, n / len(config.offices)) for n, office in enumerate(config.offices)]
        for place, part in (*places, (headquarters_office(config), LAST_PART)):
            for probe in PROBES.values():
                for job in probe.planned(config, place):
                    # spread over the interval, so that no two begin at once
                    self._plan_job(probe, place.id, job, part + job.offset / len(config.offices))
        self._plan_drills()
        for name, cron, run in self._extra:
            self._add(name, CronTrigger(timezone=self._zone, **cron), run)

    def _plan_job(self, probe: Probe, office: str, job: Job, part: float) -> None:
        name = " ".join([probe.name, office, *map(str, job.options.values())])
        if job.at is not None:
            name += f" at {job.at}"
        args = (office, probe.name, dict(job.options))
        run = self._run_in_browser if job.in_browser else self._run_probe
        self._add(name, self._trigger(job, part), run, args)

    async def _run_in_browser(self, office: str, probe: str, options: dict[str, Any]) -> None:
        if self._in_browser(office):
            await self._run_probe(office, probe, options)

    def _trigger(self, job: Job, part: float) -> BaseTrigger:
        if job.every is None:
            hour, minute = (job.at or "").split(":")[:2]
            return CronTrigger(hour=hour, minute=minute, timezone=self._zone)
        if job.by_timetable:
            return self._timetable(job.every, part)
        return self._interval(job.every, part)

    def _plan_drills(self) -> None:
        plan = self._config.probes.drill
        if self._hold_drill is None:
            return
        # One by one: APScheduler takes `mon - thu`, with its spaces, for Monday alone.
        days = ",".join(WEEKDAYS[day] for day in sorted(parse_weekdays(plan.days)))
        for at in plan.at:
            hour, minute = at.split(":")[:2]
            trigger = CronTrigger(day_of_week=days, hour=hour, minute=minute, timezone=self._zone)
            self._add(f"drill at {at}", trigger, self._hold_drill)

    def _interval(self, every: float, part: float) -> IntervalTrigger:
        """Fires day and night, first when `part` of an interval is over."""
        first = self._clock.now() + SETTLE + timedelta(seconds=part * every)
        return IntervalTrigger(seconds=max(1, round(every)), start_date=first, timezone=self._zone)

    def _timetable(self, every: float, part: float) -> Timetable:
        district, settled = self._config.district, self._clock.now() + SETTLE
        return Timetable(lambda moment: next_test(district, every, part, max(moment, settled)))

    def _add(
        self, name: str, trigger: Any, job: Callable[..., Awaitable[Any]], args: Sequence[Any] = ()
    ) -> None:
        async def run(*given: Any) -> None:
            await self._keep(name, job(*given))

        self._scheduler.add_job(
            run, trigger, args=args, id=name, name=name, replace_existing=True, coalesce=True,
            max_instances=1, misfire_grace_time=GRACE_SECONDS,
        )  # fmt: skip

    async def _keep(self, name: str, running: Awaitable[Any]) -> None:
        """Let a run go on where APScheduler cancels it, as it does if the schedule is stopped.

        APScheduler would log the cancelled run as an error, with a traceback.
        """
        task = asyncio.ensure_future(running)
        task.set_name(name)
        self._runs.add(task)
        task.add_done_callback(self._ended)
        with suppress(asyncio.CancelledError):
            await asyncio.wait([task])

    def _ended(self, run: asyncio.Task[Any]) -> None:
        self._runs.discard(run)
        if not run.cancelled() and run.exception() is not None:
            log.error("unexpected error in %s", run.get_name(), exc_info=run.exception())

    def _submitted(self, event: JobSubmissionEvent) -> None:
        now = self._clock.now()
        planned: datetime = event.scheduled_run_times[0]
        self._health.schedule_lag = max(0.0, (now - planned).total_seconds())
        self._health.schedule_last_run = now

    def _missed(self, event: JobExecutionEvent) -> None:
        self._count_missed(event.job_id)

    def _count_missed(self, job_id: str) -> None:
        log.warning("missed a run of %s", job_id)
        self._health.schedule_missed[job_id.split(" ", maxsplit=1)[0]] += 1

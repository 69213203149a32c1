"""When what runs: the config's intervals and hours as APScheduler jobs.

What each probe plans is declared by the probe (`Probe.jobs`). Speed tests keep to the district's
timetable (`judge.calendar.timetable`), so that each working day has one in the busy hour.

Every job has a fixed id, its own grace and a coalesced catch-up, and a missed run is counted
(APScheduler's defaults skip a job in silence that wakes a second late). A step of the wall clock
would stall the jobs (set back) or make it enumerate years of runs (set forward): the watch rebuilds
the schedule from the new time instead.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
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
from jharnet_monitor.judge.calendar.timetable import next_test
from jharnet_monitor.live import HubStatus
from jharnet_monitor.probes import PROBES, Job, Probe
from jharnet_monitor.probes.internet.plan import headquarters

log = logging.getLogger(__name__)

STEP_SECONDS = 30.0
"""A wall clock that moved by more than this against the monotonic one was stepped."""
GRACE_SECONDS = 600
SETTLE = timedelta(seconds=20)
"""After a start the agents get this long to come back before the first heavy probes."""
LAST_PART = 0.99
"""Headquarters' own test comes at the end of the busy hour, when every office's is over."""
_NEXT = timedelta(milliseconds=1)

RunProbe = Callable[[str, str, dict[str, Any]], Awaitable[Any]]
HoldDrill = Callable[[], Awaitable[Any]]


class Timetable(BaseTrigger):  # type: ignore[misc]
    """When a speed test is due; what was missed is not caught up."""

    def __init__(self, due: Callable[[datetime], datetime]) -> None:
        """`due` gives the first moment at or after another."""
        self._due = due

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """The first moment from now on, and after the one before."""
        return self._due(now if previous is None else max(now, previous) + _NEXT)


class Scheduler:
    """The jobs of one hub: those that the probes declare, drills, and the hub's own.

    `run_probe(office, probe, options)` measures and records; `hold_drill()` starts a drill.
    """

    def __init__(
        self,
        current: CurrentConfig,
        clock: Clock,
        run_probe: RunProbe,
        health: HubStatus,
        hold_drill: HoldDrill | None = None,
    ) -> None:
        self._current = current
        self._clock = clock
        self._run_probe = run_probe
        self._hold_drill = hold_drill
        self._health = health
        self._extra: list[tuple[str, dict[str, Any], Callable[[], Awaitable[None]]]] = []
        self._offset = self._wall_minus_monotonic()
        self._scheduler = self._new_scheduler()
        current.on_replace(self.reload)

    @property
    def _config(self) -> Config:
        return self._current.config

    @property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self._config.district.timezone)

    def also(self, name: str, cron: dict[str, Any], job: Callable[[], Awaitable[None]]) -> None:
        """Add a job of the hub's own at a time of day (district's time zone)."""
        self._extra.append((name, cron, job))

    def start(self) -> None:
        """Plan every job from now on."""
        self._plan()
        self._scheduler.start()

    def stop(self) -> None:
        """End the schedule; runs under way are the caller's to end."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def reload(self) -> None:
        """Plan anew by the configuration now in force."""
        self._rebuild()

    def watch(self) -> float:
        """Look for a clock step; gives its size in seconds, 0 when there was none."""
        offset = self._wall_minus_monotonic()
        step = offset - self._offset
        self._offset = offset
        if abs(step) < STEP_SECONDS:
            return 0.0
        log.warning("the wall clock was stepped by %+.0f s: planning anew from now", step)
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
        self.stop()
        self._scheduler = self._new_scheduler()
        if running:
            self.start()

    def _plan(self) -> None:
        config = self._config
        places = [(office, n / len(config.offices)) for n, office in enumerate(config.offices)]
        for place, part in (*places, (headquarters(config), LAST_PART)):
            for probe in PROBES.values():
                for job in probe.jobs(config, place):
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
        self._add(name, self._trigger(job, part), self._run_probe, args)

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
        for at in plan.at:
            hour, minute = at.split(":")[:2]
            trigger = CronTrigger(
                day_of_week=plan.days, hour=hour, minute=minute, timezone=self._zone
            )
            self._add(f"drill at {at}", trigger, self._hold_drill)

    def _interval(self, every: float, part: float) -> IntervalTrigger:
        """By day and night alike; begins when `part` of the first interval is over."""
        first = self._clock.now() + SETTLE + timedelta(seconds=part * every)
        return IntervalTrigger(seconds=max(1, round(every)), start_date=first, timezone=self._zone)

    def _timetable(self, every: float, part: float) -> Timetable:
        district, settled = self._config.district, self._clock.now() + SETTLE
        return Timetable(lambda moment: next_test(district, every, part, max(moment, settled)))

    def _add(
        self, name: str, trigger: Any, job: Callable[..., Awaitable[Any]], args: Sequence[Any] = ()
    ) -> None:
        self._scheduler.add_job(
            job, trigger, args=args, id=name, replace_existing=True, coalesce=True,
            max_instances=1, misfire_grace_time=GRACE_SECONDS,
        )  # fmt: skip

    def _submitted(self, event: JobSubmissionEvent) -> None:
        now = self._clock.now()
        planned: datetime = event.scheduled_run_times[0]
        self._health.schedule_lag = max(0.0, (now - planned).total_seconds())
        self._health.schedule_last_run = now

    def _missed(self, event: JobExecutionEvent) -> None:
        log.warning("the schedule missed %s", event.job_id)
        self._health.schedule_missed[event.job_id.split(" ")[0]] += 1

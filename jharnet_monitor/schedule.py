"""When what runs: the config's intervals and hours as APScheduler jobs.

Every job has a fixed id, its own grace and a coalesced catch-up, and a missed run is counted
(APScheduler's defaults skip a job in silence that wakes a second late). A step of the wall clock
would stall the jobs (set back) or make it enumerate years of runs (set forward): the watch rebuilds
the schedule from the new time instead.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
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
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.live import SelfLive

log = logging.getLogger(__name__)

STEP_SECONDS = 30.0
"""A wall clock that moved by more than this against the monotonic one was stepped."""
GRACE_SECONDS = 600
SETTLE_SECONDS = 20.0
"""After a start the agents get this long to come back before the first heavy probes."""

RunProbe = Callable[[str, str, dict[str, Any]], Awaitable[Any]]


class Schedule:
    """The jobs of one hub. `run_probe(office, probe, options)` measures and records."""

    def __init__(self, config: Config, clock: Clock, run_probe: RunProbe, health: SelfLive) -> None:
        self._config = config
        self._clock = clock
        self._run_probe = run_probe
        self._health = health
        self._zone = ZoneInfo(config.district.timezone)
        self._extra: list[tuple[str, Any, Callable[[], Awaitable[None]]]] = []
        self._offset = self._wall_minus_monotonic()
        self._scheduler = self._new_scheduler()

    def also(self, name: str, cron: dict[str, Any], job: Callable[[], Awaitable[None]]) -> None:
        """Add a job of the hub's own at a time of day (district's time zone)."""
        self._extra.append((name, CronTrigger(timezone=self._zone, **cron), job))

    def start(self) -> None:
        """Plan every job from now on."""
        self._plan()
        self._scheduler.start()

    def stop(self) -> None:
        """End the schedule; runs under way are the caller's to end."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def reload(self, config: Config) -> None:
        """Plan anew by another configuration."""
        self._config = config
        self._zone = ZoneInfo(config.district.timezone)
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
        probes, offices = self._config.probes, self._config.offices
        for index, office in enumerate(offices):
            part = index / len(offices)  # spread over the interval, so that no two start at once
            self._every("bandwidth", office.id, probes.bandwidth.every, part, {})
            for path, every in (
                ("trains", probes.bandwidth.trains_every),
                ("internet", probes.bandwidth.internet_every),
            ):
                if every is not None:
                    self._every("bandwidth", office.id, every, part, {"path": path})
            if probes.conference.every is not None:
                self._every("conference", office.id, probes.conference.every, part, {})
            for at in probes.conference.at:
                hour, minute = at.split(":")[:2]
                trigger = CronTrigger(hour=hour, minute=minute, timezone=self._zone)
                self._add(f"conference {office.id} at {at}", trigger, "conference", office.id, {})
        for name, trigger, job in self._extra:
            self._scheduler.add_job(
                job, trigger, id=name, replace_existing=True, coalesce=True, max_instances=1,
                misfire_grace_time=GRACE_SECONDS,
            )  # fmt: skip

    def _every(
        self, probe: str, office: str, seconds: float, part: float, options: dict[str, Any]
    ) -> None:
        first = self._clock.now() + timedelta(seconds=SETTLE_SECONDS + part * seconds)
        trigger = IntervalTrigger(
            seconds=max(1, round(seconds)), start_date=first, timezone=self._zone
        )
        suffix = f" {options['path']}" if options else ""
        self._add(f"{probe} {office}{suffix}", trigger, probe, office, options)

    def _add(
        self, name: str, trigger: Any, probe: str, office: str, options: dict[str, Any]
    ) -> None:
        self._scheduler.add_job(
            self._run_probe, trigger, args=[office, probe, options], id=name,
            replace_existing=True, coalesce=True, max_instances=1,
            misfire_grace_time=GRACE_SECONDS,
        )  # fmt: skip

    def _submitted(self, event: JobSubmissionEvent) -> None:
        now = self._clock.now()
        due: datetime = event.scheduled_run_times[0]
        self._health.schedule_lag = max(0.0, (now - due).total_seconds())
        self._health.schedule_last_run = now

    def _missed(self, event: JobExecutionEvent) -> None:
        log.warning("the schedule missed %s", event.job_id)
        self._health.schedule_missed[event.job_id.split(" ")[0]] += 1

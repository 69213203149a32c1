"""The scheduler: every job is planned, and clock steps do not stall it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import apscheduler.executors.base
import apscheduler.schedulers.base
import apscheduler.triggers.cron
import apscheduler.triggers.interval
import pytest

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.hub import scheduler as scheduler_module
from jharnet_monitor.hub.scheduler import Scheduler
from jharnet_monitor.live import HubStatus
from tests.support import OFFICES, make_config


class SteppedClock(SystemClock):
    """The machine's clock, which the test steps forward or back."""

    offset = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.offset


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SteppedClock:
    """A clock whose steps APScheduler also sees."""
    clock = SteppedClock()

    class Datetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return clock.now().astimezone(tz)

    for module in (
        apscheduler.executors.base,
        apscheduler.schedulers.base,
        apscheduler.triggers.cron,
        apscheduler.triggers.interval,
    ):
        monkeypatch.setattr(module, "datetime", Datetime)
    return clock


async def _nothing(office: str, probe: str, options: dict[str, Any]) -> None:
    """A probe that is never due in these tests."""


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta(hours=1), timedelta(days=3653)])
async def test_a_clock_step_stalls_no_job(clock: SteppedClock, step: timedelta) -> None:
    """A job of every second continues after a step by an hour either way, or by ten years."""
    runs: list[float] = []

    async def tick() -> None:
        runs.append(time.monotonic())

    scheduler = Scheduler(CurrentConfig(make_config()), clock, _nothing, HubStatus())
    scheduler.add_job("tick", {"second": "*"}, tick)
    scheduler.start()
    try:
        async with asyncio.timeout(10):
            while not runs:
                await asyncio.sleep(0.02)
        assert scheduler.watch() == 0.0
        clock.offset = step
        assert scheduler.watch() == pytest.approx(step.total_seconds(), abs=1)
        stepped = time.monotonic()
        await asyncio.sleep(2.5)
        after = [moment for moment in runs if moment > stepped]
        assert 2 <= len(after) <= 4, "neither stalled nor caught up for years"
    finally:
        scheduler.stop()


@pytest.mark.parametrize(("step", "runs", "missed"), [(5, 1, 0), (13, 0, 1), (1, 0, 0)])
async def test_a_step_past_the_time_of_a_job_does_not_drop_it(
    clock: SteppedClock, monkeypatch: pytest.MonkeyPatch, step: int, runs: int, missed: int
) -> None:
    """The clock is corrected from 11:58 to 12:03 after a power cut: the job of 12:00 runs then,
    once, and that of the next day is planned. From 11:58 to 12:11 it is counted as missed."""
    monkeypatch.setattr(scheduler_module, "SETTLE", timedelta(seconds=0.5))
    noon = clock.now().replace(hour=12, minute=0, second=0, microsecond=0)
    clock.offset = noon - timedelta(minutes=2) - clock.now()
    runs_at: list[datetime] = []

    async def job() -> None:
        runs_at.append(clock.now())

    health = HubStatus()
    scheduler = Scheduler(CurrentConfig(make_config()), clock, _nothing, health)
    scheduler.add_job("noon", {"hour": 17, "minute": 30}, job)  # 12:00 UTC
    scheduler.start()
    try:
        clock.offset += timedelta(minutes=step)
        scheduler.watch()
        await asyncio.sleep(1.5)
        assert len(runs_at) == runs
        assert health.schedule_missed["noon"] == missed
        [planned] = [j for j in scheduler._scheduler.get_jobs() if j.id == "noon"]
        assert planned.next_run_time == noon + timedelta(days=step > 2)
    finally:
        scheduler.stop()


async def test_every_configured_test_is_planned(clock: SteppedClock) -> None:
    """Each office has its bandwidth, Internet and conference jobs, spread over the interval."""
    probes = {"bandwidth": {"every": "2h"}, "conference": {"at": ["11:00", "15:00"]}}
    health = HubStatus()
    current = CurrentConfig(make_config(probes=probes))
    scheduler = Scheduler(current, clock, _nothing, health)
    scheduler.start()
    try:
        jobs = {job.id: job.next_run_time for job in scheduler._scheduler.get_jobs()}
    finally:
        scheduler.stop()
    for office in OFFICES:
        names = {name for name in jobs if office in name}
        wanted = {f"bandwidth {office} due", f"bandwidth {office} internet",
                  f"conference {office} at 11:00", f"conference {office} at 15:00"}  # fmt: skip
        assert wanted <= names
    starts = [jobs[f"bandwidth {office} due"] for office in OFFICES]
    assert len(set(starts)) == len(OFFICES)
    assert jobs["conference potka at 11:00"].strftime("%H:%M %z") == "11:00 +0530"


def _next_weekdays(job: Any, count: int) -> set[int]:
    """Weekdays of the next runs; Monday is 0."""
    moment, days = job.next_run_time, set()
    for _ in range(count):
        days.add(moment.weekday())
        moment = job.trigger.get_next_fire_time(moment, moment + timedelta(seconds=1))
    return days


@pytest.mark.parametrize(
    ("written", "days"), [("mon,thu", {0, 3}), ("Mon - wed , fri", {0, 1, 2, 4})]
)
async def test_drills_are_planned_at_their_times_and_days(
    clock: SteppedClock, written: str, days: set[int]
) -> None:
    """Each time in `probes.drill` is a job; a reload without it removes the jobs."""
    held: list[str] = []

    async def hold() -> None:
        held.append("drill")

    drill = {"at": ["16:00", "17:00"], "days": written}
    current = CurrentConfig(make_config(probes={"drill": drill}))
    scheduler = Scheduler(current, clock, _nothing, HubStatus(), hold)
    scheduler.start()
    try:
        jobs = [j for j in scheduler._scheduler.get_jobs() if j.id.startswith("drill")]
        assert {j.id for j in jobs} == {"drill at 16:00", "drill at 17:00"}
        assert [_next_weekdays(job, 7) for job in jobs] == [days, days]
        assert {j.next_run_time.strftime("%H:%M") for j in jobs} == {"16:00", "17:00"}
        far = max(job.next_run_time for job in jobs)  # a step of less than 30 s is not noticed
        clock.offset = far - datetime.now(UTC) - timedelta(seconds=0.5)
        scheduler.watch()
        async with asyncio.timeout(10):
            while not held:
                await asyncio.sleep(0.05)
        current.replace(make_config())
        assert not [j for j in scheduler._scheduler.get_jobs() if j.id.startswith("drill")]
    finally:
        scheduler.stop()

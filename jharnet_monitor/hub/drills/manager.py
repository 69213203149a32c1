"""Runs drills: conferences with all offices at once, like the Deputy Commissioner's real one.

First headquarters sends to all offices and receives from all; then comes the gallery, in which each
office receives small pictures of all others and sends its own. A drill owns the headquarters
uplink and the offices' lines: it waits until running tests, visits and marked packets have
finished, and none starts during it. Each office's call is charged to that office's byte budget like
any other.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.config.calls import SHORTEST_DRILL
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.errors import RefusedRecordError, UserError
from jharnet_monitor.hub.drills.peak_rate import PeakRate
from jharnet_monitor.hub.drills.results import (
    STAGGER_SECONDS,
    SpeedAlone,
    gallery_result,
    summarise_drill,
    with_conference,
)
from jharnet_monitor.hub.runner import Runner
from jharnet_monitor.judge.calendar.hours import is_working_day
from jharnet_monitor.judge.conference.drill import (
    BEING_STORED,
    Drill,
    DrillOffice,
    DrillPhase,
    DrillState,
    LiveCall,
    LiveCallDirection,
    StartedBy,
    UplinkLoad,
)
from jharnet_monitor.model import HEADQUARTERS, Route
from jharnet_monitor.probes.conference.gallery import gallery_options, gallery_seconds
from jharnet_monitor.probes.conference.plan import drill_bytes
from jharnet_monitor.profiles import Profile
from jharnet_monitor.rtc.stats.live_stats import LiveSample

log = logging.getLogger(__name__)

MAX_DRILLS = 50
"""Drills since the start of this hub that are kept in memory."""
RETRY_SECONDS = 60.0
"""Time until the next attempt to store a drill, and until the second to write its sheets."""
LONGEST_RETRY_SECONDS = 3600.0
"""Each attempt to write the sheets costs seconds of a core, so the next ones come later."""
CONFERENCE_ROUTE, GALLERY_ROUTE = Route.DRILL, Route.GALLERY
"""The routes of a drill's calls: results of simultaneous calls are not an office's own grade."""

StoreDrill = Callable[[Drill], Awaitable[None]]


async def _no_sheets(_: Drill) -> None:
    """Write nothing."""


class DrillManager:
    """Starts drills, runs one at a time, and reports their state.

    A running drill is a record that each change replaces; the newest is in `get` and `newest`.
    """

    def __init__(
        self,
        current: CurrentConfig,
        clock: Clock,
        runner: Runner,
        store: StoreDrill,
        alone: SpeedAlone = lambda office: (None, None),
        write_sheets: StoreDrill = _no_sheets,
    ) -> None:
        """`store` is called with each drill that has ended, repeatedly while it raises an error
        other than `RefusedRecordError`; then `write_sheets`, repeatedly while it raises one.
        """
        self._current = current
        self._clock = clock
        self._runner = runner
        self._store = store
        self._alone = alone
        self._drills: dict[str, Drill] = {}
        self._write_sheets = write_sheets
        self._task: asyncio.Task[None] | None = None
        self._storing: set[asyncio.Task[None]] = set()
        """One task for each drill that could not be stored yet, or whose sheets are missing."""

    def get(self, drill_id: str) -> Drill | None:
        """The current state of a drill that this hub has started."""
        return self._drills.get(drill_id)

    @property
    def newest(self) -> Drill | None:
        """The current state of the last drill that this hub has started."""
        return next(reversed(self._drills.values()), None)

    def start(self, profile: str, minutes: float, by: StartedBy = StartedBy.HAND) -> Drill:
        """Start a drill; raises `UserError` if it cannot be held as requested."""
        if self._task is not None and not self._task.done():
            raise UserError("a drill is running already; wait for its end")
        try:
            wanted = Profile.named(profile)
        except ValueError as error:
            raise UserError(str(error)) from None
        config = self._current.config
        _check_budget(config, wanted, minutes)
        now = self._clock.now()
        drill = Drill(
            id=f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
            state=DrillState.RUNNING,
            phase=DrillPhase.WAITING,
            profile=wanted,
            started_at=now,
            minutes=minutes,
            by=by,
            offices=tuple(DrillOffice(office.id) for office in config.offices),
            uplink=UplinkLoad(contracted=config.hub.uplink.contracted),
            at_once=_fewer(config.probes.drill.at_once, len(config.offices)),
        )
        self._drills[drill.id] = drill
        for old in list(self._drills)[:-MAX_DRILLS]:
            if self._drills[old].unstored is None:
                del self._drills[old]
        self._task = asyncio.create_task(self._hold(drill.id, minutes * 60), name="drill")
        return drill

    async def hold_planned(self) -> None:
        """Start the drill that the configuration plans, unless it is a holiday or one runs."""
        config = self._current.config
        plan, zone = config.probes.drill, ZoneInfo(config.district.timezone)
        today = self._clock.now().astimezone(zone).date()
        if not is_working_day(config.district.office_hours, today):
            log.info("no drill on %s, which is no working day", today)
            return
        try:
            self.start(plan.profile, plan.minutes, StartedBy.SCHEDULE)
        except UserError as error:
            log.warning("the planned drill is not held: %s", error)

    async def stop(self) -> None:
        """End a running drill and keep its results so far."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for task in self._storing:
            task.cancel()
        await asyncio.gather(*self._storing, return_exceptions=True)

    def _change(self, drill_id: str, **changes: Any) -> Drill:
        """Replace a drill's record and return the new one."""
        self._drills[drill_id] = replace(self._drills[drill_id], **changes)
        return self._drills[drill_id]

    def _change_office(self, drill_id: str, office_id: str, **changes: Any) -> None:
        """Replace the record of one office in a drill."""
        drill = self._drills[drill_id]
        changed = replace(drill.office(office_id), **changes)
        self._drills[drill_id] = drill.with_office(changed)

    async def _hold(self, drill_id: str, seconds: float) -> None:
        """Hold a drill to its end; it ends whatever happens."""
        peak_rate, state = PeakRate(), DrillState.STOPPED
        try:
            ends = HEADQUARTERS, *(office.office for office in self._drills[drill_id].offices)
            async with self._runner.own_uplink(ends):
                await self._phases(drill_id, seconds, peak_rate)
            state = DrillState.DONE
        except Exception:
            log.exception("drill %s broke off", drill_id)
        finally:
            await self._end(drill_id, state, peak_rate)

    async def _end(self, drill_id: str, state: DrillState, peak_rate: PeakRate) -> None:
        """Summarise and store a drill; it is marked as over even if that fails."""
        drill = self._change(drill_id, state=state, phase=None, unstored=BEING_STORED)
        try:
            self._drills[drill_id] = summarise_drill(drill, self._alone, peak_rate.peaks())
        except Exception as error:
            log.exception("drill %s could not be summarised", drill_id)
            self._change(drill_id, unsummarised=_reason(error))
        if not await self._try_store(drill_id):
            self._go_on(self._store_later(drill_id), f"store {drill_id}")

    def _go_on(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Do what is left of a drill beside the next one."""
        task = asyncio.create_task(work, name=name)
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)

    async def _store_later(self, drill_id: str) -> None:
        """Repeat until a drill is stored, or refused for good."""
        settled = False
        while not settled:
            await self._clock.sleep(RETRY_SECONDS)
            settled = await self._try_store(drill_id)
        if not self._drills[drill_id].refused:
            log.info("drill %s is stored now", drill_id)

    async def _try_store(self, drill_id: str) -> bool:
        """Store a drill, and let its sheets be written; False if it must be tried again. If it
        cannot be stored, its record says why.
        """
        drill = replace(self._drills[drill_id], unstored=None)
        try:
            await self._store(drill)
        except Exception as error:
            why, refused = _reason(error), isinstance(error, RefusedRecordError)
            if self._drills[drill_id].unstored != why:
                log.exception("drill %s is not stored", drill_id)
            self._change(drill_id, unstored=why, refused=refused)
            if not refused:
                return False
        else:
            self._drills[drill_id] = drill
        self._go_on(self._write_sheets_of(drill), f"sheets {drill_id}")
        return True

    async def _write_sheets_of(self, drill: Drill) -> None:
        """Repeat until the sheets of a drill are written; each reason is logged once."""
        wait, logged = RETRY_SECONDS, ""
        while True:
            try:
                await self._write_sheets(drill)
                return
            except Exception as error:
                if _reason(error) != logged:
                    log.exception("the sheets of drill %s could not be written", drill.id)
                logged = _reason(error)
            await self._clock.sleep(wait)
            wait = min(2 * wait, LONGEST_RETRY_SECONDS)

    async def _phases(self, drill_id: str, seconds: float, peak_rate: PeakRate) -> None:
        """The conference, then the gallery of those who took part in it."""
        drill = self._change(drill_id, phase=DrillPhase.CONFERENCE)
        options = {
            "profile": drill.profile.value,
            "seconds": seconds,
            "path": CONFERENCE_ROUTE.value,
        }
        await self._call_all(drill, drill.offices, options, peak_rate)
        joined = self._drills[drill_id].joined
        tiles = gallery_options(len(joined))
        if tiles is not None and drill.profile is not Profile.AUDIO:
            drill = self._change(drill_id, phase=DrillPhase.GALLERY, pictures=len(joined))
            options = {**tiles, "seconds": gallery_seconds(seconds), "path": GALLERY_ROUTE.value}
            await self._call_all(drill, joined, options)

    async def _call_all(
        self,
        drill: Drill,
        offices: tuple[DrillOffice, ...],
        options: Mapping[str, Any],
        peak_rate: PeakRate | None = None,
    ) -> None:
        """Call `offices` at the same time, or as many as may be called at once; a call that breaks
        down ends all others.
        """
        options, places = (
            {**options, "drill": drill.id},
            asyncio.Semaphore(drill.at_once or len(offices) or 1),
        )

        async def call(number: int, office: DrillOffice) -> None:
            async with places:
                await self._call(drill.id, office.office, number, options, peak_rate)

        async with asyncio.TaskGroup() as calls:
            for number, office in enumerate(offices):
                calls.create_task(call(number, office))

    async def _call(
        self,
        drill_id: str,
        office_id: str,
        number: int,
        options: Mapping[str, Any],
        peak_rate: PeakRate | None,
    ) -> None:
        """Call one office and add the result to the drill's record."""

        def watch(sample: LiveSample) -> None:
            if peak_rate is not None:
                peak_rate.add(office_id, sample, self._clock.monotonic())
            self._change_office(drill_id, office_id, joined=True, live=_live(sample))

        if self._drills[drill_id].at_once is None:
            await self._clock.sleep(number * STAGGER_SECONDS)
        try:
            measurement = await self._runner.run_in_drill(
                office_id, "conference", {**options, "watch": watch}
            )
        finally:
            self._change_office(drill_id, office_id, live=None)
        drill = self._drills[drill_id]
        office = drill.office(office_id)
        if options["path"] == GALLERY_ROUTE:
            changed = replace(office, gallery=gallery_result(measurement, drill.pictures or 0))
        else:
            changed = with_conference(office, measurement)
        self._drills[drill_id] = drill.with_office(changed)


def _fewer(at_once: int | None, offices: int) -> int | None:
    """How many calls are held at a time if that is fewer than there are offices; else None."""
    return at_once if at_once is not None and at_once < offices else None


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _live(sample: LiveSample) -> LiveCall:
    """What a running call shows in the drill's record."""
    down, up = (
        LiveCallDirection(side.height, side.bits_per_second) for side in (sample.down, sample.up)
    )
    return LiveCall(sample.seconds, down, up, sample.rtt_seconds)


def _check_budget(config: Config, profile: Profile, minutes: float) -> None:
    """Check that a drill costs no more than a day's budget, so that offices can take part.

    Raises `UserError`, which says how long the drill may be.
    """

    def need(length: float) -> int:
        return drill_bytes(profile, 60 * length, len(config.offices))

    if need(minutes) <= config.budget:
        return
    tenths = (n / 10 for n in range(int(10 * minutes), int(10 * SHORTEST_DRILL) - 1, -1))
    most = next((length for length in tenths if need(length) <= config.budget), None)
    advice = f"take at most {most:g} minutes" if most else "not even the shortest drill fits"
    raise UserError(
        f"{minutes:g} minutes at {profile} cost each office {need(minutes) / 1e6:.0f} MB, and "
        f"its budget is {config.budget / 1e6:.0f} MB a day: {advice}"
    )

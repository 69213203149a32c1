"""Holds a drill: a conference with every office at the same time, as the DC's real one.

First headquarters sends to all and receives from all; then comes the gallery, in which each
office gets the small pictures of all others, and sends its own. A drill owns the headquarters
uplink (rule 1 of honest measurement): it waits until the heavy probes under way are done, and
none starts beside it. Each office's call draws on that office's byte budget as any other.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, Literal
from zoneinfo import ZoneInfo

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.config.calls import SHORTEST_DRILL
from jharnet_monitor.errors import UserError
from jharnet_monitor.hub.drills.record import (
    gallery,
    gallery_outcome,
    new_row,
    outcome,
    summed_up,
)
from jharnet_monitor.hub.drills.together import Together
from jharnet_monitor.hub.runner import Runner
from jharnet_monitor.judge.calendar.hours import is_working_day
from jharnet_monitor.model import Route, format_utc
from jharnet_monitor.profiles import Profile, call_bytes, rung
from jharnet_monitor.rtc.stats.live_stats import LiveSample

log = logging.getLogger(__name__)

KEPT = 50
STAGGER_SECONDS = 0.1
"""Between two calls' beginnings: their handshakes must not be what is measured."""
GALLERY_SHARE, GALLERY_SECONDS = 0.2, (10.0, 60.0)
"""The gallery takes so much of the conference's time, within these bounds."""
CONFERENCE, GALLERY = Route.DRILL, Route.GALLERY
"""The routes of a drill's calls: what all offices had at once is no office's own grade."""

Keep = Callable[[dict[str, Any]], Awaitable[None]]
Alone = Callable[[str], tuple[float | None, float | None]]
"""What an office's line carried when it was last tested by itself: bit/s towards it, from it."""


class Drills:
    """Starts drills and tells how they stand. `keep(drill)` stores one when it has ended."""

    def __init__(
        self,
        config: Callable[[], Config],
        clock: Clock,
        runner: Runner,
        keep: Keep,
        alone: Alone = lambda office: (None, None),
    ) -> None:
        """`config` gives the configuration in force."""
        self._config = config
        self._clock = clock
        self._runner = runner
        self._keep = keep
        self._alone = alone
        self._drills: dict[str, dict[str, Any]] = {}
        self._task: asyncio.Task[None] | None = None

    def get(self, drill_id: str) -> dict[str, Any] | None:
        """A drill of this hub's life by its id, as it stands."""
        return self._drills.get(drill_id)

    @property
    def newest(self) -> dict[str, Any] | None:
        """The drill of this hub's life that began last, as it stands."""
        return next(reversed(self._drills.values()), None)

    def start(
        self, profile: str, minutes: float, by: Literal["hand", "schedule"] = "hand"
    ) -> dict[str, Any]:
        """Start a drill; raises `UserError` when it cannot be held as it is asked for."""
        if self._task is not None and not self._task.done():
            raise UserError("a drill is running already; wait for its end")
        try:
            profile = Profile.named(profile)
        except ValueError as error:
            raise UserError(str(error)) from None
        config = self._config()
        self._check_budget(config, profile, minutes)
        now = self._clock.now()
        drill: dict[str, Any] = {
            "id": f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
            "state": "running",
            "phase": "waiting",
            "profile": profile,
            "started_at": format_utc(now),
            "minutes": minutes,
            "by": by,
            "offices": [new_row(office.id) for office in config.offices],
            "uplink": {"contracted_bits_per_second": config.hub.uplink.contracted},
        }
        self._drills[drill["id"]] = drill
        for old in list(self._drills)[:-KEPT]:
            del self._drills[old]
        self._task = asyncio.create_task(self._hold(drill, minutes * 60), name="drill")
        return drill

    async def hold_planned(self) -> None:
        """Start the drill of the configuration's plan, unless it is a holiday or one is running."""
        config = self._config()
        plan, zone = config.probes.drill, ZoneInfo(config.district.timezone)
        today = self._clock.now().astimezone(zone).date()
        if not is_working_day(config.district.office_hours, today):
            log.info("no drill on %s, which is no working day", today)
            return
        try:
            self.start(plan.profile, plan.minutes, "schedule")
        except UserError as error:
            log.warning("the planned drill is not held: %s", error)

    def _check_budget(self, config: Config, profile: Profile, minutes: float) -> None:
        """No office could take part in a drill that costs more than a whole day's budget."""

        def need(length: float) -> int:
            return _bytes(profile, 60 * length, len(config.offices))

        if need(minutes) <= config.budget:
            return
        tenths = (n / 10 for n in range(int(10 * minutes), int(10 * SHORTEST_DRILL) - 1, -1))
        most = next((length for length in tenths if need(length) <= config.budget), None)
        advice = f"take at most {most:g} minutes" if most else "not even the shortest drill fits"
        raise UserError(
            f"{minutes:g} minutes at {profile} cost each office {need(minutes) / 1e6:.0f} MB, and "
            f"its budget is {config.budget / 1e6:.0f} MB a day: {advice}"
        )

    async def stop(self) -> None:
        """End a drill under way; what is known of it is kept."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _hold(self, drill: dict[str, Any], seconds: float) -> None:
        """Hold the drill to its end, which it has whatever happens."""
        together, state = Together(), "stopped"
        try:
            async with self._runner.own_uplink():
                await self._phases(drill, seconds, together)
            state = "done"
        except Exception:
            log.exception("drill %s broke off", drill["id"])
        finally:
            await self._end(drill, state, together)

    async def _end(self, drill: dict[str, Any], state: str, together: Together) -> None:
        """Sum it up and keep it; whoever follows it sees that it is over even if that fails."""
        del drill["phase"]
        try:
            summed_up(drill, self._alone, together.most())
            drill["state"] = state
            await self._keep(drill)
        except Exception:
            drill["state"] = state
            log.exception("drill %s could not be kept", drill["id"])

    async def _phases(self, drill: dict[str, Any], seconds: float, together: Together) -> None:
        """The conference, then the gallery of those who came to it."""
        rows: list[dict[str, Any]] = drill["offices"]
        drill["phase"] = "conference"
        options = {"profile": drill["profile"], "seconds": seconds, "path": CONFERENCE.value}
        await self._all(drill, rows, options, together)
        tiles = gallery(sum(row["joined"] for row in rows))
        if tiles is not None and drill["profile"] != Profile.AUDIO:
            drill["phase"] = "gallery"
            options = {**tiles, "seconds": _gallery_seconds(seconds), "path": GALLERY.value}
            joined = [row for row in rows if row["joined"]]
            drill["pictures"] = len(joined)
            await self._all(drill, joined, options)

    async def _all(
        self,
        drill: dict[str, Any],
        rows: list[dict[str, Any]],
        options: dict[str, Any],
        together: Together | None = None,
    ) -> None:
        """Hold a call with every office of `rows` at the same time; one that breaks ends all."""
        options = {**options, "drill": drill["id"]}
        async with asyncio.TaskGroup() as calls:
            for n, row in enumerate(rows):
                calls.create_task(self._office(drill, row, n, options, together))

    async def _office(
        self,
        drill: dict[str, Any],
        row: dict[str, Any],
        number: int,
        options: dict[str, Any],
        together: Together | None,
    ) -> None:
        def watch(beat: LiveSample) -> None:
            row["joined"] = True
            if together is not None:
                together.note(row["office"], beat, self._clock.monotonic())
            row["live"] = asdict(beat)

        await self._clock.sleep(number * STAGGER_SECONDS)
        try:
            measurement = await self._runner.run_in_drill(
                row["office"], "conference", {**options, "watch": watch}
            )
        finally:
            row.pop("live", None)
        if options["path"] == GALLERY:
            row["gallery"] = gallery_outcome(measurement, drill["pictures"])
        else:
            row.update(outcome(measurement))


def _gallery_seconds(seconds: float) -> float:
    """How long the gallery after a conference of so many seconds is."""
    shortest, longest = GALLERY_SECONDS
    return min(longest, max(shortest, GALLERY_SHARE * seconds))


def _bytes(profile: Profile, seconds: float, offices: int) -> int:
    """What a drill puts on an office's line where all take part: conference and gallery."""
    top, tiles = profile.rung, gallery(offices)
    conference = call_bytes(top, top, seconds)
    if tiles is None or profile is Profile.AUDIO:
        return conference
    own = min(rung(tiles["up"]), rung(tiles["profile"]), key=lambda step: step.line_rate)
    return conference + call_bytes(rung(tiles["profile"]), own, _gallery_seconds(seconds))

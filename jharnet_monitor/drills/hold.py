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
from jharnet_monitor.drills.record import (
    gallery,
    gallery_outcome,
    new_row,
    outcome,
    summed_up,
)
from jharnet_monitor.drills.together import Together
from jharnet_monitor.errors import UserError
from jharnet_monitor.judge.hours import is_working_day
from jharnet_monitor.model import format_utc
from jharnet_monitor.probes.conference import call_bytes
from jharnet_monitor.rtc.profiles import PROFILES, rung
from jharnet_monitor.rtc.pulse import Beat
from jharnet_monitor.runner import Runner

log = logging.getLogger(__name__)

KEPT = 50
STAGGER_SECONDS = 0.1
"""Between two calls' beginnings: their handshakes must not be what is measured."""
GALLERY_SHARE, GALLERY_SECONDS = 0.2, (10.0, 60.0)
"""The gallery takes so much of the conference's time, within these bounds."""

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

    def start(
        self, profile: str, minutes: float, by: Literal["hand", "schedule"] = "hand"
    ) -> dict[str, Any]:
        """Start a drill; raises `UserError` when it cannot be held as it is asked for."""
        if self._task is not None and not self._task.done():
            raise UserError("a drill is running already; wait for its end")
        if profile not in PROFILES:
            raise UserError(f"no profile `{profile}`; there are {', '.join(PROFILES)}")
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

    def _check_budget(self, config: Config, profile: str, minutes: float) -> None:
        """No office could take part in a drill that costs more than a whole day's budget."""
        need = call_bytes(rung(profile), rung(profile), minutes * 60)
        if need > config.budget:
            fitting = minutes * config.budget / need
            raise UserError(
                f"{minutes:g} minutes at {profile} cost each office {need / 1e6:.0f} MB, and its "
                f"budget is {config.budget / 1e6:.0f} MB a day: take at most {fitting:.1f} minutes"
            )

    async def stop(self) -> None:
        """End a drill under way; what is known of it is kept."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _hold(self, drill: dict[str, Any], seconds: float) -> None:
        rows: list[dict[str, Any]] = drill["offices"]
        together = Together()
        try:
            async with self._runner.own_uplink():
                drill["phase"] = "conference"
                options = {"profile": drill["profile"], "seconds": seconds}
                await self._all(drill, rows, options, together)
                tiles = gallery(sum(row["joined"] for row in rows))
                if tiles is not None and drill["profile"] != "audio":
                    drill["phase"] = "gallery"
                    shortest, longest = GALLERY_SECONDS
                    seconds = min(longest, max(shortest, GALLERY_SHARE * seconds))
                    options = {**tiles, "seconds": seconds, "path": "gallery"}
                    joined = [row for row in rows if row["joined"]]
                    drill["pictures"] = len(joined)
                    await self._all(drill, joined, options)
            drill["state"] = "done"
        except asyncio.CancelledError:
            drill["state"] = "stopped"
            raise
        finally:
            del drill["phase"]
            summed_up(drill, self._alone, together.most())
            await self._keep(drill)

    async def _all(
        self,
        drill: dict[str, Any],
        rows: list[dict[str, Any]],
        options: dict[str, Any],
        together: Together | None = None,
    ) -> None:
        """Hold a call with every office of `rows` at the same time."""
        options = {**options, "drill": drill["id"]}
        calls = (self._office(drill, row, n, options, together) for n, row in enumerate(rows))
        await asyncio.gather(*calls)

    async def _office(
        self,
        drill: dict[str, Any],
        row: dict[str, Any],
        number: int,
        options: dict[str, Any],
        together: Together | None,
    ) -> None:
        def watch(beat: Beat) -> None:
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
        if "path" in options:
            row["gallery"] = gallery_outcome(measurement, drill["pictures"])
        else:
            row.update(outcome(measurement))

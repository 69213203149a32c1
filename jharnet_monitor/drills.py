"""The drill: a conference with every office at the same time, as in the DC's real one.

A drill owns the headquarters uplink (rule 1 of honest measurement): it waits until the heavy
probes under way are done, and none starts beside it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.errors import UserError
from jharnet_monitor.model import Measurement, format_utc
from jharnet_monitor.runner import Runner

log = logging.getLogger(__name__)

PROFILES = ("audio", "180p", "360p", "540p", "720p")
KEPT = 50

Keep = Callable[[dict[str, Any]], Awaitable[None]]


class Drills:
    """Starts drills and tells how they stand. `keep(drill)` stores one when it has ended."""

    def __init__(self, config: Config, clock: Clock, runner: Runner, keep: Keep) -> None:
        self._config = config
        self._clock = clock
        self._runner = runner
        self._keep = keep
        self._drills: dict[str, dict[str, Any]] = {}
        self._task: asyncio.Task[None] | None = None

    def get(self, drill_id: str) -> dict[str, Any] | None:
        """A drill of this hub's life by its id, as it stands."""
        return self._drills.get(drill_id)

    def start(self, profile: str, minutes: float) -> dict[str, Any]:
        """Start a drill; raises `UserError` when one is running or the profile is unknown."""
        if self._task is not None and not self._task.done():
            raise UserError("a drill is running already; wait for its end")
        if profile not in PROFILES:
            raise UserError(f"no profile `{profile}`; there are {', '.join(PROFILES)}")
        now = self._clock.now()
        drill: dict[str, Any] = {
            "id": f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
            "state": "running",
            "profile": profile,
            "started_at": format_utc(now),
            "minutes": minutes,
            "offices": [_row(office.id) for office in self._config.offices],
            "uplink": {"contracted_bits_per_second": self._config.hub.uplink.contracted},
        }
        self._drills[drill["id"]] = drill
        for old in list(self._drills)[:-KEPT]:
            del self._drills[old]
        self._task = asyncio.create_task(self._hold(drill, minutes * 60), name="drill")
        return drill

    async def stop(self) -> None:
        """End a drill under way; what is known of it is kept."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _hold(self, drill: dict[str, Any], seconds: float) -> None:
        try:
            async with self._runner.own_uplink():
                rows = {row["office"]: row for row in drill["offices"]}
                await asyncio.gather(*(self._office(drill, row, seconds) for row in rows.values()))
            drill["state"] = "done"
        except asyncio.CancelledError:
            drill["state"] = "stopped"
            raise
        finally:
            drill["uplink"].update(_uplink(drill["offices"]))
            await self._keep(drill)

    async def _office(self, drill: dict[str, Any], row: dict[str, Any], seconds: float) -> None:
        options = {"profile": drill["profile"], "seconds": seconds, "drill": drill["id"]}
        measurement = await self._runner.run_in_drill(row["office"], "conference", options)
        row.update(_result(measurement))


def _row(office: str) -> dict[str, Any]:
    return {
        "office": office,
        "joined": False,
        "outcome": None,
        "cause": None,
        "grade": None,
        "limited_by": None,
        "up": {},
        "down": {},
    }


def _result(measurement: Measurement) -> dict[str, Any]:
    values = measurement.values
    return {
        "joined": "setup_seconds" in values,
        "outcome": measurement.outcome.value,
        "cause": measurement.cause,
        "grade": values.get("grade"),
        "limited_by": measurement.conditions.get("limited_by"),
        "measurement": measurement.id,
        **{
            way: {
                name.removeprefix(f"{way}_"): value
                for name, value in values.items()
                if name.startswith(f"{way}_")
            }
            for way in ("up", "down")
        },
    }


def _uplink(rows: list[dict[str, Any]]) -> dict[str, float]:
    """What headquarters' line carried for all calls together, each way, in bit/s.

    `down` is towards the offices, so it is what headquarters sent.
    """
    return {
        f"{way}_bits_per_second": sum(row[way].get("bits_per_second", 0.0) for row in rows)
        for way in ("up", "down")
    }

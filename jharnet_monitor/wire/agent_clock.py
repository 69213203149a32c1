"""Corrects the times of an agent's measurements by the error of its clock.

An agent's machine may have a dead battery and start in 1970, and its clock may be set at any time.
Its uptime comes from another clock, which nobody sets: from each heartbeat the hub derives when the
machine booted, by the hub's clock, and from that the start of each measurement.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from jharnet_monitor.model import Measurement
from jharnet_monitor.wire.protocol import UPTIME

OFFSET_CONDITION = "clock_offset_seconds"
LEAST_OFFSET = 2.0
"""Seconds. A smaller offset is not corrected, since a heartbeat may take this long to arrive."""
_SAMPLES = 16
_BOOTS = 8


@dataclass(slots=True)
class AgentClock:
    """When the machine of one office's agents booted, by the hub's clock."""

    _boots: dict[str, deque[datetime]] = field(default_factory=dict)
    """By boot id: estimates of the boot time, each too late by the delay of a frame."""

    def note_frame(self, boot_id: str, uptime: float, now: datetime) -> None:
        """Note a frame of an agent that has been running for `uptime` seconds."""
        moments = self._boots.pop(boot_id, deque[datetime](maxlen=_SAMPLES))
        moments.append(now - timedelta(seconds=uptime))
        self._boots[boot_id] = moments
        if len(self._boots) > _BOOTS:
            del self._boots[next(iter(self._boots))]

    def boot_time(self, boot_id: object) -> datetime | None:
        """When the machine booted; None for an unknown boot."""
        moments = self._boots.get(boot_id) if isinstance(boot_id, str) else None
        return None if moments is None else min(moments)

    def correct(self, measurement: Measurement) -> Measurement:
        """The measurement at its true time; a condition holds the offset that was subtracted. A
        measurement without an uptime, or of an unknown boot, is returned unchanged.
        """
        boot_time = self.boot_time(measurement.conditions.get("boot_id"))
        uptime = measurement.conditions.get(UPTIME)
        if boot_time is None or not isinstance(uptime, int | float) or not 0 <= uptime < 1e10:
            return measurement
        began = boot_time + timedelta(seconds=uptime)
        offset = (measurement.started_at - began).total_seconds()
        if abs(offset) < LEAST_OFFSET:
            return measurement
        conditions = {**measurement.conditions, OFFSET_CONDITION: round(offset, 1)}
        return replace(measurement, started_at=began, conditions=conditions)

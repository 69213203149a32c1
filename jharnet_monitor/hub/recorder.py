"""`record()`: the one way of every measurement into the store and the live state."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from jharnet_monitor.clock import Clock
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.hub.health import database_write
from jharnet_monitor.live import Live
from jharnet_monitor.model import HEADQUARTERS, Measurement
from jharnet_monitor.store import Store, StoreError

log = logging.getLogger(__name__)


class Recorder:
    """Stores measurements, whoever made them, updates the live state and counts bytes spent."""

    def __init__(self, current: CurrentConfig, store: Store, live: Live, clock: Clock) -> None:
        self._current = current
        self._store = store
        self._live = live
        self._clock = clock
        self._day: date | None = None
        self._spent: dict[str, int] = {}

    async def record(self, *measurements: Measurement) -> Sequence[Measurement]:
        """Store measurements and return the new ones; one that is stored already is ignored.

        The live state is updated even if the write fails.
        """
        try:
            with database_write(self._live.hub, self._clock):
                new: Sequence[Measurement] = await asyncio.to_thread(self._store.add, measurements)
        except StoreError as error:
            log.error("%d measurements could not be stored: %s", len(measurements), error)
            new = measurements
        for measurement in new:
            self._live.update(measurement)
            self._charge(measurement)
        return new

    @property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self._current.config.district.timezone)

    def today(self) -> tuple[date, datetime]:
        """The district's date now, and the moment at which that day began."""
        day = self._clock.now().astimezone(self._zone).date()
        return day, datetime.combine(day, time(), self._zone)

    def spent_today(self, office: str) -> int:
        """Bytes that heavy probes took of the office's budget since the district's midnight."""
        self.roll_over_day()
        return self._spent.get(office, 0)

    def restore_spent(self) -> None:
        """Count today's bytes again from the store: after a restart or a change of time zone."""
        self._day, midnight = self.today()
        until = midnight + timedelta(days=1)
        places = (HEADQUARTERS, *self._live.offices)
        self._spent = {place: self._store.spent(place, midnight, until) for place in places}
        self._publish_spent()

    def roll_over_day(self) -> None:
        """Start an empty account after the district's midnight; to be called often."""
        day, _ = self.today()
        if self._day != day:
            self._day, self._spent = day, {}
            self._publish_spent()

    def _charge(self, measurement: Measurement) -> None:
        self.roll_over_day()
        amount, begun = measurement.bytes_spent, measurement.started_at
        ended = begun + timedelta(seconds=measurement.duration)
        # over midnight it counts for both days, so that neither can be overspent
        days = {moment.astimezone(self._zone).date() for moment in (begun, ended)}
        if amount and self._day in days:
            self._spent[measurement.office] = self._spent.get(measurement.office, 0) + amount
            self._publish_spent()

    def _publish_spent(self) -> None:
        self._live.headquarters.bytes_spent_today = self._spent.get(HEADQUARTERS, 0)
        for office, live in self._live.offices.items():
            live.bytes_spent_today = self._spent.get(office, 0)

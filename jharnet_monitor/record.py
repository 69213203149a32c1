"""`record()`: the one way of every measurement into the store and the live state."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.live import Live
from jharnet_monitor.model import Measurement
from jharnet_monitor.store import Store, StoreError

log = logging.getLogger(__name__)


class Recorder:
    """Stores what was measured, whoever made it, and lets it become the latest. Idempotent."""

    def __init__(self, config: Config, store: Store, live: Live, clock: Clock) -> None:
        self._store = store
        self._live = live
        self._clock = clock
        self._zone = ZoneInfo(config.district.timezone)
        self._day: date | None = None
        self._spent: dict[str, int] = {}

    async def record(self, *measurements: Measurement) -> Sequence[Measurement]:
        """Keep measurements; gives those that were new. A full disk loses no live figure."""
        try:
            new: Sequence[Measurement] = await asyncio.to_thread(self._store.add, measurements)
        except StoreError as error:
            self._live.self_.database_errors += 1
            log.error("%d measurements could not be stored: %s", len(measurements), error)
            new = measurements
        for measurement in new:
            self._live.take(measurement)
            self._spend(measurement)
        return new

    def today(self) -> tuple[date, datetime]:
        """The district's day now, and the moment it began."""
        day = self._clock.now().astimezone(self._zone).date()
        return day, datetime.combine(day, time(), self._zone)

    def spent_today(self, office: str) -> int:
        """Bytes that heavy probes took of the office's budget since the district's midnight."""
        self._turn_the_day()
        return self._spent.get(office, 0)

    def restore_spent(self) -> None:
        """After a restart: what today's tests took before it."""
        day, midnight = self.today()
        self._day = day
        until = midnight + timedelta(days=1)
        self._spent = {
            office: self._store.spent(office, midnight, until) for office in self._live.offices
        }

    def _turn_the_day(self) -> None:
        day, _ = self.today()
        if self._day != day:
            self._day, self._spent = day, {}
            for office in self._live.offices.values():
                office.bytes_spent_today = 0

    def _spend(self, measurement: Measurement) -> None:
        self._turn_the_day()
        amount = measurement.bytes_spent
        started = measurement.started_at.astimezone(self._zone).date()
        if amount and started == self._day:
            total = self._spent.get(measurement.office, 0) + amount
            self._spent[measurement.office] = total
            if measurement.office in self._live.offices:
                self._live.offices[measurement.office].bytes_spent_today = total

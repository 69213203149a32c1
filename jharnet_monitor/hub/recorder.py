"""The one way of every measurement into the store and the live state, whoever made it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from jharnet_monitor.clock import Clock
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.hub.records import MeasurementRecord
from jharnet_monitor.hub.store_writer import StoreWriter
from jharnet_monitor.live import Live
from jharnet_monitor.model import HEADQUARTERS, Measurement


class Recorder:
    """Stores measurements, whoever made them, updates the live state and counts bytes spent."""

    def __init__(
        self, current: CurrentConfig, writer: StoreWriter, live: Live, clock: Clock
    ) -> None:
        self._current = current
        self._writer = writer
        self._live = live
        self._clock = clock
        self._day: date | None = None
        self._spent: dict[str, int] = {}

    async def record(self, measurement: Measurement) -> None:
        """Record a measurement of the hub's own; while the database takes none it waits on disk."""
        self._update(measurement)
        await self._writer.write(MeasurementRecord(measurement))

    async def hand_in(self, measurements: Sequence[Measurement]) -> None:
        """Store what an agent hands in; one that is stored already is ignored.

        Raises `StoreError`: then nothing is recorded, and the agent has to keep it.
        """
        for measurement in await self._writer.add(measurements):
            self._update(measurement)

    def _update(self, measurement: Measurement) -> None:
        self._live.update(measurement)
        self._charge(measurement)

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
        self._spent = {place: self._writer.store.spent(place, midnight, until) for place in places}
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

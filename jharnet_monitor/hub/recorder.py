"""The single path of every measurement into the store and the live state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from jharnet_monitor.clock import Clock
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.hub.records import EventRecord, MeasurementRecord
from jharnet_monitor.hub.spending import Spending
from jharnet_monitor.hub.store_writer import StoreWriter
from jharnet_monitor.live import Live
from jharnet_monitor.model import HEADQUARTERS, Measurement
from jharnet_monitor.probes import PROBES
from jharnet_monitor.store import SpentBytes

UPDATE = "update"
"""The kind of events about an agent's update; `bytes` of them count in the day's budget."""


class Recorder:
    """Stores measurements, updates the live state, and counts the bytes spent by office and day."""

    def __init__(
        self, current: CurrentConfig, writer: StoreWriter, live: Live, clock: Clock
    ) -> None:
        self._current = current
        self._writer = writer
        self._live = live
        self._clock = clock
        self._started = clock.now()
        self._spending = Spending()

    async def record(self, measurement: Measurement) -> None:
        """Record a measurement made by the hub; it waits on disk until the database takes it."""
        self._update(replace(measurement, round_trips=()))  # they are for the store alone
        found = PROBES[measurement.probe].events(measurement)
        at, office = measurement.started_at, measurement.office
        events = [EventRecord(office, kind, at, data) for kind, data in found]
        await self._writer.write(MeasurementRecord(measurement), *events)

    async def hand_in(self, measurements: Sequence[Measurement]) -> None:
        """Store an agent's measurements, ignoring those already stored.

        Raises `StoreError` if none was recorded; the agent then has to keep them all.
        """
        for measurement in await self._writer.add(measurements):
            self._update(measurement)

    def _update(self, measurement: Measurement) -> None:
        self._live.update(measurement, self._clock.now())
        self._charge(measurement)

    @property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self._current.config.district.timezone)

    def today(self) -> tuple[date, datetime]:
        """The district's current date, and the time at which that day began."""
        day = self._clock.now().astimezone(self._zone).date()
        return day, datetime.combine(day, time(), self._zone)

    def spent_today(self, office: str) -> int:
        """Bytes of the office's budget spent by heavy probes since the district's midnight."""
        self.roll_over_day()
        return self._spending.today(office)

    def restore_spent(self) -> None:
        """Count today's bytes from the store, too: after a restart, once it is available, or after
        a change of time zone. Blocks; meanwhile more may be charged.
        """
        self.roll_over_day()
        _, midnight = self.today()
        store, places = self._writer.store, (HEADQUARTERS, *self._live.offices)
        for place in places:
            for name, spent in store.spent(place, midnight, midnight + timedelta(days=1)).items():
                self._spending.note(name, spent)
        for event in store.event_log.events_of_kind(UPDATE, places, midnight):
            if event.at < self._started:  # later ones were charged as they were sent
                amount = int(event.data.get("bytes", 0))
                spent = SpentBytes(event.office, event.at, event.at, amount)
                self._spending.note((event.office, event.at, amount), spent)
        self._publish_spent()

    def charge(self, office: str, amount: int) -> None:
        """Take bytes from the office's budget that no measurement spends: those of an update."""
        self.roll_over_day()
        self._spending.add(office, amount, self._clock.now())
        self._publish_spent()

    def roll_over_day(self) -> None:
        """Reset the counts after the district's midnight. Call this often."""
        _, midnight = self.today()
        if self._spending.begin_day(midnight):
            self._publish_spent()

    def _charge(self, measurement: Measurement) -> None:
        self.roll_over_day()
        if measurement.bytes_spent:
            spent = SpentBytes(
                measurement.office, measurement.started_at, measurement.ended_at,
                measurement.bytes_spent,
            )  # fmt: skip
            self._spending.note(measurement.id, spent)
            self._publish_spent()

    def _publish_spent(self) -> None:
        spent = self._spending.today
        self._live.headquarters.bytes_spent_today = spent(HEADQUARTERS)
        for office, live in self._live.offices.items():
            live.bytes_spent_today = spent(office)

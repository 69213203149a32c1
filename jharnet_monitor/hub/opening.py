"""Opens the hub's database at the start, or as soon as it is available.

After a power cut the database may start after the hub, its disk may be full or read-only, or
another program may have locked it. The hub measures and alerts nevertheless; its records wait on
disk, and earlier state is restored when the database opens.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from jharnet_monitor.clock import Clock, is_ahead
from jharnet_monitor.errors import StoreError, TemporaryError, UserError
from jharnet_monitor.hub.office_monitor import OfficeMonitor
from jharnet_monitor.hub.recorder import Recorder
from jharnet_monitor.hub.store_writer import RETRY_SECONDS, StoreWriter
from jharnet_monitor.live import Live
from jharnet_monitor.probes import has_series
from jharnet_monitor.store import Store

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 2.0
"""How long the start waits for the database before the hub runs without it."""
_COUNTERS = "counters"
_COUNTED_BEFORE = "counted_before"
"""Totals in the store that the hub's counters leave out, because they started at 0 without it."""


class DatabaseOpening:
    """Takes, migrates and restores one database; then `opened` is True."""

    def __init__(
        self,
        store: Store,
        writer: StoreWriter,
        live: Live,
        recorder: Recorder,
        office_monitor: OfficeMonitor,
        clock: Clock,
    ) -> None:
        self.opened = False
        self.refused: UserError | TemporaryError | None = None
        """Why this hub cannot use the database; the hub has to end."""
        self._store = store
        self._writer = writer
        self._live = live
        self._recorder = recorder
        self._office_monitor = office_monitor
        self._clock = clock
        self._attempt: asyncio.Future[None] | None = None

    async def open(self) -> None:
        """Open the database if it answers within `PATIENCE_SECONDS`; else the hub runs without it.

        Raises `UserError` for a database of a newer version, and `TemporaryError` while another hub
        owns it.
        """
        await self._writer.open()
        try:
            await self._take(PATIENCE_SECONDS)
            await self._restore_counters()
            await self._writer.release()
            await self._restore()
            await self._office_monitor.restore()
        except StoreError as error:
            self._begin_without(error)
            await self._office_monitor.note_start()
        else:
            self.opened = True

    def _begin_without(self, error: StoreError) -> None:
        log.error("the hub starts without its database; records wait on disk: %s", error)
        self._writer.hold(error.trouble)

    async def keep_trying(self) -> None:
        """Try until the database is open, or until `refused` is set."""
        while not self.opened and self.refused is None:
            try:
                await self._take()
                await self._restore_late()
            except StoreError as error:
                self._writer.hold(error.trouble)
                log.debug("the database is still unavailable: %s", error)
                await self._clock.sleep(RETRY_SECONDS)
            except (UserError, TemporaryError) as error:
                self.refused = error

    async def _take(self, patience: float | None = None) -> None:
        """Become the owner and migrate. Raises `StoreError`, also after `patience`.

        An attempt that takes longer continues in its thread; the next call waits for it.
        """
        if self._attempt is None:
            self._attempt = asyncio.ensure_future(asyncio.to_thread(self._take_now))
        done, _ = await asyncio.wait({self._attempt}, timeout=patience)
        if not done:
            raise StoreError(f"no answer within {patience:g} s")
        attempt, self._attempt = self._attempt, None
        attempt.result()

    def _take_now(self) -> None:
        self._store.ownership.take()
        self._store.migrate()
        self._store.ownership.take()  # a new database has a lease from now on

    async def _restore_late(self) -> None:
        """Restore the state, keeping what was measured meanwhile; raises `StoreError`."""
        totals = await asyncio.to_thread(self._store.tallies.all)
        counted = [[t.office, t.probe, t.path, t.outcome.value, t.runs, t.sent, t.received]
                for t in totals]  # fmt: skip
        # The counters started at 0, as after a reset, so earlier counts of the store are left out.
        await asyncio.to_thread(self._store.set_value, _COUNTED_BEFORE, counted)
        await asyncio.to_thread(self._store.set_value, _COUNTERS, None)
        await self._restore()
        await self._writer.release()
        self.opened = True
        log.info("the database is available; writing the records that waited")
        try:
            await self._count_what_waited()
            await self._office_monitor.restore_agents()
        except StoreError as error:  # the records are released, so the hub goes on without
            log.warning("not all of the earlier state could be restored: %s", error)

    async def _restore(self) -> None:
        latest, now = await asyncio.to_thread(self._store.latest), self._clock.now()
        runs = filter(has_series, latest)  # those of a later version would fail pages and metrics
        for run in sorted(runs, key=lambda run: not is_ahead(run.ended_at, now)):
            self._live.restore(run, now)  # one that lies ahead is kept only if it is the only one
        await asyncio.to_thread(self._recorder.restore_spent)

    async def _count_what_waited(self) -> None:
        """Count the bytes of tests that an earlier run of the hub could not store."""
        try:
            await asyncio.to_thread(self._recorder.restore_spent)
        except StoreError as error:
            log.error("today's bytes from before the start may not all be counted: %s", error)

    async def _restore_counters(self) -> None:
        """Restore runs from the store's totals, and all other counters only after a clean stop.
        Prometheus takes a counter that returns slightly lower for a reset and counts all of it
        again; it handles a counter that starts at 0 correctly.
        """
        saved: Any = await asyncio.to_thread(self._store.get_value, _COUNTERS)
        await asyncio.to_thread(self._store.set_value, _COUNTERS, None)
        counted: Any = await asyncio.to_thread(self._store.get_value, _COUNTED_BEFORE)
        before = {tuple(one[:4]): one[4:] for one in counted or ()}
        self._live.restore_counters(saved or {})
        for office in self._live.offices.values():
            office.runs.clear()
        for total in await asyncio.to_thread(self._store.tallies.all):
            key = (total.office, total.probe, total.path, total.outcome.value)
            runs = before.get(key, (0,))[0]
            here = self._live.offices.get(total.office)
            if here is not None and not total.by_agent:
                self._live.count(here, total.probe, total.outcome.value, total.runs - runs)

    async def save_counters(self, seconds: float) -> None:
        """Keep the counters for the next start, if the database takes them in this time."""
        if not self.opened:
            return
        try:
            saving = asyncio.to_thread(self._store.set_value, _COUNTERS, self._live.counters())
            await asyncio.wait_for(saving, seconds)
        except (StoreError, TimeoutError) as error:
            why = str(error) or "no answer"
            log.error("counters start at 0 next time, as they could not be stored: %s", why)

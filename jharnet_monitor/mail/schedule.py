"""Makes the weekly report when it is due and brings it to everyone, whatever happens in between.

What is made, sent and accepted stands in the store: what was due while the hub was off is made at
the next start, and what was not accepted is tried again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.errors import UserError
from jharnet_monitor.judge.calendar.period import Period
from jharnet_monitor.live import HubStatus
from jharnet_monitor.mail.due import due_at, due_weeks
from jharnet_monitor.mail.message import Mailing
from jharnet_monitor.mail.outbox import Busy, Outbox, pause
from jharnet_monitor.model import format_utc, parse_utc
from jharnet_monitor.report.output.files import OutputFile, TypesettingError, write
from jharnet_monitor.report.output.worker import WorkerError, in_own_process
from jharnet_monitor.store import Store, StoreError
from jharnet_monitor.store.mails import MailState

log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
_SINCE = "reports_since"
"""Under this key the store remembers from when on reports are due."""

Maker = Callable[[Store, Config, Period, datetime], tuple[list[Mailing], list[OutputFile]]]
"""Gives a week's mails and files; blocks. Raises `TypesettingError`, `StoreError`, `UserError`."""


def make_in_own_process(
    store: Store, config: Config, period: Period, now: datetime
) -> tuple[list[Mailing], list[OutputFile]]:
    """As `mail.weekly.weekly_mails`, of the configuration's own database, in another process."""
    try:
        made: tuple[list[Mailing], list[OutputFile]] = in_own_process(
            "jharnet_monitor.mail.weekly", "read_and_make", config, period, now
        )
    except WorkerError as error:
        raise TypesettingError(str(error)) from error
    return made


class ReportScheduler:
    """The weekly mails of one hub. `health` is told what is due, sent, and failed."""

    def __init__(
        self, config: Config, store: Store, clock: Clock, health: HubStatus,
        make: Maker = make_in_own_process,
    ) -> None:  # fmt: skip
        self._config = config
        self._store = store
        self._clock = clock
        self._health = health
        self._make = make
        self.outbox = Outbox(config, store, clock, self._trouble)
        self._told = ""
        self._failures = 0
        self._make_again: datetime | None = None

    def reload(self, config: Config) -> None:
        """Go on by another configuration; mails that are made already go to whom they were for."""
        self._config = self.outbox.config = config

    async def run(self) -> None:
        """Look every half minute, until cancelled; the first look waits for nothing."""
        eager = True
        while True:
            try:
                with self.outbox.alone():
                    await self.round(eager=eager)
                eager = False
            except Busy:
                log.info("another process is sending the reports")
            except (StoreError, UserError) as error:
                self._trouble(f"the weekly mails cannot go on: {error}")
            await self._clock.sleep(LOOK_SECONDS)

    async def round(self, *, eager: bool = False) -> None:
        """Make what is due and send what is open; `eager`: without pauses after failures.

        Raises `StoreError`.
        """
        await self._make_due(eager=eager)
        await self.outbox.send(eager=eager)
        await asyncio.to_thread(self._tell_health)

    async def _make_due(self, *, eager: bool) -> None:
        now = self._clock.now()
        if self._make_again is not None and now < self._make_again and not eager:
            return
        for period in await asyncio.to_thread(self._due, now):
            if await asyncio.to_thread(self._store.get_value, _mark(period)) is not None:
                continue
            try:
                await asyncio.to_thread(self.prepare, period)
            except (TypesettingError, UserError, StoreError) as error:
                self._trouble(f"the report of {period.name} cannot be made: {error}")
                self._failures += 1
                self._make_again = now + timedelta(seconds=pause(self._failures))
                return
        self._failures, self._make_again = 0, None

    def _due(self, now: datetime) -> list[Period]:
        """The weeks that are due; nothing is from before the first time this was asked."""
        since = self._store.get_value(_SINCE)
        if since is None:
            since = format_utc(now)
            self._store.set_value(_SINCE, since)
        return due_weeks(self._config, parse_utc(str(since)), now)

    def prepare(self, period: Period) -> None:
        """Make a week's report, write its files, and put its mails into the outbox.

        Once this returned, the week is not made again. Blocks; raises `TypesettingError`,
        `UserError`, `StoreError`.
        """
        mailings, files = self._make(self._store, self._config, period, self._clock.now())
        for made in files:
            write(made, self._config.report.directory)
        for mailing in mailings:
            self.outbox.put(mailing)
        self._store.set_value(_mark(period), format_utc(self._clock.now()))
        log.info("the report of %s is made", period.name)

    def _tell_health(self) -> None:
        if not self._config.report.to:
            self._health.report_due = None
            return
        weeks = self._due(self._clock.now())
        self._health.report_due = due_at(weeks[-1], self._config) if weeks else None
        for period in reversed(weeks):
            mails = self._store.mails.of(period.stem)
            if mails and all(one.state is MailState.ACCEPTED for one in mails):
                self._health.report_last_sent = max(one.changed_at for one in mails)
                return

    def _trouble(self, what: str) -> None:
        """Count every failure, log it once."""
        self._health.report_failures += 1
        if what != self._told:
            log.error("%s", what)
        self._told = what


def _mark(period: Period) -> str:
    return f"made-{period.stem}"

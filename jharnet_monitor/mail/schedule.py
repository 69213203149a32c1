"""Makes the weekly report when it is due and mails it to all recipients.

What was made, sent and accepted is in the database: a report that became due while the hub was down
is made at the next start, and mails that were not accepted are tried again. A report that was made
before its week was over, because the clock was ahead, is made and sent again when it is due.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from jharnet_monitor.clock import Clock, is_ahead
from jharnet_monitor.config import Config
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.config.fields import WEEKDAYS
from jharnet_monitor.errors import TemporaryError, UserError
from jharnet_monitor.judge.calendar.period import Period, week_of
from jharnet_monitor.live import HubStatus
from jharnet_monitor.mail.due_work import DueWork
from jharnet_monitor.mail.message import Mailing
from jharnet_monitor.mail.outbox import LockHeld, Outbox, backoff_seconds, is_after
from jharnet_monitor.model import format_utc, parse_utc
from jharnet_monitor.report.output.files import OutputFile, TypesettingError, write
from jharnet_monitor.report.output.worker import WorkerError, in_own_process
from jharnet_monitor.store import Store
from jharnet_monitor.store.mails import MailState

log = logging.getLogger(__name__)

CATCH_UP_WEEKS = 4
"""How many weeks back a report is made that became due while the hub was down."""
CHECK_SECONDS = 30.0
_SINCE = "reports_since"
"""Key of the time in the store from which on reports are due."""

Maker = Callable[[Store, Config, Period, datetime], tuple[list[Mailing], list[OutputFile]]]
"""Makes a week's mails and files; blocks. Raises `TypesettingError`, `StoreError`, `UserError`."""


def make_in_own_process(
    store: Store, config: Config, period: Period, now: datetime
) -> tuple[list[Mailing], list[OutputFile]]:
    """Like `mail.weekly.weekly_mails`, but in another process, from the configured database."""
    try:
        made: tuple[list[Mailing], list[OutputFile]] = in_own_process(
            "jharnet_monitor.mail.weekly", "read_and_make", config, period, now
        )
    except WorkerError as error:
        raise TypesettingError(str(error)) from error
    return made


class ReportScheduler(DueWork[Period]):
    """The weekly mails of one hub; `health` shows what is due, was sent, and failed."""

    def __init__(
        self, current: CurrentConfig, store: Store, clock: Clock, health: HubStatus,
        make: Maker = make_in_own_process,
    ) -> None:  # fmt: skip
        super().__init__(clock)
        self._current = current
        self._store = store
        self._health = health
        self._make = make
        self.outbox = Outbox(current, store, clock, self._record_failure)
        self._last_logged = ""

    @property
    def _config(self) -> Config:
        return self._current.config

    async def run(self) -> None:
        """Check every `CHECK_SECONDS` until cancelled; the first check ignores backoff."""
        ignore_backoff = True
        while True:
            try:
                with self.outbox.lock():
                    await self.run_once(ignore_backoff=ignore_backoff)
                ignore_backoff = False
            except LockHeld:
                log.info(
                    "another process is sending the weekly mails; trying again in %.0f s",
                    CHECK_SECONDS,
                )
            except (TemporaryError, UserError) as error:
                self._record_failure(f"the weekly mails cannot be sent: {error}")
            await self._clock.sleep(CHECK_SECONDS)

    async def run_once(self, *, ignore_backoff: bool = False) -> None:
        """Make the reports that are due and send the open mails. Raises `StoreError`."""
        if ignore_backoff:
            self._wait = None
        await super().run_once()
        await self.outbox.send(ignore_backoff=ignore_backoff)
        await asyncio.to_thread(self._update_health)

    async def _due(self, now: datetime) -> Sequence[Period]:
        return await asyncio.to_thread(self._unmade, now)

    def _unmade(self, now: datetime) -> list[Period]:
        return [period for period in self._due_weeks(now) if not self._is_made(period, now)]

    def _is_made(self, period: Period, now: datetime) -> bool:
        made = self._store.get_value(_made_key(period))
        return made is not None and is_after(parse_utc(str(made)), period.end, now)

    async def _do(self, work: Period, now: datetime) -> None:
        try:
            await asyncio.to_thread(self.prepare, work)
        except (TypesettingError, UserError, TemporaryError) as error:
            raise TypesettingError(
                f"the report for {work.name} could not be made: {error}"
            ) from error

    def _note_failure(self, error: Exception) -> timedelta:
        self._record_failure(str(error))
        return timedelta(seconds=backoff_seconds(self._failures))

    def _due_weeks(self, now: datetime) -> list[Period]:
        """The weeks that are due; none from before the first call ever."""
        return due_weeks(self._config, due_since(self._store, _SINCE, now), now)

    def prepare(self, period: Period) -> None:
        """Make a week's report, write its files, and add its mails to the outbox.

        Afterwards the week is not made again. Blocks; raises `TypesettingError`, `UserError`,
        `StoreError`.
        """
        mailings, files = self._make(self._store, self._config, period, self._clock.now())
        for made in files:
            write(made, self._config.report.directory)
        for mailing in mailings:
            self.outbox.put(mailing, period.end)
        self._store.set_value(_made_key(period), format_utc(self._clock.now()))
        log.info("the report for %s was made", period.name)

    def _update_health(self) -> None:
        if not self._config.report.to:
            self._health.report_due = None
            return
        weeks = self._due_weeks(self._clock.now())
        self._health.report_due = due_at(weeks[-1], self._config) if weeks else None
        for period in reversed(weeks):
            mails = self.outbox.mails_of(period.stem, period.end)
            if mails and all(one.state is MailState.ACCEPTED for one in mails):
                self._health.report_last_sent = max(one.changed_at for one in mails)
                return

    def _record_failure(self, what: str) -> None:
        """Count every failure; log repeated ones only once."""
        self._health.report_failures += 1
        if what != self._last_logged:
            log.error("%s", what)
        self._last_logged = what


def _made_key(period: Period) -> str:
    return f"made-{period.stem}"


def due_at(period: Period, config: Config) -> datetime:
    """When a week's report is due: at the configured day and time of the week after."""
    settings = config.report
    day = period.end.date() + timedelta(days=WEEKDAYS.index(settings.day))
    return datetime.combine(day, time.fromisoformat(settings.at), period.end.tzinfo)


def due_since(store: Store, key: str, now: datetime) -> datetime:
    """The time from which weeks are due: that of the first call ever, which is stored under a key.

    While it lies ahead, because the clock was set back, that of the first call since then.
    """
    for name in (key, f"{key}_set_back"):
        stored = store.get_value(name)
        if stored is None:
            break
        since = parse_utc(str(stored))
        if not is_ahead(since, now):
            return since
    store.set_value(name, format_utc(now))
    return now


def due_weeks(config: Config, since: datetime, now: datetime) -> list[Period]:
    """The weeks whose report became due within [since, now], oldest first."""
    zone = ZoneInfo(config.district.timezone)
    period = week_of(now.astimezone(zone).date(), zone)
    weeks: list[Period] = []
    for _ in range(CATCH_UP_WEEKS):
        period = period.before()
        if since <= due_at(period, config) <= now:
            weeks.append(period)
    return weeks[::-1]

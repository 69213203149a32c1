"""Makes the nightly backup when it is due, and runs the command that copies it elsewhere.

A backup that became due while the hub was down is made at the next start. A failed backup is
retried, and one that was made but not shipped is shipped again; the metrics show when the last one
was made. One that lies ahead, from before the clock was set back, does not count as made.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from jharnet_monitor.clock import Clock, is_ahead
from jharnet_monitor.config import Config
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.errors import UserError
from jharnet_monitor.live import HubStatus
from jharnet_monitor.mail.due_work import DueWork
from jharnet_monitor.model import format_utc, parse_utc
from jharnet_monitor.report.output.worker import in_own_process
from jharnet_monitor.standby.manifest import NAME_TIME, backups_in
from jharnet_monitor.store import Store

log = logging.getLogger(__name__)

RETRY = timedelta(minutes=15)
LONGEST_SHIPPING_SECONDS = 6 * 3600.0
_MADE = "backup"
"""Key in the store for the time at which the newest backup was started."""
_MOST_TEXT = 300

Saver = Callable[[Path], Path]
"""Makes the backup of the hub with this configuration; blocks."""


class ShippingFailed(UserError):
    """The configured command that copies a backup elsewhere failed."""


def save_in_own_process(config_path: Path) -> Path:
    """Make the backup as configured, in another process; raises as `standby.save.save` does, and
    `WorkerError`."""
    made: Path = in_own_process("jharnet_monitor.standby.save", "save_configured", config_path)
    return made


class NightlyBackup(DueWork[datetime]):
    """The backups of one hub; `status` shows when one was due, and when one was made."""

    def __init__(
        self, config_path: Path, current: CurrentConfig, store: Store, clock: Clock,
        status: HubStatus, save: Saver = save_in_own_process,
    ) -> None:  # fmt: skip
        super().__init__(clock)
        self._config_path = config_path
        self._current = current
        self._store = store
        self._status = status
        self._save = save
        self._shipping: asyncio.subprocess.Process | None = None

    async def _due(self, now: datetime) -> Sequence[datetime]:
        config = self._current.config
        if config.backup is None:
            self._status.backup_due = None
            return ()
        self._status.backup_due = due = due_at(config, now)
        stored = await asyncio.to_thread(self._store.get_value, _MADE)
        made = None if stored is None else parse_utc(str(stored))
        self._status.backup_at = None if made is None or is_ahead(made, now) else made
        if self._status.backup_at is not None and self._status.backup_at >= due:
            return ()
        return (due,)

    async def _do(self, work: datetime, now: datetime) -> None:
        """Make the backup that was due at `work`, and ship it."""
        config = self._current.config
        if config.backup is None:  # reloaded meanwhile
            return
        backup = await asyncio.to_thread(made_between, config, work, now)
        if backup is None:
            backup = await asyncio.to_thread(self._save, self._config_path)
        if config.backup.ship:
            await self._ship(config.backup.ship, backup)
        await asyncio.to_thread(self._store.set_value, _MADE, format_utc(now))
        self._status.backup_at = now
        log.info("backup %s was made%s", backup, " and shipped" if config.backup.ship else "")

    def _note_failure(self, error: Exception) -> timedelta:
        self._status.backup_failures += 1
        log.error("the backup failed, the next attempt is in %d min: %s",
                  RETRY.seconds // 60, error)  # fmt: skip
        return RETRY

    async def _ship(self, command: tuple[str, ...], backup: Path) -> None:
        words = [word.replace("{backup}", str(backup)) for word in command]
        try:
            process = await asyncio.create_subprocess_exec(
                *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            raise ShippingFailed(f"backup.ship: {words[0]}: {error.strerror}") from error
        self._shipping = process
        try:
            _, output = await asyncio.wait_for(process.communicate(), LONGEST_SHIPPING_SECONDS)
        except TimeoutError:
            raise ShippingFailed(f"backup.ship: {words[0]}: took too long") from None
        finally:
            self.stop()
        if process.returncode:
            lines = output.decode("utf-8", "replace").strip().splitlines() or ["no output"]
            raise ShippingFailed(
                f"backup.ship: {words[0]}: exit code {process.returncode}: {lines[-1][:_MOST_TEXT]}"
            )

    def stop(self) -> None:
        """End a running copy; the hub ships the backup again after its next start."""
        if self._shipping is not None and self._shipping.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._shipping.kill()
        self._shipping = None


def made_between(config: Config, due: datetime, now: datetime) -> Path | None:
    """The newest backup that was made since it was due, but could not be shipped.

    A retry ships it: another one at each attempt would push out those of earlier nights.
    """
    if config.backup is None:
        return None
    earliest, latest = f"{due:{NAME_TIME}}", f"{now:{NAME_TIME}}"
    for backup in reversed(backups_in(config.backup.directory, config.district.id)):
        if earliest <= backup.name.removeprefix(f"{config.district.id}-") <= latest:
            return backup
    return None


def due_at(config: Config, now: datetime) -> datetime:
    """When the newest backup was due, in UTC at or before now."""
    zone = ZoneInfo(config.district.timezone)
    at = time.fromisoformat(config.backup.at if config.backup else "00:00")
    today = now.astimezone(zone).date()
    due = datetime.combine(today, at, zone)
    if due > now:
        due = datetime.combine(today - timedelta(days=1), at, zone)
    return due.astimezone(now.tzinfo)

"""The outbox: complete messages on disk, and the log of their delivery in the database.

The log is written before and after every attempt. A mail is sent twice (with the same Message-ID)
only if the process died between the server's 250 reply and the commit.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from jharnet_monitor.clock import Clock, is_ahead
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.errors import file_error
from jharnet_monitor.mail.message import Mailing, compose, message_id
from jharnet_monitor.mail.smtp import MailError, MailServer, ServerError, mail_server
from jharnet_monitor.report.output.files import write_whole
from jharnet_monitor.store import Store
from jharnet_monitor.store.mails import Delivery, MailState

log = logging.getLogger(__name__)

FIRST_BACKOFF_SECONDS = 60.0
"""Delay before the second attempt; doubled each time, up to `MAX_BACKOFF_SECONDS`."""
MAX_BACKOFF_SECONDS = 3600.0
MOST_HANG_UPS = 5
"""A server that closes more connections than this while mails are handed over is in trouble."""
REFUSED_BACKOFF_SECONDS = 86400.0
"""Delay before a recipient is tried again whom the server refused permanently."""


class LockHeld(Exception):
    """Another process is sending."""


class Outbox:
    """The mails of one hub; `failed` is called with a message for every failed attempt."""

    def __init__(
        self, current: CurrentConfig, store: Store, clock: Clock, failed: Callable[[str], None]
    ) -> None:
        self._current = current
        self._store = store
        self._clock = clock
        self._on_failure = failed
        self._unlogged: list[Delivery] = []
        """Accepted by the server but not yet logged; must not be sent again."""

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from sending; raises `LockHeld`, and as `file_error`."""
        path = self._file("").with_name(".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.open("a")
        except OSError as error:
            raise file_error(f"{path}: cannot be written", error) from error
        with lock:  # the kernel releases the lock when the process ends
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LockHeld from None
            yield

    def put(self, mailing: Mailing, after: datetime) -> None:
        """Add a mail about what was over at `after`. A known one stays unchanged, except that a
        lost message file is written again. One that was prepared too early stays as it is, and the
        mail is sent under a name with a number.

        Raises `UserError` and `StoreError`; the mail is then not sent.
        """
        mailing = replace(mailing, name=self._name(mailing.name, after))
        known = self._store.mails.of(mailing.name)
        recipients = [delivery.recipient for delivery in known] or list(
            dict.fromkeys(mailing.recipients)
        )
        identity = (
            known[0].message_id
            if known
            else message_id(mailing.name, recipients, self._sender)
        )  # fmt: skip
        file = self._file(mailing.name)
        if not known or not file.exists():
            made_at = self._clock.now()
            message = compose(mailing.letter, identity, self._sender, recipients, made_at)
            write_whole(file, message)
        if not known:
            self._store.mails.prepare(mailing.name, identity, recipients, mailing.letter.root)

    def mails_of(self, name: str, after: datetime) -> list[Delivery]:
        """The deliveries of a mail that `put` added; none of one that was prepared too early."""
        return self._store.mails.of(self._name(name, after))

    def _name(self, name: str, after: datetime) -> str:
        """The last name under which a mail is known or, if that was too early, the next one."""
        found, number, now = name, 1, self._clock.now()
        while known := self._store.mails.of(found):
            number += 1
            following = f"{name}-{number}"
            too_early = not is_after(known[0].prepared_at, after, now)
            if not too_early and not self._store.mails.of(following):
                break
            found = following
        return found

    async def send(self, *, ignore_backoff: bool = False) -> None:
        """Try the open mails that are due, or all of them with `ignore_backoff`.

        Raises `StoreError`.
        """
        await asyncio.to_thread(self._log_accepted)
        opened = await asyncio.to_thread(self._store.mails.open)
        now = self._clock.now()
        waiting = [each for each in opened if ignore_backoff or is_due(each, now)]
        if not waiting:
            return
        await asyncio.to_thread(self._store.mails.attempt, waiting)
        try:
            await self._deliver(waiting)
        except ServerError as error:  # the mails that are still waiting have not been sent
            for delivery in waiting:
                await asyncio.to_thread(self._failed, delivery, error)

    async def _deliver(self, waiting: list[Delivery]) -> None:
        """Send mails and remove them from the list; a `ServerError` leaves the rest in it."""
        smtp = self._current.config.report.smtp
        if smtp is None:
            raise ServerError("report.smtp is not configured")
        hung_up = 0
        while waiting:
            async with mail_server(smtp) as server:
                try:
                    while waiting:
                        await self._hand_over(waiting[0], server)
                        waiting.pop(0)
                except ServerError as error:
                    # Perhaps over this recipient alone: the others are tried on a new connection.
                    hung_up += 1
                    if hung_up > MOST_HANG_UPS:
                        raise
                    await asyncio.to_thread(self._failed, waiting.pop(0), error)

    async def _hand_over(self, delivery: Delivery, server: MailServer) -> None:
        try:
            message = await asyncio.to_thread(self._read, delivery)
            await server.send(message, self._sender, delivery.recipient)
        except ServerError:
            raise
        except MailError as error:
            await asyncio.to_thread(self._failed, delivery, error)
            return
        except Exception as error:  # of this mail alone: it must not hold back the others
            log.exception("%s for %s could not be sent", delivery.name, delivery.recipient)
            failure = MailError(f"unexpected error: {type(error).__name__}", for_good=True)
            await asyncio.to_thread(self._failed, delivery, failure)
            return
        self._unlogged.append(delivery)
        await asyncio.to_thread(self._log_accepted)
        log.info("the mail server accepted %s for %s", delivery.name, delivery.recipient)

    def _read(self, delivery: Delivery) -> bytes:
        file = self._file(delivery.name)
        try:
            return file.read_bytes()
        except OSError as error:
            week = "-".join(delivery.name.split("-")[1:3])
            raise MailError(
                f"{file}: {error.strerror}; run `report send --week {week}` to write it again",
                for_good=True,
            ) from error

    def _log_accepted(self) -> None:
        while self._unlogged:
            self._store.mails.accepted(self._unlogged[0])
            self._unlogged.pop(0)

    def _failed(self, delivery: Delivery, error: MailError) -> None:
        self._on_failure(f"{delivery.name} could not be sent to {delivery.recipient}: {error}")
        self._store.mails.failed(delivery, str(error), for_good=error.for_good)

    @property
    def _sender(self) -> str:
        smtp = self._current.config.report.smtp
        return "jharnet-monitor@localhost" if smtp is None else smtp.sender

    def _file(self, name: str) -> Path:
        return self._current.config.report.directory / "mails" / f"{name}.eml"


def is_after(made: datetime, after: datetime, now: datetime) -> bool:
    """Whether something was made after a moment; not if it lies ahead of now, as then its time is
    not known."""
    return made >= after and not is_ahead(made, now)


def is_due(delivery: Delivery, now: datetime) -> bool:
    """Whether an open mail should be tried now: at first immediately, then with backoff."""
    if delivery.attempts == 0 or delivery.changed_at > now:  # or the clock was set back
        return True
    wait = (
        REFUSED_BACKOFF_SECONDS
        if delivery.state is MailState.REFUSED
        else backoff_seconds(delivery.attempts)
    )
    return now >= delivery.changed_at + timedelta(seconds=wait)


def backoff_seconds(attempts: int) -> float:
    """Delay in seconds after this number of failures in a row.

    >>> backoff_seconds(1), backoff_seconds(3), backoff_seconds(50)
    (60.0, 240.0, 3600.0)
    """
    return min(FIRST_BACKOFF_SECONDS * 2.0 ** min(attempts - 1, 20), MAX_BACKOFF_SECONDS)

"""The mails on their way: whole messages on the disk, and the log of what became of them.

The log is written before and after every attempt. A mail is repeated, word for word and with its
Message-ID, only if the process died between the server's 250 and the commit.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from jharnet_monitor.clock import Clock
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.errors import UserError
from jharnet_monitor.mail.message import Mailing, compose, message_id
from jharnet_monitor.mail.smtp import MailError, MailServer, ServerError, mail_server
from jharnet_monitor.report.output.files import write_whole
from jharnet_monitor.store import Store
from jharnet_monitor.store.mails import Delivery, MailState

log = logging.getLogger(__name__)

FIRST_WAIT_SECONDS = 60.0
"""Before the second attempt; doubled each time, up to `LONGEST_WAIT_SECONDS`."""
LONGEST_WAIT_SECONDS = 3600.0
REFUSED_WAIT_SECONDS = 86400.0
"""Before a recipient that the server refused for good is tried again."""


class Busy(Exception):
    """Another process is sending at this moment."""


class Outbox:
    """The mails of one hub. `failed(what)` is told of every attempt that failed."""

    def __init__(
        self, current: CurrentConfig, store: Store, clock: Clock, failed: Callable[[str], None]
    ) -> None:
        self._current = current
        self._store = store
        self._clock = clock
        self._tell = failed
        self._unwritten: list[Delivery] = []
        """Accepted by the server, but the log could not be written: not to be sent again."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from sending meanwhile; raises `Busy`, `UserError`."""
        path = self._file("").with_name(".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.open("a")
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}") from error
        with lock:  # the kernel gives it back however the process ends
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy from None
            yield

    def put(self, mailing: Mailing) -> None:
        """Take a mail in. One that is known stays as it is, but its lost message is made anew.

        Raises `UserError` and `StoreError`; then nothing of it is sent.
        """
        known = self._store.mails.of(mailing.name)
        recipients = [one.recipient for one in known] or list(dict.fromkeys(mailing.recipients))
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

    async def send(self, *, eager: bool = False) -> None:
        """Try what is open and whose time has come; if `eager`, all of it. Raises `StoreError`."""
        await asyncio.to_thread(self._write_what_was_accepted)
        every = await asyncio.to_thread(self._store.mails.open)
        now = self._clock.now()
        waiting = [one for one in every if eager or is_time(one, now)]
        if not waiting:
            return
        await asyncio.to_thread(self._store.mails.attempt, waiting)
        try:
            await self._deliver(waiting)
        except ServerError as error:  # it took none of those that have not had their turn
            for one in waiting:
                await asyncio.to_thread(self._failed, one, error)

    async def _deliver(self, waiting: list[Delivery]) -> None:
        """Hand mails over and take them off the list; a `ServerError` leaves the rest on it."""
        smtp = self._current.config.report.smtp
        if smtp is None:
            raise ServerError("report.smtp: names no mail server")
        async with mail_server(smtp) as server:
            while waiting:
                await self._hand_over(waiting[0], server)
                waiting.pop(0)

    async def _hand_over(self, one: Delivery, server: MailServer) -> None:
        try:
            message = await asyncio.to_thread(self._read, one)
            await server.send(message, self._sender, one.recipient)
        except ServerError:
            raise
        except MailError as error:
            await asyncio.to_thread(self._failed, one, error)
            return
        self._unwritten.append(one)
        await asyncio.to_thread(self._write_what_was_accepted)
        log.info("%s was accepted for %s", one.name, one.recipient)

    def _read(self, one: Delivery) -> bytes:
        file = self._file(one.name)
        try:
            return file.read_bytes()
        except OSError as error:
            week = one.name.partition("-")[2]
            raise MailError(
                f"{file}: {error.strerror}; `report send --week {week}` makes it anew",
                for_good=True,
            ) from error

    def _write_what_was_accepted(self) -> None:
        while self._unwritten:
            self._store.mails.accepted(self._unwritten[0])
            self._unwritten.pop(0)

    def _failed(self, one: Delivery, error: MailError) -> None:
        self._tell(f"{one.name} was not taken for {one.recipient}: {error}")
        self._store.mails.failed(one, str(error), for_good=error.for_good)

    @property
    def _sender(self) -> str:
        smtp = self._current.config.report.smtp
        return "jharnet-monitor@localhost" if smtp is None else smtp.sender

    def _file(self, name: str) -> Path:
        return self._current.config.report.directory / "mails" / f"{name}.eml"


def is_time(one: Delivery, now: datetime) -> bool:
    """Whether an open mail is to be tried now: at once, then after growing pauses."""
    if one.attempts == 0 or one.changed_at > now:  # or the clock was set back
        return True
    wait = REFUSED_WAIT_SECONDS if one.state is MailState.REFUSED else pause(one.attempts)
    return now >= one.changed_at + timedelta(seconds=wait)


def pause(attempts: int) -> float:
    """Seconds to wait after so many failures on end.

    >>> pause(1), pause(3), pause(50)
    (60.0, 240.0, 3600.0)
    """
    return min(FIRST_WAIT_SECONDS * 2.0 ** min(attempts - 1, 20), LONGEST_WAIT_SECONDS)

"""One hub owns a database at a time: a second one must not write a single row into it."""

from __future__ import annotations

import errno
import fcntl
import logging
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from jharnet_monitor.clock import Clock
from jharnet_monitor.errors import StoreError, TemporaryError, Trouble
from jharnet_monitor.store.engine import place, store_error
from jharnet_monitor.store.lease import Lease

log = logging.getLogger(__name__)

_OWNER_LOCK = 0x6A68_6172_6F77_6E  # "jharown": the advisory lock that the owner's session holds
_TROUBLES = {
    errno.ENOSPC: Trouble.FULL, errno.EDQUOT: Trouble.FULL, errno.EROFS: Trouble.READ_ONLY,
    errno.EIO: Trouble.DISK,
}  # fmt: skip


class Ownership:
    """The ownership of one database: a lock on a file next to SQLite's, or of a PostgreSQL session.

    The kernel, or PostgreSQL, releases it when the process ends, however it ends. The lease in the
    database (`store.lease`) excludes what the lock cannot: a hub on another machine, and a hub
    that goes on writing after it has lost the lock.
    """

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self.lease = Lease(engine, clock)
        self._engine = engine
        self._file: IO[str] | None = None
        self._session: Connection | None = None

    def take(self) -> None:
        """Become the owner, or check that this hub still is; blocks.

        Raises `TemporaryError` while another hub is the owner, and `StoreError`. A new database
        has a lease only once it has tables: call this again then.
        """
        if self._engine.dialect.name == "sqlite":
            self._take_file()
        else:
            self._take_session()
        try:
            self.lease.take()
        except TemporaryError as error:
            if not isinstance(error, StoreError):
                self._unlock()
            raise

    def release(self) -> None:
        """Let another hub be the owner."""
        try:
            self.lease.give_up()
        except StoreError as error:
            log.debug("cannot give up the lease, which will expire: %s", error)
        self._unlock()

    def _unlock(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._unlock_session()

    def _take_file(self) -> None:
        if self._file is not None:
            return
        path = Path(f"{self._engine.url.database}-owner")
        try:
            file = path.open("a", encoding="utf-8")
        except OSError as error:
            trouble = _TROUBLES.get(error.errno or 0, Trouble.UNKNOWN)
            text = f"{path}: cannot be written: {error.strerror}"
            raise StoreError(text, trouble) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise self._owned_error() from None
        self._file = file

    def _take_session(self) -> None:
        if self._session is not None:
            try:
                self._session.execute(text("SELECT 1"))
                return
            except DBAPIError:
                log.warning("the session that owns the database was lost; taking it again")
                self._close_session()
        try:
            session = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            try:
                query = text("SELECT pg_try_advisory_lock(:key)")
                taken = session.execute(query, {"key": _OWNER_LOCK}).scalar_one()
            except BaseException:
                session.close()
                raise
        except DBAPIError as error:
            raise store_error(self._engine, error) from error
        if not taken:
            session.close()
            raise self._owned_error()
        self._session = session

    def _unlock_session(self) -> None:
        if self._session is None:
            return
        try:  # the server notices the end of a session only a while after it was closed
            self._session.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _OWNER_LOCK})
        except DBAPIError as error:
            log.debug("cannot unlock the database, which the server will do: %s", error)
        self._close_session()

    def _close_session(self) -> None:
        if self._session is not None:
            self._session.invalidate()  # the lock is the session's, which must not be used again
            self._session.close()
            self._session = None

    def _owned_error(self) -> TemporaryError:
        return TemporaryError(
            f"{place(self._engine)}: another hub is running on this database; stop it first, or "
            "look at its pages"
        )

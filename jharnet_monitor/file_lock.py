"""Exclusive locks on files, on Linux and on Windows; the system frees them when a process ends."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

RETRY_SECONDS = 0.2


def lock(file: IO[str]) -> None:
    """Lock the open file; raises `BlockingIOError` if another process holds it, else `OSError`."""
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415 - there is none on Linux

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError(errno.EAGAIN, "another process holds the lock") from error
    else:
        import fcntl  # noqa: PLC0415 - there is none on Windows

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def wait_for_lock(file: IO[str]) -> None:
    """Lock the open file once no other process holds it; blocks."""
    while True:
        try:
            lock(file)
            return
        except BlockingIOError:
            time.sleep(RETRY_SECONDS)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock on the file, also against other processes, and also if it is replaced meanwhile.
    Nothing is locked if there is none, or it cannot be read.
    """
    file = _open_locked(path)
    try:
        yield
    finally:
        if file is not None:
            file.close()


def _open_locked(path: Path) -> IO[str] | None:
    while True:
        try:
            file = path.open(encoding="utf-8")
        except OSError:
            return None
        wait_for_lock(file)
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # it was replaced meanwhile

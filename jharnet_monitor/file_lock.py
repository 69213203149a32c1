"""Exclusive locks on files, on Linux and on Windows; the system frees them when a process ends."""

from __future__ import annotations

import errno
import sys
import time
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

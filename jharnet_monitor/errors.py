"""Errors that a command reports in one line on standard error, without a traceback.

The message is one line and names what is wrong, where, and what to do about it.
"""

from __future__ import annotations

import errno
import re
from enum import StrEnum

DISK_TROUBLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
"""Errors of a disk that is full, read-only or failing: they may pass."""
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def is_one_line(text: str) -> bool:
    """Whether a text is one line of characters that can be shown and stored: no control character,
    no half of a pair of surrogates, nothing that turns the direction of what follows.

    The joiners of Indian scripts, which `str.isprintable` refuses, are allowed.

    >>> [is_one_line(text) for text in ("क्\u200dष", "a\\nb", "\\ud800", "a\\u202eb")]
    [True, False, False, False]
    """
    return _NO_TEXT.search(text) is None


def as_one_line(text: str) -> str:
    """The text with escapes in the place of what `is_one_line` does not allow, so that a quoted
    value neither begins a line nor commands a terminal.

    >>> as_one_line("two\\nlines")
    'two\\\\nlines'
    """
    return _NO_TEXT.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class UserError(Exception):
    """Wrong usage or configuration. The command exits with 2, and systemd does not restart it."""


class TemporaryError(Exception):
    """Something that the command needs is unavailable: a database, an address, a hub.

    It may be there later, so the command exits with 1, and systemd restarts the service.
    """


def file_error(about: object, error: OSError) -> TemporaryError | UserError:
    """The error of a file to raise, `about: why`: a `TemporaryError` where the disk is in trouble,
    else a `UserError`, as for a directory that is missing or not permitted.

    >>> type(file_error("x.pdf: cannot be written", OSError(errno.ENOSPC, "disk full")))
    <class 'jharnet_monitor.errors.TemporaryError'>
    """
    kind = TemporaryError if error.errno in DISK_TROUBLE else UserError
    return kind(f"{about}: {error.strerror or error}")


class Trouble(StrEnum):
    """Why a database accepts no rows."""

    FULL = "full"
    READ_ONLY = "read_only"
    LOCKED = "locked"
    DAMAGED = "damaged"
    DISK = "disk"
    AWAY = "away"
    UNKNOWN = "unknown"


class StoreError(TemporaryError):
    """The database cannot be reached, read or written."""

    def __init__(self, message: str, trouble: Trouble = Trouble.UNKNOWN) -> None:
        super().__init__(message)
        self.trouble = trouble


class RefusedRecordError(StoreError):
    """The database works, but will never accept this record."""

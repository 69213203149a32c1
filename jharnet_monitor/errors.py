"""Errors that a command reports in one line on standard error, without a traceback.

The message is one line and names what is wrong, where, and what to do about it.
"""

from __future__ import annotations

from enum import StrEnum

_JOINERS = "\u200c\u200d"
"""They print nothing of their own, but Devanagari needs them."""


def printable(text: str) -> str:
    """A text for the terminal that holds words of somebody else's file: a character that cannot be
    printed is written as its escape sequence, so that it can neither hide nor change a line.

    >>> print(printable("is \\x1b[2K missing"))
    is \\x1b[2K missing
    """
    return "".join(
        character
        if character.isprintable() or character in _JOINERS
        else character.encode("unicode_escape").decode()
        for character in text
    )


class UserError(Exception):
    """Wrong usage or configuration. The command exits with 2, and systemd does not restart it."""


class TemporaryError(Exception):
    """Something that the command needs is unavailable: a database, an address, a hub.

    It may be there later, so the command exits with 1, and systemd restarts the service.
    """


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

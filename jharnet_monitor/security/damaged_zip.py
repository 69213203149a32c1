"""The errors of reading a damaged ZIP archive, as one."""

from __future__ import annotations

import errno
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

_DAMAGED = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, KeyError, ValueError,
    OverflowError, RuntimeError,
)  # fmt: skip
"""What `zipfile` raises for a damaged archive, which may look encrypted or compressed otherwise."""


class DamagedZipError(Exception):
    """The archive cannot be read, though the disk can."""


@contextmanager
def reading_zip() -> Iterator[None]:
    """Turn the errors of reading a damaged archive into `DamagedZipError`."""
    try:
        yield
    except _DAMAGED as error:
        raise DamagedZipError(str(error) or type(error).__name__) from error
    except OSError as error:  # bz2 raises it without a number, and a seek to nowhere EINVAL
        if error.errno in (None, errno.EINVAL):
            raise DamagedZipError(str(error)) from error
        raise

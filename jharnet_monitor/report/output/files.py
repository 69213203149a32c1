"""Files of a report, and writing them atomically."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jharnet_monitor.errors import file_error


class TypesettingError(Exception):
    """A document could not be typeset; the message names the fault in template, font or data."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file of a report, ready to be written or mailed."""

    name: str
    language: str
    format: str
    content: bytes


def write(made: OutputFile, out: Path) -> Path:
    """Write a file atomically into `out`; returns its path."""
    path = out / made.name
    write_whole(path, made.content)
    return path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file atomically: a reader sees the old file or the new one. Raises `UserError`."""
    with replacing(path) as scratch:
        scratch.write_bytes(content)


@contextmanager
def replacing(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """A file to write into, which takes the place of `path` when the block ends without an error.
    Before that nobody else can read it, and afterwards whom `mode` allows to.

    Raises as `file_error` if the file cannot be written; no partial file remains.
    """
    scratch: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(descriptor)
        scratch = Path(name)
        yield scratch
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        scratch.chmod(mode)
        scratch.replace(path)
    except OSError as error:
        raise file_error(f"{path}: cannot be written", error) from error
    finally:
        if scratch is not None:
            scratch.unlink(missing_ok=True)

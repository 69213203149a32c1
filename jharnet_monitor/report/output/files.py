"""What the makers of papers give, and how it is written: a file whole or not at all."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from jharnet_monitor.errors import UserError


class TypesettingError(Exception):
    """The paper could not be set; says in one line what is wrong with template, font or data."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file of a report, ready to be written or mailed."""

    name: str
    language: str
    format: str
    content: bytes


def write(made: OutputFile, out: Path) -> Path:
    """Put a file into its directory, whole; gives its path."""
    path = out / made.name
    write_whole(path, made.content)
    return path


def write_whole(path: Path, content: bytes) -> None:
    """Put `content` under a name at one stroke: a reader sees the old file or the new one.

    Raises `UserError` where the directory or the disk refuses; nothing half-written stays.
    """
    scratch: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            scratch = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.chmod(0o644)
        scratch.replace(path)
    except OSError as error:
        if scratch is not None:
            scratch.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error

"""The manifest of a hub's backup: what was saved, with the hash of every file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from jharnet_monitor.errors import UserError
from jharnet_monitor.model import parse_utc

FORMAT = 1
MANIFEST = "manifest.json"
DATABASE = "database"
"""A SQLite file, or a dump in PostgreSQL's custom format."""
WAITING = "waiting.db"
"""Records that were not yet written to the database."""
INSIDE, OUTSIDE = "config", "elsewhere"
"""Folders for files of the configuration's directory, and for others, by their full path."""
NAME_TIME = "%Y%m%dT%H%M%SZ"
"""When a backup was made, in UTC, at the end of its folder's name."""
_MOST_BYTES = 50_000_000


@dataclass(frozen=True, slots=True)
class HeldFile:
    """One file of a backup."""

    sha256: str
    size: int
    mode: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was saved from which hub, and when; `files` is keyed by the path in the backup."""

    version: str
    made_at: str
    machine: str
    district: str
    owner: str
    """The user to whom the configuration belonged."""
    directory: str
    """The directory of the configuration."""
    config: str
    """The file name of the configuration in that directory."""
    kind: str
    """`sqlite` or `postgresql`."""
    hours: int
    """Number of links of the hash chain."""
    root: str | None
    """Root of the hash chain after its last link; None for PostgreSQL."""
    files: dict[str, HeldFile]

    @property
    def made(self) -> datetime:
        """When it was made, in UTC."""
        return parse_utc(self.made_at)

    def text(self) -> str:
        """The content of the manifest's file."""
        return json.dumps({"format": FORMAT, **asdict(self)}, ensure_ascii=False, indent=1) + "\n"


def backups_in(directory: Path, district: str) -> list[Path]:
    """The complete backups of a district, the oldest first."""
    found = directory.glob(f"{district}-[0-9]*Z")
    return sorted(one for one in found if (one / MANIFEST).is_file())


def read_manifest(backup: Path) -> Manifest:
    """The manifest of a backup; raises `UserError`."""
    file = backup / MANIFEST
    try:
        with file.open("rb") as source:
            data: Any = json.loads(source.read(_MOST_BYTES))
        if data.pop("format") != FORMAT:
            raise UserError(f"{file}: was made by another version; install that version to restore")
        files = {_place(name, file): HeldFile(**saved) for name, saved in data.pop("files").items()}
        manifest = Manifest(files=files, **data)
        _check_types(manifest)
        for held in files.values():
            _check_types(held)
        _place(manifest.config, file)
        if f"{INSIDE}/{manifest.config}" not in files or "/" in manifest.config:
            raise UserError(f"{file}: does not hold the configuration {manifest.config!r}")
        if not Path(manifest.directory).is_absolute() or ".." in Path(manifest.directory).parts:
            raise UserError(f"{file}: names no directory: {manifest.directory!r}")
        parse_utc(manifest.made_at)
    except OSError as error:
        raise UserError(
            f"{file}: cannot be read: {error.strerror}; give a backup's folder"
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"{file}: is not the manifest of a backup") from error
    return manifest


def _check_types(part: Manifest | HeldFile) -> None:
    """Raise `TypeError` unless each field has its type."""
    known = {"str": str, "int": int, "str | None": str | None, "dict[str, HeldFile]": dict}
    for one in fields(part):
        value = getattr(part, one.name)
        if not isinstance(value, known[str(one.type)]) or isinstance(value, bool):
            raise TypeError(f"{one.name} is no {one.type}")


def _place(name: str, file: Path) -> str:
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or "\0" in name:
        raise UserError(f"{file}: names a file outside of the backup: {name!r}")
    return name


def sha256_of(file: Path) -> str:
    """The hash of a file's content; raises `OSError`."""
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def differences(backup: Path, manifest: Manifest) -> list[str]:
    """List the files of a backup that are missing or changed; empty if it is complete."""
    found = []
    for name, saved in manifest.files.items():
        file = backup / name
        if not file.is_file():
            found.append(f"{name}: is missing")
        elif file.resolve() != backup.resolve() / name:  # it, or a folder on the way to it
            found.append(f"{name}: is a symbolic link")
        elif file.stat().st_size != saved.size or sha256_of(file) != saved.sha256:
            found.append(f"{name}: was changed or is not whole")
    return found

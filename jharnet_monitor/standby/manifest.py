"""What a backup of a hub holds: its manifest, with the hash of every file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
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
"""Records that the database had not taken yet."""
INSIDE, OUTSIDE = "config", "elsewhere"
"""Folders of the files in the configuration's directory, and of others by their full path."""
_MOST_BYTES = 50_000_000


@dataclass(frozen=True, slots=True)
class HeldFile:
    """One file of a backup."""

    sha256: str
    size: int
    mode: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was saved, when, of which hub; `files` by their place in the backup."""

    version: str
    made_at: str
    machine: str
    district: str
    owner: str
    """The user to whom the configuration belonged."""
    directory: str
    """The directory of the configuration."""
    config: str
    """The configuration's name in it."""
    kind: str
    """`sqlite` or `postgresql`."""
    hours: int
    """Links of the hash chain."""
    root: str | None
    """The chain's root after the last of them."""
    files: dict[str, HeldFile]

    @property
    def made(self) -> datetime:
        """When it was made, in UTC."""
        return parse_utc(self.made_at)

    def text(self) -> str:
        """The file's content."""
        return json.dumps({"format": FORMAT, **asdict(self)}, ensure_ascii=False, indent=1) + "\n"


def read_manifest(backup: Path) -> Manifest:
    """The manifest of a backup; raises `UserError`."""
    file = backup / MANIFEST
    try:
        with file.open("rb") as source:
            data: Any = json.loads(source.read(_MOST_BYTES))
        if data.pop("format") != FORMAT:
            raise UserError(f"{file}: was made by another version; install that version to restore")
        files = {_place(name, file): HeldFile(**held) for name, held in data.pop("files").items()}
        manifest = Manifest(files=files, **data)
        _place(manifest.config, file)
        parse_utc(manifest.made_at)
    except OSError as error:
        raise UserError(
            f"{file}: cannot be read: {error.strerror}; give a backup's folder"
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{file}: is not the manifest of a backup") from error
    return manifest


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
    """What of a backup is missing or was changed; empty if it is whole."""
    found = []
    for name, held in manifest.files.items():
        file = backup / name
        if not file.is_file() or file.is_symlink():
            found.append(f"{name}: is missing")
        elif file.stat().st_size != held.size or sha256_of(file) != held.sha256:
            found.append(f"{name}: was changed or is not whole")
    return found

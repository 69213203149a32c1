"""Backs up a running hub: database, configuration, secrets, accounts, certificates, reports.

The backup is a folder, not an archive, so that rsync sends only new files. It contains secrets:
protect the folder and its copies like the hub itself.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pydantic import BaseModel

from jharnet_monitor import __version__
from jharnet_monitor.clock import Clock, SystemClock
from jharnet_monitor.config import Config
from jharnet_monitor.config.load import load_config
from jharnet_monitor.errors import StoreError, UserError, file_error
from jharnet_monitor.model import format_utc
from jharnet_monitor.standby.manifest import (
    DATABASE,
    INSIDE,
    MANIFEST,
    NAME_TIME,
    OUTSIDE,
    WAITING,
    HeldFile,
    Manifest,
    backups_in,
    sha256_of,
)
from jharnet_monitor.store import Store
from jharnet_monitor.store.backup import SQLITE_ENDS
from jharnet_monitor.store.lease import this_machine

_MADE_HERE = re.compile(r"\.?.+-\d{8}T\d{6}Z(\.part)?")
"""Names of backups, and of those that are being made."""


def save(config_path: Path, directory: Path, keep: int, clock: Clock | None = None) -> Path:
    """Save the hub into a new folder of `directory`, and delete all but the newest `keep`.

    The folder gets its name only when it is complete. Those whose time lies ahead, from before the
    clock was set back, count as older than all others. Blocks; raises `UserError`, `StoreError`.
    """
    now = (clock or SystemClock()).now()
    config = load_config(config_path, files=False)
    name = f"{config.district.id}-{now:{NAME_TIME}}"
    part = directory / f".{name}.part"
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(directory, config.district.id):
            for partial in directory.glob(f".{config.district.id}-*.part"):
                shutil.rmtree(partial)
            try:
                made = _make(part, directory / name, config_path, config, format_utc(now))
            finally:
                shutil.rmtree(part, ignore_errors=True)
            every = backups_in(directory, config.district.id)
            every.sort(key=lambda backup: backup.name <= name)
            for old in every[:-keep]:
                shutil.rmtree(old)
    except OSError as error:
        raise file_error(error.filename or directory, error) from error
    return made


@contextmanager
def _alone(directory: Path, district: str) -> Iterator[None]:
    """Refuse a second backup while one is being made: it would delete the first one's part.

    The system releases the lock when the process ends, however it ends.
    """
    with (directory / f".{district}.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{directory}: another backup is being made there; wait until it is complete"
            ) from None
        yield


def _make(part: Path, made: Path, config_path: Path, config: Config, made_at: str) -> Path:
    part.mkdir(mode=0o700)
    manifest = _fill(part, config_path, config, made_at)
    (part / MANIFEST).write_text(manifest.text(), "utf-8")
    _sync(*part.rglob("*"), part)
    part.rename(made)
    _sync(made.parent)  # else a power cut takes back the name, and the next backup deletes the part
    return made


def save_configured(config_path: Path) -> Path:
    """Save the hub with the settings of its configuration; raises as `save` does."""
    settings = load_config(config_path, files=False).backup
    if settings is None:
        raise UserError(f"{config_path}: backup: is not set")
    return save(config_path, settings.directory, settings.keep)


def _fill(part: Path, config_path: Path, config: Config, made_at: str) -> Manifest:
    home = config_path.absolute().parent
    # Before the database: a record that moves there meanwhile is then in both copies, and is
    # recognised when it is written again; the other way round it would be in neither.
    _save_waiting(config.waiting_file, part / WAITING)
    store = Store(config.hub.database, SystemClock())
    try:
        store.require_schema()
        store.backup(part / DATABASE)
    finally:
        store.close()
    for source in _sources(config, config_path.absolute(), part.parent):
        inside = source.is_relative_to(home)
        place = (
            Path(INSIDE, source.relative_to(home)) if inside else Path(OUTSIDE, *source.parts[1:])
        )
        (part / place).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copy2(source, part / place)
    kind = "sqlite" if config.hub.database.startswith("sqlite") else "postgresql"
    hours, root = _chain_of(part / DATABASE) if kind == "sqlite" else _chain_now(config)
    return Manifest(
        version=__version__, made_at=made_at, machine=this_machine(), district=config.district.id,
        owner=_owner(config_path), directory=str(home), config=config_path.name, kind=kind,
        hours=hours, root=root,
        files={
            str(file.relative_to(part)): HeldFile(
                sha256_of(file), file.stat().st_size, file.stat().st_mode & 0o777
            )
            for file in sorted(part.rglob("*"))
            if file.is_file()
        },
    )  # fmt: skip


def _save_waiting(file: Path, copy: Path) -> None:
    """Copy the records that wait for the database; the hub may write to the file meanwhile."""
    if not file.exists():
        return
    try:
        with (
            closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as original,
            closing(sqlite3.connect(copy)) as target,
        ):
            original.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise UserError(f"{file}: cannot be copied: {error}") from error


def _chain_of(copy: Path) -> tuple[int, str | None]:
    """Length and root of the copy's chain; the hub may have sealed another hour since."""
    newest = "SELECT root FROM chunks ORDER BY number DESC LIMIT 1"
    try:
        with closing(sqlite3.connect(f"{copy.absolute().as_uri()}?mode=ro", uri=True)) as database:
            (hours,) = database.execute("SELECT count(*) FROM chunks").fetchone()
            row = database.execute(newest).fetchone()
    except sqlite3.Error as error:
        raise StoreError(f"the copy of the database cannot be read: {error}") from error
    return hours, row and row[0]


def _chain_now(config: Config) -> tuple[int, str | None]:
    """Length of PostgreSQL's chain; without the root, as the dump may have an earlier one."""
    store = Store(config.hub.database, SystemClock())
    try:
        links = store.chain.links()
    finally:
        store.close()
    return len(links), None


def _owner(config_path: Path) -> str:
    uid = config_path.stat().st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _sources(config: Config, config_path: Path, target: Path) -> Iterator[Path]:
    """Every file that belongs to the hub, each once, without databases and backups.

    `target` is where this backup is made: it may lie in a saved directory, such as the reports'.
    """
    home = config_path.parent
    named = [config_path, *_paths(config)]
    places = {path if path.is_dir() else path.parent for path in named}
    below = {place for place in places if place != home and home in place.parents}
    listed = {path for path in named if path.is_dir()} | below
    backups = config.backup.directory if config.backup else None
    excluded = {config.waiting_file, config.sessions_file, config.hub.database_file}
    found = {path for path in named if path.is_file()}
    for place in listed:
        found.update(file for file in place.rglob("*") if file.is_file() and not file.is_symlink())
    for file in sorted(found):
        if (backups is not None and backups in file.parents) or _is_backup(file, target):
            continue
        if not any(one is not None and file.name.startswith(one.name) and file.parent == one.parent
                   for one in excluded):  # fmt: skip
            yield file


def _is_backup(file: Path, target: Path) -> bool:
    """Whether a file belongs to a backup in `target`, which may also hold the hub's own files."""
    real, directory = file.resolve(), target.resolve()
    if not real.is_relative_to(directory):
        return False
    first, *inside = real.relative_to(directory).parts
    return bool(_MADE_HERE.fullmatch(first) if inside else re.fullmatch(r"\..+\.lock", first))


def _paths(section: object) -> Iterator[Path]:
    """Every path in a section and its subsections, except that of the backups."""
    if isinstance(section, Path):
        yield section.absolute()
    elif isinstance(section, BaseModel):
        for name in type(section).model_fields:
            if name != "backup":
                yield from _paths(getattr(section, name))
    elif isinstance(section, tuple):
        for one in section:
            yield from _paths(one)


def files_of_the_hub(config: Config) -> Iterator[Path]:
    """Every path that the configuration names, and the files of the hub's databases."""
    yield from _paths(config)
    for database in (config.hub.database_file, config.waiting_file, config.sessions_file):
        if database is not None:
            yield from (Path(f"{database}{end}") for end in SQLITE_ENDS)


def _sync(*files: Path) -> None:
    """Write files and folders to the disk, so that a power cut leaves no incomplete backup."""
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

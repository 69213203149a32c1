"""Restores a hub from its backup, on this machine or on another one.

It first collects and verifies the files in a folder within the target directory (a database that
lies elsewhere: beside its place), so that an incomplete or changed backup does not replace a hub.

Neither the manifest nor the configuration of a backup is signed, so neither decides where the
restore writes: the caller names the target directory, and the one directory outside of it in which
the database may be. Files that were outside of the hub's directory are put into a folder of the
target, from which a person copies them.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy import inspect, make_url

from jharnet_monitor.clock import Clock, SystemClock
from jharnet_monitor.config import Config
from jharnet_monitor.config.load import load_config
from jharnet_monitor.config.schema import LEAST_RETENTION
from jharnet_monitor.errors import StoreError, UserError, file_error
from jharnet_monitor.probes import PRUNABLE
from jharnet_monitor.standby.manifest import (
    DATABASE,
    INSIDE,
    MANIFEST,
    NAME_TIME,
    OUTSIDE,
    WAITING,
    Manifest,
    differences,
    read_manifest,
)
from jharnet_monitor.store import Store
from jharnet_monitor.store.engine import open_engine, reading
from jharnet_monitor.store.lease import clear
from jharnet_monitor.store.pruning import OF_THE_DATABASE, PruningRule

RESTORED = "restored"
"""Kind of the event that says from which backup the database was restored."""
_STAGE = ".restoring"
_FILES, _DATABASES = "files", "databases"
"""Folders of the stage."""
_WITH_SQLITE = ("", "-wal", "-shm")
"""Ends of the names of a SQLite database's files."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ElsewhereFile:
    """A restored file that was outside of the hub's directory."""

    file: Path
    """Where it is now, in the target directory."""
    original: Path
    """Where it was, and where a person has to copy it."""
    exists: bool
    """Whether this machine has a file there."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a restore: the configuration, and the numbers of hours and records."""

    config: Path
    manifest: Manifest
    hours: int
    records: int
    elsewhere: tuple[ElsewhereFile, ...]
    notices: tuple[str, ...]
    """Further things that a person should know, a sentence each."""


def usual_target(backup: Path, config: Path) -> Path:
    """The directory into which a backup is restored unless another is named.

    It is that of this machine's configuration, if the backup was made there; raises `UserError`
    otherwise.
    """
    directory = Path(read_manifest(backup).directory)
    usual = config.absolute().parent
    if directory.resolve() != usual.resolve():
        raise UserError(
            f"{backup / MANIFEST}: was made in {directory}, and this machine's configuration is"
            f" {config}; name the directory of the restored hub by --into"
        )
    return usual


class Restore:
    """One restore of one backup into a directory."""

    def __init__(
        self, backup: Path, into: Path, *, database_in: Path | None = None, replace: bool = False,
        clock: Clock | None = None, say: Say = lambda _: None,
    ) -> None:  # fmt: skip
        """`database_in` is a directory outside of `into` in which the database may be.

        Raises `UserError` for a folder that is no backup.
        """
        self._backup = backup
        self._manifest = read_manifest(backup)
        self._target = into.absolute()
        self._database_in = database_in
        self._owner = _owner_of(self._target) or self._manifest.owner
        self._notices: list[str] = []
        self._stage = self._target / _STAGE
        self._databases: list[_Moved] = []
        """The databases that are staged, and the places into which they are to be moved."""
        self._replace = replace
        self._clock = clock or SystemClock()
        self._say = say

    def run(self) -> Restored:
        """Restore; blocks. Raises `UserError`, `StoreError`."""
        self._say("comparing hashes")
        wrong = differences(self._backup, self._manifest)
        if wrong:
            more = f" (and {len(wrong) - 1} more files)" if wrong[1:] else ""
            raise UserError(f"{self._backup}: {wrong[0]}{more}; take another backup")
        self._refuse_what_is_there()
        try:
            shutil.rmtree(self._stage, ignore_errors=True)
            for folder in (_FILES, _DATABASES):
                (self._stage / folder).mkdir(parents=True, mode=0o700)
            found = self._put_together()
            self._put_into_place()
        except OSError as error:
            raise file_error(error.filename or self._target, error) from error
        finally:
            shutil.rmtree(self._stage, ignore_errors=True)
            for moved in self._databases:
                _delete(moved.staged)
        return Restored(
            self._target / self._manifest.config, self._manifest, found.hours, found.records,
            tuple(self._elsewhere_files()), tuple(self._notices),
        )  # fmt: skip

    def _elsewhere_files(self) -> Iterator[ElsewhereFile]:
        for name in self._manifest.files:
            folder, *inside = Path(name).parts
            if folder == OUTSIDE:
                original = Path("/", *inside)
                yield ElsewhereFile(
                    self._target / OUTSIDE / Path(*inside), original, os.path.lexists(original)
                )

    def _refuse_what_is_there(self) -> None:
        if self._target.exists() and not self._target.is_dir():
            raise UserError(f"{self._target}: is no directory; --into names the hub's directory")
        if self._replace or not self._target.exists():
            return
        existing = [one for one in self._target.iterdir() if one.name != _STAGE]
        if existing:
            raise UserError(
                f"{self._target}: is not empty ({existing[0].name}); "
                "--replace sets aside what is there"
            )

    def _put_together(self) -> _Verified:
        """Collect everything in the stage, and verify the database."""
        self._say("copying files")
        for name, saved in self._manifest.files.items():
            folder, *inside = Path(name).parts
            if folder == INSIDE:
                place = Path(*inside)
            elif folder == OUTSIDE:
                place = Path(OUTSIDE, *inside)
            else:
                continue
            _copy(self._backup / name, self._stage / _FILES / place, saved.mode)
        config = load_config(
            self._stage / _FILES / self._manifest.config, files=False, base=self._target
        )
        self._refuse_other_kind(config.hub.database)
        self._say("restoring the database")
        self._stage_database(WAITING, config.waiting_file)
        return self._verified(self._restore_database(config))

    def _restore_database(self, config: Config) -> str:
        """Restore the database where no hub uses it yet; returns its URL."""
        if self._manifest.kind == "sqlite":
            file = Path(make_url(config.hub.database).database or "")
            return f"sqlite:///{self._stage_database(DATABASE, file)}"
        self._refuse_full_database(config.hub.database)
        _pg_restore(self._backup / DATABASE, config.hub.database)
        return config.hub.database

    def _stage_database(self, name: str, place: Path) -> Path:
        """Copy a database, if it was saved, to where it can be renamed to its place, and return
        the copy. Refuse or set aside an earlier one also where none was saved: the hub would
        write what waited there into the restored database."""
        place = Path(os.path.normpath(place))
        # Either way it is set aside with the target directory, so it must not be staged beside.
        inside = place.is_relative_to(self._target) or _is_below(place, self._target)
        if not inside and (self._database_in is None or not _is_below(place, self._database_in)):
            raise UserError(
                f"{self._manifest.config}: the backup's configuration puts a database outside of"
                f" {self._target}: {place}; if it belongs there, allow it by"
                f" --database-in {shlex.quote(str(place.parent))}"
            )
        if not inside and os.path.lexists(place) and not self._replace:
            raise UserError(f"{place}: exists already; --replace sets it aside")
        staged = self._stage / _DATABASES / name if inside else Path(f"{place}{_STAGE}")
        self._databases.append(_Moved(staged, place, inside))
        _delete(staged)  # left by an earlier restore, or a symbolic link
        if name in self._manifest.files:
            _copy(self._backup / name, staged, 0o600)
        return staged

    def _refuse_other_kind(self, url: str) -> None:
        """Refuse a configuration whose database is not of the kind that was saved: a SQLite file
        would be written where the name of a PostgreSQL database points."""
        if make_url(url).get_backend_name() != self._manifest.kind:
            raise UserError(
                f"{self._manifest.config}: hub.database is not the {self._manifest.kind} database"
                " that the backup holds; take another backup"
            )

    def _refuse_full_database(self, url: str) -> None:
        engine = open_engine(url)
        try:
            with reading(engine) as connection:
                tables = inspect(connection).get_table_names()
        finally:
            engine.dispose()
        if tables:
            raise UserError(
                f"hub.database: {url}: is not empty; give the restore a new database (`createdb`)"
            )

    def _verified(self, url: str) -> _Verified:
        """Recompute the hash chain; raises `UserError` if a record is changed or missing."""
        store = Store(url, self._clock)
        try:
            store.migrate()
            store.ownership.take()
            self._say("recomputing the hash chain")
            hours, records, root, problems = 0, 0, None, store.damage()
            for one in store.chain.check(PruningRule(PRUNABLE, timedelta(seconds=LEAST_RETENTION))):
                problems += one.problems
                hours, root = hours + 1, one.link.root
                records += sum(part.records for part in one.parts.values())
            problems += store.chain.strays()
            if self._manifest.kind == "sqlite" and (hours, root) != (
                self._manifest.hours, self._manifest.root,
            ):  # fmt: skip
                problems.append("the hash chain does not match the manifest")
            if problems:
                raise UserError(f"{self._backup}: {problems[0]}: nothing was restored")
            store.event_log.add_event(OF_THE_DATABASE, RESTORED, self._clock.now(), {
                "made_at": self._manifest.made_at, "machine": self._manifest.machine, "root": root,
            })  # fmt: skip
        finally:
            store.close()
        engine = open_engine(url)
        try:
            clear(engine)
        finally:
            engine.dispose()
        return _Verified(hours, records)

    def _put_into_place(self) -> None:
        """Move all out of the stage, the configuration last, so that no hub starts too early."""
        self._say("moving into place")
        now = f"{self._clock.now():{NAME_TIME}}"
        self._set_aside_what_is_there(now)
        parts = list((self._stage / _FILES).iterdir())
        for part in parts:
            if part.name != self._manifest.config:
                part.replace(self._target / part.name)
        for moved in self._databases:
            if not moved.inside:
                _set_aside(moved.place, now)
            if moved.staged.exists():
                moved.place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                moved.staged.replace(moved.place)
        config = self._stage / _FILES / self._manifest.config
        config.replace(self._target / self._manifest.config)
        self._give_to_owner()

    def _set_aside_what_is_there(self, now: str) -> None:
        existing = [one for one in self._target.iterdir() if one.name != _STAGE]
        if not existing:
            return
        earlier = self._target / f"before-restore-{now}"
        earlier.mkdir(mode=0o700)
        for one in existing:
            if not one.name.startswith("before-restore-"):
                one.replace(earlier / one.name)
        self._notices.append(f"The earlier files are in {earlier}.")

    def _give_to_owner(self) -> None:
        """As root, give the files to the hub's user: the owner of the target directory before the
        restore, else the user who owned the configuration."""
        if os.geteuid() != 0:
            return
        try:
            user = pwd.getpwnam(self._owner)
        except KeyError:
            self._notices.append(
                f"The files belong to root, because this machine has no user {self._owner}:"
                f" give {self._target} to the hub's user (chown -R)."
            )
            return
        databases = [moved.place for moved in self._databases if not moved.inside]
        outside = [place for place in databases if place.exists()]
        for one in (self._target, *self._target.rglob("*"), *outside):
            os.chown(one, user.pw_uid, user.pw_gid, follow_symlinks=False)


@dataclass(frozen=True, slots=True)
class _Verified:
    """A restored database whose chain was recomputed."""

    hours: int
    records: int


@dataclass(frozen=True, slots=True)
class _Moved:
    """A database that was copied, its place, and whether this lies in the target directory."""

    staged: Path
    place: Path
    inside: bool


def _owner_of(directory: Path) -> str | None:
    """The user to whom a directory belongs; None for root, and if there is none."""
    try:
        uid = directory.stat().st_uid
        return pwd.getpwuid(uid).pw_name if uid else None
    except (OSError, KeyError):
        return None


def _is_below(place: Path, directory: Path) -> bool:
    """Whether a file would lie in a directory, after all symbolic links on the way."""
    return place.parent.resolve().is_relative_to(directory.resolve())


def _copy(source: Path, place: Path, mode: int) -> None:
    """Copy a file of the backup, which is no symbolic link."""
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.copy2(source, place, follow_symlinks=False)
    place.chmod(mode & 0o777)  # a backup from elsewhere must not bring a set-uid program


def _delete(database: Path) -> None:
    for end in (*_WITH_SQLITE, "-owner"):  # the last is the lock that a `Store` holds
        Path(f"{database}{end}").unlink(missing_ok=True)


def _set_aside(database: Path, now: str) -> None:
    """Rename an earlier database, with its log: SQLite would apply that to the restored one."""
    for end in _WITH_SQLITE:
        file = Path(f"{database}{end}")
        if os.path.lexists(file):
            file.replace(f"{database}.before-restore-{now}{end}")


def _pg_restore(dump: Path, url: str) -> None:
    program = shutil.which("pg_restore")
    if program is None:
        raise UserError("pg_restore is not installed; it is in the package postgresql-client")
    parsed = make_url(url)
    bare = parsed.set(drivername="postgresql", password=None)
    environment = dict(os.environ)
    if parsed.password:  # every user can read a process's arguments
        environment["PGPASSWORD"] = str(parsed.password)
    command = [
        program, "--no-owner", "--exit-on-error", "--single-transaction",
        f"--dbname={bare.render_as_string()}", str(dump),
    ]  # fmt: skip
    result = subprocess.run(  # noqa: S603 - a program of the system, and a URL of the configuration
        command, env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["no output"]
        raise StoreError(f"pg_restore: {lines[-1]}")

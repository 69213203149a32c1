"""The agent's versions on this machine: the active one, the one on trial, and the rollback.

The version that was installed by hand (the base) stays where it is. An update is installed beside
it, in a directory of its own, and the link `current` points to the active one:

    updates/wheels/                  fetched wheels, by name
    updates/versions/0.2.0-1795/     a virtual environment; usable once it has the file `complete`
    updates/current -> versions/0.2.0-1795
    updates/state.json               the last update: on trial, confirmed, rolled back or refused

Every change is one rename, so that a power cut leaves either the old state or the new.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import shutil
import sys
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

log = logging.getLogger(__name__)

MOST_ATTEMPTS = 3
"""How often a version on trial may fail to start before the agent rolls back."""
COMPLETE = "complete"


class UpdateState(StrEnum):
    """The result of the last update."""

    TRIAL = "trial"
    CONFIRMED = "confirmed"
    ROLLED_BACK = "rolled_back"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class LastUpdate:
    """The last update, as `state.json` keeps it."""

    version: str
    serial: int
    state: UpdateState
    base: str
    """The version installed by hand at the time of the update."""
    directory: str = ""
    previous: str = ""
    """The directory of the previous version; empty for the base."""
    floor: int = 0
    """The serial of the last confirmed release; older releases are refused."""
    attempts: int = 0
    trial_seconds: float = 600.0
    why: str = ""
    offer: str = ""
    """The hub's name for the offer to which this is the answer."""

    @property
    def on_trial(self) -> bool:
        """Whether the version still has to reach the hub."""
        return self.state is UpdateState.TRIAL

    def to_report(self) -> dict[str, object]:
        """The part of it that is reported to the hub."""
        return {
            "version": self.version,
            "serial": self.serial,
            "state": self.state.value,
            "why": self.why,
            "offer": self.offer,
        }


class Versions:
    """The directory of updates. `base` is the version of the program that was installed by hand."""

    def __init__(self, directory: Path, base: str) -> None:
        self.directory = directory
        self._base = base

    @property
    def wheels(self) -> Path:
        """The directory of fetched wheels."""
        return self.directory / "wheels"

    def place(self, release_id: str) -> Path:
        """The directory of a version."""
        return self.directory / "versions" / release_id

    def is_complete(self, release_id: str) -> bool:
        """Whether the installation of a version was completed."""
        return (self.place(release_id) / COMPLETE).exists()

    def last(self) -> LastUpdate | None:
        """The last update; None if there was none, or its record cannot be read."""
        try:
            data = json.loads((self.directory / "state.json").read_text("utf-8"))
            return LastUpdate(**{**data, "state": UpdateState(data["state"])})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("the record of the last update cannot be read: %s", error)
            return None

    def current(self) -> str:
        """The directory of the active version; empty for the base."""
        try:
            return (self.directory / "current").readlink().name
        except OSError:
            return ""

    def trial(self) -> LastUpdate | None:
        """The update that is active and on trial; None if there is none.

        A power cut between the record and the link leaves a trial that never began. It is none, so
        that the hub can offer the release again.
        """
        update = self.last()
        if update is None or not update.on_trial or update.directory != self.current():
            return None
        return update

    def is_this_process(self, update: LastUpdate) -> bool:
        """Whether this process runs the version of an update."""
        return Path(sys.prefix).resolve() == self.place(update.directory).resolve()

    def save(self, update: LastUpdate) -> None:
        """Write the record of the last update; raises `OSError`."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(self.directory / "state.json", json.dumps(asdict(update)).encode())

    def mark_complete(self, release_id: str) -> None:
        """Mark a version as completely installed, once all of it is on the disk."""
        os.sync()
        write_durably(self.place(release_id) / COMPLETE, b"")

    def begin_trial(
        self, version: str, serial: int, directory: str, trial_seconds: float, offer: str
    ) -> None:
        """Activate a complete version on trial; raises `OSError`."""
        self.save(
            LastUpdate(
                version,
                serial,
                UpdateState.TRIAL,
                self._base,
                directory,
                previous=self.current(),
                floor=self.floor(),
                trial_seconds=trial_seconds,
                offer=offer,
            )
        )
        self._point_at(directory)

    def floor(self) -> int:
        """The serial of the last confirmed release; 0 if there was none."""
        last = self.last()
        return last.floor if last else 0

    def confirm(self) -> None:
        """Keep the version on trial, which reached the hub, and delete older ones.

        Only the version itself can prove that it works, so another one's process changes nothing.
        """
        update = self.last()
        if update is not None and update.on_trial and self.is_this_process(update):
            self.save(replace(update, state=UpdateState.CONFIRMED, floor=update.serial))
            self._delete_all_but({update.directory, update.previous})
            log.info("version %s reached the hub and is kept", update.version)

    def refuse(self, version: str, serial: int, why: str, offer: str) -> None:
        """Record that a release was refused, and why; the active version stays."""
        self.save(
            LastUpdate(
                version,
                serial,
                UpdateState.REFUSED,
                self._base,
                floor=self.floor(),
                why=why[:200],
                offer=offer,
            )
        )

    def roll_back(self, why: str) -> None:
        """Return to the version before the one on trial."""
        update = self.last()
        if update is None:
            return
        log.error("version %s: %s; rolling back to %s", update.version, why,
                  update.previous or self._base)  # fmt: skip
        self._point_at(update.previous)
        self.save(replace(update, state=UpdateState.ROLLED_BACK, why=why))
        shutil.rmtree(self.place(update.directory), ignore_errors=True)

    def to_start(self) -> tuple[Path | None, LastUpdate | None]:
        """The program to start instead of the base, and its update while that is on trial.

        Counts the starts of a version on trial, and rolls back after `MOST_ATTEMPTS`.
        """
        update, current = self.last(), self.current()
        if not current:
            return None, None
        if update is None or update.base != self._base:
            log.info("version %s was installed by hand and replaces all updates", self._base)
            self._point_at("")
            return None, None
        if update.on_trial and update.directory == current:
            if update.attempts >= MOST_ATTEMPTS or not self.is_complete(current):
                self.roll_back(update.why or f"it failed at {update.attempts} starts")
                return self.to_start()
            update = replace(update, attempts=update.attempts + 1)
            self.save(update)
            return self._program(current), update
        if not self.is_complete(current):
            self._point_at("")
            return None, None
        return self._program(current), None

    def _program(self, release_id: str) -> Path:
        return self.place(release_id) / "bin" / "jharnet-monitor"

    def note_failure(self, why: str) -> None:
        """Record why the version on trial failed at its last start."""
        update = self.last()
        if update is not None and update.on_trial:
            self.save(replace(update, why=why))

    def keep_wheels(self, names: set[str]) -> None:
        """Delete all other wheels; the next release can reuse most of these."""
        for path in self.wheels.iterdir():
            if path.name not in names:
                path.unlink(missing_ok=True)

    def _point_at(self, release_id: str) -> None:
        link = self.directory / "current"
        if not release_id:
            link.unlink(missing_ok=True)
        else:
            partial = self.directory / f".current.{secrets.token_hex(4)}"
            partial.symlink_to(Path("versions") / release_id)
            partial.replace(link)
        _sync_directory(self.directory)

    def _delete_all_but(self, names: set[str]) -> None:
        with contextlib.suppress(OSError):
            for path in (self.directory / "versions").iterdir():
                if path.name not in names:
                    shutil.rmtree(path, ignore_errors=True)


def write_durably(path: Path, data: bytes) -> None:
    """Write a file completely or not at all, also if the power fails."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_directory(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):  # Windows cannot open directories
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

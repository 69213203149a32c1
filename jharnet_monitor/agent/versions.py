"""The agent's versions on this machine: the active one, the one on trial, and the rollback.

The version that was installed by hand (the base) stays where it is. An update is installed beside
it, in a directory of its own, and the link `current` points to the active one:

    updates/wheels/                  fetched wheels, by name
    updates/versions/0.2.0-1795/     a virtual environment; usable once it has the file `complete`;
                                     its file `starts` counts starts that have not lasted yet
    updates/current -> versions/0.2.0-1795
    updates/state.json               the last update: on trial, confirmed, rolled back or refused

Every change is one rename, so that a power cut leaves either the old state or the new. A version
that is deleted loses its file `complete` first.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import shutil
import sys
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from pathlib import Path

from jharnet_monitor.agent import machine

log = logging.getLogger(__name__)

MOST_ATTEMPTS = 3
"""How often a version on trial may fail to start before the agent rolls back."""
MOST_SHORT_STARTS = 10
"""How often in a row, while the machine is on, a version that was kept may crash before
`LASTING_SECONDS`."""
LASTING_SECONDS = 60.0
COMPLETE = "complete"
STARTS = "starts"


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
    """Starts of the version on trial since the machine was switched on."""
    boot: str = ""
    """The machine's boot (`machine.boot_id`) to which `attempts` belongs."""
    trial_seconds: float = 600.0
    why: str = ""
    offer: str = ""
    """The hub's name for the offer to which this is the answer."""
    fits: bool = True
    """False if it was refused because it is for other machines."""

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
            **({} if self.fits else {"fits": False}),
        }

    def to_json(self) -> dict[str, object]:
        """The record. Agents of 0.1.0 refuse one with fields that they do not know, so those that
        came later are only there where they say something.
        """
        later = {"boot": "", "fits": True}
        return {k: v for k, v in asdict(self).items() if k not in later or v != later[k]}

    @classmethod
    def of_json(cls, text: str) -> LastUpdate:
        """Read the record; raises `ValueError`, `TypeError` or `KeyError`.

        Unknown fields are ignored: the base reads what later versions have written.
        """
        data = json.loads(text)
        known = {one.name for one in fields(cls)}
        kept = {key: value for key, value in data.items() if key in known}
        return cls(**{**kept, "state": UpdateState(kept["state"])})


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
            return LastUpdate.of_json((self.directory / "state.json").read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
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
        write_durably(self.directory / "state.json", json.dumps(update.to_json()).encode())

    def mark_complete(self, release_id: str) -> None:
        """Mark a version as completely installed, once all of it is on the disk."""
        if sys.platform != "win32":  # where no updates are taken
            os.sync()
        write_durably(self.place(release_id) / COMPLETE, b"")

    def delete(self, release_id: str) -> None:
        """Delete a version. What a power cut leaves of it is not taken for complete."""
        place = self.place(release_id)
        with contextlib.suppress(OSError):
            (place / COMPLETE).unlink()
            _sync_directory(place)
        shutil.rmtree(place, ignore_errors=True)

    def begin_trial(
        self, version: str, serial: int, directory: str, trial_seconds: float, offer: str
    ) -> None:
        """Activate a complete version on trial; raises `OSError`."""
        current = self.current()
        self.save(
            LastUpdate(
                version,
                serial,
                UpdateState.TRIAL,
                self._base,
                directory,
                previous="" if current == directory else current,  # not to roll back to itself
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
            self.save(replace(update, state=UpdateState.CONFIRMED, floor=update.serial, boot=""))
            self._delete_all_but({update.directory, update.previous})
            log.info("version %s reached the hub and is kept", update.version)

    def refusal(
        self, version: str, serial: int, why: str, offer: str, *, fits: bool = True
    ) -> LastUpdate:
        """The record of a release that was refused, for `save`; the active version stays."""
        return LastUpdate(
            version,
            serial,
            UpdateState.REFUSED,
            self._base,
            floor=self.floor(),
            why=why[:200],
            offer=offer,
            fits=fits,
        )

    def roll_back(self, why: str, *, delete: bool = True) -> None:
        """Return to the version before the last update; `delete` what it installed."""
        update = self.last()
        if update is None:
            return
        log.error("version %s: %s; rolling back to %s", update.version, why,
                  update.previous or self._base)  # fmt: skip
        self._point_at(update.previous)
        self.save(replace(update, state=UpdateState.ROLLED_BACK, why=why))
        if delete:
            self.delete(update.directory)

    def to_start(self) -> tuple[Path | None, LastUpdate | None]:
        """The program to start instead of the base, and its update while that is on trial.

        Counts starts, and rolls back a version on trial after `MOST_ATTEMPTS` failed ones, a kept
        version after `MOST_SHORT_STARTS`, or once it is incomplete.
        """
        update, current = self.last(), self.current()
        if not current:
            return None, None
        if update is None or update.base != self._base:
            log.info("version %s was installed by hand and replaces all updates", self._base)
            self._point_at("")
            return None, None
        if update.on_trial and update.directory == current:
            # Without a record of the starts, one that crashes would be started for ever.
            return self._start_trial(update) or (None, None)
        why = ""
        if not self.is_complete(current):
            why = "files of it are missing"
        elif self._short_starts(current) >= MOST_SHORT_STARTS:
            why = f"it crashed within {LASTING_SECONDS:g} s, {MOST_SHORT_STARTS} times"
        if why:
            self._leave(update, current, why)
            return self.to_start()
        self._count_start(current)
        return self._program(current), None

    def _start_trial(self, update: LastUpdate) -> tuple[Path | None, LastUpdate | None] | None:
        """Count a start of the version on trial; None if the disk takes no record of it.

        Starts before the machine was switched off do not count: the power may have ended them.
        """
        boot = machine.boot_id()
        attempts = update.attempts if update.boot == boot else 0
        if attempts >= MOST_ATTEMPTS or not self.is_complete(update.directory):
            self.roll_back(update.why or f"it failed at {attempts} starts")
            return self.to_start()
        counted = replace(update, attempts=attempts + 1, boot=boot)
        try:
            self.save(counted)
        except OSError as error:
            log.error("version %s is not tried now: %s", update.version, error)
            return None
        return self._program(update.directory), counted

    def _leave(self, update: LastUpdate, current: str, why: str) -> None:
        """Return from a version that was kept to the one before, or the base."""
        if update.directory == current:
            self.roll_back(why, delete=False)  # a process of it may still run
            return
        log.error("version %s: %s; %s runs instead", current, why, self._base)
        self._point_at("")

    def _short_starts(self, release_id: str) -> int:
        """Starts of a version since the machine was switched on, of which none has lasted."""
        try:
            boot, count = (self.place(release_id) / STARTS).read_text("ascii").split()
            return int(count) if boot == machine.boot_id() else 0
        except (OSError, ValueError):
            return 0

    def _count_start(self, release_id: str) -> None:
        count = f"{machine.boot_id()} {self._short_starts(release_id) + 1}"
        try:
            write_durably(self.place(release_id) / STARTS, count.encode("ascii"))
        except (OSError, ValueError) as error:  # a full disk must not keep a version from running
            log.warning("the start of %s is not counted: %s", release_id, error)

    def forget_starts(self) -> None:
        """Forget the starts of the active version, because this process of it has lasted, or ends
        in order, as after a stop or a refusal of the hub: it did not crash.
        """
        current = self.current()
        if current and Path(sys.prefix).resolve() == self.place(current).resolve():
            (self.place(current) / STARTS).unlink(missing_ok=True)

    def _program(self, release_id: str) -> Path:
        return self.place(release_id) / "bin" / "jharnet-monitor"

    def note_stop(self) -> None:
        """Do not count the last start of the version on trial, which was stopped from outside."""
        update = self.last()
        if update is not None and update.on_trial:
            self.save(replace(update, attempts=max(0, update.attempts - 1)))

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
                    self.delete(path.name)


def write_durably(path: Path, data: bytes, mode: int | None = None) -> None:
    """Write a file completely or not at all, also if the power fails; raises `OSError`."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with partial.open("wb") as file:
            if mode is not None:
                partial.chmod(mode)
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

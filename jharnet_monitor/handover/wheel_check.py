"""Checks the wheels of a bundle before they are signed.

Each must be a file that the source's lock files name, and our own must be built from that source.
"""

from __future__ import annotations

import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jharnet_monitor.errors import UserError
from jharnet_monitor.handover.lock_files import (
    WITHOUT_WHEEL,
    LockEntry,
    lock_entries,
    wheel_project,
    wheel_version,
)
from jharnet_monitor.handover.release import sha256
from jharnet_monitor.handover.wheel_choice import wheels_for
from jharnet_monitor.security.damaged_zip import DamagedZipError, reading_zip

OWN = "jharnet-monitor"
PACKAGE = "jharnet_monitor"


@dataclass(frozen=True, slots=True)
class WheelDirectory:
    """A directory of wheels, of which it accepts only those that belong to a checkout."""

    directory: Path
    checkout: Path
    _digests: dict[str, str] = field(default_factory=dict)

    def wheels(self) -> list[Path]:
        """All files that are called wheels."""
        return sorted(self.directory.glob("*.whl"))

    def locked(self, lock: str, python: str, machine: str) -> list[Path]:
        """The wheel of each project that a lock file names for a version of Python.

        Raises `UserError` if there is none, or only one whose hash is not in the lock file.
        """
        entries = lock_entries(lock)
        needed = {entry.name for entry in entries if entry.applies_to(python, machine)}
        accepted = [w.name for w in self.wheels() if self._is_locked(w, entries)]
        chosen = wheels_for(python, machine, accepted, needed)
        for name in sorted(needed - {wheel_project(wheel) for wheel in chosen}):
            raise self._missing(name, python, machine, entries)
        return [self.directory / name for name in chosen]

    def _is_locked(self, wheel: Path, entries: Sequence[LockEntry]) -> bool:
        project, version = wheel_project(wheel.name), wheel_version(wheel.name)
        return any(
            version == entry.version
            and (project in WITHOUT_WHEEL or self._digest(wheel) in entry.hashes)
            for entry in entries
            if entry.name == project
        )

    def _digest(self, wheel: Path) -> str:
        if wheel.name not in self._digests:
            self._digests[wheel.name] = sha256(wheel.read_bytes())
        return self._digests[wheel.name]

    def _missing(
        self, project: str, python: str, machine: str, entries: Sequence[LockEntry]
    ) -> UserError:
        """Name the file that has the wrong content, or else the project that has no file."""
        versions = {entry.version for entry in entries if entry.name == project}
        for wheel in self.wheels():
            of_project = wheel_project(wheel.name) == project
            if of_project and wheel_version(wheel.name) in versions:
                fits = wheels_for(python, machine, [wheel.name], {project})
                if fits and not self._is_locked(wheel, entries):
                    return UserError(
                        f"{wheel}: is not a file that the lock file names; "
                        "delete it, and make the bundle again"
                    )
        version = " or ".join(sorted(versions))
        return UserError(
            f"{self.directory}: holds no wheel of {project} {version} for Python {python} on "
            f"{machine}; `jharnet-monitor bundle` fetches it"
        )

    def own(self) -> Path:
        """Our own wheel; raises `UserError` unless it is built from the checkout."""
        version = _version(self.checkout)
        for wheel in self.own_wheels():
            if wheel_version(wheel.name) == version:
                if found := _difference(wheel, self.checkout):
                    raise UserError(
                        f"{wheel}: is not built from this source: {found}; "
                        "delete it, and make the bundle again"
                    )
                return wheel
        raise UserError(
            f"{self.directory}: holds no wheel of {OWN} {version}; "
            "`jharnet-monitor bundle` builds it"
        )

    def own_wheels(self) -> list[Path]:
        """Our own wheels, of whatever version."""
        return [wheel for wheel in self.wheels() if wheel_project(wheel.name) == OWN]


def _version(checkout: Path) -> str:
    path = checkout / "pyproject.toml"
    try:
        return str(tomllib.loads(path.read_text("utf-8"))["project"]["version"])
    except (OSError, ValueError, KeyError):
        raise UserError(f"{path}: names no version; run this in a checkout of {OWN}") from None


def _difference(wheel: Path, checkout: Path) -> str:
    """The first difference between our own wheel and the checkout; empty if there is none."""
    info = "-".join(wheel.name.split("-")[:2])
    shared = f"{info}.data/data/share/{OWN}/"
    missing = set(_package_files(checkout))
    try:
        with reading_zip(), zipfile.ZipFile(wheel) as archive:
            for name in sorted(set(archive.namelist())):
                if name.endswith("/") or name.startswith(f"{info}.dist-info/"):
                    continue
                path = name.removeprefix(shared)
                if path == name and not name.startswith(f"{PACKAGE}/"):
                    return f"{name} is not part of it"
                source = checkout / path
                if not source.is_file() or archive.read(name) != source.read_bytes():
                    return f"{path} differs"
                missing.discard(name)
    except DamagedZipError:
        return "the file is damaged"
    return f"{min(missing)} is missing" if missing else ""


def _package_files(checkout: Path) -> Iterator[str]:
    """The files of the package, as a wheel names them."""
    for path in (checkout / PACKAGE).rglob("*"):
        parts = path.relative_to(checkout).parts
        hidden = any(part.startswith((".", "__pycache__")) for part in parts)
        if path.is_file() and not hidden and path.suffix not in (".pyc", ".pyo", ".pyd"):
            yield "/".join(parts)

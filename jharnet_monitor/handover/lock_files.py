"""Reads pip's lock files: which projects they name for a machine, in which versions and files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from packaging.markers import Marker
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

WITHOUT_WHEEL = ("speedtest-cli",)
"""Published as source only. They are pure Python, so that a wheel built here fits everywhere."""

_ENTRY = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)(?:\s*;\s*([^\\\n]+))?")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class LockEntry:
    """A version of a project in a lock file, by its normalized name (PEP 503)."""

    name: str
    version: str
    marker: str
    """The machines to which it applies (PEP 508); empty for all."""
    hashes: frozenset[str]

    def applies_to(self, python: str, machine: str) -> bool:
        """Whether CPython of this version on a Linux machine needs it.

        >>> entry = LockEntry("colorama", "1", "sys_platform == 'win32'", frozenset())
        >>> entry.applies_to("3.12", "x86_64")
        False
        """
        environment = {
            "implementation_name": "cpython", "os_name": "posix", "platform_machine": machine,
            "platform_python_implementation": "CPython", "platform_system": "Linux",
            "python_full_version": f"{python}.0", "python_version": python,
            "sys_platform": "linux",
        }  # fmt: skip
        return not self.marker or Marker(self.marker).evaluate(environment)


def lock_parts(lock: str) -> list[str]:
    """The text of each entry, with its hashes."""
    return re.split(r"\n(?=[A-Za-z0-9])", lock.strip())


def lock_entries(lock: str) -> list[LockEntry]:
    """The entries of a lock file.

    >>> [entry] = lock_entries("Typing_X==1.2 ; python_version < '3.12' \\\\\\n  # via y")
    >>> entry.name, entry.version, entry.marker
    ('typing-x', '1.2', "python_version < '3.12'")
    """
    entries = []
    for part in lock_parts(lock):
        if found := _ENTRY.match(part):
            name, version, marker = found.groups(default="")
            hashes = frozenset(_HASH.findall(part))
            entries.append(LockEntry(canonicalize_name(name), version, marker.strip(), hashes))
    return entries


def only(lock: str, names: Iterable[str]) -> str:
    """A lock file with only these projects."""
    return "\n".join(part for part in lock_parts(lock) if part.split("==")[0] in names) + "\n"


def without(lock: str, names: Iterable[str]) -> str:
    """A lock file without these projects."""
    return "\n".join(part for part in lock_parts(lock) if part.split("==")[0] not in names) + "\n"


def for_machine(lock: str, python: str, machine: str) -> str:
    """A lock file with only what applies to a machine, and without markers.

    pip would evaluate the markers for the Python that runs it.
    """
    parts = []
    for part in lock_parts(lock):
        [entry] = lock_entries(part)
        if entry.applies_to(python, machine):
            parts.append(part.replace(f" ; {entry.marker}", "", 1) if entry.marker else part)
    return "\n".join(parts) + "\n"


def wheel_project(name: str) -> str:
    """The normalized name of a wheel's project, given the name of its file."""
    return canonicalize_name(name.partition("-")[0])


def wheel_version(name: str) -> str:
    """The version in the name of a wheel; empty if the name is not that of a wheel."""
    try:
        parse_wheel_filename(name)
    except InvalidWheelFilename:
        return ""
    return name.split("-")[1]

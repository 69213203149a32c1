"""Releases for `tests/faults/update.py`: the real agent in another version, some of them broken."""

from __future__ import annotations

import base64
import hashlib
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jharnet_monitor.handover.bundle import Machines, Source, collect_wheels, write_bundle

ROOT = Path(__file__).resolve().parents[2]
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
OWN = "jharnet_monitor-*.whl"
Broken = Callable[[str, str], str]
"""Changes a module's text, given its path."""


def sound(path: str, text: str) -> str:
    """The agent as it is."""
    return text


def crashes(path: str, text: str) -> str:
    """An agent that dies a few seconds after it got through to the hub."""
    if path != "jharnet_monitor/agent/daemon.py":
        return text
    return text.replace(
        "        await self._welcomed.wait()\n",
        "        await self._welcomed.wait()\n        __import__('os')._exit(9)\n",
    )


def mute(path: str, text: str) -> str:
    """An agent that measures, and never gets through to the hub."""
    if path != "jharnet_monitor/agent/daemon.py":
        return text
    return text.replace(
        "            socket = await http.ws_connect(\n",
        "            raise OSError('this version cannot connect')\n"
        "            socket = await http.ws_connect(\n",
    )


@dataclass(frozen=True, slots=True)
class Makery:
    """Makes bundles from wheels; `wheels` is fetched once, and may be kept for another run."""

    directory: Path
    wheels: Path

    def prepare(self) -> None:
        """Fetch the libraries' wheels where they are missing, and build our own of this tree."""
        collect_wheels(Source(ROOT), self.wheels, [PYTHON], platform.machine(), print)

    def base(self, into: Path) -> Path:
        """Install this tree's agent as the installer does; gives its command."""
        bundle = self.bundle("0.0.0", 0, sound)[0]
        with zipfile.ZipFile(bundle) as archive:
            (self.directory / "agent.txt").write_bytes(archive.read("lock/agent.txt"))
        _run(sys.executable, "-m", "venv", str(into))
        links = ("--find-links", str(self.directory / "made" / "0.0.0"))
        _run(
            str(into / "bin/pip"), "--isolated", "install", "-q", "--no-index", "--no-deps", *links,
            "--require-hashes", "-r", str(self.directory / "agent.txt"),
        )  # fmt: skip
        return into / "bin/jharnet-monitor"

    def bundle(self, version: str, serial: int, broken: Broken) -> tuple[Path, str]:
        """A bundle whose agent has this version, and the fingerprint of its key."""
        place = self.directory / "made" / version
        place.mkdir(parents=True)
        for wheel in self.wheels.glob("*.whl"):
            if not wheel.match(OWN):
                (place / wheel.name).hardlink_to(wheel)
        rename(next(self.wheels.glob(OWN)), place, version, broken)
        out = self.directory / f"{version}.zip"
        found = write_bundle(
            Source(ROOT), sorted(place.glob("*.whl")), self.directory / "release.key", out, None,
            lambda text: None, target=Machines(platform.machine(), [PYTHON]), serial=serial or 1,
        )  # fmt: skip
        return out, found

    def forget(self, version: str) -> None:
        """Delete what a bundle was made from."""
        shutil.rmtree(self.directory / "made" / version, ignore_errors=True)
        (self.directory / f"{version}.zip").unlink(missing_ok=True)


def rename(wheel: Path, into: Path, version: str, broken: Broken) -> None:
    """Write the wheel again with another version, and with its modules changed by `broken`."""
    old = wheel.name.split("-")[1]
    info = f"jharnet_monitor-{old}.dist-info/"
    files: dict[str, bytes] = {}
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            data = archive.read(name)
            if name.endswith(".py") and name.startswith("jharnet_monitor/agent/"):
                data = broken(name, data.decode()).encode()
            if name == "jharnet_monitor/__init__.py":
                data = re.sub(
                    rb'__version__ = "[^"]+"', f'__version__ = "{version}"'.encode(), data
                )
            if name == f"{info}METADATA":
                data = data.replace(
                    f"\nVersion: {old}\n".encode(), f"\nVersion: {version}\n".encode()
                )
            files[name.replace(f"jharnet_monitor-{old}.", f"jharnet_monitor-{version}.")] = data
    record = f"jharnet_monitor-{version}.dist-info/RECORD"
    files.pop(record)
    lines = [f"{name},{_digest(data)},{len(data)}\n" for name, data in files.items()]
    files[record] = ("".join(lines) + f"{record},,\n").encode()
    out = into / f"jharnet_monitor-{version}-py3-none-any.whl"
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def _digest(data: bytes) -> str:
    raw = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
    return "sha256=" + raw.rstrip(b"=").decode()


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, cwd="/", env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})

"""Small signed bundles whose agent's version installs in seconds, for tests of updates."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import sys
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from jharnet_monitor.agent.versions import LastUpdate, Versions
from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config.load import load_config
from jharnet_monitor.handover.bundle import Machines, Source, write_bundle
from jharnet_monitor.hub.daemon import Hub
from tests.faults.installation import Installation
from tests.no_schedule import plan_nothing, zone_at_noon

ROOT = Path(__file__).parents[1]
HERE = Machines(os.uname().machine, [f"{sys.version_info.major}.{sys.version_info.minor}"])

PATIENCE = 240.0
"""Seconds for an environment and pip, behind all other work on a busy machine; mostly 10."""


@asynccontextmanager
async def hub_at(
    directory: Path, offices: int = 2, **updates: Any
) -> AsyncIterator[tuple[Installation, Hub]]:
    """A hub that lets agents fetch at any time, with some settings of `updates` of the test's. It
    plans no probe, whose bytes would count with those of the update."""
    settings = {"hours": "always", "soak": "1s", "trial": "20s", "share": "100%", **updates}
    one = Installation(directory, "sqlite:///monitor.db", offices, updates=settings)
    data = yaml.safe_load(one.file.read_text("utf-8"))
    plan_nothing(data, zone_at_noon())
    one.file.write_text(yaml.safe_dump(data), "utf-8")
    hub = Hub(one.file, load_config(one.file), SystemClock())
    at_work = asyncio.create_task(hub.run())
    try:
        async with asyncio.timeout(PATIENCE):
            while not hub.opening.opened or hub.live.hub.started_at is None:  # it listens then
                await asyncio.sleep(0.05)
        yield one, hub
    finally:
        hub.stop()
        await at_work


def small_wheel(directory: Path, version: str, program: str, padding: int = 0) -> Path:
    """A wheel of our name with one module and the command, and some bytes that do not compress."""
    info = f"jharnet_monitor-{version}.dist-info"
    files = {
        "jharnet_monitor/__init__.py": f'__version__ = "{version}"\n'.encode(),
        "jharnet_monitor/small.py": program.encode(),
        "jharnet_monitor/padding.bin": os.urandom(padding),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: jharnet-monitor\n"
        f"Version: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": b"[console_scripts]\n"
        b"jharnet-monitor = jharnet_monitor.small:main\n",
    }
    record = "".join(f"{name},{_digest(data)},{len(data)}\n" for name, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"jharnet_monitor-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def _digest(data: bytes) -> str:
    raw = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
    return "sha256=" + raw.rstrip(b"=").decode()


def small_bundle(
    directory: Path, version: str, serial: int, program: str = "def main(): pass\n",
    padding: int = 0, key: Path | None = None, machine: str = HERE.machine,
) -> tuple[Path, str]:  # fmt: skip
    """A bundle with such a wheel alone, and the fingerprint of its key."""
    wheels = directory / f"wheels-{serial}"
    wheel = small_wheel(wheels, version, program, padding)
    out = directory / f"bundle-{serial}.zip"
    found = write_bundle(
        Source(ROOT), [wheel], key or directory / "release.key", out, None, lambda text: None,
        target=replace(HERE, machine=machine), serial=serial,
    )  # fmt: skip
    return out, found


def begin_trial(versions: Versions, name: str = "7.1.0-5", seconds: float = 20.0) -> LastUpdate:
    """The record of this version's trial, which has just begun."""
    versions.begin_trial("7.1.0", 5, name, seconds, "offer")
    last = versions.last()
    assert last is not None
    return last

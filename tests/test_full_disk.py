"""Commands that write files on a disk without room."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.test_exit_codes import CONFIG

ROOT = Path(__file__).parents[1]


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own without room; needs root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "jhn-full", disk], check=True)
    try:
        with suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.root
@pytest.mark.parametrize(
    "arguments",
    [
        ["db", "backup", "disk/copy.db"],
        ["standby", "backup", "disk"],
        ["report", "--week", "2026-W47", "--format", "html", "--out", "disk"],
        ["tls", "init", "disk/tls"],
        ["demo", "--history", "12w", "--out", "disk/demo"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_full_disk_is_temporary(tmp_path: Path, full_disk: Path, arguments: list[str]) -> None:
    """Room can be made, and then the same command writes its file."""
    file = tmp_path / "jharnet.yaml"
    database = f"sqlite:///{tmp_path}/monitor.db"
    file.write_text(CONFIG.format(listen="127.0.0.1:1", database=database), "utf-8")
    own = [] if arguments[0] in ("demo", "tls") else ["--config", str(file)]

    def run(*given: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "jharnet_monitor", *given, *own]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=110, check=False, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    if own:
        assert run("db", "migrate").returncode == 0
    done = run(*arguments)
    assert done.returncode == 1, done.stderr
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith(f"error: {arguments[-1]}") or f"{full_disk}/" in message, message
    assert "No space left on device" in message or "disk is full" in message
    assert "Traceback" not in done.stderr and done.stderr.count("error: ") == 1
    left = [path.name for path in full_disk.rglob("*") if path.is_file() and path.stat().st_size]
    assert left == ["filler"]

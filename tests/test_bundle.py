"""The offline bundle: what it holds, and that the installer refuses every change of it.

That a bundle of all wheels installs without a network is shown by `tests/bench/bundle.py`.
"""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from jharnet_monitor.errors import UserError
from jharnet_monitor.handover.bundle import (
    KEY,
    SIGNATURE,
    SUMS,
    Machines,
    Source,
    pack,
    signing_key,
    write_bundle,
)

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An unpacked bundle with two small wheels, and its fingerprint."""
    place = tmp_path_factory.mktemp("bundle")
    wheels = place / "wheels"
    wheels.mkdir()
    for name in ("jharnet_monitor-0.1.0", "typer-0.29.2", "jinja2-3.1.6"):
        (wheels / f"{name}-py3-none-any.whl").write_bytes(name.encode())
    out = place / "bundle.zip"
    print_ = write_bundle(
        Source(ROOT),
        sorted(wheels.glob("*.whl")),
        place / "key",
        out,
        None,
        lambda text: None,
        target=Machines("x86_64"),
        serial=1,
    )
    with zipfile.ZipFile(out) as archive:
        archive.extractall(place / "unpacked")
    return place / "unpacked", print_


def check(directory: Path, fingerprint: str) -> subprocess.CompletedProcess[str]:
    """The installer's check of a bundle."""
    return subprocess.run(
        ["/bin/sh", "install.sh", "check", "--fingerprint", fingerprint],
        cwd=directory, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_bundle_is_whole(bundle: tuple[Path, str]) -> None:
    """The installer accepts it; the agent's lock file lacks what only the hub needs."""
    directory, fingerprint = bundle
    done = check(directory, fingerprint)
    assert (done.returncode, done.stdout) == (0, "the bundle is whole and signed\n"), done.stderr
    agent, hub = ((directory / "lock" / f"{n}.txt").read_text() for n in ("agent", "hub"))
    assert "jharnet-monitor==0.1.0" in agent and "typer==" in agent and "jinja2" not in agent
    assert "jinja2==" in hub and "--hash=sha256:" in hub


def append(name: str) -> Callable[[Path], object]:
    """A change of one file."""
    return lambda place: (place / name).write_bytes((place / name).read_bytes() + b"\n")


def elsewhere(file: Path) -> None:
    """Put a link in the place of a file: what it leads to could change after the check."""
    file.symlink_to(file.rename(file.parents[1] / file.name))


@pytest.mark.parametrize(
    "change",
    [
        append("wheels/typer-0.29.2-py3-none-any.whl"),
        append("lock/agent.txt"),
        append("README.txt"),
        append(KEY),
        append(SUMS),
        lambda place: (place / SIGNATURE).write_bytes(bytes(64)),
        lambda place: (place / SIGNATURE).unlink(),
        lambda place: (place / "uninstall.sh").unlink(),
        lambda place: (place / "wheels" / "evil-1-py3-none-any.whl").write_bytes(b"x"),
        lambda place: (place / "systemd" / ".hidden").write_bytes(b"x"),
        lambda place: (place / "venv.py").write_bytes(b"x"),
        lambda place: (place / "venv.py").symlink_to(place / "README.txt"),
        lambda place: (place / "venv").symlink_to(place / "config"),
        lambda place: (place / "venv.py").symlink_to("nowhere"),
        lambda place: elsewhere(place / "README.txt"),
    ],
)
def test_a_changed_bundle_is_refused(
    bundle: tuple[Path, str], tmp_path: Path, change: Callable[[Path], object]
) -> None:
    """Each change, addition or removal gives one line and exit code 1."""
    shutil.copytree(bundle[0], tmp_path / "b")
    change(tmp_path / "b")
    done = check(tmp_path / "b", bundle[1])
    assert done.returncode == 1 and "error: " in done.stderr


def test_a_bundle_signed_by_another_is_refused(bundle: tuple[Path, str], tmp_path: Path) -> None:
    """Somebody who makes a whole new bundle has another key, and so another fingerprint."""
    out = tmp_path / "evil.zip"
    write_bundle(
        Source(ROOT),
        sorted((bundle[0] / "wheels").glob("*.whl")),
        tmp_path / "key",
        out,
        None,
        lambda text: None,
        target=Machines("x86_64"),
        serial=1,
    )
    with zipfile.ZipFile(out) as archive:
        archive.extractall(tmp_path / "evil")
    done = check(tmp_path / "evil", bundle[1])
    assert done.returncode == 1 and "another key" in done.stderr


def test_wrong_usage_gets_one_line(bundle: tuple[Path, str], tmp_path: Path) -> None:
    """A missing installer, a missing key, and a directory that is no checkout."""
    done = subprocess.run(
        ["/bin/sh", "install.sh", "all"], cwd=bundle[0], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stderr.startswith("error: say hub, agent or check")
    key = tmp_path / "key"
    key.write_text("nothing")
    key.chmod(0o600)
    with pytest.raises(UserError, match="no private key"):
        signing_key(key)
    with pytest.raises(UserError, match="holds no wheel"):
        pack(
            Source(ROOT),
            tmp_path,
            tmp_path / "k",
            tmp_path / "o",
            None,
            lambda text: None,
            target=Machines("x86_64"),
            serial=1,
        )
    with pytest.raises(UserError, match="checkout"):
        Source(tmp_path).file("requirements.lock")

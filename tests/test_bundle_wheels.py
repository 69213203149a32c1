"""A bundle is signed only with wheels that the lock files name, and our own built from its source.

The checkout here is small, and builds its own wheel with a build backend of its own, so that pip
needs no network.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jharnet_monitor.cli import app
from jharnet_monitor.errors import UserError
from jharnet_monitor.handover import bundle as bundle_module
from jharnet_monitor.handover.bundle import (
    Machines,
    Source,
    collect_wheels,
    complete_wheels,
    pack,
)
from jharnet_monitor.handover.lock_files import for_machine, lock_entries
from jharnet_monitor.handover.release import MANIFEST
from jharnet_monitor.security.tokens import write_secret
from tests.test_bundle import ROOT
from tests.zip_support import compressed_by, set_header_fields

TARGET = Machines("x86_64", ["3.11", "3.12"])
OWN = "jharnet_monitor-1.0-py3-none-any.whl"
TYPER = "typer-0.29.2-py3-none-any.whl"
SPEEDTEST = "speedtest_cli-2.1.3-py3-none-any.whl"
AV = {python: f"av-1-cp3{python}-cp3{python}-manylinux2014_x86_64.whl" for python in (11, 12)}
PYPROJECT = """[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "jharnet-monitor"
version = "1.0"
"""
BACKEND = f"""
import pathlib, zipfile
def build_wheel(into, config_settings=None, metadata_directory=None):
    info = "jharnet_monitor-1.0.dist-info"
    with zipfile.ZipFile(pathlib.Path(into, "{OWN}"), "w") as archive:
        for path in sorted(pathlib.Path("jharnet_monitor").glob("*.py")):
            archive.write(path)
        archive.write("config/agent.yaml",
                      "jharnet_monitor-1.0.data/data/share/jharnet-monitor/config/agent.yaml")
        archive.writestr(f"{{info}}/METADATA", "Metadata-Version: 2.1\\nName: jharnet-monitor\\n"
                                               "Version: 1.0\\n")
        archive.writestr(f"{{info}}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\n"
                                            "Tag: py3-none-any\\n")
        archive.writestr(f"{{info}}/RECORD", "")
    return "{OWN}"
"""


def _hash(data: bytes) -> str:
    return f" \\\n    --hash=sha256:{sha256(data).hexdigest()}"


class Checkout:
    """A small checkout, and a directory with every wheel that its bundle needs."""

    def __init__(self, place: Path) -> None:
        self.directory, self.wheels = place / "checkout", place / "wheels"
        self.source, self._place = Source(self.directory), place
        shutil.copytree(ROOT / "config", self.directory / "config")
        (self.directory / "jharnet_monitor").mkdir()
        self.wheels.mkdir()
        (self.directory / "pyproject.toml").write_text(PYPROJECT)
        (self.directory / "backend.py").write_text(BACKEND)
        for name in ("__init__", "agent"):
            (self.directory / "jharnet_monitor" / f"{name}.py").write_text(f"# {name}\n")
        for name in (TYPER, SPEEDTEST, *AV.values()):
            (self.wheels / name).write_bytes(name.encode())
        av = "".join(_hash(name.encode()) for name in AV.values())
        lock = (
            f"av==1{av}\n    # via aiortc\n"
            f"colorama==1 ; sys_platform == 'win32'{_hash(b'windows')}\n"
            f"speedtest-cli==2.1.3{_hash(b'the source')}\n"
            f"typer==0.29.2{_hash(TYPER.encode())}\n"
        )
        for name in ("requirements.lock", "config/agent.lock"):
            (self.directory / name).write_text(lock)
        self.collect()

    def collect(self) -> list[str]:
        """Complete the wheels; gives what was reported."""
        reports: list[str] = []
        collect_wheels(self.source, self.wheels, TARGET.pythons, TARGET.machine, reports.append)
        return reports

    def pack(self) -> Path:
        """The bundle of the wheels as they are."""
        out = self._place / "bundle.zip"
        pack(
            self.source, self.wheels, self._place / "key", out, None, lambda text: None,
            target=TARGET, serial=1,
        )  # fmt: skip
        return out


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A small checkout with complete wheels."""
    return Checkout(tmp_path)


def test_a_complete_set_is_packed_without_anything_else(checkout: Checkout) -> None:
    """Wheels that no lock file names stay outside, as those of an older lock file do; what only
    Windows needs is not asked for."""
    for name in ("typer-0.29.1-py3-none-any.whl", "evil-1-py3-none-any.whl",
                 "jharnet_monitor-0.9-py3-none-any.whl"):  # fmt: skip
        (checkout.wheels / name).write_bytes(b"x")
    with zipfile.ZipFile(checkout.pack()) as archive:
        names = {n.removeprefix("wheels/") for n in archive.namelist() if n.startswith("wheels/")}
        assert names == {OWN, TYPER, SPEEDTEST, *AV.values()}
        assert b'"version": "1.0"' in archive.read(MANIFEST)
        assert b"0.29.1" not in archive.read("lock/hub.txt")


def _with_file(name: str, data: bytes) -> Callable[[Checkout], object]:
    def add(one: Checkout) -> None:
        with zipfile.ZipFile(one.wheels / OWN, "a") as archive:
            archive.writestr(name, data)

    return add


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda one: (one.wheels / AV[12]).unlink(), r"no wheel of av 1 for Python 3\.12"),
        (lambda one: (one.wheels / TYPER).write_bytes(b"x"), r"typer-0\.29\.2.*delete it"),
        (lambda one: (one.wheels / SPEEDTEST).unlink(), r"no wheel of speedtest-cli 2\.1\.3"),
        (lambda one: (one.wheels / OWN).unlink(), r"no wheel of jharnet-monitor 1\.0"),
        (lambda one: (one.wheels / OWN).write_bytes(b"x"), "the file is damaged"),
        (lambda one: set_header_fields(one.wheels / OWN, compressed_by(97)), "the file is damaged"),
        (lambda one: set_header_fields(one.wheels / OWN, compressed_by(12)), "the file is damaged"),
        (lambda one: (one.directory / "jharnet_monitor/agent.py").write_text("# later\n"),
         r"agent\.py differs"),
        (lambda one: (one.directory / "jharnet_monitor/hub.py").write_text(""),
         r"hub\.py is missing"),
        (lambda one: (one.directory / "jharnet_monitor/agent.py").unlink(), r"agent\.py differs"),
        (lambda one: (one.directory / "config/agent.yaml").write_text("later: 1\n"),
         r"agent\.yaml differs"),
        (_with_file("evil.pth", b"import os"), r"evil\.pth is not part of it"),
        (lambda one: (one.directory / "pyproject.toml").write_text(
            PYPROJECT.replace("1.0", "1.1")), r"no wheel of jharnet-monitor 1\.1"),
    ],
)  # fmt: skip
def test_other_wheels_are_not_signed(
    checkout: Checkout, change: Callable[[Checkout], object], why: str
) -> None:
    """Incomplete, stale or changed wheels get one line that names the file or project."""
    change(checkout)
    with pytest.raises(UserError, match=why) as refused:
        checkout.pack()
    assert "\n" not in str(refused.value)
    assert not (checkout.wheels.parent / "bundle.zip").exists()


def test_only_one_version_of_a_library_is_packed(checkout: Checkout) -> None:
    """A lock file may name another version for later Pythons; pip could not install both."""
    later = "av-2-cp312-cp312-manylinux_2_28_x86_64.whl"
    (checkout.wheels / later).write_bytes(b"later")
    lock = checkout.directory / "requirements.lock"
    lock.write_text(f"{lock.read_text()}av==2 ; python_version > '3.11'{_hash(b'later')}\n")
    with pytest.raises(UserError, match=r"holds both av-1-.* and av-2-.* delete one"):
        checkout.pack()


def test_libraries_are_those_of_the_machines(checkout: Checkout) -> None:
    """Whatever Python makes the bundle, versions are chosen for the Python that will run them."""
    lock = (ROOT / "requirements.lock").read_text()
    older, later = (for_machine(lock, python, "x86_64") for python in ("3.11", "3.13"))
    assert "colorama" in lock and "colorama" not in older + later
    assert not any(";" in text for text in (older, later))
    for text in (older, later):
        names = [entry.name for entry in lock_entries(text)]
        assert len(set(names)) == len(names) > 60
    assert older != later


def test_complete_wheels_are_used_again_without_a_network(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is fetched or built; our own wheel is built again when the source has changed."""
    with monkeypatch.context() as offline:
        offline.setattr(bundle_module, "_pip", None)
        assert checkout.collect() == []
    (checkout.directory / "jharnet_monitor/agent.py").write_text("# later\n")
    old = checkout.wheels / "jharnet_monitor-0.9-py3-none-any.whl"
    old.write_bytes(b"x")
    assert checkout.collect() == ["building jharnet-monitor"]
    assert not old.exists()
    assert checkout.wheels / OWN in complete_wheels(checkout.source, checkout.wheels, TARGET)
    checkout.pack()


def test_what_cannot_be_fetched_is_named(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line says which wheel was needed, and what pip answered."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    (checkout.wheels / AV[11]).unlink()
    before = sorted(checkout.wheels.iterdir())
    with pytest.raises(UserError, match=r"no wheel of av 1 for Python 3\.11 .*; pip wheel failed"):
        checkout.collect()
    assert sorted(checkout.wheels.iterdir()) == before


def _error(checkout: Checkout, **options: object) -> str:
    """Make this checkout's bundle with these options in place of the usual ones; gives the error,
    or nothing."""
    usual = {
        "source": checkout.directory, "wheels": checkout.wheels,
        "key": checkout.directory.parent / "key", "python": ",".join(TARGET.pythons),
        "machine": TARGET.machine,
    }  # fmt: skip
    argv = [str(x) for name, value in (usual | options).items() for x in (f"--{name}", value)]
    done = CliRunner().invoke(app, ["bundle", *argv])
    assert done.exit_code == 0 or isinstance(done.exception, UserError), done.exception
    return str(done.exception or "")


def test_the_serial_can_be_given(checkout: Checkout, tmp_path: Path) -> None:
    """For a release after one that was made with a wrong clock."""
    out = tmp_path / "given.zip"
    assert _error(checkout, out=out, serial=4102444800) == ""
    with zipfile.ZipFile(out) as archive:
        assert b'"serial": 4102444800' in archive.read(MANIFEST)


def test_a_wrong_key_is_found_before_wheels_are_fetched(checkout: Checkout, tmp_path: Path) -> None:
    """Although a wheel is missing, the line names the key."""
    (checkout.wheels / AV[11]).unlink()
    key = tmp_path / "key"
    write_secret(key, "nothing")
    assert "no private key in PEM form" in _error(checkout, key=key)


def test_the_versions_of_python_can_be_separated_by_a_blank(
    checkout: Checkout, tmp_path: Path
) -> None:
    """The release names them without it, as agents look for them."""
    out = tmp_path / "given.zip"
    assert _error(checkout, out=out, python="3.11, 3.12") == ""
    with zipfile.ZipFile(out) as archive:
        assert list(json.loads(archive.read(MANIFEST))["pythons"]) == ["3.11", "3.12"]


@pytest.mark.parametrize("text", ["3", "3.11,", "312", "3.x", "3.12.1", "", "2.7"])
def test_a_wrong_version_of_python_is_named(checkout: Checkout, tmp_path: Path, text: str) -> None:
    """Before any wheel is looked for."""
    error = _error(checkout, out=tmp_path / "given.zip", python=text)
    assert error == f"--python {text}: must be versions such as 3.11,3.12,3.13"


def test_a_directory_is_no_bundle(checkout: Checkout, tmp_path: Path) -> None:
    """It is refused before wheels are collected, and nothing is put into it."""
    (tmp_path / "out").mkdir()
    error = _error(checkout, out=tmp_path / "out", wheels=tmp_path / "none")
    assert "is a directory" in error
    assert not (tmp_path / "none").exists() and not list((tmp_path / "out").iterdir())

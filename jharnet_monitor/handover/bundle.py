"""Makes the offline bundle: one ZIP with wheels, lock files, units and an installer, signed.

The bundle's list of checksums is signed (Ed25519, RFC 8032). The installer checks the key against a
fingerprint that is delivered separately, then the signature, then every file.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from jharnet_monitor.errors import UserError, file_error
from jharnet_monitor.handover import release
from jharnet_monitor.handover.lock_files import (
    WITHOUT_WHEEL,
    for_machine,
    lock_entries,
    only,
    wheel_project,
    wheel_version,
    without,
)
from jharnet_monitor.handover.release import Release, Wheel, fingerprint
from jharnet_monitor.handover.wheel_check import OWN, WheelDirectory
from jharnet_monitor.handover.wheel_choice import platforms, wheels_for
from jharnet_monitor.security.tokens import read_bytes_private, write_secret

PYTHONS = ("3.11", "3.12", "3.13")
"""The default versions of Python for which the bundle has wheels."""
SUMS, SIGNATURE, KEY = "SHA256SUMS", "SHA256SUMS.sig", "bundle.pub"
LOCKS = {"hub": "requirements.lock", "agent": "config/agent.lock"}

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Source:
    """The checkout from which the bundle is made."""

    directory: Path

    def file(self, name: str) -> Path:
        """A file of the checkout; raises `UserError` if it does not exist."""
        path = self.directory / name
        if not path.is_file():
            raise UserError(f"{path}: there is no such file; run this in a checkout of {OWN}")
        return path


@dataclass(frozen=True, slots=True)
class Machines:
    """The machines for which a bundle is made: their processor and versions of Python."""

    machine: str
    pythons: Sequence[str] = PYTHONS


def collect_wheels(
    source: Source, into: Path, pythons: Sequence[str], machine: str, report: Report
) -> None:
    """Complete a directory of wheels for these Pythons: every locked library, and our own wheel.

    Needs the package index for what is missing. Raises `UserError` with pip's last line.
    """
    source.file("pyproject.toml")
    into.mkdir(parents=True, exist_ok=True)
    target = Machines(machine, pythons)
    try:
        for role in LOCKS:
            library_wheels(source, into, role, target)
    except UserError as incomplete:
        try:
            _fetch_libraries(source, into, target, report)
        except UserError as error:
            raise UserError(f"{incomplete}; {error}") from None
    found = WheelDirectory(into, source.directory)
    try:
        found.own()
    except UserError:
        report(f"building {OWN}")
        with tempfile.TemporaryDirectory(dir=into) as scratch:
            _pip("wheel", "--no-deps", "-w", scratch, str(source.directory))
            for old in found.own_wheels():
                old.unlink()
            for made in Path(scratch).glob("*.whl"):
                made.rename(into / made.name)


def _fetch_libraries(source: Source, into: Path, target: Machines, report: Report) -> None:
    """Fetch the libraries; pip keeps files that are there and have the right hash."""
    lock = source.file(LOCKS["hub"]).read_text("utf-8")
    # A bundle holds one version of each library: the one for the oldest Python fits the others too.
    oldest = min(target.pythons, key=lambda python: [int(part) for part in python.split(".")])
    needed = for_machine(lock, oldest, target.machine)
    options = [part for platform in platforms(target.machine) for part in ("--platform", platform)]
    with tempfile.TemporaryDirectory() as scratch:
        alone, rest = Path(scratch) / "alone.lock", Path(scratch) / "rest.lock"
        alone.write_text(only(needed, WITHOUT_WHEEL), encoding="utf-8")
        rest.write_text(without(needed, WITHOUT_WHEEL), encoding="utf-8")
        report(f"building a wheel of {', '.join(WITHOUT_WHEEL)}")
        _pip("wheel", "--no-deps", "--require-hashes", "-w", str(into), "-r", str(alone))
        for python in target.pythons:
            report(f"fetching wheels for Python {python}")
            _pip(
                "download", "--only-binary", ":all:", "--no-deps", "--require-hashes", *options,
                "--implementation", "cp", "--python-version", python, "-d", str(into),
                "-r", str(rest),
            )  # fmt: skip


def library_wheels(
    source: Source, wheels: Path, role: str, target: Machines
) -> dict[str, list[Path]]:
    """For each version of Python, the libraries' wheels that a role of `LOCKS` needs.

    Raises `UserError` if one is missing or is not the locked file.
    """
    lock = source.file(LOCKS[role]).read_text("utf-8")
    found = WheelDirectory(wheels, source.directory)
    return {python: found.locked(lock, python, target.machine) for python in target.pythons}


def complete_wheels(
    source: Source, wheels: Path, target: Machines, roles: Sequence[str] = tuple(LOCKS)
) -> list[Path]:
    """The wheels that these roles need, ours among them, and no others of the directory.

    Raises `UserError` unless they are complete, locked, and built from this source.
    """
    chosen = {WheelDirectory(wheels, source.directory).own()}
    for role in roles:
        chosen.update(*library_wheels(source, wheels, role, target).values())
    versions: dict[str, Path] = {}
    for wheel in sorted(chosen):
        other = versions.setdefault(wheel_project(wheel.name), wheel)
        if wheel_version(other.name) != wheel_version(wheel.name):
            raise UserError(
                f"{wheels}: holds both {other.name} and {wheel.name}, and a bundle can hold only "
                "one version; delete one of them"
            )
    return sorted(chosen)


def pack(
    source: Source,
    wheels: Path,
    key_file: Path,
    out: Path,
    ca: Path | None,
    report: Report,
    *,
    target: Machines,
    serial: int,
) -> str:
    """Write the bundle of a directory's wheels; returns the fingerprint for `install.sh`.

    Raises `UserError` unless the wheels are complete and belong to this source.
    """
    found = complete_wheels(source, wheels, target)
    return write_bundle(source, found, key_file, out, ca, report, target=target, serial=serial)


def write_bundle(
    source: Source,
    wheels: Sequence[Path],
    key_file: Path,
    out: Path,
    ca: Path | None,
    report: Report,
    *,
    target: Machines,
    serial: int,
) -> str:
    """Sign these wheels as they are, and write the bundle; `pack` checks them before.

    The key in `key_file` is made if it does not exist. `serial` is that of the agent's release.
    """
    key = signing_key(key_file)
    content: dict[str, bytes] = {}
    for wheel in wheels:
        content[f"wheels/{wheel.name}"] = wheel.read_bytes()
    for role in LOCKS:
        content[f"lock/{role}.txt"] = lock_of(wheels, projects_of(source, role)).encode()
    for path in sorted((source.directory / "config" / "systemd").iterdir()):
        content[f"systemd/{path.name}"] = path.read_bytes()
    for name in ("jharnet.yaml", "agent.yaml", "jharnet.schema.json"):
        content[f"config/{name}"] = source.file(f"config/{name}").read_bytes()
    for name in ("install.sh", "uninstall.sh", "README.txt"):
        content[name] = files("jharnet_monitor.handover").joinpath(name).read_bytes()
    if ca is not None:
        content["ca.pem"] = ca.read_bytes()
    manifest = _release(wheels, source, target, serial).to_bytes()
    content |= {release.MANIFEST: manifest, release.SIGNATURE: key.sign(manifest)}
    public = key.public_key().public_bytes(
        Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    content[KEY] = public
    sums = _sums(content)
    content |= {SUMS: sums, SIGNATURE: key.sign(sums)}
    report(f"writing {out}")
    _write_zip(out, content)
    return fingerprint(public)


def signing_key(path: Path) -> Ed25519PrivateKey:
    """Read the key from a file that only its owner can read; creates the file if necessary."""
    if not path.exists():
        made = Ed25519PrivateKey.generate()
        text = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        write_secret(path, text)
    try:
        key = serialization.load_pem_private_key(read_bytes_private(path), None)
    except (ValueError, TypeError):
        raise UserError(f"{path}: is no private key in PEM form without a passphrase") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError(f"{path}: must be an Ed25519 key")
    return key


def _release(wheels: Sequence[Path], source: Source, target: Machines, serial: int) -> Release:
    """The agent's release in this bundle."""
    projects = projects_of(source, "agent")
    names = [wheel.name for wheel in wheels]
    pythons = {
        python: tuple(wheels_for(python, target.machine, names, projects))
        for python in target.pythons
    }
    needed = {name for chosen in pythons.values() for name in chosen}
    described = {
        wheel.name: Wheel(wheel.stat().st_size, release.sha256(wheel.read_bytes()))
        for wheel in wheels
        if wheel.name in needed
    }
    version = next(
        wheel_version(wheel.name) for wheel in wheels if wheel_project(wheel.name) == OWN
    )
    return Release(version, serial, target.machine, described, pythons)


def _pip(*arguments: str) -> None:
    argv = [sys.executable, "-P", "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)  # noqa: S603 - pip
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise UserError(f"pip {arguments[0]} failed: {lines[-1] if lines else 'no message'}")


def projects_of(source: Source, role: str) -> set[str]:
    """The projects that a role of `LOCKS` needs, ours among them, by normalized name."""
    lock = source.file(LOCKS[role]).read_text("utf-8")
    return {*(entry.name for entry in lock_entries(lock)), OWN}


def lock_of(wheels: Sequence[Path], names: set[str]) -> str:
    """A lock file with the hashes of these wheels."""
    hashes: dict[str, list[str]] = {}
    for wheel in wheels:
        name, version = wheel_project(wheel.name), wheel_version(wheel.name)
        if name in names:
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            hashes.setdefault(f"{name}=={version}", []).append(f"--hash=sha256:{digest}")
    return "".join(
        f"{pin} \\\n    " + " \\\n    ".join(known) + "\n" for pin, known in sorted(hashes.items())
    )


def _sums(content: Mapping[str, bytes]) -> bytes:
    """The list that `sha256sum --check` reads."""
    lines = (f"{hashlib.sha256(content[name]).hexdigest()}  {name}\n" for name in sorted(content))
    return "".join(lines).encode()


def _write_zip(out: Path, content: Mapping[str, bytes]) -> None:
    temporary = out.with_name(f".{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(
            temporary, "w", zipfile.ZIP_STORED
        ) as archive:  # wheels are compressed
            for name, data in content.items():
                archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
        temporary.replace(out)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise file_error(f"{out}: cannot be written", error) from None

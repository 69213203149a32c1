"""The offline bundle: what it holds, and that the installer refuses every change of it.

That a bundle of all wheels installs without a network is shown by `tests/bench/bundle.py`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import jinja2
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
)

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


def _commands_that_check() -> dict[str, str]:
    """What the help and the bundle's README give to run in the bundle's folder, by its place."""
    place = files("jharnet_monitor")
    every = {
        name: re.findall(
            r"(?ms)^ *fingerprint=XXXX.*?sh install\.sh hub [^\n]*",
            place.joinpath(name).read_text("utf-8"),
        )
        for name in ("help/install.md", "handover/README.txt")
    }
    return {f"{name} {n}": text for name, found in every.items() for n, text in enumerate(found)}


def _reinstalled(place: Path) -> None:
    """Change the installer as somebody would who wants it to run: it finds itself whole."""
    (place / "install.sh").write_text("echo 'the bundle is whole and signed'\ntouch ran\n")


def _with_sums(place: Path) -> None:
    _reinstalled(place)
    sums = (place / SUMS).read_text().splitlines(keepends=True)
    changed = sha256((place / "install.sh").read_bytes()).hexdigest()
    (place / SUMS).write_text(
        "".join(f"{changed}  install.sh\n" if "  install.sh" in line else line for line in sums)
    )


def _signed_by_another(place: Path) -> None:
    _with_sums(place)
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    sums = (place / SUMS).read_text().splitlines(keepends=True)
    text = "".join(f"{sha256(public).hexdigest()}  {KEY}\n" if f"  {KEY}" in line else line
                   for line in sums)  # fmt: skip
    (place / KEY).write_bytes(public)
    (place / SUMS).write_text(text)
    (place / SIGNATURE).write_bytes(key.sign(text.encode()))


FORGERIES = (_reinstalled, _with_sums, _signed_by_another)


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_changed_installer_is_not_run(
    bundle: tuple[Path, str], tmp_path: Path, forge: Callable[[Path], None]
) -> None:
    """The commands of the help and of the README, in both languages, run it only if it is whole,
    whatever else the forger changed."""
    given = _commands_that_check()
    assert len(given) == 3
    for name, written in given.items():
        commands = re.sub(r"XXXX\S*", bundle[1], written).replace(
            "install.sh hub", "install.sh check"
        )
        place = tmp_path / name.replace("/", "-")
        shutil.copytree(bundle[0], place)
        done = subprocess.run(["/bin/sh", "-c", commands], cwd=place, capture_output=True,
                              text=True, check=False)  # fmt: skip
        whole = [bundle[1], "Signature Verified Successfully", "the bundle is whole and signed"]
        assert (done.returncode, done.stdout.splitlines()) == (0, whole), done.stderr
        forge(place)
        done = subprocess.run(["/bin/sh", "-c", commands], cwd=place, capture_output=True,
                              text=True, check=False)  # fmt: skip
        assert done.returncode != 0 and not (place / "ran").exists(), done.stdout


@pytest.mark.parametrize("forge", [None, *FORGERIES])
def test_the_ansible_role_checks_before_it_installs(
    bundle: tuple[Path, str], tmp_path: Path, forge: Callable[[Path], None] | None
) -> None:
    """With commands of the machine, one of which fails for each forged bundle."""
    role = ROOT / "exporters/ansible/roles/jharnet_hub/tasks/software.yml"
    [block] = [t["block"] for t in yaml.safe_load(role.read_text("utf-8")) if "block" in t]
    at = [next(iter(t.get("ansible.builtin.command", {"": ""}).values()))[:10] for t in block]
    before = block[at.index("sh install") - 3 : at.index("sh install")]
    place = tmp_path / "b"
    shutil.copytree(bundle[0], place)
    if forge:
        forge(place)
    [key] = [task for task in before if "failed_when" in task]
    wrong = jinja2.Environment(autoescape=True).compile_expression(key["failed_when"])
    stat = {"checksum": sha256((place / KEY).read_bytes()).hexdigest()}
    good = [not wrong(jharnet_key={"stat": stat}, jharnet_fingerprint=bundle[1])]
    for task in before:
        if "ansible.builtin.command" in task:
            argv = task["ansible.builtin.command"]["cmd"].split()
            assert argv[0] in ("openssl", "sha256sum")
            done = subprocess.run(argv, cwd=place, capture_output=True, check=False)
            good.append(done.returncode == 0)
    assert len(good) == 3 and all(good) is (forge is None)


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
    """A wrong role, a wrong key, one with a passphrase, and a directory that is no checkout."""
    done = subprocess.run(
        ["/bin/sh", "install.sh", "all"], cwd=bundle[0], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stderr.startswith("error: say hub, agent or check")
    key = tmp_path / "key"
    key.write_text("nothing")
    key.chmod(0o600)
    with pytest.raises(UserError, match="no private key"):
        signing_key(key)
    key.write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
    )
    with pytest.raises(UserError, match="without a passphrase"):
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

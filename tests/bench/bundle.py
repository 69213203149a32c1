"""Installs hub and agent from an offline bundle in a Debian root without a network.

    python tests/bench/bundle.py [--quick] [--json FILE] [--root DIR] [--wheels DIR]

Needs root, debootstrap, and the package index while the bundle is made. `--root` is a Debian root
to use again, `--wheels` a directory of wheels to keep. `--quick` installs the agent only.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jharnet_monitor.handover.bundle import PYTHONS, Machines, Source, collect_wheels, pack
from tests.bench.marks import Row, at_most, finish, parser, within

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = "python3,python3-venv,openssl"


def _run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def _ours(root: Path) -> list[str]:
    """Files of ours in the root, other than the bundle."""
    found = _run("find", str(root), "-xdev", "-iname", "*jharnet*", "-not", "-path", "*/bundle/*")
    return [line for line in found.stdout.splitlines() if line]


def debian_root(root: Path) -> Path:
    """A minimal Debian root with what the installer needs; made if it does not exist."""
    if not (root / "usr").exists():
        packages = f"--include={PACKAGES}"
        argv = ["debootstrap", "--variant=minbase", packages, "stable", str(root)]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return root


def fresh_wheels(wheels: Path) -> Path:
    """Fetch the libraries' wheels where they are missing, and build our own of this tree."""
    collect_wheels(Source(ROOT), wheels, PYTHONS, "x86_64", print)
    return wheels


def _inside(root: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """A command in the root, without a network."""
    clean = ("env", "-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8")
    return _run("unshare", "-n", "chroot", str(root), *clean, *argv)


def main() -> int:
    """Print the table; exit code 0 if every mark is met."""
    options = parser(__doc__)
    options.add_argument("--root", type=Path)
    options.add_argument("--wheels", type=Path)
    given = options.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="jharnet-bundle-") as scratch:
        root = debian_root(given.root or Path(scratch) / "root")
        wheels = fresh_wheels(given.wheels or Path(scratch) / "w")
        out = Path(scratch) / "bundle.zip"
        fingerprint = pack(
            Source(ROOT),
            wheels,
            Path(scratch) / "key",
            out,
            None,
            print,
            target=Machines("x86_64"),
            serial=1,
        )
        rows.append(at_most("size of the bundle", out.stat().st_size / 1e6, 500, "MB"))
        with zipfile.ZipFile(out) as archive:
            archive.extractall(root / "bundle")
        for role in ("agent",) if given.quick else ("agent", "hub"):
            started = time.monotonic()
            done = _inside(root, "sh", "/bundle/install.sh", role, "--fingerprint", fingerprint)
            print(done.stdout, done.stderr)
            rows.append(within(f"{role}: exit code", done.returncode, 0, 0, ""))
            rows.append(at_most(f"{role}: installed in", time.monotonic() - started, 300, "s"))
            works = _inside(
                root, "jharnet-monitor", "agent" if role == "agent" else "run", "--help"
            )
            rows.append(within(f"{role}: program starts", works.returncode, 0, 0, ""))
            share = "/opt/jharnet-monitor/share/jharnet-monitor/uninstall.sh"
            _inside(root, "sh", share, "--purge")
            rows.append(within(f"{role}: files left", len(_ours(root)), 0, 0, ""))
        _run("rm", "-rf", str(root / "bundle"))
    return finish("The offline bundle in a Debian root without a network", rows, given)


if __name__ == "__main__":
    sys.exit(main())

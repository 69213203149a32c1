"""Installs a district from the offline bundle alone: a hub and eleven agents on 2 Mbit/s lines.

    python tests/bench/stick.py [--quick] [--json FILE] [--root DIR] [--wheels DIR]

Every machine is a Debian root of its own in a network namespace of the lab, where nothing but the
district's lines exists. Each has the bundle as a stick would bring it. The script does what the
engineer does: install and configure the hub, make the enrolments, then install and enrol one office
after the other, and measure from all of them. Needs root and debootstrap, and the package index
while the bundle is made. `--root` is a Debian root to use again, `--wheels` a directory of wheels
to keep. `--quick` has two offices. There is no systemd: services are started by their commands.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jharnet_monitor.handover.bundle import Machines, Source, pack
from jharnet_monitor.lab.client import Lab
from jharnet_monitor.lab.layout import HEADQUARTERS
from jharnet_monitor.wire.client import HubClient
from tests.bench.bundle import debian_root, fresh_wheels
from tests.bench.marks import Row, at_most, finish, note, parser, within

ROOT = Path(__file__).resolve().parents[2]
RATE = 2e6
LARGEST_ERROR = 0.05
LINE = {"delay": "15ms", "jitter": "2ms", "rate": "2 Mbit/s", "queue": "300ms"}
UPLINK = {"delay": "1ms", "rate": "34 Mbit/s", "queue": "100ms"}
HUB = "https://10.8.0.2:9797"
KEPT = Path("var/lib/jharnet-monitor")
PROGRAM = "/opt/jharnet-monitor/bin/jharnet-monitor"
AGENT = (
    f"{PROGRAM} agent --config /etc/jharnet-agent/agent.yaml --spool /var/lib/jharnet-agent/spool"
)
CLEAN = ("env", "-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8",
         "HOME=/root", f"JHARNET_CONFIG=/{KEPT}/jharnet.yaml")  # fmt: skip
INSTALL_SECONDS, CONNECT_SECONDS = 1800.0, 180.0
PROBES: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("latency", {"packets": 20}, 11),
    ("bandwidth", {"sustained": "never"}, 11),
    ("conference", {"seconds": 10}, 2),
)
"""Name, options, and how many at a time: the calls of all ends need this machine's processor."""


@dataclass(frozen=True, slots=True)
class Stick:
    """What the engineer carries: the bundle, unpacked and whole; and apart from it the
    fingerprint."""

    directory: Path
    fingerprint: str


class Machine:
    """A computer at headquarters or at an office, with a Debian root of its own."""

    def __init__(self, lab: Lab, where: str, base: Path, stick: Stick, scratch: Path) -> None:
        self._lab, self._where, self._log = lab, where, scratch / f"{where}.log"
        place = scratch / where
        upper, work, self.root = place / "upper", place / "work", place / "root"
        for directory in (upper, work, self.root):
            directory.mkdir(parents=True)
        layers = f"lowerdir={base},upperdir={upper},workdir={work}"
        _must("mount", "-t", "overlay", "overlay", "-o", layers, str(self.root))
        (self.root / "stick").mkdir()
        _must("mount", "--bind", "-o", "ro", str(stick.directory), str(self.root / "stick"))
        _must("mount", "-t", "proc", "proc", str(self.root / "proc"))

    def run(self, command: str) -> str:
        """Run a shell command as root on it; raises `SystemExit` with its output if it fails."""
        try:
            return self._lab.run(self._where, self._argv(command), INSTALL_SECONDS).stdout
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"{self._where}: {command}\n{error.output}\n{error.stderr}") from None

    def start(self, command: str, user: str | None = None) -> subprocess.Popen[Any]:
        """Start a service on it, as its unit does, once the settings of sysctl.d are in force."""
        wanted = (self.root / "etc/sysctl.d/jharnet-ping.conf").read_text("utf-8")
        for name, value in re.findall(r"(?m)^([\w.]+) = (.+)$", wanted):
            with self._lab.inside(self._where):
                Path("/proc/sys", *name.split(".")).write_text(value)
        with self._log.open("ab") as log:
            return self._lab.popen(
                self._where, self._argv(f"exec {command}", user), stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def _argv(self, command: str, user: str | None = None) -> list[str]:
        who = [f"--userspec={user}:{user}"] if user else []
        return ["chroot", *who, str(self.root), *CLEAN, "sh", "-c", f"cd; {command}"]

    def put(self, name: str, text: str) -> None:
        """Write a file on it that keeps its owner and mode, as an editor does."""
        (self.root / name).write_text(text, "utf-8")

    def close(self) -> None:
        """Unmount it."""
        for name in ("proc", "stick", ""):
            _must("umount", "-l", str(self.root / name))


def _must(*argv: str) -> None:
    subprocess.run(argv, check=True)


def _make_stick(wheels: Path, scratch: Path) -> Stick:
    """Make the bundle and unpack it; the whole file is beside it, for `update publish`."""
    stick = scratch / "stick"
    stick.mkdir()
    bundle = stick / "bundle.zip"
    fingerprint = pack(
        Source(ROOT), wheels, scratch / "release.key", bundle, None, print,
        target=Machines("x86_64"), serial=1,
    )  # fmt: skip
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(stick / "bundle")
    return Stick(stick, fingerprint)


class Work:
    """The engineer's day, with the minutes that it takes."""

    def __init__(self, lab: Lab, base: Path, stick: Stick, scratch: Path) -> None:
        self._lab, self._stick = lab, stick
        self._machines = {
            where: Machine(lab, where, base, stick, scratch)
            for where in (HEADQUARTERS, *lab.offices)
        }
        self._services: list[subprocess.Popen[Any]] = []
        self._began = time.monotonic()
        self.rows: list[Row] = []

    def _say(self, what: str) -> None:
        print(f"{(time.monotonic() - self._began) / 60:6.1f} min  {what}", flush=True)

    def _install(self, where: str, *arguments: str) -> None:
        options = shlex.join((*arguments, "--fingerprint", self._stick.fingerprint))
        self._machines[where].run(f"sh /stick/bundle/install.sh {options}")

    def install_hub(self) -> None:
        """Install and configure the hub, publish the bundle for later updates, start it."""
        began, hub = time.monotonic(), self._machines[HEADQUARTERS]
        self._install(HEADQUARTERS, "hub")
        self._say("hub: installed")
        config = f"{KEPT}/jharnet.yaml"
        hub.put(config, _configured((hub.root / config).read_text("utf-8"), self._lab.offices))
        hub.run(f"{PROGRAM} tls init /{KEPT}/tls --ip 10.8.0.2")
        hub.run(f"{PROGRAM} token --api")
        fingerprint = shlex.quote(self._stick.fingerprint)
        hub.run(f"{PROGRAM} update publish /stick/bundle.zip --fingerprint {fingerprint}")
        hub.run(f"{PROGRAM} enrol --all --hub {HUB}")
        hub.run(f"{PROGRAM} check-config")
        self._services.append(hub.start(f"{PROGRAM} run --config /{config}", "jharnet"))
        self._wait("the hub answers", lambda: bool(self._offices()))
        self._say("hub: configured, and it answers")
        self.rows.append(at_most("hub installed, running", time.monotonic() - began, 600, "s"))

    def _api(self) -> HubClient:
        kept = self._machines[HEADQUARTERS].root / KEPT
        return HubClient(HUB, (kept / "secrets/api").read_text().strip(), kept / "tls/hub.pem")

    def _offices(self) -> dict[str, dict[str, Any]]:
        with self._lab.inside(HEADQUARTERS):
            return {one["id"]: one for one in self._api().get("/api/v1/offices")}

    def _wait(self, what: str, check: Callable[[], bool]) -> None:
        until, why = time.monotonic() + CONNECT_SECONDS, "no"
        while time.monotonic() < until:
            if any(service.poll() is not None for service in self._services):
                raise SystemExit(f"{what}: a service ended; see its log")
            try:
                if check():
                    return
            except Exception as error:  # the hub may not answer yet; the last reason is said below
                why = repr(error)
            time.sleep(0.5)
        raise SystemExit(f"after {CONNECT_SECONDS:g} s still not: {what} ({why})")

    def install_agents(self) -> None:
        """Install and enrol one office after the other, and wait until its agent is connected."""
        took, carried = list[float](), list[int]()
        for office in self._lab.offices:
            began, name = time.monotonic(), f"{office}.enrolment"
            line = (self._machines[HEADQUARTERS].root / "root/enrolments" / name).read_text()
            self._machines[office].put(f"root/{name}", line)
            self._install(office, "agent", "--enrolment", f"/root/{name}")
            self._services.append(self._machines[office].start(AGENT))
            self._wait(f"{office} is connected", partial(self._is_connected, office))
            took.append(time.monotonic() - began)
            # Read now: the hub's first tests of an office fill its line a minute later.
            carried.append(self._lab.status()["links"][office]["down"]["bytes_out"])
            self._say(f"{office}: installed, enrolled and connected in {took[-1]:.0f} s")
        self.rows += [
            note("an office installed, enrolled, connected: median", statistics.median(took), "s"),
            at_most("the same, slowest", max(took), 300, "s"),
            at_most("bytes on the busiest line until then", max(carried) / 1e6, 1.0, "MB"),
        ]

    def _is_connected(self, office: str) -> bool:
        return bool(self._offices()[office]["agent"]["connected"])

    def measure(self) -> None:
        """Measure from every office, and compare the speeds with the lines."""
        errors, repeated = list[float](), 0
        offices = self._lab.offices
        for probe, options, at_once in PROBES:
            with ThreadPoolExecutor(at_once) as pool:
                found = list(pool.map(partial(self._probe, probe, options), offices))
            for number, one in enumerate(found):
                if (
                    one["outcome"] == "no_data"
                ):  # an end was not ready, as in an agent's first minute
                    print(f"{one['office']}: {probe}: no_data, {one['cause']}; once more")
                    repeated += 1
                    found[number] = self._probe(probe, options, one["office"])
            good = sum(one["outcome"] == "ok" for one in found)
            for one in found:
                if one["outcome"] != "ok":
                    print(f"{one['office']}: {probe}: {one['outcome']} {one['cause']}")
                if probe == "bandwidth":
                    errors += [_error(one, way) for way in ("download", "upload")]
            self._say(f"{probe}: {good} of {len(offices)} ok")
            self.rows.append(within(f"{probe}: offices ok", good, len(offices), len(offices), ""))
        connected = sum(self._is_connected(office) for office in offices)
        self.rows += [
            at_most("largest error of a speed", 100 * max(errors), 100 * LARGEST_ERROR, "%"),
            note("tests repeated, because an end was not ready", repeated, ""),
            within("agents connected at the end", connected, len(offices), len(offices), ""),
            at_most("all of it", (time.monotonic() - self._began) / 60, 60, "min"),
        ]

    def _probe(self, probe: str, options: dict[str, Any], office: str) -> dict[str, Any]:
        with self._lab.inside(HEADQUARTERS):
            found: dict[str, Any] = self._api().post(
                f"/api/v1/offices/{office}/probes/{probe}", options
            )
        return found

    def close(self) -> None:
        """End the services and unmount the machines."""
        for service in reversed(self._services):
            service.send_signal(signal.SIGTERM)
        for service in self._services:
            try:
                service.wait(20)
            except subprocess.TimeoutExpired:
                service.kill()
                service.wait()
        for machine in self._machines.values():
            machine.close()


def _error(run: dict[str, Any], name: str) -> float:
    """The relative error of a speed; one above the mark is printed with what it says of itself."""
    error: float = abs(run["values"].get(f"{name}_bits_per_second", 0.0) / RATE - 1)
    if error > LARGEST_ERROR:
        found = {k: v for k, v in {**run["values"], **run["conditions"]}.items() if k != "path"}
        print(f"{run['office']}: {name} is {100 * error:.1f} % off: {found}")
    return error


def _configured(shipped: str, offices: Sequence[str]) -> str:
    """The shipped configuration, with the contract changed and only these offices."""
    head, _, rest = shipped.partition("\noffices:\n")
    listed, end, tail = rest.partition("\nreport:\n")
    blocks = re.split(r"\n(?=  - id: )", listed)
    kept = [block for block in blocks if block.split()[2] in offices]
    text = "\n".join(kept).replace("contracted: 4 Mbit/s", "contracted: 2 Mbit/s")
    return f"{head}\noffices:\n{text}{end}{tail}"


@contextlib.contextmanager
def _district(quick: bool) -> Iterator[Lab]:
    """The lab with the offices of the shipped configuration, whose addresses are the lab's."""
    shipped = (ROOT / "config/jharnet.yaml").read_text("utf-8")
    offices = re.findall(r"(?m)^  - id: (\S+)$", shipped)[: 2 if quick else None]
    spec = {
        "uplink": {"down": UPLINK, "up": UPLINK},
        "offices": {office: {"down": LINE, "up": LINE} for office in offices},
    }
    with Lab.start(spec, "jhstick") as lab:
        yield lab


def main() -> int:
    """Print the table; exit code 0 if every mark is met."""
    options = parser(__doc__)
    options.add_argument("--root", type=Path)
    options.add_argument("--wheels", type=Path)
    given = options.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="jharnet-stick-"))
    base = debian_root(given.root or scratch / "base")
    stick = _make_stick(fresh_wheels(given.wheels or scratch / "wheels"), scratch)
    with _district(given.quick) as lab:
        work = Work(lab, base, stick, scratch)
        try:
            work.install_hub()
            work.install_agents()
            work.measure()
        finally:
            work.close()
    _must("rm", "-rf", "--one-file-system", str(scratch))
    return finish("From the bundle to a district that measures", work.rows, given)


if __name__ == "__main__":
    sys.exit(main())

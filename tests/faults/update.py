"""Updates agents over lines of 2 Mbit/s: good, tampered and broken versions, and power cuts.

    python -m tests.faults.update [--quick] [--json FILE] [--wheels DIR]

Real agents, installed from wheels, run at offices of the lab, and a real hub at headquarters. A
version is rolled out to the first office and then to all; one office loses power while it fetches,
and another while it installs. Then follow a version that was changed at the hub, one that crashes,
and one that does not reach the hub. At the end the hub's database must have every measurement that
was ever in an agent's spool. Needs root; wheels come from the package index, or from `--wheels`.
With `--quick` the offices have the libraries already, as the installer copies them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from jharnet_monitor.demo.places import LabPlace
from jharnet_monitor.demo.setup import PORT, Installation, install
from jharnet_monitor.handover.releases import Releases
from jharnet_monitor.lab.layout import HEADQUARTERS
from jharnet_monitor.wire.client import HubClient
from tests.bench.marks import Row, at_most, finish, note, parser, within
from tests.faults.stored import ids_in
from tests.faults.update_releases import Makery, crashes, mute, sound

OFFICES = ("potka", "boram", "dumaria", "patamda")
LINE = {"delay": "15ms", "jitter": "2ms", "rate": "2 Mbit/s", "queue": "300ms"}
BUDGET = 100_000_000
TRIAL_SECONDS = 40
LONG = 3600.0
"""For what fetches or installs: at lowest priority on a busy machine, that takes its time."""


def district() -> dict[str, Any]:
    """Four offices on lines of 2 Mbit/s."""
    uplink = {"delay": "1ms", "rate": "34 Mbit/s", "queue": "100ms"}
    return {
        "uplink": {"contracted": "34 Mbit/s", "truth": {"down": uplink, "up": uplink}},
        "offices": [
            {"id": office, "name": office.title(), "name_hi": office, "contracted": "2 Mbit/s",
             "kind": "radio", "truth": {"down": LINE, "up": LINE}}
            for office in OFFICES
        ],
    }  # fmt: skip


class SpoolWatch(threading.Thread):
    """Records the id of every measurement in any spool, until it is stopped."""

    def __init__(self, spools: list[Path]) -> None:
        super().__init__(daemon=True)
        self._spools = spools
        self._ended = threading.Event()
        self.ids: set[str] = set()

    def run(self) -> None:
        """Look twice a second."""
        while not self._ended.wait(0.5):
            self.look()

    def look(self) -> int:
        """Read all spools once; returns how many measurements wait."""
        waiting = 0
        for spool in self._spools:
            with (
                contextlib.suppress(sqlite3.Error),
                contextlib.closing(
                    sqlite3.connect(f"file:{spool}/spool.db?mode=ro", uri=True)
                ) as db,
            ):
                found = {row[0] for row in db.execute("SELECT id FROM spool")}
                self.ids |= found
                waiting += len(found)
        return waiting

    def stop(self) -> None:
        """Stop the thread."""
        self._ended.set()
        self.join()


class District:
    """Hub and agents in the lab, and the results of the run."""

    def __init__(self, directory: Path, makery: Makery, base: Path) -> None:
        self.makery, self.base = makery, base
        self.place = LabPlace(district(), "jhupd")
        self.files = Installation(directory / "hub", directory / "reports")
        self.files.directory.mkdir()
        install(self.place, district(), self.files, datetime.now(UTC))
        self._configure()
        self.releases = Releases(self.files.directory / "updates")
        self.watch = SpoolWatch([self.files.spool(office) for office in OFFICES])
        self.running: dict[str, subprocess.Popen[Any]] = {}
        self.rows: list[Row] = []

    def _configure(self) -> None:
        config = yaml.safe_load(self.files.config.read_text("utf-8"))
        never = ("trains_every", "internet_every", "headquarters_every")
        config["probes"]["bandwidth"] = {"every": "1d", **dict.fromkeys(never)}
        config["probes"]["conference"] = {"at": []}
        config["probes"]["path"] = {"every": None}
        config["updates"] = {
            "first": [OFFICES[0]], "soak": "3s", "hours": "always", "trial": f"{TRIAL_SECONDS}s",
            "budget": f"{BUDGET / 1e6:g} MB",
        }  # fmt: skip
        self.files.config.write_text(yaml.safe_dump(config, allow_unicode=True), "utf-8")

    def start_hub(self) -> None:
        """Start the hub at headquarters, from this tree."""
        argv = [sys.executable, "-P", "-m", "jharnet_monitor", "run", "--config",
                str(self.files.config)]  # fmt: skip
        self._start(HEADQUARTERS, argv, dict(os.environ))

    def start_agent(self, office: str) -> None:
        """Start the installed agent at an office, with a configuration file."""
        place = self.files.token(office).parent
        lines = {
            "hub": f"wss://{self.place.hub_address}:{PORT}/agent", "office": office,
            "token_file": "token", "ca": str(self.files.ca), "spool": str(self.files.spool(office)),
            "release_key": self.releases.key(),
        }  # fmt: skip
        (place / "agent.yaml").write_text(yaml.safe_dump(lines), "utf-8")
        argv = [str(self.base), "agent", "--config", str(place / "agent.yaml")]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        self._start(office, argv, environment)

    def _start(self, where: str, argv: list[str], env: dict[str, str]) -> None:
        with self.files.log(where).open("ab") as log:
            self.running[where] = self.place.popen(
                where, argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True, env=env,
            )  # fmt: skip

    def updates(self, office: str) -> Path:
        """An office's directory of updates."""
        return self.files.spool(office).with_name("spool-updates")

    def api(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send a request to the hub."""
        client = HubClient(f"https://{self.place.hub_address}:{PORT}",
                           self.files.api_token.read_text().strip(),
                           self.files.directory / "tls/hub.pem")  # fmt: skip
        with self.place.entered(HEADQUARTERS):
            return client.get(path) if body is None else client.post(path, body)

    def status(self, office: str) -> dict[str, Any]:
        """The state of an office's update."""
        every = self.api("/api/v1/updates")["offices"]
        found: dict[str, Any] = next(one for one in every if one["office"] == office)
        return found

    def wait(self, what: str, check: Callable[[], bool], seconds: float = LONG) -> float:
        """Wait until `check` is true; returns the seconds that it took."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            with contextlib.suppress(Exception):  # the hub may not answer yet
                if check():
                    took = time.monotonic() - began
                    print(f"{datetime.now(UTC):%H:%M:%S} {what} ({took:.0f} s)", flush=True)
                    return took
            time.sleep(1.0)
        raise SystemExit(f"after {seconds:g} s still not: {what}; see {self.files.directory}")

    def connected(self) -> bool:
        """Whether every agent is connected."""
        return all(one["agent"]["connected"] for one in self.api("/api/v1/offices"))

    def version(self, office: str) -> str:
        """The version that an office's connected agent reported; empty if none is connected."""
        every = self.api("/api/v1/offices")
        agent = next(one for one in every if one["id"] == office)["agent"]
        return str(agent["version"]) if agent["connected"] else ""

    def sessions(self, office: str) -> int:
        """How often an office's agent has connected so far."""
        return self.files.log(office).read_text("utf-8").count("connected to the hub as")

    def publish(self, version: str, serial: int, broken: Callable[[str, str], str]) -> None:
        """Make and publish a version."""
        bundle, fingerprint = self.makery.bundle(version, serial, broken)
        self.releases.publish(bundle, fingerprint)
        self.makery.forget(version)

    def offer(self, version: str, *offices: str) -> None:
        """Offer a version to these offices, or in stages to all."""
        self.api("/api/v1/updates", {"version": version, "offices": list(offices) or None})

    def cut_power(self, office: str) -> None:
        """Cut an office's power for two seconds, and start the agent again."""
        self.place.lab.cut(office, "power")
        self.running[office].wait()
        time.sleep(2.0)
        self.place.lab.restore(office, "power")
        self.start_agent(office)

    def received(self) -> dict[str, int]:
        """By office: the bytes that its line carried towards it."""
        links = self.place.lab.status()["links"]
        return {office: links[office]["down"]["bytes_out"] for office in OFFICES}

    def close(self) -> None:
        """End all programs."""
        for process in reversed(list(self.running.values())):
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
        self.place.close()


def _cut_both(one: District) -> tuple[int, bool, int]:
    """Cut the power of one office while it fetches and of another while it installs, whichever
    comes first.

    Returns the bytes that the first had fetched, whether the second had installed everything, and
    how often it had been in session.
    """
    part = one.updates(OFFICES[1]) / "wheels"
    half = one.updates(OFFICES[2]) / "versions"
    fetched, installed = list[int](), list[tuple[bool, int]]()

    def are_cut() -> bool:
        if not installed and any(half.glob("*/bin/python*")):
            sessions = one.sessions(OFFICES[2])
            one.cut_power(OFFICES[2])
            installed.append((any(half.glob("*/complete")), sessions))
        if not fetched and any(part.glob("*.part")):
            one.cut_power(OFFICES[1])
            fetched.append(sum(path.stat().st_size for path in part.glob("*.part")))
        return bool(fetched and installed)

    one.wait("boram fetches, dumaria installs", are_cut)
    return fetched[0], *installed[0]


def roll_out(one: District, *, seeded: bool) -> None:
    """Roll a good version out to the first office and then to all, with two power cuts."""
    one.publish("0.2.0", 100, sound)
    one.start_hub()
    one.wait("the hub answers", lambda: bool(one.api("/api/v1/offices")), 60)
    if seeded:
        for office in OFFICES:
            _seed(one, office)
    for office in OFFICES:
        one.start_agent(office)
    one.wait("agents are connected", one.connected, 120)
    before, began = one.received(), time.monotonic()
    one.offer("0.2.0")
    one.wait("the first office is updated", lambda: one.status(OFFICES[0])["state"] == "updated")
    print(f"{OFFICES[0]} updated after {time.monotonic() - began:.0f} s")
    others_waited = one.version(OFFICES[3]) != "0.2.0"
    partial_bytes, complete, sessions = _cut_both(one)
    one.wait("dumaria runs again", lambda: one.sessions(OFFICES[2]) > sessions, 120)
    after_cut = one.version(OFFICES[2])
    one.wait("all are updated", lambda: all(one.status(o)["state"] == "updated" for o in OFFICES))
    minutes, after = (time.monotonic() - began) / 60, one.received()
    spent = [after[office] - before[office] for office in OFFICES]
    one.rows += [
        note("0.2.0 on all four offices, two of them with a power cut", minutes, "min"),
        within("others waited for the first office", others_waited, 1, 1, ""),
        at_most("bytes on the busiest line", max(spent) / 1e6, BUDGET / 1e6, "MB"),
        within("power cut while fetching: bytes kept", partial_bytes, 1, 1e9, "bytes"),
        within("power cut while installing: it was half installed", not complete, 1, 1, ""),
        within("power cut while installing: the old version ran", after_cut != "0.2.0", 1, 1, ""),
        within("versions after it", sum(one.version(o) == "0.2.0" for o in OFFICES), 4, 4, ""),
    ]


def _seed(one: District, office: str) -> None:
    """Copy the libraries' wheels to an office, as the installer does."""
    place = one.updates(office) / "wheels"
    place.mkdir(parents=True)
    for wheel in (one.releases.directory / "0.2.0-100/wheels").glob("*.whl"):
        if not wheel.name.startswith("jharnet"):
            shutil.copyfile(wheel, place / wheel.name)


def refuse_tampered(one: District) -> None:
    """Change a byte at the hub after publication; the agent must refuse the version."""
    one.publish("0.2.1", 101, sound)
    wheel = next((one.releases.directory / "0.2.1-101/wheels").glob("jharnet*"))
    data = bytearray(wheel.read_bytes())
    data[len(data) // 2] ^= 1
    wheel.write_bytes(data)
    one.offer("0.2.1", "patamda")
    one.wait("patamda refuses", lambda: one.status("patamda")["state"] == "refused")
    why = str(one.status("patamda")["why"])
    one.wait("the refusal is told", lambda: bool(one.status("patamda")["why"]), 30)
    print("refused:", one.status("patamda")["why"] or why)
    one.rows.append(
        within("tampered: refused, version kept", one.version("patamda") == "0.2.0", 1, 1, "")
    )


def go_back(one: District, name: str, version: str, serial: int, office: str) -> None:
    """Offer a broken version; the agent must roll back by itself."""
    one.publish(version, serial, crashes if name == "crashes" else mute)
    one.offer(version, office)
    place = one.updates(office) / "versions" / f"{version}-{serial}"
    one.wait(f"{office} installs {version}", place.exists)
    installed = time.monotonic()
    one.wait(f"{office} went back", lambda: one.status(office)["state"] == "rolled_back")
    one.wait(f"{office} is there", lambda: one.version(office) == "0.2.0", 120)
    print(f"{name}: {one.status(office)['why']}")
    one.rows += [
        within(f"{name}: the version before runs", one.version(office) == "0.2.0", 1, 1, ""),
        note(f"{name}: back after", time.monotonic() - installed, "s"),
    ]


def cut_on_trial(one: District) -> None:
    """Cut the power while a good version is on trial."""
    one.publish("0.2.4", 104, sound)
    one.offer("0.2.4", "boram")
    one.wait("boram is on trial", lambda: one.status("boram")["state"] == "trial")
    one.cut_power("boram")
    one.wait("boram is updated", lambda: one.status("boram")["state"] == "updated")
    one.rows.append(
        within("power cut on trial: confirmed later", one.version("boram") == "0.2.4", 1, 1, "")
    )


def count_lost(one: District) -> None:
    """Check that every measurement that waited is stored."""
    one.wait("all is handed in", lambda: one.watch.look() == 0, 180)
    one.watch.stop()
    database = one.files.directory / "monitor.db"
    stored = set(ids_in(database))
    with contextlib.closing(sqlite3.connect(database)) as db:
        events = [row[0] for row in db.execute("SELECT data FROM events WHERE kind = 'update'")]
    one.rows += [
        note("measurements of the agents' own", len(one.watch.ids), ""),
        at_most("of these lost", len(one.watch.ids - stored), 0, ""),
        within("events of updates in the journal", len(events), 10, 1e6, ""),
    ]


def main() -> int:
    """Print the table; exit code 0 if every mark is met."""
    options = parser(__doc__)
    options.add_argument("--wheels", type=Path)
    parsed = options.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="jharnet-update-"))
    makery = Makery(directory, parsed.wheels or directory / "wheels")
    makery.prepare()
    base = makery.base(directory / "base")
    one = District(directory, makery, base)
    try:
        one.watch.start()
        roll_out(one, seeded=parsed.quick)
        refuse_tampered(one)
        go_back(one, "crashes", "0.2.2", 102, "boram")
        if not parsed.quick:
            go_back(one, "does not get through", "0.2.3", 103, "dumaria")
            cut_on_trial(one)
        count_lost(one)
    finally:
        one.close()
    shutil.rmtree(directory)
    return finish("Updates over lines of 2 Mbit/s", one.rows, parsed)


if __name__ == "__main__":
    sys.exit(main())

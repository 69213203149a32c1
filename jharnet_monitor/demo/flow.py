"""The demo's course: set up, measure, hold against the truth, report, stay until it is ended."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from jharnet_monitor.demo import truth
from jharnet_monitor.demo.places import Place, lab_spec
from jharnet_monitor.demo.programs import Programs
from jharnet_monitor.demo.relay import Relay
from jharnet_monitor.demo.setup import PORT, Installation, install
from jharnet_monitor.demo.truth import ComparisonRow
from jharnet_monitor.errors import TemporaryError, UserError
from jharnet_monitor.model import Cause
from jharnet_monitor.report.output.files import write_whole
from jharnet_monitor.wire.client import HubClient

START_SECONDS = 45.0
LATENCY = {"packets": 50}
CONFERENCE = {"seconds": 10}
STATE_SECONDS = 30.0
KNOWN_WITHIN_SECONDS = 10.0
WORKERS = 11


@dataclass(slots=True)
class Demo:
    """A running demo: `measure` fills `results` and `rows`."""

    place: Place
    data: Mapping[str, Any]
    here: Installation
    console: Console
    programs: Programs
    hub: HubClient
    results: list[dict[str, Any]] = field(default_factory=list)
    rows: list[ComparisonRow] = field(default_factory=list)

    @property
    def offices(self) -> list[str]:
        """Ids, in the district's order."""
        return [office["id"] for office in self.data["offices"]]

    def wait_for_agents(self) -> None:
        """Until the hub answers and every agent is connected; raises `UserError` when not."""
        deadline = time.monotonic() + START_SECONDS
        missing = expected = {o["id"] for o in self.data["offices"] if not o.get("absent")}
        while missing and time.monotonic() < deadline:
            self.programs.check()
            try:
                offices = self.hub.get("/api/v1/offices")
                missing = expected - {o["id"] for o in offices if o["agent"]["connected"]}
            except TemporaryError:
                time.sleep(0.3)  # the hub is still starting
            time.sleep(0.2)
        if missing:
            raise UserError(f"the demo's agents of {', '.join(sorted(missing))} did not connect")

    def measure(self) -> None:
        """Every probe on every office; the runner orders what must not overlap."""
        with self._progress() as progress:
            self._probe(progress, "latency", LATENCY, WORKERS)
            self._probe(progress, "bandwidth", {}, WORKERS)
            self._probe(progress, "bandwidth", {"path": "internet"}, WORKERS)
            self._probe(progress, "conference", CONFERENCE, 4)

    def cut_power(self) -> None:
        """Where the power fails: what the hub sees of it, and what comes back afterwards."""
        lab = self.place.lab
        for office in self.data["offices"]:
            if lab is not None and office.get("power_cut"):
                with self.console.status(f"power cut at {office['name']} …"):
                    lab.cut(office["id"], "power")
                    self._wait_for_state(office["id"], "unreachable")
                    lab.restore(office["id"], "power")
                    self.programs.start_agent(office["id"])
                    self._wait_for_state(office["id"], "up")

    def _wait_for_state(self, office: str, state: str) -> None:
        """The row says after how many seconds the hub knew; within ten is right."""
        began, took = time.monotonic(), None
        while took is None and time.monotonic() - began < STATE_SECONDS:
            known = {o["id"]: o["state"] for o in self.hub.get("/api/v1/offices")}
            if known[office] == state:
                took = time.monotonic() - began
            else:
                time.sleep(0.25)
        self.rows.append(
            ComparisonRow(
                office, "state", f"{state}_known_after_seconds", took, 0, KNOWN_WITHIN_SECONDS
            )
        )

    def _probe(
        self, progress: Progress, probe: str, options: Mapping[str, Any], at_once: int
    ) -> None:
        name = f"{probe} {options['path']}" if "path" in options else probe
        task = progress.add_task(name, total=len(self.offices))
        with ThreadPoolExecutor(at_once) as pool:
            runs = [
                pool.submit(self.hub.post, f"/api/v1/offices/{office}/probes/{probe}", options)
                for office in self.offices
            ]
            for run in as_completed(runs):
                self.results.append(run.result())
                progress.advance(task)

    def compare(self) -> None:
        """Hold the results against what the lab's links are set to and have counted."""
        lab = self.place.lab
        if lab is None:
            return
        flows, spec = lab.flows(), lab_spec(self.data)
        packets = list(lab.echo_packets())
        for measured in self.results:
            if measured["cause"] == Cause.NO_AGENT:
                continue  # nothing was claimed
            if measured["probe"] == "latency":
                self.rows += truth.latency_rows(measured, flows, packets)
            elif measured["probe"] == "conference":
                self.rows += truth.conference_rows(measured, flows)
            elif measured["conditions"].get("path") == "jharnet":
                self.rows += truth.bandwidth_rows(measured, spec.offices[measured["office"]])

    def _progress(self) -> Progress:
        return Progress(
            TextColumn("{task.description:20}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
        )


@contextmanager
def running(
    place: Place, data: Mapping[str, Any], reports: Path, console: Console
) -> Iterator[tuple[Demo, Relay]]:
    """Set the demo up and start its programs; everything is ended and gone at the end."""
    with ExitStack() as stack:
        stack.callback(place.close)
        directory = Path(tempfile.mkdtemp(prefix="jharnet-demo-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        here = Installation(directory, reports)
        install(place, data, here, datetime.now(UTC))
        programs = Programs(place, here)
        stack.callback(programs.stop)
        programs.start_speedtest_server()
        programs.start_hub()
        for office in data["offices"]:
            if not office.get("absent"):
                programs.start_agent(office["id"])
        relay = Relay(place, (place.hub_address, PORT), here.ca)
        stack.callback(relay.close)
        hub = HubClient(relay.url, here.api_token.read_text().strip())
        yield Demo(place, data, here, console, programs, hub), relay


def write_result(file: Path, url: str, report: Path | None, rows: Sequence[ComparisonRow]) -> None:
    """The file of `--json`, whole or not at all."""
    result = {
        "url": url,
        "report": None if report is None else str(report),
        "rows": [row.to_json() for row in rows],
    }
    write_whole(file, (json.dumps(result, ensure_ascii=False, indent=2) + "\n").encode())

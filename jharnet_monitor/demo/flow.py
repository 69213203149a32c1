"""The steps of the demo: set up, start the programs, measure, and compare with the truth."""

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
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from jharnet_monitor.demo import truth
from jharnet_monitor.demo.places import Place, lab_spec
from jharnet_monitor.demo.programs import Programs
from jharnet_monitor.demo.relay import Relay
from jharnet_monitor.demo.setup import PORT, Installation, install
from jharnet_monitor.demo.truth import ComparisonRow
from jharnet_monitor.errors import TemporaryError, UserError
from jharnet_monitor.judge.calendar.period import week_of
from jharnet_monitor.model import Cause, parse_utc
from jharnet_monitor.report.output.files import write_whole
from jharnet_monitor.wire.client import HubClient

START_SECONDS = 45.0
LATENCY = {"packets": 50}
CONFERENCE = {"seconds": 10}
STATE_SECONDS = 30.0
KNOWN_WITHIN_SECONDS = 10.0
WORKERS = 11
REPETITIONS = 2
"""How often a test is repeated for which this computer, which runs the whole district, was busy."""


@dataclass(slots=True)
class Demo:
    """A running demo: `measure` fills `results`; `compare` and `cut_power` fill `rows`."""

    place: Place
    data: Mapping[str, Any]
    installation: Installation
    console: Console
    programs: Programs
    hub: HubClient
    results: list[dict[str, Any]] = field(default_factory=list)
    rows: list[ComparisonRow] = field(default_factory=list)

    @property
    def offices(self) -> list[str]:
        """Office ids, in the order of the district's file."""
        return [office["id"] for office in self.data["offices"]]

    def wait_for_agents(self) -> None:
        """Wait until every agent is connected; raises `UserError` if that takes too long."""
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
        """Run every probe on every office; the hub queues those that must not overlap."""
        with self._progress() as progress:
            self._probe(progress, "latency", LATENCY, WORKERS)
            # The long test takes 21 s an office; it follows the first test of the timetable.
            self._probe(progress, "bandwidth", {"sustained": "never"}, WORKERS)
            self._probe(progress, "bandwidth", {"path": "internet"}, WORKERS)
            self._probe(progress, "conference", CONFERENCE, 4)

    def cut_power(self) -> None:
        """Cut and restore the power where the district asks for it; time what the hub sees."""
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
        """Add a row with the seconds until the hub showed the state; up to ten are right."""
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
                pool.submit(self._tested, f"/api/v1/offices/{office}/probes/{probe}", options)
                for office in self.offices
            ]
            for run in as_completed(runs):
                self.results.append(run.result())
                progress.advance(task)

    def _tested(self, path: str, options: Mapping[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = self.hub.post(path, options)
        for _ in range(REPETITIONS):
            if not too_busy(result):
                break
            result = self.hub.post(path, options)
        return result

    def compare(self) -> None:
        """Compare the results with the settings and the counters of the lab's links."""
        lab = self.place.lab
        if lab is None:
            return
        flows, spec = lab.flows(), lab_spec(self.data)
        packets = list(lab.echo_packets())
        for measured in self.results:
            if measured["cause"] == Cause.NO_AGENT:
                continue  # nothing was measured
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
    """Set up the demo and start its programs; at the end they are stopped and all files removed."""
    with ExitStack() as stack:
        stack.callback(place.close)
        directory = Path(tempfile.mkdtemp(prefix="jharnet-demo-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        installation = Installation(directory, reports)
        install(place, data, installation, datetime.now(UTC))
        programs = Programs(place, installation)
        stack.callback(programs.stop)
        programs.start_speedtest_server()
        programs.start_hub()
        for office in data["offices"]:
            if not office.get("absent"):
                programs.start_agent(office["id"])
        relay = Relay(place, (place.hub_address, PORT), installation.ca)
        stack.callback(relay.close)
        hub = HubClient(relay.url, installation.api_token.read_text().strip())
        yield Demo(place, data, installation, console, programs, hub), relay


def too_busy(result: Mapping[str, Any]) -> bool:
    """Whether this computer was too busy for a test, or to time any of its replies.

    >>> too_busy({"cause": "host_overloaded", "conditions": {}})
    True
    >>> too_busy({"cause": None, "conditions": {"untimed": 50}})
    True
    >>> too_busy({"cause": "no_reply", "conditions": {}})
    False
    """
    return result["cause"] == Cause.HOST_OVERLOADED or "untimed" in result["conditions"]


def week_measured(results: Sequence[Mapping[str, Any]], zone: ZoneInfo) -> str:
    """The ISO week of the last of the results, by the days of `zone`.

    >>> results = [{"started_at": f"2026-11-29T{utc}Z"} for utc in ("18:31:00", "18:29:00")]
    >>> week_measured(results, ZoneInfo("Asia/Kolkata"))
    '2026-W49'
    """
    last = max(parse_utc(result["started_at"]) for result in results)
    return week_of(last.astimezone(zone).date(), zone).name


def write_result(file: Path, url: str, report: Path | None, rows: Sequence[ComparisonRow]) -> None:
    """Write the file of `--json` at once; raises `UserError`."""
    result = {
        "url": url,
        "report": None if report is None else str(report),
        "rows": [row.to_json() for row in rows],
    }
    write_whole(file, (json.dumps(result, ensure_ascii=False, indent=2) + "\n").encode())

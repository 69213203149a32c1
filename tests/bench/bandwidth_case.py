"""One case of the bandwidth benchmark: hub, agent and peers over a line of the lab.

The truth comes from the lab: the rates that are set, the packets that its links lost and carried,
and the time packets spent in them. Errors are those of the IP rate; the peers' goodput is converted
to it.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from jharnet_monitor.judge.line.throughput import MSS, MTU
from jharnet_monitor.lab import HEADQUARTERS, Lab
from tests.bench.bandwidth_subject import CROSS_PORT, CROSS_RATE

OFFICE, PREFIX = "potka", "jhnb"
SUBJECT = "tests.bench.bandwidth_subject"
WAYS = ("download", "upload")
IDLE, LOSS, JITTER, CROSS = "idle", "1 % loss", "5 ms jitter", "1 Mbit/s beside it"
IPERF_SECONDS = 10
PEER_TRIES, PEER_PAUSE_SECONDS = 3, 3.0
"""iperf3's server is sometimes still busy with the test before."""
DRAIN_SECONDS = 0.3
"""Time for packets that are still queued at the end of a test."""


@dataclass(frozen=True)
class Case:
    """A line in Mbit/s each way, its trouble, and the congestion control."""

    down: float
    up: float
    congestion: str
    trouble: str = IDLE

    @property
    def name(self) -> str:
        """The case's name in the table."""
        rate = f"{self.down:g}" if self.down == self.up else f"{self.down:g}/{self.up:g}"
        return f"{rate} Mbit/s {self.congestion}, {self.trouble}"

    def line(self, rate: float) -> dict[str, str]:
        """One direction: 30 ms there and back, 200 ms of queue."""
        trouble = {LOSS: {"loss": "1%"}, JITTER: {"jitter": "5ms"}}
        extra = trouble.get(self.trouble, {})
        return {"delay": "15ms", "rate": f"{rate} Mbit/s", "queue": "200ms", **extra}

    def rate(self, way: str) -> float:
        """The rate that is set, in bit/s."""
        return 1e6 * (self.down if way == "download" else self.up)

    def crossed(self, way: str) -> bool:
        """Whether other traffic runs this way; none on a line that is too narrow for it."""
        return self.trouble == CROSS and self.rate(way) > CROSS_RATE


@dataclass
class Seen:
    """The result of a case, by direction; errors as shares of the truth. Stored in a file."""

    errors: dict[str, list[float]] = field(default_factory=lambda: {w: [] for w in WAYS})
    """Errors against what the line had for the test: its rate less other traffic and loss."""
    full: dict[str, list[float]] = field(default_factory=lambda: {w: [] for w in WAYS})
    """Errors of the same results against the rate of the line."""
    uncertain: dict[str, list[float]] = field(default_factory=lambda: {w: [] for w in WAYS})
    """Half the 95 % interval that the test itself reports, as a share."""
    by_loss: dict[str, list[bool]] = field(default_factory=lambda: {w: [] for w in WAYS})
    """Whether the test reports that loss limited it."""
    together: dict[str, list[float]] = field(default_factory=lambda: {w: [] for w in WAYS})
    """Errors of the packet trains' rates that were reported with that."""
    loaded: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    bytes: dict[str, list[int]] = field(default_factory=lambda: {w: [] for w in WAYS})
    promised: list[float] = field(default_factory=list)
    """Bytes that the lab saw on the line, as a share of those that a whole test may cost."""
    unbooked: list[float] = field(default_factory=list)
    """Share of the lab's bytes that the test does not account for."""
    trains: list[float] = field(default_factory=list)
    train_bytes: list[int] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    peers: dict[str, dict[str, float]] = field(default_factory=lambda: {w: {} for w in WAYS})
    """Error of each peer against the same truth."""
    iperf_bytes: dict[str, int] = field(default_factory=dict)


class Bench:
    """The lab of one case, with hub and agent running in it."""

    def __init__(self, lab: Lab, case: Case, hub: subprocess.Popen[str]) -> None:
        self.lab, self.case, self.hub = lab, case, hub
        self.seen = Seen()

    @classmethod
    @contextlib.contextmanager
    def running(cls, case: Case, seed: int, place: int) -> Iterator[Bench]:
        """Start everything, and remove it at the end; each place holds one at a time."""
        offices = {OFFICE: {"down": case.line(case.down), "up": case.line(case.up)}}
        spec = {"seed": seed, "congestion_control": case.congestion, "offices": offices}
        with Lab.start(spec, f"{PREFIX}{place}") as lab, contextlib.ExitStack() as stack:
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}

            def start(where: str, *argv: str, **options: Any) -> subprocess.Popen[Any]:
                process = lab.popen(where, argv, **options)
                stack.callback(process.wait)
                stack.callback(process.kill)
                return process

            python = (sys.executable, "-m", SUBJECT)
            here, there = lab.addresses(HEADQUARTERS).pc, lab.addresses(OFFICE).pc
            hub = start(
                HEADQUARTERS, *python, "hub", f"{case.down:g}", f"{case.up:g}", text=True, **pipes
            )
            start(OFFICE, *python, "agent", here)
            start(HEADQUARTERS, *python, "server")
            start(HEADQUARTERS, "iperf3", "-s", stdout=subprocess.DEVNULL)
            if case.crossed("download"):
                start(HEADQUARTERS, *python, "cross", there)
            if case.trouble == CROSS:  # without a receiver the other end would send ICMP errors
                start(OFFICE, *python, *(("cross", here) if case.crossed("upload") else ("sink",)))
                if not case.crossed("download"):
                    start(HEADQUARTERS, *python, "sink")
            yield cls(lab, case, hub)

    def ask(self, path: str) -> dict[str, Any]:
        """One test by the product; it resets the lab's counters."""
        if self.hub.stdin is None or self.hub.stdout is None:
            raise RuntimeError("no pipes")
        self.lab.reset()
        print(path, file=self.hub.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self.hub.stdout.readline())
        time.sleep(DRAIN_SECONDS)
        return answer

    def full_test(self) -> None:
        """Rates, loaded round trips, seconds and bytes of one full test."""
        answer, seen = self.ask("jharnet"), self.seen
        values, conditions = answer["values"], answer["conditions"]
        if answer["error"]:
            seen.failed.append(answer["error"])
        flows = self.lab.flows()
        for way, flow in zip(WAYS, _streams(flows), strict=False):
            measured = values.get(f"{way}_bits_per_second")
            if measured is None:
                continue
            rate = self.case.rate(way)
            seen.errors[way].append(measured / self.left(way, [flow], flows) - 1)
            seen.full[way].append(measured / rate - 1)
            seen.uncertain[way].append(conditions[f"{way}_uncertainty"])
            seen.by_loss[way].append(conditions.get(f"{way}_limited_by") == "loss")
            if (capacity := values.get(f"{way}_capacity_bits_per_second")) is not None:
                seen.together[way].append(capacity / rate - 1)
            seen.seconds.append(conditions[f"{way}_seconds"])
            seen.bytes[way].append(flow["bytes_in"])
            sojourn = (flow["sojourn_mean_ms"] + flow["back"]["sojourn_mean_ms"]) / 1000
            seen.loaded.append(values[f"{way}_loaded_rtt_seconds"] / sojourn - 1)
        ours = sum(f["bytes_in"] for f in flows if _is_ours(f))
        seen.promised.append(ours / answer["cost"])
        seen.unbooked.append(1 - values.get("bytes_spent", 0.0) / ours)

    def left(self, way: str, ours: list[dict[str, Any]], flows: list[dict[str, Any]]) -> float:
        """bit/s that the line had for these streams: its rate less loss and other traffic.

        Other traffic loses packets from the full queue, and only while these streams fill it.
        """
        taken = sum(flow["packets_in"] - flow["dropped_queue"] for flow in ours)
        lost = sum(flow["dropped_loss"] for flow in ours)
        rate: float = self.case.rate(way) * (1 - lost / taken)
        full = max(f["last_in"] for f in ours) - min(f["first_in"] for f in ours)
        for other in flows:
            if other["source"] == ours[0]["source"] and other["target_port"] == CROSS_PORT:
                size = other["bytes_in"] / other["packets_in"]
                sent = other["bytes_in"] / (other["last_in"] - other["first_in"])
                rate -= 8 * (sent - other["dropped_queue"] * size / full)
        return rate

    def train(self) -> None:
        """The estimate by packet trains."""
        answer = self.ask("trains")
        for way in WAYS:
            found = answer["values"].get(f"{way}_capacity_bits_per_second")
            if found is not None:
                self.seen.trains.append(found / self.case.rate(way) - 1)
        ours = [f for f in self.lab.flows() if _is_ours(f)]
        sent = (f["bytes_in"] for f in ours if f["protocol"] == "udp")
        self.seen.train_bytes.append(max(sent, default=0))
        booked = answer["values"].get("bytes_spent", 0.0)
        self.seen.unbooked.append(1 - booked / sum(f["bytes_in"] for f in ours))

    def peers(self) -> None:
        """iperf3 for ten seconds each way, and unchanged speedtest-cli."""
        here = self.lab.addresses(HEADQUARTERS).pc
        for way, option in (("download", ["-R"]), ("upload", [])):
            report = self._peer("iperf3", "-c", here, "-J", "-t", str(IPERF_SECONDS), *option)
            largest = self._hold("iperf3", way, report["end"]["sum_received"]["bits_per_second"])
            self.seen.iperf_bytes[way] = largest["bytes_in"]
        for way in WAYS:
            report = self._peer(sys.executable, "-m", SUBJECT, "peer", here, way)
            self._hold("speedtest-cli", way, report[way])

    def _peer(self, *argv: str) -> dict[str, Any]:
        for left in reversed(range(PEER_TRIES)):
            self.lab.reset()
            try:
                found: dict[str, Any] = json.loads(self.lab.run(OFFICE, argv, timeout=90).stdout)
                return found
            except subprocess.CalledProcessError:
                if not left:
                    raise
                time.sleep(PEER_PAUSE_SECONDS)
        raise AssertionError("the last try returns or raises")

    def _hold(self, name: str, way: str, goodput: float) -> dict[str, Any]:
        """Store a peer's error against the same truth; returns the largest of its flows."""
        flows = self.lab.flows()
        tcp = [f for f in flows if f["protocol"] == "tcp"]
        largest = max(tcp, key=lambda f: int(f["bytes_in"]))
        ours = [f for f in tcp if f["source"] == largest["source"]]
        self.seen.peers[way][name] = goodput * MTU / MSS / self.left(way, ours, flows) - 1
        return largest


def _is_ours(flow: dict[str, Any]) -> bool:
    """Whether a flow is the test's: not the other traffic, nor the echo requests of the monitor."""
    return flow["protocol"] != "icmp" and CROSS_PORT not in (
        flow["source_port"],
        flow["target_port"],
    )


def _streams(flows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The two largest TCP flows in time order, each with the flow of its acknowledgements."""
    tcp = [f for f in flows if f["protocol"] == "tcp" and f["packets_out"]]
    ends = {(f["source"], f["source_port"], f["target_port"]): f for f in tcp}
    largest = sorted(tcp, key=lambda f: -int(f["bytes_in"]))[:2]
    largest.sort(key=lambda f: float(f["first_in"]))
    return [{**f, "back": ends[f["target"], f["target_port"], f["source_port"]]} for f in largest]


def measured(case: Case, times: int, seed: int, place: int, *, peers: bool) -> Seen:
    """Run one case with its peers; returns the result."""
    with Bench.running(case, seed, place) as bench:
        for _ in range(times):
            bench.full_test()
            bench.train()
        if peers:
            bench.peers()
        return bench.seen

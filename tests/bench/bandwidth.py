"""The bandwidth probe beside iperf3 and plain speedtest-cli, over links of known rate.

    python -m tests.bench.bandwidth [--quick] [--json FILE] [--seed N]

Needs root and iperf3. Takes a quarter of an hour; run nothing beside it. Truth is the lab: its
set rates, the packets that its links lost and carried, and the time packets spent in them. An
error is that of the IP rate; goodput of the peers is put on the same scale.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from jharnet_monitor.judge.throughput import ip_rate
from jharnet_monitor.lab import HEADQUARTERS, Lab
from tests.bench.bandwidth_budget import overspending
from tests.bench.bandwidth_subject import CROSS_PORT
from tests.bench.marks import Row, arguments, at_most, finish, note

OFFICE, PREFIX = "potka", "jhnbb"
SUBJECT = "tests.bench.bandwidth_subject"
WAYS = ("download", "upload")
IPERF_SECONDS = 10


@dataclass(frozen=True)
class Case:
    """A line in Mbit/s each way, what is wrong with it, and how TCP behaves."""

    down: float
    up: float
    congestion: str
    trouble: str = "idle"

    @property
    def name(self) -> str:
        """For the table."""
        rate = f"{self.down:g}" if self.down == self.up else f"{self.down:g}/{self.up:g}"
        return f"{rate} Mbit/s {self.congestion} {self.trouble}"

    def line(self, rate: float) -> dict[str, str]:
        """One direction: 30 ms there and back, 200 ms of queue."""
        trouble = {"1 % loss": {"loss": "1%"}, "5 ms jitter": {"jitter": "5ms"}}
        extra = trouble.get(self.trouble, {})
        return {"delay": "15ms", "rate": f"{rate} Mbit/s", "queue": "200ms", **extra}

    def rate(self, way: str) -> float:
        """bit/s as set."""
        return 1e6 * (self.down if way == "download" else self.up)


@dataclass
class Seen:
    """What all runs of one case came to; errors as shares, by direction."""

    case: Case
    errors: dict[str, list[float]] = field(default_factory=lambda: {w: [] for w in WAYS})
    loaded: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    bytes: dict[str, list[int]] = field(default_factory=lambda: {w: [] for w in WAYS})
    trains: list[float] = field(default_factory=list)
    train_bytes: list[int] = field(default_factory=list)
    limited: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    peers: dict[str, list[str]] = field(default_factory=lambda: {w: [] for w in WAYS})
    iperf_bytes: dict[str, int] = field(default_factory=dict)


class Bench:
    """One case: the lab with hub and agent at work in it."""

    def __init__(self, lab: Lab, case: Case, hub: subprocess.Popen[str]) -> None:
        self.lab, self.case, self.hub = lab, case, hub
        self.seen = Seen(case)

    @classmethod
    @contextlib.contextmanager
    def running(cls, case: Case, seed: int) -> Iterator[Bench]:
        """Everything started, and taken away at the end."""
        offices = {OFFICE: {"down": case.line(case.down), "up": case.line(case.up)}}
        spec = {"seed": seed, "congestion_control": case.congestion, "offices": offices}
        with Lab.start(spec, PREFIX) as lab, contextlib.ExitStack() as stack:
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
            if case.trouble == "cross traffic":
                start(HEADQUARTERS, *python, "cross", there)
                start(OFFICE, *python, "cross", here)
            yield cls(lab, case, hub)

    def ask(self, path: str) -> dict[str, Any]:
        """One test by the product; the lab's counters begin at 0 with it."""
        if self.hub.stdin is None or self.hub.stdout is None:
            raise RuntimeError("no pipes")
        self.lab.reset()
        print(path, file=self.hub.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self.hub.stdout.readline())
        if answer["error"]:
            self.seen.failed.append(answer["error"])
        return answer

    def full_test(self) -> None:
        """Rates, loaded round trips, seconds and bytes of one full test."""
        answer = self.ask("jharnet")
        values, conditions = answer["values"], answer["conditions"]
        self.seen.limited.append(conditions.get("limited_by", ""))
        flows = self.lab.flows()
        for way, flow in zip(WAYS, _streams(flows), strict=False):
            measured = values.get(f"{way}_bits_per_second")
            if measured is None:
                continue
            truth = self.truth(way, flow, flows)
            self.seen.errors[way].append(measured / truth - 1)
            self.seen.seconds.append(conditions[f"{way}_seconds"])
            self.seen.bytes[way].append(flow["bytes_in"])
            sojourn = (flow["sojourn_mean_ms"] + flow["back"]["sojourn_mean_ms"]) / 1000
            self.seen.loaded.append(values[f"{way}_loaded_rtt_seconds"] / sojourn - 1)

    def truth(self, way: str, flow: dict[str, Any], flows: list[dict[str, Any]]) -> float:
        """bit/s that the line had for this stream: less what it lost, less what others took."""
        taken = flow["packets_in"] - flow["dropped_queue"]
        rate: float = self.case.rate(way) * (1 - float(flow["dropped_loss"]) / taken)
        for other in flows:
            same_way = other["source"] == flow["source"] and other["target_port"] == CROSS_PORT
            if same_way:
                seconds = other["last_out"] - other["first_out"]
                rate -= float(other["bytes_out"]) * 8 / seconds
        return rate

    def train(self) -> None:
        """The cheap estimate."""
        answer = self.ask("trains")
        for way in WAYS:
            found = answer["values"].get(f"{way}_capacity_bits_per_second")
            if found is not None:
                self.seen.trains.append(found / self.case.rate(way) - 1)
        full = [f["bytes_in"] for f in self.lab.flows() if f["protocol"] == "udp"]
        self.seen.train_bytes.append(max(full, default=0))

    def peers(self, *, speedtest: bool) -> None:
        """iperf3 for ten seconds each way, and speedtest-cli as it is."""
        here = self.lab.addresses(HEADQUARTERS).pc
        for way, option in (("download", ["-R"]), ("upload", [])):
            self.lab.reset()
            argv = ["iperf3", "-c", here, "-J", "-t", str(IPERF_SECONDS), *option]
            report = json.loads(self.lab.run(OFFICE, argv).stdout)
            rate = ip_rate(report["end"]["sum_received"]["bits_per_second"])
            self._peer(way, "iperf3", rate)
            self.seen.iperf_bytes[way] = max(f["bytes_in"] for f in self.lab.flows())
        if not speedtest:
            return
        argv = [sys.executable, "-m", SUBJECT, "peer", here]
        report = json.loads(self.lab.run(OFFICE, argv, timeout=90).stdout)
        for way in WAYS:
            self._peer(way, "speedtest-cli", ip_rate(report[way]))

    def _peer(self, way: str, name: str, rate: float) -> None:
        self.seen.peers[way].append(f"{name} {100 * (rate / self.case.rate(way) - 1):+.1f} %")


def _streams(flows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The two largest TCP flows in time order, each with the flow of its acknowledgements."""
    tcp = [f for f in flows if f["protocol"] == "tcp" and f["packets_out"]]
    ends = {(f["source"], f["source_port"], f["target_port"]): f for f in tcp}
    largest = sorted(tcp, key=lambda f: -int(f["bytes_in"]))[:2]
    largest.sort(key=lambda f: float(f["first_in"]))
    return [{**f, "back": ends[f["target"], f["target_port"], f["source_port"]]} for f in largest]


def cases(quick: bool) -> list[Case]:
    """Idle lines at every rate, then what goes wrong on them."""
    if quick:
        return [Case(2, 2, "bbr"), Case(10, 10, "reno")]
    lines = [(2, 2), (4, 0.5), (10, 10), (100, 100)]
    idle = [Case(*line, congestion) for line in lines for congestion in ("bbr", "reno")]
    trouble = ("1 % loss", "5 ms jitter", "cross traffic")
    return idle + [
        Case(rate, rate, congestion, one)
        for one in trouble
        for rate in (2, 10)
        for congestion in ("bbr", "reno")
    ]


def run(case: Case, times: int, seed: int, peers: Sequence[str]) -> Seen:
    """All that is measured in one case, with these peers beside it."""
    with Bench.running(case, seed) as bench:
        for _ in range(times):
            bench.full_test()
            bench.train()
        if peers:
            bench.peers(speedtest="speedtest-cli" in peers)
        return bench.seen


def rows(seen: Seen) -> Iterator[Row]:
    """A case's figures, with the marks where the issue sets one."""
    name, idle = seen.case.name, seen.case.trouble == "idle"
    for way in WAYS:
        errors = sorted(100 * abs(e) for e in seen.errors[way])
        if not errors:
            yield Row(f"{name}: {way}", 0, "a result", "runs", False, "; ".join(seen.failed)[:80])
            continue
        peers = ", ".join(seen.peers[way])
        middle, worst = median(errors), errors[-1 - len(errors) // 20]
        if idle:
            yield at_most(f"{name}: {way} error, median", middle, 1, "%", peers)
            yield at_most(f"{name}: {way} error, p95", worst, 3, "%")
        else:
            limited = f"limited by loss in {sum(map(bool, seen.limited))} of {len(seen.limited)}"
            yield note(f"{name}: {way} error, median", middle, "%", limited)
        if way in seen.iperf_bytes:
            share = 100 * median(seen.bytes[way]) / seen.iperf_bytes[way]
            yield at_most(f"{name}: {way} bytes of iperf3's", share, 15, "%")
    yield at_most(f"{name}: longest direction", max(seen.seconds), 2.55, "s")
    loaded = max(100 * abs(e) for e in seen.loaded)
    yield at_most(f"{name}: loaded RTT error, worst", loaded, 10, "%")
    yield from _train_rows(seen)


def _train_rows(seen: Seen) -> Iterator[Row]:
    name, trouble = seen.case.name, seen.case.trouble
    errors = [100 * abs(e) for e in seen.trains]
    if not errors or trouble == "cross traffic":
        if errors:
            yield note(f"{name}: trains, error against the capacity", median(errors), "%")
        return
    mark = 3 if trouble == "idle" else 5
    yield at_most(f"{name}: trains, error median", median(errors), mark, "%")
    yield at_most(f"{name}: trains, bytes a direction", max(seen.train_bytes) / 1000, 50, "kB")


def main() -> int:
    """Measure everything and tell whether all marks are met."""
    options = arguments(__doc__)
    table: list[Row] = []
    chosen = cases(options.quick)
    for number, case in enumerate(chosen):
        print(f"{case.name} …", file=sys.stderr, flush=True)
        if options.quick:
            seen = run(case, 2, options.seed, ["iperf3"] if number == 0 else [])
        else:
            peers = ["iperf3", "speedtest-cli"] if case.trouble == "idle" else []
            seen = run(case, 7, options.seed, peers)
        table += rows(seen)
    days = 100 if options.quick else 1000
    spent = 100 * overspending(days, options.seed)
    table.append(at_most(f"budget overspent in {days} days, worst day", spent, 1, "%"))
    return finish("Bandwidth, against the lab", table, options)


if __name__ == "__main__":
    sys.exit(main())

"""Latency: cost, accuracy and false loss compared with fping and blackbox_exporter, in one lab.

The work: one packet a second to each of N addresses behind eleven links of 40 ms round trip
(blackbox_exporter, which has no such schedule: 100 probes at once, as fast as it can). The truth of
each packet comes from the emulator: when the request reached it and when the reply left it. CPU
time is user and system time of the measuring process alone.

    python tests/bench/latency.py [--quick] [--json FILE]

Needs root (for the lab), fping and prometheus-blackbox-exporter.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jharnet_monitor.judge.latency import percentile
from jharnet_monitor.lab import HEADQUARTERS, Lab
from tests.bench.marks import Row, arguments, at_most, finish, note, within
from tests.lab_support import busy_loops

OFFICES = 11
SIZES = (11, 264, 1000, 4000)
QUICK_SIZES = (264, 4000)
PROBES = 3000
"""At least so many packets a run, so that there is a p99, and no more than 20 s."""
BLACKBOX_PROBES = 1000
SWEEP_RATE = 1000
SUBJECT = Path(__file__).with_name("latency_subject.py")
_BLACKBOX = "modules: {icmp: {prober: icmp, timeout: 3s, icmp: {preferred_ip_protocol: ip4}}}\n"

Rtts = Mapping[str, Sequence[float | None]]


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one program: CPU in seconds, errors in ms."""

    cpu_per_1000: float
    error_p50: float
    error_p99: float
    false_loss: int

    @property
    def words(self) -> str:
        """The text for the column of the peers."""
        return (
            f"{self.cpu_per_1000:.3f} s, {self.error_p50:.2f}/{self.error_p99:.2f} ms, "
            f"{self.false_loss} lost"
        )


class Bench:
    """The lab, and the three programs in it."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab = lab
        self.directory = directory

    def targets(self, count: int) -> list[str]:
        """Addresses spread evenly over the offices."""
        hosts = [
            ip_network(str(self.lab.addresses(office).extra)).hosts() for office in self.lab.offices
        ]
        return list(islice((str(host) for row in zip(*hosts, strict=True) for host in row), count))

    def run(self, program: str, count: int, rounds: int, interval: float = 1.0) -> Result:
        """Run a program and compare its results with the truth."""
        targets = self.targets(count)
        file = self.directory / "targets"
        file.write_text("\n".join(targets) + "\n", "ascii")
        log_start = max((packet.number for packet in self.lab.echo_packets()), default=-1) + 1
        rtts, cost = getattr(self, f"_{program}")(file, count, rounds, interval)
        time.sleep(0.2)  # until the last reply is in the emulator's log
        errors, false_loss = compare(rtts, self._truth(log_start))
        return Result(
            cost,
            percentile(errors, 0.5) * 1000,
            percentile(errors, 0.99) * 1000,
            false_loss,
        )

    def _truth(self, start: int) -> dict[str, list[float | None]]:
        """By target, in order: the time from the request's arrival at the emulator to the reply's
        departure; None if the emulator dropped one of them."""
        headquarters = self.lab.addresses(HEADQUARTERS).pc
        requests: dict[str, list[tuple[float, tuple[str, int, int]]]] = defaultdict(list)
        replies: dict[tuple[str, int, int], float | None] = {}
        for packet in self.lab.echo_packets(start):
            if packet.source == headquarters:
                key = (packet.target, packet.echo_id, packet.sequence)
                requests[packet.target].append((packet.arrived, key))
            else:
                replies[packet.source, packet.echo_id, packet.sequence] = packet.left
        truth: dict[str, list[float | None]] = {}
        for target, sent in requests.items():
            lefts = [(arrived, replies.get(key)) for arrived, key in sorted(sent)]
            truth[target] = [None if left is None else left - at for at, left in lefts]
        return truth

    def _ours(self, file: Path, count: int, rounds: int, interval: float) -> tuple[Rtts, float]:
        answer = self._subject("ours", file, rounds, interval)
        return answer["rtts"], answer["cpu_per_1000"]

    def _subject(self, what: str, file: Path, rounds: int, interval: float) -> dict[str, Any]:
        command = [sys.executable, str(SUBJECT), what, str(rounds), str(interval), str(file)]
        answer: dict[str, Any] = json.loads(self.lab.run(HEADQUARTERS, command, 120).stdout)
        return answer

    def _fping(self, file: Path, count: int, rounds: int, interval: float) -> tuple[Rtts, float]:
        pause = f"{1000 * interval / count:.3f}"
        period = f"{1000 * interval:.3f}"
        command = ["fping", "-q", "-C", str(rounds), "-p", period, "-i", pause, "-t", "2000",
                   "-f", str(file)]  # fmt: skip
        with tempfile.TemporaryFile("w+") as output:
            process = self.lab.popen(HEADQUARTERS, command, stdout=output, stderr=output)
            _, _, usage = os.wait4(process.pid, 0)
            process.returncode = 0
            output.seek(0)
            lines = output.read().splitlines()
        rtts: dict[str, list[float | None]] = {}
        for line in lines:
            target, colon, times = line.partition(" : ")
            if colon:
                rtts[target.strip()] = [
                    None if word == "-" else float(word) / 1000 for word in times.split()
                ]
        return rtts, (usage.ru_utime + usage.ru_stime) / (count * rounds) * 1000

    def _blackbox(self, file: Path, count: int, rounds: int, interval: float) -> tuple[Rtts, float]:
        config = self.directory / "blackbox.yml"
        config.write_text(_BLACKBOX, "ascii")
        command = ["prometheus-blackbox-exporter", f"--config.file={config}", "--log.level=error"]
        process = self.lab.popen(HEADQUARTERS, command, stderr=subprocess.DEVNULL)
        try:
            self._wait_for_port(9115)
            before = cpu_seconds(process.pid)
            client = [
                sys.executable,
                str(SUBJECT),
                "blackbox",
                str(rounds),
                str(interval),
                str(file),
            ]
            answer = json.loads(self.lab.run(HEADQUARTERS, client, timeout=120).stdout)
            cost = cpu_seconds(process.pid) - before
            return answer["rtts"], cost / (count * rounds) * 1000
        finally:
            process.kill()
            process.wait()

    def _wait_for_port(self, port: int) -> None:
        for _ in range(100):
            with self.lab.inside(HEADQUARTERS), socket.socket() as tcp:
                if tcp.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.1)
        raise RuntimeError("blackbox_exporter did not start")


def cpu_seconds(pid: int) -> float:
    """User and system time of a running process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def compare(rtts: Rtts, truth: Mapping[str, Sequence[float | None]]) -> tuple[list[float], int]:
    """Absolute errors in seconds, ascending, and the number of replies counted as lost."""
    errors: list[float] = []
    false_loss = 0
    for target, measured in rtts.items():
        came_back = [value for value in truth.get(target, ()) if value is not None]
        got = [value for value in measured if value is not None]
        false_loss += max(0, len(came_back) - len(got))
        if len(came_back) == len(got) and not any(
            map(math.isnan, got)
        ):  # else they cannot be matched
            errors += [abs(a - b) for a, b in zip(got, came_back, strict=True)]
    return sorted(errors), false_loss


def rounds_for(count: int, quick: bool) -> int:
    """The length of a run in seconds."""
    return max(3, min(4 if quick else 20, -(-PROBES // count)))


def rows_of(bench: Bench, count: int, loaded: bool, quick: bool) -> tuple[list[Row], Result]:
    """The product and its peers at one size, idle or under four busy loops."""
    rounds = rounds_for(count, quick)
    ours = bench.run("ours", count, rounds)
    fping = bench.run("fping", count, rounds)
    name = f"{count} targets, {'4 busy loops' if loaded else 'idle'}"
    bound = 0.6 if loaded else 0.8 if count == OFFICES else 0.3
    peers = f"fping {fping.words}"
    rows = [
        note(f"{name}: RTT error p50", ours.error_p50, "ms", peers),
        at_most(f"{name}: RTT error p99", ours.error_p99, bound, "ms"),
        at_most(f"{name}: false loss", ours.false_loss, 0, "packets"),
    ]
    if count == OFFICES:
        return [*rows, note(f"{name}: CPU per 1000 probes", ours.cpu_per_1000, "s")], ours
    blackbox = bench.run("blackbox", count, max(1, BLACKBOX_PROBES // count))
    cost = f"{name}: CPU per 1000 probes"
    rows += [
        at_most(f"{cost}, of fping's", ours.cpu_per_1000 / fping.cpu_per_1000, 1.5, "times",
                f"ours {ours.cpu_per_1000:.3f} s"),
        at_most(f"{cost}, of blackbox's", ours.cpu_per_1000 / blackbox.cpu_per_1000, 0.2, "times",
                f"blackbox {blackbox.words}"),
    ]  # fmt: skip
    return rows, ours


def flatness(bench: Bench, idle: Mapping[int, Result], quick: bool) -> list[Row]:
    """Whether the cost of a probe depends on the number of targets, at the same packet rate and at
    one packet a second to each (where more targets share a wake-up)."""
    cost = {}
    for count in (264, 4000):
        rounds = max(2, (3 if quick else 16) * SWEEP_RATE // count)
        cost[count] = bench.run("ours", count, rounds, count / SWEEP_RATE).cpu_per_1000
    name = "CPU per probe at 4000 targets of that at 264"
    rhythm = idle[4000].cpu_per_1000 / idle[264].cpu_per_1000
    return [
        within(f"{name}, both {SWEEP_RATE} packets/s", cost[4000] / cost[264], 0.75, 1.25, "times"),
        at_most(f"{name}, 1 packet/s to each", rhythm, 1.25, "times"),
    ]


def main() -> int:
    """Run everything; returns 0 if all marks are met."""
    options = arguments(__doc__)
    missing = [p for p in ("fping", "prometheus-blackbox-exporter") if not shutil.which(p)]
    if os.geteuid() != 0 or missing:
        print(f"skipped: needs root{''.join(f', {program}' for program in missing)}")
        return 0
    line = {"down": {"delay": "20ms"}, "up": {"delay": "20ms"}}
    spec = {"offices": {f"o{number}": line for number in range(OFFICES)}}
    rows: list[Row] = []
    with Lab.start(spec, prefix="jhl") as lab, tempfile.TemporaryDirectory() as directory:
        bench = Bench(lab, Path(directory))
        idle: dict[int, Result] = {}
        for count in QUICK_SIZES if options.quick else SIZES:
            found, idle[count] = rows_of(bench, count, False, options.quick)
            rows += found
        rows += flatness(bench, idle, options.quick)
        with busy_loops(4):
            for count in (264,) if options.quick else SIZES:
                rows += rows_of(bench, count, True, options.quick)[0]
    return finish("Latency", rows, options)


if __name__ == "__main__":
    sys.exit(main())

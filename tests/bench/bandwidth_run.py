"""One link of the bandwidth benchmark: hub, agent and other traffic over a lab.

The truth is the lab's: the rate that is set, less the share of the test's packets that the line
lost and, with other traffic, less what that got through while the test ran.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from jharnet_monitor.lab import HEADQUARTERS, Lab
from tests.bench.bandwidth_links import DirectionModel, Link
from tests.bench.bandwidth_subject import CROSS_PORT

OFFICE, PREFIX = "potka", "jhbw"
SUBJECT = "tests.bench.bandwidth_subject"
WAYS = ("download", "upload")
DRAIN_SECONDS = 0.3
START_SECONDS, MIN_OTHER = 90.0, 5000
"""For programs to start on a busy computer; bytes by which their traffic is known to run."""
SETTLE_SECONDS = 2.0
"""What was on the link before has left it, and other traffic has its share."""


class Place:
    """A lab with hub and agent, in which one link after the other is set and measured."""

    def __init__(self, lab: Lab, hub: subprocess.Popen[str]) -> None:
        self._lab, self._hub = lab, hub

    @classmethod
    @contextlib.contextmanager
    def started(cls, number: int, seed: int) -> Iterator[Place]:
        """Start everything, and remove it at the end; several places may exist at once."""
        spec = {"seed": seed, "offices": {OFFICE: {}}}
        with Lab.start(spec, f"{PREFIX}{number}") as lab, contextlib.ExitStack() as stack:
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            here = lab.addresses(HEADQUARTERS).pc
            hub = start_program(lab, stack, HEADQUARTERS, "hub", "4", "4", text=True, **pipes)
            start_program(lab, stack, OFFICE, "agent", here)
            yield cls(lab, hub)

    def measured(self, link: Link) -> dict[str, Any]:
        """One test of the link: its result, and the truth of each direction; plain data."""
        self._set("down", link.down, link.rtt)
        self._set("up", link.up, link.rtt)
        for where in (HEADQUARTERS, OFFICE):
            control = f"net.ipv4.tcp_congestion_control={link.congestion or 'bbr'}"
            self._lab.run(where, ["sysctl", "-qw", control])
        with contextlib.ExitStack() as stack:
            if link.others:
                self._start_others(stack, link)
            time.sleep(SETTLE_SECONDS)
            self._lab.reset()
            answer = self._ask(link)
            time.sleep(DRAIN_SECONDS)
            flows, status = self._lab.flows(), self._lab.status()
        found: dict[str, Any] = {"answer": answer, "truth": {}, "left": {}, "short_bytes": {}}
        for way in WAYS:
            ours = _largest(flows, way)
            found["truth"][way] = _carried(link, way, ours)
            found["left"][way] = _left(link, way, ours, flows)
            found["short_bytes"][way] = _stream_bytes(flows, way)
        tests = [flow for flow in flows if flow["protocol"] != "icmp" and not _is_other(flow)]
        found["bytes"] = sum(flow["bytes_in"] for flow in tests)
        found["late_ms"] = status["lateness_ms"]["p99"]
        return found

    def _set(self, name: str, way: DirectionModel, rtt: float) -> None:
        """Change one direction of the link; its bucket is full again."""
        wanted = {"jitter": "0 ms", "bucket": None, "loss": "0%"} | way.spec(rtt)
        self._lab.set(OFFICE, f"{name}.jitter", "0 ms")
        self._lab.set(OFFICE, f"{name}.bucket", "null")
        for key in ("delay", "rate", "queue", "jitter", "loss", "bucket"):
            self._lab.set(OFFICE, f"{name}.{key}", json.dumps(wanted[key]))

    def _start_others(self, stack: contextlib.ExitStack, link: Link) -> None:
        here, there = (self._lab.addresses(place).pc for place in (HEADQUARTERS, OFFICE))
        for where in (HEADQUARTERS, OFFICE):
            start_program(self._lab, stack, where, "sink", str(link.others))
        time.sleep(SETTLE_SECONDS)
        for where, target in ((HEADQUARTERS, there), (OFFICE, here)):
            rate = f"{link.others_rate:.0f}"
            start_program(self._lab, stack, where, "other", str(link.others), target, rate)
        end = time.monotonic() + START_SECONDS
        while not all(self._others_run(way) for way in WAYS):
            if time.monotonic() > end:
                raise RuntimeError("the other traffic does not start")
            time.sleep(SETTLE_SECONDS)

    def _others_run(self, way: str) -> bool:
        flows = self._lab.flows()
        return any(_goes(f, way) and _is_other(f) and f["bytes_out"] > MIN_OTHER for f in flows)

    def _ask(self, link: Link) -> dict[str, Any]:
        if self._hub.stdin is None or self._hub.stdout is None:
            raise RuntimeError("no pipes")
        contracts = (link.contract, link.contract_up)
        print("jharnet", *(f"{rate / 1e6:.6f}" for rate in contracts), file=self._hub.stdin,
              flush=True)  # fmt: skip
        answer: dict[str, Any] = json.loads(self._hub.stdout.readline())
        return answer


def unmeasured(why: str) -> dict[str, Any]:
    """The result of a link that could not be measured."""
    answer = {"values": {}, "conditions": {}, "error": why}
    return {"answer": answer, "truth": {}, "left": {}, "short_bytes": {}, "bytes": 0}


def start_program(
    lab: Lab, stack: contextlib.ExitStack, where: str, *program: str, **options: Any
) -> subprocess.Popen[Any]:
    """Run one of the benchmark's programs in a namespace until the stack ends."""
    process = lab.popen(where, [sys.executable, "-m", SUBJECT, *program], **options)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def _largest(flows: list[dict[str, Any]], way: str) -> dict[str, Any] | None:
    """The flow of a direction that carried the most bytes of the test."""
    sent = [f for f in flows if _goes(f, way) and f["protocol"] != "icmp" and not _is_other(f)]
    return max(sent, key=lambda flow: int(flow["bytes_in"]), default=None)


def _stream_bytes(flows: list[dict[str, Any]], way: str) -> int:
    """Bytes of the TCP stream of a direction, or of the largest of several."""
    tcp = [f for f in flows if _goes(f, way) and f["protocol"] == "tcp" and not _is_other(f)]
    return max((int(flow["bytes_in"]) for flow in tcp), default=0)


def _goes(flow: Mapping[str, Any], way: str) -> bool:
    """Whether a flow goes that way: headquarters has the addresses 10.8.0.x."""
    return bool(flow["source"].startswith("10.8.0.")) == (way == "download")


def _is_other(flow: Mapping[str, Any]) -> bool:
    return CROSS_PORT in (flow["source_port"], flow["target_port"])


def _carried(link: Link, way: str, flow: Mapping[str, Any] | None) -> float:
    """bit/s that the line carries in the long run, less what it loses of the test's packets."""
    rate = link.way(way).lasting
    if flow is None:
        return rate
    taken = float(flow["packets_in"] - flow["dropped_queue"])
    return rate * (1 - float(flow["dropped_loss"]) / taken) if taken else rate


def _left(
    link: Link, way: str, ours: Mapping[str, Any] | None, flows: list[dict[str, Any]]
) -> float | None:
    """bit/s that the other traffic leaves, by its mean over the lab's time; None without any."""
    if not link.others:
        return None
    others = [f for f in flows if _goes(f, way) and _is_other(f) and f["packets_out"]]
    if not others or ours is None:
        return _carried(link, way, ours)
    got: float = sum(8 * f["bytes_out"] / max(1.0, f["last_out"] - f["first_out"]) for f in others)
    return max(0.0, _carried(link, way, ours) - got)

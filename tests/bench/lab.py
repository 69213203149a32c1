"""How exactly does the lab apply RTT, rate and loss as they are set?

    python -m tests.bench.lab [--quick] [--json FILE] [--seed N]

Needs root. Takes two minutes and both cores of a small machine; run nothing else meanwhile. The
peer for the rate is the kernel's token bucket (tc-tbf(8)) under the same flood; for delay and loss
there is none if the kernel has no netem.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from jharnet_monitor.lab import HEADQUARTERS, Lab, linux
from jharnet_monitor.lab.namespaces import list_namespaces, remove_namespaces, run_ip
from tests.bench.marks import Row, arguments, at_most, finish, note, within
from tests.lab_support import (
    Echo,
    Prober,
    Stream,
    busy_loops,
    receive,
    simultaneous_streams,
    udp_socket,
    udp_socket_in,
)

OFFICES = 11
LINK = {"delay": "15ms", "rate": "2 Mbit/s", "queue": "300ms"}
UPLINK = {"delay": "2ms", "rate": "34 Mbit/s", "queue": "200ms"}
LOAD = 1.8e6
"""bit/s of other traffic on each direction of each 2 Mbit/s link."""
SENDER, PROBER = 10, 40
"""Real-time priorities, so that the busy loops disturb the emulator, not the instruments."""

RATES = (2, 5, 10, 20)
LOSSES: tuple[tuple[float, float | None], ...] = ((0.01, None), (0.05, None), (0.02, 4), (0.05, 8))
Z99 = 2.576


def main() -> int:
    """Measure everything; returns 0 if all marks are met."""
    options = arguments(__doc__)
    rows = [
        *round_trips(2 if options.quick else 12, options.seed, loaded=False),
        *round_trips(8 if options.quick else 30, options.seed, loaded=True),
        *rates(1.0 if options.quick else 4.0, options.seed),
        *losses(6_000 if options.quick else 40_000, options.seed),
    ]
    return finish("The lab against what was set", rows, options)


def district(seed: int) -> dict[str, Any]:
    """Eleven links of 2 Mbit/s each way."""
    links = {f"office-{n}": {"down": LINK, "up": LINK} for n in range(1, OFFICES + 1)}
    return {"seed": seed, "uplink": {"down": UPLINK, "up": UPLINK}, "offices": links}


# -- round trips --


def round_trips(seconds: float, seed: int, *, loaded: bool) -> list[Row]:
    """Probes through all links; `loaded`: with traffic on every link, and four busy loops."""
    with Lab.start(district(seed), "jhnbl") as lab, contextlib.ExitStack() as together:
        if loaded:
            together.enter_context(busy_loops(4))
            together.enter_context(
                simultaneous_streams(traffic(lab, together), seconds + 5, SENDER)
            )
            time.sleep(1)
        lab.reset()
        start, cpu = time.monotonic(), lab.status()["cpu_seconds"]
        prober = Prober(lab)
        answered, sent = probe(lab, prober, seconds)
        truth = lab.status()
        share = (truth["cpu_seconds"] - cpu) / (time.monotonic() - start)
        bias = biases(lab, prober.echo_id, answered)
        what = "11 links loaded, 4 busy loops" if loaded else "idle"
        p50, p99 = quantile(bias, 0.5), quantile(bias, 0.99)
        if loaded:
            rows = [
                at_most(f"RTT bias p50, {what}", p50, 0.3, "ms"),
                at_most(f"RTT bias p99, {what}", p99, 0.6, "ms"),
            ]
        else:  # the wake-up time of an idle machine is not the emulator's
            rows = [
                note(f"RTT bias p50, {what}", p50, "ms"),
                note(f"RTT bias p99, {what}", p99, "ms"),
            ]
        rows += [
            at_most(f"probes without answer, {what}", sent - len(answered), 0, "packets"),
            at_most(f"dropped before the emulator, {what}", truth["interface_drops"], 0, "packets"),
            note(f"lateness p99, {what}", truth["lateness_ms"]["p99"], "ms"),
        ]
        if loaded:
            each = (truth["cpu_seconds"] - cpu) / truth["delivered"] * 1e6
            rows += [
                note("CPU a packet", each, "µs"),
                note("CPU at that load", share * 100, "% of a core"),
                note("packets a second", truth["delivered"] / (time.monotonic() - start), "1/s"),
            ]
        return rows


def traffic(lab: Lab, stack: contextlib.ExitStack) -> Sequence[Stream]:
    """Constant UDP traffic both ways on every link, to sockets that drop it."""

    def open_socket(where: str, port: int = 0) -> socket.socket:
        return stack.enter_context(udp_socket(lab, where, port, buffer=4096))

    streams = []
    sender, headquarters = open_socket(HEADQUARTERS), lab.addresses(HEADQUARTERS).pc
    open_socket(HEADQUARTERS, 9000)
    for office in lab.offices:
        open_socket(office, 9000)
        streams.append(Stream(sender, (lab.addresses(office).pc, 9000), LOAD))
        streams.append(Stream(open_socket(office), (headquarters, 9000), LOAD))
    return streams


def probe(lab: Lab, prober: Prober, seconds: float) -> tuple[list[Echo], int]:
    """Send 200 echo requests a second, to all routers in turn; returns answers and number."""
    targets = [lab.addresses(office).router for office in lab.offices]
    rounds = round(seconds * 200 / len(targets))
    linux.become_realtime(PROBER)
    try:
        return prober.probe(targets, rounds, gap=0.005, wait=1.0), rounds * len(targets)
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def biases(lab: Lab, echo_id: int, answered: Sequence[Echo]) -> list[float]:
    """The measured RTT less what the emulator planned for both packets, as absolute ms."""
    planned: dict[tuple[str, int], float] = {}
    hub = lab.addresses(HEADQUARTERS).pc
    for packet in lab.echo_packets():
        if packet.echo_id == echo_id:
            office = packet.target if packet.source == hub else packet.source
            key = (office, packet.sequence)
            planned[key] = planned.get(key, 0.0) + packet.due - packet.arrived
    return sorted(abs(e.rtt - planned[e.target, e.sequence]) * 1000 for e in answered)


def quantile(ordered: Sequence[float], share: float) -> float:
    """A quantile by order statistics."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


# -- rate --


def rates(seconds: float, seed: int) -> list[Row]:
    """Send 1.3 times the rate; measure what the receiver gets between first and last packet."""
    rows = []
    with Lab.start({"seed": seed, "offices": {"one": {"down": {"delay": "5ms"}}}}, "jhnbl") as lab:
        target, source = udp_socket(lab, "one", 9000), udp_socket(lab, HEADQUARTERS)
        for rate in RATES:
            lab.set("one", "down.rate", f"{rate} Mbit/s")
            stream = Stream(source, (lab.addresses("one").pc, 9000), rate * 1.3e6, 1500)
            error = flood_error(stream, target, rate, seconds)
            peer = bucket_error(rate, seconds)
            rows.append(within(f"rate at {rate} Mbit/s, error", error, -1, 1, "%", peer))
    return rows


def flood_error(stream: Stream, target: socket.socket, rate: float, seconds: float) -> float:
    """How far the received IP rate is from the one set, in %."""
    with simultaneous_streams([stream], seconds, SENDER):
        return (receive(target, silence=1.0).rate() / (rate * 1e6) - 1) * 100


def bucket_error(rate: float, seconds: float) -> str:
    """The same flood through tc-tbf, whose rate includes 14 bytes of Ethernet per packet."""
    if shutil.which("tc") is None:
        return "tc is not here"
    ends = ["jhnbt-a", "jhnbt-b"]
    remove_namespaces(list_namespaces("jhnbt"))
    run_ip([f"netns add {name}" for name in ends])
    try:
        run_ip(["link add v0 type veth peer name v0 netns jhnbt-b"], ends[0])
        for number, name in enumerate(ends):
            run_ip([f"addr add 10.9.0.{number + 1}/24 dev v0", "link set v0 up"], name)
        wire = round(rate * 1e6 * 1514 / 1500)
        bucket = f"rate {wire}bit burst 1540 latency 200ms".split()
        tc = ["tc", "-n", ends[0], "qdisc", "add", "dev", "v0", "root", "tbf", *bucket]
        subprocess.run(tc, check=True)
        source, target = udp_socket_in(ends[0]), udp_socket_in(ends[1], 9000)
        stream = Stream(source, ("10.9.0.2", 9000), rate * 1.3e6, 1500)
        return f"{flood_error(stream, target, rate, seconds):+.3f} (tc-tbf)"
    finally:
        remove_namespaces(ends)


# -- loss --


def losses(packets: int, seed: int) -> list[Row]:
    """Packets that the receiver misses: as many as set, and exactly those that are counted."""
    rows = []
    with Lab.start({"seed": seed, "offices": {"one": {}}}, "jhnbl") as lab:
        target, source = udp_socket(lab, "one", 9000), udp_socket(lab, HEADQUARTERS)
        stream = Stream(source, (lab.addresses("one").pc, 9000), rate=5_000 * 200 * 8, size=200)
        for mean, burst in LOSSES:
            setting = f"{{mean: {mean:.2%}, burst: {burst or 'null'}}}"
            lab.set("one", "down.loss", setting)
            lab.reset()
            with simultaneous_streams([stream], (packets - 0.5) * stream.gap, SENDER):
                got = len(receive(target, silence=1.0).moments)
            counted = lab.status()["links"]["one"]["down"]["dropped_loss"]
            bound = Z99 * standard_error(mean, burst, packets)
            low, high = (mean - bound) * 100, (mean + bound) * 100
            what = f"loss of {mean:.0%}" + (f" in bursts of {burst:g}" if burst else "")
            missed = packets - got
            rows += [
                within(what, missed / packets * 100, low, high, "%"),
                at_most(f"{what}, receiver against counter", abs(missed - counted), 0, "packets"),
            ]
    return rows


def standard_error(mean: float, burst: float | None, packets: int) -> float:
    """The standard error of the lost share; bursts increase it (lag-one memory of the chain)."""
    memory = 1 - 1 / burst - mean / (1 - mean) / burst if burst else 0.0
    return float((mean * (1 - mean) / packets * (1 + memory) / (1 - memory)) ** 0.5)


if __name__ == "__main__":
    sys.exit(main())

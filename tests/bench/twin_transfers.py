"""The twin's TCP transfers compared with this kernel's, on the lab's lines, without any call.

    python tests/bench/twin_transfers.py [--quick] [--json FILE] [--only TEXT] [--seconds N]

On every hard link that has a transfer, small packets are sent in its direction beside a real one
that starts and pauses as the link says. How long they waited and how many were lost is compared
with the model's, which meets the same packets. The truth follows the kernel's congestion control
(its name is printed), the model BBR. Needs root (for the lab). A link takes up to 35 s of the lab,
three at a time, and then some seconds of computing: half an hour for all, so choose some by --only.
"""

from __future__ import annotations

import math
import statistics
import struct
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path as File

import numpy as np

sys.path.insert(0, str(File(__file__).resolve().parents[2]))

from jharnet_monitor.judge.twin.line import DirectionModel
from jharnet_monitor.judge.twin.path import Path
from jharnet_monitor.lab import HEADQUARTERS, Lab
from tests.bench.chromium_collect import shape, transfers
from tests.bench.chromium_conditions import Condition
from tests.bench.chromium_hard import hard_links, held_links
from tests.bench.marks import Row, at_most, finish, note, parser
from tests.bench.twin import true_line
from tests.lab_support import udp_socket

PREFIX = "jhntrf"
LANES, RUNS, STEP = 3, 16, 0.005
PORT = 9900
SIZE = 500
"""Bytes of a probing packet on the line."""
MOST_RATE, SHARE = 200e3, 0.1
"""bit/s of the probing packets: this share of the line's rate, or less."""
FLOOR = 0.02
"""Seconds that are added before means are compared, so that empty queues are alike."""


@dataclass(slots=True)
class Met:
    """What the probing packets met."""

    waits: list[float] = field(default_factory=list)
    """Seconds beyond the line's own delay."""
    sent: int = 0

    @property
    def mean(self) -> float:
        """Seconds."""
        return statistics.fmean(self.waits) if self.waits else 0.0

    @property
    def loss(self) -> float:
        """Share of the packets."""
        return 1 - len(self.waits) / self.sent


def direction(condition: Condition) -> DirectionModel:
    """The direction of the link in which the transfer runs."""
    line = true_line(condition)
    return line.down if condition.elastic and condition.elastic[0] == "down" else line.up


def whole_turns(condition: Condition, least: float) -> float:
    """At least so many seconds, in which the transfer runs and pauses a whole number of times."""
    assert condition.elastic is not None
    turn = condition.elastic[1] + condition.elastic[2]
    return math.ceil(least / turn) * turn


def gap(way: DirectionModel) -> float:
    """Seconds between probing packets."""
    return SIZE * 8 / min(MOST_RATE, SHARE * way.rate)


def real(lab: Lab, office: str, condition: Condition, seconds: float) -> Met:
    """What they meet beside a real transfer."""
    assert condition.elastic is not None
    shape(lab, office, condition)
    source, target = HEADQUARTERS, office
    if condition.elastic[0] == "up":
        source, target = target, source
    port = PORT + lab.layout.number(office)
    sender, receiver = udp_socket(lab, source), udp_socket(lab, target, port)
    address, way, met = (lab.addresses(target).pc, port), direction(condition), Met()
    over = threading.Event()

    def receive() -> None:
        receiver.settimeout(0.3)
        while not over.is_set():
            try:
                data = receiver.recv(2000)
            except TimeoutError:
                continue
            met.waits.append(time.monotonic() - struct.unpack_from("!d", data)[0] - way.delay)

    thread = threading.Thread(target=receive)
    thread.start()
    with transfers(lab, office, *condition.elastic), sender, receiver:
        start = time.monotonic()
        while (due := start + met.sent * gap(way)) < start + seconds:
            time.sleep(max(0.0, due - time.monotonic()))
            sender.sendto(struct.pack("!d", time.monotonic()) + bytes(SIZE - 36), address)
            met.sent += 1
        time.sleep(way.queue + 1.0)
        over.set()
        thread.join()
    return met


def modelled(condition: Condition, seconds: float, seed: int) -> Met:
    """What they meet in the twin's path."""
    way = direction(condition)
    columns = {name: np.full(RUNS, float(value)) for name, value in asdict(way).items()}
    nothing = np.zeros(RUNS)
    path = Path(
        columns | {"gone": nothing, "every": nothing, "cross": columns["others"]},
        np.random.default_rng(seed),
    )
    met, one, size = Met(), np.ones(RUNS, np.int64), np.full(RUNS, float(SIZE))
    for number in range(int(seconds / gap(way))):
        now = number * gap(way)
        sent = path.send(np.full(RUNS, now), one, size)
        arrived = sent.arrived > 0
        met.waits += list((sent.last_arrival - now - way.delay)[arrived])
        met.sent += RUNS
        for step in range(1, int(gap(way) / STEP)):
            path.advance(np.full(RUNS, now + step * STEP))
    return met


def measure(conditions: Sequence[Condition], seconds: float) -> dict[str, Met]:
    """What is met on every link, several at a time."""
    context = get_context("fork")
    answers = context.SimpleQueue()

    def lane(lab: Lab, office: str, mine: Sequence[Condition]) -> None:
        for condition in mine:
            took = whole_turns(condition, seconds)
            answers.put((condition.name, real(lab, office, condition, took)))

    offices = [f"c{number}" for number in range(LANES)]
    with Lab.start({"offices": {office: {} for office in offices}}, PREFIX) as lab:
        lanes = [
            context.Process(target=lane, args=(lab, office, conditions[number::LANES]))
            for number, office in enumerate(offices)
        ]
        for process in lanes:
            process.start()
        found = dict(answers.get() for _ in conditions)
        for process in lanes:
            process.join()
    return found


def rows(found: dict[str, tuple[Met, Met]]) -> list[Row]:
    """How far the model is from the truth."""
    factors = [
        abs(float(np.log((model.mean + FLOOR) / (truth.mean + FLOOR))))
        for truth, model in found.values()
    ]
    losses = [100 * abs(model.loss - truth.loss) for truth, model in found.values()]
    near = 100 * statistics.fmean(factor <= np.log(1.5) for factor in factors)
    algorithm = File("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    return [
        note("links", len(found), "", f"the kernel's transfers: {algorithm}"),
        at_most("queue: median factor to the truth", float(np.exp(np.median(factors))), 1.25, ""),
        note("queue: within a factor of 1.5", near, "%"),
        at_most("loss: median difference", statistics.median(losses), 3.0, "points"),
        note("loss: largest difference", max(losses), "points"),
    ]


def main() -> int:
    """Compare all links; the exit code."""
    parsing = parser(__doc__)
    parsing.add_argument("--only", default="", metavar="TEXT", help="links named like this")
    parsing.add_argument("--seconds", type=float, default=40.0, help="on every link")
    options = parsing.parse_args()
    links = [c for c in hard_links() + held_links() if c.elastic and options.only in c.name]
    if options.quick:
        links = links[:LANES]
    truths = measure(links, options.seconds)
    found = {}
    for link in links:
        truth = truths[link.name]
        model = modelled(link, whole_turns(link, options.seconds), options.seed)
        found[link.name] = (truth, model)
        print(f"{link.name}\n     queue {1000 * truth.mean:.0f} ms, the model's "
              f"{1000 * model.mean:.0f}; loss {100 * truth.loss:.1f} %, the model's "
              f"{100 * model.loss:.1f}", flush=True)  # fmt: skip
    return finish("The twin's transfers compared with the kernel's", rows(found), options)


if __name__ == "__main__":
    sys.exit(main())

"""Calls beside what a hypervisor takes of the CPU: from which share on a call judges the host.

Calls over loss-free lines of the lab, drawn at random: 0.2 to 6 Mbit/s (logarithmic), 5 to 150 ms
and a queue of 100 to 500 ms each way. Each line is called six times, three lines at once. Its
grade is that of most of its calls. The calls are sorted by the largest share of a second that other
virtual machines took meanwhile (steal, in `/proc/stat`). Nothing here takes it on purpose: on a
computer of our own, all calls are in the first row.

    python tests/bench/stolen_cpu.py [--quick] [--json FILE] [--seed N]

Needs root (for the lab). It takes ten minutes.
"""

from __future__ import annotations

import math
import random
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import quantiles
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jharnet_monitor.lab import Lab
from jharnet_monitor.rtc.stats import host_load
from tests.bench.marks import Row, arguments, at_most, finish, grade_rows, note, usual_grades
from tests.call_support import LabCall

PREFIX = "jhnsteal"
SECONDS = 8.0
AT_ONCE = 3
SHARES = (0.0, 0.1, 0.3, 0.5, math.inf)


@dataclass(frozen=True, slots=True)
class HeldCall:
    """A call; loss and round trip are beside the emulator's, in points and ms, None if not held."""

    office: str
    stolen: float
    grade: float | None
    loss_error: float | None = None
    trip_error: float | None = None


class StealMonitor(threading.Thread):
    """The largest share of a second that others took, until `stop`."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0.0
        self._stopped = threading.Event()

    def run(self) -> None:
        """Look once a second."""
        began, before = time.monotonic(), host_load._steal_seconds()
        while not self._stopped.wait(1.0):
            now, stolen = time.monotonic(), host_load._steal_seconds()
            self.largest = max(self.largest, (stolen - before) / (now - began))
            began, before = now, stolen

    def stop(self) -> float:
        """End it; returns the share."""
        self._stopped.set()
        self.join()
        return self.largest


def drawn_way(chance: random.Random) -> dict[str, str]:
    """One direction of a line."""
    rate = math.exp(chance.uniform(math.log(0.2), math.log(6)))
    return {
        "rate": f"{rate:.3g} Mbit/s",
        "delay": f"{chance.uniform(5, 150):.0f}ms",
        "queue": f"{chance.uniform(100, 500):.0f}ms",
    }


def held(lab: Lab, offices: Sequence[str]) -> list[HeldCall]:
    """Call these offices at once."""
    lab.reset()
    monitor = StealMonitor()
    monitor.start()
    calls = {office: LabCall(lab, office, seconds=SECONDS) for office in offices}
    for call in calls.values():
        call.join()
    stolen = monitor.stop()
    return [_compared(office, call, stolen) for office, call in calls.items()]


def _compared(office: str, call: LabCall, stolen: float) -> HeldCall:
    result = call.join()
    if result.error is not None:
        return HeldCall(office, stolen, None)
    flows, known = {way: call.flow(way) for way in ("down", "up")}, result.conditions
    errors = [
        100 * (known[f"{way}_wire_loss_ratio"] - (1 - flow["packets_out"] / flow["packets_in"]))
        for way, flow in flows.items()
    ]
    trip, of_line = known["rtt_p50_seconds"], sum(f["sojourn_p50_ms"] for f in flows.values())
    return HeldCall(
        office,
        stolen,
        result.values["grade"],
        max(map(abs, errors)),
        None if trip is None else 1000 * trip - of_line,
    )


def rows(calls: Sequence[HeldCall], usual: Mapping[str, float]) -> list[Row]:
    """What the calls of each share of stolen CPU give."""
    found: list[Row] = []
    for low, high in pairwise(SHARES):
        these = [call for call in calls if low <= call.stolen < high]
        graded = [call for call in these if call.grade is not None]
        name = f"{100 * low:.0f} to {min(100, 100 * high):.0f} % taken"
        found += grade_rows(name, [(call.office, call.grade) for call in these], usual, 0.02)
        if losses := [call.loss_error for call in graded if call.loss_error is not None]:
            found.append(at_most("  loss, largest error", max(losses), 0.2, "points"))
        trips = [call.trip_error for call in graded if call.trip_error is not None]
        if len(trips) > 1:
            found.append(
                note("  round trip, 9th decile of the error", quantiles(trips, n=10)[8], "ms")
            )
    return found


def main() -> int:
    """Call twenty lines six times each, or six lines twice (`--quick`)."""
    options = arguments(__doc__)
    lines, times = (6, 2) if options.quick else (20, 6)
    chance = random.Random(options.seed)
    offices: dict[str, Any] = {
        f"o{number}": {"down": drawn_way(chance), "up": drawn_way(chance)}
        for number in range(lines)
    }
    order = [office for _ in range(times) for office in offices]
    calls: list[HeldCall] = []
    with Lab.start({"seed": options.seed, "offices": offices}, PREFIX) as lab:
        for first in range(0, len(order), AT_ONCE):
            calls += held(lab, order[first : first + AT_ONCE])
    usual = usual_grades((call.office, call.grade) for call in calls)
    return finish("Calls beside stolen CPU", rows(calls, usual), options)


if __name__ == "__main__":
    raise SystemExit(main())

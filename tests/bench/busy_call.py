"""Round trips of calls whose ends wait for a CPU, beside the emulator's delay.

    python tests/bench/busy_call.py [--quick] [--json FILE] [--seed N]

Both ends of a call run in one program. A program of a real-time priority takes each CPU from it
again and again, for 3 to 20 ms (logarithmic) at a time, and rests for 4 to 20 ms (logarithmic): all
these are means of exponential distributions. Each call has a line of its own, of 5 to 100 ms each
way. A program's wait for a CPU must not be in the round trip. Needs root (for the lab and for the
priority). It takes eight minutes.
"""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jharnet_monitor.lab import Lab
from tests.bench.marks import Row, arguments, at_most, finish, note
from tests.call_support import LabCall

CALLS, QUICK_CALLS = 48, 6
SECONDS = 8.0
LAGS_MS = (0.0, 1.0, 2.0, 3.0)
"""Classes of the median lag of the later end. Above 3 ms a call gives no round trip."""
TAKE_CPU = """
import os, random, sys, time
cpu, seed, busy, rest = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
os.sched_setaffinity(0, {cpu})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
dice = random.Random(seed)
while True:
    end = time.monotonic() + dice.expovariate(1 / busy)
    while time.monotonic() < end:
        pass
    time.sleep(dice.expovariate(1 / rest))
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A line's delay in ms each way, and the means of the taken and the free time in seconds."""

    delay: float
    busy: float
    rest: float

    @classmethod
    def drawn(cls, dice: random.Random) -> Case:
        """By the law above."""

        def logarithmic(low: float, high: float) -> float:
            return math.exp(dice.uniform(math.log(low), math.log(high)))

        return cls(dice.uniform(5, 100), logarithmic(0.003, 0.02), logarithmic(0.004, 0.02))


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one call: the later end's median lag and the error of the round trip, in ms.

    The error is None if the call has no round trip.
    """

    lag: float
    error: float | None


@contextmanager
def taken_cpus(case: Case, seed: int) -> Iterator[None]:
    """Take all CPUs again and again."""
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", TAKE_CPU, str(cpu), f"{seed}-{cpu}", str(case.busy),
             str(case.rest)]
        )
        for cpu in sorted(os.sched_getaffinity(0))
    ]  # fmt: skip
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def held(lab: Lab, office: str) -> Outcome:
    """Call an office."""
    lab.reset()
    call = LabCall(lab, office, seconds=SECONDS)
    result = call.join()
    known = result.conditions
    lag = max(known.get(f"{end}_loop_lag_median_seconds") or 0.0 for end in ("hub", "agent"))
    trip = None if result.error else known["rtt_p50_seconds"]
    if trip is None:
        return Outcome(1000 * lag, None)
    of_line = sum(call.flow(way)["sojourn_p50_ms"] for way in ("down", "up"))
    return Outcome(1000 * lag, 1000 * trip - of_line)


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """The errors of each class of lag, and of all."""
    found = []
    for low, high in zip(LAGS_MS, (*LAGS_MS[1:], math.inf), strict=True):
        these = [one for one in outcomes if low <= one.lag < high]
        errors = [abs(one.error) for one in these if one.error is not None]
        name = f"late by {low:.0f} to {high:.0f} ms" if high < math.inf else f"by {low:.0f} or more"
        found.append(note(f"{name}: calls", len(these), "calls"))
        found.append(note("  with a round trip", len(errors), "calls"))
        if errors:
            found.append(note("  its largest error", max(errors), "ms"))
    quick = [one for one in outcomes if one.lag < LAGS_MS[-1]]
    missing = sum(one.error is None for one in quick)
    found.append(at_most("late by less, and no round trip", missing, 0.05 * len(quick), "calls"))
    every = [abs(one.error) for one in outcomes if one.error is not None]
    if len(every) > 1:
        found.append(at_most("95th percentile of the error", quantiles(every, n=20)[18], 2, "ms"))
        found.append(at_most("largest error", max(every), 5, "ms"))
    return found


def main() -> int:
    """Call each of the drawn lines once."""
    options = arguments(__doc__)
    dice = random.Random(options.seed)
    cases = {
        f"o{number}": Case.drawn(dice)
        for number in range(QUICK_CALLS if options.quick else CALLS)
    }  # fmt: skip
    offices = {}
    for office, case in cases.items():
        way = {"rate": "20 Mbit/s", "delay": f"{case.delay:.0f}ms", "queue": "200ms"}
        offices[office] = {"down": way, "up": way}
    outcomes = []
    with Lab.start({"seed": options.seed, "offices": offices}, "jhnbusy") as lab:
        for number, (office, case) in enumerate(cases.items()):
            with taken_cpus(case, 100 * options.seed + number):
                outcomes.append(held(lab, office))
            print(f"{office} {case}: {outcomes[-1]}", flush=True)
    return finish("Round trips of calls that wait for a CPU", rows(outcomes), options)


if __name__ == "__main__":
    sys.exit(main())

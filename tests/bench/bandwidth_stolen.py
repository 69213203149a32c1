"""Speed tests beside what a hypervisor takes of the CPU: no rate of the line is wrong for it.

Loss-free lines of the lab, drawn at random: 5 to 15 Mbit/s each way (logarithmic), 4 to 8 ms each
way and a queue of 100 to 300 ms. Three are tested at once, each in a lab of its own. While a
sender's computer stands still, its TCP gets less than such a line carries, though nobody else uses
it. The tests are sorted by the largest share of a second that other virtual machines took meanwhile
(steal, in `/proc/stat`). Nothing here takes it on purpose: on a computer of our own, all tests are
in the first rows.

    python -m tests.bench.bandwidth_stolen [--quick] [--json FILE] [--seed N]

Needs root (for the lab). It takes three minutes.
"""

from __future__ import annotations

import math
import os
import random
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context

from jharnet_monitor.lab import Lab
from jharnet_monitor.model import Direction
from tests.bandwidth_support import OFFICE, Result, over_lab, settings
from tests.bench.marks import Row, arguments, at_most, finish, note
from tests.bench.stolen_cpu import SHARES, StealMonitor

AT_ONCE = 3
TESTS, QUICK_TESTS = 90, 6
WRONG = 0.05
"""A rate is wrong by more than this share."""
MOST_SILENT = 0.2
"""A computer that did not keep up gives no rate."""


@dataclass(frozen=True, slots=True)
class Rate:
    """One direction: its error as a share, what limited it, and whether its interval is right."""

    error: float
    limit: str | None
    covered: bool


@dataclass(frozen=True, slots=True)
class Tested:
    """The rates of a test, none without data, and the share of the CPU that others took."""

    stolen: float
    rates: tuple[Rate, ...]


def tested(seed: str) -> Tested:
    """A test over a line drawn by the law above."""
    chance = random.Random(seed)
    rates = {way: float(f"{5 * 3 ** chance.random():.3g}") for way in Direction}
    delay, queue = 4 * 2 ** chance.random(), chance.uniform(100, 300)
    line = {
        way.value: {
            "delay": f"{delay:.1f}ms", "queue": f"{queue:.0f}ms", "rate": f"{rate} Mbit/s",
        }
        for way, rate in rates.items()
    }  # fmt: skip
    config = settings(*(f"{rate} Mbit/s" for rate in rates.values()))
    prefix = f"jhs{os.getpid() % 100_000}"
    with Lab.start({"congestion_control": "bbr", "offices": {OFFICE: line}}, prefix) as lab:
        monitor = StealMonitor()
        monitor.start()
        try:
            [result] = over_lab(lab, config)
        finally:
            stolen = monitor.stop()
    if result.error is not None:
        print(seed, result.error, file=sys.stderr, flush=True)
    known = () if result.error is not None else tuple(
        _rate(result, way, 1e6 * rate) for way, rate in rates.items()
    )  # fmt: skip
    return Tested(stolen, known)


def _rate(result: Result, way: Direction, truth: float) -> Rate:
    name = f"{way.transfer}_bits_per_second"
    low, high = result.values[f"{name}_low"], result.values.get(f"{name}_high", math.inf)
    limit = result.conditions.get(f"{way.transfer}_limited_by")
    return Rate(abs(result.values[name] / truth - 1), limit, low <= truth <= high)


def rows(tests: Sequence[Tested]) -> Iterator[Row]:
    """What the tests of each share of stolen CPU give."""
    for low, high in pairwise(SHARES):
        these = [test for test in tests if low <= test.stolen < high]
        if not these:
            continue
        rates = [rate for test in these for rate in test.rates]
        wrong = [rate for rate in rates if rate.error > WRONG]
        outside = sum(not rate.covered for rate in rates)
        yield note(
            f"{100 * low:.0f} to {min(100, 100 * high):.0f} % taken: tests", len(these), "tests"
        )
        silent = sum(not test.rates for test in these)
        yield at_most("  no data", silent, MOST_SILENT * len(these), "tests")
        yield note("  marked", sum(rate.limit is not None for rate in rates), "directions")
        yield note("  largest error", 100 * max((one.error for one in rates), default=0), "%")
        yield at_most("  wrong by more than 5 %", len(wrong), WRONG * len(rates), "directions")
        unmarked = sum(rate.limit is None for rate in wrong)
        yield at_most("  so, and not marked", unmarked, 0, "directions")
        others = sum(rate.limit == "shared" for rate in rates)
        yield at_most("  blamed on other traffic", others, 0, "directions")
        yield at_most("  outside the interval", outside, WRONG * len(rates), "directions")


def main() -> int:
    """Test 90 lines, or six (`--quick`)."""
    options = arguments(__doc__)
    seeds = [f"{options.seed} {n}" for n in range(QUICK_TESTS if options.quick else TESTS)]
    with ProcessPoolExecutor(AT_ONCE, mp_context=get_context("spawn")) as pool:
        tests = list(pool.map(tested, seeds))
    return finish("Speed tests beside stolen CPU", list(rows(tests)), options)


if __name__ == "__main__":
    raise SystemExit(main())

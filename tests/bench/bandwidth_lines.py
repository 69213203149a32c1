"""The bandwidth probe compared with iperf3 and plain speedtest-cli, over links of known rate.

    python -m tests.bench.bandwidth_lines [--quick] [--json FILE] [--seed N]
                                    [--case TEXT ...] [--keep FILE] [--minutes N]

Needs root and iperf3; run nothing else meanwhile. It takes 25 minutes and can be run in slices:
`--keep FILE` stores results and does not measure them again, and with `--minutes N` no case is
started after N minutes. The table then shows the results so far, and the exit code is 0 only when
nothing is left to measure. Delete the file after a change of the code. `--case "10 Mbit/s reno"`
runs only the cases whose name contains that text.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.bench.bandwidth_budget import overspending
from tests.bench.bandwidth_case import CROSS, IDLE, JITTER, LOSS, Case, Seen, measured
from tests.bench.bandwidth_rows import rows
from tests.bench.marks import Row, at_most, finish, parser

LINES = ((2, 2), (4, 0.5), (10, 10), (100, 100))
IDLE_RUNS, TROUBLE_RUNS, QUICK_RUNS = 5, 4, 2
DAYS, QUICK_DAYS = 1000, 100
SLOW, SLOW_AT_ONCE = 10, 4
"""Lines up to this rate in Mbit/s leave the machine mostly idle: several run at once, each in a lab
of its own, whose emulator has priority. Faster lines run alone."""


def cases() -> list[Case]:
    """Idle lines at every rate, then lines with trouble."""
    return [
        Case(down, up, congestion, trouble)
        for trouble in (IDLE, LOSS, JITTER, CROSS)
        for down, up in LINES
        for congestion in ("bbr", "reno")
    ]


class Kept:
    """The results so far, by case; in a file if one is named."""

    def __init__(self, path: Path | None, seed: int) -> None:
        self._path = path
        self._seen: dict[str, Any] = {"seed": seed}
        if path is not None and path.exists():
            self._seen = json.loads(path.read_text())
            if self._seen["seed"] != seed:
                sys.exit(f"{path} was made with --seed {self._seen['seed']}")

    def of(self, name: str) -> Any:
        """The result of a case; None if it was not measured yet."""
        return self._seen.get(name)

    def keep(self, name: str, seen: Any) -> None:
        """Store a result, also in the file, so that it is not lost if the next case fails."""
        self._seen[name] = seen
        if self._path is not None:
            self._path.write_text(json.dumps(self._seen, indent=1) + "\n")


@dataclass(frozen=True)
class Job:
    """A case to be measured a number of times; without a case, days of the budget simulation."""

    case: Case | None
    times: int
    seed: int
    peers: bool = True

    @property
    def name(self) -> str:
        """The name under which the result is stored."""
        return self.case.name if self.case else f"budget over {self.times} days"

    def run(self, place: int) -> Any:
        """The result, as plain data; `place` separates labs that run at once."""
        if self.case is None:
            return overspending(self.times, self.seed)
        return asdict(measured(self.case, self.times, self.seed, place, peers=self.peers))


def jobs(options: argparse.Namespace) -> list[Job]:
    """The jobs to run."""
    seed, wanted = options.seed, options.case
    if options.quick:
        short = (Case(2, 2, "bbr"), Case(10, 10, "reno"))
        found = [Job(case, QUICK_RUNS, seed, peers=False) for case in short]
        found.append(Job(None, QUICK_DAYS, seed))
    else:
        times = {case: IDLE_RUNS if case.trouble == IDLE else TROUBLE_RUNS for case in cases()}
        found = [Job(case, times[case], seed) for case in times]
        found.append(Job(None, DAYS, seed))
    return [job for job in found if not wanted or any(text in job.name for text in wanted)]


def batches(todo: Sequence[Job]) -> Iterator[Sequence[Job]]:
    """Groups of jobs that run at the same time: slow lines and a fast one in turn, then the
    simulation."""
    slow = [job for job in todo if job.case and job.case.down <= SLOW]
    fast = [job for job in todo if job.case and job.case.down > SLOW]
    firsts = range(0, len(slow), SLOW_AT_ONCE)
    together = [slow[first : first + SLOW_AT_ONCE] for first in firsts]
    for some, one in zip_longest(together, fast):
        yield from ([some] if some else [])
        yield from ([[one]] if one else [])
    yield from ([job] for job in todo if job.case is None)


def measure(todo: Sequence[Job], kept: Kept, minutes: float) -> None:
    """Run the jobs and store each result; start none after `minutes`."""
    end = time.monotonic() + 60 * minutes
    with ProcessPoolExecutor(SLOW_AT_ONCE, get_context("spawn")) as pool:
        for batch in batches([job for job in todo if kept.of(job.name) is None]):
            if time.monotonic() > end:
                return
            print("; ".join(job.name for job in batch), "...", file=sys.stderr, flush=True)
            for job, seen in zip(batch, pool.map(Job.run, batch, range(len(batch))), strict=True):
                kept.keep(job.name, seen)


def table(kept: Kept, todo: Iterable[Job]) -> Iterator[Row]:
    """The rows of all results, case by case."""
    for job in todo:
        seen = kept.of(job.name)
        if seen is None:
            yield Row(job.name, 0, "a result", "", False, "not measured yet")
        elif job.case is not None:
            idle = kept.of(replace(job.case, trouble=IDLE).name)
            yield from rows(job.case, Seen(**seen), Seen(**(idle or {})))
        else:
            yield at_most(f"{job.name}: overspent, worst day", 100 * seen, 1, "%")


def main() -> int:
    """Measure what is missing; returns 0 if all marks are met."""
    options = requested()
    kept, todo = Kept(options.keep, options.seed), jobs(options)
    if not todo:
        sys.exit("no case has such a name; they are: " + "; ".join(case.name for case in cases()))
    measure(todo, kept, options.minutes)
    return finish("Bandwidth, against the lab", list(table(kept, todo)), options)


def requested() -> argparse.Namespace:
    """The options of every benchmark, and those for running this one in slices."""
    options = parser(__doc__)
    options.add_argument("--case", action="append", metavar="TEXT", help="only cases named so")
    options.add_argument("--keep", type=Path, metavar="FILE", help="go on with what is in there")
    options.add_argument("--minutes", type=float, default=math.inf, help="begin no case after")
    return options.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""The bandwidth probe beside iperf3 and plain speedtest-cli, over links of known rate.

    python -m tests.bench.bandwidth [--quick] [--json FILE] [--seed N]
                                    [--case TEXT ...] [--keep FILE] [--minutes N]

Needs root and iperf3; run nothing beside it. The whole of it takes three quarters of an hour, or
goes in slices: with `--keep FILE` what was seen is kept there and not measured again, and with
`--minutes N` no case is begun after so long; the table then shows what there is, and the exit code
is 0 only when nothing is left to measure. Delete the file when the code has changed. `--case
"10 Mbit/s reno"` takes only the cases in whose name that stands.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench.bandwidth_budget import overspending
from tests.bench.bandwidth_case import CROSS, IDLE, JITTER, LOSS, Case, Seen, measured
from tests.bench.bandwidth_rows import rows
from tests.bench.marks import Row, at_most, finish, parser

LINES = ((2, 2), (4, 0.5), (10, 10), (100, 100))
IDLE_RUNS, TROUBLE_RUNS, QUICK_RUNS = 7, 4, 2
DAYS, QUICK_DAYS = 1000, 100


def cases() -> list[Case]:
    """Idle lines at every rate, then what goes wrong on them."""
    return [
        Case(down, up, congestion, trouble)
        for trouble in (IDLE, LOSS, JITTER, CROSS)
        for down, up in LINES
        for congestion in ("bbr", "reno")
    ]


class Kept:
    """What has been seen so far, by case; in a file where one is named."""

    def __init__(self, path: Path | None, seed: int) -> None:
        self._path = path
        self._seen: dict[str, Any] = {"seed": seed}
        if path is not None and path.exists():
            self._seen = json.loads(path.read_text())
            if self._seen["seed"] != seed:
                sys.exit(f"{path} was made with --seed {self._seen['seed']}")

    def of(self, name: str) -> Any:
        """What was seen of a case, None if it was not measured yet."""
        return self._seen.get(name)

    def keep(self, name: str, seen: Any) -> None:
        """Also in the file, so that nothing is lost when the next one fails."""
        self._seen[name] = seen
        if self._path is not None:
            self._path.write_text(json.dumps(self._seen, indent=1) + "\n")


def work(options: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    """What is to be measured, by name; each gives what can be kept."""

    def one(case: Case, times: int, *, peers: bool) -> Callable[[], Any]:
        return lambda: asdict(measured(case, times, options.seed, peers=peers))

    if options.quick:
        todo = {
            case.name: one(case, QUICK_RUNS, peers=False)
            for case in (Case(2, 2, "bbr"), Case(10, 10, "reno"))
        }
    else:
        todo = {
            case.name: one(case, IDLE_RUNS if case.trouble == IDLE else TROUBLE_RUNS, peers=True)
            for case in cases()
        }
    days = QUICK_DAYS if options.quick else DAYS
    todo[f"budget over {days} days"] = lambda: overspending(days, options.seed)
    wanted = options.case
    return {n: f for n, f in todo.items() if not wanted or any(text in n for text in wanted)}


def table(kept: Kept, names: Iterable[str]) -> Iterator[Row]:
    """The rows of all that was seen, case by case."""
    by_name = {case.name: case for case in cases()}
    for name in names:
        seen = kept.of(name)
        if seen is None:
            yield Row(name, 0, "a result", "", False, "not measured yet")
        elif name in by_name:
            yield from rows(by_name[name], Seen(**seen))
        else:
            yield at_most(f"{name}: overspent, worst day", 100 * seen, 1, "%")


def main() -> int:
    """Measure what is missing, and tell whether all marks are met."""
    options = asked()
    kept, todo = Kept(options.keep, options.seed), work(options)
    if not todo:
        sys.exit("no case has such a name; they are: " + "; ".join(case.name for case in cases()))
    end = time.monotonic() + 60 * options.minutes
    for name, measure in todo.items():
        if kept.of(name) is None and time.monotonic() < end:
            print(f"{name} ...", file=sys.stderr, flush=True)
            kept.keep(name, measure())
    return finish("Bandwidth, against the lab", list(table(kept, todo)), options)


def asked() -> argparse.Namespace:
    """The options of every benchmark, and those by which this one goes in slices."""
    options = parser(__doc__)
    options.add_argument("--case", action="append", metavar="TEXT", help="only cases named so")
    options.add_argument("--keep", type=Path, metavar="FILE", help="go on with what is in there")
    options.add_argument("--minutes", type=float, default=math.inf, help="begin no case after")
    return options.parse_args()


if __name__ == "__main__":
    sys.exit(main())

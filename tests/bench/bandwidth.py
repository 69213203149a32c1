"""The bandwidth probe over links drawn by a random law: error, interval, marks, time and bytes.

    python -m tests.bench.bandwidth [--quick] [--json FILE] [--seed N] [--links N]
                                    [--keep FILE] [--minutes N] [--known]

Needs root. `bandwidth_links` states the law; `--known` adds the links of which an earlier version
was wrong. 120 links take about 40 minutes, and can be run in slices: `--keep FILE` stores each
result and does not measure it again, and after `--minutes N` no link is started. Narrow links run
two at once, each in a lab of its own; fast ones alone. A run on which this computer did not keep up
is repeated, and where that does not help, counted as such and left out. `bandwidth_lines` compares
the probe with iperf3 and speedtest-cli.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from queue import Empty
from typing import Any

from tests.bench.bandwidth_links import KNOWN, Link, draw
from tests.bench.bandwidth_marks import rows
from tests.bench.bandwidth_run import WAYS, Place, unmeasured
from tests.bench.marks import finish, parser

LINKS, QUICK_LINKS = 120, 4
QUICK_RATE = 8e6
NARROW, AT_ONCE = 12e6, 3
"""bit/s up to which links are measured at once, and how many."""
TRIES = 4
PATIENCE_SECONDS = 300.0


class Kept:
    """The results so far, by the link's name; in a file if one is named."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        known = path is not None and path.exists()
        self.results: dict[str, Any] = json.loads(path.read_text()) if known and path else {}

    def keep(self, name: str, result: Any) -> None:
        """Store a result."""
        self.results[name] = result
        if self._path is not None:
            self._path.write_text(json.dumps(self.results) + "\n")


def _work(number: int, seed: int, tasks: Any, results: Any) -> None:
    """Measure link after link in a lab of its own, until there is none left."""
    with Place.started(number, seed) as place:
        while (link := tasks.get()) is not None:
            for _ in range(TRIES):
                try:
                    found = place.measured(link)
                except RuntimeError as error:
                    found = unmeasured(f"bench: {error}")
                if not overloaded(found):
                    break
            results.put((link.name, found))


def overloaded(found: Any) -> bool:
    """Whether this computer did not keep up, in the short test or in the long one."""
    conditions = found["answer"]["conditions"]
    skipped = (conditions.get(f"{way}_sustained_skipped") for way in WAYS)
    error = str(found["answer"]["error"])
    return error.startswith("host_overloaded") or "host_overloaded" in skipped


def measure(links: Sequence[Link], at_once: int, kept: Kept, seed: int, end: float) -> None:
    """Measure these links and store each result; start none after `end` (monotonic seconds)."""
    todo = [link for link in links if link.name not in kept.results]
    context = get_context("spawn")
    while todo and time.monotonic() < end:
        tasks, results = context.Queue(), context.Queue()
        batch, todo = todo[: 8 * at_once], todo[8 * at_once :]
        for task in (*batch, *[None] * at_once):
            tasks.put(task)
        workers = [
            context.Process(target=_work, args=(number, seed, tasks, results))
            for number in range(at_once)
        ]
        for worker in workers:
            worker.start()
        for done in range(len(batch)):
            try:
                name, found = results.get(timeout=PATIENCE_SECONDS)
            except Empty:  # a lab has died: its links are measured the next time
                print(f"{len(batch) - done} links without a result", file=sys.stderr)
                break
            kept.keep(name, found)
            print(name, found["answer"]["error"] or "ok", file=sys.stderr, flush=True)
        for worker in workers:
            worker.join(timeout=30)
            if worker.is_alive():
                worker.terminate()


def chosen(options: argparse.Namespace) -> list[Link]:
    """The links to measure."""
    if options.quick:
        drawn = (draw(options.seed, number) for number in range(1000))
        narrow = [link for link in drawn if link.down.rate < QUICK_RATE and link.rtt < 0.2]
        return narrow[:QUICK_LINKS]
    links = [draw(options.seed, number) for number in range(options.links)]
    return [*KNOWN, *links] if options.known else links


def main() -> int:
    """Measure what is missing; returns 0 if all marks are met."""
    options = requested()
    kept, links = Kept(options.keep), chosen(options)
    end = time.monotonic() + 60 * options.minutes
    narrow = [link for link in links if link.down.rate <= NARROW]
    fast = [link for link in links if link.down.rate > NARROW]
    measure(narrow, AT_ONCE, kept, options.seed, end)
    measure(fast, 1, kept, options.seed, end)
    return finish("Bandwidth, over drawn links", list(rows(links, kept.results)), options)


def requested() -> argparse.Namespace:
    """The options of every benchmark, and those for running this one in slices."""
    options = parser(__doc__)
    options.add_argument("--links", type=int, default=LINKS, help="how many are drawn")
    options.add_argument("--known", action="store_true", help="those of the past, too")
    options.add_argument("--keep", type=Path, metavar="FILE", help="go on with what is in there")
    options.add_argument("--minutes", type=float, default=math.inf, help="begin no link after")
    return options.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""Measures the truth: each condition in a real call of two Chromiums, two or three at a time.

    python tests/bench/chromium_collect.py [--part NAME] [--again N] [--raw DIR]

It continues where it stopped, and repeats calls in which the CPU limited Chromium. All conditions
take about 100 minutes. Needs root, and a machine that is otherwise idle.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jharnet_monitor.lab import HEADQUARTERS, Lab
from tests.bench.chromium_call import Pair, pair
from tests.bench.chromium_conditions import Condition, Part, conditions
from tests.bench.chromium_fresh import fresh
from tests.bench.chromium_truth import Truths, read_run
from tests.lab_support import Stream, streams_beside, udp_socket

PREFIX = "jhnchr"
TRUTH = Path(__file__).with_name("chromium_truth.json")
WINDOW = 30.0
WARM_UP, LONG_WARM_UP = 30.0, 65.0
"""Seconds; the longer one for links on which Chromium's rate rises slowly."""
ATTEMPTS = 3
WIDE_AT_ONCE = 2
"""Calls of full 720p that two cores can run; of narrow links it is three."""
CROSS_SIZE = 800


def shape(lab: Lab, office: str, condition: Condition) -> None:
    """Set the office's link to that of the condition."""
    for direction, wanted in (("down", condition.down), ("up", condition.upwards)):
        lab.set(office, f"{direction}.jitter", "0ms")
        for key in ("delay", "rate", "queue", "loss", "jitter"):
            lab.set(office, f"{direction}.{key}", json.dumps(wanted[key]))


@asynccontextmanager
async def disturbed(
    lab: Lab, office: str, condition: Condition, seconds: float
) -> AsyncIterator[None]:
    """Blackouts and other traffic of the condition, until the block ends."""

    async def black_out(gone: float, every: float) -> None:
        while True:
            await asyncio.sleep(every - gone)
            lab.cut(office)
            try:
                await asyncio.sleep(gone)
            finally:
                lab.restore(office)

    with contextlib.ExitStack() as stack:
        if condition.cross:
            stack.enter_context(_others(lab, office, condition.cross, seconds))
        task = asyncio.create_task(black_out(*condition.blackout)) if condition.blackout else None
        try:
            yield
        finally:
            if task is not None:
                task.cancel()
                await asyncio.wait({task})


@contextlib.contextmanager
def _others(lab: Lab, office: str, megabits: float, seconds: float) -> Iterator[None]:
    port = 7000 + lab.layout.number(office)
    ends = {where: udp_socket(lab, where, port) for where in (HEADQUARTERS, office)}
    streams = [
        Stream(ends[source], (lab.addresses(target).pc, port), megabits * 1e6, CROSS_SIZE)
        for source, target in ((HEADQUARTERS, office), (office, HEADQUARTERS))
    ]
    try:
        with streams_beside(streams, seconds, priority=10):
            yield
    finally:
        for end in ends.values():
            end.close()


async def one(lab: Lab, office: str, ends: Pair, condition: Condition) -> dict[str, object]:
    """Run the call of one condition."""
    shape(lab, office, condition)
    warm_up = LONG_WARM_UP if condition.narrow else WARM_UP
    async with disturbed(lab, office, condition, warm_up + WINDOW + 20):
        return await ends.call(warm_up, WINDOW)


async def lane(
    lab: Lab,
    office: str,
    work: list[Condition],
    truths: Truths,
    wide: asyncio.Semaphore,
    options: argparse.Namespace,
) -> None:
    """Run conditions until none is left."""
    with tempfile.TemporaryDirectory(prefix="jhnchr-") as scratch:
        async with pair(lab, office, Path(scratch), options.nice) as ends:
            truths.chromium = ends.here.version
            while work:
                condition = work.pop(0)
                for _ in range(ATTEMPTS):
                    try:
                        async with wide if condition.heavy else contextlib.nullcontext():
                            told = await one(lab, office, ends, condition)
                    except (
                        Exception
                    ) as error:  # a page that failed is no truth; go on with the next
                        print(f"{condition.name}: {error}", file=sys.stderr)
                        break
                    run = read_run(told)
                    if options.raw:
                        (options.raw / f"{condition.name}.json".replace("/", "_")).write_text(
                            json.dumps(told)
                        )
                    if run.valid:
                        truths.add(condition.name, run)
                        print(condition.name, run.grade(), run, flush=True)
                        break
                    print(f"{condition.name}: this computer was too slow: {run}", flush=True)


async def collect(options: argparse.Namespace) -> None:
    """Measure all conditions that are missing."""
    truths = Truths(options.truth)
    work = [
        condition
        for condition in conditions() + fresh()
        if len(truths.runs.get(condition.name, ())) < options.again
        and (not options.only or options.only in condition.name)
        and options.part in (None, condition.part)
    ]
    wide = asyncio.Semaphore(WIDE_AT_ONCE)
    work.sort(key=lambda condition: (condition.part, condition.heavy))
    lanes = [f"c{number}" for number in range(options.lanes)]
    with Lab.start({"offices": {office: {} for office in lanes}}, PREFIX) as lab:
        await asyncio.gather(*(lane(lab, office, work, truths, wide, options) for office in lanes))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truth", type=Path, default=TRUTH, metavar="FILE")
    parser.add_argument("--again", type=int, default=1, metavar="N", help="calls a condition")
    parser.add_argument("--only", default="", metavar="TEXT", help="conditions named like this")
    parser.add_argument("--part", choices=get_args(Part), help="only these; else all")
    parser.add_argument("--lanes", type=int, default=3, help="calls at a time")
    parser.add_argument("--nice", type=int, default=-10, help="priority of the browsers")
    parser.add_argument("--raw", type=Path, metavar="DIR", help="keep all statistics there")
    asyncio.run(collect(parser.parse_args()))


if __name__ == "__main__":
    main()

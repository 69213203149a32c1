"""Busy computers at both ends of calls: no line is blamed for their effects.

Calls over loopback, whose line is perfect, while this machine is disturbed at random: the loop
stands still, or other programs take the CPU, for 0.1, 0.2, 0.3, 1, 3, 8 or 30 s. A call may have
its best grade or `no_data`; anything else blames the line falsely.

    python tests/faults/host.py [--quick] [--json FILE] [--seed N] [--runs N]
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jharnet_monitor.probes.base import NoData
from tests.bench.marks import Row, at_most, finish, note, parser
from tests.call_support import LoopbackAgent, Result, call

SECONDS = 12.0
BEST = 4.0
LENGTHS = (0.1, 0.2, 0.3, 1.0, 3.0, 8.0, 30.0)
BUSY = "import sys, time\nend = time.time() + float(sys.argv[1])\nwhile time.time() < end: pass"


async def disturb(chance: random.Random) -> None:
    """Disturb this machine once, at some time of the call."""
    kind, length = chance.choice(["loop", "cpu"]), chance.choice(LENGTHS)
    await asyncio.sleep(chance.uniform(1.0, SECONDS - 3))
    if kind == "loop":
        time.sleep(length)  # noqa: ASYNC251 - it blocks the loop on purpose
        return
    number = chance.randint(2, 6)
    busy = [subprocess.Popen([sys.executable, "-c", BUSY, str(length)]) for _ in range(number)]  # noqa: ASYNC220
    try:
        await asyncio.sleep(length)
    finally:
        for one in busy:
            one.kill()
            one.wait()


def blames_the_line(result: Result) -> bool:
    """Whether a call reports anything other than the best grade or that it could not be
    measured."""
    if result.error is None:
        return result.values["grade"] != BEST
    return not isinstance(result.error, NoData)


async def disturbed_calls(seed: int) -> list[Result]:
    """One to four calls at once, disturbed once."""
    chance = random.Random(seed)
    number = chance.randint(1, 4)
    disturbing = asyncio.create_task(disturb(chance))
    results = await asyncio.gather(
        *(call(LoopbackAgent(), profile="720p", seconds=SECONDS) for _ in range(number))
    )
    disturbing.cancel()
    await asyncio.gather(disturbing, return_exceptions=True)
    return results


async def rows(seeds: range) -> list[Row]:
    """The outcomes of the calls of every seed."""
    outcomes: Counter[str] = Counter()
    blamed = 0
    for seed in seeds:
        for result in await disturbed_calls(seed):
            outcomes["best grade" if result.error is None else str(result.error.cause)] += 1
            if blames_the_line(result):
                blamed += 1
                print(f"seed {seed}: {result.error or result.values}", file=sys.stderr)
    return [
        at_most("lines blamed falsely", blamed, 0, "calls"),
        *(note(what, count, "calls") for what, count in sorted(outcomes.items())),
    ]


def main() -> int:
    """Disturb 200 times, or three times (`--quick`)."""
    command_line = parser(__doc__)
    command_line.add_argument("--runs", type=int, default=200, help="disturbances, each a seed")
    options = command_line.parse_args()
    runs = 3 if options.quick else options.runs
    seeds = range(options.seed, options.seed + runs)
    return finish(f"{runs} disturbances of both ends", asyncio.run(rows(seeds)), options)


if __name__ == "__main__":
    sys.exit(main())

"""Calls of a browser whose computer stands still for moments: does it or the line get the blame?

Loss-free lines of the lab, drawn at random: 0.5 to 4 Mbit/s (logarithmic), 5 to 80 ms and a queue
of 150 to 400 ms each way. A real Chromium or Firefox at the office is called three times at 360p as
it is, and six times while its processes are stopped again and again: every 1.5 s on average, for
0.02 to 0.4 s (log-normal, median 0.09 s). Half of Chromium's pauses stop only the process that
plays and records sound. The hub and the line run on. The grade of a line is that of most of its
calls without pauses.

    python -m tests.bench.browser_pauses [--quick] [--browser NAME] [--json FILE] [--seed N]

Needs root (for the lab), and chromium or firefox-esr. It takes eight minutes, with `--quick` two.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import signal
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, get_args

import psutil

from tests.bench.marks import Row, finish, grade_rows, note, parser, usual_grades
from tests.page_support import PageLab, district, way
from tests.tab_support import Name

PREFIX = "jhpause"
SECONDS = 8
AS_IT_IS, PAUSED = 3, 6
GAP, MEDIAN, SPREAD, SHORTEST, LONGEST = 1.5, 0.09, 0.6, 0.02, 0.4
"""Of the pauses: seconds, and the standard deviation of the logarithm."""
SOUND = "audio.mojom.AudioService"
"""In the command line of Chromium's process that records and plays sound."""


@dataclass(frozen=True, slots=True)
class HeldCall:
    """A call: its grade (None without one), share of voice made up, and delay variation in s."""

    line: str
    paused: bool
    grade: float | None
    concealed: float
    variation: float


def drawn_line(chance: random.Random) -> dict[str, Any]:
    """The district of one office."""

    def drawn() -> dict[str, Any]:
        rate = math.exp(chance.uniform(math.log(0.5), math.log(4)))
        delay, queue = chance.uniform(5, 80), chance.uniform(150, 400)
        return way(f"{rate:.3g} Mbit/s", f"{delay:.0f}ms", f"{queue:.0f}ms")

    return district("4 Mbit/s", drawn(), drawn())


def processes(profile: Path) -> Iterator[psutil.Process]:
    """Those of the browser with this profile."""
    for process in psutil.process_iter(["cmdline"]):
        if any(word.endswith(str(profile)) for word in process.info["cmdline"] or ()):
            yield process
            with contextlib.suppress(psutil.NoSuchProcess):
                yield from process.children(recursive=True)


def is_for_sound(process: psutil.Process) -> bool:
    """Whether this process does only that."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return any(SOUND in word for word in process.cmdline())
    return False


@asynccontextmanager
async def pauses(profile: Path, chance: random.Random) -> AsyncIterator[None]:
    """Stop the browser with this profile again and again."""

    async def run() -> None:
        while True:
            await asyncio.sleep(chance.expovariate(1 / GAP))
            length = chance.lognormvariate(math.log(MEDIAN), SPREAD)
            everything = set(processes(profile))
            only_sound = {one for one in everything if is_for_sound(one)}
            stopped = only_sound if only_sound and chance.random() < 0.5 else everything
            send(stopped, signal.SIGSTOP)
            try:
                await asyncio.sleep(min(LONGEST, max(SHORTEST, length)))
            finally:
                send(stopped, signal.SIGCONT)

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def send(receivers: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to each of these processes."""
    for one in receivers:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.send_signal(number)


async def held(browser: Name, line: str, chance: random.Random) -> list[HeldCall]:
    """All calls over one line."""
    found: list[HeldCall] = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with PageLab.started(drawn_line(chance), directory, "http", PREFIX) as one:
            async with one.tab(browser, directory) as page:
                await page.join(one.link)
                found += [await _called(one, line, False) for _ in range(AS_IT_IS)]
                async with pauses(directory / browser, chance):
                    found += [await _called(one, line, True) for _ in range(PAUSED)]
    return found


async def _called(one: PageLab, line: str, paused: bool) -> HeldCall:
    result = await one.probe("conference", profile="360p", seconds=SECONDS)
    known = result["conditions"]
    return HeldCall(
        line,
        paused,
        result["values"].get("grade"),
        known.get("up_concealed_ratio") or 0.0,
        known.get("up_pdv_seconds") or 0.0,
    )


def rows(calls: Sequence[HeldCall]) -> list[Row]:
    """What the calls without and with pauses give."""
    usual = usual_grades((call.line, call.grade) for call in calls if not call.paused)
    found: list[Row] = []
    for paused, name in ((False, "without pauses"), (True, "with pauses")):
        these = [call for call in calls if call.paused is paused]
        found += [
            *grade_rows(name, [(call.line, call.grade) for call in these], usual, 0.05),
            note("  voice made up, most", 100 * max(call.concealed for call in these), "%"),
            note("  delay variation, median", 1000 * median(c.variation for c in these), "ms"),
            note("  delay variation, longest", 1000 * max(c.variation for c in these), "ms"),
        ]
    return found


def main() -> int:
    """Call over five lines, or over one (`--quick`)."""
    parsing = parser(__doc__)
    parsing.add_argument("--browser", choices=get_args(Name), default="chromium")
    options = parsing.parse_args()
    chance = random.Random(options.seed)
    calls: list[HeldCall] = []
    for number in range(1 if options.quick else 5):
        calls += asyncio.run(held(options.browser, str(number), chance))
    title = f"Calls of a {options.browser.capitalize()} that stands still for moments"
    return finish(title, rows(calls), options)


if __name__ == "__main__":
    raise SystemExit(main())

"""Latency to a join page whose thread computes, by datagrams, beside the emulator's delay.

    python -m tests.bench.busy_page [--quick] [--browser NAME] [--json FILE] [--seed N]

Each series has a line of its own, of 5 to 60 ms each way, and a page that computes for a share of
its time, again and again at an interval of 20 to 400 ms (logarithmic), all drawn at random: a
quarter of the pages rest, the others compute for up to nine tenths. The page's time must not be in
a figure, and a page that hardly computes must have one. Needs root, and chromium or firefox-esr. It
takes five minutes.
"""

from __future__ import annotations

import asyncio
import math
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from jharnet_monitor.judge.latency import percentile
from tests.bench.marks import Row, at_most, finish, note, parser
from tests.page_support import OFFICE, PageLab, district, way
from tests.tab_support import Name, Tab

SERIES, QUICK_SERIES = 80, 16
UPLINK_MS = 2.0
HARDLY = 0.1
"""Share of its time: a page that computes for no more can answer most datagrams at once."""
COMPUTE = """(() => {
  const [busy, rest] = [%f, %f];
  window.turn = (window.turn ?? 0) + 1;
  const mine = window.turn;
  const compute = () => {
    if (mine !== window.turn) return;
    const end = performance.now() + busy;
    while (performance.now() < end);
    setTimeout(compute, rest);
  };
  if (busy > 0) compute();
})()"""


@dataclass(frozen=True, slots=True)
class Case:
    """One series: the page's work, and the line."""

    share: float
    period: float
    """ms."""
    delay: float
    """ms each way."""

    @classmethod
    def drawn(cls, dice: random.Random) -> Case:
        """By the law above."""
        share = 0.0 if dice.random() < 0.25 else dice.uniform(0, 0.9)
        period = math.exp(dice.uniform(math.log(20), math.log(400)))
        return cls(share, period, round(dice.uniform(5, 60), 1))

    async def measure(self, one: PageLab, page: Tab) -> dict[str, Any]:
        """The series, repeated where another test ran beside it."""
        for side in ("down", "up"):
            one.lab.set(OFFICE, f"{side}.delay", f"{self.delay}ms")
        busy = self.share * self.period
        await page.ask(COMPUTE % (busy, self.period - busy))
        result = await one.probe("latency", path="page")
        while result["conditions"].get("under_load"):
            result = await one.probe("latency", path="page")
        return result


def rows(found: Sequence[tuple[Case, dict[str, Any]]]) -> list[Row]:
    """How far the figures are off, and which pages have none."""
    errors = [
        abs(1000 * result["values"]["rtt_p50_seconds"] - 2 * case.delay - UPLINK_MS)
        for case, result in found
        if result["outcome"] == "ok"
    ]
    without = {
        hardly: [r["outcome"] != "ok" for case, r in found if (case.share <= HARDLY) is hardly]
        for hardly in (True, False)
    }
    other = sum(r["cause"] not in (None, "host_overloaded") for _, r in found)
    errors.sort()
    half, most, largest = (percentile(errors or [math.inf], share) for share in (0.5, 0.95, 1.0))
    return [
        note("series", len(found), "series"),
        note("with a figure", len(errors), "series"),
        note("  median's error, median", half, "ms"),
        at_most("  median's error, 95th percentile", most, 5, "ms"),
        note("  median's error, largest", largest, "ms"),
        at_most(
            "pages that hardly compute, without a figure", sum(without[True]),
            0.05 * len(without[True]), "series", f"of {len(without[True])}",
        ),
        note("others without a figure", sum(without[False]), "series", f"of {len(without[False])}"),
        at_most("no figure for another cause", other, 0, "series"),
    ]  # fmt: skip


async def measure() -> int:
    """Measure everything; the exit code."""
    parsing = parser(__doc__)
    parsing.add_argument("--browser", choices=get_args(Name), default="chromium")
    options = parsing.parse_args()
    browser: Name = options.browser
    dice = random.Random(options.seed)
    cases = [Case.drawn(dice) for _ in range(QUICK_SERIES if options.quick else SERIES)]
    with tempfile.TemporaryDirectory(prefix="jhbusy") as made:
        directory = Path(made)
        data = district("4 Mbit/s", way("4 Mbit/s"), way("4 Mbit/s"))
        with PageLab.started(data, directory, "http", "jhbusy") as one:
            async with one.tab(browser, directory) as page:
                await page.join(one.link)
                found = [(case, await case.measure(one, page)) for case in cases]
    return finish(f"Latency to a busy page in {browser}", rows(found), options)


def main() -> int:
    """The exit code."""
    return asyncio.run(measure())


if __name__ == "__main__":
    sys.exit(main())
